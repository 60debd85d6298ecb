// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A device's recovery: called for queues whose jobs hang, one call at a time.
//!
//! A timeout callback that finds a hang which it cannot deal with answers
//! [`TimedOutJob::reset`](crate::TimedOutJob::reset); an interrupt handler that is told of a fault
//! calls [`Device::request_recovery`](crate::Device::request_recovery). Either way the recovery is
//! called, once for each queue that still wants it when its turn comes: one that a recovery of the
//! whole device has dealt with does not.

use core::cell::UnsafeCell;
use core::marker::PhantomData;

use kernel::ffi::c_void;
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Relaxed, Release};
use kernel::sync::Arc;
use kernel::types::Opaque;
use ringfence_core::Errno;

use crate::device::{MemberRef, Scope};
use crate::executor::Executor;
use crate::stop::{DeviceStop, Guilt, QueueStop, Rest, StopError};
use crate::sys;

/// What a driver does about hangs that a timeout callback cannot deal with. Given to
/// [`DeviceBuilder::recovery`](crate::DeviceBuilder::recovery). A closure is one, too.
pub trait Recovery: Send + 'static {
    /// A queue wants to be recovered. It holds still if its timeout callback has asked; after a
    /// request it may be running.
    ///
    /// Called on the device's own workqueue, outside any signalling section: it may sleep, stop
    /// queues and reset hardware. But fences wait for it, and memory for fences: it must not wait
    /// for a fence of the device, nor allocate. It counts as a driver callback: none runs after
    /// [`Device::unbind`](crate::Device::unbind).
    ///
    /// A queue that has not been stopped when this returns, and still wants it, has its job fail
    /// with `ETIME`, and goes on. A job that was kept has its whole time before it.
    fn recover(&mut self, hang: &Hang<'_>);
}

impl<F: FnMut(&Hang<'_>) + Send + 'static> Recovery for F {
    fn recover(&mut self, hang: &Hang<'_>) {
        self(hang);
    }
}

/// A queue that wants to be recovered.
pub struct Hang<'call> {
    queue: &'call MemberRef,
    number: u64,
    scope: &'call Arc<Scope>,
    seqno: Option<u64>,
    /// Stops are taken for as long as the call, on its thread.
    _call: PhantomData<*const ()>,
}

impl<'call> Hang<'call> {
    /// The fence context of the queue.
    pub fn context(&self) -> u64 {
        self.queue.context()
    }

    /// The queue's name.
    pub fn name(&self) -> &str {
        self.queue.name()
    }

    /// The job at which a timeout callback found the hang. `None` if recovery was requested. It may
    /// have ended meanwhile, and another may hang.
    pub fn seqno(&self) -> Option<u64> {
        self.seqno
    }

    /// Stops the queue. Waits, as [`Queue::stop`](crate::Queue::stop).
    ///
    /// # Errors
    ///
    /// [`StopError`].
    pub fn stop_queue(&self) -> Result<QueueStop<'call>, StopError> {
        match self.scope.queue_after(self.number - 1) {
            Some((number, queue)) if number == self.number => QueueStop::begin(self.scope, queue),
            _ => Err(StopError::Closed),
        }
    }

    /// Stops all queues of the device. Waits, as [`Device::stop_all`](crate::Device::stop_all).
    ///
    /// # Errors
    ///
    /// [`StopError`].
    pub fn stop_all(&self) -> Result<DeviceStop<'call>, StopError> {
        DeviceStop::begin(self.scope)
    }
}

/// Why a recovery could not be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RequestError {
    /// The device has no recovery, or none any more.
    NoRecovery,
    /// No queue of the device has this fence context.
    NoSuchQueue,
}

/// Where recovery is asked for, and the work that answers.
pub(crate) struct Desk {
    executor: Arc<Executor>,
    inner: KBox<Inner>,
}

struct Inner {
    work: Opaque<sys::Work>,
    open: Atomic<i32>,
    /// The task that runs the recovery, or null.
    task: Atomic<*mut c_void>,
    /// Set before and used only by the work, which does not overlap itself.
    scope: UnsafeCell<*const Scope>,
    recovery: UnsafeCell<Option<KBox<dyn Recovery>>>,
    /// The queue and the job that the call is for. Used on the task that runs the recovery.
    call: UnsafeCell<(u64, Option<u64>)>,
}

// SAFETY: What is not atomic is used by one thread at a time, as the fields say.
unsafe impl Send for Inner {}
// SAFETY: As above.
unsafe impl Sync for Inner {}

impl Desk {
    pub(crate) fn new(recovery: impl Recovery) -> Result<Self> {
        let recovery = KBox::new(recovery, GFP_KERNEL)?;
        let recovery: KBox<dyn Recovery> = recovery;
        let executor = Executor::new(c"ringfence-recovery")?;
        let inner = KBox::new(
            Inner {
                work: Opaque::zeroed(),
                open: Atomic::new(1),
                task: Atomic::new(core::ptr::null_mut()),
                scope: UnsafeCell::new(core::ptr::null()),
                recovery: UnsafeCell::new(Some(recovery)),
                call: UnsafeCell::new((0, None)),
            },
            GFP_KERNEL,
        )?;
        // SAFETY: The memory stays until the work is cancelled, in `drop`.
        unsafe { sys::ringfence_work_init(executor.raw(), inner.work.get(), Inner::work) };
        Ok(Self { executor, inner })
    }

    /// The scope whose queues are served.
    pub(crate) fn open(&self, scope: &Arc<Scope>) {
        // SAFETY: No work has been queued yet. The scope drops this, which cancels the work.
        unsafe { *self.inner.scope.get() = Arc::as_ptr(scope) };
    }

    pub(crate) fn is_open(&self) -> bool {
        self.inner.open.load(Acquire) != 0
    }

    /// Has the work look which queues want it. Any context.
    pub(crate) fn wake(&self) {
        if self.is_open() {
            // SAFETY: It was initialised with this executor.
            unsafe { sys::ringfence_work_queue(self.executor.raw(), self.inner.work.get()) };
        }
    }

    /// The queue and the job that this thread's call is for, if it is in one.
    pub(crate) fn call_here(&self) -> Option<(u64, Option<u64>)> {
        // SAFETY: A thread has itself.
        let here = unsafe { sys::ringfence_current() };
        (self.inner.task.load(Relaxed) == here)
            // SAFETY: Used on this thread only, while it runs the recovery.
            .then(|| unsafe { *self.inner.call.get() })
    }

    /// Waits until the recovery is not running, and drops it. Sleeps.
    pub(crate) fn end_and_wait(&self) {
        self.inner.open.store(0, Release);
        // SAFETY: It was initialised with this executor.
        unsafe {
            sys::ringfence_work_cancel_sync(self.executor.raw(), self.inner.work.get());
            // A wake that had seen it open; it finds it closed, and does nothing.
            sys::ringfence_work_cancel_sync(self.executor.raw(), self.inner.work.get());
        }
        // SAFETY: The work looks at `open` before it uses it, and is not running.
        drop(unsafe { (*self.inner.recovery.get()).take() });
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.end_and_wait();
    }
}

impl Inner {
    /// # Safety
    ///
    /// Called by the executor for a desk that waits for it before it goes.
    unsafe extern "C" fn work(work: *mut sys::Work) {
        // SAFETY: It lies at that offset in an `Inner`.
        let this = unsafe {
            &*work
                .byte_sub(core::mem::offset_of!(Inner, work))
                .cast::<Inner>()
        };
        if this.open.load(Acquire) == 0 {
            return;
        }
        // SAFETY: Work does not overlap itself, and `end_and_wait` waits for it.
        let (Some(recovery), scope) =
            (unsafe { ((*this.recovery.get()).as_mut(), *this.scope.get()) })
        else {
            return;
        };
        // SAFETY: The pointer came from an `Arc`, and the scope waits for this before it goes; the
        // count that this borrows is not given back.
        let scope = core::mem::ManuallyDrop::new(unsafe { Arc::from_raw(scope) });
        // SAFETY: A thread has itself.
        this.task
            .store(unsafe { sys::ringfence_current() }, Relaxed);
        this.round(&mut **recovery, &scope);
        this.task.store(core::ptr::null_mut(), Relaxed);
    }

    /// Serves each queue that wants it, once.
    fn round(&self, recovery: &mut dyn Recovery, scope: &Arc<Scope>) {
        let mut last = 0;
        while let Some((number, queue)) = scope.queue_after(last) {
            if self.open.load(Acquire) == 0 {
                break;
            }
            last = number;
            let requested = queue.place().take_request();
            let seqno = queue.wants_recovery();
            if !((requested && !queue.is_over()) || seqno.is_some()) {
                continue;
            }
            // SAFETY: Used on this thread only.
            unsafe { *self.call.get() = (queue.context(), seqno) };
            recovery.recover(&Hang {
                queue: &queue,
                number,
                scope,
                seqno,
                _call: PhantomData,
            });
            give_up(scope, queue, seqno);
        }
    }
}

/// A queue for which nothing was done must not hold still for ever: its job fails. One that has
/// asked because of another job meanwhile is served for that.
fn give_up(scope: &Arc<Scope>, queue: MemberRef, seqno: Option<u64>) {
    if seqno.is_none() || queue.wants_recovery() != seqno {
        return;
    }
    // Refused, it is closed or about to be unbound: nothing holds still there.
    let Ok(stop) = QueueStop::begin(scope, queue) else {
        return;
    };
    let queue = stop.member();
    if let Some(seqno) = seqno.filter(|_| queue.wants_recovery() == seqno) {
        let guilty = [(queue.context(), seqno, Errno::ETIME)];
        queue.recover(Guilt(&guilty), Rest::Keep);
    }
}
