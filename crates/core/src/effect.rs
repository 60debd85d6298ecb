// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What core asks of its host, and what it must know of the host to ask.

use core::fmt;

use crate::error::Errno;
use crate::gate::Out;
use crate::time::Time;

/// A job of one queue: its sequence number on the queue's timeline.
///
/// Never used again for another job of the same queue, so a late event about a job that is gone
/// is recognised, counted and ignored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct JobId(pub(crate) u64);

impl JobId {
    /// The job with sequence number `seqno`. Sequence numbers wrap at 2^64.
    pub const fn from_seqno(seqno: u64) -> Self {
        Self(seqno)
    }

    /// The job's sequence number.
    pub const fn seqno(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Which time a job is on the hardware: it is run once, and may be replayed after resets.
///
/// A completion belongs to an attempt. One of an earlier attempt, as an interrupt from before a
/// reset that comes late, is counted and ignored: it must not end a job that is being done again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
#[repr(transparent)]
pub struct Attempt(u8);

impl Attempt {
    /// The one that run begins.
    pub const FIRST: Self = Self(0);

    /// The next one, by a replay. `None` after 255 replays.
    pub(crate) const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(next) => Some(Self(next)),
            None => None,
        }
    }

    /// How often the job has been replayed.
    pub const fn replays(self) -> u8 {
        self.0
    }
}

/// How a job ended. Each armed job ends in exactly one way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// The hardware did the work.
    Completed,
    /// The hardware or the driver reported an error, or a dependency failed.
    Failed(Errno),
    /// It was not wanted any more before the hardware had it.
    Cancelled(Errno),
    /// The driver confirmed a hang.
    TimedOut(Errno),
}

impl Outcome {
    /// What the job's fence says.
    pub const fn result(self) -> Result<(), Errno> {
        match self {
            Self::Completed => Ok(()),
            Self::Failed(error) | Self::Cancelled(error) | Self::TimedOut(error) => Err(error),
        }
    }
}

/// Where the host runs. Core hands out only the effects that are legal there.
///
/// | effect | `Irq` | `Nested` | `Task` | `Submit` | `Worker` |
/// |---|---|---|---|---|---|
/// | `Signal` | yes | kick | yes | yes | yes |
/// | `Reap` | only where payloads are declared safe to drop there | kick | yes | yes | yes |
/// | `Run` | kick | kick | kick | where bypass is on | yes |
/// | `TimedOut` | kick | kick | kick | kick | yes |
/// | `Recover` | kick | kick | kick | kick | yes |
/// | `Gate` | kick | kick | yes | yes | yes |
/// | `Closed` | kick | kick | yes | yes | yes |
/// | `ArmTimer` | yes | yes | yes | yes | yes |
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Context {
    /// An interrupt handler: nothing may sleep.
    Irq,
    /// Inside the effects of so many other visits that the stack must not grow: everything is
    /// left to the worker. Fences that fail each other in a long chain get here.
    Nested,
    /// A thread that may sleep but must not be made to run the driver: one that completes a
    /// job, signals a dependency, kills or closes the queue.
    Task,
    /// The thread that submits a job.
    Submit,
    /// The queue's worker.
    Worker,
}

/// One thing the host must do, after it has released the queue's lock.
///
/// `Run`, `Signal` and `TimedOut` stay *outstanding* until the host answers
/// ([`Queue::run_returned`], [`Queue::signalled`], [`Queue::timed_out_returned`]); the others
/// are handed over for good.
///
/// [`Queue::run_returned`]: crate::Queue::run_returned
/// [`Queue::signalled`]: crate::Queue::signalled
/// [`Queue::timed_out_returned`]: crate::Queue::timed_out_returned
#[must_use = "an effect that is not acted on is a lost job"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Signal the job's fence with this outcome. Signals are handed out in sequence order, to
    /// one visit at a time; perform and answer them in that order.
    Signal {
        /// The job.
        job: JobId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Call the driver's run callback with the job. Runs are handed out in sequence order, to
    /// one visit at a time; call and answer them in that order.
    Run {
        /// The job.
        job: JobId,
    },
    /// Call the driver's timeout callback with the job. No run is outstanding meanwhile.
    TimedOut {
        /// The job.
        job: JobId,
        /// How many more extensions the driver may ask for.
        extensions_left: u8,
    },
    /// Have the device's recovery stop the queue and deal with the hang that a timeout callback
    /// found at this job. The queue holds still until it is started again. Handed out once.
    Recover {
        /// The job, which may end meanwhile.
        job: JobId,
    },
    /// Take the job's payload out of the host's storage, in this lock hold, and drop it after.
    Reap {
        /// The job, whose entry is free from now on.
        job: JobId,
    },
    /// Call [`Queue::timer_fired`](crate::Queue::timer_fired) at `at` or later. Replaces the
    /// time asked for before.
    ArmTimer {
        /// When.
        at: Time,
    },
    /// Tell who sets the queue's gate what it wants and what is out: a
    /// [`GateReport`](crate::GateReport), whose fields stand here so that an effect stays two words.
    /// Handed out when what is so differs from what was told last, and for every change of the
    /// gate, until [`Effect::Closed`] has been handed out.
    Gate {
        /// The report's version.
        version: u64,
        /// Whether the queue has use for the hardware.
        wants: bool,
        /// What is out.
        out: Out,
    },
    /// Have the queue's worker visit. Not asked again until the worker has gone idle.
    Kick,
    /// The queue is closed or killed and has no job left. Handed out once. Rooms prepared before
    /// may still be armed: such a job runs no driver callback, its fence signals an error.
    Closed,
}

/// One context's stay at a queue: it takes effects, acts on them without the lock, answers.
///
/// Holds the *batons*: while a visit has runs (or signals) outstanding, no other visit is handed
/// any, so driver callbacks never overlap and fences never signal out of order. A visit must be
/// carried on until [`Queue::next`](crate::Queue::next) has nothing left for it.
///
/// # Invariants
///
/// `runs` and `signals` count effects handed to this visit and not yet answered.
#[must_use = "a visit that is dropped early keeps the batons it holds for ever"]
#[derive(Debug)]
pub struct Visit {
    pub(crate) context: Context,
    pub(crate) runs: u16,
    pub(crate) signals: u16,
    pub(crate) timeouts: u16,
}

impl Visit {
    /// Begins a visit in `context`.
    pub const fn new(context: Context) -> Self {
        Self {
            context,
            runs: 0,
            signals: 0,
            timeouts: 0,
        }
    }

    /// Where this visit runs.
    pub const fn context(&self) -> Context {
        self.context
    }

    /// True while the host still owes answers.
    pub const fn owes_answers(&self) -> bool {
        self.runs != 0 || self.signals != 0 || self.timeouts != 0
    }
}
