// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Every fence is watched: it signals once, after those before it, and stays as it has signalled.

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed, Release};
use kernel::sync::Arc;

use ringfence::fence::{Callback, FenceCallback, Registration, Status};
use ringfence::Fence;

/// The fences of one queue, in the order in which they have signalled.
pub(crate) struct Order {
    /// The last one of which a callback has told.
    last: Atomic<u64>,
}

impl Order {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let last = Atomic::new(0);
        Ok(Arc::new(Self { last }, GFP_KERNEL)?)
    }

    fn tell(&self, seqno: u64) {
        let last = self.last.xchg(seqno, Full);
        if last >= seqno {
            broken!("fence {} signals after fence {} of its queue", seqno, last);
        }
    }
}

/// What a callback leaves.
struct Seen {
    seqno: Atomic<u64>,
    times: Atomic<u32>,
    /// As a negative error number, or 0.
    error: Atomic<i32>,
}

/// The callback.
pub(crate) struct Tell {
    order: Arc<Order>,
    seen: Arc<Seen>,
}

impl FenceCallback for Tell {
    fn on_signal(&mut self, status: Status) {
        self.seen.error.store(number(status), Relaxed);
        self.order.tell(self.seen.seqno.load(Relaxed));
        if self.seen.times.fetch_add(1, Full) != 0 {
            broken!(
                "fence {} calls a callback twice",
                self.seen.seqno.load(Relaxed)
            );
        }
    }
}

fn number(status: Status) -> i32 {
    status.err().map_or(0, |error| error.get())
}

/// Memory to watch a fence with, taken beforehand.
pub(crate) struct Draft {
    callback: Callback<Tell>,
    seen: Arc<Seen>,
}

impl Draft {
    pub(crate) fn new(order: &Arc<Order>) -> Result<Self> {
        let seen = Seen {
            seqno: Atomic::new(0),
            times: Atomic::new(0),
            error: Atomic::new(0),
        };
        let seen = Arc::new(seen, GFP_KERNEL)?;
        let tell = Tell {
            order: order.clone(),
            seen: seen.clone(),
        };
        Ok(Self {
            callback: Callback::new(tell, GFP_KERNEL)?,
            seen,
        })
    }

    /// Watches `fence`. Allocates nothing.
    pub(crate) fn watch(self, fence: ARef<Fence>) -> Watched {
        self.seen.seqno.store(fence.seqno(), Release);
        let (registration, early) = match fence.add_callback(self.callback) {
            Ok(registration) => (Some(registration), None),
            Err(rejected) => {
                if fence.status() != Some(rejected.result) {
                    broken!(
                        "{:?} refuses a callback and is {:?}",
                        &*fence,
                        fence.status()
                    );
                }
                (None, Some(rejected.result))
            }
        };
        Watched {
            fence,
            registration,
            early,
            seen: self.seen,
            well: false,
        }
    }
}

/// A fence that is watched.
pub(crate) struct Watched {
    pub(crate) fence: ARef<Fence>,
    registration: Option<Registration<Tell>>,
    /// How it had signalled when it was to be watched.
    early: Option<Status>,
    seen: Arc<Seen>,
    /// It may only signal well.
    well: bool,
}

impl Watched {
    /// The fence may only signal well.
    pub(crate) fn well(mut self) -> Self {
        self.well = true;
        self
    }

    /// Looks whether a fence that has signalled did so as it should.
    pub(crate) fn judge(mut self) {
        let registered = self.registration.is_some();
        if self.registration.take().is_some_and(Registration::remove) {
            broken!("{:?} has signalled without its callback", &*self.fence);
        }
        let times = self.seen.times.load(Acquire);
        if times != u32::from(registered) {
            broken!("{:?} has called {} times", &*self.fence, times);
        }
        let Some(status) = self.fence.status() else {
            broken!("{:?} was signalled and is open", &*self.fence);
            return;
        };
        let told = self
            .early
            .map_or_else(|| self.seen.error.load(Relaxed), number);
        if self.well && status != Ok(()) {
            broken!(
                "{:?}, that a queue is closed, is {:?}",
                &*self.fence,
                status
            );
        }
        if number(status) != told {
            broken!("{:?} has told {} and is {:?}", &*self.fence, told, status);
        }
    }
}

/// Fences that have not been judged, in the order in which they were published.
pub(crate) struct Window(KVec<Watched>);

impl Window {
    pub(crate) fn new(room: usize) -> Result<Self> {
        Ok(Self(KVec::with_capacity(room, GFP_KERNEL)?))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.len() == self.0.capacity()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Watched> {
        self.0.get(index)
    }

    pub(crate) fn push(&mut self, watched: Watched) {
        if let Err(error) = self.0.push(watched, GFP_KERNEL) {
            broken!("no memory to watch a fence: {:?}", Error::from(error));
        }
    }

    /// Judges what has signalled.
    pub(crate) fn sweep(&mut self) {
        let mut over: [(u64, u64); 8] = [(0, 0); 8];
        let mut at = self.0.len();
        // The newest first: once it has been seen signalled, all before it have.
        while at > 0 {
            at -= 1;
            let fence = &*self.0[at].fence;
            let (context, seqno) = (fence.context(), fence.seqno());
            let signalled = fence.is_signaled();
            let late = |over: &(u64, u64)| over.0 == context && over.1 > seqno;
            if !signalled && over.iter().any(late) {
                broken!(
                    "{:?} is open and a later one of its queue has signalled",
                    fence
                );
            }
            if signalled {
                over.rotate_right(1);
                over[0] = (context, seqno);
                if let Ok(watched) = self.0.remove(at) {
                    watched.judge();
                }
            }
        }
    }

    /// Names those that are open.
    pub(crate) fn accuse(&self) {
        for watched in &self.0 {
            broken!("{:?} has not signalled", &*watched.fence);
        }
    }
}
