// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Mistakes made on purpose, to see that the tools look.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU8, Ordering};

/// A mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
#[repr(u8)]
pub(crate) enum Sabotage {
    /// Memory is read after it was freed: for the address sanitizer and memcheck.
    UseAfterFree = 1,
    /// Memory is not freed: for the leak checkers.
    Leak = 2,
    /// Two threads write without a lock: for the thread sanitizer and DRD.
    Race = 3,
    /// A completion is lost: for the watchdog.
    Hang = 4,
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

pub(crate) fn choose(what: Sabotage) {
    CHOSEN.store(what as u8, Ordering::Relaxed);
}

pub(crate) fn is(what: Sabotage) -> bool {
    CHOSEN.load(Ordering::Relaxed) == what as u8
}

struct Shared(UnsafeCell<u64>);

// SAFETY: Not at all: that is the mistake. Used under `Sabotage::Race` only.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared(UnsafeCell::new(0));

/// Called by every payload that goes.
pub(crate) fn payload_drops() {
    if is(Sabotage::UseAfterFree) {
        let memory = Box::into_raw(Box::new(1_u64));
        // SAFETY: Made above.
        drop(unsafe { Box::from_raw(memory) });
        // SAFETY: None: that is the mistake.
        let stale = unsafe { std::ptr::read_volatile(memory) };
        std::hint::black_box(stale);
    }
    if is(Sabotage::Leak) {
        std::mem::forget(Box::new(1_u64));
    }
    if is(Sabotage::Race) {
        // SAFETY: None: that is the mistake.
        unsafe { *SHARED.0.get() += 1 };
    }
}
