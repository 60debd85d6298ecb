// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Walking the jobs on the hardware of a stopped queue.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::time::Duration;

use ringfence_core::{Attempt, JobId, Outcome, State, Walked};

use super::Body;
use crate::clock::monotonic;
use crate::driver::Driver;
use crate::job::Job;
use crate::Errno;

/// The jobs on the hardware of a stopped queue, oldest first, one at a time.
pub struct Walk<'guard, D: Driver> {
    body: &'guard mut Body<D>,
    /// Where to look next; `None` at the beginning.
    next: Option<JobId>,
}

impl<D: Driver> fmt::Debug for Walk<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").finish_non_exhaustive()
    }
}

impl<'guard, D: Driver> Walk<'guard, D> {
    pub(super) fn new(body: &'guard mut Body<D>) -> Self {
        Self { body, next: None }
    }

    /// The next job that is on the hardware now.
    // No iterator: what it returns must be let go of before the next call.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<PendingJob<'_, D>> {
        self.body.queue.settle();
        let mut state = self.body.queue.lock();
        let from = self.next.unwrap_or_else(|| state.core.oldest());
        let lent = state.core.walk_from(from);
        debug_assert!(lent.is_ok(), "the queue is quiet and nothing is lent");
        let id = lent.ok().flatten()?;
        let attempt = state.core.attempt(id).unwrap_or(Attempt::FIRST);
        let job = state.job(id).map(|job| NonNull::from(&**job));
        state.lent = Some(id);
        // Who keeps the queue's gate is told that somebody is inside.
        self.body.queue.visit_here(state);
        self.next = Some(JobId::from_seqno(id.seqno().wrapping_add(1)));
        Some(PendingJob {
            // Jobs that are not reaped have theirs.
            job: job?,
            body: self.body,
            id,
            attempt,
        })
    }
}

/// A job that is on the hardware, lent to who walks its stopped queue. Dropped, it is
/// [kept](PendingJob::keep).
///
/// It may complete meanwhile, as a late interrupt says; then what is done with it here changes
/// nothing.
///
/// # Invariants
///
/// Core has lent job `id` to this walk: it is not reaped, and its cargo has no other user.
#[must_use = "dropped, the job stays on the hardware"]
pub struct PendingJob<'walk, D: Driver> {
    body: &'walk mut Body<D>,
    id: JobId,
    job: NonNull<Job<D>>,
    attempt: Attempt,
}

/// What became of a job that was to be replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Replayed {
    /// It is on the hardware again.
    Pending,
    /// The replay callback found its work done.
    Done,
    /// It has failed with this error: the callback could not put it there, or it could not be
    /// replayed any more (`ETIME` where the queue's time for closing is up, `ECANCELED` after 255
    /// replays).
    Failed(Errno),
    /// It had ended by itself.
    Ended,
}

impl<D: Driver> fmt::Debug for PendingJob<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PendingJob({:?}, {:?})", self.id, self.attempt)
    }
}

impl<D: Driver> PendingJob<'_, D> {
    /// The job's sequence number.
    pub fn seqno(&self) -> u64 {
        self.id.seqno()
    }

    /// The attempt that is on the hardware.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// Credits the job holds.
    pub fn cost(&self) -> u32 {
        // SAFETY: The type's invariant.
        unsafe { self.job.as_ref() }.cost
    }

    /// How long ago it was submitted, give or take a timer tick.
    pub fn age(&self) -> Duration {
        let now = monotonic();
        let age = self.body.queue.lock().core.age(self.id, now);
        age.unwrap_or_default()
    }

    /// True if it has completed since the walk came to it.
    pub fn has_ended(&self) -> bool {
        self.body.queue.lock().core.state(self.id) != State::Pending
    }

    /// The job's data.
    pub fn payload(&mut self) -> &mut D::Payload {
        self.parts().1
    }

    /// What the job needs to be replayed.
    pub fn replay_data(&mut self) -> &mut D::ReplayData {
        self.parts().2
    }

    /// The driver, the job's data, and what it needs to be replayed, all at once.
    pub fn parts(&mut self) -> (&mut D, &mut D::Payload, &mut D::ReplayData) {
        // SAFETY: The type's invariant.
        let job = unsafe { self.job.as_ref() };
        // SAFETY: The cargo is this walk's, and `self` is borrowed exclusively.
        let (cargo, data) = unsafe { (job.cargo(), job.replay_data()) };
        match (cargo, data) {
            (Some(cargo), Some(data)) => (self.body.driver(), &mut cargo.payload, data),
            _ => unreachable!("a job on the hardware has its cargo and what run left"),
        }
    }

    /// It stays on the hardware.
    pub fn keep(self) {
        drop(self);
    }

    /// The hardware is done with it, or has let go of it: it ends with `result`. False if it had
    /// ended by itself.
    pub fn complete(self, result: Result<(), Errno>) -> bool {
        self.give_back(Walked::End(match result {
            Ok(()) => Outcome::Completed,
            Err(error) => Outcome::Failed(error),
        }))
    }

    /// It fails with `error`; nobody says that it is to blame. False if it had ended by itself.
    pub fn fail(self, error: Errno) -> bool {
        self.complete(Err(error))
    }

    /// It hung, and fails with `error`: a strike for its queue. False, and none, if it had ended by
    /// itself.
    pub fn time_out(self, error: Errno) -> bool {
        self.give_back(Walked::End(Outcome::TimedOut(error)))
    }

    /// Puts it on the hardware again by [`Driver::replay`], with the fence it has. What earlier
    /// attempts say is late from here on.
    pub fn replay(self) -> Replayed {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: The type's invariant, until `replay` has answered the loan.
        let job = unsafe { this.job.as_ref() };
        let id = this.id;
        this.body.replay(id, job)
    }

    fn give_back(self, what: Walked) -> bool {
        let mut this = ManuallyDrop::new(self);
        let id = this.id;
        this.body.give_back(id, what)
    }
}

impl<D: Driver> Drop for PendingJob<'_, D> {
    fn drop(&mut self) {
        self.body.give_back(self.id, Walked::Keep);
    }
}
