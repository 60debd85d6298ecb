// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who runs a queue: the trait for executors, and the shared pool.
//!
//! A queue decides *that* a worker must come ([`Effect::Kick`](ringfence_core::Effect::Kick)) and
//! when its timer must fire; an executor decides *which thread* does it. A queue is handed to one
//! worker at a time, because core does not kick a worker that is on its way or at work.

#[cfg(all(test, feature = "loom"))]
mod loom_tests;
mod pool;
mod timers;

use std::fmt;
use std::sync::{Arc, Weak};

use ringfence_core::Time;

pub use pool::Pool;

/// What an executor runs: a queue.
pub trait Runnable: Send + Sync {
    /// Visits as the queue's worker, on a thread of the executor. What comes back with
    /// [`Rest::Again`] the executor must call again, after others have had their turn.
    fn work(self: Arc<Self>) -> Rest;

    /// The time given to [`Executor::arm_timer`] has come, or passed. Any thread.
    fn timer_fired(self: Arc<Self>, now: Time);
}

/// What a worker leaves behind.
#[must_use]
pub enum Rest {
    /// Nothing: it will be scheduled when there is something.
    Idle,
    /// More to do; gives the runnable back.
    Again(Arc<dyn Runnable>),
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "Idle",
            Self::Again(_) => "Again",
        })
    }
}

/// A runnable's place with its executor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Place(pub(crate) usize);

impl Place {
    /// The place that an executor calls `number`; what it means is the executor's affair.
    pub const fn new(number: usize) -> Self {
        Self(number)
    }

    /// What the executor called it.
    pub const fn number(self) -> usize {
        self.0
    }
}

/// Threads (or something like them) that run queues.
///
/// `schedule` and `arm_timer` are called inside signalling sections: they must not allocate,
/// sleep or wait for a fence. All memory is taken in `register`. Where jobs are completed or fences
/// signalled in [interrupt handlers](crate::irq) they are called there too, and must be
/// interrupt-safe; those of [`Pool`] are.
pub trait Executor: Send + Sync + fmt::Debug {
    /// Makes room for a runnable: one place in the run list, one timer. May allocate and sleep.
    fn register(&self, runnable: Weak<dyn Runnable>) -> Place;

    /// Gives the room back. No timer of it fires after.
    fn unregister(&self, place: Place);

    /// Has [`Runnable::work`] called soon, once. Not called again before that call has returned
    /// [`Rest::Idle`].
    fn schedule(&self, runnable: Arc<dyn Runnable>);

    /// Has [`Runnable::timer_fired`] called at `at` or soon after, once. Replaces the time given
    /// before.
    fn arm_timer(&self, place: Place, at: Time);
}
