// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Threads of tests: work on a workqueue of the module's own, which its exit waits for.

use core::cell::Cell;

use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{Arc, Completion};
use kernel::types::Opaque;
use kernel::workqueue;

static QUEUE: Atomic<*mut bindings::workqueue_struct> = Atomic::new(core::ptr::null_mut());

pub(crate) fn open() -> Result {
    // SAFETY: The format is terminated and wants nothing.
    let queue = unsafe {
        bindings::alloc_workqueue_noprof(
            c"ringfence-tests".as_char_ptr(),
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
    let queue = QUEUE.xchg(core::ptr::null_mut(), kernel::sync::atomic::Full);
    if !queue.is_null() {
        // SAFETY: It was made by `open`, and no test runs any more.
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

/// Something that runs beside the test. Dropping it waits for its end.
pub(crate) struct Thread<R: Send + 'static> {
    shared: Arc<Shared<R>>,
}

/// Runs `body` beside the test.
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
    Ok(Thread { shared })
}

impl<R: Send + 'static> Thread<R> {
    /// Waits for its end.
    pub(crate) fn join(self) -> Result<R> {
        self.shared.done.wait_for_completion();
        // SAFETY: It is done, and this handle is the only one.
        unsafe { (*self.shared.result.get()).take() }.ok_or(EINVAL)
    }
}

impl<R: Send + 'static> Drop for Thread<R> {
    fn drop(&mut self) {
        self.shared.done.wait_for_completion();
    }
}

/// A call whose types a thread need not know.
struct Call {
    at: *const (),
    number: usize,
    call: unsafe fn(*const (), usize) -> Result,
}

// SAFETY: Whoever makes one vouches for what it calls.
unsafe impl Send for Call {}

impl Call {
    fn run(self) -> Result {
        // SAFETY: Whoever made it waits for its end.
        unsafe { (self.call)(self.at, self.number) }
    }
}

/// Calls what `at` points to.
///
/// # Safety
///
/// `at` points to an `F` that may be called from this thread.
unsafe fn called<F: Fn(usize) -> Result>(at: *const (), number: usize) -> Result {
    // SAFETY: Says the caller.
    unsafe { (*at.cast::<F>())(number) }
}

/// Runs `body` so many times beside each other, each with its number, and returns when all have
/// ended.
///
/// # Errors
///
/// That of the first by number that has failed.
pub(crate) fn all<F: Fn(usize) -> Result + Sync>(count: usize, body: F) -> Result {
    let mut threads = KVec::with_capacity(count, GFP_KERNEL)?;
    for number in 0..count {
        let call = Call {
            at: (&raw const body).cast(),
            number,
            call: called::<F>,
        };
        // Dropping the threads waits for them: `body` is there until then.
        threads.push(spawn(move || call.run())?, GFP_KERNEL)?;
    }
    let mut first = Ok(());
    for thread in threads {
        let result = thread.join().flatten();
        first = first.and(result);
    }
    first
}

/// Where threads wait for each other, so that what follows happens at once.
pub(crate) struct Meeting {
    all: i32,
    there: Atomic<i32>,
}

impl Meeting {
    pub(crate) fn of(all: i32) -> Self {
        Self {
            all,
            there: Atomic::new(0),
        }
    }

    /// Returns when all have come, for the first time, the second and so on.
    pub(crate) fn meet(&self) -> Result {
        let round = self.there.fetch_add(1, kernel::sync::atomic::Full) / self.all + 1;
        let over = || self.there.load(Relaxed) >= round * self.all;
        // Who sleeps wakes too late.
        let end = ringfence::monotonic().as_ns() + 200_000;
        while !over() && ringfence::monotonic().as_ns() < end {
            core::hint::spin_loop();
        }
        super::eventually("all have come", over)
    }
}

/// Runs `theirs` beside `ours`, and returns when both have ended.
///
/// # Errors
///
/// That of `ours`, or of `theirs`.
pub(crate) fn beside<T: Send, R>(
    theirs: impl FnOnce() -> Result<T> + Send,
    ours: impl FnOnce() -> Result<R>,
) -> Result<(T, R)> {
    let (body, result) = (Once(Cell::new(Some(theirs))), Once(Cell::new(None)));
    let once = |_| {
        let (body, result) = (&body, &result);
        result.0.set(body.0.take().map(|body| body()));
        Ok(())
    };
    let call = by_reference(&once);
    let thread = spawn(move || call.run())?;
    let ours = ours();
    thread.join().flatten()?;
    let theirs = result.0.take().ok_or(EINVAL)?;
    Ok((theirs?, ours?))
}

fn by_reference<F: Fn(usize) -> Result>(body: &F) -> Call {
    Call {
        at: core::ptr::from_ref(body).cast(),
        number: 0,
        call: called::<F>,
    }
}

/// What one thread at a time uses.
struct Once<T>(Cell<T>);

// SAFETY: One thread at a time uses it.
unsafe impl<T: Send> Sync for Once<T> {}
