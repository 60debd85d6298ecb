// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Fences a job waits for: its dependencies, and what its run callback named.
//!
//! All memory is taken at prepare. A job's callbacks are registered *before* core is told that it
//! waits, so that nobody can reap it meanwhile; what signals before that is counted under the
//! queue's lock. At reap the callbacks are taken back, which waits for one that is running: what a
//! callback touches is there until it has returned.

use core::cell::UnsafeCell;
use core::ptr::NonNull;

use kernel::alloc::Flags;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use ringfence_core::{Errno, JobId};

use crate::driver::Driver;
use crate::fence::{Fence, Node, Status, Target};
use crate::shared::Shared;

/// The fences that one job depends on.
pub(crate) struct Dependencies<D: Driver> {
    /// Not moved once any is registered.
    nodes: KVec<Node<Waiter<D>>>,
    /// Under the queue's lock.
    wait: UnsafeCell<Wait>,
}

// SAFETY: Used by the job's owner, and what callbacks use is under the queue's lock.
unsafe impl<D: Driver> Send for Dependencies<D> {}

/// What has become of a job's dependencies before core knows of them.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    /// Core has not been told. So many have signalled, the first error among them.
    Early {
        signalled: u32,
        error: Option<Errno>,
    },
    /// Core is told of each.
    Told,
}

/// One dependency's way to its job.
pub(crate) struct Waiter<D: Driver> {
    /// Before it is registered: the fence.
    fence: Option<ARef<Fence>>,
    job: JobId,
    queue: Option<NonNull<Shared<D>>>,
    wait: *const UnsafeCell<Wait>,
}

// SAFETY: The pointers are to what lives as long as the node, and is used under the queue's lock.
unsafe impl<D: Driver> Send for Waiter<D> {}

impl<D: Driver> Target for Waiter<D> {
    fn on_signal(&self, status: Status) {
        if let Some(queue) = self.queue {
            // SAFETY: The job keeps its queue, and is kept until this has returned. `wait` is
            // beside the nodes.
            unsafe {
                queue
                    .as_ref()
                    .dependency_signalled(self.job, &*self.wait, status)
            };
        }
    }
}

impl<D: Driver> Dependencies<D> {
    pub(crate) fn new() -> Self {
        Self {
            nodes: KVec::new(),
            wait: UnsafeCell::new(Wait::Early {
                signalled: 0,
                error: None,
            }),
        }
    }

    /// Adds a fence, unless a later one of the same timeline is there already.
    pub(crate) fn add(&mut self, fence: ARef<Fence>, flags: Flags) -> Result {
        for node in self.nodes.iter_mut() {
            let Some(known) = &mut node.target.fence else {
                continue;
            };
            if known.context() == fence.context() {
                if fence.is_later_than(known) {
                    *known = fence;
                }
                return Ok(());
            }
        }
        let waiter = Waiter {
            fence: Some(fence),
            job: JobId::from_seqno(0),
            queue: None,
            wait: core::ptr::null(),
        };
        Ok(self.nodes.push(Node::new(waiter), flags)?)
    }

    /// The fences that are waited for, as context and seqno, before they are registered.
    pub(crate) fn each(&self, mut each: impl FnMut(u64, u64)) {
        for node in &self.nodes {
            if let Some(fence) = &node.target.fence {
                each(fence.context(), fence.seqno());
            }
        }
    }

    /// Registers with every fence. How many there are, and of those that have signalled already how
    /// many and the first error. Not in a fence callback.
    ///
    /// # Safety
    ///
    /// `this` does not move before [`Dependencies::forget`] has returned; `queue` lives as long.
    pub(crate) unsafe fn register(
        this: *mut Self,
        job: JobId,
        queue: NonNull<Shared<D>>,
    ) -> (u32, u32, Option<Errno>) {
        // SAFETY: The caller owns the job.
        let (nodes, wait) = unsafe { (&mut (*this).nodes, &raw const (*this).wait) };
        let (mut all, mut over, mut error) = (0, 0, None);
        for node in nodes.iter_mut() {
            let Some(fence) = node.target.fence.take() else {
                continue;
            };
            node.target.job = job;
            node.target.queue = Some(queue);
            node.target.wait = wait;
            all += 1;
            // SAFETY: The memory of the nodes does not move, says the caller.
            if let Err(status) = unsafe { Node::add(node, fence) } {
                over += 1;
                error = error.or(status.err());
            }
        }
        (all, over, error)
    }

    /// What has signalled so far; from here on core is told. Under the queue's lock.
    ///
    /// # Safety
    ///
    /// The queue is locked, or nothing is registered.
    pub(crate) unsafe fn tell_from_now_on(&self) -> (u32, Option<Errno>) {
        // SAFETY: Under the lock, says the caller.
        match core::mem::replace(unsafe { &mut *self.wait.get() }, Wait::Told) {
            Wait::Early { signalled, error } => (signalled, error),
            Wait::Told => (0, None),
        }
    }

    /// Takes all callbacks back; waits for one that is running. Not in a fence callback.
    pub(crate) fn forget(&mut self) {
        let (nodes, len) = (self.nodes.as_mut_ptr(), self.nodes.len());
        for at in 0..len {
            // SAFETY: The node is this job's. By pointer: a callback may be running.
            unsafe { Node::remove(nodes.add(at)) };
        }
    }
}

/// The two fences a run callback may name: the hardware's, and one to wait for resources.
pub(crate) struct HardwareWait<D: Driver> {
    hardware: Node<Hardware<D>>,
    resource: Node<Resource<D>>,
}

struct Hardware<D: Driver> {
    job: JobId,
    queue: Option<NonNull<Shared<D>>>,
}

struct Resource<D: Driver> {
    job: JobId,
    queue: Option<NonNull<Shared<D>>>,
    /// Under the queue's lock: whether core knows that the job waits, or whether it is over
    /// already.
    wait: UnsafeCell<ResourceWait>,
}

/// How far a wait for resources is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResourceWait {
    /// Core has not been told that the job waits.
    Early,
    /// And the fence has signalled.
    Over,
    /// Core has been told.
    Told,
}

// SAFETY: The pointer is to what lives as long as the node, and is used under the queue's lock.
unsafe impl<D: Driver> Send for Hardware<D> {}
// SAFETY: As above.
unsafe impl<D: Driver> Send for Resource<D> {}

impl<D: Driver> Target for Hardware<D> {
    fn on_signal(&self, status: Status) {
        if let Some(queue) = self.queue {
            // SAFETY: The job keeps its queue, and is kept until this has returned.
            unsafe { queue.as_ref().hardware_signalled(self.job, status) };
        }
    }
}

impl<D: Driver> Target for Resource<D> {
    fn on_signal(&self, _status: Status) {
        if let Some(queue) = self.queue {
            // SAFETY: The job keeps its queue, and is kept until this has returned.
            unsafe { queue.as_ref().resource_signalled(self.job, &self.wait) };
        }
    }
}

impl<D: Driver> HardwareWait<D> {
    pub(crate) fn new() -> Self {
        let job = JobId::from_seqno(0);
        Self {
            hardware: Node::new(Hardware { job, queue: None }),
            resource: Node::new(Resource {
                job,
                queue: None,
                wait: UnsafeCell::new(ResourceWait::Early),
            }),
        }
    }

    /// Has the hardware's fence complete the job. Its result if it has signalled.
    ///
    /// # Safety
    ///
    /// `this` does not move before [`HardwareWait::forget`] has returned; `queue` lives as long.
    pub(crate) unsafe fn follow(
        this: *mut Self,
        job: JobId,
        queue: NonNull<Shared<D>>,
        fence: ARef<Fence>,
    ) -> Result<(), Status> {
        // SAFETY: The job is the caller's, and nothing is registered: it is followed once.
        unsafe {
            let target = &mut (*this).hardware.target;
            target.job = job;
            target.queue = Some(queue);
            Node::add(&raw mut (*this).hardware, fence)
        }
    }

    /// Has the fence say that there may be resources. False if it has signalled.
    ///
    /// # Safety
    ///
    /// As for [`HardwareWait::follow`].
    pub(crate) unsafe fn wait_for_resource(
        this: *mut Self,
        job: JobId,
        queue: NonNull<Shared<D>>,
        fence: ARef<Fence>,
    ) -> bool {
        // SAFETY: The job is the caller's. What was registered before has been told, or else core
        // would not have handed the job out, but it may not have returned.
        unsafe {
            Node::remove(&raw mut (*this).resource);
            let target = &mut (*this).resource.target;
            target.job = job;
            target.queue = Some(queue);
            *target.wait.get() = ResourceWait::Early;
            Node::add(&raw mut (*this).resource, fence).is_ok()
        }
    }

    /// From here on core is told. True if the fence has signalled before. Under the queue's lock.
    ///
    /// # Safety
    ///
    /// The queue is locked.
    pub(crate) unsafe fn tell_from_now_on(&self) -> bool {
        // SAFETY: Under the lock, says the caller.
        let wait = unsafe { &mut *self.resource.target.wait.get() };
        core::mem::replace(wait, ResourceWait::Told) == ResourceWait::Over
    }

    /// Takes both back; waits for one that is running. Not in a fence callback.
    pub(crate) fn forget(&mut self) {
        // SAFETY: The nodes are this job's.
        unsafe {
            Node::remove(&raw mut self.hardware);
            Node::remove(&raw mut self.resource);
        }
    }
}
