// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A bounded buffer of events that any thread may fill.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::OnceLock;

use crate::event::{Event, EventKind};

/// Takes events from any number of threads, up to a number fixed at creation.
///
/// [`record`](Self::record) neither allocates nor blocks, so it may be called from callbacks, from a
/// thread that plays interrupt, and inside a signalling section. Events beyond the capacity are
/// counted and left out: the first ones are kept, because a trace with a hole in its past is harder
/// to read than one that stops.
///
/// # Invariants
///
/// Each cell is written by the one thread that `claimed` gave its index to, and never again.
#[derive(Debug)]
pub struct Recorder {
    cells: Box<[OnceLock<Event>]>,
    claimed: AtomicUsize,
}

impl Recorder {
    /// Makes room for `capacity` events (about 64 bytes each) at once. This is the only allocation.
    pub fn new(capacity: usize) -> Self {
        let cells = (0..capacity).map(|_| OnceLock::new()).collect();
        Self {
            cells,
            claimed: AtomicUsize::new(0),
        }
    }

    /// Records `event`. Returns false when the buffer is full and the event was only counted.
    ///
    /// Never allocates, never blocks.
    pub fn record(&self, event: Event) -> bool {
        // Relaxed: the index only has to be unique; `OnceLock` publishes the event itself.
        let index = self.claimed.fetch_add(1, Ordering::Relaxed);
        match self.cells.get(index) {
            Some(cell) => cell.set(event).is_ok(),
            None => false,
        }
    }

    /// Records `kind` at `timestamp` nanoseconds. See [`record`](Self::record).
    pub fn record_at(&self, timestamp: u64, kind: EventKind) -> bool {
        self.record(Event::new(timestamp, kind))
    }

    /// How many events fit.
    pub fn capacity(&self) -> usize {
        self.cells.len()
    }

    /// How many events were recorded so far.
    pub fn len(&self) -> usize {
        self.claimed.load(Ordering::Relaxed).min(self.cells.len())
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many events found no room.
    pub fn dropped(&self) -> u64 {
        self.claimed
            .load(Ordering::Relaxed)
            .saturating_sub(self.cells.len()) as u64
    }

    /// A copy of what was recorded so far, in the order of recording. Allocates.
    ///
    /// An event that another thread is just writing is left out; once all recording threads have
    /// been joined, none is.
    pub fn events(&self) -> Vec<Event> {
        self.cells[..self.len()]
            .iter()
            .filter_map(|cell| cell.get().copied())
            .collect()
    }
}

#[cfg(test)]
mod tests;
