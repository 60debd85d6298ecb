// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The device's clock.

use rustix::time::{clock_gettime, ClockId};

/// The device's time: nanoseconds of `CLOCK_MONOTONIC`.
///
/// Every timestamp of the device (the timestamp command, [`SlotEvent::at`](crate::SlotEvent)) is
/// of this clock, so that it can be laid beside the host's own. Does not sleep.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // `CLOCK_MONOTONIC` counts from the start of the machine and so is never negative.
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}
