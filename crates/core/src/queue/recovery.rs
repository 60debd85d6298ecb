// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Recovery: stop, walk what is on the hardware, end or replay it, start; and strikes.
//!
//! ```text
//!   stop --> no driver callback begins --> quiet: none is out --> walk, oldest first --> start
//!                                                                  | keep, end, replay
//! ```
//!
//! Everything else goes on meanwhile: jobs are submitted and queue up, completions that are on
//! their way arrive, fences signal, payloads are dropped. Only what the walk has lent out stays.

use super::{Lifecycle, Queue, Recovery};
use crate::effect::{Attempt, JobId, Outcome, Visit};
use crate::entry::{HasEntry, Lent, Refused};
use crate::error::Errno;
use crate::guilt::Standing;
use crate::log::What;
use crate::state::{JobEvent, State};
use crate::time::{Now, Time};

/// What who has stopped the queue says of a job that the walk lent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walked {
    /// It stays on the hardware.
    Keep,
    /// The hardware has let go of it: it ends so. One that timed out is guilty: a strike.
    End(Outcome),
}

/// What a replay callback did with its job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplayOutcome {
    /// It is on the hardware again.
    Pending,
    /// Its work is done, or was done before.
    Done,
    /// It could not be put there again.
    Failed(Errno),
}

impl<S: AsRef<[P]> + AsMut<[P]>, P: HasEntry> Queue<S, P> {
    /// Hands out no driver callback until [started](Self::start), apart from those of who holds
    /// the stop. Wait for [`Self::is_quiet`] before anything else. The clock stands still.
    ///
    /// # Errors
    ///
    /// [`Refused::Stopped`]: somebody else holds it.
    pub fn stop(&mut self, now: Time) -> Result<(), Refused> {
        if self.stopped {
            return Err(Refused::Stopped);
        }
        self.change_hold(now, |queue| queue.stopped = true);
        self.note(What::Stop, self.tail);
        Ok(())
    }

    /// Takes the stop back, and with it the wish for a recovery.
    ///
    /// # Errors
    ///
    /// [`Refused::NotHeld`] if the queue is not stopped, or if a job is still lent to the walk.
    pub fn start(&mut self, now: Time) -> Result<(), Refused> {
        if !self.stopped || self.walked.is_some() {
            return Err(Refused::NotHeld);
        }
        self.change_hold(now, |queue| {
            queue.stopped = false;
            queue.recovery = Recovery::None;
        });
        self.note(What::Start, self.tail);
        Ok(())
    }

    /// True while somebody holds the stop.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// True if the queue is stopped and no driver callback is out.
    pub fn is_quiet(&self) -> bool {
        self.stopped && !self.callback_is_out()
    }

    /// The job because of which the driver wants a recovery that has not come yet.
    pub fn wants_recovery(&self) -> Option<JobId> {
        match self.recovery {
            Recovery::None => None,
            Recovery::Wanted(job) | Recovery::Told(job) => Some(JobId(job)),
        }
    }

    /// The oldest job whose fence has not been handed out for signalling, where there is one: where
    /// a walk begins.
    pub fn oldest(&self) -> JobId {
        JobId(self.signal_next)
    }

    /// Lends the oldest job on the hardware from `first` on to who has stopped the queue.
    /// [`Self::walked`] or [`Self::replay`] answers.
    ///
    /// # Errors
    ///
    /// [`Refused::NotQuiet`]: the queue is not, or a job is lent already.
    pub fn walk_from(&mut self, first: JobId) -> Result<Option<JobId>, Refused> {
        if !self.is_quiet() || self.walked.is_some() {
            return Err(Refused::NotQuiet);
        }
        let ahead = first.0.wrapping_sub(self.signal_next);
        // What lies behind is a huge step ahead.
        let mut seqno = if ahead <= self.capacity() {
            first.0
        } else {
            self.signal_next
        };
        while seqno.wrapping_sub(self.signal_next) < self.run_next.wrapping_sub(self.signal_next) {
            let entry = self.entry_mut(seqno).ok_or(Refused::Unknown)?;
            if entry.state == State::Pending {
                entry.lent = Lent::Walk;
                self.walked = Some(seqno);
                return Ok(Some(JobId(seqno)));
            }
            seqno = seqno.wrapping_add(1);
        }
        Ok(None)
    }

    /// Gives back the job that the walk lent.
    ///
    /// # Errors
    ///
    /// [`Refused::NotHeld`]: it is not lent.
    pub fn walked(&mut self, job: JobId, what: Walked, now: impl Now) -> Result<(), Refused> {
        let pending = self.take_back(job, Lent::Walk)?;
        match what {
            Walked::Keep => Ok(()),
            Walked::End(Outcome::TimedOut(error)) if pending => self.ends_guilty(job.0, error, now),
            Walked::End(outcome) if pending => self.finish(job.0, outcome),
            Walked::End(_) => self.came_late(job.0),
        }
    }

    /// Begins the next attempt at the job that the walk lent: completions of earlier ones are late
    /// from now on. The job keeps its fence, its credits and its place; run is not called again.
    /// Answer with [`Self::replay_returned`].
    ///
    /// # Errors
    ///
    /// Nothing has changed, and [`Self::walked`] is still to come: [`Refused::NotHeld`] if the job
    /// is not lent, [`Refused::Illegal`] if it has ended meanwhile, [`Refused::Count`] after 255
    /// replays, [`Refused::Overdue`] in a queue whose time for closing is up.
    pub fn replay(&mut self, job: JobId) -> Result<Attempt, Refused> {
        let overdue = self.overdue;
        let entry = self.entry_mut(job.0).ok_or(Refused::Unknown)?;
        if entry.lent != Lent::Walk {
            return Err(Refused::NotHeld);
        }
        if overdue {
            return Err(Refused::Overdue);
        }
        let attempt = entry.attempt.next().ok_or(Refused::Count)?;
        entry.step(JobEvent::Replay)?;
        entry.attempt = attempt;
        entry.lent = Lent::Replay;
        entry.extensions = 0;
        if self.clock.times(job.0) {
            // It has its whole time before it.
            self.clock.stop();
        }
        self.counts.replays += 1;
        self.note(What::Replay, job.0);
        Ok(attempt)
    }

    /// The replay callback has returned.
    ///
    /// # Errors
    ///
    /// [`Refused::NotHeld`]: the job is not being replayed.
    pub fn replay_returned(&mut self, job: JobId, outcome: ReplayOutcome) -> Result<(), Refused> {
        let pending = self.take_back(job, Lent::Replay)?;
        match outcome {
            ReplayOutcome::Pending => Ok(()),
            ReplayOutcome::Done if pending => self.finish(job.0, Outcome::Completed),
            ReplayOutcome::Failed(error) if pending => self.finish(job.0, Outcome::Failed(error)),
            ReplayOutcome::Done | ReplayOutcome::Failed(_) => self.came_late(job.0),
        }
    }

    /// Takes a loan back. True if the job is still on the hardware.
    fn take_back(&mut self, job: JobId, lent: Lent) -> Result<bool, Refused> {
        let entry = self.entry_mut(job.0).ok_or(Refused::Unknown)?;
        if entry.lent != lent {
            return Err(Refused::NotHeld);
        }
        let pending = entry.state == State::Pending;
        if !pending {
            entry.step(JobEvent::Return)?;
        }
        entry.lent = Lent::No;
        self.walked = None;
        Ok(pending)
    }

    fn came_late(&mut self, seqno: u64) -> Result<(), Refused> {
        self.counts.late_completions += 1;
        self.note(What::LateCompletion, seqno);
        Ok(())
    }

    /// Ends a job that hung: a strike for its queue.
    pub(super) fn ends_guilty(
        &mut self,
        seqno: u64,
        error: Errno,
        now: impl Now,
    ) -> Result<(), Refused> {
        self.finish(seqno, Outcome::TimedOut(error))?;
        self.strike(now);
        Ok(())
    }

    /// A job of this queue was guilty of something that its outcome does not say, as a fault that
    /// took others along. Strikes for jobs that timed out are counted without this.
    pub fn strike(&mut self, mut now: impl Now) -> Standing {
        let now = now.now();
        self.counts.strikes += 1;
        self.log_head.now = now;
        self.note(What::Strike, self.tail);
        if self.guilt.strike(self.config.ban, now) {
            self.ban();
        }
        self.guilt.standing()
    }

    /// How the queue stands.
    pub fn standing(&self) -> Standing {
        self.guilt.standing()
    }

    fn ban(&mut self) {
        self.note(What::Ban, self.tail);
        match self.lifecycle {
            Lifecycle::Killed(_) => {}
            _ => {
                self.lifecycle = Lifecycle::Banned;
                self.give_up_the_line();
            }
        }
    }

    /// The time for closing is up: what has not run will not, and each job on the hardware is asked
    /// about for the last time.
    pub(super) fn closing_is_overdue(&mut self) {
        self.overdue = true;
        self.note(What::Overdue, self.tail);
        if self.lifecycle == Lifecycle::Closing(super::ClosePolicy::Drain) {
            self.lifecycle = Lifecycle::Closing(super::ClosePolicy::Cancel);
            self.give_up_the_line();
        }
    }

    /// True if the driver must be asked about this head of the line.
    #[inline]
    pub(super) fn time_is_up(&self, seqno: u64) -> bool {
        self.overdue || self.clock.is_expired(seqno)
    }

    /// Tells the host once that a recovery is wanted.
    #[inline]
    pub(super) fn next_recovery(&mut self, visit: &Visit) -> Option<JobId> {
        let Recovery::Wanted(job) = self.recovery else {
            return None;
        };
        if visit.context() != crate::effect::Context::Worker {
            return None;
        }
        self.recovery = Recovery::Told(job);
        Some(JobId(job))
    }
}
