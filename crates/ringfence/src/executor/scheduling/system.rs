// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What Linux is asked about the scheduling of the calling thread.

use rustix::io::Errno;
use rustix::process::{getpriority_process, getrlimit, setpriority_process, Resource};

use super::{RealTimePriority, Scheduling};

/// A system that may refuse.
pub(super) trait System {
    fn set_fifo(&mut self, priority: RealTimePriority) -> Result<(), Errno>;
    /// Ends real time, too.
    fn set_nice(&mut self, nice: i8) -> Result<(), Errno>;
    fn set_ordinary(&mut self) -> Result<(), Errno>;
    fn current(&self) -> Scheduling;
    /// The greatest priority that everybody may have.
    fn fifo_limit(&self) -> Option<RealTimePriority>;
    /// The least nice that everybody may be.
    fn nice_limit(&self) -> i8;
}

/// The calling thread's.
pub(super) struct Linux;

impl System for Linux {
    fn set_fifo(&mut self, priority: RealTimePriority) -> Result<(), Errno> {
        // Threads that a driver callback starts shall not be real-time ones by accident.
        set_policy(libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, priority.get())
    }

    fn set_nice(&mut self, nice: i8) -> Result<(), Errno> {
        self.set_ordinary()?;
        // To Linux a thread is a process with this call; `None` is the calling one.
        setpriority_process(None, nice.into())
    }

    fn set_ordinary(&mut self) -> Result<(), Errno> {
        if is_real_time() {
            set_policy(libc::SCHED_OTHER, 0)?;
        }
        Ok(())
    }

    fn current(&self) -> Scheduling {
        if is_real_time() {
            if let Some(priority) = priority() {
                return Scheduling::Fifo(priority);
            }
        }
        match getpriority_process(None) {
            Ok(nice) if nice != 0 => Scheduling::Nice(nice.clamp(-20, 19) as i8),
            _ => Scheduling::Ordinary,
        }
    }

    fn fifo_limit(&self) -> Option<RealTimePriority> {
        let limit = getrlimit(Resource::Rtprio).current.unwrap_or(99).min(99);
        RealTimePriority::new(limit as u8)
    }

    fn nice_limit(&self) -> i8 {
        let limit = getrlimit(Resource::Nice).current.unwrap_or(40).min(40);
        (20 - limit as i8).min(19)
    }
}

/// Whether the calling thread goes before ordinary ones. Interrupt-safe; a system call.
pub(crate) fn is_real_time() -> bool {
    // SAFETY: Reads and writes no memory of ours.
    let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    let policy = policy & !libc::c_long::from(libc::SCHED_RESET_ON_FORK);
    [libc::SCHED_FIFO, libc::SCHED_RR, libc::SCHED_DEADLINE]
        .map(libc::c_long::from)
        .contains(&policy)
}

fn priority() -> Option<RealTimePriority> {
    // To the kernel a `sched_param` is a number; to some C libraries it is more.
    let mut number: libc::c_int = 0;
    // SAFETY: The kernel writes `number`, which lives that long.
    let failed = unsafe { libc::syscall(libc::SYS_sched_getparam, 0, &raw mut number) };
    RealTimePriority::new(u8::try_from(number).ok()?).filter(|_| failed == 0)
}

/// A system call by number: not every C library has a working function for a thread's own policy.
fn set_policy(policy: libc::c_int, priority: u8) -> Result<(), Errno> {
    let number = libc::c_int::from(priority);
    // SAFETY: The kernel reads `number`, which lives that long.
    let failed =
        unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const number) };
    match failed {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}
