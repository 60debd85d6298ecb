// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a stop does to one queue, and the queue as its device sees it.

use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::NonNull;
use std::sync::Arc;

use ringfence_core::{self as core_queue, Attempt, Context, JobId, Standing, Visit, Walked};

use super::{Core, Shared, State};
use crate::clock::{monotonic, LazyNow};
use crate::device::{callback, Member};
use crate::driver::{Driver, Replay};
use crate::job::Job;
use crate::observe::EventKind;
use crate::section::SignallingSection;
use crate::stop::{Guilt, Recovered, Replayed, Rest, StopError, StopGuard};
use crate::sync::atomic::Ordering;
use crate::sync::SpinGuard;
use crate::Errno;

impl<D: Driver> Member for Shared<D> {
    fn name(&self) -> &str {
        &self.name
    }

    fn context(&self) -> u64 {
        self.timeline.context()
    }

    fn wants_recovery(&self) -> Option<u64> {
        self.lock().core.wants_recovery().map(JobId::seqno)
    }

    fn hold_still(self: Arc<Self>) -> Result<(), StopError> {
        if let (Some(desk), Some(_)) = (self.scope.desk(), self.recovery_here()) {
            // Whatever was requested is being dealt with. What comes from now on counts anew.
            desk.take_request(self.context());
        }
        let mut state = self.lock();
        if state.driver_goes {
            return Err(StopError::Closed);
        }
        if state.core.stop(monotonic()).is_err() {
            // Kept from happening by the device's one stop.
            return Err(StopError::Nested);
        }
        self.interrupt.store(true, Ordering::Relaxed);
        let context = self.context_here(Context::Task);
        self.visit(state, &mut Visit::new(context));
        Ok(())
    }

    fn await_quiet(&self) {
        let state = self.lock();
        let mut state = self.wait_outside(state, |state| !state.core.is_quiet());
        state.wish = state.wish();
    }

    fn restart(self: Arc<Self>) {
        self.settle();
        let context = self.context_here(Context::Task);
        let mut state = self.lock();
        let wish = state.wish.take();
        let untouched = wish.filter(|wish| Some(*wish) == state.wish());
        let started = state.core.start(monotonic());
        debug_assert_eq!(started, Ok(()));
        // A recovery that leaves the job for which it was called has decided so. Anybody else wanted
        // something else: the wish went with the stop, so the driver is asked once more.
        let decided = |job: JobId| {
            self.recovery_here().is_some_and(|call| {
                (call.context, call.seqno) == (self.context(), Some(job.seqno()))
            })
        };
        if untouched.is_some_and(|(job, _)| !decided(job)) {
            state.core.trigger_timeout();
        }
        self.visit(state, &mut Visit::new(context));
    }

    fn recover(self: Arc<Self>, guilty: Guilt<'_>, rest: Rest) -> Recovered {
        StopGuard::view(self).recover_by(guilty, rest)
    }

    fn strike(self: Arc<Self>) -> Standing {
        self.event_here(|core| core.strike(LazyNow::new()))
    }

    fn kill(self: Arc<Self>, error: Errno) {
        self.urgent_event(|core| core.kill(error));
    }

    fn begin_unbind(self: Arc<Self>, error: Errno) {
        self.urgent_event(|core| core.unbind(error));
    }

    fn finish_unbind(self: Arc<Self>) {
        let state = self.lock();
        let state = self.wait_outside(state, |state| {
            state.core.driver_is_inside() || state.driver_leaving
        });
        // In the same hold: nobody takes the value between the last look and this.
        self.let_driver_go(state);
    }

    fn is_over(&self) -> bool {
        self.lock().driver_goes
    }

    fn any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<D: Driver> State<D> {
    /// The job because of which a recovery is wanted, and which time it is on the hardware, while
    /// it is there.
    fn wish(&self) -> Option<(JobId, Attempt)> {
        let job = self.core.wants_recovery()?;
        let pending = self.core.state(job) == core_queue::State::Pending;
        pending.then(|| Some((job, self.core.attempt(job)?)))?
    }
}

impl<D: Driver> Shared<D> {
    /// The call of the device's recovery that this thread is in.
    fn recovery_here(&self) -> Option<callback::Call> {
        callback::recovering(self.scope.id())
    }

    /// Feeds one event from a thread that may sleep.
    pub(crate) fn event_here<R>(self: &Arc<Self>, event: impl FnOnce(&mut Core<D>) -> R) -> R {
        self.event(self.context_here(Context::Task), event)
    }

    /// Does what follows from what was done under the lock.
    pub(crate) fn visit_here<'a>(self: &'a Arc<Self>, state: SpinGuard<'a, State<D>>) {
        let context = self.context_here(Context::Task);
        self.visit(state, &mut Visit::new(context));
    }

    /// Answers a loan of the walk. False if the job had ended by itself.
    pub(crate) fn walked(self: &Arc<Self>, job: JobId, what: Walked) -> bool {
        let mut state = self.lock();
        state.lent = None;
        let pending = state.core.state(job) == core_queue::State::Pending;
        let answered = state.core.walked(job, what, LazyNow::new());
        debug_assert_eq!(answered, Ok(()));
        self.visit_here(state);
        pending
    }

    /// Takes back a loan whose holder was forgotten.
    pub(crate) fn settle(self: &Arc<Self>) {
        let lent = self.lock().lent;
        if let Some(job) = lent {
            self.walked(job, Walked::Keep);
        }
    }

    /// The driver's value, for who has stopped the queue and found it quiet.
    pub(crate) fn driver_while_stopped(&self) -> NonNull<D> {
        // SAFETY: Core hands out no callback, and the value is not let go of while the queue is
        // stopped: `hold_still` has seen that it stays.
        match unsafe { &mut *self.driver.get() } {
            Some(driver) => NonNull::from(driver),
            None => unreachable!("a stopped queue has its driver"),
        }
    }

    /// Has the driver put a job that the walk lent on the hardware again. Answers the loan.
    ///
    /// # Safety
    ///
    /// The caller has stopped the queue, `driver` is the driver's value, and core has lent it the
    /// job.
    pub(crate) unsafe fn replay(
        self: &Arc<Self>,
        driver: &mut D,
        id: JobId,
        job: &Job<D>,
    ) -> Replayed {
        let mut state = self.lock();
        let begun = state.core.replay(id);
        if begun.is_ok() {
            // Answered in any case.
            state.lent = None;
        }
        drop(state);
        let attempt = match begun {
            Ok(attempt) => attempt,
            Err(refused) => return self.cannot_replay(id, refused),
        };
        // SAFETY: The job is lent to the caller, who lends its cargo on.
        let outcome = unsafe { self.call_replay(driver, id, attempt, job) };
        self.event_here(|core| {
            let poisoned = outcome.is_none();
            let outcome = outcome.unwrap_or(core_queue::ReplayOutcome::Failed(Errno::EOWNERDEAD));
            let ended = core.state(id) != core_queue::State::Pending;
            let answered = core.replay_returned(id, outcome);
            debug_assert_eq!(answered, Ok(()));
            if poisoned {
                core.kill(Errno::EOWNERDEAD);
            }
            match outcome {
                _ if ended => Replayed::Ended,
                core_queue::ReplayOutcome::Pending => Replayed::Pending,
                core_queue::ReplayOutcome::Done => Replayed::Done,
                core_queue::ReplayOutcome::Failed(error) => Replayed::Failed(error),
            }
        })
    }

    /// Ends a job for which core allows no further attempt.
    fn cannot_replay(self: &Arc<Self>, id: JobId, refused: core_queue::Refused) -> Replayed {
        let error = match refused {
            core_queue::Refused::Overdue => Errno::ETIME,
            core_queue::Refused::Count => Errno::ECANCELED,
            // It has ended: core says so to nothing else that this host asks.
            _ => {
                self.walked(id, Walked::Keep);
                return Replayed::Ended;
            }
        };
        match self.walked(id, Walked::End(core_queue::Outcome::Failed(error))) {
            true => Replayed::Failed(error),
            false => Replayed::Ended,
        }
    }

    /// `None` if it panicked.
    ///
    /// # Safety
    ///
    /// The caller has the job's cargo.
    unsafe fn call_replay(
        self: &Arc<Self>,
        driver: &mut D,
        id: JobId,
        attempt: Attempt,
        job: &Job<D>,
    ) -> Option<core_queue::ReplayOutcome> {
        // SAFETY: The caller has it.
        let (cargo, data) = unsafe { (job.cargo(), job.replay_data()) };
        let (Some(cargo), Some(data)) = (cargo, data) else {
            debug_assert!(
                false,
                "a job on the hardware has its cargo and what run left"
            );
            return Some(core_queue::ReplayOutcome::Failed(Errno::ENODATA));
        };
        let replay = Replay {
            queue: self,
            id,
            attempt,
            cost: job.cost,
            payload: &mut cargo.payload,
            data,
        };
        let answer = callback::enter(self.scope.id(), || {
            let _section = SignallingSection::enter();
            self.observe(id, EventKind::Replay { attempt }, None);
            catch_unwind(AssertUnwindSafe(|| driver.replay(replay).0))
        });
        if answer.is_err() {
            self.tell_poisoned("replay");
        }
        answer.ok()
    }
}
