// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Fences a job waits for: its dependencies, and what its run callback named.
//!
//! A wait has an allocation of its own, taken at prepare, which the fences keep alive while it is
//! registered. So a job can end, by kill, while callbacks of its dependencies are running on
//! other threads: those find a queue that does not know the job any more, and nobody waits for
//! them.

use std::sync::Arc;

use ringfence_core::{Errno, JobId};

use crate::counted::{Bury, Counted};
use crate::driver::Driver;
use crate::fence::{Fence, FenceCallback, Node, Refused};
use crate::shared::Shared;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::Mutex;

/// What a signal is to the job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WaitKind {
    Dependency,
    /// The hardware's own fence of the job.
    Hardware,
    /// There may be resources to run it.
    Resource,
}

/// The fences that one job depends on. Built at prepare, shared with the fences from submit on.
pub(crate) struct Dependencies<D: Driver> {
    queue: Arc<Shared<D>>,
    job: AtomicU64,
    /// Emptied when the job is reaped; locked while the submitter registers, so that the two do
    /// not meet.
    fences: Mutex<Vec<Fence>>,
    nodes: Vec<Node>,
}

impl<D: Driver> Dependencies<D> {
    pub(crate) fn new(queue: Arc<Shared<D>>) -> Self {
        Self {
            queue,
            job: AtomicU64::new(0),
            fences: Mutex::new(Vec::new()),
            nodes: Vec::new(),
        }
    }

    /// Adds a fence, unless a later one of the same timeline is there already. May allocate.
    pub(crate) fn add(&mut self, fence: Fence) -> Result<(), Errno> {
        self.nodes.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let mut fences = self.fences.lock();
        fences.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        match fences
            .iter_mut()
            .find(|known| known.context() == fence.context())
        {
            Some(known) => {
                if fence.is_later_than(known) {
                    *known = fence;
                }
            }
            None => {
                fences.push(fence);
                drop(fences);
                self.nodes.push(Node::new());
            }
        }
        Ok(())
    }

    /// Takes out what has signalled. The first error among those, and how many are left open.
    pub(crate) fn settle(&self) -> (Option<Errno>, u32) {
        let mut error = None;
        let mut fences = self.fences.lock();
        fences.retain(|fence| match fence.status() {
            None => true,
            Some(Ok(())) => false,
            Some(Err(failed)) => {
                error.get_or_insert(failed);
                false
            }
        });
        (error, u32::try_from(fences.len()).unwrap_or(u32::MAX))
    }

    pub(crate) fn set_job(&self, job: JobId) {
        self.job.store(job.seqno(), Ordering::Relaxed);
    }

    /// Calls `each` with every fence that is still waited for.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&Fence)) {
        self.fences.lock().iter().for_each(&mut each);
    }

    /// Registers with every fence. What has signalled meanwhile is answered at once.
    pub(crate) fn register(this: &Counted<Self>) {
        let mut answered = 0;
        let mut error = None;
        let fences = this.fences.lock();
        for (index, fence) in fences.iter().enumerate() {
            if let Err(Refused::AlreadySignaled(signaled)) = fence.register(this.clone(), index) {
                answered += 1;
                error = error.or(signaled.result.err());
            }
        }
        drop(fences);
        let job = this.job();
        for _ in 0..answered {
            let result = error.take().map_or(Ok(()), Err);
            this.queue.wait_is_over(job, WaitKind::Dependency, result);
        }
    }

    /// Lets go of the fences: the job has ended. Does not wait for a callback that runs.
    pub(crate) fn forget(&self) {
        // First: a submitter that registers after this finds none, one before has finished.
        let fences = std::mem::take(&mut *self.fences.lock());
        for node in &self.nodes {
            node.try_remove();
        }
        drop(fences);
    }

    fn job(&self) -> JobId {
        JobId::from_seqno(self.job.load(Ordering::Relaxed))
    }
}

impl<D: Driver> Bury for Dependencies<D> {
    fn bury(this: Counted<Self>) {
        Bury::bury(<dyn FenceCallback>::erase(this));
    }
}

impl<D: Driver> FenceCallback for Dependencies<D> {
    fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    fn on_signal(&self, _index: usize, result: Result<(), Errno>) {
        self.queue
            .wait_is_over(self.job(), WaitKind::Dependency, result);
    }
}

/// The one fence a run callback may name: the hardware's, or one to wait for resources.
pub(crate) struct HardwareWait<D: Driver> {
    queue: Arc<Shared<D>>,
    job: AtomicU64,
    hardware: Node,
    resource: Node,
}

impl<D: Driver> HardwareWait<D> {
    const HARDWARE: usize = 0;
    const RESOURCE: usize = 1;

    pub(crate) fn new(queue: Arc<Shared<D>>) -> Self {
        Self {
            queue,
            job: AtomicU64::new(0),
            hardware: Node::new(),
            resource: Node::new(),
        }
    }

    /// Waits for `fence`; the result it has already, if it has signalled.
    pub(crate) fn register(
        this: &Counted<Self>,
        job: JobId,
        kind: WaitKind,
        fence: &Fence,
    ) -> Result<(), Result<(), Errno>> {
        this.job.store(job.seqno(), Ordering::Relaxed);
        let index = match kind {
            WaitKind::Resource => Self::RESOURCE,
            WaitKind::Hardware | WaitKind::Dependency => Self::HARDWARE,
        };
        match fence.register(this.clone(), index) {
            Ok(()) => Ok(()),
            Err(Refused::AlreadySignaled(signaled)) => Err(signaled.result),
            // A resource wait that is not over: the job is not handed out again before it is.
            Err(Refused::Busy) => Err(Err(Errno::EBUSY)),
        }
    }

    pub(crate) fn forget(&self) {
        self.hardware.try_remove();
        self.resource.try_remove();
    }
}

impl<D: Driver> Bury for HardwareWait<D> {
    fn bury(this: Counted<Self>) {
        Bury::bury(<dyn FenceCallback>::erase(this));
    }
}

impl<D: Driver> FenceCallback for HardwareWait<D> {
    fn node(&self, index: usize) -> &Node {
        if index == Self::RESOURCE {
            &self.resource
        } else {
            &self.hardware
        }
    }

    fn on_signal(&self, index: usize, result: Result<(), Errno>) {
        let kind = if index == Self::RESOURCE {
            WaitKind::Resource
        } else {
            WaitKind::Hardware
        };
        let job = JobId::from_seqno(self.job.load(Ordering::Relaxed));
        self.queue.wait_is_over(job, kind, result);
    }
}
