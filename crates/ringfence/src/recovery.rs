// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A device's recovery: called for queues whose jobs hang, on a thread of the device's own.
//!
//! A timeout callback that finds a hang which it cannot deal with answers
//! [`TimedOutJob::reset`](crate::TimedOutJob::reset); an interrupt handler that is told of a fault
//! calls [`Device::request_recovery`]. Either way the recovery is called, once for each queue
//! that still wants it when its turn comes: one that a recovery of the whole device has dealt with
//! does not. There is one thread, so recoveries of one device do not overlap.

mod desk;
#[cfg(all(test, feature = "loom"))]
mod loom_tests;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

pub(crate) use desk::Desk;

use crate::device::{Device, Member};
use crate::stop::{DeviceStop, QueueStop, StopError};

/// What a driver does about hangs that a timeout callback cannot deal with. Given to
/// [`DeviceBuilder::recovery`](crate::DeviceBuilder::recovery). A closure is one, too.
pub trait Recovery: Send + 'static {
    /// A queue wants to be recovered. It holds still if its timeout callback has asked; after a
    /// [request](Device::request_recovery) it may be running.
    ///
    /// Called on the device's recovery thread, outside any signalling section: it may sleep, stop
    /// queues and reset hardware. But fences wait for it, and memory for fences: it must not wait
    /// for a fence of the device, nor allocate. It counts as a driver callback: none runs after
    /// [`Device::unbind`].
    ///
    /// A queue that has not been stopped when this returns, and still wants it, has its job fail with
    /// `ETIME`, and goes on. A job that was kept has its whole time before it. If this panics, every queue of the device is killed with `EOWNERDEAD`, and there is
    /// no recovery any more.
    fn recover(&mut self, device: &Device, hang: &Hang<'_>);
}

impl<F: FnMut(&Device, &Hang<'_>) + Send + 'static> Recovery for F {
    fn recover(&mut self, device: &Device, hang: &Hang<'_>) {
        self(device, hang);
    }
}

/// A queue that wants to be recovered.
pub struct Hang<'call> {
    queue: Arc<dyn Member>,
    device: &'call Device,
    seqno: Option<u64>,
    /// Stops are taken for as long as the call.
    _call: PhantomData<&'call ()>,
}

impl fmt::Debug for Hang<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hang")
            .field("queue", &self.name())
            .field("seqno", &self.seqno)
            .finish_non_exhaustive()
    }
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

    /// The job at which a timeout callback found the hang. `None` if recovery was
    /// [requested](Device::request_recovery). It may have ended meanwhile, and another may hang: what
    /// is to blame once the queue is stopped, [`StoppedQueue::wants_recovery`] says.
    ///
    /// [`StoppedQueue::wants_recovery`]: crate::StoppedQueue::wants_recovery
    pub fn seqno(&self) -> Option<u64> {
        self.seqno
    }

    /// Stops the queue. Waits, as [`Queue::stop`](crate::Queue::stop).
    ///
    /// # Errors
    ///
    /// [`StopError`].
    pub fn stop_queue(&self) -> Result<QueueStop<'call>, StopError> {
        QueueStop::begin(&self.device.scope, Arc::clone(&self.queue))
    }

    /// Stops all queues of the device. Waits, as [`Device::stop_all`].
    ///
    /// # Errors
    ///
    /// [`StopError`].
    pub fn stop_all(&self) -> Result<DeviceStop<'call>, StopError> {
        self.device.stop_all()
    }
}

/// Why a recovery could not be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The device has no recovery, or none any more.
    #[error("the device has no recovery")]
    NoRecovery,
    /// No queue of the device has this fence context.
    #[error("the device has no such queue")]
    NoSuchQueue,
}
