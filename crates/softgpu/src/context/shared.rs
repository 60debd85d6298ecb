// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the host and the firmware both see of a context.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use super::{ContextId, ContextState, ResetReport};
use crate::answer::Mailbox;
use crate::clock::now_ns;
use crate::fault::{Fault, Injections};
use crate::interrupt::Line;
use crate::memory::PageTable;
use crate::ring::Ring;
use crate::slots::SlotKind;

const IDLE: u32 = 0;
const WAITING: u32 = 1;
const FAULTED: u32 = 2;
const RESETTING: u32 = 3;
const STOPPED: u32 = 4;
/// On slot `n` is `RESIDENT + n`.
const RESIDENT: u32 = 16;

/// Nanoseconds of spinning that count as one step of progress.
const SPIN_STEP: u64 = 1024;

/// The shared half of a context.
pub(crate) struct Shared {
    pub(crate) id: ContextId,
    /// Its place in the firmware's table; used again once the context is gone.
    pub(crate) index: usize,
    pub(crate) ring: Ring,
    /// The kind of slots it needs; `None`: any.
    pub(crate) kind: Option<SlotKind>,
    pub(crate) page_table: RwLock<PageTable>,
    pub(crate) line: Arc<Line>,
    pub(crate) injections: Arc<Injections>,
    pub(crate) fault: Mutex<Option<Fault>>,
    /// The doorbell has rung and the firmware has not yet looked.
    pub(crate) rung: AtomicBool,
    /// Where answers to resets arrive.
    pub(crate) resets: Arc<Mailbox<Option<ResetReport>>>,
    state: AtomicU32,
    progress: AtomicU64,
    /// Nanoseconds that it has been executing, or spinning, on a slot.
    busy: AtomicU64,
    /// Times it came to a slot.
    stays: AtomicU64,
    /// It waits for a semaphore.
    blocked: AtomicBool,
    /// Since when it has been spinning on a slot; 0 if it does not.
    spinning_since: AtomicU64,
    /// The largest progress anyone was told.
    progress_told: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        id: ContextId,
        index: usize,
        ring: Ring,
        page_table: PageTable,
        kind: Option<SlotKind>,
    ) -> Self {
        Self {
            id,
            index,
            ring,
            kind,
            page_table: RwLock::new(page_table),
            line: Arc::new(Line::new(id)),
            injections: Arc::default(),
            fault: Mutex::new(None),
            rung: AtomicBool::new(false),
            resets: Arc::default(),
            state: AtomicU32::new(IDLE),
            progress: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            stays: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            spinning_since: AtomicU64::new(0),
            progress_told: AtomicU64::new(0),
        }
    }

    pub(crate) fn fence_value(&self) -> u64 {
        self.line.fence_value()
    }

    pub(crate) fn state(&self) -> ContextState {
        match self.state.load(Ordering::Acquire) {
            IDLE => ContextState::Idle,
            WAITING => ContextState::Waiting,
            FAULTED => ContextState::Faulted,
            RESETTING => ContextState::Resetting,
            STOPPED => ContextState::Stopped,
            resident => ContextState::Resident(resident - RESIDENT),
        }
    }

    pub(crate) fn set_state(&self, state: ContextState) {
        let code = match state {
            ContextState::Idle => IDLE,
            ContextState::Waiting => WAITING,
            ContextState::Faulted => FAULTED,
            ContextState::Resetting => RESETTING,
            ContextState::Stopped | ContextState::Gone => STOPPED,
            ContextState::Resident(slot) => RESIDENT + slot,
        };
        self.state.store(code, Ordering::Release);
    }

    /// It has been executing for so long.
    pub(crate) fn was_busy(&self, ns: u64) {
        self.busy.fetch_add(ns, Ordering::AcqRel);
    }

    pub(crate) fn busy_ns(&self) -> u64 {
        let since = self.spinning_since.load(Ordering::Acquire);
        let spun = if since == 0 {
            0
        } else {
            now_ns().saturating_sub(since)
        };
        self.busy.load(Ordering::Acquire).saturating_add(spun)
    }

    /// It has come to a slot.
    pub(crate) fn stays_once_more(&self) {
        self.stays.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn stays(&self) -> u64 {
        self.stays.load(Ordering::Acquire)
    }

    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Release);
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Acquire)
    }

    pub(crate) fn count_progress(&self) {
        // The firmware is the only writer.
        let progress = self.progress.load(Ordering::Relaxed);
        self.progress
            .store(progress.wrapping_add(1), Ordering::Release);
    }

    pub(crate) fn spin_begins(&self, now: u64) {
        self.spinning_since.store(now.max(1), Ordering::Release);
    }

    pub(crate) fn spin_ends(&self, now: u64) {
        let since = self.spinning_since.swap(0, Ordering::AcqRel);
        if since != 0 {
            let spun = now.saturating_sub(since);
            self.was_busy(spun);
            let steps = spun / SPIN_STEP;
            let progress = self.progress.load(Ordering::Relaxed);
            self.progress
                .store(progress.wrapping_add(steps), Ordering::Release);
        }
    }

    pub(crate) fn progress(&self) -> u64 {
        let progress = loop {
            let since = self.spinning_since.load(Ordering::Acquire);
            let progress = self.progress.load(Ordering::Acquire);
            // A spin that ends in between would count twice.
            if since == self.spinning_since.load(Ordering::Acquire) {
                let spun = if since == 0 {
                    0
                } else {
                    now_ns().saturating_sub(since) / SPIN_STEP
                };
                break progress.wrapping_add(spun);
            }
        };
        // While a spin is being added up it counts for nothing; never go back for that.
        self.progress_told
            .fetch_max(progress, Ordering::AcqRel)
            .max(progress)
    }
}
