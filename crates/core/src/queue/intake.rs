// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A job's way in: prepare, arm, submit, dependencies, cancel.

use super::{Lifecycle, OnDependencyError, Queue};
use crate::effect::{JobId, Outcome};
use crate::entry::{HasEntry, PrepareError, Refused};
use crate::error::Errno;
use crate::log::What;
use crate::state::{JobEvent, State};
use crate::time::Now;
use crate::timeout::Timeout;

/// What a job asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request {
    /// Credits it holds from run to completion; may be 0.
    pub cost: u32,
    /// How long it may be at the head of the line.
    pub timeout: Timeout,
    /// What happens if a dependency fails; `None` for what its queue says.
    pub on_dependency_error: Option<OnDependencyError>,
}

/// Room for one job that has been prepared: the right to arm it, which cannot fail any more.
///
/// Belongs to the queue that made it. Give it back with [`Queue::release`] if the job is not
/// armed; room that is forgotten is lost.
#[must_use = "room that is neither armed nor released is lost to the queue"]
#[derive(Debug)]
pub struct Reservation {
    cost: u32,
    timeout_ns: u64,
    run_on_dependency_error: bool,
}

impl Reservation {
    /// Credits the job will hold.
    pub const fn cost(&self) -> u32 {
        self.cost
    }
}

/// What a queue makes of a job's request. It does not change, so a host may keep it where it needs
/// no lock.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    credits: u32,
    timeout_ns: u64,
    run_on_dependency_error: bool,
}

impl Terms {
    /// Turns one room that was [set aside](Queue::set_aside) into room for a job with this request.
    ///
    /// # Errors
    ///
    /// A cost that could never be paid. The room is still the caller's.
    #[inline]
    pub fn reservation(&self, request: Request) -> Result<Reservation, PrepareError> {
        let (cost, limit) = (request.cost, self.credits);
        if cost > limit {
            return Err(PrepareError::CostAboveLimit { cost, limit });
        }
        let run_on_dependency_error = match request.on_dependency_error {
            None => self.run_on_dependency_error,
            Some(what) => what == OnDependencyError::Run,
        };
        Ok(Reservation {
            cost,
            timeout_ns: match request.timeout {
                Timeout::Inherit => self.timeout_ns,
                Timeout::Never => 0,
                Timeout::After(span) => super::at_least_1ns(span),
            },
            run_on_dependency_error,
        })
    }
}

/// What came of a wish to cancel a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cancelled {
    /// It will not run; its fence signals in its turn.
    Yes,
    /// It is with the driver or the hardware, or has ended.
    TooLate,
}

impl<S: AsRef<[P]> + AsMut<[P]>, P: HasEntry> Queue<S, P> {
    /// Reserves room for a job. The only step of a job's life that can fail.
    ///
    /// # Errors
    ///
    /// No room, a cost that could never be paid, or a queue that takes no more jobs.
    pub fn prepare(&mut self, request: Request) -> Result<Reservation, PrepareError> {
        match self.lifecycle {
            Lifecycle::Open => {}
            Lifecycle::Closing(_) => return Err(PrepareError::Closed),
            Lifecycle::Killed(error) => return Err(PrepareError::Killed(error)),
            Lifecycle::Banned => return Err(PrepareError::Banned),
        }
        let reservation = self.terms().reservation(request)?;
        if self.len() + u64::from(self.reserved) >= self.capacity() {
            return Err(PrepareError::Full);
        }
        // Always true; but looked at now, the entry is in the cache when the job is armed.
        let place = JobId(self.tail.wrapping_add(u64::from(self.reserved)));
        let free = |element: &P| element.entry().state == State::Free;
        if !self.element(place).is_some_and(free) {
            return Err(PrepareError::Full);
        }
        self.reserved += 1;
        Ok(reservation)
    }

    /// What the queue makes of requests.
    #[inline]
    pub fn terms(&self) -> Terms {
        Terms {
            credits: self.credits.limit(),
            timeout_ns: self.timeout_ns,
            run_on_dependency_error: self.run_on_dependency_error,
        }
    }

    /// Reserves up to `most` rooms for jobs that are to come, so that a host need not ask for each.
    /// Returns how many; none where the queue takes no jobs. Each is used by
    /// [`Terms::reservation`] or given back by [`Queue::put_back`].
    pub fn set_aside(&mut self, most: u32) -> u32 {
        if self.lifecycle != Lifecycle::Open {
            return 0;
        }
        let free = self.capacity() - self.len() - u64::from(self.reserved);
        let rooms = most.min(u32::try_from(free).unwrap_or(u32::MAX));
        self.reserved += rooms;
        rooms
    }

    /// Gives back rooms that were set aside and not used.
    pub fn put_back(&mut self, rooms: u32) {
        debug_assert!(self.reserved >= rooms, "rooms of another queue");
        self.reserved = self.reserved.saturating_sub(rooms);
    }

    /// Gives back the room of a job that was prepared and will not be armed.
    pub fn release(&mut self, reservation: Reservation) {
        debug_assert!(self.reserved > 0, "a reservation of another queue");
        let Reservation { .. } = reservation;
        self.reserved = self.reserved.saturating_sub(1);
        self.counts.released += 1;
    }

    /// Takes the next sequence number for a prepared job. Its fence is published from here on,
    /// so it must be [submitted](Self::submit) soon, without waiting or allocating. Jobs armed
    /// later do not run before it is.
    ///
    /// A job armed after its queue was closed or killed does not run, even where the queue
    /// drains: it ends with an error, in its turn. One armed before is in line, and drains.
    ///
    /// # Errors
    ///
    /// Only where the reservation is another queue's.
    #[inline]
    pub fn arm(&mut self, reservation: Reservation) -> Result<JobId, Refused> {
        if self.reserved == 0 || self.len() >= self.capacity() {
            return Err(Refused::Count);
        }
        let refusal = self.refusal();
        let seqno = self.tail;
        let place = (seqno & self.mask) as usize;
        let element = self.storage.as_mut().get_mut(place);
        let entry = element.ok_or(Refused::Unknown)?.entry_mut();
        entry.step(JobEvent::Arm)?;
        entry.cost = reservation.cost;
        entry.timeout_ns = reservation.timeout_ns;
        entry.run_on_dependency_error = reservation.run_on_dependency_error;
        entry.outcome = refusal.map(Outcome::Cancelled);
        self.tail = seqno.wrapping_add(1);
        self.reserved -= 1;
        Ok(JobId(seqno))
    }

    /// Hands an armed job to the queue, which owns it from here on. `open` is the number of its
    /// dependencies that have not signalled yet; each is answered for by one
    /// [`Self::dependency_signalled`]. `abandoned` is a job whose submitter let it go between
    /// arm and submit: it does not run and ends with `ECANCELED`, in its turn.
    ///
    /// # Errors
    ///
    /// The job is not armed.
    #[inline]
    pub fn submit(
        &mut self,
        job: JobId,
        open: u32,
        abandoned: bool,
        mut now: impl Now,
    ) -> Result<(), Refused> {
        let given_up = self.given_up();
        let entry = self.entry_mut(job.0).ok_or(Refused::Unknown)?;
        entry.step(JobEvent::Submit)?;
        entry.open = open;
        let submitted_at = now.now();
        entry.submitted_at = submitted_at;
        let cancelled = entry.outcome;
        self.log_head.now = submitted_at;
        // One that its submitter is about to run has that record, of the same time.
        if self.bypass_budget == 0 || open != 0 || self.run_next != job.0 {
            self.note(What::Submitted, job.0);
        }
        if open != 0 {
            self.counts.dependencies += u64::from(open);
        }
        let abandoned = abandoned.then_some(Outcome::Cancelled(Errno::ECANCELED));
        if let Lifecycle::Killed(error) = self.lifecycle {
            // A killed queue waits for nothing.
            return self.finish(job.0, abandoned.unwrap_or(Outcome::Cancelled(error)));
        }
        match cancelled.or(abandoned).or(given_up) {
            Some(outcome) => self.give_up(job.0, outcome),
            None => Ok(()),
        }
    }

    /// One of the job's dependencies has signalled, with this result.
    ///
    /// # Errors
    ///
    /// [`Refused::Unknown`] and [`Refused::Illegal`] for a job that has ended meanwhile, which a
    /// host may ignore; [`Refused::Count`] for one that waits for none.
    pub fn dependency_signalled(
        &mut self,
        job: JobId,
        result: Result<(), Errno>,
    ) -> Result<(), Refused> {
        let entry = self.entry_mut(job.0).ok_or(Refused::Unknown)?;
        entry.step(JobEvent::Dependency)?;
        entry.open = entry.open.checked_sub(1).ok_or(Refused::Count)?;
        if let Err(error) = result {
            if !entry.run_on_dependency_error && entry.outcome.is_none() {
                entry.outcome = Some(Outcome::Failed(error));
            }
        }
        match (entry.open, entry.outcome) {
            (0, Some(outcome)) => self.finish(job.0, outcome),
            (0, None) => {
                self.note(What::Ready, job.0);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The fence that a run callback named with [`RunOutcome::NoResources`] has signalled, with
    /// whatever result: the job may be tried again.
    ///
    /// # Errors
    ///
    /// The job has ended meanwhile, which a host may ignore.
    ///
    /// [`RunOutcome::NoResources`]: super::RunOutcome::NoResources
    pub fn resource_signalled(&mut self, job: JobId) -> Result<(), Refused> {
        let entry = self.entry_mut(job.0).ok_or(Refused::Unknown)?;
        entry.step(JobEvent::Dependency)?;
        entry.resource_wait = false;
        Ok(())
    }

    /// Asks that the job not run. Its fence signals `error` in its turn, once everything it
    /// waited for has signalled. An armed job can be cancelled, too: its submitter submits it
    /// all the same, and it does not run.
    ///
    /// # Errors
    ///
    /// [`Refused::Unknown`] for a job that was never armed or is gone.
    pub fn cancel(&mut self, job: JobId, error: Errno) -> Result<Cancelled, Refused> {
        let outcome = Outcome::Cancelled(error);
        let entry = self.entry_mut(job.0).ok_or(Refused::Unknown)?;
        match entry.state {
            State::Queued => self.give_up(job.0, outcome)?,
            // Known already; it takes effect at submit.
            State::Armed => _ = entry.outcome.get_or_insert(outcome),
            _ => return Ok(Cancelled::TooLate),
        }
        Ok(Cancelled::Yes)
    }
}
