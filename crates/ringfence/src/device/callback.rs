// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Which devices' callbacks this thread is in.

use std::cell::Cell;

/// One callback on the stack of this thread.
pub(crate) struct Frame {
    device: u64,
    outer: *const Frame,
}

crate::sync::thread_cell! {
    static INNERMOST: Cell<*const Frame> = Cell::new(std::ptr::null());
}

/// Runs `f` as a callback of `device`.
pub(crate) fn enter<R>(device: u64, f: impl FnOnce() -> R) -> R {
    /// Leaves the frame on unwinding too.
    struct Leave(*const Frame);
    impl Drop for Leave {
        fn drop(&mut self) {
            INNERMOST.with(|innermost| innermost.set(self.0));
        }
    }
    let outer = INNERMOST.with(Cell::get);
    let frame = Frame { device, outer };
    INNERMOST.with(|innermost| innermost.set(&frame));
    let _leave = Leave(outer);
    f()
}

/// What a recovery was called for.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) device: u64,
    /// The fence context of the queue.
    pub(crate) context: u64,
    /// The job at which a timeout callback found a hang.
    pub(crate) seqno: Option<u64>,
}

crate::sync::thread_cell! {
    // The recovery that this thread is in. Queues that it stops are quiet, so it may do what a
    // driver callback may not; but unbind would wait for it.
    static RECOVERING: Cell<Option<Call>> = Cell::new(None);
}

/// Runs `f` as a recovery.
pub(crate) fn recover<R>(call: Call, f: impl FnOnce() -> R) -> R {
    /// Leaves on unwinding too.
    struct Leave(Option<Call>);
    impl Drop for Leave {
        fn drop(&mut self) {
            RECOVERING.with(|recovering| recovering.set(self.0));
        }
    }
    let _leave = Leave(RECOVERING.with(|recovering| recovering.replace(Some(call))));
    f()
}

/// The recovery of `device` that this thread is in.
pub(crate) fn recovering(device: u64) -> Option<Call> {
    let call = RECOVERING.with(Cell::get);
    call.filter(|call| call.device == device)
}

/// Runs an interrupt handler: what this thread was in does not count, and what it does now is done
/// as in a callback, of no device.
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(crate) fn interrupted(f: impl FnOnce()) {
    // Devices count from 1.
    let frame = Frame {
        device: 0,
        outer: std::ptr::null(),
    };
    let before = INNERMOST.with(|innermost| innermost.replace(&frame));
    f();
    INNERMOST.with(|innermost| innermost.set(before));
}

/// True in a callback of any device, and in an interrupt handler.
#[inline]
pub(crate) fn inside_any() -> bool {
    INNERMOST.with(|innermost| !innermost.get().is_null())
}

/// True in a callback of `device`, at whatever depth.
pub(crate) fn inside(device: u64) -> bool {
    let mut frame = INNERMOST.with(Cell::get);
    while !frame.is_null() {
        // SAFETY: Frames live on this thread's stack, below the caller's, until they have
        // unlinked themselves.
        let this = unsafe { &*frame };
        if this.device == device {
            return true;
        }
        frame = this.outer;
    }
    false
}
