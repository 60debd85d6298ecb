// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How the threads of a pool are scheduled: what was asked for, and what the system gave.

mod system;
#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests;

use std::fmt;
use std::io;

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(crate) use system::is_real_time;
use system::{Linux, System};

/// A real-time priority: 1, the lowest, to 99, as `sched(7)` has them for `SCHED_FIFO`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RealTimePriority(u8);

impl RealTimePriority {
    /// The lowest: before every ordinary thread, and behind everything else.
    pub const LOWEST: Self = Self(1);

    /// The priority called `number`; `None` if it is not one of 1 to 99.
    ///
    /// Linux has its interrupt threads at 50. Who is above them holds up the interrupts that it
    /// waits for.
    pub const fn new(number: u8) -> Option<Self> {
        if number >= 1 && number <= 99 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// As a number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// How the system schedules threads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Scheduling {
    /// Before every ordinary thread, until they sleep: `SCHED_FIFO` (or `SCHED_RR`).
    Fifo(RealTimePriority),
    /// With ordinary threads, but with another share: from -20, the greatest, to 19.
    Nice(i8),
    /// As any thread.
    Ordinary,
}

impl fmt::Display for Scheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fifo(priority) => write!(f, "SCHED_FIFO priority {}", priority.0),
            Self::Nice(nice) => write!(f, "nice {nice}"),
            Self::Ordinary => f.write_str("ordinary scheduling"),
        }
    }
}

impl Scheduling {
    /// For comparing: more is sooner.
    fn rank(self) -> i16 {
        match self {
            Self::Fifo(priority) => 100 + i16::from(priority.0),
            Self::Nice(nice) => -i16::from(nice),
            Self::Ordinary => 0,
        }
    }
}

/// The system has not given a pool the scheduling it was made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    asked: Scheduling,
    error: rustix::io::Errno,
}

impl Refusal {
    /// What was asked for.
    pub const fn asked(&self) -> Scheduling {
        self.asked
    }

    /// Why not: `EPERM` if the process has neither `CAP_SYS_NICE` nor a limit (`RLIMIT_RTPRIO`,
    /// `RLIMIT_NICE`) that allows it.
    pub fn error(&self) -> io::Error {
        self.error.into()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was refused: {}", self.asked, self.error())
    }
}

/// What threads shall have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    /// What the thread has that makes the pool.
    Inherit,
    /// Not real time, whoever makes the pool.
    Ordinary,
    Nice(i8),
    Fifo(RealTimePriority),
}

/// What they have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Granted {
    pub(super) scheduling: Scheduling,
    pub(super) refusal: Option<Refusal>,
}

impl Granted {
    /// What a pool may say of itself of whose threads one has `self` and one `other`.
    pub(super) fn lesser(self, other: Self) -> Self {
        let scheduling = if other.scheduling.rank() < self.scheduling.rank() {
            other.scheduling
        } else {
            self.scheduling
        };
        Self {
            scheduling,
            refusal: self.refusal.or(other.refusal),
        }
    }
}

/// Gives this thread what is wished for, or the best that it may have.
pub(super) fn apply(wish: Wish) -> Granted {
    apply_on(&mut Linux, wish)
}

/// The least nice there is: Linux's own workers of high priority have it.
const LEAST_NICE: i8 = -20;

fn apply_on(system: &mut impl System, wish: Wish) -> Granted {
    let asked = match wish {
        Wish::Inherit => None,
        Wish::Ordinary => Some((Scheduling::Ordinary, system.set_ordinary())),
        Wish::Nice(nice) => Some((Scheduling::Nice(nice), system.set_nice(nice))),
        Wish::Fifo(priority) => Some((Scheduling::Fifo(priority), system.set_fifo(priority))),
    };
    let refusal = match asked {
        Some((asked, Err(error))) => {
            fall_back(system, wish);
            Some(Refusal { asked, error })
        }
        _ => None,
    };
    // Not what was meant to be, but what is.
    Granted {
        scheduling: system.current(),
        refusal,
    }
}

/// The next best. What cannot be had either leaves the thread as it is.
fn fall_back(system: &mut impl System, wish: Wish) {
    match wish {
        Wish::Inherit | Wish::Ordinary => return,
        Wish::Nice(_) => {}
        Wish::Fifo(wanted) => {
            let lower = system.fifo_limit().filter(|limit| *limit < wanted);
            if lower.is_some_and(|lower| system.set_fifo(lower).is_ok())
                || system.set_nice(LEAST_NICE).is_ok()
            {
                return;
            }
        }
    }
    let allowed = system.nice_limit();
    if Scheduling::Nice(allowed).rank() > system.current().rank() {
        // If not even this, it stays as it is, and says so.
        let _ = system.set_nice(allowed);
    }
}
