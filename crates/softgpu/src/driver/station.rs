// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The devices behind one driver: the one in use and those on standby.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};

use super::ring::ContextRing;
use crate::sync::lock;
use crate::{Buffer, Gpu};

/// What recoveries came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recoveries {
    /// Nothing was wrong after all, or a recovery before had dealt with it.
    pub nothing: u64,
    /// The context of one queue was reset.
    pub queue_resets: u64,
    /// The whole device was reset.
    pub device_resets: u64,
    /// Everything was moved to a fresh device.
    pub migrations: u64,
    /// The device was gone: everything ended with `ENODEV`.
    pub gone: u64,
    /// Jobs that were put on the hardware again.
    pub replayed: u64,
    /// Jobs that were cancelled because another of their queue was guilty.
    pub cancelled: u64,
    /// Jobs that were found guilty.
    pub guilty: u64,
}

impl std::ops::AddAssign for Recoveries {
    fn add_assign(&mut self, other: Self) {
        self.nothing += other.nothing;
        self.queue_resets += other.queue_resets;
        self.device_resets += other.device_resets;
        self.migrations += other.migrations;
        self.gone += other.gone;
        self.replayed += other.replayed;
        self.cancelled += other.cancelled;
        self.guilty += other.guilty;
    }
}

/// Counts [`Recoveries`].
#[derive(Default)]
pub(super) struct Tally {
    pub(super) nothing: AtomicU64,
    pub(super) queue_resets: AtomicU64,
    pub(super) device_resets: AtomicU64,
    pub(super) migrations: AtomicU64,
    pub(super) gone: AtomicU64,
    pub(super) replayed: AtomicU64,
    pub(super) cancelled: AtomicU64,
    pub(super) guilty: AtomicU64,
}

/// What the drivers of all contexts share.
pub(crate) struct Station {
    pub(super) gpus: Box<[Gpu]>,
    at: AtomicUsize,
    /// Written while memory moves to another device.
    pub(super) moving: RwLock<()>,
    buffers: Mutex<Vec<Weak<[Buffer]>>>,
    rings: Mutex<Vec<Weak<ContextRing>>>,
    /// The firmware has said that it died.
    died: AtomicBool,
    /// Somebody wants everything to be reset, or moved.
    pub(super) wants_reset: AtomicBool,
    pub(super) wants_move: AtomicBool,
    pub(super) tally: Tally,
}

impl Station {
    pub(super) fn new(gpus: Vec<Gpu>) -> Self {
        Self {
            gpus: gpus.into(),
            at: AtomicUsize::new(0),
            moving: RwLock::new(()),
            buffers: Mutex::default(),
            rings: Mutex::default(),
            died: AtomicBool::new(false),
            wants_reset: AtomicBool::new(false),
            wants_move: AtomicBool::new(false),
            tally: Tally::default(),
        }
    }

    /// The place of the device in use.
    pub(super) fn at(&self) -> usize {
        self.at.load(Ordering::Acquire)
    }

    pub(super) fn set_at(&self, at: usize) {
        self.at.store(at, Ordering::Release);
    }

    /// The device in use.
    pub(super) fn gpu(&self) -> &Gpu {
        &self.gpus[self.at()]
    }

    /// The device in use and those on standby.
    pub(super) fn present(&self) -> impl Iterator<Item = &Gpu> {
        self.gpus[self.at()..].iter()
    }

    pub(super) fn note_death(&self) {
        self.died.store(true, Ordering::Release);
    }

    pub(super) fn take_death(&self) -> bool {
        self.died.swap(false, Ordering::AcqRel)
    }

    /// Remembers memory that must be moved when everything is. Allocates.
    pub(super) fn keep(&self, copies: &Arc<[Buffer]>) {
        let mut buffers = lock(&self.buffers);
        if buffers.len() == buffers.capacity() {
            buffers.retain(|buffer| buffer.strong_count() > 0);
        }
        buffers.push(Arc::downgrade(copies));
    }

    /// Remembers a queue that may want to be told. Allocates.
    pub(super) fn add(&self, ring: &Arc<ContextRing>) {
        let mut rings = lock(&self.rings);
        if rings.len() == rings.capacity() {
            rings.retain(|ring| ring.strong_count() > 0);
        }
        rings.push(Arc::downgrade(ring));
    }

    /// Calls the recovery for every queue: whichever it looks at first, it finds what is wrong with
    /// all.
    pub(super) fn call_recovery(&self) {
        for ring in lock(&self.rings).iter().filter_map(Weak::upgrade) {
            ring.call_recovery();
        }
    }

    pub(super) fn for_buffers(&self, mut each: impl FnMut(&[Buffer])) {
        for copies in lock(&self.buffers).iter().filter_map(Weak::upgrade) {
            each(&copies);
        }
    }

    pub(super) fn recoveries(&self) -> Recoveries {
        let tally = &self.tally;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Recoveries {
            nothing: read(&tally.nothing),
            queue_resets: read(&tally.queue_resets),
            device_resets: read(&tally.device_resets),
            migrations: read(&tally.migrations),
            gone: read(&tally.gone),
            replayed: read(&tally.replayed),
            cancelled: read(&tally.cancelled),
            guilty: read(&tally.guilty),
        }
    }
}
