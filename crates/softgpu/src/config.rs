// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a device is made of.

use std::fmt;
use std::time::Duration;

use crate::error::GpuError;
use crate::observer::Observer;

/// The device to start.
#[derive(Clone)]
pub struct GpuConfig {
    /// Hardware slots: how many contexts can be resident at a time. 1 to 1024.
    pub slots: u32,
    /// How long a context stays on its slot while others that could run wait for one.
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
    /// 8 slots, slices of 2 ms, 32 MiB in pages of 4 KiB, answers within 250 ms, no observer.
    fn default() -> Self {
        Self {
            slots: 8,
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
        Ok(())
    }
}

impl fmt::Debug for GpuConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuConfig")
            .field("slots", &self.slots)
            .field("time_slice", &self.time_slice)
            .field("vram_bytes", &self.vram_bytes)
            .field("page_bytes", &self.page_bytes)
            .field("answer_timeout", &self.answer_timeout)
            .field("observer", &self.observer.is_some())
            .finish()
    }
}
