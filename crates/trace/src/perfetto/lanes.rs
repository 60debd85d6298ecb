// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Gives slices that overlap lanes of their own, since slices of one Perfetto track must nest.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::jobs::Key;

/// Hands out lanes to slices that are offered in the order of their begin.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    busy: BinaryHeap<Reverse<(Key, usize)>>,
    free: BinaryHeap<Reverse<usize>>,
    count: usize,
}

impl Lanes {
    /// The lowest lane that is free from `begin` to `end`. `begin` never goes back between calls.
    pub(super) fn assign(&mut self, begin: Key, end: Key) -> usize {
        while let Some(&Reverse((until, lane))) = self.busy.peek() {
            if until > begin {
                break;
            }
            self.busy.pop();
            self.free.push(Reverse(lane));
        }
        let lane = self.free.pop().map_or_else(
            || {
                self.count += 1;
                self.count - 1
            },
            |Reverse(lane)| lane,
        );
        self.busy.push(Reverse((end, lane)));
        lane
    }
}
