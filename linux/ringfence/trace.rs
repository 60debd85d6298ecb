// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Trace events: `ringfence:*`, with the fields of the `gpu_scheduler` ones.

use kernel::ffi::c_char;
use ringfence_core::Errno;

use crate::fence::Status;
use crate::sys;

/// Whether somebody listens to any event. Asked once a batch.
#[inline]
pub(crate) fn is_on() -> bool {
    // SAFETY: An `atomic_t` of the C side's, which is as this type.
    crate::shared::read(unsafe { &sys::ringfence_rare.traced }) != 0
}

/// A queue as its events name it.
pub(crate) struct Ring {
    pub(crate) device: *const c_char,
    pub(crate) name: *const c_char,
    pub(crate) context: u64,
}

pub(crate) fn queued(ring: &Ring, seqno: u64, queued: u32, on_hardware: u32, client: u64) {
    let Ring {
        device,
        name,
        context,
    } = *ring;
    // SAFETY: The names are terminated and last for the call.
    unsafe {
        sys::ringfence_trace_queue(device, name, context, seqno, queued, on_hardware, client);
    }
}

pub(crate) fn run(ring: &Ring, seqno: u64, queued: u32, on_hardware: u32, client: u64) {
    let Ring {
        device,
        name,
        context,
    } = *ring;
    // SAFETY: As in `queued`.
    unsafe {
        sys::ringfence_trace_run(device, name, context, seqno, queued, on_hardware, client);
    }
}

pub(crate) fn done(context: u64, seqno: u64, status: Status) {
    // SAFETY: Plain numbers.
    unsafe { sys::ringfence_trace_done(context, seqno, status.err().map_or(0, Errno::get)) };
}

/// A job, and the fence that it waits for.
pub(crate) fn waits(context: u64, seqno: u64, on: (u64, u64)) {
    // SAFETY: Plain numbers.
    unsafe { sys::ringfence_trace_add_dep(context, seqno, on.0, on.1) };
}

pub(crate) fn unschedulable(context: u64, seqno: u64, on: (u64, u64)) {
    // SAFETY: Plain numbers.
    unsafe { sys::ringfence_trace_unschedulable(context, seqno, on.0, on.1) };
}
