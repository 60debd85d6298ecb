// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where recovery is asked for, and the thread that answers.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, OnceLock, Weak};

use super::{Hang, Recovery, RequestError};
use crate::device::{callback, Device, Member, Scope};
use crate::stop::{Guilt, QueueStop, Rest};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{thread, Condvar, Event, Mutex};
use crate::Errno;

/// A device's side of its recovery thread.
pub(crate) struct Desk {
    shared: Arc<Shared>,
}

/// What the thread and those who wake it share.
struct Shared {
    /// Notified when somebody asks. The thread takes its count, looks, and sleeps.
    asked: Event,
    /// The thread should end, or has.
    ending: AtomicBool,
    /// It has let go of the recovery.
    over: Mutex<bool>,
    is_over: Condvar,
    slots: Slots,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                asked: Event::new(),
                ending: AtomicBool::new(false),
                over: Mutex::new(false),
                is_over: Condvar::new(),
                slots: Slots::default(),
            }),
        }
    }

    /// Starts the thread.
    pub(crate) fn open(
        &self,
        scope: &Arc<Scope>,
        recovery: Box<dyn Recovery>,
    ) -> std::io::Result<()> {
        let (shared, scope) = (Arc::clone(&self.shared), Arc::downgrade(scope));
        // Here: the thread may begin after somebody has asked.
        let seen = shared.asked.current();
        // Not joined: it says when it has let go of the recovery.
        thread::Builder::new()
            .name("rf-recovery".to_owned())
            .spawn(move || shared.serve(recovery, &scope, seen))
            .map(drop)
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.shared.ending.load(Ordering::Acquire)
    }

    /// Has the thread look which queues want it. For any context: no lock, no allocation.
    pub(crate) fn wake(&self) {
        self.shared.asked.notify_one();
    }

    /// Notes that the queue with this context wants it. For any context.
    pub(crate) fn request(&self, context: u64) -> Result<(), RequestError> {
        let slot = match context {
            0 => None,
            _ => self.shared.slots.find(context),
        };
        let slot = slot.ok_or(RequestError::NoSuchQueue)?;
        slot.requested.store(true, Ordering::Release);
        self.wake();
        Ok(())
    }

    /// Takes back what was requested for a queue, as it is being dealt with.
    pub(crate) fn take_request(&self, context: u64) -> bool {
        let slot = self.shared.slots.find(context);
        slot.is_some_and(|slot| slot.requested.swap(false, Ordering::AcqRel))
    }

    /// Makes room for a queue. One caller at a time.
    pub(crate) fn add(&self, context: u64) {
        self.shared.slots.add(context);
    }

    pub(crate) fn remove(&self, context: u64) {
        self.shared.slots.remove(context);
    }

    /// Has the thread end.
    pub(crate) fn end(&self) {
        self.shared.ending.store(true, Ordering::Release);
        self.wake();
    }

    /// Waits until the recovery is not running and has been dropped. Sleeps.
    pub(crate) fn end_and_wait(&self) {
        self.end();
        let mut over = self.shared.over.lock();
        while !*over {
            over = self.shared.is_over.wait(over);
        }
    }
}

impl Shared {
    /// The thread's life.
    fn serve(&self, mut recovery: Box<dyn Recovery>, scope: &Weak<Scope>, mut seen: u32) {
        let mut id = 0;
        while !self.ending.load(Ordering::Acquire) {
            let asked = self.asked.current();
            if asked == seen {
                self.asked.wait(seen, None);
                continue;
            }
            seen = asked;
            // A scope that is gone has set `ending`.
            let Some(scope) = scope.upgrade() else { break };
            id = scope.id();
            let device = Device { scope };
            if self.round(&mut *recovery, &device).is_err() {
                self.ending.store(true, Ordering::Release);
                eprintln!(
                    "ringfence: the recovery of device {} panicked: all its jobs end with EOWNERDEAD",
                    device.name()
                );
                device.scope.set_gone(Errno::EOWNERDEAD);
            }
        }
        // As in a callback: its drop must not unbind, and so wait for itself.
        let _panic = catch_unwind(AssertUnwindSafe(|| {
            let call = callback::Call {
                device: id,
                context: 0,
                seqno: None,
            };
            callback::recover(call, || drop(recovery));
        }));
        *self.over.lock() = true;
        self.is_over.notify_all();
    }

    /// Serves each queue that wants it, once.
    fn round(&self, recovery: &mut dyn Recovery, device: &Device) -> std::thread::Result<()> {
        let mut last = 0;
        while let Some((number, queue)) = device.scope.queue_after(last) {
            if self.ending.load(Ordering::Acquire) {
                break;
            }
            last = number;
            let slot = self.slots.find(queue.context());
            let requested = slot.is_some_and(|slot| slot.requested.swap(false, Ordering::AcqRel));
            let seqno = queue.wants_recovery();
            if (requested && !queue.is_over()) || seqno.is_some() {
                call(recovery, device, queue, seqno)?;
            }
        }
        Ok(())
    }
}

fn call(
    recovery: &mut dyn Recovery,
    device: &Device,
    queue: Arc<dyn Member>,
    seqno: Option<u64>,
) -> std::thread::Result<()> {
    let hang = Hang {
        queue,
        device,
        seqno,
        _call: std::marker::PhantomData,
    };
    let call = callback::Call {
        device: device.scope.id(),
        context: hang.context(),
        seqno,
    };
    callback::recover(call, || {
        catch_unwind(AssertUnwindSafe(|| recovery.recover(device, &hang)))?;
        give_up(device, hang.queue, seqno);
        Ok(())
    })
}

/// A queue for which nothing was done must not hold still for ever: its job fails. One that has
/// asked because of another job meanwhile is served for that.
fn give_up(device: &Device, queue: Arc<dyn Member>, seqno: Option<u64>) {
    if seqno.is_none() || queue.wants_recovery() != seqno {
        return;
    }
    // Refused, it is closed or about to be unbound: nothing holds still there.
    let Ok(stop) = QueueStop::begin(&device.scope, queue) else {
        return;
    };
    let queue = stop.member();
    if let Some(seqno) = seqno.filter(|_| queue.wants_recovery() == seqno) {
        let guilty = [(queue.context(), seqno, Errno::ETIME)];
        Arc::clone(queue).recover(Guilt(&guilty), Rest::Keep);
    }
}

/// One queue's request. Context 0 is free: none has that.
#[derive(Default)]
struct Slot {
    context: AtomicU64,
    requested: AtomicBool,
}

/// A slot for each queue, to be found from any context: without a lock. Segments are added, each
/// twice as large as the one before, and never taken away.
#[derive(Default)]
struct Slots {
    first: OnceLock<Box<Segment>>,
    /// Slots taken and given back: where there are none, nobody looks for one.
    free: AtomicUsize,
}

struct Segment {
    slots: Box<[Slot]>,
    next: OnceLock<Box<Segment>>,
}

impl Segment {
    fn new(slots: usize) -> Box<Self> {
        Box::new(Self {
            slots: (0..slots).map(|_| Slot::default()).collect(),
            next: OnceLock::new(),
        })
    }
}

impl Slots {
    const FIRST: usize = 16;

    fn find(&self, context: u64) -> Option<&Slot> {
        let mut segment = self.first.get();
        while let Some(this) = segment {
            let slot = this
                .slots
                .iter()
                .find(|slot| slot.context.load(Ordering::Acquire) == context);
            if slot.is_some() {
                return slot;
            }
            segment = this.next.get();
        }
        None
    }

    /// Allocates where there is no free slot.
    fn add(&self, context: u64) {
        let slot = match self.free.load(Ordering::Acquire) {
            0 => None,
            _ => self.find(0),
        };
        let slot = slot.unwrap_or_else(|| self.grow());
        slot.requested.store(false, Ordering::Relaxed);
        slot.context.store(context, Ordering::Release);
        self.free.fetch_sub(1, Ordering::AcqRel);
    }

    /// Adds a segment and returns one of its slots, all of which are free.
    fn grow(&self) -> &Slot {
        let mut place = &self.first;
        let mut size = Self::FIRST;
        while let Some(segment) = place.get() {
            place = &segment.next;
            size = 2 * segment.slots.len();
        }
        let segment = place.get_or_init(|| Segment::new(size));
        self.free.fetch_add(size, Ordering::AcqRel);
        &segment.slots[0]
    }

    fn remove(&self, context: u64) {
        if let Some(slot) = self.find(context) {
            slot.context.store(0, Ordering::Release);
            self.free.fetch_add(1, Ordering::AcqRel);
        }
    }
}
