// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a run has seen, so that a test that never comes to the point fails.

use ringfence_core::state::{JobEvent, TRANSITIONS};
use ringfence_core::{Context, Effect, Outcome, State, TimeoutOutcome};

const CONTEXTS: [Context; 5] = [
    Context::Irq,
    Context::Nested,
    Context::Task,
    Context::Submit,
    Context::Worker,
];

const EFFECTS: [&str; 9] = [
    "Signal", "Run", "TimedOut", "Reap", "ArmTimer", "Kick", "Closed", "Recover", "Gate",
];

/// Which effects are legal where, in the order of `EFFECTS`; the rows are contexts.
#[rustfmt::skip]
const LEGAL: [[bool; 9]; 5] = [
    // Signal Run  TimedOut Reap  ArmTimer Kick  Closed Recover Gate
    // Reap where payloads allow it.
    [true,  false, false, true,  true,  true,  false, false, false], // Irq
    [false, false, false, false, true,  true,  false, false, false], // Nested
    [true,  false, false, true,  true,  true,  true,  false, true], // Task
    [true,  true,  false, true,  true,  true,  true,  false, true], // Submit; Run where bypass is on.
    // A worker that is here needs no kick.
    [true,  true,  true,  true,  true,  false, true,  true,  true], // Worker
];

/// Things that happen, by name; a run marks those it has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Seen {
    Completed,
    Failed,
    Cancelled,
    TimedOut,
    RunPending,
    RunDone,
    RunFailed,
    RunNoResources,
    NoHang,
    Extend,
    ExtendRefused,
    Handled,
    DeviceGone,
    PrepareFull,
    PrepareCost,
    PrepareClosed,
    PrepareKilled,
    CancelYes,
    CancelTooLate,
    CancelUnknown,
    CompletionInTime,
    CompletionLate,
    RefusedUnknown,
    RefusedIllegal,
    RefusedNotHeld,
    RefusedCount,
    LeaveIdle,
    LeaveMore,
    LeaveRefused,
    HandBack,
    ResumeRefused,
    TriggerYes,
    TriggerNo,
    Wrapped,
    SubmittedLate,
    FullBatch,
    Reset,
    PrepareBanned,
    RefusedStopped,
    RefusedNotQuiet,
    RefusedOverdue,
    Banned,
    Overdue,
    WalkedKeep,
    WalkedEnd,
    ReplayPending,
    ReplayDone,
    ReplayFailed,
    SetAside,
    SetAsideRefused,
    PutBack,
    PutBackClosed,
    Aside,
    AsideLate,
    AsideCost,
    Grown,
    Shrunk,
    MoveRefused,
    SignalsFirst,
    RefusedNotGated,
    GateOpened,
    YieldOnHardware,
    ShutOnHardware,
}

const SEEN: [Seen; 63] = [
    Seen::Completed,
    Seen::Failed,
    Seen::Cancelled,
    Seen::TimedOut,
    Seen::RunPending,
    Seen::RunDone,
    Seen::RunFailed,
    Seen::RunNoResources,
    Seen::NoHang,
    Seen::Extend,
    Seen::ExtendRefused,
    Seen::Handled,
    Seen::DeviceGone,
    Seen::PrepareFull,
    Seen::PrepareCost,
    Seen::PrepareClosed,
    Seen::PrepareKilled,
    Seen::CancelYes,
    Seen::CancelTooLate,
    Seen::CancelUnknown,
    Seen::CompletionInTime,
    Seen::CompletionLate,
    Seen::RefusedUnknown,
    Seen::RefusedIllegal,
    Seen::RefusedNotHeld,
    Seen::RefusedCount,
    Seen::LeaveIdle,
    Seen::LeaveMore,
    Seen::LeaveRefused,
    Seen::HandBack,
    Seen::ResumeRefused,
    Seen::TriggerYes,
    Seen::TriggerNo,
    Seen::Wrapped,
    Seen::SubmittedLate,
    Seen::FullBatch,
    Seen::Reset,
    Seen::PrepareBanned,
    Seen::RefusedStopped,
    Seen::RefusedNotQuiet,
    Seen::RefusedOverdue,
    Seen::Banned,
    Seen::Overdue,
    Seen::WalkedKeep,
    Seen::WalkedEnd,
    Seen::ReplayPending,
    Seen::ReplayDone,
    Seen::ReplayFailed,
    Seen::SetAside,
    Seen::SetAsideRefused,
    Seen::PutBack,
    Seen::PutBackClosed,
    Seen::Aside,
    Seen::AsideLate,
    Seen::AsideCost,
    Seen::Grown,
    Seen::Shrunk,
    Seen::MoveRefused,
    Seen::SignalsFirst,
    Seen::RefusedNotGated,
    Seen::GateOpened,
    Seen::YieldOnHardware,
    Seen::ShutOnHardware,
];

/// What has been seen.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    steps: [u16; 8],
    effects: [u16; 5],
    seen: u64,
    /// Steps the model took that core's table does not have.
    stray: Option<(State, JobEvent, State)>,
}

impl Coverage {
    /// Adds what another run has seen.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.steps.iter_mut().zip(other.steps) {
            *mine |= theirs;
        }
        for (mine, theirs) in self.effects.iter_mut().zip(other.effects) {
            *mine |= theirs;
        }
        self.seen |= other.seen;
        self.stray = self.stray.or(other.stray);
    }

    /// What should have been seen and was not, one line each; and what should not be and was.
    pub fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        for (from, event, _) in TRANSITIONS {
            if self.steps[*from as usize] & 1 << *event as u8 == 0 {
                gaps.push(format!("no job ever had {event:?} while {from}"));
            }
        }
        if let Some((from, event, to)) = self.stray {
            gaps.push(format!("{from} on {event:?} to {to} is not in the table"));
        }
        for (row, context) in CONTEXTS.iter().enumerate() {
            for (column, effect) in EFFECTS.iter().enumerate() {
                let seen = self.effects[row] & 1 << column != 0;
                if seen != LEGAL[row][column] {
                    let what = if seen { "illegally" } else { "never" };
                    gaps.push(format!("{effect} was {what} handed out in {context:?}"));
                }
            }
        }
        for what in SEEN {
            if self.seen & 1 << what as u8 == 0 {
                gaps.push(format!("{what:?} was never seen"));
            }
        }
        gaps
    }

    pub(crate) fn step(&mut self, from: State, event: JobEvent, to: State) {
        self.steps[from as usize] |= 1 << event as u8;
        if from.after(event) != Some(to) {
            self.stray = Some((from, event, to));
        }
    }

    pub(crate) fn effect(&mut self, effect: &Effect, context: Context) {
        let column = match effect {
            Effect::Signal { .. } => 0,
            Effect::Run { .. } => 1,
            Effect::TimedOut { .. } => 2,
            Effect::Reap { .. } => 3,
            Effect::ArmTimer { .. } => 4,
            Effect::Kick => 5,
            Effect::Recover { .. } => 7,
            Effect::Closed => 6,
            Effect::Gate { .. } => 8,
        };
        let row = CONTEXTS.iter().position(|c| *c == context).unwrap_or(0);
        self.effects[row] |= 1 << column;
    }

    pub(crate) fn see(&mut self, what: Seen) {
        self.seen |= 1 << what as u8;
    }

    pub(crate) fn outcome(&mut self, outcome: Outcome) {
        self.see(match outcome {
            Outcome::Completed => Seen::Completed,
            Outcome::Failed(_) => Seen::Failed,
            Outcome::Cancelled(_) => Seen::Cancelled,
            Outcome::TimedOut(_) => Seen::TimedOut,
        });
    }

    pub(crate) fn verdict(&mut self, verdict: TimeoutOutcome) {
        self.see(match verdict {
            TimeoutOutcome::NoHang => Seen::NoHang,
            TimeoutOutcome::Extend(_) => Seen::Extend,
            TimeoutOutcome::Handled(_) => Seen::Handled,
            TimeoutOutcome::Reset => Seen::Reset,
            TimeoutOutcome::DeviceGone => Seen::DeviceGone,
        });
    }
}
