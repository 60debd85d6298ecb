// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The device scope: the span in which driver callbacks may run.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::Mutex;
use crate::Errno;

/// What a device does to its queues.
pub(crate) trait Unbind: Send + Sync {
    /// Ends all jobs with `error`, lets no callback begin.
    fn begin_unbind(self: Arc<Self>, error: Errno);

    /// Waits until no callback runs, and drops the driver's value.
    fn finish_unbind(self: Arc<Self>);
}

/// A device scope. Queues are made in one; after [`Device::unbind`] none of their driver callbacks
/// runs any more, while fences stay usable.
///
/// Clones are the same scope. Dropping the last one does not unbind.
#[derive(Clone)]
pub struct Device {
    pub(crate) scope: Arc<Scope>,
}

pub(crate) struct Scope {
    name: Box<str>,
    id: u64,
    unbound: AtomicBool,
    queues: Mutex<Vec<Weak<dyn Unbind>>>,
}

/// Why a scope could not be unbound.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnbindError {
    /// Called from a driver callback of this device, for whose end it would wait.
    #[error("unbind would wait for the driver callback that calls it")]
    InCallback,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("name", &self.scope.name)
            .finish_non_exhaustive()
    }
}

impl Device {
    /// Opens a scope. `name` is for people.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self {
            scope: Arc::new(Scope {
                name: name.into(),
                id,
                unbound: AtomicBool::new(false),
                queues: Mutex::new(Vec::new()),
            }),
        }
    }

    /// The name given at creation.
    pub fn name(&self) -> &str {
        &self.scope.name
    }

    /// True once [`Device::unbind`] has begun.
    pub fn is_unbound(&self) -> bool {
        self.scope.unbound.load(Ordering::Acquire)
    }

    /// Ends the scope: kills every queue with `ENODEV`, signals all fences in order, waits for
    /// driver callbacks that are running, and drops the drivers' values. When this returns, no
    /// driver callback of this device is running or will run.
    ///
    /// Payloads of jobs that clients hold prepared or armed are dropped by those clients later.
    /// Waits, so not for use in a signalling section. Calling it again waits as well.
    ///
    /// # Errors
    ///
    /// [`UnbindError::InCallback`] from a driver callback of this device, or from a fence callback
    /// or a payload's drop between two of them, where nothing is done.
    pub fn unbind(&self) -> Result<(), UnbindError> {
        if callback::inside(self.scope.id) {
            return Err(UnbindError::InCallback);
        }
        crate::section::might_sleep("Device::unbind");
        self.scope.unbound.store(true, Ordering::Release);
        // Queues made from here on are born unbound; those made before are in the list.
        let queues: Vec<_> = self
            .scope
            .queues
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for queue in &queues {
            Arc::clone(queue).begin_unbind(Errno::ENODEV);
        }
        for queue in queues {
            queue.finish_unbind();
        }
        Ok(())
    }
}

impl Scope {
    /// Adds a queue, unless the scope has ended.
    pub(crate) fn add(&self, queue: Weak<dyn Unbind>) -> Result<(), Errno> {
        let mut queues = self.queues.lock();
        if self.unbound.load(Ordering::Acquire) {
            return Err(Errno::ENODEV);
        }
        if queues.len() == queues.capacity() {
            queues.retain(|queue| queue.strong_count() > 0);
        }
        queues.push(queue);
        Ok(())
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

/// Which devices' callbacks this thread is in.
pub(crate) mod callback {
    use super::Cell;

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

    /// True in a callback of any device.
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
}

/// A number for each queue of the process, by which submission locks are ordered.
pub(crate) fn next_queue_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
