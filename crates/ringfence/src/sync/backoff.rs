// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a thread does that waits for another to leave a few instructions.

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
use std::time::Duration;

use super::thread;

/// Waiting for another thread to leave a few instructions: spins, then yields, then naps, so that
/// a preempted or slower thread gets the processor.
///
/// A real-time thread naps where others yield: it would yield to its like alone, and keep the one it
/// waits for, if that is an ordinary thread, from its processor. Naps that are too short do the same:
/// where timers are slow the time is up before another thread has been let in. So they begin at
/// what was found to be enough and double (`docs/performance.md`). An interrupt handler on an ordinary
/// thread goes on yielding for long before it naps, since it should not sleep.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    rounds: u32,
    /// Asked when the spinning is over.
    #[cfg(not(any(feature = "loom", feature = "shuttle")))]
    real_time: bool,
}

impl Backoff {
    #[cfg(not(any(feature = "loom", feature = "shuttle")))]
    pub(crate) fn snooze(&mut self) {
        const SPINS: u32 = 6;
        const YIELDS: u32 = 64;
        const YIELDS_IN_HANDLER: u32 = 10_000;
        const NAP: Duration = Duration::from_micros(50);
        /// The first; then twice, four times, eight times as long.
        const REAL_TIME_NAP: Duration = Duration::from_micros(20);
        if self.rounds == SPINS {
            self.real_time = crate::executor::is_real_time();
        }
        if self.rounds < SPINS {
            for _ in 0..1 << self.rounds {
                std::hint::spin_loop();
            }
        } else if self.real_time {
            thread::sleep(REAL_TIME_NAP * (1 << (self.rounds - SPINS).min(3)));
        } else if self.rounds < YIELDS
            || (self.rounds < YIELDS_IN_HANDLER && crate::irq::in_handler())
        {
            thread::yield_now();
        } else {
            thread::sleep(NAP);
        }
        self.rounds = self.rounds.saturating_add(1);
    }

    #[cfg(any(feature = "loom", feature = "shuttle"))]
    pub(crate) fn snooze(&mut self) {
        self.rounds = self.rounds.saturating_add(1);
        thread::yield_now();
    }
}
