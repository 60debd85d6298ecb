// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Threads: work on a workqueue of the module's own, which its exit waits for.

use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Full, Relaxed};
use kernel::sync::{Arc, Completion};
use kernel::types::Opaque;
use kernel::workqueue;

static QUEUE: Atomic<*mut bindings::workqueue_struct> = Atomic::new(core::ptr::null_mut());

pub(crate) fn open() -> Result {
    // SAFETY: The format is terminated and wants nothing.
    let queue = unsafe {
        bindings::alloc_workqueue_noprof(
            c"ringfence-stress".as_char_ptr(),
            bindings::wq_flags_WQ_UNBOUND,
            0,
        )
    };
    if queue.is_null() {
        return Err(ENOMEM);
    }
    QUEUE.store(queue, Relaxed);
    Ok(())
}

pub(crate) fn close() {
    let queue = QUEUE.xchg(core::ptr::null_mut(), Full);
    if !queue.is_null() {
        // SAFETY: It was made by `open`, and nothing is put there any more.
        unsafe { bindings::destroy_workqueue(queue) };
    }
}

#[pin_data]
struct Shared<R> {
    #[pin]
    done: Completion,
    result: Opaque<Option<R>>,
}

// SAFETY: The result is written before, and read after the completion.
unsafe impl<R: Send> Sync for Shared<R> {}
// SAFETY: As above.
unsafe impl<R: Send> Send for Shared<R> {}

/// Something that runs beside others.
pub(crate) struct Thread<R: Send + 'static>(Arc<Shared<R>>);

pub(crate) fn spawn<R: Send + 'static>(
    body: impl FnOnce() -> R + Send + 'static,
) -> Result<Thread<R>> {
    let shared = Arc::pin_init(
        pin_init!(Shared {
            done <- Completion::new(),
            result: Opaque::new(None),
        }),
        GFP_KERNEL,
    )?;
    let theirs = shared.clone();
    // SAFETY: It is there from `open` to `close`.
    let queue = unsafe { workqueue::Queue::from_raw(QUEUE.load(Relaxed)) };
    queue.try_spawn(GFP_KERNEL, move || {
        let result = body();
        // SAFETY: Nobody reads it before it is said to be done.
        unsafe { *theirs.result.get() = Some(result) };
        theirs.done.complete_all();
    })?;
    Ok(Thread(shared))
}

impl<R: Send + 'static> Thread<R> {
    /// What it has returned. Waits for its end, which whoever calls this knows to be near.
    pub(crate) fn join(self) -> Result<R> {
        self.0.done.wait_for_completion();
        // SAFETY: It is done, and this handle is the only one.
        unsafe { (*self.0.result.get()).take() }.ok_or(EINVAL)
    }
}
