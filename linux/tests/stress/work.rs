// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Payloads: what one job needs to go wrong in every way.

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Arc;

use ringfence::fence::{Callback, FenceCallback, Registration, Status};
use ringfence::{Completion, DropInIrq, Fence, Lock, Signaller, Timeline};

use crate::driver::Chaos;
use crate::random::Random;

/// Payloads that exist.
static WORKS: Atomic<i64> = Atomic::new(0);

pub(crate) fn works() -> i64 {
    WORKS.load(Relaxed)
}

const ALIVE: u64 = 0x600d_600d_600d_600d;

/// A fence that nobody has signalled, and the right to.
pub(crate) type Pair = (Signaller, ARef<Fence>);

/// A fence with a timeline of its own, so that any order is right.
pub(crate) fn lone_fence() -> Result<Pair> {
    Timeline::new(c"stress", c"lone", GFP_KERNEL)?.signaller(GFP_KERNEL)
}

/// One job's payload.
pub(crate) struct Work<const I: bool> {
    /// What must have signalled before it runs.
    pub(crate) depends: KVec<ARef<Fence>>,
    /// The hardware's fence, to follow.
    pub(crate) hardware: Option<Pair>,
    /// The fence that says that there is room.
    pub(crate) room: Option<Pair>,
    /// A callback that completes the job.
    pub(crate) late: Option<Late<I>>,
    canary: KBox<u64>,
}

// SAFETY: Counts on fences, boxes of kmalloc's, a signaller, a completion token: all may be dropped
// in an interrupt. What a callback's registration waits for runs with interrupts off.
unsafe impl<const I: bool> DropInIrq for Work<I> {}

impl<const I: bool> Work<I> {
    pub(crate) fn new(random: &mut Random) -> Result<Self> {
        let pair = |wanted: bool| wanted.then(lone_fence).transpose();
        let hardware = pair(random.one_in(6))?;
        let room = pair(random.one_in(6))?;
        let late = random.one_in(6).then(Late::new).transpose()?;
        let canary = KBox::new(ALIVE, GFP_KERNEL)?;
        WORKS.fetch_add(1, Relaxed);
        Ok(Self {
            depends: KVec::new(),
            hardware,
            room,
            late,
            canary,
        })
    }

    /// It is there, and what it waited for has signalled.
    pub(crate) fn check(&self, seqno: u64) {
        if *self.canary != ALIVE {
            broken!("job {} is used after it was dropped", seqno);
        }
        for fence in &self.depends {
            if !fence.is_signaled() {
                broken!(
                    "job {} is with its driver, and {:?} is open",
                    seqno,
                    &**fence
                );
            }
        }
    }
}

impl<const I: bool> Drop for Work<I> {
    fn drop(&mut self) {
        if *self.canary != ALIVE {
            broken!("a payload is dropped twice");
        }
        *self.canary = 0xdead;
        for (signaller, _) in [self.hardware.take(), self.room.take()]
            .into_iter()
            .flatten()
        {
            signaller.signal(Ok(()));
        }
        WORKS.fetch_sub(1, Relaxed);
    }
}

/// Where a callback finds the job that it is to complete.
struct Slot<const I: bool> {
    completion: Lock<Option<Completion<Chaos<I>>>>,
    registration: Lock<Option<Registration<Finish<I>>>>,
}

/// The callback: it completes the job with the fence's result.
pub(crate) struct Finish<const I: bool>(Arc<Slot<I>>);

impl<const I: bool> FenceCallback for Finish<I> {
    fn on_signal(&mut self, status: Status) {
        let completion = self.0.completion.lock().take();
        if let Some(completion) = completion {
            completion.complete_in_callback(status);
        }
    }
}

/// A job that a callback of some fence will complete.
pub(crate) struct Late<const I: bool> {
    slot: Arc<Slot<I>>,
    callback: Option<Callback<Finish<I>>>,
    fence: Option<Pair>,
}

/// What a callback needs once the job has run.
pub(crate) struct Ready<const I: bool> {
    slot: Arc<Slot<I>>,
    callback: Callback<Finish<I>>,
    fence: ARef<Fence>,
}

impl<const I: bool> Late<I> {
    fn new() -> Result<Self> {
        let slot = Slot {
            completion: Lock::new(None),
            registration: Lock::new(None),
        };
        let slot = Arc::new(slot, GFP_KERNEL)?;
        Ok(Self {
            callback: Some(Callback::new(Finish(slot.clone()), GFP_KERNEL)?),
            slot,
            fence: Some(lone_fence()?),
        })
    }

    /// Once only: what is needed to have the fence complete the job, and who signals it.
    pub(crate) fn ready(&mut self) -> Option<(Ready<I>, Signaller)> {
        let ((signaller, fence), callback) = (self.fence.take()?, self.callback.take()?);
        let slot = self.slot.clone();
        let ready = Ready {
            slot,
            callback,
            fence,
        };
        Some((ready, signaller))
    }
}

impl<const I: bool> Ready<I> {
    /// Has the fence complete the job.
    pub(crate) fn register(self, completion: Completion<Chaos<I>>) {
        *self.slot.completion.lock() = Some(completion);
        match self.fence.add_callback(self.callback) {
            Ok(registration) => *self.slot.registration.lock() = Some(registration),
            Err(rejected) => {
                let completion = self.slot.completion.lock().take();
                if let Some(completion) = completion {
                    completion.complete(rejected.result);
                }
            }
        }
    }
}

impl<const I: bool> Drop for Late<I> {
    fn drop(&mut self) {
        if let Some((signaller, _)) = self.fence.take() {
            signaller.signal(Ok(()));
        }
        // It has a count on the slot. Dropped without the lock.
        let registration = self.slot.registration.lock().take();
        drop(registration);
    }
}
