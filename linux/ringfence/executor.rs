// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where the workers of queues run.

use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::sync::Arc;

use crate::sys;

/// Runs the workers of any number of queues: a workqueue of its own with a rescuer
/// (`WQ_MEM_RECLAIM`), since memory management waits for fences and fences for these workers; or
/// one real-time thread.
///
/// Nothing but queues runs on it, so nothing there waits for memory. Queues hold it; it ends with
/// the last of them.
pub struct Executor {
    raw: NonNull<sys::Executor>,
    /// Workers linger before they sleep.
    lingers: bool,
}

// SAFETY: What it wraps is made to be used from any thread.
unsafe impl Send for Executor {}
// SAFETY: As above.
unsafe impl Sync for Executor {}

impl Executor {
    /// Makes a workqueue. Sleeps. `name` shows in thread names.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(name: &CStr) -> Result<Arc<Self>> {
        Self::make(name, false, false)
    }

    /// Makes a workqueue for throughput. A worker that has run out of jobs lets others have the
    /// processor once before it sleeps, so that a submitter which it has preempted comes back with
    /// more than one. A job that is submitted meanwhile waits for its turn with the scheduler
    /// instead of preempting: up to a time slice for each busy thread of that processor.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn batching(name: &CStr) -> Result<Arc<Self>> {
        Self::make(name, false, true)
    }

    /// Makes one thread with real-time priority (`SCHED_FIFO`), for queues whose jobs must run soon
    /// after what they wait for has signalled. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what says that no thread can be had.
    pub fn real_time(name: &CStr) -> Result<Arc<Self>> {
        Self::make(name, true, false)
    }

    fn make(name: &CStr, rt: bool, lingers: bool) -> Result<Arc<Self>> {
        let mut error = 0;
        // SAFETY: The name is terminated; the rest is plain.
        let raw = unsafe { sys::ringfence_executor_new(name.as_char_ptr(), rt, &mut error) };
        let Some(raw) = NonNull::new(raw) else {
            return Err(kernel::error::Error::from_errno(error));
        };
        Ok(Arc::new(Self { raw, lingers }, GFP_KERNEL)?)
    }

    /// Whether a worker that has run out of jobs is to [linger](Executor::linger) once.
    #[inline]
    pub(crate) fn lingers(&self) -> bool {
        self.lingers
    }

    /// Lets others have the processor.
    pub(crate) fn linger(&self) {
        // SAFETY: A worker may sleep.
        unsafe { sys::ringfence_linger() };
    }

    #[inline]
    pub(crate) fn raw(&self) -> *mut sys::Executor {
        self.raw.as_ptr()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // SAFETY: Nobody uses it any more: queues hold it until their work is cancelled.
        unsafe { sys::ringfence_executor_destroy(self.raw()) };
    }
}
