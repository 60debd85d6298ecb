// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Any policy, chosen when the orchestrator is made.

use std::time::Duration;

use ringfence::Time;
use ringfence_orchestrator_core::{Account, Field, Policy, Priority, SlotKind};

/// A policy of whatever type.
pub(crate) struct AnyPolicy(pub(crate) Box<dyn Policy + Send>);

impl Policy for AnyPolicy {
    fn woke(&mut self, account: &mut Account, now: Time) {
        self.0.woke(account, now);
    }

    fn joins(&mut self, account: &mut Account) {
        self.0.joins(account);
    }

    fn key(&self, account: &Account) -> u64 {
        self.0.key(account)
    }

    fn ran(&mut self, account: &mut Account, kind: SlotKind, ns: u64) {
        self.0.ran(account, kind, ns);
    }

    fn switched(&mut self, priority: Priority, kind: SlotKind, ns: u64) {
        self.0.switched(priority, kind, ns);
    }

    fn look(&mut self, field: &Field) {
        self.0.look(field);
    }

    fn overtaken(&self, account: &mut Account, key: u64) {
        self.0.overtaken(account, key);
    }

    fn rank(&self, account: &Account) -> u8 {
        self.0.rank(account)
    }

    fn makes_way(&self, resident: &Account, waiting: &Account, now: Time) -> Option<Time> {
        self.0.makes_way(resident, waiting, now)
    }

    fn keeps_for(&self) -> Duration {
        self.0.keeps_for()
    }

    fn chosen(&mut self, account: &mut Account) {
        self.0.chosen(account);
    }

    fn changed(&mut self, account: &mut Account, was: Priority) {
        self.0.changed(account, was);
    }
}
