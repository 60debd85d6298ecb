// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The clock of the job at the head of the line: where a timeout is decided.
//!
//! Only the oldest unfinished job has a clock. It starts when the job is on the hardware and
//! nothing older is, stands still while the queue is suspended or its gate is shut, and ends with
//! the job. The host's timer may be early, late or double: whether time is up is decided here,
//! against the deadline, when the timer fires, and once more when the driver is about to be asked.

use core::time::Duration;

use crate::time::{nanoseconds, Time};

/// How long a job may be at the head of the line, on the hardware.
///
/// A job's own word counts before its queue's, that before its device's, that before the
/// process's: see [`Timeout::or`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Timeout {
    /// As long as the next wider scope says.
    #[default]
    Inherit,
    /// For ever.
    Never,
    /// This long.
    After(Duration),
}

impl Timeout {
    /// This one, or what `wider` says where this one says nothing.
    #[must_use]
    pub const fn or(self, wider: Self) -> Self {
        match self {
            Self::Inherit => wider,
            said => said,
        }
    }

    /// The time there is; `None` for ever, also where nobody has said anything.
    pub const fn span(self) -> Option<Duration> {
        match self {
            Self::After(span) => Some(span),
            Self::Inherit | Self::Never => None,
        }
    }
}

impl From<Duration> for Timeout {
    fn from(span: Duration) -> Self {
        Self::After(span)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No job is timed.
    Idle,
    Counting {
        deadline: Time,
    },
    /// Suspended, with this many nanoseconds left.
    Paused {
        remaining: u64,
    },
    /// Time is up; the driver has not been asked yet.
    Expired,
    /// The driver is being asked.
    Asking,
}

/// The clock of the head of the line, and the host's timer as core knows it.
#[derive(Clone, Copy, Debug)]
// The phase first: it is what every job looks at.
#[repr(C)]
pub(crate) struct HeadClock {
    phase: Phase,
    /// Whose clock this is, by sequence number. Meaningless while idle.
    job: u64,
    /// What the host's timer is set to.
    timer: Option<Time>,
    /// Whose time was ended while the driver was being asked about an older job.
    up_next: Option<u64>,
    /// When the time of the whole queue is up, as it is being closed.
    limit: Option<Time>,
}

impl HeadClock {
    pub(crate) const fn new() -> Self {
        Self {
            job: 0,
            phase: Phase::Idle,
            timer: None,
            up_next: None,
            limit: None,
        }
    }

    /// True if `job` has its clock already.
    #[inline]
    pub(crate) fn times(&self, job: u64) -> bool {
        self.job == job && self.phase != Phase::Idle
    }

    /// Starts the clock of a new head of the line.
    pub(crate) fn start(&mut self, job: u64, timeout_ns: u64, now: Time, suspended: bool) {
        self.job = job;
        self.phase = if suspended {
            Phase::Paused {
                remaining: timeout_ns,
            }
        } else {
            Phase::Counting {
                deadline: now.after(Duration::from_nanos(timeout_ns)),
            }
        };
    }

    pub(crate) fn stop(&mut self) {
        self.phase = Phase::Idle;
        if let Some(job) = self.up_next.take() {
            self.job = job;
            self.phase = Phase::Expired;
        }
    }

    /// The time the host's timer must be set to, where it is not set to that or earlier. A timer
    /// that is early costs one look; setting it for every job costs a call for every job.
    #[inline]
    pub(crate) fn take_arm(&mut self) -> Option<Time> {
        let at = self.wants_arm()?;
        self.timer = Some(at);
        Some(at)
    }

    /// What [`Self::take_arm`] would take.
    #[inline]
    pub(crate) fn wants_arm(&self) -> Option<Time> {
        let deadline = self.deadline()?;
        let early_enough = self.timer.is_some_and(|at| at <= deadline);
        (!early_enough).then_some(deadline)
    }

    /// As [`Self::take_arm`], for the time of the whole queue. The clock may still be that of a job
    /// that has ended, whose deadline nobody needs.
    pub(crate) fn take_limit_arm(&mut self) -> Option<Time> {
        let at = self.wants_limit_arm()?;
        self.timer = Some(at);
        Some(at)
    }

    /// What [`Self::take_limit_arm`] would take.
    pub(crate) fn wants_limit_arm(&self) -> Option<Time> {
        let limit = self.limit?;
        let early_enough = self.timer.is_some_and(|at| at <= limit);
        (!early_enough).then_some(limit)
    }

    /// Sets the time at which that of the whole queue is up. The first one stands.
    pub(crate) fn set_limit(&mut self, at: Time) {
        self.limit.get_or_insert(at);
    }

    /// Takes the limit if it has come.
    pub(crate) fn take_limit(&mut self, now: Time) -> bool {
        let over = self.limit.is_some_and(|at| at <= now);
        if over {
            self.limit = None;
        }
        over
    }

    pub(crate) fn has_limit(&self) -> bool {
        self.limit.is_some()
    }

    /// The host's timer has fired.
    pub(crate) fn fired(&mut self, now: Time) {
        self.timer = None;
        if let Phase::Counting { deadline } = self.phase {
            if deadline <= now {
                self.phase = Phase::Expired;
            }
        }
    }

    /// Ends the time of `job`, the head of the line. False if the driver is being asked about it.
    pub(crate) fn expire(&mut self, job: u64) -> bool {
        if self.is_asking() {
            if self.job == job {
                return false;
            }
            self.up_next = Some(job);
            return true;
        }
        self.job = job;
        self.phase = Phase::Expired;
        true
    }

    /// True if no job is timed.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    #[inline]
    pub(crate) fn is_expired(&self, job: u64) -> bool {
        self.phase == Phase::Expired && self.job == job
    }

    /// The driver is being asked about the head of the line.
    pub(crate) fn ask(&mut self, job: u64) {
        self.job = job;
        self.phase = Phase::Asking;
    }

    #[inline]
    pub(crate) fn is_asking(&self) -> bool {
        self.phase == Phase::Asking
    }

    pub(crate) fn suspend(&mut self, now: Time) {
        if let Phase::Counting { deadline } = self.phase {
            self.phase = Phase::Paused {
                remaining: nanoseconds(deadline.since(now)),
            };
        }
    }

    pub(crate) fn resume(&mut self, now: Time) {
        if let Phase::Paused { remaining } = self.phase {
            self.phase = Phase::Counting {
                deadline: now.after(Duration::from_nanos(remaining)),
            };
        }
    }

    /// The deadline, while the clock counts.
    pub(crate) fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Counting { deadline } => Some(deadline),
            _ => None,
        }
    }
}
