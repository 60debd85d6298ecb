// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Counts that handlers give up, of values that are not this crate's.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use super::later::{self, Buried};
use crate::sync::UnsafeCell;

/// A place for a value of which handlers give up counts: [`give_up`].
///
/// # Invariants
///
/// The value is on the bottom half's list, or about to be, while `left` is not 0: with one count, and the
/// other `left - 1` have been forgotten. Only who holds that list's lock uses `link`.
#[derive(Default)]
pub struct CountPlace {
    /// Counts that were given up, and that nobody has dropped yet.
    left: AtomicU32,
    link: UnsafeCell<Option<Arc<dyn Buried>>>,
}

// SAFETY: The link belongs to the bottom half's list, whose lock is held where it is used.
unsafe impl Sync for CountPlace {}

impl fmt::Debug for CountPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountPlace").finish_non_exhaustive()
    }
}

/// Something of which an interrupt handler may have the last count.
///
/// # Safety
///
/// A value has one place, always the same, which is part of it and of nothing else.
pub unsafe trait Countable: Send + Sync + 'static {
    /// The place.
    fn place(&self) -> &CountPlace;
}

impl<T: Countable> Buried for T {
    fn link(&self) -> &UnsafeCell<Option<Arc<dyn Buried>>> {
        &self.place().link
    }

    fn off_the_list(self: Arc<Self>) {
        // Those that come after this put it on the list again.
        for _ in 1..self.place().left.swap(0, Ordering::AcqRel) {
            // SAFETY: Each was forgotten in `give_up`; never the last, since this thread has one.
            unsafe { Arc::decrement_strong_count(Arc::as_ptr(&self)) };
        }
    }
}

/// Drops a count, which may be the last: here, or, in an interrupt handler, on a thread. Interrupt-safe.
pub fn give_up<T: Countable>(count: Arc<T>) {
    if !super::in_handler() {
        return;
    }
    if count.place().left.fetch_add(1, Ordering::AcqRel) == 0 {
        later::count(count);
    } else {
        // Whoever takes the first one off the list drops this with it.
        std::mem::forget(count);
    }
}
