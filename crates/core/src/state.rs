// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The states of a job and the one table of what may follow what.
//!
//! Every change of a job's state in this crate goes through [`State::after`], which reads
//! [`TRANSITIONS`]. What the table does not list cannot happen: it is an error to the host, never
//! a panic. `docs/states.md` is drawn from the table by a test.

use core::fmt;

/// Where a job stands. A *prepared* job is only a count: it has no entry yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum State {
    /// The entry holds no job.
    #[default]
    Free,
    /// Its sequence number is taken and its fence published; its submitter still holds it.
    Armed,
    /// The queue owns it; it waits for dependencies, credits, its turn.
    Queued,
    /// Handed to the driver's run callback, which has not answered.
    Running,
    /// On the hardware.
    Pending,
    /// Its outcome is known; its fence waits for its turn to signal.
    Done,
    /// Its fence is being signalled by the host.
    Signalling,
    /// Its fence has signalled; its payload waits to be dropped.
    Signalled,
}

/// What can happen to one job.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum JobEvent {
    /// The submitter took a sequence number for it.
    Arm,
    /// The submitter handed it to the queue.
    Submit,
    /// Something it waits for has signalled.
    Dependency,
    /// It was handed to the driver's run callback.
    Run,
    /// The run callback left it on the hardware.
    Pend,
    /// After a reset it is put on the hardware again, with the fence it has.
    Replay,
    /// The run callback had no resources, or never started it: back to its place in line.
    Requeue,
    /// Its outcome became known.
    Finish,
    /// A driver callback returned it after its outcome had become known another way.
    Return,
    /// Its fence was handed to the host to be signalled.
    Signal,
    /// The host has signalled its fence.
    Acknowledge,
    /// Its payload was handed to the host to be dropped; the entry is free again.
    Reap,
}

/// Every legal step: in this state, on this event, to that state.
#[rustfmt::skip]
pub const TRANSITIONS: &[(State, JobEvent, State)] = &[
    (State::Free,       JobEvent::Arm,         State::Armed),
    (State::Armed,      JobEvent::Submit,      State::Queued),
    (State::Queued,     JobEvent::Dependency,  State::Queued),
    (State::Queued,     JobEvent::Run,         State::Running),
    (State::Queued,     JobEvent::Finish,      State::Done),
    (State::Running,    JobEvent::Pend,        State::Pending),
    (State::Running,    JobEvent::Requeue,     State::Queued),
    (State::Running,    JobEvent::Finish,      State::Done),
    (State::Pending,    JobEvent::Replay,      State::Pending),
    (State::Pending,    JobEvent::Finish,      State::Done),
    // Completion may come before the run callback returns, and while a timeout is looked into or a
    // stopped queue is walked.
    (State::Done,       JobEvent::Return,      State::Done),
    (State::Signalling, JobEvent::Return,      State::Signalling),
    (State::Signalled,  JobEvent::Return,      State::Signalled),
    (State::Done,       JobEvent::Signal,      State::Signalling),
    (State::Signalling, JobEvent::Acknowledge, State::Signalled),
    (State::Signalled,  JobEvent::Reap,        State::Free),
];

impl State {
    /// All states, in the order of a job's life.
    pub const ALL: [Self; 8] = [
        Self::Free,
        Self::Armed,
        Self::Queued,
        Self::Running,
        Self::Pending,
        Self::Done,
        Self::Signalling,
        Self::Signalled,
    ];

    /// The state after `event`, or `None` where `event` is illegal in this one.
    #[inline]
    pub const fn after(self, event: JobEvent) -> Option<Self> {
        NEXT[self as usize][event as usize]
    }

    /// True while the job holds credits: from run to its outcome.
    pub const fn holds_credits(self) -> bool {
        matches!(self, Self::Running | Self::Pending)
    }

    /// One lower-case word, as snapshots print it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Armed => "armed",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Signalling => "signalling",
            Self::Signalled => "signalled",
        }
    }
}

impl JobEvent {
    /// All events.
    pub const ALL: [Self; 12] = [
        Self::Arm,
        Self::Submit,
        Self::Dependency,
        Self::Run,
        Self::Pend,
        Self::Replay,
        Self::Requeue,
        Self::Finish,
        Self::Return,
        Self::Signal,
        Self::Acknowledge,
        Self::Reap,
    ];
}

/// [`TRANSITIONS`] by state and event, so that a step is one look-up.
const NEXT: [[Option<State>; JobEvent::ALL.len()]; State::ALL.len()] = {
    let mut next = [[None; JobEvent::ALL.len()]; State::ALL.len()];
    let mut i = 0;
    while i < TRANSITIONS.len() {
        let (from, event, to) = TRANSITIONS[i];
        next[from as usize][event as usize] = Some(to);
        i += 1;
    }
    next
};

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Prints [`TRANSITIONS`] as a Graphviz graph.
#[derive(Debug)]
pub struct Graph;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "digraph job {{")?;
        for (from, event, to) in TRANSITIONS {
            writeln!(f, "    {from} -> {to} [label=\"{event:?}\"];")?;
        }
        writeln!(f, "}}")
    }
}

#[cfg(test)]
mod tests;
