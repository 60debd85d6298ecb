// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the host can know of the slots.

use super::Gpu;
use crate::context::Context;
use crate::error::GpuError;
use crate::slots::{Scheduling, SlotKind, SlotUsage};

impl Gpu {
    /// Creates a context that may be bound to slots of this kind only. See
    /// [`create_context`](Self::create_context).
    ///
    /// # Errors
    ///
    /// [`GpuError::NotHostScheduled`], and as `create_context`.
    pub fn create_context_for(
        &self,
        kind: SlotKind,
        ring_words: usize,
    ) -> Result<Context, GpuError> {
        if !self.device.is_host_scheduled() {
            return Err(GpuError::NotHostScheduled);
        }
        self.create(ring_words, Some(kind))
    }

    /// Who puts contexts on slots.
    pub fn scheduling(&self) -> Scheduling {
        self.device.scheduling
    }

    /// How many slots it has.
    pub fn slots(&self) -> u32 {
        self.device.slots.len() as u32
    }

    /// What the slot is for; `None` if there is no such slot.
    pub fn slot_kind(&self, slot: u32) -> Option<SlotKind> {
        Some(self.device.slots.get(slot as usize)?.kind)
    }

    /// What the slot has been used for; `None` if there is no such slot.
    pub fn slot_usage(&self, slot: u32) -> Option<SlotUsage> {
        Some(self.device.slots.get(slot as usize)?.usage())
    }
}
