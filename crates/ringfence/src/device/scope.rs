// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the queues of one device share: the list of them, and the one stop there may be at a time.

use std::any::Any;
use std::cell::Cell;
use std::sync::{Arc, Weak};

use ringfence_core::{Standing, Timeout};

use super::callback;
use crate::fence;
use crate::recovery::Desk;
use crate::stop::{Guilt, Recovered, Rest, StopError};
use crate::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use crate::sync::{Condvar, Mutex};
use crate::Errno;

/// A queue as its device sees it, whatever its driver.
pub(crate) trait Member: Send + Sync {
    fn name(&self) -> &str;
    fn context(&self) -> u64;

    /// The job because of which its driver wants a recovery.
    fn wants_recovery(&self) -> Option<u64>;

    /// True once the queue has let go of its driver, or is about to.
    fn is_over(&self) -> bool;

    /// Lets no driver callback begin. Who calls holds the device's [`Hold`].
    fn hold_still(self: Arc<Self>) -> Result<(), StopError>;

    /// Waits until no driver callback runs. Sleeps.
    fn await_quiet(&self);

    /// Takes [`Member::hold_still`] back.
    fn restart(self: Arc<Self>);

    /// The ready-made policy, for a queue that is quiet.
    fn recover(self: Arc<Self>, guilty: Guilt<'_>, rest: Rest) -> Recovered;

    fn strike(self: Arc<Self>) -> Standing;
    fn kill(self: Arc<Self>, error: Errno);

    /// Ends all jobs with `error`, lets no callback begin.
    fn begin_unbind(self: Arc<Self>, error: Errno);

    /// Waits until no callback runs, and drops the driver's value.
    fn finish_unbind(self: Arc<Self>);

    /// The queue's inside, to be told its type.
    fn any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// The span in which the driver callbacks of one device may run.
pub(crate) struct Scope {
    name: Box<str>,
    id: u64,
    timeout: Timeout,
    unbound: AtomicBool,
    /// The error with which the device went, or 0.
    gone: AtomicI32,
    queues: Mutex<Queues>,
    stop: StopLock,
    desk: Option<Desk>,
}

/// # Invariants
///
/// Numbers ascend, and are not used again. `spare` has room for all queues, except while a stop of
/// all has it.
#[derive(Default)]
struct Queues {
    list: Vec<(u64, Weak<dyn Member>)>,
    last_number: u64,
    /// Where a stop of all keeps the queues: memory that is there when it is needed.
    spare: Vec<Arc<dyn Member>>,
    /// Somebody has stopped all.
    all_stopped: bool,
    /// Queues made meanwhile: stopped, too.
    born_stopped: Vec<Arc<dyn Member>>,
}

impl Scope {
    pub(super) fn new(name: &str, timeout: Timeout, desk: Option<Desk>) -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            name: name.into(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            timeout,
            unbound: AtomicBool::new(false),
            gone: AtomicI32::new(0),
            queues: Mutex::default(),
            stop: StopLock::default(),
            desk,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn timeout(&self) -> Timeout {
        self.timeout
    }

    /// Where recovery is asked for, if the device has one.
    pub(crate) fn desk(&self) -> Option<&Desk> {
        self.desk.as_ref()
    }

    pub(super) fn is_unbound(&self) -> bool {
        self.unbound.load(Ordering::Acquire)
    }

    pub(super) fn set_unbound(&self) {
        self.unbound.store(true, Ordering::Release);
    }

    /// Ends every job of every queue with `error`; no queue is made any more.
    pub(crate) fn set_gone(&self, error: Errno) {
        // Queues made from here on are refused; those made before are in the list.
        self.gone.store(error.get(), Ordering::Release);
        let mut last = 0;
        while let Some((number, queue)) = self.queue_after(last) {
            last = number;
            queue.kill(error);
        }
    }

    /// Adds a queue, unless the scope has ended. Allocates.
    pub(crate) fn add(&self, queue: &Arc<dyn Member>) -> Result<(), Refused> {
        let mut queues = self.queues.lock();
        if self.is_unbound() {
            return Err(Refused::Unbound);
        }
        if let Some(error) = Errno::new(self.gone.load(Ordering::Acquire)) {
            return Err(Refused::Gone(error));
        }
        if queues.list.len() == queues.list.capacity() {
            queues.list.retain(|(_, queue)| queue.strong_count() > 0);
        }
        queues.last_number += 1;
        let number = queues.last_number;
        queues.list.push((number, Arc::downgrade(queue)));
        let room = queues.list.len();
        if queues.spare.capacity() < room {
            // Twice as much as is needed: not again for every queue.
            queues.spare = Vec::with_capacity(2 * room);
        }
        if let Some(desk) = &self.desk {
            desk.add(queue.context());
        }
        if queues.all_stopped && Arc::clone(queue).hold_still().is_ok() {
            queues.born_stopped.push(Arc::clone(queue));
        }
        Ok(())
    }

    /// The queue is gone.
    pub(crate) fn remove(&self, context: u64) {
        if let Some(desk) = &self.desk {
            desk.remove(context);
        }
    }

    /// The first queue with a number above `last`. Numbers start at 1.
    pub(crate) fn queue_after(&self, last: u64) -> Option<(u64, Arc<dyn Member>)> {
        let queues = self.queues.lock();
        let first = queues.list.partition_point(|(number, _)| *number <= last);
        let mut later = queues.list.iter().skip(first);
        later.find_map(|(number, queue)| Some((*number, queue.upgrade()?)))
    }

    /// Takes the right to stop queues of this device. Waits until nobody else has it.
    pub(crate) fn hold(self: &Arc<Self>) -> Result<Hold, StopError> {
        if callback::inside(self.id) || fence::in_callback() {
            return Err(StopError::InCallback);
        }
        crate::section::might_sleep("stop");
        if !self.stop.take() {
            return Err(StopError::Nested);
        }
        let hold = Hold {
            scope: Arc::clone(self),
        };
        if self.is_unbound() {
            return Err(StopError::Unbound);
        }
        Ok(hold)
    }

    /// As [`Scope::hold`], for unbind.
    pub(super) fn hold_to_unbind(self: &Arc<Self>) -> Option<Hold> {
        self.stop.take().then(|| Hold {
            scope: Arc::clone(self),
        })
    }

    /// True if this thread has stopped queues of this device.
    pub(crate) fn is_held_here(&self) -> bool {
        self.stop.is_held_here()
    }

    /// Takes the list of all queues into memory that is there already; those made from now on are
    /// born stopped.
    pub(crate) fn take_all(&self) -> Vec<Arc<dyn Member>> {
        let mut queues = self.queues.lock();
        queues.all_stopped = true;
        let mut all = std::mem::take(&mut queues.spare);
        all.extend(queues.list.iter().filter_map(|(_, queue)| queue.upgrade()));
        all
    }

    /// Queues made from now on are born running. Returns those born stopped.
    pub(crate) fn let_all_go(&self, mut all: Vec<Arc<dyn Member>>) -> Vec<Arc<dyn Member>> {
        all.clear();
        let mut queues = self.queues.lock();
        queues.all_stopped = false;
        if queues.spare.capacity() < all.capacity() {
            std::mem::swap(&mut queues.spare, &mut all);
        }
        let born = std::mem::take(&mut queues.born_stopped);
        drop(queues);
        born
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if let Some(desk) = &self.desk {
            desk.end();
        }
    }
}

/// Why a queue could not be added.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refused {
    Unbound,
    Gone(Errno),
}

/// The right to stop queues of one device, until dropped.
pub(crate) struct Hold {
    scope: Arc<Scope>,
}

impl Hold {
    pub(crate) fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.scope.stop.give();
    }
}

/// Who has stopped queues of a device: one thread at a time, so that recoveries of one device
/// never overlap, whoever begins them.
#[derive(Default)]
struct StopLock {
    /// The mark of the thread, or 0.
    holder: Mutex<usize>,
    free: Condvar,
}

crate::sync::thread_cell! {
    // Its address tells threads that live at the same time apart.
    static MARK: Cell<u8> = Cell::new(0);
}

fn this_thread() -> usize {
    MARK.with(|mark| std::ptr::from_ref(mark) as usize)
}

impl StopLock {
    /// Sleeps. False if this thread has it.
    fn take(&self) -> bool {
        let this = this_thread();
        let mut holder = self.holder.lock();
        if *holder == this {
            return false;
        }
        while *holder != 0 {
            holder = self.free.wait(holder);
        }
        *holder = this;
        true
    }

    fn give(&self) {
        *self.holder.lock() = 0;
        self.free.notify_one();
    }

    fn is_held_here(&self) -> bool {
        *self.holder.lock() == this_thread()
    }
}
