// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Waiting for a fence with a task.

use super::node::{FenceCallback, Node, Refused};
use super::{AlreadySignaled, Fence, Status};
use crate::counted::{Bury, Counted};
use crate::sync::Mutex;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A future of how a fence signals. `fence.await` makes one.
///
/// All memory is allocated when it is made. Dropping it removes its waker from the fence. If the fence
/// is signalled in an [interrupt handler](crate::irq), its waker is called by the bottom half's
/// thread.
#[must_use = "futures do nothing unless polled"]
pub struct FenceFuture {
    fence: Fence,
    wakeup: Counted<Wakeup>,
    registered: bool,
}

impl std::fmt::Debug for FenceFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FenceFuture").field(&self.fence).finish()
    }
}

struct Wakeup {
    node: Node,
    waker: Mutex<Option<Waker>>,
}

impl Bury for Wakeup {
    fn bury(this: Counted<Self>) {
        Bury::bury(<dyn FenceCallback>::erase(this));
    }
}

impl FenceCallback for Wakeup {
    /// A waker is anybody's code: it may lock, allocate, and free its task.
    fn is_interrupt_safe(&self) -> bool {
        false
    }

    fn node(&self, _index: usize) -> &Node {
        &self.node
    }

    fn on_signal(&self, _index: usize, _result: Status) {
        // Woken without the lock, since an executor may poll at once; and by reference, so that the
        // task is not dropped here but with the future.
        let Some(waker) = self.waker.lock().take() else {
            return;
        };
        waker.wake_by_ref();
        self.waker.lock().get_or_insert(waker);
    }
}

impl Future for FenceFuture {
    type Output = Status;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Status> {
        if let Some(status) = self.fence.status() {
            return Poll::Ready(status);
        }
        let waker = context.waker().clone();
        let old = self.wakeup.waker.lock().replace(waker);
        drop(old);
        if !self.registered {
            match self.fence.register_late(self.wakeup.clone(), 0) {
                Ok(()) => self.registered = true,
                Err(Refused::AlreadySignaled(AlreadySignaled { result })) => {
                    return Poll::Ready(result);
                }
                Err(Refused::Busy) => unreachable!("registered once"),
            }
        }
        // The signal may have found the waker of an earlier poll.
        match self.fence.status() {
            Some(status) => Poll::Ready(status),
            None => Poll::Pending,
        }
    }
}

impl Drop for FenceFuture {
    fn drop(&mut self) {
        self.wakeup.node.remove();
    }
}

impl IntoFuture for Fence {
    type Output = Status;
    type IntoFuture = FenceFuture;

    /// Allocates what waiting will need.
    fn into_future(self) -> FenceFuture {
        let wakeup = Wakeup {
            node: Node::new(),
            waker: Mutex::new(None),
        };
        FenceFuture {
            fence: self,
            wakeup: Counted::new(wakeup),
            registered: false,
        }
    }
}

impl IntoFuture for &Fence {
    type Output = Status;
    type IntoFuture = FenceFuture;

    /// Allocates what waiting will need.
    fn into_future(self) -> FenceFuture {
        self.clone().into_future()
    }
}
