// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is recorded about a run: plain data without a heap behind it.
//!
//! An [`Event`] is `Copy` and can be built in any context, including inside a signalling section.
//! Names live beside the events, in [`Tracks`], and are filled in once per run.

use std::fmt;

/// The finished fence of one job: its context (timeline) and its sequence number there.
///
/// This is also how a job is named, because every job has exactly one finished fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FenceId {
    /// The fence context. Every queue has its own.
    pub context: u64,
    /// The place in the context, counted from 1.
    pub seqno: u64,
}

impl FenceId {
    /// Names the fence `seqno` of `context`.
    pub const fn new(context: u64, seqno: u64) -> Self {
        Self { context, seqno }
    }
}

impl fmt::Display for FenceId {
    /// Writes `context:seqno`, as the kernel's events do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.context, self.seqno)
    }
}

/// A hardware slot: an index into [`Tracks::slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u32);

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in nanoseconds of `CLOCK_MONOTONIC` (or of any clock that does not run backwards, as
    /// long as all events of a trace use the same one).
    pub timestamp: u64,
    /// What.
    pub kind: EventKind,
}

impl Event {
    /// An event at `timestamp` nanoseconds.
    pub const fn new(timestamp: u64, kind: EventKind) -> Self {
        Self { timestamp, kind }
    }
}

/// What happened. The first five are the kernel's `gpu_scheduler` events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A job was submitted to its queue (`drm_sched_job_queue`).
    Queued {
        /// The job.
        job: FenceId,
        /// Its cost in credits.
        cost: u32,
        /// Jobs of the queue that were waiting before this one came.
        waiting: u32,
        /// Jobs of the ring that were on the hardware.
        on_hardware: u32,
    },
    /// A job waits for a fence (`drm_sched_job_add_dep`). It may come before the job is queued.
    DependencyAdded {
        /// The job that waits.
        job: FenceId,
        /// The fence it waits for; often another job's, but not always.
        on: FenceId,
    },
    /// A job was handed to the hardware (`drm_sched_job_run`).
    Run {
        /// The job.
        job: FenceId,
        /// Jobs of the queue that still wait.
        waiting: u32,
        /// Jobs of the ring on the hardware, this one included.
        on_hardware: u32,
    },
    /// A job's finished fence was signalled (`drm_sched_job_done`).
    Done {
        /// The job.
        job: FenceId,
        /// 0, or the negative errno the fence carries.
        error: i32,
    },
    /// The job at the head of its queue cannot run yet (`drm_sched_job_unschedulable`).
    Unschedulable {
        /// The job.
        job: FenceId,
        /// The unsignalled fence that it waits for.
        waits_for: FenceId,
    },
    /// A hardware slot began to execute a context.
    SliceBegin {
        /// The slot.
        slot: SlotId,
        /// The context that was put on it; a queue's fence context where it has one.
        context: u64,
        /// The job it works on, where the device knows.
        seqno: Option<u64>,
    },
    /// A hardware slot stopped executing what it had begun.
    SliceEnd {
        /// The slot.
        slot: SlotId,
    },
    /// Something without a duration.
    Instant {
        /// Where it shows.
        place: Place,
        /// What it was.
        what: InstantKind,
        /// The job concerned, where there is one.
        job: Option<FenceId>,
    },
}

/// Where an instant belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The queue with this fence context.
    Queue(u64),
    /// A hardware slot.
    Slot(SlotId),
}

/// The instants worth a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstantKind {
    /// The head job's clock ran out.
    Timeout,
    /// The hardware reported a fault.
    Fault,
    /// The hardware stopped making progress.
    Hang,
    /// A job was cancelled.
    Cancel,
    /// The queue was killed.
    Kill,
    /// The device or the slot was reset.
    Reset,
    /// A context had to leave its slot in the middle of a job.
    Preempt,
}

impl InstantKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 7] = [
        Self::Timeout,
        Self::Fault,
        Self::Hang,
        Self::Cancel,
        Self::Kill,
        Self::Reset,
        Self::Preempt,
    ];

    /// The name as it stands in a trace.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Fault => "fault",
            Self::Hang => "hang",
            Self::Cancel => "cancel",
            Self::Kill => "kill",
            Self::Reset => "reset",
            Self::Preempt => "preempt",
        }
    }
}

/// A queue as a trace shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueTrack {
    /// The queue's name, for people.
    pub name: String,
    /// The context of its finished fences; it identifies the queue.
    pub context: u64,
    /// The device the ring belongs to (`dev=` in the kernel's events).
    pub device: String,
    /// The hardware ring that the queue feeds (`ring=` in the kernel's events).
    pub ring: String,
    /// The DRM client that owns the queue; 0 where there is none.
    pub client_id: u64,
}

/// A hardware slot as a trace shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotTrack {
    /// The slot's name, for people.
    pub name: String,
}

/// The names behind the numbers in events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracks {
    /// The process all of it happened in.
    pub process: String,
    /// Its process id.
    pub pid: u32,
    /// The queues, in the order in which they shall be shown.
    pub queues: Vec<QueueTrack>,
    /// The hardware slots; [`SlotId`] is an index into them.
    pub slots: Vec<SlotTrack>,
}

/// A whole recording: names and events.
///
/// Events may be in any order (threads record side by side); the writers sort them by time and keep
/// the given order among equals. Events that name a queue or a slot that is not in `tracks` are not
/// lost: the writers make up a track for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The names.
    pub tracks: Tracks,
    /// What happened.
    pub events: Vec<Event>,
    /// Events that were not recorded because the buffer was full.
    pub dropped: u64,
}
