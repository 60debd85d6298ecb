// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who runs a queue: the trait for executors, shared pools, and pools by priority.
//!
//! A queue decides *that* a worker must come ([`Effect::Kick`](ringfence_core::Effect::Kick)) and
//! when its timer must fire; an executor decides *which thread* does it. A queue is handed to one
//! worker at a time, because core does not kick a worker that is on its way or at work.
//!
//! # Real time
//!
//! A queue whose jobs must run at once, whatever ordinary threads are doing, is built on a pool with
//! [real-time workers](PoolBuilder::real_time), or on the level of [`PriorityPools`] that has them.
//! What counts most is a job that waits for a fence. Whoever signals it, an ordinary thread, another
//! fence's callback or an interrupt handler, only counts it off and schedules the queue; a worker of
//! the pool runs the job. From the signal to `run` no ordinary thread has a part in it, with these
//! exceptions, which are the caller's to avoid:
//!
//! - **Bypass.** A queue with [bypass](crate::Builder::bypass) runs jobs on the threads that submit
//!   them. While such a thread is in `run`, or preempted in it, the real-time worker leaves the
//!   queue to it. So leave bypass off, as it is if not said; or submit from real-time threads alone.
//! - **A signal inside a fence's callback** takes effect when that callback has returned. What
//!   real-time jobs wait for is not signalled in callbacks that take long. Callbacks of one fence are
//!   called in the order in which they were registered.
//! - **Completing jobs.** Fences of a queue signal in order, one thread at a time. Where an ordinary thread
//!   completes a job and is preempted in a callback of its fence, the queue's later jobs run, but their
//!   fences wait for it. So real-time jobs are completed by real-time threads, interrupt handlers, or in
//!   `run`.
//! - **A long `run` of another queue on the same worker.** `threads` says how many may be out.
//! - **A lock of a few dozen instructions** whose ordinary holder has just been preempted: the
//!   real-time thread naps for microseconds at a time until the holder has had a turn. There is no
//!   priority inheritance, so a processor full of other ordinary threads may keep it waiting for
//!   as long as they do the holder.
//! - **Memory.** Workers drop payloads after fences have signalled: the allocator's locks and page faults are
//!   between one job and the next. `mlockall(2)` is the program's to call.

mod builder;
mod levels;
#[cfg(all(test, feature = "loom"))]
mod loom_tests;
mod pool;
mod scheduling;
mod timers;

use std::fmt;
use std::sync::{Arc, Weak};

use ringfence_core::Time;

pub use builder::PoolBuilder;
pub use levels::{Priority, PriorityPools, PriorityPoolsBuilder};
pub use pool::Pool;
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(crate) use scheduling::is_real_time;
pub use scheduling::{RealTimePriority, Refusal, Scheduling};

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
