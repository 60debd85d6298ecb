// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a device counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::slots::{SlotKind, SlotUsage};

/// What a device has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GpuStats {
    /// Fences written.
    pub jobs: u64,
    /// Contexts that faulted.
    pub faults: u64,
    /// Times a context came to a slot.
    pub slot_switches: u64,
    /// Resets of one context.
    pub context_resets: u64,
    /// Resets of the device.
    pub device_resets: u64,
    /// Resets, of either sort, that reported failure.
    pub failed_resets: u64,
    /// Interrupts delivered, whether or not a handler was there.
    pub interrupts: u64,
    /// Interrupt handlers that panicked.
    pub handler_panics: u64,
}

#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) jobs: Counter,
    pub(crate) faults: Counter,
    pub(crate) slot_switches: Counter,
    pub(crate) context_resets: Counter,
    pub(crate) device_resets: Counter,
    pub(crate) failed_resets: Counter,
}

/// A slot as the host sees it.
pub(crate) struct SlotMeter {
    pub(crate) kind: SlotKind,
    /// In nanoseconds.
    executing: AtomicU64,
    switching: AtomicU64,
}

impl SlotMeter {
    pub(super) fn new(kind: SlotKind) -> Self {
        Self {
            kind,
            executing: AtomicU64::new(0),
            switching: AtomicU64::new(0),
        }
    }

    pub(crate) fn executed(&self, ns: u64) {
        self.executing.fetch_add(ns, Ordering::Relaxed);
    }

    pub(crate) fn switched(&self, ns: u64) {
        self.switching.fetch_add(ns, Ordering::Relaxed);
    }

    pub(super) fn usage(&self) -> SlotUsage {
        let read = |ns: &AtomicU64| Duration::from_nanos(ns.load(Ordering::Relaxed));
        SlotUsage {
            executing: read(&self.executing),
            switching: read(&self.switching),
        }
    }
}
