// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The end of a queue: unbind, letting go of the driver, and the last resort.

use std::panic::{catch_unwind, AssertUnwindSafe};

use super::{Shared, State};
use crate::clock::monotonic;
use crate::device::callback;
use crate::driver::Driver;
use crate::sync::SpinGuard;
use crate::Errno;

impl<D: Driver> Shared<D> {
    /// Waits while `wait` says so, which changes when the driver comes out. Sleeps.
    pub(super) fn wait_outside<'a>(
        &'a self,
        mut state: SpinGuard<'a, State<D>>,
        wait: impl Fn(&State<D>) -> bool,
    ) -> SpinGuard<'a, State<D>> {
        while wait(&state) {
            state.waiting_outside += 1;
            let seen = self.outside.current();
            drop(state);
            self.outside.wait(seen, None);
            state = self.lock();
            state.waiting_outside -= 1;
        }
        state
    }

    /// Drops the driver's value, once, where no driver callback can come any more: core is
    /// unbound and the driver is not inside, or the queue is closed and empty. Then the gate is told.
    pub(super) fn let_driver_go<'a>(&'a self, mut state: SpinGuard<'a, State<D>>) {
        // SAFETY: No callback uses the value, says the caller, and the lock lets one thread take
        // it.
        let driver = unsafe { (*self.driver.get()).take() };
        if driver.is_none() {
            return;
        }
        state.driver_leaving = true;
        state.driver_goes = true;
        drop(state);
        // As in a callback: its drop must not unbind, and so wait for itself. If it panics, it
        // has said so.
        let _panic = catch_unwind(AssertUnwindSafe(|| {
            callback::enter(self.scope.id(), || drop(driver));
        }));
        let mut state = self.lock();
        state.driver_leaving = false;
        self.tell_outside(&state);
        self.detach(state);
    }

    /// Wakes those who wait for the driver to be outside, where it is.
    #[inline]
    pub(super) fn tell_outside(&self, state: &State<D>) {
        if state.waiting_outside == 0 {
            return;
        }
        if !state.core.driver_is_inside() && !state.driver_leaving {
            self.outside.notify_all();
        }
    }
}

impl<D: Driver> Drop for Shared<D> {
    fn drop(&mut self) {
        self.scope.remove(self.context());
        self.executor.unregister(self.place);
        self.signal_what_is_left();
        self.detach(self.lock());
    }
}

impl<D: Driver> Shared<D> {
    /// The last resort: an executor that was shut down has left jobs behind. Nobody may wait for
    /// them for ever.
    fn signal_what_is_left(&self) {
        let state = self.lock();
        if state.core.is_empty() {
            return;
        }
        eprintln!(
            "ringfence: queue {} went away with {} jobs: they end with ECANCELED",
            self.name,
            state.core.len()
        );
        let now = monotonic().as_ns();
        for id in state.core.jobs() {
            if let Some(job) = state.job(id).filter(|job| job.fence().decided().is_none()) {
                job.fence().signal(Err(Errno::ECANCELED), now);
            }
        }
    }
}
