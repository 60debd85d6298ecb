// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The clocks of the host: `CLOCK_MONOTONIC`, read as seldom as possible.

// From `std` whatever the features: a setting, not a hand-over.
use std::sync::atomic::{AtomicU64, Ordering};

use ringfence_core::{Now, Time, Timeout};
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

/// [`Timeout`] in nanoseconds, with 0 for nothing said and the largest number for never.
static DEFAULT_TIMEOUT: AtomicU64 = AtomicU64::new(0);

/// How long a job may be on the hardware where neither it, its queue nor its device says anything:
/// for ever, unless this was called. Counts for queues that are built from now on.
pub fn set_default_timeout(timeout: impl Into<Timeout>) {
    let ns = match timeout.into() {
        Timeout::Inherit => 0,
        Timeout::Never => u64::MAX,
        Timeout::After(span) => u64::try_from(span.as_nanos()).map_or(u64::MAX, |ns| ns.max(1)),
    };
    DEFAULT_TIMEOUT.store(ns, Ordering::Relaxed);
}

pub(crate) fn default_timeout() -> Timeout {
    match DEFAULT_TIMEOUT.load(Ordering::Relaxed) {
        0 => Timeout::Inherit,
        u64::MAX => Timeout::Never,
        ns => Timeout::After(std::time::Duration::from_nanos(ns)),
    }
}
