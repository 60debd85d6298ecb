// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The jobs of one context that are in its ring.

use std::collections::VecDeque;
use std::sync::Arc;

use ringfence::{Completion, Errno};

use super::SoftDriver;

/// A job in the ring: what completes it, and what is needed to write it again.
pub(crate) struct InRing {
    value: u64,
    words: Arc<[u32]>,
    completion: Completion<SoftDriver>,
    /// Resets that it was at the head for and that nobody is known to be to blame for.
    replays: u8,
}

impl InRing {
    pub(super) fn new(value: u64, words: Arc<[u32]>, completion: Completion<SoftDriver>) -> Self {
        Self {
            value,
            words,
            completion,
            replays: 0,
        }
    }

    pub(super) fn value(&self) -> u64 {
        self.value
    }

    pub(super) fn words(&self) -> &[u32] {
        &self.words
    }

    pub(super) fn complete(self, result: Result<(), Errno>) {
        self.completion.complete(result);
    }

    pub(super) fn complete_in_irq(self, result: Result<(), Errno>) {
        self.completion.complete_in_irq(result);
    }
}

/// The jobs in the ring, in the order of their fence values.
///
/// # Invariants
///
/// Never more jobs than there was room for at creation: adding does not allocate.
pub(super) struct Jobs {
    line: VecDeque<InRing>,
    room: usize,
}

impl Jobs {
    pub(super) fn with_room(room: usize) -> Self {
        Self {
            line: VecDeque::with_capacity(room),
            room,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.line.len() >= self.room
    }

    /// Adds the newest job, for which there is room.
    pub(super) fn add(&mut self, job: InRing) {
        debug_assert!(!self.is_full() && self.line.back().is_none_or(|b| b.value < job.value));
        self.line.push_back(job);
    }

    pub(super) fn contains(&self, value: u64) -> bool {
        self.line.iter().any(|job| job.value == value)
    }

    /// Takes the oldest job if the fence has reached it.
    pub(super) fn take_reached(&mut self, reached: u64) -> Option<InRing> {
        if self.line.front()?.value > reached {
            return None;
        }
        self.line.pop_front()
    }

    /// Takes the job with this fence value.
    pub(super) fn take(&mut self, value: u64) -> Option<InRing> {
        let place = self.line.iter().position(|job| job.value == value)?;
        self.line.remove(place)
    }

    /// Takes the oldest job that the fence has not reached.
    pub(super) fn take_head(&mut self, reached: u64) -> Option<InRing> {
        let place = self.line.iter().position(|job| job.value > reached)?;
        self.line.remove(place)
    }

    /// Counts a reset against the oldest job that the fence has not reached, and takes it if
    /// that was one too many.
    pub(super) fn blame_head(&mut self, reached: u64, most: u8) -> Option<InRing> {
        let head = self.line.iter_mut().find(|job| job.value > reached)?;
        head.replays = head.replays.saturating_add(1);
        if head.replays <= most {
            return None;
        }
        self.take_head(reached)
    }

    /// The jobs that the fence has not reached, oldest first.
    pub(super) fn after(&self, reached: u64) -> impl Iterator<Item = &InRing> {
        self.line.iter().filter(move |job| job.value > reached)
    }
}
