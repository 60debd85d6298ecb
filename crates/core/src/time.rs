// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Points in time. Core has no clock: its host tells it the time, and only where it asks.

use core::fmt;
use core::time::Duration;

/// A point on the host's monotonic clock, in nanoseconds.
///
/// In user space and in the kernel `CLOCK_MONOTONIC`, in the simulator virtual time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Time(u64);

impl Time {
    /// The clock's beginning.
    pub const ZERO: Self = Self(0);

    /// A point `ns` nanoseconds after the clock's beginning.
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the clock's beginning.
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, or zero where `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point `span` later, or the clock's last point.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(span)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ns", self.0)
    }
}

/// A span in whole nanoseconds, at most 584 years.
pub(crate) fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Tells the time when asked.
///
/// Reading a clock costs as much as the rest of an event, so core asks only where a decision
/// needs the answer. A host passes a reader that keeps its first answer for the span of one
/// lock hold; the simulator and tests pass a [`Time`].
pub trait Now {
    /// The time now. Must not go backwards between two events of one queue.
    fn now(&mut self) -> Time;
}

impl Now for Time {
    fn now(&mut self) -> Time {
        *self
    }
}

impl<N: Now> Now for &mut N {
    fn now(&mut self) -> Time {
        N::now(self)
    }
}
