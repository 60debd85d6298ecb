// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Stops whose queues are known by their device only: of all of them, or of one that hangs.

use core::any::TypeId;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;

use kernel::sync::Arc;
use ringfence_core::Standing;

use super::{Guilt, Guilty, Recovered, Rest, StopError, StopGuard};
use crate::device::{Hold, MemberRef, Scope};
use crate::driver::Driver;
use crate::shared::Ref;
use crate::Errno;

/// All queues of a device, stopped: none of its driver callbacks runs, and none begins before this
/// is dropped. Queues made meanwhile are stopped, too. As [`StopGuard`] in all else.
#[must_use = "dropping it restarts the queues"]
pub struct DeviceStop<'stop> {
    hold: Hold,
    _stop: PhantomData<&'stop ()>,
    // The right to stop belongs to a thread.
    _not_send: PhantomData<*const ()>,
}

/// One stopped queue whose driver's type the holder may not know.
pub struct StoppedQueue<'stop> {
    queue: &'stop MemberRef,
    _not_send: PhantomData<*const ()>,
}

/// The stop of one queue whose driver's type its holder may not know; see [`StopGuard`].
#[must_use = "dropping it restarts the queue"]
pub struct QueueStop<'stop> {
    queue: MemberRef,
    hold: Option<Hold>,
    _stop: PhantomData<&'stop ()>,
    _not_send: PhantomData<*const ()>,
}

impl<'stop> DeviceStop<'stop> {
    pub(crate) fn begin(scope: &'stop Arc<Scope>) -> Result<Self, StopError> {
        let hold = scope.hold()?;
        scope.begin_all();
        // First none begins anywhere, then all end: the waits overlap. The marks say which are
        // held, so that nothing needs memory.
        scope.for_each(|queue| {
            // One that is stopped already was born so, a moment ago: it is held as well.
            if queue.hold_still() == Err(StopError::Closed) {
                scope.set_held(queue, false);
            }
        });
        let this = Self {
            hold,
            _stop: PhantomData,
            _not_send: PhantomData,
        };
        this.each(|queue| queue.await_quiet());
        Ok(this)
    }

    fn each(&self, mut each: impl FnMut(&MemberRef)) {
        let scope = self.hold.scope();
        scope.for_each(|queue| {
            // Looked at and put back: a queue made meanwhile is marked and has stopped, or has no
            // job.
            if scope.set_held(queue, true) {
                each(queue);
            } else {
                scope.set_held(queue, false);
            }
        });
    }

    /// How many queues there are.
    pub fn len(&self) -> usize {
        let mut len = 0;
        self.each(|_| len += 1);
        len
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `each` with every queue, in the order in which they were made.
    pub fn for_each(&mut self, mut each: impl FnMut(StoppedQueue<'_>)) {
        self.each(|queue| each(StoppedQueue::new(queue)));
    }

    /// The ready-made policy for a reset of the whole device, one queue after the other: the guilty
    /// jobs, each named by fence context and sequence number, end as timed out with the error
    /// given, a strike for each; all others by `rest`, in the order of their queue.
    pub fn recover(&mut self, guilty: &[(u64, u64, Errno)], rest: Rest) -> Recovered {
        let mut sum = Recovered::default();
        self.each(|queue| {
            sum += queue.recover(Guilt(guilty), rest);
        });
        sum
    }

    /// The device is gone for good: every job of every queue ends with `ENODEV`, in order, before
    /// this returns or, where another thread is signalling, soon. No queue is made on the device
    /// any more. [`Device::unbind`](crate::Device::unbind) is still to come.
    pub fn device_gone(self) {
        self.hold.scope().set_gone(Errno::ENODEV);
    }
}

impl Drop for DeviceStop<'_> {
    fn drop(&mut self) {
        let scope = self.hold.scope();
        scope.end_all();
        scope.for_each(|queue| {
            if scope.set_held(queue, false) {
                queue.restart();
            }
        });
        // `hold` goes last: until then nobody else stops them.
    }
}

impl<'stop> StoppedQueue<'stop> {
    fn new(queue: &'stop MemberRef) -> Self {
        Self {
            queue,
            _not_send: PhantomData,
        }
    }

    /// The queue's name.
    pub fn name(&self) -> &str {
        self.queue.name()
    }

    /// The fence context of the queue's jobs.
    pub fn context(&self) -> u64 {
        self.queue.context()
    }

    /// As [`StopGuard::wants_recovery`].
    pub fn wants_recovery(&self) -> Option<u64> {
        self.queue.wants_recovery()
    }

    /// As [`StopGuard::recover`].
    pub fn recover(&mut self, guilty: Option<Guilty>, rest: Rest) -> Recovered {
        let context = self.context();
        let guilty = guilty.map(|Guilty { seqno, error }| (context, seqno, error));
        self.queue.recover(Guilt(guilty.as_slice()), rest)
    }

    /// As [`StopGuard::strike`].
    pub fn strike(&mut self) -> Standing {
        self.queue.strike()
    }

    /// As [`StopGuard::kill`].
    pub fn kill(&mut self, error: Errno) {
        self.queue.kill(error);
    }

    /// The queue with its driver's type; `None` if that is another one. Dropping what this returns
    /// restarts nothing.
    pub fn typed<D: Driver>(&mut self) -> Option<StopGuard<'_, D>> {
        if self.queue.driver_type() != TypeId::of::<D>() {
            return None;
        }
        let shared = core::ptr::NonNull::new(self.queue.address().cast_mut().cast())?;
        // SAFETY: A member whose driver is `D` is the inside of a queue of `D`; the count is
        // borrowed.
        let queue = ManuallyDrop::new(unsafe { Ref::<D>::from_raw(shared) });
        Some(StopGuard::view((*queue).clone()))
    }
}

impl<'stop> QueueStop<'stop> {
    pub(crate) fn begin(scope: &'stop Arc<Scope>, queue: MemberRef) -> Result<Self, StopError> {
        let hold = scope.hold()?;
        queue.hold_still()?;
        queue.await_quiet();
        Ok(Self {
            queue,
            hold: Some(hold),
            _stop: PhantomData,
            _not_send: PhantomData,
        })
    }

    pub(crate) fn member(&self) -> &MemberRef {
        &self.queue
    }

    /// The queue.
    pub fn queue(&mut self) -> StoppedQueue<'_> {
        StoppedQueue::new(&self.queue)
    }

    /// As [`StopGuard::recover`].
    pub fn recover(&mut self, guilty: Option<Guilty>, rest: Rest) -> Recovered {
        self.queue().recover(guilty, rest)
    }
}

impl Drop for QueueStop<'_> {
    fn drop(&mut self) {
        self.queue.restart();
        // Last: until then nobody else stops it.
        drop(self.hold.take());
    }
}
