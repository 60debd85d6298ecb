// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a checked plan says, with indices in the place of names.

mod fault;
pub mod orchestrator;

pub use fault::{FaultKind, FaultPlan, FaultRule};
pub use orchestrator::{DuePlan, GangPlan, OrchestratorPlan, PolicyPlan, ShareExpect, WaitExpect};

use std::ops::RangeInclusive;
use std::time::Duration;

use ringfence_orchestrator::{Priority, Weight};
use ringfence_softgpu::SlotKind;

/// The place of a queue in [`Plan::queues`](super::Plan::queues).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueIndex(pub usize);

/// The place of a stream in [`Plan::streams`](super::Plan::streams).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamIndex(pub usize);

/// One job of a plan: the stream and the job's place in it, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobIndex {
    /// The stream that submits the job.
    pub stream: StreamIndex,
    /// The job's place in that stream.
    pub job: u64,
}

/// The device of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePlan {
    /// How many contexts can be on the hardware at once.
    pub slots: u32,
    /// What kind each slot is of, where the plan says.
    pub slot_kinds: Vec<SlotKind>,
    /// Who gives slots to queues; the firmware does where it is `None`.
    pub orchestrator: Option<OrchestratorPlan>,
    /// Video memory, in bytes.
    pub vram: u64,
    /// How long a context stays on a slot while others wait for one.
    pub time_slice: Duration,
    /// What is reset when a job hangs.
    pub recovery: RecoveryMode,
    /// Fresh devices to which everything can be moved.
    pub standby: u32,
    /// What happens to the device while the plan runs.
    pub events: Vec<EventPlan>,
}

/// What is reset when a job hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryMode {
    /// The context of its queue; the others do not notice.
    Queue,
    /// The whole device.
    Device,
}

/// Something that happens to the whole device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// It is pulled out, and the bus says so.
    Unplug,
    /// It is pulled out, and nobody says so.
    SurpriseUnplug,
    /// All jobs are moved to a fresh one.
    Migrate,
    /// It is reset, though nothing was wrong.
    Reset,
    /// Queues are due something else from now on.
    Change {
        /// The first of them.
        first: QueueIndex,
        /// How many.
        count: usize,
        /// Their new priority, if it changes.
        priority: Option<Priority>,
        /// Their new weight, if it changes.
        weight: Option<Weight>,
    },
}

impl EventKind {
    /// The word that stands for it in a plan.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unplug => "unplug",
            Self::SurpriseUnplug => "surprise-unplug",
            Self::Migrate => "migrate",
            Self::Reset => "reset",
            Self::Change { .. } => "change",
        }
    }
}

/// An event and when it happens, counted in the jobs that all streams have submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPlan {
    /// The event.
    pub kind: EventKind,
    /// After so many jobs for the first time.
    pub after: u64,
    /// And again each time after so many more.
    pub every: Option<u64>,
}

impl EventPlan {
    /// Whether it happens when so many jobs have been submitted.
    pub fn is_due(&self, jobs: u64) -> bool {
        match (jobs.checked_sub(self.after), self.every) {
            (None, _) => false,
            (Some(0), _) => true,
            (Some(more), every) => every.is_some_and(|every| more.is_multiple_of(every)),
        }
    }
}

/// What becomes of a job when one of its dependencies has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDependencyError {
    /// The job is not run and fails with the same error.
    Cancel,
    /// The job runs all the same.
    Run,
}

/// What becomes of queued jobs when their queue is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// They are cancelled, in order.
    Cancel,
    /// They still run, in order.
    Drain,
}

/// What becomes of innocent jobs when the context of their queue is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterReset {
    /// They are put on the hardware again.
    Replay,
    /// They are cancelled.
    Cancel,
}

/// A queue of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePlan {
    /// A name no other queue has.
    pub name: String,
    /// Whether jobs may run on the submitting thread.
    pub bypass: bool,
    /// The most credits that may be on the hardware at once.
    pub credits: u32,
    /// The most jobs that may be in the queue, a power of two.
    pub capacity: u32,
    /// How long the head job may be pending.
    pub timeout: Duration,
    /// How often a timed-out job's time is extended before the job is given up.
    pub extensions: u32,
    /// What becomes of a job whose dependency has failed.
    pub on_dependency_error: OnDependencyError,
    /// What becomes of queued jobs at close.
    pub close: CloseMode,
    /// How long closing may take, where there is a limit.
    pub close_timeout: Option<Duration>,
    /// Guilty jobs that ban the queue; 0 where none do.
    pub strikes: u32,
    /// A strike later than this after the one before begins the count anew.
    pub strikes_within: Option<Duration>,
    /// What becomes of the innocent jobs on the hardware when the queue's context is reset.
    pub after_reset: AfterReset,
    /// The ring's size in bytes, a power of two.
    pub ring: u64,
    /// What it is due where the device has an orchestrator.
    pub due: DuePlan,
}

/// A quantity that is fixed or random within bounds.
///
/// # Invariants
///
/// Both ends are multiples of `step`, and `min <= max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    min: u64,
    max: u64,
    step: u64,
}

impl Spread {
    /// A quantity within `range`, both ends included, in multiples of `step` (at least 1). Ends
    /// that are no multiples are rounded down.
    pub fn new(range: &RangeInclusive<u64>, step: u64) -> Self {
        let step = step.max(1);
        let min = range.start() / step * step;
        Self {
            min,
            max: (range.end() / step * step).max(min),
            step,
        }
    }

    /// The smallest it can be.
    pub fn min(&self) -> u64 {
        self.min
    }

    /// The largest it can be.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The next random value.
    pub fn pick(&self, random: &mut super::Prng) -> u64 {
        if self.min == self.max {
            return self.min;
        }
        self.min + self.step * random.below((self.max - self.min) / self.step + 1)
    }
}

/// One command of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Fills so many bytes with a pattern.
    Fill {
        /// A multiple of 8.
        bytes: u64,
    },
    /// Copies so many bytes.
    Copy {
        /// A multiple of 8.
        bytes: u64,
    },
    /// Adds two buffers of so many bytes, word by word, into a third.
    Add {
        /// A multiple of 8.
        bytes: u64,
    },
    /// Computes the checksum of so many bytes.
    Checksum {
        /// A multiple of 8.
        bytes: u64,
    },
    /// Multiplies two square matrices.
    Matmul {
        /// The number of rows and columns.
        n: u32,
    },
    /// Keeps the hardware busy.
    Spin {
        /// For how long.
        duration: Duration,
    },
    /// Writes the device's time to memory.
    Timestamp,
    /// Writes a semaphore and waits for the value that was written.
    Semaphore,
}

impl Command {
    /// Bytes of video memory for the operands and the result, at 8 bytes a word or an element.
    pub fn memory(&self) -> u64 {
        match *self {
            Self::Fill { bytes } => bytes,
            Self::Copy { bytes } => 2 * bytes,
            Self::Add { bytes } => 3 * bytes,
            Self::Checksum { bytes } => bytes + 8,
            Self::Matmul { n } => 3 * 8 * u64::from(n) * u64::from(n),
            Self::Spin { .. } => 0,
            Self::Timestamp | Self::Semaphore => 8,
        }
    }
}

/// A command whose size is not picked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandPlan {
    Fill(Spread),
    Copy(Spread),
    Add(Spread),
    Checksum(Spread),
    Matmul(Spread),
    Spin(Spread),
    Timestamp,
    Semaphore,
}

impl CommandPlan {
    /// The command with the size that `pick` chooses.
    pub(crate) fn resolve(&self, mut pick: impl FnMut(&Spread) -> u64) -> Command {
        match self {
            Self::Fill(size) => Command::Fill { bytes: pick(size) },
            Self::Copy(size) => Command::Copy { bytes: pick(size) },
            Self::Add(size) => Command::Add { bytes: pick(size) },
            Self::Checksum(size) => Command::Checksum { bytes: pick(size) },
            // Checked to be at most 512 when the plan was read.
            Self::Matmul(n) => Command::Matmul { n: pick(n) as u32 },
            Self::Spin(nanos) => Command::Spin {
                duration: Duration::from_nanos(pick(nanos)),
            },
            Self::Timestamp => Command::Timestamp,
            Self::Semaphore => Command::Semaphore,
        }
    }
}

/// How many jobs may end in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// At least so many.
    pub min: u64,
    /// At most so many, where there is a limit.
    pub max: Option<u64>,
}

impl Bounds {
    /// Whether `count` is allowed.
    pub fn contains(&self, count: u64) -> bool {
        count >= self.min && self.max.is_none_or(|max| count <= max)
    }
}

impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.max {
            Some(max) if max == self.min => write!(f, "{max}"),
            Some(max) => write!(f, "{}..{max}", self.min),
            None => write!(f, "{}..", self.min),
        }
    }
}

/// What a run must end with; `None` where anything will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// Jobs that ended well.
    pub completed: Option<Bounds>,
    /// Jobs that ended with an error other than the next two.
    pub failed: Option<Bounds>,
    /// Jobs that were cancelled.
    pub cancelled: Option<Bounds>,
    /// Jobs that were given up after their timeout.
    pub timed_out: Option<Bounds>,
    /// Jobs that were over later than the deadline of their stream.
    pub late: Option<Bounds>,
    /// How well slots are shared.
    pub shares: Option<ShareExpect>,
    /// How long queues wait for slots.
    pub waits: Vec<WaitExpect>,
}
