// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Signalling sections: stretches of code that some fence's signal depends on.
//!
//! Memory reclaim may wait for a fence. So between publishing a fence and signalling it nothing may
//! allocate, take a sleeping lock or wait for a fence: each could end up waiting for the very fence
//! it holds up. The kernel marks such code with `dma_fence_begin_signalling()`; here a
//! [`SignallingSection`] does. Callbacks of fences always run inside one.
//!
//! Builds with debug assertions check: [`might_sleep`] and [`might_alloc`] panic inside a section,
//! and a program whose global allocator is a [`CheckedAllocator`] aborts with a message when it
//! allocates there. Freeing is allowed. In builds without debug assertions, and under the model
//! checkers' features, tokens are empty and the checks are compiled out.

use std::marker::PhantomData;

mod alloc;
#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests;

pub use alloc::{AllocationCount, CheckedAllocator, ViolationCount};

/// Whether this build checks what happens in signalling sections.
pub const CHECKED: bool = cfg!(all(
    debug_assertions,
    not(any(feature = "loom", feature = "shuttle"))
));

/// Proof that the current thread is in a signalling section, until dropped.
///
/// Sections nest. The token stays on the thread that made it.
#[derive(Debug)]
#[must_use = "the section ends when the token is dropped"]
pub struct SignallingSection {
    // The depth it counts belongs to one thread.
    _not_send: PhantomData<*const ()>,
}

impl SignallingSection {
    /// Enters a section. Interrupt-safe: neither sleeps nor allocates.
    #[inline]
    #[track_caller]
    pub fn enter() -> Self {
        #[cfg(all(debug_assertions, not(any(feature = "loom", feature = "shuttle"))))]
        depth::enter(std::panic::Location::caller());
        Self {
            _not_send: PhantomData,
        }
    }
}

impl Drop for SignallingSection {
    #[inline]
    fn drop(&mut self) {
        #[cfg(all(debug_assertions, not(any(feature = "loom", feature = "shuttle"))))]
        depth::leave();
    }
}

/// While it lives, the sections of what an interrupt handler has interrupted do not count: that may
/// have been entering or leaving one.
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(crate) struct Suspended {
    #[cfg(debug_assertions)]
    before: (u32, Option<&'static std::panic::Location<'static>>),
}

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
impl Suspended {
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(debug_assertions)]
            before: depth::replace(0, None),
        }
    }
}

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
impl Drop for Suspended {
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        depth::replace(self.before.0, self.before.1);
    }
}

/// Whether the current thread is in a signalling section; always `false` unless [`CHECKED`].
#[inline]
pub fn in_section() -> bool {
    began().is_some()
}

/// Says that the caller is about to do something that may sleep; `what` names it. In an interrupt
/// handler that is a [violation](crate::irq::Violations), in all builds.
///
/// # Panics
///
/// Inside a signalling section, where [`CHECKED`]: the caller has a bug that can deadlock.
#[inline]
#[track_caller]
pub fn might_sleep(what: &'static str) {
    crate::irq::audit::sleeping(what);
    if let Some(began) = began() {
        panic!("{what} may sleep, in the signalling section that began at {began}");
    }
}

/// Says that the caller may allocate memory; `what` names it.
///
/// # Panics
///
/// As [`might_sleep`].
#[inline]
#[track_caller]
pub fn might_alloc(what: &'static str) {
    if crate::irq::in_handler() {
        crate::irq::audit::allocating();
        return;
    }
    if let Some(began) = began() {
        panic!("{what} may allocate, in the signalling section that began at {began}");
    }
}

#[cfg(all(debug_assertions, not(any(feature = "loom", feature = "shuttle"))))]
use depth::began;

/// Where the current thread's outermost section began.
#[cfg(not(all(debug_assertions, not(any(feature = "loom", feature = "shuttle")))))]
#[inline(always)]
fn began() -> Option<&'static std::panic::Location<'static>> {
    None
}

#[cfg(all(debug_assertions, not(any(feature = "loom", feature = "shuttle"))))]
mod depth {
    use std::cell::Cell;
    use std::panic::Location;

    // Plain cells with constant values: the allocator reads them, so they must not allocate.
    std::thread_local! {
        static DEPTH: Cell<u32> = const { Cell::new(0) };
        static BEGAN: Cell<Option<&'static Location<'static>>> = const { Cell::new(None) };
    }

    pub(super) fn enter(at: &'static Location<'static>) {
        DEPTH.with(|depth| {
            if depth.get() == 0 {
                BEGAN.with(|began| began.set(Some(at)));
            }
            depth.set(depth.get() + 1);
        });
    }

    pub(super) fn leave() {
        DEPTH.with(|depth| {
            depth.set(depth.get() - 1);
            if depth.get() == 0 {
                BEGAN.with(|began| began.set(None));
            }
        });
    }

    pub(super) fn began() -> Option<&'static Location<'static>> {
        BEGAN.with(Cell::get)
    }

    /// Sets both; returns what they were.
    pub(super) fn replace(
        depth: u32,
        began: Option<&'static Location<'static>>,
    ) -> (u32, Option<&'static Location<'static>>) {
        (
            DEPTH.with(|cell| cell.replace(depth)),
            BEGAN.with(|cell| cell.replace(began)),
        )
    }
}
