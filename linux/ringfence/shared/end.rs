// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The end of a queue: letting go of the driver, telling who waits, and of its memory.

use kernel::prelude::*;
use kernel::sync::atomic::Acquire;

use super::{Ref, Shared, State};
use crate::driver::Driver;
use crate::lock::Guard;
use crate::sys;

impl<D: Driver> Ref<D> {
    /// No driver callback comes any more: lets go of the driver, and says that it is over.
    pub(super) fn tell_closed(&self) {
        self.let_driver_go(self.state.lock());
        let mut state = self.state.lock();
        state.over = true;
        let closed = state.closed.take();
        drop(state);
        self.wake_outside();
        if let Some(closed) = closed {
            closed.signal(Ok(()));
        }
    }
}

impl<D: Driver> Shared<D> {
    /// Waits while `wait` says so, which changes when the driver comes out. Sleeps.
    pub(super) fn wait_outside<'a>(
        &'a self,
        mut state: Guard<'a, State<D>>,
        wait: impl Fn(&State<D>) -> bool,
    ) -> Guard<'a, State<D>> {
        while wait(&state) {
            state.waiting_outside += 1;
            let seen = self.outside.load(Acquire);
            drop(state);
            // SAFETY: The variable is there as long as the queue, of which the caller has a count.
            unsafe { sys::ringfence_wait_var(self.outside.as_ptr(), seen) };
            state = self.state.lock();
            state.waiting_outside -= 1;
        }
        state
    }

    /// Waits until the queue is closed and has no job left. Sleeps.
    pub(crate) fn wait_until_over(&self) {
        drop(self.wait_outside(self.state.lock(), |state| !state.over));
    }

    /// Drops the driver's value, once, where no driver callback can come any more: core is unbound
    /// and the driver is not inside, or the queue is closed and empty.
    pub(super) fn let_driver_go<'a>(&'a self, mut state: Guard<'a, State<D>>) {
        // SAFETY: No callback uses the value, says the caller, and the lock lets one thread take
        // it.
        let driver = unsafe { (*self.driver.get()).take() };
        if driver.is_none() {
            return;
        }
        state.driver_leaving = true;
        state.driver_goes = true;
        drop(state);
        drop(driver);
        let mut state = self.state.lock();
        state.driver_leaving = false;
        self.tell_outside(&state);
    }
}

/// The queue's last count has gone. In a thread that may sleep.
///
/// # Safety
///
/// Called once, for a queue without a count.
pub(super) unsafe extern "C" fn end<D: Driver>(end: *mut sys::End) {
    let offset = core::mem::offset_of!(Shared<D>, end);
    // SAFETY: It lies in the queue's inside.
    let shared = unsafe { Shared::<D>::around(end.cast(), offset) };
    // SAFETY: Nobody else frees it.
    let this = unsafe { shared.as_ref() };
    let was_added = this.scope.remove(this);
    // SAFETY: Both were initialised. Work that is running may have given back the last count.
    unsafe {
        sys::ringfence_work_cancel_sync(this.executor.raw(), this.work.get());
        sys::ringfence_timer_shutdown_sync(this.timer.get());
    }
    let mut state = this.state.lock();
    debug_assert!(state.core.is_empty(), "jobs keep their queue");
    let closed = state.closed.take();
    drop(state);
    if let Some(closed) = closed {
        // A queue that was stopped until the end was not told that it is closed.
        closed.signal(Ok(()));
    }
    let scope = this.scope.clone();
    // SAFETY: It came out of a box, and nobody has it any more: it is off the device's list.
    drop(unsafe { KBox::from_raw(shared.as_ptr()) });
    if was_added {
        scope.queue_is_gone();
    }
}
