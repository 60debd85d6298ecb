// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Numbers from a seed (SplitMix64), so that what a thread does can be done again.

use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for part `number` of what this one is for.
    pub(crate) fn part(&self, number: u64) -> Self {
        let mut own = Self(self.0 ^ number.wrapping_mul(0xd134_2543_de82_ef95));
        own.next();
        own
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // The bound is small: what the remainder prefers does not matter.
        (self.next() % bound as u64) as usize
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn micros(&mut self, bound: usize) -> Duration {
        Duration::from_micros(self.below(bound) as u64)
    }
}
