// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a device is made of.

use std::fmt;
use std::time::Duration;

use crate::error::GpuError;
use crate::observer::Observer;
use crate::slots::{Scheduling, SlotKind};

/// The device to start.
#[derive(Clone)]
pub struct GpuConfig {
    /// Hardware slots: how many contexts can be resident at a time. 1 to 1024.
    pub slots: u32,
    /// Who puts contexts on slots.
    pub scheduling: Scheduling,
    /// What the slots are for, one entry for each slot, or none: then all are
    /// [`Compute`](SlotKind::Compute). Only for [`Scheduling::Host`].
    pub slot_kinds: Vec<SlotKind>,
    /// How long a slot is busy with nothing else when a context comes to it, unless it is the one
    /// that was there last and that has not been on another slot or reset since. Only for
    /// [`Scheduling::Host`].
    pub switch_cost: Duration,
    /// How long a context stays on its slot while others that could run wait for one. Means nothing
    /// where the host schedules.
    pub time_slice: Duration,
    /// Video memory in bytes, rounded up to whole pages; up to 4 GiB. It is touched at start.
    pub vram_bytes: u64,
    /// Bytes per page, a power of two from 256 to 2 MiB.
    pub page_bytes: u64,
    /// How long the host waits for the firmware's answer to a request before it is told
    /// [`NotResponding`](GpuError::NotResponding). [Can be changed](crate::Gpu::set_answer_timeout).
    pub answer_timeout: Duration,
    /// Is told what happens on the slots.
    pub observer: Option<Observer>,
}

impl Default for GpuConfig {
    /// 8 slots that the firmware manages, slices of 2 ms, 32 MiB in pages of 4 KiB, answers within
    /// 250 ms, no observer.
    fn default() -> Self {
        Self {
            slots: 8,
            scheduling: Scheduling::Firmware,
            slot_kinds: Vec::new(),
            switch_cost: Duration::ZERO,
            time_slice: Duration::from_millis(2),
            vram_bytes: 32 << 20,
            page_bytes: 4096,
            answer_timeout: Duration::from_millis(250),
            observer: None,
        }
    }
}

impl GpuConfig {
    pub(crate) fn check(&self) -> Result<(), GpuError> {
        if !(1..=1024).contains(&self.slots) {
            return Err(GpuError::Invalid("a device has 1 to 1024 slots"));
        }
        if !self.page_bytes.is_power_of_two() || !(256..=2 << 20).contains(&self.page_bytes) {
            return Err(GpuError::Invalid(
                "a page has 256 bytes to 2 MiB, a power of two",
            ));
        }
        if !(1..=4 << 30).contains(&self.vram_bytes) {
            return Err(GpuError::Invalid(
                "a device has 1 byte to 4 GiB of video memory",
            ));
        }
        if self.time_slice.is_zero() {
            return Err(GpuError::Invalid("a time slice is longer than nothing"));
        }
        self.check_host()
    }

    fn check_host(&self) -> Result<(), GpuError> {
        let kinds = self.slot_kinds.len();
        if kinds != 0 && kinds != self.slots as usize {
            return Err(GpuError::Invalid(
                "a device has as many kinds of slots as it has slots, or none",
            ));
        }
        if self.scheduling == Scheduling::Firmware {
            if kinds != 0 {
                return Err(GpuError::Invalid(
                    "slots have kinds only where the host schedules",
                ));
            }
            if !self.switch_cost.is_zero() {
                return Err(GpuError::Invalid(
                    "a switch has a cost only where the host schedules",
                ));
            }
        }
        Ok(())
    }

    /// The kind of each slot.
    pub(crate) fn kinds(&self) -> Box<[SlotKind]> {
        if self.slot_kinds.is_empty() {
            return vec![SlotKind::default(); self.slots as usize].into();
        }
        self.slot_kinds.as_slice().into()
    }
}

impl fmt::Debug for GpuConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuConfig")
            .field("slots", &self.slots)
            .field("scheduling", &self.scheduling)
            .field("slot_kinds", &self.slot_kinds)
            .field("switch_cost", &self.switch_cost)
            .field("time_slice", &self.time_slice)
            .field("vram_bytes", &self.vram_bytes)
            .field("page_bytes", &self.page_bytes)
            .field("answer_timeout", &self.answer_timeout)
            .field("observer", &self.observer.is_some())
            .finish()
    }
}
