// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Hard interrupts, and who listens to trace events: what `hooks.c` has.

use core::ffi::c_void;

use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::aref::ARef;

use ringfence::{Fence, Signaller};

/// A trace event, as `hooks.h` says.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Event {
    kind: u32,
    error: i32,
    context: u64,
    seqno: u64,
    on_context: u64,
    on_seqno: u64,
    client: u64,
    job_count: u32,
    hw_job_count: u32,
}

extern "C" {
    fn hooks_in_hard_irq(func: unsafe extern "C" fn(*mut c_void), arg: *mut c_void) -> bool;
    fn hooks_in_task() -> bool;
    fn hooks_fence(
        func: unsafe extern "C" fn(*mut c_void),
        arg: *mut c_void,
    ) -> *mut bindings::dma_fence;
    fn hooks_trace_begin() -> i32;
    fn hooks_trace_end(events: *mut Event, room: u32) -> u32;
}

impl Event {
    /// A job of some client is in line, behind `queued` others, with `credits` on the hardware.
    pub(crate) fn queue(fence: &Fence, queued: u32, credits: u32, client: u64) -> Self {
        Self::job(0, fence, queued, credits, client)
    }

    pub(crate) fn run(fence: &Fence, queued: u32, credits: u32, client: u64) -> Self {
        Self::job(1, fence, queued, credits, client)
    }

    fn job(kind: u32, fence: &Fence, queued: u32, credits: u32, client: u64) -> Self {
        Self {
            job_count: queued,
            hw_job_count: credits,
            client,
            ..Self::of(kind, fence)
        }
    }

    pub(crate) fn done(fence: &Fence, error: i32) -> Self {
        Self {
            error,
            ..Self::of(2, fence)
        }
    }

    pub(crate) fn add_dep(fence: &Fence, on: &Fence) -> Self {
        Self::wait(3, fence, on)
    }

    pub(crate) fn unschedulable(fence: &Fence, on: &Fence) -> Self {
        Self::wait(4, fence, on)
    }

    fn wait(kind: u32, fence: &Fence, on: &Fence) -> Self {
        Self {
            on_context: on.context(),
            on_seqno: on.seqno(),
            ..Self::of(kind, fence)
        }
    }

    fn of(kind: u32, fence: &Fence) -> Self {
        Self {
            kind,
            context: fence.context(),
            seqno: fence.seqno(),
            ..Self::default()
        }
    }
}

/// Notes trace events until dropped.
pub(crate) struct Trace(bool);

impl Trace {
    pub(crate) fn begin() -> Result<Self> {
        // SAFETY: May sleep, as tests may.
        kernel::error::to_result(unsafe { hooks_trace_begin() })?;
        Ok(Self(true))
    }

    /// What was noted.
    pub(crate) fn end(mut self) -> Result<KVec<Event>> {
        self.0 = false;
        let mut events = KVec::from_elem(Event::default(), 64, GFP_KERNEL)?;
        // SAFETY: There is room for 64; `begin` went well.
        let seen = unsafe { hooks_trace_end(events.as_mut_ptr(), 64) };
        ensure!(seen <= 64);
        events.truncate(seen as usize);
        Ok(events)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if self.0 {
            // SAFETY: Nothing is written; `begin` went well.
            let _seen = unsafe { hooks_trace_end(core::ptr::null_mut(), 0) };
        }
    }
}

/// Calls `body` in hard interrupt context, and waits for its end.
pub(crate) fn in_hard_irq<R: Send>(body: impl FnOnce() -> R + Send) -> Result<R> {
    struct Call<F, R> {
        body: Option<F>,
        result: Option<R>,
    }

    /// # Safety
    ///
    /// `arg` is such a call, which nobody else uses meanwhile.
    unsafe extern "C" fn call<R, F: FnOnce() -> R>(arg: *mut c_void) {
        // SAFETY: Says the caller.
        let call = unsafe { &mut *arg.cast::<Call<F, R>>() };
        call.result = call.body.take().map(|body| body());
    }

    fn run<R, F: FnOnce() -> R>(body: F) -> (bool, Option<R>) {
        let mut this = Call {
            body: Some(body),
            result: None,
        };
        let arg = (&raw mut this).cast();
        // SAFETY: The call is there until the function returns, which waits for its end.
        (unsafe { hooks_in_hard_irq(call::<R, F>, arg) }, this.result)
    }

    let (hard, result) = run(body);
    ensure!(hard);
    result.ok_or(EINVAL)
}

/// A fence that signals another when somebody first registers with it, and itself when dropped.
pub(crate) struct Chained(pub(crate) ARef<Fence>);

impl Chained {
    /// Must be registered with, once.
    pub(crate) fn to(other: Signaller) -> Result<Self> {
        /// # Safety
        ///
        /// `arg` is a box that nobody else has.
        unsafe extern "C" fn signal(arg: *mut c_void) {
            // SAFETY: Says the caller.
            KBox::into_inner(unsafe { KBox::from_raw(arg.cast::<Signaller>()) }).signal(Ok(()));
        }

        let other = KBox::into_raw(KBox::new(other, GFP_KERNEL)?);
        // SAFETY: The box is given away: `signal` is called once.
        match unsafe { Fence::from_count(hooks_fence(signal, other.cast())) } {
            Some(fence) => Ok(Self(fence)),
            None => {
                // SAFETY: It was not given away.
                drop(unsafe { KBox::from_raw(other) });
                Err(ENOMEM)
            }
        }
    }
}

impl Drop for Chained {
    fn drop(&mut self) {
        // SAFETY: A fence of ours, which nobody else signals.
        unsafe { bindings::dma_fence_signal(self.0.as_raw()) };
    }
}

/// Whether this is a task with interrupts on.
pub(crate) fn in_task() -> bool {
    // SAFETY: Only looks.
    unsafe { hooks_in_task() }
}
