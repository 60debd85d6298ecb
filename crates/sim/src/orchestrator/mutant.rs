// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Bugs on purpose, between the orchestrator and its host or in its policy: the checks must find
//! each of them.

/// One bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// A seat is bound twice.
    BindTwice,
    /// A seat is bound to another slot than it was given.
    WrongSlot,
    /// A gate is opened as soon as its own seat is bound.
    RunEarly,
    /// A gate is never opened.
    RunLost,
    /// A context is taken off while its gate is open.
    YieldSkipped,
    /// A slot is given to another seat while a context is on it.
    VacateSkipped,
    /// The host is told again that the device is stuck.
    StuckTwice,
    /// The host is told at once that the device is stuck.
    StuckEarly,
    /// The host is never told that the device is stuck.
    StuckLost,
    /// Nobody is told to shut the gate of who was lost.
    ShutLost,
    /// The end of a seat is told twice.
    GoneTwice,
    /// The timer is deaf.
    TimerLost,
    /// A report counts however old it is.
    StaleHeard,
    /// An answer that nobody has asked for is taken without a word.
    FoulAccepted,
    /// What was missing is there, and nobody hears it.
    ReadyLost,
    /// The device lets go of a context, and nobody hears it.
    LossLost,
    /// A slot is repaired, and nobody hears it.
    RepairLost,
    /// Seats are on their own although they were made a group.
    GroupLost,
    /// A driver that is not ready is taken for one that is.
    NotYetIsReady,
    /// Policy: who is last in its line is taken for the first.
    LastFirst,
    /// Policy: nobody makes way for anybody.
    StaysForEver,
    /// Policy: everybody makes way at once.
    TurnsCutShort,
    /// Policy: a higher priority preempts nobody.
    HigherMustWait,
    /// Policy: who has slept is owed all the time it has slept.
    SleepIsSaved,
    /// Policy: a lower priority is owed nothing.
    NoGuarantee,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::BindTwice,
        Self::WrongSlot,
        Self::RunEarly,
        Self::RunLost,
        Self::YieldSkipped,
        Self::VacateSkipped,
        Self::StuckTwice,
        Self::StuckEarly,
        Self::StuckLost,
        Self::ShutLost,
        Self::GoneTwice,
        Self::TimerLost,
        Self::StaleHeard,
        Self::FoulAccepted,
        Self::ReadyLost,
        Self::LossLost,
        Self::RepairLost,
        Self::GroupLost,
        Self::NotYetIsReady,
        Self::LastFirst,
        Self::StaysForEver,
        Self::TurnsCutShort,
        Self::HigherMustWait,
        Self::SleepIsSaved,
        Self::NoGuarantee,
    ];
}
