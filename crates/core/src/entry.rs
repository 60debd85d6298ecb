// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The storage of one job, lent to core by the host.

use crate::effect::{Attempt, Outcome};
use crate::error::Errno;
use crate::log::{Records, Slot, RECORDS};
use crate::state::{JobEvent, State};
use crate::time::Time;

/// What a driver callback is doing with a job, whatever its state: a job that is lent is not
/// reaped, even when its fence has signalled meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Lent {
    #[default]
    No,
    /// To the run callback.
    Run,
    /// To the timeout callback.
    Timeout,
    /// To who has stopped the queue and walks its jobs.
    Walk,
    /// To the replay callback.
    Replay,
}

/// The storage of one job. A host lends core a power of two of them at creation.
///
/// # Invariants
///
/// An entry in state [`State::Free`] is all default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry {
    pub(crate) state: State,
    pub(crate) lent: Lent,
    /// Waits for a fence named by `NoResources`; not a dependency, since the job may end without.
    pub(crate) resource_wait: bool,
    /// Run although a dependency failed.
    pub(crate) run_on_dependency_error: bool,
    pub(crate) extensions: u8,
    /// How often it has been put on the hardware again.
    pub(crate) attempt: Attempt,
    /// Dependencies that have not signalled.
    pub(crate) open: u32,
    pub(crate) cost: u32,
    /// In nanoseconds; zero for none.
    pub(crate) timeout_ns: u64,
    /// Known before the job is done only while it is armed (cancelled before submit) and while
    /// `open` is not zero: a fence must not signal before what its job waited for has.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) submitted_at: Time,
}

impl Entry {
    /// An entry without a job.
    pub const FREE: Self = Self {
        state: State::Free,
        lent: Lent::No,
        resource_wait: false,
        run_on_dependency_error: false,
        extensions: 0,
        attempt: Attempt::FIRST,
        open: 0,
        cost: 0,
        timeout_ns: 0,
        outcome: None,
        submitted_at: Time::ZERO,
    };

    /// Steps along the transition table; an illegal event changes nothing.
    #[inline]
    pub(crate) fn step(&mut self, event: JobEvent) -> Result<(), Refused> {
        match self.state.after(event) {
            Some(next) => {
                self.state = next;
                Ok(())
            }
            None => Err(Refused::Illegal {
                state: self.state,
                event,
            }),
        }
    }

    /// Gives the job its outcome. Returns the credits that it held.
    #[inline]
    pub(crate) fn finish(&mut self, outcome: Outcome) -> Result<u32, Refused> {
        let credits = match self.state.holds_credits() {
            true => self.cost,
            false => 0,
        };
        self.step(JobEvent::Finish)?;
        self.outcome = Some(outcome);
        self.resource_wait = false;
        Ok(credits)
    }

    /// Nothing but its turn and credits keep the job from running.
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        self.state == State::Queued && self.open == 0 && !self.resource_wait
    }
}

/// One element of the storage: an entry, and what else the host keeps for the job beside it.
///
/// A host that has something to look up for each job puts it here, into the same cache line.
pub trait HasEntry {
    /// Memory for the last events of a queue of such elements.
    type Records: Records;

    /// The entry.
    fn entry(&self) -> &Entry;

    /// The entry.
    fn entry_mut(&mut self) -> &mut Entry;
}

impl HasEntry for Entry {
    type Records = [Slot; RECORDS];

    #[inline]
    fn entry(&self) -> &Entry {
        self
    }

    #[inline]
    fn entry_mut(&mut self) -> &mut Entry {
        self
    }
}

/// Why core refused a job, before it had a sequence number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrepareError {
    /// As many jobs are prepared or unfinished as the queue has entries.
    Full,
    /// The job costs more credits than the queue has, so it could never run.
    CostAboveLimit {
        /// What the job costs.
        cost: u32,
        /// What the queue has.
        limit: u32,
    },
    /// The queue takes no more jobs.
    Closed,
    /// The queue was killed with this error.
    Killed(Errno),
    /// The queue was banned: too many of its jobs were guilty of hangs or faults.
    Banned,
}

impl PrepareError {
    /// The error number to give to a caller that wants one.
    pub const fn errno(self) -> Errno {
        match self {
            Self::Full => Errno::ENOSPC,
            Self::CostAboveLimit { .. } => Errno::EINVAL,
            Self::Closed => Errno::ECANCELED,
            Self::Killed(error) => error,
            Self::Banned => Errno::EIO,
        }
    }
}

impl core::fmt::Display for PrepareError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Full => f.write_str("the queue is full"),
            Self::CostAboveLimit { cost, limit } => {
                write!(
                    f,
                    "the job costs {cost} credits, the queue has {limit} in all"
                )
            }
            Self::Closed => f.write_str("the queue is closed"),
            Self::Killed(error) => write!(f, "the queue was killed with {error}"),
            Self::Banned => {
                f.write_str("the queue is banned: too many of its jobs hung or faulted")
            }
        }
    }
}

impl core::error::Error for PrepareError {}

/// Why core refused an event. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// No such job now: it is gone, or was never armed.
    Unknown,
    /// The event does not fit the job's state.
    Illegal {
        /// The job's state.
        state: State,
        /// The event.
        event: JobEvent,
    },
    /// The visit does not hold what it answers for, or answers out of order.
    NotHeld,
    /// A count would go below zero or above its range.
    Count,
    /// Somebody else has stopped the queue.
    Stopped,
    /// The queue is not stopped, or a driver callback or a walk is still out.
    NotQuiet,
    /// The queue is being closed and its time for that is up: nothing is begun any more.
    Overdue,
    /// The queue has no gate.
    NotGated,
}

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unknown => f.write_str("no such job"),
            Self::Illegal { state, event } => write!(f, "{event:?} cannot happen to a {state} job"),
            Self::NotHeld => f.write_str("this visit does not hold the job it answers for"),
            Self::Count => f.write_str("a count would leave its range"),
            Self::Stopped => f.write_str("somebody else has stopped the queue"),
            Self::NotQuiet => f.write_str("the queue is not stopped, or a job of it is still lent"),
            Self::Overdue => f.write_str("the time for closing the queue is up"),
            Self::NotGated => f.write_str("the queue has no gate"),
        }
    }
}

impl core::error::Error for Refused {}
