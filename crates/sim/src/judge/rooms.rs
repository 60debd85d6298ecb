// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Rooms for jobs to come, and the length of the ring. A host counts its rooms itself: `rooms` are
//! those that are prepared or set aside.

use ringfence_core::{Lifecycle, PrepareError};

use super::{promise, Judge, Verdict};

impl Judge {
    /// So many rooms were asked for, and so many set aside.
    pub(crate) fn set_aside(
        &mut self,
        most: u32,
        rooms: usize,
        entries: usize,
        got: u32,
    ) -> Verdict {
        let free = entries.saturating_sub(self.live().len() + rooms);
        let want = match self.lifecycle() {
            Lifecycle::Open => (most as usize).min(free),
            Lifecycle::Closing(_) | Lifecycle::Killed(_) | Lifecycle::Banned => 0,
        };
        self.stats.prepared += want as u64;
        promise(got as usize == want, || {
            format!("{got} rooms were set aside, not {want}")
        })
    }

    pub(crate) fn put_back(&mut self, rooms: u32) {
        self.stats.prepared -= u64::from(rooms);
    }

    /// A job gets a room that was set aside. Nothing but its cost can be wrong.
    pub(crate) fn prepare_aside(&self, cost: u32, got: Result<(), PrepareError>) -> Verdict {
        let limit = self.config.credits;
        let want = match cost > limit {
            true => Err(PrepareError::CostAboveLimit { cost, limit }),
            false => Ok(()),
        };
        promise(got == want, || {
            format!("a room that was set aside said {got:?}, not {want:?}")
        })
    }

    /// The line was to move into so many elements; `capacity` is what core says after that.
    pub(crate) fn move_into(
        &self,
        elements: usize,
        rooms: usize,
        entries: usize,
        got: bool,
        capacity: u64,
    ) -> Verdict {
        let is_ring = elements >= 2 && elements.is_power_of_two();
        let want = is_ring && elements >= self.live().len() + rooms;
        promise(got == want, || {
            format!("a move into {elements} elements was granted: {got}, not {want}")
        })?;
        let length = if want { elements } else { entries };
        promise(capacity == length as u64, || {
            format!("the ring has {capacity} elements, not {length}")
        })
    }
}
