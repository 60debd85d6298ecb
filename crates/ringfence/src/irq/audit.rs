// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Noticing what must not happen in an interrupt handler.

use super::{in_handler, is_masked};
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static FREES: AtomicU64 = AtomicU64::new(0);
static SLEEPS: AtomicU64 = AtomicU64::new(0);
/// How many [`CountViolations`] there are.
static COUNTING: AtomicU32 = AtomicU32::new(0);

/// What interrupt handlers of this process have done that they must not do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Violations {
    /// Allocations. Seen where the program's global allocator is a
    /// [`CheckedAllocator`](crate::section::CheckedAllocator).
    pub allocations: u64,
    /// Releases of memory; seen as above.
    pub frees: u64,
    /// Sleeping locks entered, waits for fences and for running callbacks: what this crate has of
    /// those. With interrupts [masked](crate::irq::mask) they are wrong outside handlers too, and
    /// counted.
    pub sleeps: u64,
}

/// What handlers have done wrong so far. All builds count.
pub fn violations() -> Violations {
    Violations {
        allocations: ALLOCATIONS.load(Ordering::Relaxed),
        frees: FREES.load(Ordering::Relaxed),
        sleeps: SLEEPS.load(Ordering::Relaxed),
    }
}

/// While it lives, violations are counted and not fatal, on all threads.
///
/// Otherwise the first one aborts the process in builds that
/// [check](crate::section::CHECKED), with a message.
#[derive(Debug)]
#[must_use = "violations are fatal again when this is dropped"]
pub struct CountViolations(());

impl CountViolations {
    /// From now on.
    pub fn start() -> Self {
        COUNTING.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for CountViolations {
    fn drop(&mut self) {
        COUNTING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// This thread allocates.
#[inline]
pub(crate) fn allocating() {
    if in_handler() {
        violation(&ALLOCATIONS, "allocation");
    }
}

/// This thread frees memory.
#[inline]
pub(crate) fn freeing() {
    if in_handler() {
        violation(&FREES, "release of memory");
    }
}

/// This thread may sleep; `what` names the reason. Nor may it with interrupts masked: it holds a spin
/// lock then.
#[inline]
pub(crate) fn sleeping(what: &'static str) {
    // As they are in a handler.
    if is_masked() {
        violation(&SLEEPS, what);
    }
}

#[cold]
fn violation(count: &AtomicU64, what: &str) {
    count.fetch_add(1, Ordering::Relaxed);
    if crate::section::CHECKED && COUNTING.load(Ordering::Relaxed) == 0 {
        say(format_args!(
            "ringfence: in an interrupt handler, or with interrupts masked: {what}\n"
        ));
        std::process::abort();
    }
}

/// Says something on standard error, wherever this is.
pub(crate) fn say(what: fmt::Arguments<'_>) {
    if !in_handler() && !std::thread::panicking() {
        eprint!("{what}");
        return;
    }
    // Neither locks nor memory: what does not fit is cut off.
    let mut text = Text::default();
    let _ = fmt::Write::write_fmt(&mut text, what);
    // SAFETY: Descriptor 2 is only borrowed for the write; if it is closed that fails, no more.
    let stderr = unsafe { std::os::fd::BorrowedFd::borrow_raw(2) };
    // There is nobody else to tell.
    let _ = rustix::io::write(stderr, &text.bytes[..text.length]);
}

struct Text {
    bytes: [u8; 256],
    length: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            bytes: [0; 256],
            length: 0,
        }
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let length = room.len().min(text.len());
        room[..length].copy_from_slice(&text.as_bytes()[..length]);
        self.length += length;
        Ok(())
    }
}
