// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What `interop.c` has, with our types.

use core::ffi::{c_int, c_void};
use core::ptr::NonNull;

use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::aref::ARef;

use ringfence::{Errno, Fence};

use crate::rig::{eventually, LONG_MS};

extern "C" {
    fn interop_sync_file_roundtrip(fence: *mut bindings::dma_fence) -> c_int;
    fn interop_array(
        fences: *const *mut bindings::dma_fence,
        count: u32,
    ) -> *mut bindings::dma_fence;
    fn interop_chain(
        previous: *mut bindings::dma_fence,
        fence: *mut bindings::dma_fence,
        seqno: u64,
    ) -> *mut bindings::dma_fence;
    fn interop_resv_add_and_wait(
        fence: *mut bindings::dma_fence,
        usage: u32,
        timeout_ms: u32,
    ) -> c_int;
    fn interop_timeline_create() -> *mut c_void;
    fn interop_timeline_fence(timeline: *mut c_void) -> *mut bindings::dma_fence;
    fn interop_timeline_advance(timeline: *mut c_void, seqno: u64, error: c_int);
    fn interop_timeline_destroy(timeline: *mut c_void);
    fn interop_timeline_advance_in_irq(timeline: *mut c_void, seqno: u64, error: c_int) -> bool;
    fn interop_open_count() -> u32;
}

/// How a fence is used, by who puts it into a reservation object: `enum dma_resv_usage`.
pub(super) const USAGES: [u32; 4] = [
    bindings::dma_resv_usage_DMA_RESV_USAGE_KERNEL,
    bindings::dma_resv_usage_DMA_RESV_USAGE_WRITE,
    bindings::dma_resv_usage_DMA_RESV_USAGE_READ,
    bindings::dma_resv_usage_DMA_RESV_USAGE_BOOKKEEP,
];

/// Into a file descriptor and out of it again: is it the same?
pub(super) fn sync_file_roundtrip(fence: &Fence) -> Result<bool> {
    // SAFETY: A fence with a count; a test may sleep.
    let same = unsafe { interop_sync_file_roundtrip(fence.as_raw()) };
    kernel::error::to_result(same.min(0)).map(|()| same == 1)
}

/// The fence of several.
pub(super) fn array(fences: &[&Fence]) -> Result<ARef<Fence>> {
    let mut raw = KVec::with_capacity(fences.len(), GFP_KERNEL)?;
    for fence in fences {
        raw.push(fence.as_raw(), GFP_KERNEL)?;
    }
    // SAFETY: So many fences with counts. The array's count is ours.
    unsafe { Fence::from_count(interop_array(raw.as_ptr(), raw.len() as u32)) }.ok_or(ENOMEM)
}

/// The fence of one and of what was before it.
pub(super) fn chain(previous: Option<&Fence>, fence: &Fence, seqno: u64) -> Result<ARef<Fence>> {
    let previous = previous.map_or(core::ptr::null_mut(), Fence::as_raw);
    // SAFETY: Fences with counts, or null for the first. The chain's count is ours.
    unsafe { Fence::from_count(interop_chain(previous, fence.as_raw(), seqno)) }.ok_or(ENOMEM)
}

/// Into a reservation object, which then waits for it. False if that took too long.
pub(super) fn resv_add_and_wait(fence: &Fence, usage: u32, timeout_ms: u32) -> Result<bool> {
    // SAFETY: A fence with a count; a test may sleep.
    let waited = unsafe { interop_resv_add_and_wait(fence.as_raw(), usage, timeout_ms) };
    kernel::error::to_result(waited.min(0))?;
    Ok(waited == 1)
}

pub(super) fn resv_waits_for(fence: &Fence, usage: u32) -> Result<bool> {
    resv_add_and_wait(fence, usage, LONG_MS)
}

/// A timeline as older drivers have them.
pub(super) struct Foreign(NonNull<c_void>);

// SAFETY: It has a lock, and is used through functions that take it.
unsafe impl Send for Foreign {}
// SAFETY: As above.
unsafe impl Sync for Foreign {}

impl Foreign {
    pub(super) fn new() -> Result<Self> {
        // SAFETY: May sleep.
        NonNull::new(unsafe { interop_timeline_create() })
            .map(Self)
            .ok_or(ENOMEM)
    }

    /// The fence of the next number, from 1.
    pub(super) fn fence(&self) -> Result<ARef<Fence>> {
        // SAFETY: The timeline is there. The count is ours.
        unsafe { Fence::from_count(interop_timeline_fence(self.0.as_ptr())) }.ok_or(ENOMEM)
    }

    /// Signals the fences up to a number.
    pub(super) fn advance(&self, seqno: u64, result: Result<(), Errno>) {
        // SAFETY: The timeline is there.
        unsafe { interop_timeline_advance(self.0.as_ptr(), seqno, number(result)) };
    }

    /// The same in a hard interrupt.
    pub(super) fn advance_in_irq(&self, seqno: u64, result: Result<(), Errno>) -> Result {
        // SAFETY: The timeline is there; a test may sleep.
        let was_irq =
            unsafe { interop_timeline_advance_in_irq(self.0.as_ptr(), seqno, number(result)) };
        ensure!(was_irq);
        Ok(())
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // SAFETY: It is given up once.
        unsafe { interop_timeline_destroy(self.0.as_ptr()) };
    }
}

fn number(result: Result<(), Errno>) -> c_int {
    result.err().map_or(0, Errno::get)
}

/// No fence of any foreign timeline is held by anybody.
pub(super) fn none_is_left() -> Result {
    // SAFETY: May sleep.
    eventually(
        "no foreign fence is left",
        || unsafe { interop_open_count() } == 0,
    )
}
