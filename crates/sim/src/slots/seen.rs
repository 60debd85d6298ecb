// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What runs have seen: a count of everything that should come up.

macro_rules! sights {
    ($($name:ident = $text:literal,)*) => {
        /// Something to be seen.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(usize)]
        pub(super) enum Sight {
            $($name,)*
        }

        impl Sight {
            const NAMES: &'static [&'static str] = &[$($text,)*];
        }
    };
}

sights! {
    Bound = "bound",
    BoundGroup = "group bound",
    Warm = "bound where it was last",
    YieldIdle = "made way without work",
    YieldBusy = "made way with jobs on the hardware",
    YieldInside = "made way with a callback out",
    Preempted = "taken off in the middle of a job",
    GateBlocksRun = "a job waits for the gate",
    LateReport = "a report came late",
    NotYet = "a driver was not ready",
    BindFailed = "a bind failed",
    BindBroke = "a slot broke at a bind",
    VacateBroke = "a slot broke when it was vacated",
    BindSilent = "a bind was not answered",
    VacateSilent = "a vacate was not answered",
    Stuck = "the device was stuck",
    Reset = "the device was reset",
    ResetAsked = "the device was reset for another reason",
    LostResident = "a resident context was lost",
    LostLeaving = "a context was lost while it left",
    Evicted = "the device let go of a context",
    Hang = "a job hung",
    TimedOut = "a time was up",
    NoHang = "a time was up without a hang",
    Handled = "a callback dealt with a hang",
    Recovered = "a queue was recovered",
    RecoveredOff = "a queue was recovered off its slot",
    ReplayedOff = "jobs were replayed off their slot",
    Replayed = "a job was replayed",
    KilledResident = "killed on its slot",
    KilledWaiting = "killed in line",
    KilledBetween = "killed on its way",
    ClosedResident = "closed on its slot",
    ClosedWaiting = "closed in line",
    ClosedBetween = "closed on its way",
    SuspendedResident = "suspended on its slot",
    SuspendedWaiting = "suspended in line",
    Changed = "priority or weight changed",
    Moved = "moved to other kinds of slots",
    Cancelled = "a job was cancelled",
    Crossed = "waited for a job of another queue",
    DependencyFailed = "what it waited for failed",
    StrayTimer = "a timer that nobody set",
    SlowRun = "a run callback took its time",
}

/// Counts of what was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen([u64; Sight::NAMES.len()]);

impl Default for Seen {
    fn default() -> Self {
        Self([0; Sight::NAMES.len()])
    }
}

impl Seen {
    pub(super) fn see(&mut self, sight: Sight) {
        self.0[sight as usize] += 1;
    }

    /// What there is to be seen, and how often it was.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Sight::NAMES.iter().copied().zip(self.0)
    }

    /// What was never seen.
    pub fn gaps(&self) -> Vec<&'static str> {
        let never = self.rows().filter(|(_, count)| *count == 0);
        never.map(|(name, _)| name).collect()
    }

    /// Adds what other runs have seen.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}
