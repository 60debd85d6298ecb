// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The model's rooms: what is set aside for jobs to come, and how many there are at all.

use ringfence_core::{Lifecycle, PrepareError, Request};

use super::Oracle;

impl Oracle {
    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// Rooms that are neither spoken for nor taken.
    pub(super) fn free(&self) -> usize {
        self.entries - self.jobs.len() - self.rooms.len() - self.aside
    }

    /// How many rooms are set aside, of as many as are wished for.
    pub(crate) fn set_aside(&mut self, most: u32) -> u32 {
        if self.lifecycle != Lifecycle::Open {
            return 0;
        }
        let rooms = self.free().min(most as usize);
        self.aside += rooms;
        self.stats.prepared += rooms as u64;
        rooms as u32
    }

    pub(crate) fn put_back(&mut self, rooms: u32) {
        self.aside -= rooms as usize;
        self.stats.prepared -= u64::from(rooms);
    }

    /// A job gets a room that was set aside, whatever has become of the queue since.
    pub(crate) fn prepare_aside(&mut self, request: Request) -> Result<(), PrepareError> {
        let wish = self.wish(request)?;
        self.aside -= 1;
        self.rooms.push(wish);
        Ok(())
    }

    /// True if the line can move into so many elements.
    pub(crate) fn move_into(&mut self, elements: usize) -> bool {
        let taken = self.entries - self.free();
        let is_ring = elements >= 2 && elements.is_power_of_two();
        if !is_ring || elements < taken {
            return false;
        }
        self.entries = elements;
        true
    }
}
