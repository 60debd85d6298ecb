// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A policy that is wrong on purpose, to see that the run notices.

use std::time::Duration;

use ringfence::Time;
use ringfence_orchestrator::{Account, Field, Policy, Priority, SlotKind, Weight};

/// How long a turn is.
const TURN: Duration = Duration::from_millis(2);

/// To those that have shall be given: who has had most goes first, and the less important before the
/// more important.
pub(super) struct Unfair;

impl Policy for Unfair {
    fn woke(&mut self, _account: &mut Account, _now: Time) {}

    fn joins(&mut self, _account: &mut Account) {}

    fn key(&self, account: &Account) -> u64 {
        u64::MAX - account.virtual_time
    }

    fn ran(&mut self, account: &mut Account, _kind: SlotKind, ns: u64) {
        account.virtual_time = account.virtual_time.saturating_add(ns);
    }

    fn switched(&mut self, _priority: Priority, _kind: SlotKind, _ns: u64) {}

    fn failed(&mut self, _account: &mut Account, _ns: u64) {}

    fn look(&mut self, _field: &Field) {}

    fn overtaken(&self, _account: &mut Account, _key: u64) {}

    fn rank(&self, account: &Account) -> u8 {
        (Priority::COUNT - account.priority.level()) as u8
    }

    fn makes_way(&self, resident: &Account, waiting: &Account, now: Time) -> Option<Time> {
        let less_important = waiting.priority > resident.priority;
        let richer =
            waiting.priority == resident.priority && waiting.virtual_time > resident.virtual_time;
        (less_important || richer).then(|| resident.turn_since.after(TURN).max(now))
    }

    fn keeps_for(&self) -> Duration {
        TURN
    }

    fn chosen(&mut self, _account: &mut Account) {}

    fn changed(&mut self, _account: &mut Account, _was: Priority, _weighed: Weight) {}
}
