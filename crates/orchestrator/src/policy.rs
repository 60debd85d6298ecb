// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Any policy, chosen when the orchestrator is made.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

use ringfence::Time;
use ringfence_orchestrator_core::{Account, Field, Policy, Priority, SlotKind, Weight};

/// A policy of whatever type. One that panics has said so: it must not take the lock's state along, half
/// changed, nor who acts. It has done nothing then, and others go by their priorities.
pub(crate) struct AnyPolicy(pub(crate) Box<dyn Policy + Send>);

fn guard<R>(call: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

impl Policy for AnyPolicy {
    fn woke(&mut self, account: &mut Account, now: Time) {
        let _panic = guard(|| self.0.woke(account, now));
    }

    fn joins(&mut self, account: &mut Account) {
        let _panic = guard(|| self.0.joins(account));
    }

    fn key(&self, account: &Account) -> u64 {
        guard(|| self.0.key(account)).unwrap_or(0)
    }

    fn ran(&mut self, account: &mut Account, kind: SlotKind, ns: u64) {
        let _panic = guard(|| self.0.ran(account, kind, ns));
    }

    fn switched(&mut self, priority: Priority, kind: SlotKind, ns: u64) {
        let _panic = guard(|| self.0.switched(priority, kind, ns));
    }

    fn failed(&mut self, account: &mut Account, ns: u64) {
        let _panic = guard(|| self.0.failed(account, ns));
    }

    fn look(&mut self, field: &Field) {
        let _panic = guard(|| self.0.look(field));
    }

    fn overtaken(&self, account: &mut Account, key: u64) {
        let _panic = guard(|| self.0.overtaken(account, key));
    }

    fn rank(&self, account: &Account) -> u8 {
        guard(|| self.0.rank(account)).unwrap_or(account.priority.level() as u8)
    }

    fn makes_way(&self, resident: &Account, waiting: &Account, now: Time) -> Option<Time> {
        guard(|| self.0.makes_way(resident, waiting, now)).unwrap_or(Some(now))
    }

    fn keeps_for(&self) -> Duration {
        guard(|| self.0.keeps_for()).unwrap_or_default()
    }

    fn chosen(&mut self, account: &mut Account) {
        let _panic = guard(|| self.0.chosen(account));
    }

    fn changed(&mut self, account: &mut Account, was: Priority, weighed: Weight) {
        let _panic = guard(|| self.0.changed(account, was, weighed));
    }
}
