// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Interrupt lines: what a signal handler raises, and who handles it.

use super::{audit, cpu, later};
use crate::sync::Backoff;
use std::fmt;
use std::io;
// From `std` whatever the features, and static: they are never freed, so a handler that is late finds
// an empty slot and not freed memory.
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// How many lines a process may have: a thread's waiting ones are bits of a word.
const LINES: usize = 64;

type Handler = Box<dyn Fn() + Send + Sync>;

/// One line's place.
///
/// # Invariants
///
/// `handler` is null or a leaked box; it is not freed while `inside` is not 0 and was not before it
/// was null.
struct Slot {
    handler: AtomicPtr<Handler>,
    /// Threads that look at `handler`.
    inside: AtomicU32,
    raised: AtomicU64,
    put_off: AtomicU64,
    handled: AtomicU64,
}

static SLOTS: [Slot; LINES] = [const {
    Slot {
        handler: AtomicPtr::new(std::ptr::null_mut()),
        inside: AtomicU32::new(0),
        raised: AtomicU64::new(0),
        put_off: AtomicU64::new(0),
        handled: AtomicU64::new(0),
    }
}; LINES];

/// The slots that are taken, by number.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// A line's number, for handlers that can carry one and no more, such as a timer's `sigev_value`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LineNumber(u32);

impl LineNumber {
    /// The number as a plain one.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The line called `number`; [`raise`] ignores one that nobody has.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }
}

/// What has come over a line.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LineStats {
    /// Calls of raise.
    pub raised: u64,
    /// Of these, those that found their thread masked or in a handler.
    pub put_off: u64,
    /// Runs of the handler; one may stand for several that were put off.
    pub handled: u64,
}

/// A source of interrupts: joins a POSIX signal handler to what is to be done about it.
///
/// Dropping it waits until its handler does not run on any thread; put the signal's own handler out
/// of action before.
#[must_use = "dropping it takes the line down"]
pub struct InterruptLine {
    number: LineNumber,
}

impl fmt::Debug for InterruptLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterruptLine")
            .field("number", &self.number.0)
            .field("stats", &self.stats())
            .finish()
    }
}

impl InterruptLine {
    /// Takes a line whose interrupts `handler` handles. Allocates; the first one starts the thread
    /// of the bottom half, which stays.
    ///
    /// The handler runs in interrupt context: on whatever thread the signal arrives, in the middle of
    /// whatever that is doing, on several threads at once if they are signalled at once, and once for
    /// several interrupts that came while it could not run. It may also run when there is nothing
    /// to do. It must be interrupt-safe (see the [module](self::super)) and must not panic: that
    /// aborts the process.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if the process has 64 lines; what the system says when it cannot start a thread.
    pub fn new(handler: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        later::start()?;
        let mut taken = TAKEN.load(Ordering::Relaxed);
        let number = loop {
            let free = (!taken).trailing_zeros();
            if free as usize == LINES {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            match TAKEN.compare_exchange_weak(
                taken,
                taken | 1 << free,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => break free,
                Err(now) => taken = now,
            }
        };
        let slot = &SLOTS[number as usize];
        for count in [&slot.raised, &slot.put_off, &slot.handled] {
            count.store(0, Ordering::Relaxed);
        }
        let handler: Box<Handler> = Box::new(Box::new(handler));
        slot.handler.store(Box::into_raw(handler), Ordering::SeqCst);
        Ok(Self {
            number: LineNumber(number),
        })
    }

    /// Its number, while it lives.
    pub fn number(&self) -> LineNumber {
        self.number
    }

    /// An interrupt: runs the handler now, or, if this thread is masked or in a handler, as soon as
    /// it is not. For the POSIX signal handler; may be called by anybody. Interrupt-safe; keeps
    /// `errno`.
    #[inline]
    pub fn raise(&self) {
        raise(self.number);
    }

    /// What has come over the line so far.
    pub fn stats(&self) -> LineStats {
        let slot = &SLOTS[self.number.0 as usize];
        LineStats {
            raised: slot.raised.load(Ordering::Relaxed),
            put_off: slot.put_off.load(Ordering::Relaxed),
            handled: slot.handled.load(Ordering::Relaxed),
        }
    }
}

impl Drop for InterruptLine {
    fn drop(&mut self) {
        audit::sleeping("dropping an interrupt line");
        let slot = &SLOTS[self.number.0 as usize];
        let handler = slot.handler.swap(std::ptr::null_mut(), Ordering::SeqCst);
        let mut backoff = Backoff::default();
        // Who came in before the swap is counted; who comes after finds nothing.
        while slot.inside.load(Ordering::SeqCst) != 0 {
            backoff.snooze();
        }
        // SAFETY: Leaked in `new`, taken out above by the one owner, and nobody looks at it.
        drop(unsafe { Box::from_raw(handler) });
        TAKEN.fetch_and(!(1 << self.number.0), Ordering::Release);
    }
}

/// As [`InterruptLine::raise`], for the line called `number`. One that nobody has is ignored.
pub fn raise(number: LineNumber) {
    let Some(slot) = SLOTS.get(number.0 as usize) else {
        return;
    };
    slot.raised.fetch_add(1, Ordering::Relaxed);
    if cpu::take_interrupt(number.0) {
        slot.put_off.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs the handlers of `lines`, a bit each.
pub(super) fn handle(mut lines: u64) {
    while lines != 0 {
        let slot = &SLOTS[lines.trailing_zeros() as usize];
        lines &= lines - 1;
        slot.inside.fetch_add(1, Ordering::SeqCst);
        let handler = slot.handler.load(Ordering::SeqCst);
        if !handler.is_null() {
            slot.handled.fetch_add(1, Ordering::Relaxed);
            let fatal = AbortOnUnwind;
            // SAFETY: Not freed while this thread is counted inside.
            unsafe { (*handler)() };
            std::mem::forget(fatal);
        }
        slot.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A handler must not unwind into whatever it has interrupted.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        audit::say(format_args!(
            "ringfence: an interrupt handler has panicked\n"
        ));
        std::process::abort();
    }
}
