// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A job's way through the driver: run, completion, timeout.

use core::time::Duration;

use super::{Queue, Recovery};
use crate::effect::{Attempt, JobId, Outcome, Visit};
use crate::entry::{Entry, HasEntry, Lent, Refused};
use crate::error::Errno;
use crate::log::What;
use crate::state::{JobEvent, State};
use crate::time::{Now, Time};

/// What a run callback did with its job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunOutcome {
    /// It is on the hardware; [`Queue::complete`] follows, or came already.
    Pending,
    /// Its work was done at once.
    Done,
    /// It could not be put on the hardware.
    Failed(Errno),
    /// There is no room for it. [`Queue::resource_signalled`] follows when there may be. Later
    /// jobs handed to the same visit go back to the line with it.
    NoResources,
}

/// What a timeout callback found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeoutOutcome {
    /// No hang: the job goes on, with its whole time before it.
    NoHang,
    /// The job makes progress and gets this much longer.
    Extend(Duration),
    /// The hardware has let go of the job, by a reset or otherwise: it fails with this error.
    Handled(Errno),
    /// It hangs, and a callback cannot do what is to be done: the job stays, the queue holds
    /// still, and [`Effect::Recover`](crate::Effect::Recover) has somebody stop it and
    /// [start](Queue::start) it again.
    Reset,
    /// The device is gone: all jobs of the queue fail with `ENODEV`.
    DeviceGone,
}

/// What came of a completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Completed {
    /// The job has ended with it.
    Finished,
    /// The job had ended before, or is gone: counted and ignored.
    Late,
}

impl<S: AsRef<[P]> + AsMut<[P]>, P: HasEntry> Queue<S, P> {
    /// The run callback has returned for the oldest job this visit was told to run.
    ///
    /// # Errors
    ///
    /// The visit was not told to run the job, or older answers are missing.
    #[inline]
    pub fn run_returned(
        &mut self,
        visit: &mut Visit,
        job: JobId,
        outcome: RunOutcome,
    ) -> Result<(), Refused> {
        // Runs are handed out in order and to one visit, so its oldest is the queue's oldest.
        if visit.runs == 0 || job.0 != self.run_oldest {
            return Err(Refused::NotHeld);
        }
        let entry = self.entry_mut(job.0).ok_or(Refused::Unknown)?;
        if entry.lent != Lent::Run {
            return Err(Refused::NotHeld);
        }
        entry.lent = Lent::No;
        let running = entry.state == State::Running;
        match outcome {
            RunOutcome::Pending if running => entry.step(JobEvent::Pend)?,
            RunOutcome::Done if running => self.finish(job.0, Outcome::Completed)?,
            RunOutcome::Failed(error) if running => self.finish(job.0, Outcome::Failed(error))?,
            RunOutcome::NoResources if running => {
                self.counts.no_resources += 1;
                self.note(What::NoResources, job.0);
                self.requeue(job.0, true)?;
                self.return_run(visit);
                self.hand_back_runs(visit)?;
                self.run_next = job.0;
                return Ok(());
            }
            // It ended before the callback returned; what came first stands.
            RunOutcome::Pending | RunOutcome::NoResources => entry.step(JobEvent::Return)?,
            RunOutcome::Done | RunOutcome::Failed(_) => {
                entry.step(JobEvent::Return)?;
                self.counts.late_completions += 1;
            }
        }
        self.return_run(visit);
        if self.runs != 0 {
            self.run_oldest = self.next_lent(job.0.wrapping_add(1));
        }
        Ok(())
    }

    /// Gives back the jobs this visit was told to run and has not begun: they keep their place.
    ///
    /// # Errors
    ///
    /// Never for jobs that were handed out and not answered for.
    pub fn hand_back_runs(&mut self, visit: &mut Visit) -> Result<(), Refused> {
        let mut seqno = self.run_next;
        while visit.runs > 0 && seqno != self.head {
            seqno = seqno.wrapping_sub(1);
            let entry = self.entry_mut(seqno).ok_or(Refused::Unknown)?;
            if entry.lent != Lent::Run {
                continue;
            }
            entry.lent = Lent::No;
            if entry.state == State::Running {
                self.requeue(seqno, false)?;
                self.run_next = seqno;
            } else {
                entry.step(JobEvent::Return)?;
            }
            self.return_run(visit);
        }
        Ok(())
    }

    /// The first job from `seqno` on that is lent to the run callback. Jobs that ended without
    /// running may stand between two that are.
    #[inline]
    fn next_lent(&self, mut seqno: u64) -> u64 {
        while seqno != self.run_next && self.entry(seqno).is_some_and(|e| e.lent != Lent::Run) {
            seqno = seqno.wrapping_add(1);
        }
        seqno
    }

    fn requeue(&mut self, seqno: u64, resource_wait: bool) -> Result<(), Refused> {
        let entry = self.entry_mut(seqno).ok_or(Refused::Unknown)?;
        entry.step(JobEvent::Requeue)?;
        entry.resource_wait = resource_wait;
        let cost = entry.cost;
        self.credits.give_back(cost);
        // A queue that is being closed by cancelling gave up its line while this job was out.
        if let Some(outcome) = self.given_up() {
            self.give_up(seqno, outcome)?;
        }
        Ok(())
    }

    #[inline]
    fn return_run(&mut self, visit: &mut Visit) {
        visit.runs = visit.runs.saturating_sub(1);
        self.runs = self.runs.saturating_sub(1);
    }

    /// The hardware is done with an attempt at a job, with this result. In any context, in any
    /// order, before or after the callback that began it returned, late, twice, for a job that is
    /// gone or is being done again.
    #[inline]
    pub fn complete(
        &mut self,
        job: JobId,
        attempt: Attempt,
        result: Result<(), Errno>,
    ) -> Completed {
        let outcome = match result {
            Ok(()) => Outcome::Completed,
            Err(error) => Outcome::Failed(error),
        };
        let present = |entry: &&mut Entry| entry.state.holds_credits() && entry.attempt == attempt;
        let entry = self.entry_mut(job.0).filter(present);
        if let Some(Ok(credits)) = entry.map(|entry| entry.finish(outcome)) {
            self.finished(job.0, outcome, credits);
            return Completed::Finished;
        }
        self.counts.late_completions += 1;
        self.note(What::LateCompletion, job.0);
        Completed::Late
    }

    /// The timer that [`Effect::ArmTimer`](crate::Effect::ArmTimer) asked for has fired. Early,
    /// late and double firing does no harm.
    pub fn timer_fired(&mut self, now: Time) {
        self.log_head.now = now;
        self.clock.fired(now);
        if self.clock.take_limit(now) {
            self.closing_is_overdue();
        }
    }

    /// Ends the time of the job at the head of the line now, as for a teardown that knows the
    /// device is stuck; a job without a timeout is asked about, too. Returns whether the head of
    /// the line is on the hardware and the driver is not being asked about it already.
    pub fn trigger_timeout(&mut self) -> bool {
        match self.head_of_line() {
            Some((seqno, entry)) if entry.state == State::Pending => self.clock.expire(seqno),
            _ => false,
        }
    }

    /// The timeout callback has returned.
    ///
    /// # Errors
    ///
    /// The visit was not told about the job.
    pub fn timed_out_returned(
        &mut self,
        visit: &mut Visit,
        job: JobId,
        outcome: TimeoutOutcome,
        mut now: impl Now,
    ) -> Result<(), Refused> {
        if visit.timeouts == 0 || !self.clock.is_asking() {
            return Err(Refused::NotHeld);
        }
        let extensions_max = self.config.extensions_max;
        let (held, overdue) = (self.is_held(), self.overdue);
        let entry = self.entry_mut(job.0).ok_or(Refused::Unknown)?;
        if entry.lent != Lent::Timeout {
            return Err(Refused::NotHeld);
        }
        entry.lent = Lent::No;
        visit.timeouts = 0;
        self.clock.stop();
        let entry = self.entry_mut(job.0).ok_or(Refused::Unknown)?;
        if entry.state != State::Pending {
            // It completed while the driver looked: never punish a finished job.
            entry.step(JobEvent::Return)?;
            if outcome == TimeoutOutcome::DeviceGone {
                self.kill(Errno::ENODEV);
            }
            return Ok(());
        }
        match outcome {
            TimeoutOutcome::NoHang | TimeoutOutcome::Extend(_) if overdue => {
                self.ends_guilty(job.0, Errno::ETIME, now)
            }
            TimeoutOutcome::NoHang => {
                let timeout_ns = entry.timeout_ns;
                if timeout_ns != 0 {
                    self.clock.start(job.0, timeout_ns, now.now(), held);
                }
                self.note(What::NoHang, job.0);
                Ok(())
            }
            TimeoutOutcome::Extend(span) if entry.extensions < extensions_max => {
                entry.extensions += 1;
                self.counts.extensions += 1;
                let span = crate::time::nanoseconds(span).max(1);
                self.clock.start(job.0, span, now.now(), held);
                self.note(What::Extended, job.0);
                Ok(())
            }
            // More time than there is: the bound is what keeps a hang from lasting for ever.
            TimeoutOutcome::Extend(_) => self.ends_guilty(job.0, Errno::ETIME, now),
            TimeoutOutcome::Handled(error) => self.ends_guilty(job.0, error, now),
            TimeoutOutcome::Reset => {
                self.recovery = Recovery::Wanted(job.0);
                self.update_held();
                self.counts.recoveries += 1;
                self.note(What::ResetWanted, job.0);
                Ok(())
            }
            TimeoutOutcome::DeviceGone => {
                self.finish(job.0, Outcome::TimedOut(Errno::ENODEV))?;
                self.kill(Errno::ENODEV);
                Ok(())
            }
        }
    }
}
