// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where the workers of queues run.

use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::sync::Arc;

use crate::sys;

/// Runs the workers of any number of queues: a workqueue of its own with a rescuer
/// (`WQ_MEM_RECLAIM`), since memory management waits for fences and fences for these workers; or one
/// real-time thread.
///
/// Nothing but queues runs on it, so nothing there waits for memory. Queues hold it; it ends with the
/// last of them.
pub struct Executor {
    raw: NonNull<sys::Executor>,
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
        Self::make(name, false)
    }

    /// Makes one thread with real-time priority (`SCHED_FIFO`), for queues whose jobs must run soon
    /// after what they wait for has signalled. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what says that no thread can be had.
    pub fn real_time(name: &CStr) -> Result<Arc<Self>> {
        Self::make(name, true)
    }

    fn make(name: &CStr, rt: bool) -> Result<Arc<Self>> {
        let mut error = 0;
        // SAFETY: The name is terminated; the rest is plain.
        let raw = unsafe { sys::ringfence_executor_new(name.as_char_ptr(), rt, &mut error) };
        let Some(raw) = NonNull::new(raw) else {
            return Err(kernel::error::Error::from_errno(error));
        };
        Ok(Arc::new(Self { raw }, GFP_KERNEL)?)
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
