// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What can be seen of a queue while it works.
//!
//! The events are those of the kernel's `gpu_scheduler` trace system
//! (`drivers/gpu/drm/scheduler/gpu_scheduler_trace.h`), which are stable interface, plus what
//! that has no event for.

use ringfence_core::{Attempt, Outcome, Time};

/// Watches queues. Set with [`Builder::observer`](crate::Builder::observer).
///
/// Called with no lock held, often inside a signalling section: must not allocate, sleep or wait
/// for a fence. Events of one queue may arrive out of order from several threads; their times
/// are right.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn observe(&self, event: &Event);
}

/// One thing that happened to one job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// When.
    pub time: Time,
    /// The fence context of the job's queue.
    pub context: u64,
    /// The job's sequence number.
    pub seqno: u64,
    /// What.
    pub kind: EventKind,
}

/// What happened to a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// It was handed to the queue (`drm_sched_job_queue`).
    Queued {
        /// Credits it costs.
        cost: u32,
        /// Jobs of the queue that were not on the hardware yet, itself not counted.
        depth: u64,
    },
    /// It waits for a fence (`drm_sched_job_add_dep`).
    Dependency {
        /// The fence's context.
        context: u64,
        /// The fence's sequence number.
        seqno: u64,
    },
    /// The driver's run callback is about to be called (`drm_sched_job_run`).
    Run {
        /// By the submitting thread.
        bypass: bool,
    },
    /// The run callback found no resources and named a fence to wait for
    /// (`drm_sched_job_unschedulable`).
    Unschedulable {
        /// The fence's context.
        context: u64,
        /// The fence's sequence number.
        seqno: u64,
    },
    /// Its fence is about to signal (`drm_sched_job_done`).
    Done {
        /// How it ended.
        outcome: Outcome,
    },
    /// Its time is up; the driver is about to be asked.
    TimedOut,
    /// It is about to be put on the hardware again, with the fence it has.
    Replay {
        /// Which attempt this is.
        attempt: Attempt,
    },
}
