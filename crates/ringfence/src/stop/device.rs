// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Stops whose queues are known by their device only: of all of them, or of one that hangs.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use ringfence_core::Standing;

use super::{Guilt, Guilty, Recovered, Rest, StopError, StopGuard};
use crate::device::{Hold, Member, Scope};
use crate::driver::Driver;
use crate::shared::Shared;
use crate::Errno;

/// All queues of a device, stopped: none of its driver callbacks runs, and none begins before this
/// is dropped. Queues made meanwhile are stopped, too. As [`StopGuard`] in all else.
#[must_use = "dropping it restarts the queues"]
pub struct DeviceStop<'stop> {
    hold: Hold,
    /// Those that were there, all of them stopped and quiet.
    queues: Vec<Arc<dyn Member>>,
    _stop: PhantomData<&'stop ()>,
    // The right to stop belongs to a thread.
    _not_send: PhantomData<*const ()>,
}

/// One stopped queue whose driver's type the holder may not know.
pub struct StoppedQueue<'stop> {
    queue: Arc<dyn Member>,
    _stop: PhantomData<&'stop mut ()>,
    _not_send: PhantomData<*const ()>,
}

/// The stop of one queue whose driver's type its holder may not know; see [`StopGuard`].
#[must_use = "dropping it restarts the queue"]
pub struct QueueStop<'stop> {
    queue: Arc<dyn Member>,
    hold: Option<Hold>,
    _stop: PhantomData<&'stop ()>,
    _not_send: PhantomData<*const ()>,
}

impl fmt::Debug for DeviceStop<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceStop")
            .field("device", &self.hold.scope().name())
            .field("queues", &self.queues.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StoppedQueue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoppedQueue")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for QueueStop<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueStop")
            .field("queue", &self.queue.name())
            .finish_non_exhaustive()
    }
}

impl<'stop> DeviceStop<'stop> {
    pub(crate) fn begin(scope: &'stop Arc<Scope>) -> Result<Self, StopError> {
        let hold = scope.hold()?;
        let mut queues = scope.take_all();
        // First none begins anywhere, then all end: the waits overlap.
        queues.retain(|queue| Arc::clone(queue).hold_still().is_ok());
        for queue in &queues {
            queue.await_quiet();
        }
        Ok(Self {
            hold,
            queues,
            _stop: PhantomData,
            _not_send: PhantomData,
        })
    }

    /// How many queues there are. Those made meanwhile do not count: none of their jobs has run.
    pub fn len(&self) -> usize {
        self.queues.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// The queue at `index`, below [`DeviceStop::len`], in the order in which they were made.
    pub fn queue(&mut self, index: usize) -> Option<StoppedQueue<'_>> {
        self.queues.get(index).map(StoppedQueue::new)
    }

    /// The queue with this fence context.
    pub fn find(&mut self, context: u64) -> Option<StoppedQueue<'_>> {
        let mut queues = self.queues.iter();
        queues
            .find(|queue| queue.context() == context)
            .map(StoppedQueue::new)
    }

    /// Calls `each` with every queue.
    pub fn for_each(&mut self, mut each: impl FnMut(StoppedQueue<'_>)) {
        for queue in &self.queues {
            each(StoppedQueue::new(queue));
        }
    }

    /// The ready-made policy for a reset of the whole device, one queue after the other: the guilty
    /// jobs, each named by fence context and sequence number, end as timed out with the error
    /// given, a strike for each; all others by `rest`, in the order of their queue.
    pub fn recover(&mut self, guilty: &[(u64, u64, Errno)], rest: Rest) -> Recovered {
        let queues = self.queues.iter();
        queues
            .map(|queue| Arc::clone(queue).recover(Guilt(guilty), rest))
            .sum()
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
        for queue in &self.queues {
            Arc::clone(queue).restart();
        }
        let scope = self.hold.scope();
        let born = scope.let_all_go(std::mem::take(&mut self.queues));
        for queue in born {
            queue.restart();
        }
        // `hold` goes last: until then nobody else stops them.
    }
}

impl<'stop> StoppedQueue<'stop> {
    fn new(queue: &Arc<dyn Member>) -> Self {
        Self {
            queue: Arc::clone(queue),
            _stop: PhantomData,
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
        Arc::clone(&self.queue).recover(Guilt(guilty.as_slice()), rest)
    }

    /// As [`StopGuard::strike`].
    pub fn strike(&mut self) -> Standing {
        Arc::clone(&self.queue).strike()
    }

    /// As [`StopGuard::kill`].
    pub fn kill(&mut self, error: Errno) {
        Arc::clone(&self.queue).kill(error);
    }

    /// The queue with its driver's type; `None` if that is another one. Dropping what this returns
    /// restarts nothing.
    pub fn typed<D: Driver>(&mut self) -> Option<StopGuard<'_, D>> {
        let queue = Arc::clone(&self.queue).any().downcast::<Shared<D>>();
        queue.ok().map(StopGuard::view)
    }
}

impl<'stop> QueueStop<'stop> {
    pub(crate) fn begin(
        scope: &'stop Arc<Scope>,
        queue: Arc<dyn Member>,
    ) -> Result<Self, StopError> {
        let hold = scope.hold()?;
        Arc::clone(&queue).hold_still()?;
        queue.await_quiet();
        Ok(Self {
            queue,
            hold: Some(hold),
            _stop: PhantomData,
            _not_send: PhantomData,
        })
    }

    pub(crate) fn member(&self) -> &Arc<dyn Member> {
        &self.queue
    }

    /// The queue.
    pub fn queue(&mut self) -> StoppedQueue<'_> {
        StoppedQueue::new(&self.queue)
    }

    /// As [`StoppedQueue::typed`].
    pub fn typed<D: Driver>(&mut self) -> Option<StopGuard<'_, D>> {
        let queue = Arc::clone(&self.queue).any().downcast::<Shared<D>>();
        queue.ok().map(StopGuard::view)
    }

    /// As [`StopGuard::recover`].
    pub fn recover(&mut self, guilty: Option<Guilty>, rest: Rest) -> Recovered {
        self.queue().recover(guilty, rest)
    }
}

impl Drop for QueueStop<'_> {
    fn drop(&mut self) {
        Arc::clone(&self.queue).restart();
        // Last: until then nobody else stops it.
        drop(self.hold.take());
    }
}
