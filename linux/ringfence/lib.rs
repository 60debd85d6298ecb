// SPDX-License-Identifier: GPL-2.0 OR MIT
//! GPU submission for kernel drivers: job queues over the kernel's `dma_fence`.
//!
//! A driver implements [`Driver`] and makes a [`Queue`] for each context. Clients
//! [prepare](Queue::prepare) jobs, which may fail, and [submit](Prepared::submit) them, which
//! cannot; the queue owns them from then on, runs them when what they depend on has signalled and
//! the hardware has room, watches them, and signals their [`Fence`]s, exactly once and in order,
//! whatever goes wrong.
//!
//! What is decided is decided by `ringfence_core`, the same code that decides in user space and in
//! the simulator; this crate supplies locks, workqueues, timers, fences and memory. The words and
//! shapes are those of the user-space crate of the same name.
//!
//! | what | may be called |
//! |---|---|
//! | [`Queue::prepare`], [`Prepared::depends_on`] | by the flags given; not in a fence callback |
//! | [`Prepared::submit`] | any context but a fence callback; never allocates, never sleeps |
//! | [`Completion::complete`], [`Completion::complete_in_irq`] | any context but a fence callback |
//! | [`Completion::complete_in_callback`] | in a fence callback |
//! | [`Queue::stop`], [`Device::unbind`], waits | where sleeping is allowed, outside signalling sections |

#![allow(clippy::missing_safety_doc)]

mod callback;
mod clock;
mod dependency;
mod device;
mod driver;
mod executor;
pub mod fence;
mod job;
mod lock;
mod queue;
mod recovery;
mod section;
mod shared;
mod stop;
mod sys;
mod trace;

pub use clock::monotonic;
pub use device::{Device, DeviceBuilder, UnbindError};
pub use driver::{
    Completion, Driver, DropInIrq, Reaping, Replay, ReplayOutcome, RunOutcome, Submission,
    TimedOutJob, TimeoutOutcome,
};
pub use executor::Executor;
pub use fence::{Fence, Signaller, Timeline};
pub use job::{
    Armed, Guarded, NotCovered, PrepareError, PrepareFailed, Prepared, SubmissionGuard, GUARD_MAX,
};
pub use lock::{Guard as LockGuard, Lock};
pub use queue::{BuildError, Builder, LongRunning, Mode, NoSuchJob, Normal, Queue};
pub use recovery::{Hang, Recovery, RequestError};
pub use ringfence_core::{
    Attempt, Ban, Cancelled, ClosePolicy, ConfigError, Errno, OnDependencyError, Outcome, Request,
    Standing, Stats, Time, Timeout,
};
pub use section::SignallingSection;
pub use stop::{
    DeviceStop, Guilty, PendingJob, QueueStop, Recovered, Replayed, Rest, StopError, StopGuard,
    StoppedQueue, Walk,
};

/// What the kernel crate's printing macros begin lines with.
const __LOG_PREFIX: &[u8] = b"ringfence\0";

/// An error number as the kernel's functions return it.
pub fn to_error(error: Errno) -> kernel::error::Error {
    kernel::error::Error::from_errno(error.get())
}
