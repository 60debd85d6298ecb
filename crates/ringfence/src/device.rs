// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The device scope: the span in which driver callbacks may run.

pub(crate) mod callback;
mod scope;

use std::fmt;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::Arc;

use ringfence_core::Timeout;

pub(crate) use scope::{Hold, Member, Refused, Scope};

use crate::recovery::{Desk, Recovery, RequestError};
use crate::stop::{DeviceStop, StopError};
use crate::Errno;

/// A device scope. Queues are made in one; after [`Device::unbind`] none of their driver callbacks
/// runs any more, while fences stay usable.
///
/// Clones are the same scope. Dropping the last one does not unbind.
#[derive(Clone)]
pub struct Device {
    pub(crate) scope: Arc<Scope>,
}

/// Makes a device scope.
#[derive(Clone, Debug)]
pub struct DeviceBuilder {
    name: String,
    timeout: Timeout,
}

/// Why a scope could not be unbound. Nothing has been done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnbindError {
    /// Called from a driver callback or the recovery of this device, for whose end it would wait.
    #[error("unbind would wait for the driver callback that calls it")]
    InCallback,
    /// This thread has stopped queues of the device, and unbind would wait for their restart.
    #[error("unbind would wait for the stop that its own thread holds")]
    Stopped,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

impl DeviceBuilder {
    /// How long a job may be on the hardware, where neither it nor its queue says anything. What
    /// the process says ([`set_default_timeout`](crate::set_default_timeout)) if not said.
    pub fn timeout(mut self, timeout: impl Into<Timeout>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// Opens a scope without a recovery: timeout callbacks deal with hangs themselves.
    pub fn build(self) -> Device {
        Device {
            scope: Arc::new(Scope::new(&self.name, self.timeout, None)),
        }
    }

    /// Opens a scope with a recovery, which runs on a thread of the device's own: recoveries of
    /// one device never overlap. The thread ends with [`Device::unbind`], or with the scope.
    ///
    /// # Errors
    ///
    /// What the system says when it cannot start a thread.
    pub fn recovery(self, recovery: impl Recovery) -> io::Result<Device> {
        let desk = Desk::new();
        let scope = Arc::new(Scope::new(&self.name, self.timeout, Some(desk)));
        if let Some(desk) = scope.desk() {
            desk.open(&scope, Box::new(recovery))?;
        }
        Ok(Device { scope })
    }
}

impl Device {
    /// Opens a scope. `name` is for people.
    pub fn new(name: &str) -> Self {
        Self::builder(name).build()
    }

    /// Begins to open a scope that has more than a name.
    pub fn builder(name: &str) -> DeviceBuilder {
        DeviceBuilder {
            name: name.to_owned(),
            timeout: Timeout::Inherit,
        }
    }

    /// The name given at creation.
    pub fn name(&self) -> &str {
        self.scope.name()
    }

    /// True once [`Device::unbind`] has begun.
    pub fn is_unbound(&self) -> bool {
        self.scope.is_unbound()
    }

    /// True if there is a [`Recovery`], and it has neither panicked nor been ended by unbind.
    pub fn has_recovery(&self) -> bool {
        self.scope.desk().is_some_and(Desk::is_open)
    }

    /// Stops every queue of the device, also those that are made meanwhile. Returns once none of
    /// their driver callbacks is running; none begins before what is returned is dropped. Waits
    /// until nobody else has stopped a queue of this device. Does not allocate.
    ///
    /// # Errors
    ///
    /// [`StopError`]; nothing is stopped. Not [`StopError::Closed`]: closed queues are left out.
    pub fn stop_all(&self) -> Result<DeviceStop<'_>, StopError> {
        DeviceStop::begin(&self.scope)
    }

    /// Has the recovery called for the queue with this fence context, as for a fault that an
    /// interrupt reports. Several requests before the call are one; so are those before the recovery
    /// stops the queue, on whosever behalf. A queue that is closed and empty by then has nothing to
    /// recover, and is left out.
    ///
    /// Neither sleeps, allocates nor takes a lock: for interrupt handlers.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing happens.
    pub fn request_recovery(&self, context: u64) -> Result<(), RequestError> {
        match self.scope.desk() {
            Some(desk) if desk.is_open() => desk.request(context),
            _ => Err(RequestError::NoRecovery),
        }
    }

    /// Ends the scope: kills every queue with `ENODEV`, signals all fences in order, waits for
    /// driver callbacks and the recovery that are running and for whoever has stopped queues, ends
    /// the recovery, and drops the drivers' values and the recovery. When this returns, no driver
    /// callback of this device is running or will run.
    ///
    /// Payloads of jobs that clients hold prepared or armed are dropped by those clients later.
    /// Waits, so not for use in a signalling section. Calling it again waits as well.
    ///
    /// # Errors
    ///
    /// [`UnbindError::InCallback`] from a driver callback or the recovery of this device, or from a
    /// fence callback or a payload's drop between two of them; [`UnbindError::Stopped`] on a thread
    /// that has stopped queues of it. Nothing is done then.
    pub fn unbind(&self) -> Result<(), UnbindError> {
        let scope = &self.scope;
        if callback::inside(scope.id()) || callback::recovering(scope.id()).is_some() {
            return Err(UnbindError::InCallback);
        }
        if scope.is_held_here() {
            return Err(UnbindError::Stopped);
        }
        crate::section::might_sleep("Device::unbind");
        scope.set_unbound();
        // Queues made from here on are refused; those made before are in the list.
        let mut last = 0;
        while let Some((number, queue)) = scope.queue_after(last) {
            last = number;
            queue.begin_unbind(Errno::ENODEV);
        }
        // The recovery first: it may be waiting for the right to stop, which comes next.
        if let Some(desk) = scope.desk() {
            desk.end_and_wait();
        }
        let hold = scope.hold_to_unbind();
        debug_assert!(hold.is_some(), "looked at above");
        let mut last = 0;
        while let Some((number, queue)) = scope.queue_after(last) {
            last = number;
            queue.finish_unbind();
        }
        Ok(())
    }
}

/// A number for each queue of the process, by which submission locks are ordered.
pub(crate) fn next_queue_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
