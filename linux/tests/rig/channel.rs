// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A channel: from wherever a driver or a fence calls, to a thread.

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Arc;

use ringfence::Lock;

/// First in, first out, with all memory taken beforehand.
pub(crate) struct Channel<T: Send>(Arc<Inner<T>>);

struct Inner<T> {
    list: Lock<KVVec<T>>,
    closed: Atomic<i32>,
}

/// Closes its channel when dropped.
pub(crate) struct Closer<T: Send>(Channel<T>);

impl<T: Send> Clone for Channel<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send> Channel<T> {
    /// With room for so many.
    pub(crate) fn new(room: usize) -> Result<Self> {
        let inner = Inner {
            list: Lock::new(KVVec::with_capacity(room, GFP_KERNEL)?),
            closed: Atomic::new(0),
        };
        Ok(Self(Arc::new(inner, GFP_KERNEL)?))
    }

    /// Any context. What finds no room is dropped, which whoever waits for it notices.
    pub(crate) fn send(&self, item: T) {
        let refused = self.0.list.lock().push_within_capacity(item);
        if refused.is_err() {
            pr_err!("a channel is full\n");
        }
    }

    /// The oldest, if there is any.
    pub(crate) fn try_receive(&self) -> Option<T> {
        self.0.list.lock().remove(0).ok()
    }

    /// Waits for the next. `None` once the channel is closed and empty.
    pub(crate) fn receive(&self) -> Result<Option<T>> {
        let mut received = None;
        super::eventually("something is received", || {
            // What was sent before the channel was closed is there.
            let closed = self.0.closed.load(kernel::sync::atomic::Acquire) != 0;
            received = self.try_receive();
            received.is_some() || closed
        })?;
        Ok(received)
    }

    /// All there is.
    pub(crate) fn drain(&self) -> Result<KVVec<T>> {
        let room = self.0.list.lock().capacity();
        let mut all = KVVec::with_capacity(room, GFP_KERNEL)?;
        core::mem::swap(&mut all, &mut *self.0.list.lock());
        Ok(all)
    }

    /// Whoever receives is told when what is returned is dropped. Declare it after the threads,
    /// whose ends wait for it.
    pub(crate) fn closer(&self) -> Closer<T> {
        self.0.closed.store(0, Relaxed);
        Closer(self.clone())
    }
}

impl<T: Send> Drop for Closer<T> {
    fn drop(&mut self) {
        self.0 .0.closed.store(1, kernel::sync::atomic::Release);
    }
}
