// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The device scope: the span in which driver callbacks may run.

mod scope;

use core::ops::Deref;

use kernel::device::{self, Bound};
use kernel::devres;
use kernel::prelude::*;
use kernel::sync::Arc;
use ringfence_core::{Errno, Timeout};

pub(crate) use scope::{Hold, Member, MemberRef, Place, Refused, Scope};

use crate::recovery::{Recovery, RequestError};
use crate::stop::{DeviceStop, StopError};
use crate::sys;

/// A device scope. Queues are made in one; after [`Device::unbind`] none of their driver callbacks
/// runs any more, while fences stay usable.
///
/// Dropping it unbinds, and then waits until no code of a driver can run any more for any of its
/// queues: handles and [tokens](crate::Completion) are gone, callbacks of foreign fences are off
/// their lists, work and timers have returned, RCU callbacks have been called. So a module whose
/// exit drops its device may be unloaded. Handles that are kept longer keep the drop waiting, which
/// the log says.
pub struct Device {
    pub(crate) scope: Arc<Scope>,
}

/// Makes a device scope.
pub struct DeviceBuilder<'a> {
    name: &'a CStr,
    timeout: Timeout,
}

/// Why a scope could not be unbound. Nothing has been done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnbindError {
    /// Called from a driver callback or the recovery of this device, for whose end it would wait.
    InCallback,
    /// This thread has stopped queues of the device, and unbind would wait for their restart.
    Stopped,
}

impl DeviceBuilder<'_> {
    /// How long a job may be on the hardware, where neither it nor its queue says anything. For
    /// ever if not said.
    pub fn timeout(mut self, timeout: impl Into<Timeout>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// Opens a scope without a recovery: timeout callbacks deal with hangs themselves.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn build(self) -> Result<Device> {
        Ok(Device {
            scope: Scope::new(self.name, self.timeout, None)?,
        })
    }

    /// Opens a scope with a recovery, which runs on a workqueue of the device's own, one at a time.
    /// It ends with [`Device::unbind`].
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn recovery(self, recovery: impl Recovery) -> Result<Device> {
        Ok(Device {
            scope: Scope::new(
                self.name,
                self.timeout,
                Some(crate::recovery::Desk::new(recovery)?),
            )?,
        })
    }
}

impl Device {
    /// Opens a scope. `name` shows in traces and as the fences' driver; it is cut after 31 bytes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(name: &CStr) -> Result<Self> {
        Self::builder(name).build()
    }

    /// Begins to open a scope that has more than a name.
    pub fn builder(name: &CStr) -> DeviceBuilder<'_> {
        DeviceBuilder {
            name,
            timeout: Timeout::Inherit,
        }
    }

    /// Has the scope unbound when the driver is unbound from `dev`, before what the driver
    /// registered with the device earlier goes away.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn bind_to(&self, dev: &device::Device<Bound>) -> Result {
        let unbind = UnbindOnDrop(self.scope.clone());
        devres::register(dev, unbind, GFP_KERNEL)
    }

    /// The name given at creation.
    pub fn name(&self) -> &str {
        self.scope.name()
    }

    /// True once [`Device::unbind`] has begun.
    pub fn is_unbound(&self) -> bool {
        self.scope.is_unbound()
    }

    /// True if there is a [`Recovery`], which unbind has not ended.
    pub fn has_recovery(&self) -> bool {
        self.scope.has_recovery()
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
    /// interrupt reports. Several requests before the call are one; so are those before the
    /// recovery stops the queue. Neither sleeps nor allocates: for interrupt handlers.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing happens.
    pub fn request_recovery(&self, context: u64) -> Result<(), RequestError> {
        self.scope.request_recovery(context)
    }

    /// Ends the scope: kills every queue with `ENODEV`, signals all fences in order, waits for
    /// driver callbacks and the recovery that are running and for whoever has stopped queues, ends
    /// the recovery, and drops the drivers' values and the recovery. When this returns, no driver
    /// callback of this device is running or will run.
    ///
    /// Payloads of jobs that clients hold prepared or armed are dropped by those clients later.
    /// Sleeps; not for use in a signalling section. Calling it again waits as well.
    ///
    /// # Errors
    ///
    /// [`UnbindError`]; nothing is done then.
    pub fn unbind(&self) -> Result<(), UnbindError> {
        self.scope.unbind()
    }

    /// Prints every queue: its jobs, their states and ages, what they wait for, and its last
    /// events. Allocates; the queues go on.
    ///
    /// # Errors
    ///
    /// What `out` returns.
    pub fn snapshot(&self, out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        self.scope.snapshot(out)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // A thread that holds a stop cannot drop its device: the stop borrows it.
        if let Err(error) = self.scope.unbind() {
            pr_err!(
                "device {} dropped where it waits for itself: {:?}\n",
                self.name(),
                error
            );
            kernel::warn_on!(true);
        }
        self.scope.drain();
        // SAFETY: May sleep, as unbind has.
        unsafe { sys::ringfence_end_flush() };
    }
}

struct UnbindOnDrop(Arc<Scope>);

impl Drop for UnbindOnDrop {
    fn drop(&mut self) {
        if let Err(error) = self.0.unbind() {
            pr_err!(
                "device {} cannot be unbound here: {:?}\n",
                self.0.name(),
                error
            );
            kernel::warn_on!(true);
        }
    }
}

impl Scope {
    fn unbind(&self) -> Result<(), UnbindError> {
        if self.is_inside_callback() {
            return Err(UnbindError::InCallback);
        }
        if self.is_held_here() {
            return Err(UnbindError::Stopped);
        }
        // SAFETY: Asks lockdep and the scheduler.
        unsafe { sys::ringfence_might_sleep() };
        self.set_unbound();
        // Queues made from here on are refused; those made before are in the list.
        self.for_each(|queue| queue.deref().begin_unbind(Errno::ENODEV));
        // The recovery first: it may be waiting for the right to stop, which comes next.
        self.end_recovery();
        let hold = self.hold_to_unbind();
        debug_assert!(hold, "looked at above");
        self.for_each(|queue| queue.deref().finish_unbind());
        self.give_hold();
        Ok(())
    }
}
