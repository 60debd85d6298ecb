// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the queues of one device share: the list of them, and the one stop there may be at a time.

use core::any::TypeId;
use core::cell::UnsafeCell;
use core::ops::Deref;
use core::ptr::NonNull;

use kernel::ffi::c_void;
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed, Release};
use kernel::sync::Arc;
use ringfence_core::{Errno, Standing, Timeout};

use crate::fence::Timeline;
use crate::lock::Lock;
use crate::recovery::{Desk, RequestError};
use crate::stop::{Guilt, Recovered, Rest, StopError};
use crate::sys;

/// A queue as its device sees it, whatever its driver.
pub(crate) trait Member: Send + Sync {
    fn name(&self) -> &str;
    fn context(&self) -> u64;

    /// Its place in the device's list.
    fn place(&self) -> &Place;

    /// Takes a count, unless there is none any more.
    fn try_get(&self) -> bool;

    /// Gives a count back.
    ///
    /// # Safety
    ///
    /// The caller has one.
    unsafe fn put(&self);

    /// The job because of which its driver wants a recovery.
    fn wants_recovery(&self) -> Option<u64>;

    /// True once the queue has let go of its driver, or is about to.
    fn is_over(&self) -> bool;

    /// True on a thread that is in a driver callback of this queue.
    fn is_inside_callback(&self) -> bool;

    /// Lets no driver callback begin. Who calls holds the device's right to stop.
    fn hold_still(&self) -> Result<(), StopError>;

    /// Waits until no driver callback runs. Sleeps.
    fn await_quiet(&self);

    /// Takes [`Member::hold_still`] back.
    fn restart(&self);

    /// The ready-made policy, for a queue that is quiet.
    fn recover(&self, guilty: Guilt<'_>, rest: Rest) -> Recovered;

    fn strike(&self) -> Standing;
    fn kill(&self, error: Errno);

    /// Ends all jobs with `error`, lets no callback begin.
    fn begin_unbind(&self, error: Errno);

    /// Waits until no callback runs, and drops the driver's value.
    fn finish_unbind(&self);

    /// Prints the queue and its jobs.
    fn snapshot(&self, out: &mut dyn core::fmt::Write) -> core::fmt::Result;

    /// The driver's type.
    fn driver_type(&self) -> TypeId;
}

/// A queue's link in its device's list, and what its device knows of it.
pub(crate) struct Place {
    links: UnsafeCell<Links>,
    /// Somebody has asked for a recovery.
    requested: Atomic<i32>,
}

/// # Invariants
///
/// Read and changed under the scope's lock.
struct Links {
    number: u64,
    previous: Option<NonNull<dyn Member>>,
    next: Option<NonNull<dyn Member>>,
    /// A stop of all has stopped it.
    held: bool,
}

// SAFETY: The links are used under the scope's lock.
unsafe impl Sync for Place {}
// SAFETY: As above.
unsafe impl Send for Place {}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            links: UnsafeCell::new(Links {
                number: 0,
                previous: None,
                next: None,
                held: false,
            }),
            requested: Atomic::new(0),
        }
    }

    /// Takes back what was requested for the queue, as it is being dealt with.
    pub(crate) fn take_request(&self) -> bool {
        self.requested.xchg(0, Full) != 0
    }
}

/// A count on a queue of any driver's.
pub(crate) struct MemberRef(NonNull<dyn Member>);

// SAFETY: Members are `Send` and `Sync`.
unsafe impl Send for MemberRef {}
// SAFETY: As above.
unsafe impl Sync for MemberRef {}

impl MemberRef {
    /// The same, with the address only.
    pub(crate) fn address(&self) -> *const () {
        self.0.as_ptr().cast_const().cast()
    }
}

impl Deref for MemberRef {
    type Target = dyn Member;

    fn deref(&self) -> &(dyn Member + 'static) {
        // SAFETY: The count keeps it.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for MemberRef {
    fn drop(&mut self) {
        // SAFETY: It is this one's count.
        unsafe { self.0.as_ref().put() };
    }
}

/// The span in which the driver callbacks of one device may run.
pub(crate) struct Scope {
    /// For the device's name; it makes no fences.
    name: Timeline,
    timeout: Timeout,
    unbound: Atomic<i32>,
    /// The error with which the device went, or 0.
    gone: Atomic<i32>,
    /// Queues whose memory is there.
    live: Atomic<i32>,
    /// Goes up when a queue's memory has gone, or the right to stop has been given back.
    changes: Atomic<u32>,
    /// Who has the right to stop, as a task, or null.
    holder: Atomic<*mut c_void>,
    list: Lock<List>,
    desk: Option<Desk>,
}

#[derive(Default)]
struct List {
    first: Option<NonNull<dyn Member>>,
    last: Option<NonNull<dyn Member>>,
    last_number: u64,
    /// Somebody has stopped all: queues made meanwhile are stopped, too.
    all_stopped: bool,
}

// SAFETY: Pointers to members, which are `Send` and `Sync`.
unsafe impl Send for List {}

impl List {
    /// Adds a new queue at the end.
    fn append(&mut self, queue: NonNull<dyn Member>, held: bool) {
        self.last_number += 1;
        // SAFETY: The queue is new, and a list is only changed under its lock.
        unsafe {
            let place = links(queue);
            place.number = self.last_number;
            place.previous = self.last;
            place.held = held;
            match self.last {
                Some(last) => links(last).next = Some(queue),
                None => self.first = Some(queue),
            }
        }
        self.last = Some(queue);
    }
}

/// Why a queue could not be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
        self.scope.give_hold();
    }
}

fn current() -> *mut c_void {
    // SAFETY: A thread has itself.
    unsafe { sys::ringfence_current() }
}

impl Scope {
    pub(super) fn new(name: &CStr, timeout: Timeout, desk: Option<Desk>) -> Result<Arc<Self>> {
        let scope = Self {
            name: Timeline::new(name, name, GFP_KERNEL)?,
            timeout,
            unbound: Atomic::new(0),
            gone: Atomic::new(0),
            live: Atomic::new(0),
            changes: Atomic::new(0),
            holder: Atomic::new(core::ptr::null_mut()),
            list: Lock::new(List::default()),
            desk,
        };
        let scope = Arc::new(scope, GFP_KERNEL)?;
        if let Some(desk) = &scope.desk {
            desk.open(&scope);
        }
        Ok(scope)
    }

    pub(crate) fn name(&self) -> &str {
        self.name.name()
    }

    pub(crate) fn name_ptr(&self) -> *const kernel::ffi::c_char {
        self.name.name_ptr()
    }

    pub(crate) fn c_name(&self) -> &CStr {
        self.name.c_name()
    }

    pub(crate) fn timeout(&self) -> Timeout {
        self.timeout
    }

    pub(super) fn is_unbound(&self) -> bool {
        self.unbound.load(Acquire) != 0
    }

    pub(super) fn set_unbound(&self) {
        self.unbound.store(1, Release);
    }

    pub(crate) fn has_recovery(&self) -> bool {
        self.desk.as_ref().is_some_and(Desk::is_open)
    }

    /// Has the recovery look which queues want it. Any context.
    pub(crate) fn wake_recovery(&self) {
        if let Some(desk) = &self.desk {
            desk.wake();
        }
    }

    pub(super) fn end_recovery(&self) {
        if let Some(desk) = &self.desk {
            desk.end_and_wait();
        }
    }

    /// True on the thread that runs the device's recovery.
    pub(crate) fn recovering_here(&self) -> Option<(u64, Option<u64>)> {
        self.desk.as_ref()?.call_here()
    }

    pub(super) fn request_recovery(&self, context: u64) -> Result<(), RequestError> {
        if !self.has_recovery() {
            return Err(RequestError::NoRecovery);
        }
        let list = self.list.lock();
        let mut at = list.first;
        while let Some(member) = at {
            // SAFETY: It is in the list, whose lock is held.
            let (member, next) = unsafe { (member.as_ref(), links(member).next) };
            if member.context() == context {
                member.place().requested.store(1, Release);
                drop(list);
                self.wake_recovery();
                return Ok(());
            }
            at = next;
        }
        Err(RequestError::NoSuchQueue)
    }

    /// Ends every job of every queue with `error`; no queue is made any more.
    pub(crate) fn set_gone(&self, error: Errno) {
        // Queues made from here on are refused; those made before are in the list.
        self.gone.store(error.get(), Release);
        self.for_each(|queue| queue.kill(error));
    }

    /// Adds a queue, unless the scope has ended. Its memory is counted until
    /// [`Scope::queue_is_gone`].
    ///
    /// A queue that is made while all are stopped is stopped before anybody finds it, so that
    /// whoever ends that stop also starts this one. It has no job, and so is quiet at once.
    pub(crate) fn add(&self, queue: NonNull<dyn Member>) -> Result<(), Refused> {
        // SAFETY: The caller has the queue.
        let member = unsafe { queue.as_ref() };
        let mut stopped = false;
        loop {
            let mut list = self.list.lock();
            if self.is_unbound() {
                return Err(Refused::Unbound);
            }
            if let Some(error) = Errno::new(self.gone.load(Acquire)) {
                return Err(Refused::Gone(error));
            }
            if list.all_stopped == stopped {
                list.append(queue, stopped);
                self.live.add(1, Relaxed);
                return Ok(());
            }
            drop(list);
            if stopped {
                member.restart();
            } else {
                let held = member.hold_still();
                debug_assert!(held.is_ok(), "nobody else knows the queue");
            }
            stopped = !stopped;
        }
    }

    /// The queue is about to go. Nobody finds it any more when this returns. False if it was never
    /// added.
    pub(crate) fn remove(&self, queue: &dyn Member) -> bool {
        let mut list = self.list.lock();
        // SAFETY: The list's lock is held.
        let place = unsafe { &mut *queue.place().links.get() };
        if place.number == 0 {
            return false;
        }
        // SAFETY: As above.
        unsafe {
            match place.previous {
                Some(previous) => links(previous).next = place.next,
                None => list.first = place.next,
            }
            match place.next {
                Some(next) => links(next).previous = place.previous,
                None => list.last = place.previous,
            }
        }
        place.number = 0;
        true
    }

    /// A queue's memory has gone.
    pub(crate) fn queue_is_gone(&self) {
        self.live.fetch_add(-1, Full);
        self.changed();
    }

    /// Waits until the memory of all queues has gone. Sleeps.
    pub(super) fn drain(&self) {
        loop {
            let seen = self.changes.load(Acquire);
            let live = self.live.load(Acquire);
            if live == 0 {
                return;
            }
            let long = 10_000_000_000;
            // SAFETY: The variable is there as long as the scope.
            if !unsafe { sys::ringfence_wait_var_timeout(self.changes.as_ptr(), seen, long) } {
                pr_warn!(
                    "device {} waits for {} queues whose handles or tokens somebody keeps\n",
                    self.name(),
                    live
                );
            }
        }
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Full);
        // SAFETY: The variable's address is only a key.
        unsafe { sys::ringfence_wake_var(self.changes.as_ptr()) };
    }

    /// Calls `each` with every queue that is there, in the order in which they were made, without
    /// the list's lock.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&MemberRef)) {
        let mut last = 0;
        while let Some((number, queue)) = self.queue_after(last) {
            last = number;
            each(&queue);
        }
    }

    /// The first queue with a number above `last` that has not ended. Numbers start at 1.
    pub(crate) fn queue_after(&self, last: u64) -> Option<(u64, MemberRef)> {
        let list = self.list.lock();
        let mut at = list.first;
        while let Some(member) = at {
            // SAFETY: It is in the list, whose lock is held.
            let (queue, place) = unsafe { (member.as_ref(), links(member)) };
            if place.number > last && queue.try_get() {
                return Some((place.number, MemberRef(member)));
            }
            at = place.next;
        }
        None
    }

    pub(super) fn snapshot(&self, out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        let mut last = 0;
        while let Some((number, queue)) = self.queue_after(last) {
            last = number;
            queue.snapshot(out)?;
        }
        Ok(())
    }

    /// True on a thread that is in a driver callback or the recovery of this device.
    pub(crate) fn is_inside_callback(&self) -> bool {
        if self.recovering_here().is_some() {
            return true;
        }
        self.is_inside_driver()
    }

    fn is_inside_driver(&self) -> bool {
        let mut inside = false;
        self.for_each(|queue| inside |= queue.is_inside_callback());
        inside
    }

    /// Takes the right to stop queues of this device. Waits until nobody else has it.
    pub(crate) fn hold(self: &Arc<Self>) -> Result<Hold, StopError> {
        if self.is_inside_driver() {
            return Err(StopError::InCallback);
        }
        // SAFETY: Asks lockdep and the scheduler.
        unsafe { sys::ringfence_might_sleep() };
        if !self.take_hold() {
            return Err(StopError::Nested);
        }
        let hold = Hold {
            scope: self.clone(),
        };
        if self.is_unbound() {
            return Err(StopError::Unbound);
        }
        Ok(hold)
    }

    /// As [`Scope::hold`], for unbind. [`Scope::give_hold`] gives it back.
    pub(super) fn hold_to_unbind(&self) -> bool {
        self.take_hold()
    }

    /// Sleeps. False if this thread has it.
    fn take_hold(&self) -> bool {
        let this = current();
        loop {
            let seen = self.changes.load(Acquire);
            match self.holder.cmpxchg(core::ptr::null_mut(), this, Full) {
                Ok(_) => return true,
                Err(holder) if holder == this => return false,
                // SAFETY: The variable is there as long as the scope.
                Err(_) => unsafe { sys::ringfence_wait_var(self.changes.as_ptr(), seen) },
            }
        }
    }

    pub(super) fn give_hold(&self) {
        self.holder.store(core::ptr::null_mut(), Release);
        self.changed();
    }

    /// True if this thread has stopped queues of this device.
    pub(crate) fn is_held_here(&self) -> bool {
        self.holder.load(Relaxed) == current()
    }

    /// Queues made from now on are born stopped. Marks those that are there as held. Who calls has
    /// the right to stop.
    pub(crate) fn begin_all(&self) {
        let mut list = self.list.lock();
        list.all_stopped = true;
        let mut at = list.first;
        while let Some(member) = at {
            // SAFETY: It is in the list, whose lock is held.
            let place = unsafe { links(member) };
            place.held = true;
            at = place.next;
        }
    }

    /// Queues made from now on are born running.
    pub(crate) fn end_all(&self) {
        self.list.lock().all_stopped = false;
    }

    /// Changes whether a stop of all holds the queue, and says whether it did.
    pub(crate) fn set_held(&self, queue: &MemberRef, held: bool) -> bool {
        let _list = self.list.lock();
        // SAFETY: The list's lock is held.
        core::mem::replace(unsafe { &mut links(queue.0).held }, held)
    }
}

/// A member's links.
///
/// # Safety
///
/// The scope's lock is held for `'a`, and the member is there.
unsafe fn links<'a>(member: NonNull<dyn Member>) -> &'a mut Links {
    // SAFETY: Under the lock, says the caller.
    unsafe { &mut *member.as_ref().place().links.get() }
}
