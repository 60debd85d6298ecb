// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Hardware that tells of its work by signals, and the signals.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringfence::irq::{self, DropInIrq, InterruptLine, IrqLock, LineNumber, Reaping};
use ringfence::{Completion, Driver, RunOutcome, Submission, TimedOutJob, TimeoutOutcome};

/// Tests of this program share the process's signals and counters: one at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where payloads were dropped.
#[derive(Default)]
pub(crate) struct Drops {
    pub(crate) in_handlers: AtomicU64,
    pub(crate) on_threads: AtomicU64,
}

impl Drops {
    pub(crate) const fn new() -> Self {
        Self {
            in_handlers: AtomicU64::new(0),
            on_threads: AtomicU64::new(0),
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.in_handlers.load(Ordering::Relaxed) + self.on_threads.load(Ordering::Relaxed)
    }
}

/// A payload that may be dropped in a handler, and counts its drops.
pub(crate) struct Payload(pub(crate) &'static Drops);

impl Drop for Payload {
    fn drop(&mut self) {
        let drops = if irq::in_handler() {
            &self.0.in_handlers
        } else {
            &self.0.on_threads
        };
        drops.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: It counts with an atomic, and has nothing else.
unsafe impl DropInIrq for Payload {}

/// A ring of jobs that the hardware works on, oldest first. `IRQ` says whether payloads may be
/// dropped in handlers.
pub(crate) struct Ring<const IRQ: bool> {
    jobs: IrqLock<VecDeque<Completion<Mock<IRQ>>>>,
    /// Completed by a handler.
    pub(crate) completed: AtomicU64,
    /// How many one interrupt completes at most.
    at_once: u64,
}

/// Puts jobs on the ring.
pub(crate) struct Mock<const IRQ: bool>(pub(crate) Arc<Ring<IRQ>>);

impl<const IRQ: bool> Driver for Mock<IRQ> {
    type Payload = Payload;
    type ReplayData = ();

    const REAPING: Reaping<Payload> = if IRQ {
        Reaping::IN_IRQ
    } else {
        Reaping::ON_THREADS
    };

    fn run(&mut self, submission: Submission<'_, Self>) -> RunOutcome {
        let (completion, outcome) = submission.pending();
        self.0.jobs.lock().push_back(completion);
        outcome
    }

    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        job.no_hang()
    }
}

impl<const IRQ: bool> Ring<IRQ> {
    pub(crate) fn new(room: usize, at_once: u64) -> Arc<Self> {
        Arc::new(Self {
            jobs: IrqLock::new(VecDeque::with_capacity(room)),
            completed: AtomicU64::new(0),
            at_once,
        })
    }

    /// The oldest job's token. The ring is not locked any more.
    pub(crate) fn pop(&self) -> Option<Completion<Mock<IRQ>>> {
        self.jobs.lock().pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs.lock().len()
    }

    /// What the hardware's handler does: completes one job, or a few.
    pub(crate) fn interrupt(&self) {
        assert!(irq::in_handler());
        let jobs = 1 + self.completed.load(Ordering::Relaxed) % self.at_once;
        for _ in 0..jobs {
            let Some(completion) = self.pop() else { return };
            // Before: who waits for the job looks at it then.
            self.completed.fetch_add(1, Ordering::Relaxed);
            if completion.seqno().is_multiple_of(64) {
                // As good, with an error: a driver that has lost it.
                drop(completion);
            } else {
                completion.complete_in_irq(Ok(()));
            }
        }
    }
}

/// The line that the process's handler raises.
static LINE: AtomicU32 = AtomicU32::new(u32::MAX);

extern "C" fn on_signal(_signal: libc::c_int) {
    irq::raise(LineNumber::new(LINE.load(Ordering::Relaxed)));
}

/// A signal's handler, until dropped.
pub(crate) struct Handler {
    signal: libc::c_int,
    before: libc::sigaction,
}

impl Handler {
    /// Joins `signal` to `line`.
    pub(crate) fn install(signal: libc::c_int, line: &InterruptLine) -> Self {
        LINE.store(line.number().get(), Ordering::Relaxed);
        // SAFETY: All zeros is a valid `sigaction`; the handler is async-signal-safe, which is what
        // is tested here.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            let mut before = MaybeUninit::uninit();
            let done = libc::sigaction(signal, &action, before.as_mut_ptr());
            assert_eq!(done, 0);
            Self {
                signal,
                before: before.assume_init(),
            }
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        LINE.store(u32::MAX, Ordering::Relaxed);
        // A signal may still be on its way: ignored, not fatal.
        let ignore = self.signal != libc::SIGTRAP;
        // SAFETY: As it was, or ignored.
        unsafe {
            if ignore {
                libc::signal(self.signal, libc::SIG_IGN);
            } else {
                libc::sigaction(self.signal, &self.before, std::ptr::null_mut());
            }
        }
    }
}

/// A POSIX timer that sends `signal` to the process again and again, until dropped.
pub(crate) struct Timer(libc::timer_t);

impl Timer {
    pub(crate) fn start(signal: libc::c_int, nanoseconds: i64) -> Self {
        // SAFETY: All zeros is a valid `sigevent`; the pointers are to locals.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = signal;
            let mut timer = MaybeUninit::uninit();
            let made = libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, timer.as_mut_ptr());
            assert_eq!(made, 0);
            let timer = Self(timer.assume_init());
            let every = libc::timespec {
                tv_sec: 0,
                tv_nsec: nanoseconds,
            };
            let times = libc::itimerspec {
                it_interval: every,
                it_value: every,
            };
            assert_eq!(
                libc::timer_settime(timer.0, 0, &times, std::ptr::null_mut()),
                0
            );
            timer
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: Made by `start`.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// A thread to send signals to, while it runs.
#[derive(Clone, Copy)]
pub(crate) struct Thread(libc::pthread_t);

impl Thread {
    pub(crate) fn here() -> Self {
        // SAFETY: Always works.
        Self(unsafe { libc::pthread_self() })
    }

    /// The caller sees to it that the thread has not been joined.
    pub(crate) fn kill(self, signal: libc::c_int) {
        // SAFETY: The thread is there, says the caller.
        unsafe { libc::pthread_kill(self.0, signal) };
    }
}

fn set_blocked(signal: libc::c_int, how: libc::c_int) {
    // SAFETY: The set is a local.
    unsafe {
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        let done = libc::pthread_sigmask(how, set.as_ptr(), std::ptr::null_mut());
        assert_eq!(done, 0);
    }
}

/// Keeps `signal` from this thread, and from those that it starts from now on.
pub(crate) fn block(signal: libc::c_int) {
    set_blocked(signal, libc::SIG_BLOCK);
}

/// Lets this thread have `signal`.
pub(crate) fn unblock(signal: libc::c_int) {
    set_blocked(signal, libc::SIG_UNBLOCK);
}
