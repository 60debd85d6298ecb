// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Waiting for a fence with somebody else's event loop.

use super::node::{FenceCallback, Node, Refused};
use super::{Fence, Status};
use crate::counted::{Bury, Counted};
use rustix::event::EventfdFlags;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// An event descriptor (`eventfd(2)`) that becomes readable when its fence has signalled.
///
/// It stays readable until somebody reads it. It says that the fence has signalled, not how. The
/// link to the fence lives as long as this handle, not as long as duplicates of the descriptor.
#[must_use = "dropping it closes the descriptor"]
pub struct EventFd {
    shared: Counted<Shared>,
}

impl std::fmt::Debug for EventFd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("EventFd").field(&self.as_raw_fd()).finish()
    }
}

struct Shared {
    node: Node,
    descriptor: OwnedFd,
}

impl Shared {
    fn ring(&self) {
        // Non-blocking, and the counter is at most a few: it cannot fill up unless a holder of the
        // descriptor filled it, and then it is readable as it should be.
        let _ = rustix::io::write(&self.descriptor, &1u64.to_ne_bytes());
    }
}

impl Bury for Shared {
    fn bury(this: Counted<Self>) {
        Bury::bury(<dyn FenceCallback>::erase(this));
    }
}

impl FenceCallback for Shared {
    fn node(&self, _index: usize) -> &Node {
        &self.node
    }

    fn on_signal(&self, _index: usize, _result: Status) {
        self.ring();
    }
}

impl Fence {
    /// Makes an event descriptor, non-blocking and close-on-exec, that becomes readable when the
    /// fence [`is_signaled`](Self::is_signaled). Allocates.
    ///
    /// # Errors
    ///
    /// What `eventfd(2)` fails with: out of descriptors, mostly.
    pub fn eventfd(&self) -> io::Result<EventFd> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let descriptor = rustix::event::eventfd(0, flags)?;
        let shared = Counted::new(Shared {
            node: Node::new(),
            descriptor,
        });
        match self.register_late(shared.clone(), 0) {
            Ok(()) => {}
            Err(Refused::AlreadySignaled(_)) => shared.ring(),
            Err(Refused::Busy) => unreachable!("a new node is idle"),
        }
        Ok(EventFd { shared })
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.descriptor.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.shared.descriptor.as_raw_fd()
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        self.shared.node.remove();
    }
}
