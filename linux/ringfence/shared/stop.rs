// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a stop does to one queue, and the queue as its device sees it.

use core::any::TypeId;
use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use ringfence_core::{self as core_queue, Attempt, Context, Entry, JobId, Standing, Walked};

use super::{Ref, Shared, State};
use crate::clock::{monotonic, LazyNow};
use crate::device::{Member, Place};
use crate::driver::{Driver, Replay};
use crate::job::Job;
use crate::section::SignallingSection;
use crate::stop::{Guilt, Recovered, Replayed, Rest, StopError, StopGuard};
use crate::sys;
use crate::Errno;

impl<D: Driver> Member for Shared<D> {
    fn name(&self) -> &str {
        self.queue_name()
    }

    fn context(&self) -> u64 {
        self.timeline.context()
    }

    fn place(&self) -> &Place {
        &self.place
    }

    fn try_get(&self) -> bool {
        self.take_count()
    }

    unsafe fn put(&self) {
        self.give_back();
    }

    fn wants_recovery(&self) -> Option<u64> {
        self.lock().core.wants_recovery().map(JobId::seqno)
    }

    fn is_inside_callback(&self) -> bool {
        // SAFETY: A thread has itself.
        self.inside.load(Relaxed) == unsafe { sys::ringfence_current() }
    }

    fn hold_still(&self) -> Result<(), StopError> {
        if self.recovery_here() {
            // Whatever was requested is being dealt with. What comes from now on counts anew.
            self.place.take_request();
        }
        self.borrowed(|queue| {
            queue.change(queue.context_here(Context::Task), |state| {
                if state.driver_goes {
                    return Err(StopError::Closed);
                }
                if state.core.stop(monotonic()).is_err() {
                    // Kept from happening by the device's one stop.
                    return Err(StopError::Nested);
                }
                queue.interrupt.store(1, Relaxed);
                Ok(())
            })
        })
    }

    fn await_quiet(&self) {
        let state = self.lock();
        let mut state = self.wait_outside(state, |state| !state.core.is_quiet());
        state.wish = state.wish();
    }

    fn restart(&self) {
        self.borrowed(|queue| {
            queue.settle();
            // A recovery that leaves the job for which it was called has decided so. Anybody else
            // wanted something else: the wish went with the stop, so the driver is asked once more.
            let call = queue.scope.recovering_here();
            let decided = |job: JobId| call == Some((queue.context(), Some(job.seqno())));
            queue.change(queue.context_here(Context::Task), |state| {
                let wish = state.wish.take();
                let untouched = wish.filter(|wish| Some(*wish) == state.wish());
                let started = state.core.start(monotonic());
                debug_assert!(started.is_ok());
                if untouched.is_some_and(|(job, _)| !decided(job)) {
                    state.core.trigger_timeout();
                }
            });
        });
    }

    fn recover(&self, guilty: Guilt<'_>, rest: Rest) -> Recovered {
        self.borrowed(|queue| StopGuard::view(queue.clone()).recover_by(guilty, rest))
    }

    fn strike(&self) -> Standing {
        self.borrowed(|queue| queue.event_here(|core| core.strike(LazyNow::new())))
    }

    fn kill(&self, error: Errno) {
        self.borrowed(|queue| queue.urgent_event(|core| core.kill(error)));
    }

    fn begin_unbind(&self, error: Errno) {
        self.borrowed(|queue| queue.urgent_event(|core| core.unbind(error)));
    }

    fn finish_unbind(&self) {
        let state = self.wait_outside(self.lock(), |state| {
            state.core.driver_is_inside() || state.driver_leaving
        });
        // In the same hold: nobody takes the value between the last look and this.
        self.let_driver_go(state);
    }

    fn is_over(&self) -> bool {
        self.lock().driver_goes
    }

    fn snapshot(&self, out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        let entries = self.lock().core.capacity() as usize;
        let Some(copy) = copy_of(self, entries) else {
            return writeln!(out, "queue {}: no memory to look at it", self.queue_name());
        };
        let snapshot = copy.snapshot(self.queue_name(), monotonic());
        write!(out, "{}", snapshot.with_events())
    }

    fn driver_type(&self) -> TypeId {
        TypeId::of::<D>()
    }
}

/// Core's queue as it is now, in memory of its own: the lock is held for the copy only.
fn copy_of<D: Driver>(queue: &Shared<D>, entries: usize) -> Option<core_queue::Queue<Entries>> {
    let mut memory = KVVec::with_capacity(entries, GFP_KERNEL).ok()?;
    for _ in 0..entries {
        memory.push(Entry::FREE, GFP_KERNEL).ok()?;
    }
    // `None` if it has grown meanwhile, which happens a few times in a queue's life.
    queue.lock().core.copy_into(Entries(memory))
}

struct Entries(KVVec<Entry>);

impl AsRef<[Entry]> for Entries {
    fn as_ref(&self) -> &[Entry] {
        &self.0
    }
}

impl AsMut<[Entry]> for Entries {
    fn as_mut(&mut self) -> &mut [Entry] {
        &mut self.0
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
    /// True on the thread that is in a call of the device's recovery.
    fn recovery_here(&self) -> bool {
        self.scope.recovering_here().is_some()
    }

    /// The driver's value, for who has stopped the queue and found it quiet.
    pub(crate) fn driver_while_stopped(&self) -> NonNull<D> {
        // SAFETY: Core hands out no callback, and the value is not let go of while the queue is
        // stopped: `hold_still` has seen that it stays.
        match unsafe { &mut *self.driver.get() } {
            Some(driver) => NonNull::from(driver),
            None => unreachable!(),
        }
    }
}

impl<D: Driver> Ref<D> {
    /// Answers a loan of the walk. False if the job had ended by itself.
    pub(crate) fn walked(&self, job: JobId, what: Walked) -> bool {
        self.change(self.context_here(Context::Task), |state| {
            state.lent = None;
            let pending = state.core.state(job) == core_queue::State::Pending;
            let answered = state.core.walked(job, what, LazyNow::new());
            debug_assert!(answered.is_ok());
            pending
        })
    }

    /// Takes back a loan whose holder was forgotten.
    pub(crate) fn settle(&self) {
        let lent = self.lock().lent;
        if let Some(job) = lent {
            self.walked(job, Walked::Keep);
        }
    }

    /// Has the driver put a job that the walk lent on the hardware again. Answers the loan.
    ///
    /// # Safety
    ///
    /// The caller has stopped the queue, `driver` is the driver's value, and core has lent it the
    /// job.
    pub(crate) unsafe fn replay(
        &self,
        driver: &mut D,
        id: JobId,
        job: NonNull<Job<D>>,
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
        let job = job.as_ptr();
        // SAFETY: The job is lent to the caller, who lends it on.
        let (payload, data, cost) =
            unsafe { (&mut (*job).payload, &mut (*job).replay_data, (*job).cost) };
        let outcome = match data {
            Some(data) => {
                let replay = Replay {
                    queue: self,
                    id,
                    attempt,
                    cost,
                    payload,
                    data,
                };
                let _section = SignallingSection::enter();
                self.inside(|| driver.replay(replay).0)
            }
            None => {
                debug_assert!(false, "a job on the hardware has what run left");
                core_queue::ReplayOutcome::Failed(Errno::ENODATA)
            }
        };
        self.event_here(|core| {
            let ended = core.state(id) != core_queue::State::Pending;
            let answered = core.replay_returned(id, outcome);
            debug_assert!(answered.is_ok());
            match outcome {
                _ if ended => Replayed::Ended,
                core_queue::ReplayOutcome::Pending => Replayed::Pending,
                core_queue::ReplayOutcome::Done => Replayed::Done,
                core_queue::ReplayOutcome::Failed(error) => Replayed::Failed(error),
            }
        })
    }

    /// Ends a job for which core allows no further attempt.
    fn cannot_replay(&self, id: JobId, refused: core_queue::Refused) -> Replayed {
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
}
