// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `CLOCK_MONOTONIC`, and readers that ask it only where core does.

use ringfence_core::{Now, Time};

use crate::sys;

/// The time now. Any context.
pub fn monotonic() -> Time {
    // SAFETY: Reads a clock.
    Time::from_ns(unsafe { sys::ringfence_now() })
}

/// Reads the clock when first asked, and then keeps to it.
pub(crate) struct LazyNow(Option<Time>);

impl LazyNow {
    pub(crate) fn new() -> Self {
        Self(None)
    }
}

impl Now for LazyNow {
    #[inline]
    fn now(&mut self) -> Time {
        *self.0.get_or_insert_with(monotonic)
    }
}

/// The time of the last tick: good enough for a job's age, and cheap.
pub(crate) struct CoarseNow;

impl Now for CoarseNow {
    #[inline]
    fn now(&mut self) -> Time {
        // SAFETY: Reads a clock.
        Time::from_ns(unsafe { sys::ringfence_now_coarse() })
    }
}
