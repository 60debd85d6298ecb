// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What goes wrong with jobs, and which jobs that hits.

use std::sync::Arc;
use std::time::Duration;

/// What is done to a job to see whether everything else survives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// The job never ends; only its timeout does.
    Hang,
    /// A command of the job reports an error.
    Fault,
    /// The job ends and its interrupt never comes.
    LostInterrupt,
    /// The interrupt comes late.
    LateInterrupt {
        /// How late.
        delay: Duration,
    },
    /// An interrupt comes before the job has ended.
    SpuriousInterrupt,
    /// The job's interrupt comes twice.
    DoubleInterrupt,
    /// The job has a command that does not exist.
    BadOpcode,
    /// The job touches memory that is not mapped.
    BadAddress,
    /// The job is written past the end of what the doorbell announced.
    RingOverrun,
    /// The firmware dies while the job is on the hardware.
    FirmwareDeath,
    /// The job hangs, and the reset takes long.
    SlowReset {
        /// How long the reset takes.
        delay: Duration,
    },
    /// The job depends on a fence from outside that signals with an error.
    DependencyError {
        /// The error, a negative errno.
        errno: i32,
    },
    /// The client cancels the job after it has submitted it.
    Cancel,
    /// The firmware dies while the job is on the hardware, and says nothing.
    SilentDeath,
    /// The job hangs, and resets fail.
    FailingReset {
        /// How many.
        times: u32,
    },
    /// The job ends before its submission has returned.
    EarlyCompletion,
    /// The client arms the job and drops it in the place of submitting it.
    Drop,
    /// The client suspends the queue after it has submitted the job, and resumes it later.
    Suspend {
        /// How much later.
        delay: Duration,
    },
    /// The client stops the queue after it has submitted the job, looks at what is on the hardware,
    /// and starts it again later.
    Stop {
        /// How much later.
        delay: Duration,
    },
    /// The client closes the queue after it has submitted the job, and goes on with a new one.
    Close,
    /// The client kills the queue after it has submitted the job, and goes on with a new one.
    Kill,
}

impl FaultKind {
    /// Whether the job itself does it, by one of its commands. Then it is guilty: it fails, its
    /// context is reset, and its queue has a strike.
    pub fn is_guilt(&self) -> bool {
        matches!(
            self,
            Self::Hang
                | Self::Fault
                | Self::BadOpcode
                | Self::BadAddress
                | Self::RingOverrun
                | Self::SlowReset { .. }
                | Self::FailingReset { .. }
        )
    }

    /// The word that stands for it in a plan.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Hang => "hang",
            Self::Fault => "fault",
            Self::LostInterrupt => "lost-interrupt",
            Self::LateInterrupt { .. } => "late-interrupt",
            Self::SpuriousInterrupt => "spurious-interrupt",
            Self::DoubleInterrupt => "double-interrupt",
            Self::BadOpcode => "bad-opcode",
            Self::BadAddress => "bad-address",
            Self::RingOverrun => "ring-overrun",
            Self::FirmwareDeath => "firmware-death",
            Self::SlowReset { .. } => "slow-reset",
            Self::DependencyError { .. } => "dependency-error",
            Self::Cancel => "cancel",
            Self::SilentDeath => "silent-death",
            Self::FailingReset { .. } => "failing-reset",
            Self::EarlyCompletion => "early-completion",
            Self::Drop => "drop",
            Self::Suspend { .. } => "suspend",
            Self::Stop { .. } => "stop",
            Self::Close => "close",
            Self::Kill => "kill",
        }
    }
}

/// Which jobs of a stream a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultRule {
    /// The job with this place.
    Job(u64),
    /// Each job whose place, counted from 1, is a multiple of this.
    Every(u64),
    /// Each job with this chance, in parts per million.
    Chance(u32),
}

/// A fault and the jobs of one stream that it hits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// The fault; of several, each job it hits has one, at random. Never empty.
    pub kinds: Arc<[FaultKind]>,
    /// The jobs it hits.
    pub rule: FaultRule,
}
