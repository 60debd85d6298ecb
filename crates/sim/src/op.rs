// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Everything a host, a client, a device or a clock can do to one queue.
//!
//! An operation means something whatever the queue's state: it chooses by index modulo what there
//! is, and does nothing where there is nothing to choose from. So any part of a sequence of
//! operations is a sequence of operations, and a failing one can be made shorter.

use ringfence_core::{ClosePolicy, Context, Gate};

/// Which job an operation is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pick {
    /// One of those that the operation fits.
    Fit(u8),
    /// Any that is in line, fitting or not.
    Any(u8),
    /// One that is gone, or was never armed.
    Gone(u8),
}

/// What a run callback says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunAnswer {
    /// The job is on the hardware.
    Pending,
    /// Done at once.
    Done,
    /// It could not be put there.
    Failed,
    /// No room.
    NoResources,
}

/// What a timeout callback says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The job goes on.
    NoHang,
    /// It gets more time, in nanoseconds.
    Extend(u16),
    /// It hung and was dealt with.
    Handled,
    /// It hangs, and dealing with it takes a recovery.
    Reset,
    /// Nothing is left of the device.
    DeviceGone,
}

/// What who has stopped a queue says of a job that the walk lent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WalkAnswer {
    /// It stays on the hardware.
    Keep,
    /// The hardware had done it.
    Completed,
    /// It failed.
    Failed,
    /// It is not wanted any more.
    Cancelled,
    /// It hung: a strike.
    TimedOut,
}

/// What a replay callback says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplayAnswer {
    /// The job is on the hardware again.
    Pending,
    /// It was done.
    Done,
    /// It could not be put there again.
    Failed,
}

/// Storage that a line may be moved into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Storage {
    /// Twice as long as the present one, up to a bound.
    Twice,
    /// Half as long.
    Half,
    /// Of so many elements, whether that can be a ring or not.
    Of(u8),
}

impl Storage {
    /// How many elements that is, where there are `entries` now; `None` where it would be too many.
    pub(crate) fn elements(self, entries: usize) -> Option<usize> {
        /// Longer ones show nothing new, and take time.
        const MOST: usize = 128;
        match self {
            Self::Twice => Some(entries * 2).filter(|twice| *twice <= MOST),
            Self::Half => Some(entries / 2),
            Self::Of(elements) => Some(usize::from(elements)),
        }
    }
}

/// An answer that a host must not give.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Foul {
    /// A run is answered for out of order, twice, or by a visit that was not told to.
    Run,
    /// A signal likewise.
    Signal,
    /// A timeout likewise.
    Timeout,
    /// A job that the walk lent, likewise.
    Walk,
    /// The worker leaves while it owes answers.
    Leave,
}

/// One thing that happens to a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// A client prepares a job. Some costs are above the queue's limit.
    Prepare {
        /// Its cost, modulo what makes sense for the queue.
        cost: u8,
        /// 0 for the queue's timeout, 1 for none, else that many tens of nanoseconds.
        timeout: u8,
        /// What a failed dependency does: 0 as the queue says, 1 fail, 2 run.
        on_error: u8,
        /// In a room that was set aside, where there is one: without asking the queue.
        aside: bool,
    },
    /// It lets a prepared job go.
    Release(u8),
    /// It arms one.
    Arm(u8),
    /// It submits one, with so many open dependencies; or drops it between arm and submit.
    Submit {
        /// Which.
        job: Pick,
        /// Dependencies that have not signalled.
        open: u8,
        /// Whether its submitter dropped it.
        abandoned: bool,
    },
    /// The host sets so many rooms aside for jobs to come, or as many as there are.
    SetAside(u8),
    /// It gives so many of them back, or as many as it has.
    PutBack(u8),
    /// It moves the line into other storage.
    MoveInto(Storage),
    /// A client prepares, arms and submits a job in one go, and then visits the queue. It takes a
    /// room that was set aside, where there is one.
    Push {
        /// As in [`Op::Prepare`].
        cost: u8,
        /// As in [`Op::Submit`].
        open: u8,
    },
    /// A dependency of a job signals.
    Dependency {
        /// Whose.
        job: Pick,
        /// Without an error.
        ok: bool,
    },
    /// The fence signals that a job waits for after it found no resources.
    Resource(Pick),
    /// A client cancels a job.
    Cancel(Pick),
    /// The hardware completes a job: on time, late, twice, or one it was never given.
    Complete {
        /// Which.
        job: Pick,
        /// Without an error.
        ok: bool,
    },
    /// A visit begins.
    Begin(Context),
    /// A visit asks for that many effects.
    Take {
        /// Which visit.
        visit: u8,
        /// How many, modulo a batch.
        count: u8,
    },
    /// A visit's oldest run callback returns.
    Run {
        /// Which visit.
        visit: u8,
        /// With what.
        answer: RunAnswer,
        /// The job completed before it returned, so.
        completed: Option<bool>,
    },
    /// A visit has signalled the oldest fence it was told to.
    Signal(u8),
    /// A visit's timeout callback returns.
    Verdict {
        /// Which visit.
        visit: u8,
        /// With what.
        verdict: Verdict,
    },
    /// A visit hands back the runs it has not begun.
    HandBack(u8),
    /// A whole visit at one go: begins, takes and answers until there is nothing left.
    Serve {
        /// Where.
        context: Context,
        /// What its run callbacks say.
        answer: RunAnswer,
        /// How many effects it takes before it answers.
        batch: u8,
    },
    /// The worker enters, kicked or not.
    Enter,
    /// It leaves, if it owes no answers.
    Leave,
    /// The timer fires: when it was asked to (the clock is put forward), or just so.
    Timer {
        /// When it was asked to.
        due: bool,
    },
    /// Time passes, in nanoseconds.
    Advance(u16),
    /// Someone who knows that the device is stuck ends the head's time.
    Trigger,
    /// The queue is killed.
    Kill,
    /// Its driver goes away.
    Unbind,
    /// The queue is closed.
    Close(ClosePolicy),
    /// It is suspended once more.
    Suspend,
    /// It is resumed once.
    Resume,
    /// Somebody sets its gate; refused where it has none.
    Gate(Gate),
    /// The last handle on it is gone.
    Abandon(ClosePolicy),
    /// A job of it was guilty of something that no outcome says.
    Strike,
    /// Somebody stops it.
    Stop,
    /// Who has stopped it starts it again.
    Start,
    /// Who has stopped it asks for the oldest job on the hardware, so many places after the first.
    Walk(u8),
    /// What is said of the job that the walk lent.
    Walked(WalkAnswer),
    /// The job that the walk lent is to be put on the hardware again.
    Replay,
    /// The replay callback returns.
    Replayed(ReplayAnswer),
    /// A completion arrives of an attempt before the present one.
    Stale {
        /// Of which job.
        job: Pick,
        /// Without an error.
        ok: bool,
    },
    /// The host breaks the rules: an error, and no change.
    Foul {
        /// How.
        foul: Foul,
        /// Which visit.
        visit: u8,
        /// About which job.
        job: u8,
    },
}
