// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Looking at a queue that works.

use std::fmt;

use ringfence_core::{Entry, GateReport};

use super::{Mode, Queue};
use crate::clock::monotonic;
use crate::driver::Driver;

/// Memory to look at queues with: what [`Queue::snapshot_into`] copies the queue to. One serves any
/// number of queues with at most so many entries.
pub struct Inspection {
    entries: Box<[Entry]>,
}

/// Why a queue could not be shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The memory is for a smaller queue.
    #[error("the queue has {entries} entries, which the inspection has no room for")]
    NoRoom {
        /// What the queue has.
        entries: u64,
    },
    /// What was written to has refused.
    #[error("writing failed")]
    Write(#[from] fmt::Error),
}

impl fmt::Debug for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspection")
            .field("entries", &self.entries.len())
            .finish()
    }
}

impl Inspection {
    /// Takes memory for queues with at most so many entries.
    pub fn new(entries: usize) -> Self {
        Self {
            entries: vec![Entry::FREE; entries].into_boxed_slice(),
        }
    }
}

impl<D: Driver, M: Mode> Queue<D, M> {
    /// Writes every job as text (its state, age, what it waits for), and below them the last 64
    /// events. Stops nothing: the queue's lock is held for a copy into `memory`, and text is made
    /// after. Neither allocates nor sleeps, so it may be called in a signalling section, in any
    /// callback, and while the queue is stopped, if `out` may be written to there.
    ///
    /// # Errors
    ///
    /// [`InspectError::NoRoom`]; or `out` has refused, in mid-text.
    pub fn snapshot_into(
        &self,
        memory: &mut Inspection,
        out: &mut impl fmt::Write,
    ) -> Result<(), InspectError> {
        let state = self.shared.lock();
        let entries = state.core.capacity();
        // The capacity was a `usize` when the queue was made.
        let room = memory
            .entries
            .get_mut(..usize::try_from(entries).unwrap_or(usize::MAX));
        let copy = room.and_then(|room| state.core.copy_into(room));
        drop(state);
        let copy = copy.ok_or(InspectError::NoRoom { entries })?;
        let snapshot = copy.snapshot(self.shared.name(), monotonic());
        Ok(write!(out, "{}", snapshot.with_events())?)
    }

    /// What is so now of what a [gate](crate::Gate) is told: the last report, or the one that is about
    /// to be made. `None` for a queue without a gate. Any context.
    pub fn gate_report(&self) -> Option<GateReport> {
        self.shared.lock().core.gate_report()
    }

    /// As [`Queue::snapshot_into`], into text of its own. Allocates, so not for use in a signalling
    /// section.
    pub fn snapshot(&self) -> String {
        let entries = self.shared.lock().core.capacity();
        let mut memory = Inspection::new(usize::try_from(entries).unwrap_or(0));
        let mut text = String::new();
        // Text does not refuse, and there is room.
        let _ = self.snapshot_into(&mut memory, &mut text);
        text
    }
}
