// SPDX-License-Identifier: GPL-2.0 OR MIT
//! First come, first served, as `drm_gpu_scheduler` has it (`DRM_SCHED_POLICY_FIFO`).

use core::time::Duration;

use ringfence_core::Time;

use super::{Account, Field, Policy};
use crate::priority::{Priority, Weight};
use crate::slot::SlotKind;

/// Of one priority, who has waited longest goes first; a higher priority always does, so a lower one
/// can starve, as the kernel's can. Weights mean nothing. Who has had its turn makes way for whoever
/// waits.
#[derive(Clone, Copy, Debug)]
pub struct Fifo {
    turn_ns: u64,
}

impl Fifo {
    /// The policy, with turns of this length, of at least a nanosecond.
    pub fn new(turn: Duration) -> Self {
        Self {
            turn_ns: u64::try_from(turn.as_nanos()).unwrap_or(u64::MAX).max(1),
        }
    }
}

impl Default for Fifo {
    /// With turns of 2 ms.
    fn default() -> Self {
        Self::new(Duration::from_millis(2))
    }
}

impl Policy for Fifo {
    fn woke(&mut self, _account: &mut Account, _now: Time) {}

    fn joins(&mut self, _account: &mut Account) {}

    fn key(&self, account: &Account) -> u64 {
        account.waiting_since.as_ns()
    }

    fn ran(&mut self, _account: &mut Account, _kind: SlotKind, _ns: u64) {}

    fn switched(&mut self, _priority: Priority, _kind: SlotKind, _ns: u64) {}

    fn failed(&mut self, _account: &mut Account, _ns: u64) {}

    fn look(&mut self, _field: &Field) {}

    fn overtaken(&self, _account: &mut Account, _key: u64) {}

    fn rank(&self, account: &Account) -> u8 {
        account.priority.level() as u8
    }

    fn makes_way(&self, resident: &Account, waiting: &Account, now: Time) -> Option<Time> {
        let turn = resident
            .turn_since
            .after(Duration::from_nanos(self.turn_ns));
        match waiting.priority <= resident.priority {
            true => Some(turn.max(now)),
            false => None,
        }
    }

    fn keeps_for(&self) -> Duration {
        Duration::from_nanos(self.turn_ns)
    }

    fn chosen(&mut self, _account: &mut Account) {}

    fn changed(&mut self, _account: &mut Account, _was: Priority, _weighed: Weight) {}
}
