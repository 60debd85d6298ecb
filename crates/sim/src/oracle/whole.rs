// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The model as a whole: its end, its holds, and what is done while it is stopped.

use ringfence_core::state::JobEvent;
use ringfence_core::{ClosePolicy, Errno, Lifecycle, Outcome, ReplayOutcome, State, Walked};

use crate::coverage::Seen;

use super::{whole_ns, Callback, Oracle, Watch};

impl Oracle {
    pub(crate) fn kill(&mut self, error: Errno) {
        if matches!(self.lifecycle, Lifecycle::Killed(_)) {
            return;
        }
        self.lifecycle = Lifecycle::Killed(error);
        self.recovery = None;
        for i in 0..self.jobs.len() {
            if self.jobs[i].state == State::Queued {
                self.end(i, Outcome::Cancelled(error));
            } else if self.jobs[i].on_hardware() {
                self.end(i, Outcome::Failed(error));
            }
        }
    }

    pub(crate) fn unbind(&mut self, error: Errno) {
        self.unbound = true;
        self.kill(error);
    }

    /// True where what has not run will not.
    pub(super) fn runs_no_more(&self) -> bool {
        matches!(
            self.lifecycle,
            Lifecycle::Closing(ClosePolicy::Cancel) | Lifecycle::Banned
        )
    }

    pub(super) fn give_up_the_line(&mut self) {
        for i in 0..self.jobs.len() {
            if self.runs_no_more() && self.jobs[i].state == State::Queued {
                self.give_up(i, Outcome::Cancelled(Errno::ECANCELED));
            }
        }
    }

    pub(crate) fn close(&mut self, policy: ClosePolicy, now: u64) {
        if matches!(self.lifecycle, Lifecycle::Killed(_)) {
            return;
        }
        if !self.closing {
            self.closing = true;
            let span = self.config.close_timeout.map(whole_ns);
            self.limit = span.map(|span| now.saturating_add(span));
        }
        match (self.lifecycle, policy) {
            (Lifecycle::Open, _) | (Lifecycle::Closing(_), ClosePolicy::Cancel) => {
                self.lifecycle = Lifecycle::Closing(policy);
                self.give_up_the_line();
            }
            _ => {}
        }
    }

    pub(crate) fn abandon(&mut self, policy: ClosePolicy, now: u64) {
        self.close(policy, now);
        while self.resume(now) {}
    }

    /// The time for closing is up, where it is.
    pub(super) fn look_at_limit(&mut self, now: u64) {
        if self.limit.is_none_or(|limit| limit > now) {
            return;
        }
        self.limit = None;
        self.overdue = true;
        self.coverage.see(Seen::Overdue);
        if self.lifecycle == Lifecycle::Closing(ClosePolicy::Drain) {
            self.lifecycle = Lifecycle::Closing(ClosePolicy::Cancel);
            self.give_up_the_line();
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        let held = self.suspends != 0 || self.stopped || self.recovery.is_some();
        held || self.keeper.is_shut()
    }

    /// Changes what holds callbacks up; clocks stand still while anything does.
    pub(super) fn change_hold(&mut self, now: u64, change: impl FnOnce(&mut Self)) {
        let before = self.is_held();
        change(self);
        let after = self.is_held();
        for job in &mut self.jobs {
            match job.watch {
                Watch::Until(at) if !before && after => {
                    let left = at.saturating_sub(now);
                    job.watch = Watch::Stopped { left };
                }
                Watch::Stopped { left } if before && !after => {
                    job.watch = Watch::Until(now.saturating_add(left));
                }
                _ => {}
            }
        }
    }

    pub(crate) fn suspend(&mut self, now: u64) {
        self.change_hold(now, |model| model.suspends += 1);
    }

    pub(crate) fn resume(&mut self, now: u64) -> bool {
        if self.suspends == 0 {
            return false;
        }
        self.change_hold(now, |model| model.suspends -= 1);
        true
    }

    pub(crate) fn stop(&mut self, now: u64) -> bool {
        if self.stopped {
            return false;
        }
        self.change_hold(now, |model| model.stopped = true);
        true
    }

    pub(crate) fn start(&mut self, now: u64) -> bool {
        if !self.stopped || self.lent().is_some() {
            return false;
        }
        self.change_hold(now, |model| {
            model.stopped = false;
            model.recovery = None;
        });
        true
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(crate) fn is_quiet(&self) -> bool {
        let walks = |by| matches!(by, Callback::Walk | Callback::Replay);
        let mut lent = self.jobs.iter().filter_map(|job| job.callback);
        self.stopped && lent.all(walks)
    }

    pub(crate) fn wants_recovery(&self) -> Option<u64> {
        self.recovery.map(|(seqno, _)| seqno)
    }

    pub(crate) fn attempt(&self, seqno: u64) -> Option<u8> {
        self.at(seqno).map(|i| self.jobs[i].attempt)
    }

    /// The job that is lent to who has stopped the queue.
    fn lent(&self) -> Option<usize> {
        let lent =
            |job: &super::Job| matches!(job.callback, Some(Callback::Walk | Callback::Replay));
        self.jobs.iter().position(lent)
    }

    /// The walk asks for a job, so many places after the head of the line. `None` where it may not.
    pub(crate) fn walk(&mut self, ahead: usize) -> Option<Option<u64>> {
        if !self.is_quiet() || self.lent().is_some() {
            return None;
        }
        let head = self.jobs.iter().position(|job| !job.fence_is_out());
        let Some(head) = head else {
            return Some(None);
        };
        let mut rest = self.jobs.iter().enumerate().skip(head + ahead);
        let found = rest.find(|(_, job)| job.state == State::Pending);
        let found = found.map(|(i, _)| i);
        Some(found.map(|i| {
            self.jobs[i].callback = Some(Callback::Walk);
            self.jobs[i].seqno
        }))
    }

    /// Takes a loan back; `None` where there is none, else the job and whether it is still on the
    /// hardware.
    fn take_back(&mut self, seqno: u64, lent: Callback) -> Option<(usize, bool)> {
        let held = |i: &usize| self.jobs[*i].callback == Some(lent);
        let i = self.at(seqno).filter(held)?;
        self.jobs[i].callback = None;
        let pending = self.jobs[i].state == State::Pending;
        if !pending {
            let state = self.jobs[i].state;
            self.step(i, JobEvent::Return, state);
        }
        Some((i, pending))
    }

    pub(crate) fn walked(&mut self, seqno: u64, what: Walked, now: u64) -> bool {
        let Some((i, pending)) = self.take_back(seqno, Callback::Walk) else {
            return false;
        };
        match what {
            Walked::Keep => {}
            Walked::End(_) if !pending => self.stats.late_completions += 1,
            Walked::End(Outcome::TimedOut(error)) => self.guilty(i, error, now),
            Walked::End(outcome) => self.end(i, outcome),
        }
        true
    }

    /// The attempt that begins; `None` where it may not.
    pub(crate) fn replay(&mut self, seqno: u64) -> Option<u8> {
        let held = |i: &usize| {
            self.jobs[*i].callback == Some(Callback::Walk) && self.jobs[*i].state == State::Pending
        };
        let i = self.at(seqno).filter(held).filter(|_| !self.overdue)?;
        let attempt = self.jobs[i].attempt.checked_add(1)?;
        self.step(i, JobEvent::Replay, State::Pending);
        let job = &mut self.jobs[i];
        job.callback = Some(Callback::Replay);
        job.attempt = attempt;
        // It has its whole time before it.
        job.extensions = 0;
        job.watch = Watch::NotStarted;
        self.stats.replays += 1;
        Some(attempt)
    }

    pub(crate) fn replayed(&mut self, seqno: u64, outcome: ReplayOutcome) -> bool {
        let Some((i, pending)) = self.take_back(seqno, Callback::Replay) else {
            return false;
        };
        match outcome {
            ReplayOutcome::Pending => {}
            _ if !pending => self.stats.late_completions += 1,
            ReplayOutcome::Done => self.end(i, Outcome::Completed),
            ReplayOutcome::Failed(error) => self.end(i, Outcome::Failed(error)),
        }
        true
    }

    /// A job hung: a strike for its queue.
    pub(super) fn guilty(&mut self, i: usize, error: Errno, now: u64) {
        self.end(i, Outcome::TimedOut(error));
        self.strike(now);
    }

    pub(crate) fn strike(&mut self, now: u64) {
        self.stats.strikes += 1;
        let Some(ban) = self.config.ban else {
            return;
        };
        let within = ban.within.map(whole_ns);
        if within.is_some_and(|within| now - self.last_strike > within) {
            self.strikes = 0;
        }
        self.last_strike = now;
        self.strikes = self.strikes.saturating_add(1);
        if self.strikes < ban.strikes || self.banned {
            return;
        }
        self.banned = true;
        self.coverage.see(Seen::Banned);
        if !matches!(self.lifecycle, Lifecycle::Killed(_)) {
            self.lifecycle = Lifecycle::Banned;
            self.give_up_the_line();
        }
    }

    pub(crate) fn is_banned(&self) -> bool {
        self.banned
    }
}
