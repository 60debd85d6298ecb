// SPDX-License-Identifier: GPL-2.0 OR MIT
//! In which order fences signal.

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::Arc;

use ringfence::fence::{Callback, FenceCallback, Registration, Status};
use ringfence::{Fence, Lock};

/// A registered callback of the rig's.
pub(crate) type Watch = Registration<Boxed>;

/// A closure of any type.
pub(crate) struct Boxed(KBox<dyn FnMut(Status) + Send>);

impl FenceCallback for Boxed {
    fn on_signal(&mut self, status: Status) {
        (self.0)(status);
    }
}

/// Has `function` called when `fence` signals, which it must not have done.
pub(crate) fn on_signal(
    fence: &Fence,
    function: impl FnMut(Status) + Send + 'static,
) -> Result<Watch> {
    let function: KBox<dyn FnMut(Status) + Send> = KBox::new(function, GFP_KERNEL)?;
    fence
        .add_callback(Callback::new(Boxed(function), GFP_KERNEL)?)
        .map_err(|_| {
            pr_err!("{:?} has signalled already\n", fence);
            EALREADY
        })
}

/// Notes in which order fences signal, with their results.
#[derive(Clone)]
pub(crate) struct Order(Arc<Lock<KVec<(u64, Status)>>>);

impl Order {
    /// With room for so many.
    pub(crate) fn new(room: usize) -> Result<Self> {
        let list = KVec::with_capacity(room, GFP_KERNEL)?;
        Ok(Self(Arc::new(Lock::new(list), GFP_KERNEL)?))
    }

    /// Watches a fence under its sequence number. It must not have signalled.
    pub(crate) fn watch(&self, fence: &Fence) -> Result<Watch> {
        self.watch_as(fence.seqno(), fence)
    }

    /// Watches a fence under another number.
    pub(crate) fn watch_as(&self, number: u64, fence: &Fence) -> Result<Watch> {
        let list = self.0.clone();
        on_signal(fence, move |result| {
            // Full is noticed by who counts.
            let _full = list.lock().push_within_capacity((number, result));
        })
    }

    /// Watches several.
    pub(crate) fn watch_all(&self, fences: &[ARef<Fence>]) -> Result<KVVec<Watch>> {
        super::many(fences.len() as u64, |at| self.watch(&fences[at as usize]))
    }

    /// What has signalled so far.
    pub(crate) fn seen(&self) -> Result<KVec<(u64, Status)>> {
        // In a statement of its own: the lock is not held while memory is taken.
        let room = self.0.lock().capacity();
        let mut copy = KVec::with_capacity(room, GFP_KERNEL)?;
        for seen in self.0.lock().iter() {
            let _full = copy.push_within_capacity(*seen);
        }
        Ok(copy)
    }

    /// So many have signalled, each after those with lower numbers.
    pub(crate) fn ensure_in_order(&self, count: usize) -> Result {
        let seen = self.seen()?;
        ensure_eq!(seen.len(), count);
        ensure!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0));
        Ok(())
    }
}
