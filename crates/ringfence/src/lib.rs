// SPDX-License-Identifier: GPL-2.0 OR MIT
//! GPU submission for user space: fences, job queues, executors, device scopes.
//!
//! A driver implements [`Driver`] and makes a [`Queue`] for each context. Clients
//! [prepare](Queue::prepare) jobs, which may fail, and [submit](Prepared::submit) them, which
//! cannot; the queue owns them from then on, runs them when what they depend on has signalled
//! and the hardware has room, watches them, and signals their [`Fence`]s, exactly once and in
//! order, whatever goes wrong.
//!
//! What is decided is decided by [`ringfence_core`]; this crate supplies threads, locks, clocks
//! and memory.

mod clock;
mod counted;
mod dependency;
mod device;
mod driver;
pub mod executor;
pub mod fence;
mod gate;
pub mod irq;
mod job;
mod observe;
mod queue;
mod recovery;
pub mod section;
mod shared;
mod stop;
mod sync;

pub use clock::{monotonic, set_default_timeout};
pub use device::{Device, DeviceBuilder, UnbindError};
pub use driver::{
    Completion, Driver, Replay, ReplayOutcome, RunOutcome, Submission, TimedOutJob, TimeoutOutcome,
};
pub use executor::{Executor, Pool};
pub use fence::{Fence, Signaller, Timeline};
pub use gate::{Gate, GateControl};
pub use job::{Armed, Guarded, NotCovered, PrepareFailed, Prepared, SubmissionGuard};
pub use observe::{Event, EventKind, Observer};
pub use queue::{
    BuildError, Builder, InspectError, Inspection, LongRunning, Mode, NoSuchJob, Normal, Queue,
};
pub use recovery::{Hang, Recovery, RequestError};
pub use ringfence_core::{
    Attempt, Ban, Cancelled, ClosePolicy, Errno, GateReport, OnDependencyError, Out, Outcome,
    PrepareError, Request, Standing, Stats, Time, Timeout,
};
pub use stop::{
    DeviceStop, Guilty, PendingJob, QueueStop, Recovered, Replayed, Rest, StopError, StopGuard,
    StoppedQueue, Walk,
};
pub use sync::{SleepingMutex, SleepingMutexGuard};
