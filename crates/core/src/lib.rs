// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The decisions of a GPU job queue: events in, effects out.
//!
//! This crate decides and does nothing. A *host* (user space, the simulator, the kernel) feeds
//! it events, takes [`Effect`]s, and acts on them after it has released its lock. There is no
//! clock, no allocation, no thread, no atomic, no unsafe code and no dependency here, so the very
//! same code decides everywhere.
//!
//! Start at [`Queue`]; the life of a job is drawn in [`state`].
//!
//! ```
//! use ringfence_core::{Config, Context, Effect, Entry, Queue, Request, RunOutcome, Time, Visit};
//!
//! let mut queue = Queue::new(Config::default(), [Entry::FREE; 4])?;
//! let now = Time::ZERO;
//!
//! // The submitter's part.
//! let room = queue.prepare(Request { cost: 1, ..Request::default() })?;
//! let job = queue.arm(room)?;
//! queue.submit(job, 0, false, now)?;
//! let mut submitter = Visit::new(Context::Submit);
//! assert_eq!(queue.next(&mut submitter, now), Some(Effect::Kick));
//!
//! // The worker's.
//! let mut worker = queue.worker_enters();
//! assert_eq!(queue.next(&mut worker, now), Some(Effect::Run { job }));
//! queue.run_returned(&mut worker, job, RunOutcome::Done)?;
//! assert!(matches!(queue.next(&mut worker, now), Some(Effect::Signal { .. })));
//! queue.signalled(&mut worker, job)?;
//! assert_eq!(queue.next(&mut worker, now), Some(Effect::Reap { job }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(not(kernel), no_std)]
#![forbid(unsafe_code)]

mod credit;
pub mod effect;
pub mod entry;
pub mod error;
pub mod gate;
mod guilt;
pub mod log;
pub mod queue;
pub mod snapshot;
pub mod state;
pub mod stats;
pub mod time;
mod timeout;

pub use effect::{Attempt, Context, Effect, JobId, Outcome, Visit};
pub use entry::{Entry, HasEntry, PrepareError, Refused};
pub use error::Errno;
pub use gate::{Gate, GateReport, Out};
pub use guilt::{Ban, Standing};
pub use log::{Record, Records, Slot, What};
pub use queue::{
    Cancelled, ClosePolicy, Completed, Config, ConfigError, Lifecycle, OnDependencyError, Queue,
    ReplayOutcome, Request, Reservation, RunOutcome, Terms, TimeoutOutcome, Violation, Walked,
    WorkerRest,
};
pub use snapshot::Snapshot;
pub use state::State;
pub use stats::Stats;
pub use time::{Now, Time};
pub use timeout::Timeout;
