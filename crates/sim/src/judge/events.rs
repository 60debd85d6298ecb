// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What was done to the queue, with what it said to that.

use ringfence_core::state::JobEvent;
use ringfence_core::{
    Cancelled, ClosePolicy, Completed, Errno, Lifecycle, Outcome, PrepareError, RunOutcome,
    TimeoutOutcome,
};

use super::{promise, Fact, Judge, Loan, Place, Verdict, VisitId};

/// What a job asked for at prepare.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) cost: u32,
    pub(crate) timeout: u64,
    pub(crate) run_on_error: bool,
}

/// Clients.
impl Judge {
    /// `rooms` are prepared already.
    pub(crate) fn prepare(
        &mut self,
        cost: u32,
        rooms: usize,
        entries: usize,
        got: Result<(), PrepareError>,
    ) -> Verdict {
        let limit = self.config.credits;
        let want = match self.lifecycle() {
            Lifecycle::Killed(error) => Err(PrepareError::Killed(error)),
            Lifecycle::Banned => Err(PrepareError::Banned),
            Lifecycle::Closing(_) => Err(PrepareError::Closed),
            Lifecycle::Open if cost > limit => Err(PrepareError::CostAboveLimit { cost, limit }),
            Lifecycle::Open if self.live().len() + rooms >= entries => Err(PrepareError::Full),
            Lifecycle::Open => Ok(()),
        };
        self.stats.prepared += u64::from(want.is_ok());
        promise(got == want, || {
            format!("prepare said {got:?}, not {want:?}")
        })
    }

    pub(crate) fn release(&mut self) {
        self.stats.released += 1;
    }

    pub(crate) fn arm(&mut self, seqno: u64, wish: Wish, fence: u32) -> Verdict {
        promise(seqno == self.seqno(self.facts.len()), || {
            format!("#{seqno} was armed out of sequence")
        })?;
        let refusal = match self.lifecycle() {
            Lifecycle::Open => None,
            Lifecycle::Closing(_) | Lifecycle::Banned => Some(Errno::ECANCELED),
            Lifecycle::Killed(error) => Some(error),
        };
        self.steps[0][JobEvent::Arm as usize] += 1;
        self.stats.armed += 1;
        if self.facts.len() == self.signals_out {
            self.head_since = self.active;
        }
        self.facts.push(Fact {
            place: Place::Armed,
            loan: Loan::None,
            outcome: refusal.map(Outcome::Cancelled),
            cost: wish.cost,
            timeout: wish.timeout,
            run_on_error: wish.run_on_error,
            open: 0,
            resource_wait: false,
            taken: false,
            attempt: 0,
            extensions: 0,
            triggered: false,
            since: 0,
            span: wish.timeout,
            out: false,
            signalled: false,
            reaped: false,
            fence,
        });
        Ok(())
    }

    pub(crate) fn submit(&mut self, seqno: u64, open: u32, abandoned: bool, got: bool) -> Verdict {
        let found = self
            .find(seqno)
            .filter(|i| self.facts[*i].place == Place::Armed);
        promise(got == found.is_some(), || {
            format!("submit of #{seqno} was accepted: {got}")
        })?;
        let Some(i) = found else { return Ok(()) };
        self.step(i, JobEvent::Submit);
        self.stats.submitted += 1;
        self.stats.dependencies += u64::from(open);
        self.facts[i].place = Place::Line;
        self.facts[i].open = open;
        let abandoned = abandoned.then_some(Outcome::Cancelled(Errno::ECANCELED));
        if let Some(error) = self.killed {
            self.end(i, abandoned.unwrap_or(Outcome::Cancelled(error)));
        } else if let Some(outcome) = self.facts[i].outcome.or(abandoned).or(self.given_up()) {
            self.give_up(i, outcome);
        }
        Ok(())
    }

    /// True if the job is in line and waits for a fence.
    pub(crate) fn dependency(
        &mut self,
        seqno: u64,
        result: Result<(), Errno>,
        got: bool,
    ) -> Verdict {
        let i = self.index(seqno)?;
        let waits = self.facts[i].place == Place::Line && self.facts[i].open > 0;
        promise(got == waits, || {
            format!("a dependency of #{seqno} was accepted: {got}")
        })?;
        if !waits {
            return Ok(());
        }
        self.step(i, JobEvent::Dependency);
        let fact = &mut self.facts[i];
        fact.open -= 1;
        if let (Err(error), false) = (result, fact.run_on_error) {
            fact.outcome.get_or_insert(Outcome::Failed(error));
        }
        if let (0, Some(outcome)) = (fact.open, fact.outcome) {
            self.end(i, outcome);
        }
        Ok(())
    }

    pub(crate) fn resource(&mut self, seqno: u64, got: bool) -> Verdict {
        let found = self
            .find(seqno)
            .filter(|i| self.facts[*i].place == Place::Line);
        promise(got == found.is_some(), || {
            format!("resources for #{seqno} were accepted: {got}")
        })?;
        if let Some(i) = found {
            self.step(i, JobEvent::Dependency);
            self.facts[i].resource_wait = false;
        }
        Ok(())
    }

    pub(crate) fn cancel(&mut self, seqno: u64, error: Errno, got: Option<Cancelled>) -> Verdict {
        let found = self.find(seqno).filter(|i| !self.facts[*i].reaped);
        let want = found.map(|i| match self.facts[i].place {
            Place::Armed | Place::Line => Cancelled::Yes,
            Place::Hardware | Place::Over => Cancelled::TooLate,
        });
        promise(got == want, || {
            format!("cancel of #{seqno} said {got:?}, not {want:?}")
        })?;
        let outcome = Outcome::Cancelled(error);
        match found.map(|i| (i, self.facts[i].place)) {
            Some((i, Place::Line)) => self.give_up(i, outcome),
            Some((i, Place::Armed)) => _ = self.facts[i].outcome.get_or_insert(outcome),
            _ => {}
        }
        Ok(())
    }
}

/// The hardware and the driver.
impl Judge {
    /// True if a completion of this attempt ends the job now.
    pub(crate) fn takes_completion(&self, seqno: u64, attempt: u8) -> Option<usize> {
        let i = self.find(seqno)?;
        let fact = &self.facts[i];
        (fact.place == Place::Hardware && fact.attempt == attempt).then_some(i)
    }

    pub(crate) fn complete(
        &mut self,
        seqno: u64,
        attempt: u8,
        result: Result<(), Errno>,
        got: Completed,
    ) -> Verdict {
        let takes = self.takes_completion(seqno, attempt);
        promise((got == Completed::Finished) == takes.is_some(), || {
            format!("a completion of attempt {attempt} at #{seqno}: {got:?}")
        })?;
        match takes {
            Some(i) => self.end(
                i,
                result.map_or_else(Outcome::Failed, |()| Outcome::Completed),
            ),
            None => self.stats.late_completions += 1,
        }
        Ok(())
    }

    /// Returns whether later runs of the same visit went back to the line with it.
    pub(crate) fn run_returned(
        &mut self,
        visit: VisitId,
        seqno: u64,
        answer: RunOutcome,
        now: u64,
    ) -> Result<bool, String> {
        let i = self.index(seqno)?;
        let active = self.active(now);
        promise(self.facts[i].loan == Loan::Run(visit), || {
            format!("#{seqno} was not lent to this visit")
        })?;
        self.runs -= 1;
        if self.facts[i].place != Place::Hardware {
            self.facts[i].loan = Loan::None;
            self.step(i, JobEvent::Return);
            let late = matches!(answer, RunOutcome::Done | RunOutcome::Failed(_));
            self.stats.late_completions += u64::from(late);
            return Ok(false);
        }
        self.facts[i].taken = answer != RunOutcome::NoResources;
        match answer {
            RunOutcome::Pending => {
                self.step(i, JobEvent::Pend);
                self.facts[i].since = active;
            }
            RunOutcome::Done => self.end(i, Outcome::Completed),
            RunOutcome::Failed(error) => self.end(i, Outcome::Failed(error)),
            RunOutcome::NoResources => {
                self.stats.no_resources += 1;
                self.back_in_line(i, true);
                self.facts[i].loan = Loan::None;
                self.hand_back(visit);
                return Ok(true);
            }
        }
        self.facts[i].loan = Loan::None;
        Ok(false)
    }

    pub(crate) fn hand_back(&mut self, visit: VisitId) {
        for i in self.live() {
            if self.facts[i].loan != Loan::Run(visit) {
                continue;
            }
            self.runs -= 1;
            if self.facts[i].place == Place::Hardware {
                self.back_in_line(i, false);
                self.facts[i].loan = Loan::None;
            } else {
                self.facts[i].loan = Loan::None;
                self.step(i, JobEvent::Return);
            }
        }
    }

    fn back_in_line(&mut self, i: usize, for_resource: bool) {
        self.step(i, JobEvent::Requeue);
        let fact = &mut self.facts[i];
        fact.place = Place::Line;
        fact.resource_wait = for_resource;
        self.credits -= fact.cost;
        if let Some(outcome) = self.given_up() {
            self.give_up(i, outcome);
        }
    }

    pub(crate) fn trigger(&mut self, got: bool) -> Verdict {
        let head = self.facts.get_mut(self.signals_out);
        let pending = head.filter(|fact| {
            fact.place == Place::Hardware && !matches!(fact.loan, Loan::Run(_) | Loan::Timeout(_))
        });
        promise(got == pending.is_some(), || {
            format!("a timeout was triggered: {got}")
        })?;
        if let Some(fact) = pending {
            fact.triggered = true;
        }
        Ok(())
    }

    /// The timer has fired. Returns true if that made closing overdue.
    pub(crate) fn timer(&mut self, now: u64) -> bool {
        let (Some(at), Some(span)) = (self.closing_at, self.config.close_timeout) else {
            return false;
        };
        if self.overdue || at.saturating_add(crate::oracle::whole_ns(span)) > now {
            return false;
        }
        self.overdue = true;
        if self.closing == Some(ClosePolicy::Drain) {
            self.closing = Some(ClosePolicy::Cancel);
            self.give_up_the_line();
        }
        true
    }

    pub(crate) fn verdict(&mut self, seqno: u64, verdict: TimeoutOutcome, now: u64) -> Verdict {
        let i = self.index(seqno)?;
        let active = self.active(now);
        self.facts[i].loan = Loan::None;
        self.facts[i].triggered &= self.facts[i].place != Place::Hardware;
        self.asking = false;
        let gone = verdict == TimeoutOutcome::DeviceGone;
        if self.facts[i].place != Place::Hardware {
            self.step(i, JobEvent::Return);
        } else {
            let max = self.config.extensions_max;
            let (overdue, fact) = (self.overdue, &mut self.facts[i]);
            match verdict {
                TimeoutOutcome::NoHang if !overdue => {
                    (fact.since, fact.span) = (active, fact.timeout);
                }
                TimeoutOutcome::Extend(span) if !overdue && fact.extensions < max => {
                    fact.extensions += 1;
                    self.stats.extensions += 1;
                    (fact.since, fact.span) = (active, crate::oracle::whole_ns(span).max(1));
                }
                TimeoutOutcome::NoHang | TimeoutOutcome::Extend(_) => {
                    self.guilty(i, Errno::ETIME, now);
                }
                TimeoutOutcome::Handled(error) => self.guilty(i, error, now),
                TimeoutOutcome::Reset => {
                    (fact.since, fact.span) = (active, fact.timeout);
                    self.recovery = Some(false);
                    self.stats.recoveries += 1;
                }
                TimeoutOutcome::DeviceGone => self.end(i, Outcome::TimedOut(Errno::ENODEV)),
            }
        }
        if gone {
            self.kill(Errno::ENODEV, now);
        }
        Ok(())
    }

    pub(crate) fn signalled(&mut self, seqno: u64) -> Verdict {
        let i = self.index(seqno)?;
        promise(i == self.signals_done && self.facts[i].out, || {
            format!("#{seqno} signalled out of order")
        })?;
        self.step(i, JobEvent::Acknowledge);
        self.signals_done += 1;
        self.facts[i].signalled = true;
        Ok(())
    }
}
