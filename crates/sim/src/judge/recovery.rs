// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What was done to the queue as a whole, and by who stopped it.

use ringfence_core::state::JobEvent;
use ringfence_core::{ClosePolicy, Errno, Outcome, ReplayOutcome, Standing, Walked};

use super::{promise, Judge, Loan, Place, Verdict};

impl Judge {
    pub(crate) fn kill(&mut self, error: Errno, now: u64) {
        self.active(now);
        if self.killed.is_some() {
            return;
        }
        self.killed = Some(error);
        self.recovery = None;
        for i in self.live() {
            match self.facts[i].place {
                Place::Line => self.end(i, Outcome::Cancelled(error)),
                Place::Hardware => self.end(i, Outcome::Failed(error)),
                Place::Armed | Place::Over => {}
            }
        }
    }

    pub(crate) fn unbind(&mut self, error: Errno, now: u64) {
        self.kill(error, now);
        self.unbound = true;
    }

    pub(crate) fn close(&mut self, policy: ClosePolicy, now: u64) {
        if self.killed.is_some() {
            return;
        }
        self.closing_at.get_or_insert(now);
        if self.banned || (self.closing.is_some() && policy == ClosePolicy::Drain) {
            return;
        }
        self.closing = Some(policy);
        self.give_up_the_line();
    }

    pub(crate) fn abandon(&mut self, policy: ClosePolicy, now: u64) {
        self.active(now);
        self.close(policy, now);
        self.suspends = 0;
    }

    pub(crate) fn suspend(&mut self, now: u64) {
        self.active(now);
        self.suspends += 1;
    }

    pub(crate) fn resume(&mut self, now: u64, got: bool) -> Verdict {
        self.active(now);
        promise(got == (self.suspends != 0), || {
            format!("resume said {got}, suspended {} times", self.suspends)
        })?;
        self.suspends = self.suspends.saturating_sub(1);
        Ok(())
    }

    pub(crate) fn stop(&mut self, now: u64, got: bool) -> Verdict {
        self.active(now);
        promise(got != self.stopped, || {
            format!("stop was granted: {got}, stopped before: {}", self.stopped)
        })?;
        self.stopped = true;
        Ok(())
    }

    pub(crate) fn start(&mut self, now: u64, got: bool) -> Verdict {
        self.active(now);
        let may = self.stopped && self.walked.is_none();
        promise(got == may, || {
            format!("start was granted: {got}, not {may}")
        })?;
        if may {
            self.stopped = false;
            self.recovery = None;
        }
        Ok(())
    }

    /// The walk asked from `first` on; `got` is what it was lent, or the error.
    pub(crate) fn walk(&mut self, first: u64, got: Result<Option<u64>, ()>) -> Verdict {
        let may = self.is_quiet() && self.walked.is_none();
        if !may {
            return promise(got.is_err(), || {
                "a job was lent to a walk that may not be".into()
            });
        }
        let ahead = first.wrapping_sub(self.seqno(self.signals_out));
        // What lies behind is a huge step ahead.
        let ahead = usize::try_from(ahead).unwrap_or(0);
        let begin = match self.signals_out.checked_add(ahead) {
            Some(begin) if ahead < usize::MAX / 2 => begin,
            _ => self.signals_out,
        };
        let fits = |i: &usize| self.facts[*i].place == Place::Hardware;
        let found = (begin..self.facts.len()).find(fits);
        let want = found.map(|i| self.seqno(i));
        promise(got == Ok(want), || {
            format!("the walk from #{first} was lent {got:?}, not {want:?}")
        })?;
        if let Some(i) = found {
            promise(self.facts[i].loan == Loan::None, || {
                format!("#{} was lent twice", self.seqno(i))
            })?;
            self.facts[i].loan = Loan::Walk;
            self.walked = found;
        }
        Ok(())
    }

    pub(crate) fn walked(&mut self, seqno: u64, what: Walked, now: u64, got: bool) -> Verdict {
        let held = self
            .find(seqno)
            .filter(|i| self.facts[*i].loan == Loan::Walk);
        promise(got == held.is_some(), || {
            format!("the walk gave #{seqno} back: {got}")
        })?;
        let Some(i) = held else { return Ok(()) };
        self.facts[i].loan = Loan::None;
        self.walked = None;
        if self.facts[i].place != Place::Hardware {
            self.step(i, JobEvent::Return);
            self.stats.late_completions += u64::from(what != Walked::Keep);
            return Ok(());
        }
        match what {
            Walked::Keep => {}
            Walked::End(Outcome::TimedOut(error)) => self.guilty(i, error, now),
            Walked::End(outcome) => self.end(i, outcome),
        }
        Ok(())
    }

    pub(crate) fn replay(&mut self, seqno: u64, now: u64, got: Option<u8>) -> Verdict {
        let active = self.active(now);
        let held = self.find(seqno).filter(|i| {
            let fact = &self.facts[*i];
            fact.loan == Loan::Walk && fact.place == Place::Hardware && fact.attempt < u8::MAX
        });
        let held = held.filter(|_| !self.overdue);
        let want = held.map(|i| self.facts[i].attempt + 1);
        promise(got == want, || {
            format!("replay of #{seqno}: attempt {got:?}, not {want:?}")
        })?;
        if let Some(i) = held {
            self.step(i, JobEvent::Replay);
            self.stats.replays += 1;
            let fact = &mut self.facts[i];
            fact.loan = Loan::Replay;
            fact.attempt += 1;
            fact.extensions = 0;
            fact.triggered = false;
            (fact.since, fact.span) = (active, fact.timeout);
        }
        Ok(())
    }

    pub(crate) fn replayed(&mut self, seqno: u64, outcome: ReplayOutcome, got: bool) -> Verdict {
        let held = self
            .find(seqno)
            .filter(|i| self.facts[*i].loan == Loan::Replay);
        promise(got == held.is_some(), || {
            format!("the replay of #{seqno} returned: {got}")
        })?;
        let Some(i) = held else { return Ok(()) };
        self.facts[i].loan = Loan::None;
        self.walked = None;
        match outcome {
            _ if self.facts[i].place != Place::Hardware => {
                self.step(i, JobEvent::Return);
                let late = outcome != ReplayOutcome::Pending;
                self.stats.late_completions += u64::from(late);
            }
            ReplayOutcome::Pending => {}
            ReplayOutcome::Done => self.end(i, Outcome::Completed),
            ReplayOutcome::Failed(error) => self.end(i, Outcome::Failed(error)),
        }
        Ok(())
    }

    /// A job hung: that is a strike.
    pub(super) fn guilty(&mut self, i: usize, error: Errno, now: u64) {
        self.end(i, Outcome::TimedOut(error));
        self.strike(now);
    }

    pub(crate) fn strike(&mut self, now: u64) {
        self.stats.strikes += 1;
        let ban = self.config.ban;
        let within = ban.and_then(|ban| ban.within).map(crate::oracle::whole_ns);
        if within.is_some_and(|within| now - self.last_strike > within) {
            self.strikes = 0;
        }
        self.last_strike = now;
        self.strikes = self.strikes.saturating_add(1);
        if ban.is_some_and(|ban| self.strikes >= ban.strikes) && !self.banned {
            self.banned = true;
            self.give_up_the_line();
        }
    }

    pub(super) fn standing(&self) -> Standing {
        match self.banned {
            true => Standing::Banned,
            false => Standing::Good {
                strikes: self.strikes,
            },
        }
    }

    pub(crate) fn is_banned(&self) -> bool {
        self.banned
    }
}
