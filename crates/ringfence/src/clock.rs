// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The clocks of the host: `CLOCK_MONOTONIC`, read as seldom as possible.

use ringfence_core::{Now, Time};
use rustix::time::{clock_gettime, ClockId, Timespec};

fn time(spec: Timespec) -> Time {
    // The monotonic clock starts at boot: neither part is negative.
    let seconds = u64::try_from(spec.tv_sec).unwrap_or(0);
    let ns = u64::try_from(spec.tv_nsec).unwrap_or(0);
    Time::from_ns(seconds.saturating_mul(1_000_000_000).saturating_add(ns))
}

/// The time now on `CLOCK_MONOTONIC`. Interrupt-safe.
#[inline]
pub fn monotonic() -> Time {
    time(clock_gettime(ClockId::Monotonic))
}

/// The time of the last timer tick on the same clock: a few milliseconds old and five times as
/// cheap. For ages that people read, never for deadlines.
#[inline]
pub(crate) fn monotonic_coarse() -> Time {
    time(clock_gettime(ClockId::MonotonicCoarse))
}

/// Reads the clock when first asked and keeps the answer: one reading for one lock hold.
#[derive(Debug, Default)]
pub(crate) struct LazyNow(Option<Time>);

impl LazyNow {
    #[inline]
    pub(crate) const fn new() -> Self {
        Self(None)
    }
}

impl Now for LazyNow {
    #[inline]
    fn now(&mut self) -> Time {
        *self.0.get_or_insert_with(monotonic)
    }
}

/// Stamps what only people read.
pub(crate) struct CoarseNow;

impl Now for CoarseNow {
    #[inline]
    fn now(&mut self) -> Time {
        monotonic_coarse()
    }
}
