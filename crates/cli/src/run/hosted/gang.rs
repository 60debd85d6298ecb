// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where queues are, as the device says: whether their contexts are on slots, and gangs whole.
//!
//! A job must be handed to the hardware only while all contexts of its gang, or its own, are on
//! slots. Contexts come and go one after the other, so a gang is in parts while it does; but nobody of
//! it may be running jobs then.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

/// A gang, as the device sees it.
#[derive(Default)]
pub(in crate::run) struct GangWatch {
    members: usize,
    resident: AtomicUsize,
    /// Since when some of it are on slots and some not; 0 if that is not so.
    parted: AtomicU64,
    /// The longest that it was so, in nanoseconds.
    longest_parted: AtomicU64,
    /// How often all of it were on slots.
    stays: AtomicU64,
}

impl GangWatch {
    /// A gang of so many.
    pub(in crate::run) fn new(members: usize) -> Self {
        Self {
            members,
            ..Self::default()
        }
    }

    /// The longest that it was in parts, and how often it was whole.
    pub(in crate::run) fn seen(&self) -> (u64, u64) {
        let longest = self.longest_parted.load(Ordering::Relaxed);
        (longest, self.stays.load(Ordering::Relaxed))
    }

    fn is_whole(&self) -> bool {
        self.resident.load(Ordering::Acquire) == self.members
    }

    /// One of it has come or gone. Called on one thread at a time, the firmware's.
    fn count(&self, came: bool, at: u64) {
        let before = match came {
            true => self.resident.fetch_add(1, Ordering::AcqRel),
            false => self.resident.fetch_sub(1, Ordering::AcqRel),
        };
        let now = if came {
            before + 1
        } else {
            before.saturating_sub(1)
        };
        if now == 0 || now == self.members {
            let since = self.parted.swap(0, Ordering::AcqRel);
            if since != 0 {
                let span = at.saturating_sub(since);
                self.longest_parted.fetch_max(span, Ordering::AcqRel);
            }
            self.stays.fetch_add(u64::from(now != 0), Ordering::Relaxed);
        } else if before == 0 || before == self.members {
            self.parted.store(at.max(1), Ordering::Release);
        }
    }
}

/// Where one queue is.
#[derive(Default)]
pub(in crate::run) struct Residence {
    resident: AtomicBool,
    gang: Option<Arc<GangWatch>>,
    /// The slots it may be on, by bit.
    slots: u64,
    /// Times it was on another.
    pub(in crate::run) astray: AtomicU64,
    /// Jobs that were run while its context was on no slot.
    pub(in crate::run) off: AtomicU64,
    /// Jobs that were run while one of its gang was on no slot.
    pub(in crate::run) parted: AtomicU64,
}

impl Residence {
    /// Of a queue in that gang, or alone, that may be on the slots of which the bits are set.
    pub(in crate::run) fn new(gang: Option<Arc<GangWatch>>, slots: u64) -> Self {
        Self {
            gang,
            slots,
            ..Self::default()
        }
    }

    /// Its context has come to that slot or left it.
    pub(in crate::run) fn moved(&self, came: bool, slot: u32, at: u64) {
        if came && self.slots >> (slot & 63) & 1 == 0 {
            self.astray.fetch_add(1, Ordering::Relaxed);
        }
        let before = self.resident.swap(came, Ordering::AcqRel);
        if let Some(gang) = self.gang.as_ref().filter(|_| before != came) {
            gang.count(came, at);
        }
    }

    /// A job of it is handed to the hardware. Neither allocates nor blocks.
    pub(in crate::run) fn runs(&self) {
        if !self.resident.load(Ordering::Acquire) {
            self.off.fetch_add(1, Ordering::Relaxed);
        } else if self.gang.as_ref().is_some_and(|gang| !gang.is_whole()) {
            self.parted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gang_in_parts_is_seen_and_timed() {
        let gang = Arc::new(GangWatch::new(2));
        let one = Residence::new(Some(Arc::clone(&gang)), 0b11);
        let two = Residence::new(Some(Arc::clone(&gang)), 0b11);
        one.runs();
        one.moved(true, 0, 100);
        one.runs();
        two.moved(true, 1, 150);
        one.runs();
        two.runs();
        two.moved(false, 1, 200);
        one.runs();
        one.moved(false, 0, 280);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!((count(&one.off), count(&one.parted)), (1, 2));
        assert_eq!((count(&two.off), count(&two.parted)), (0, 0));
        assert_eq!(gang.seen(), (80, 1));
    }

    #[test]
    fn one_alone_needs_no_other() {
        let alone = Residence::new(None, 0b10);
        alone.moved(true, 0, 1);
        alone.runs();
        alone.moved(false, 0, 2);
        alone.runs();
        assert_eq!(alone.off.load(Ordering::Relaxed), 1);
        assert_eq!(alone.parted.load(Ordering::Relaxed), 0);
        // It came to slot 0, and may be on slot 1 only.
        assert_eq!(alone.astray.load(Ordering::Relaxed), 1);
    }
}
