// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What runs have seen, so that a test that never comes to the point fails.

/// Things that happen, by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Seen {
    Check,
    Bind,
    Run,
    Yield,
    Vacate,
    Stuck,
    Gone,
    Shut,
    ArmTimer,
    NotYet,
    BindFailed,
    BindBroken,
    VacateFailed,
    VacateBroken,
    Lost,
    LostInGroup,
    LostOnHardware,
    Repaired,
    ReportIgnored,
    ReportRaced,
    NotOwed,
    Unknown,
    Full,
    NoSuchSlot,
    Grown,
    NotGrown,
    Grouped,
    GroupUnknown,
    GroupTaken,
    GroupInUse,
    GroupTooMany,
    GroupBound,
    LeaderRemoved,
    RemovedBinding,
    RemovedYielding,
    RemovedBroken,
    RemovedRunning,
    WokeYielding,
    WokeOnSlot,
    Preempted,
    Evicted,
    OrderByTime,
    OrderByArrival,
    HigherPreempts,
    TurnWatched,
    ReservedForGroup,
}

const NAMES: [Seen; 46] = [
    Seen::Check,
    Seen::Bind,
    Seen::Run,
    Seen::Yield,
    Seen::Vacate,
    Seen::Stuck,
    Seen::Gone,
    Seen::Shut,
    Seen::ArmTimer,
    Seen::NotYet,
    Seen::BindFailed,
    Seen::BindBroken,
    Seen::VacateFailed,
    Seen::VacateBroken,
    Seen::Lost,
    Seen::LostInGroup,
    Seen::LostOnHardware,
    Seen::Repaired,
    Seen::ReportIgnored,
    Seen::ReportRaced,
    Seen::NotOwed,
    Seen::Unknown,
    Seen::Full,
    Seen::NoSuchSlot,
    Seen::Grown,
    Seen::NotGrown,
    Seen::Grouped,
    Seen::GroupUnknown,
    Seen::GroupTaken,
    Seen::GroupInUse,
    Seen::GroupTooMany,
    Seen::GroupBound,
    Seen::LeaderRemoved,
    Seen::RemovedBinding,
    Seen::RemovedYielding,
    Seen::RemovedBroken,
    Seen::RemovedRunning,
    Seen::WokeYielding,
    Seen::WokeOnSlot,
    Seen::Preempted,
    Seen::Evicted,
    Seen::OrderByTime,
    Seen::OrderByArrival,
    Seen::HigherPreempts,
    Seen::TurnWatched,
    Seen::ReservedForGroup,
];

/// What one run, or many, have come by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Coverage {
    seen: u64,
    /// The longest that anybody waited for a slot once all was well, in parts of a thousand of the
    /// bound.
    pub worst_wait: u64,
}

impl Coverage {
    pub(super) fn see(&mut self, what: Seen) {
        self.seen |= 1 << what as u8;
    }

    /// Adds what another run has seen.
    pub fn merge(&mut self, other: &Self) {
        self.seen |= other.seen;
        self.worst_wait = self.worst_wait.max(other.worst_wait);
    }

    /// What was never seen.
    pub fn gaps(&self) -> Vec<String> {
        let missing = NAMES
            .iter()
            .filter(|what| self.seen & 1 << **what as u8 == 0);
        missing.map(|what| format!("{what:?}")).collect()
    }
}
