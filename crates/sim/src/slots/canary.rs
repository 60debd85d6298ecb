// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Bugs that can be planted into a world of slots, to show that its judges find them.

use crate::canary::canaries;

canaries! {
    /// A bug that can be planted: in the policy, between the orchestrator and its host, or in the
    /// modelled host.
    SlotCanary {
        /// Who leaves is charged until it was told to, however long that takes.
        DrainIsFree = "drain-is-free",
        /// Who sleeps is owed all of the time that it has slept.
        SleeperOwedEverything = "sleeper-owed-everything",
        /// The gates of a group are opened one by one, as its members are bound.
        GroupOpenedOneByOne = "group-opened-one-by-one",
        /// Lower priorities are owed nothing.
        NoGuarantee = "no-guarantee",
        /// The orchestrator is told that a context is off its slot before the device has done it.
        VacatedTooEarly = "vacated-too-early",
        /// A queue that yields says that it has nothing out.
        YieldNotWaitedFor = "yield-not-waited-for",
        /// The gate of who leaves is not shut: it goes on yielding.
        GateNotShut = "gate-not-shut",
        /// A gate is opened before its context is on its slot.
        GateOpensEarly = "gate-opens-early",
        /// Some reports of what a queue wants are lost.
        ReportLost = "report-lost",
        /// A report that comes late is believed.
        OldReportBelieved = "old-report-believed",
        /// Nobody says which contexts a reset has taken off their slots.
        LossNotTold = "loss-not-told",
        /// The orchestrator's timer is not set.
        TimerLost = "timer-lost",
        /// Nobody says that what was missing is there.
        ReadyNotTold = "ready-not-told",
        /// Nobody does anything about a device that does not answer.
        StuckIgnored = "stuck-ignored",
        /// A slot that is repaired is not used again.
        RepairNotTold = "repair-not-told",
        /// A replay forgets the newest job.
        ReplayForgetsOne = "replay-forgets-one",
    }
}

/// Which bug is planted. Without the feature `canary` there is never one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plant {
    #[cfg(feature = "canary")]
    pub(super) planted: Option<SlotCanary>,
}

impl Plant {
    #[inline(always)]
    pub(super) fn is(self, _canary: SlotCanary) -> bool {
        #[cfg(feature = "canary")]
        return self.planted == Some(_canary);
        #[cfg(not(feature = "canary"))]
        false
    }
}
