// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the model would hand out next, and to whom; the worker's coming and going.

use ringfence_core::state::JobEvent;
use ringfence_core::{Context, Effect, JobId, Lifecycle, Outcome, State, Time, WorkerRest};

use super::{Callback, Oracle, VisitId, Watch, WorkerIs, BATCH};

/// What there is to do, found by looking through all jobs.
impl Oracle {
    /// The oldest job whose fence has not been handed out: the head of the line.
    fn head(&self) -> Option<usize> {
        self.jobs.iter().position(|job| !job.fence_is_out())
    }

    fn runs_of(&self, visit: Option<VisitId>) -> usize {
        let is_run = |by: &Callback| match (by, visit) {
            (Callback::Run(by), Some(visit)) => *by == visit,
            (Callback::Run(_), None) => true,
            (Callback::Timeout(_) | Callback::Walk | Callback::Replay, _) => false,
        };
        let lent = self.jobs.iter().filter_map(|job| job.callback.as_ref());
        lent.filter(|by| is_run(by)).count()
    }

    fn signals_of(&self, visit: Option<VisitId>) -> usize {
        let out = self.jobs.iter().filter(|j| j.state == State::Signalling);
        out.filter(|job| visit.is_none() || job.signalled_by == visit)
            .count()
    }

    fn is_asking(&self) -> bool {
        let asked = |by: Option<Callback>| matches!(by, Some(Callback::Timeout(_)));
        self.jobs.iter().any(|job| asked(job.callback))
    }

    fn driver_may_be_called(&self) -> bool {
        !self.is_held() && !self.unbound && !self.is_asking()
    }

    /// The head of the line, if its fence can signal.
    fn signal(&self, visit: Option<VisitId>) -> Option<usize> {
        let all = self.signals_of(None);
        let mine = visit.map_or(0, |visit| self.signals_of(Some(visit)));
        let i = self.head()?;
        (all == mine && mine < BATCH && self.jobs[i].state == State::Done).then_some(i)
    }

    /// The oldest job of all, if its payload can be dropped.
    fn reap(&self) -> bool {
        let oldest = self.jobs.first();
        oldest.is_some_and(|job| job.state == State::Signalled && job.callback.is_none())
    }

    /// The job's time is up, or that of the whole queue.
    fn is_up(&self, i: usize) -> bool {
        self.overdue || self.jobs[i].watch == Watch::Up
    }

    /// The timer is to be set for the end of closing.
    fn limit(&self) -> Option<u64> {
        let limit = self.limit.filter(|_| !self.jobs.is_empty())?;
        self.timer
            .is_none_or(|timer| timer > limit)
            .then_some(limit)
    }

    /// The head of the line, if its time is up and the driver may be asked.
    fn timeout(&self) -> Option<usize> {
        let i = self.head()?;
        let up = self.jobs[i].state == State::Pending && self.is_up(i);
        (up && self.driver_may_be_called() && self.runs_of(None) == 0).then_some(i)
    }

    /// The first job in line, if it can run.
    fn run(&self, visit: Option<VisitId>) -> Option<usize> {
        let all = self.runs_of(None);
        let mine = visit.map_or(0, |visit| self.runs_of(Some(visit)));
        let kept = !self.driver_may_be_called() || self.keeper.holds_runs();
        if all != mine || mine >= BATCH || kept {
            return None;
        }
        self.next_ready()
    }

    /// The first job in line, if only the driver's leave is wanting.
    pub(super) fn next_ready(&self) -> Option<usize> {
        let i = self.jobs.iter().position(super::Job::in_line)?;
        let job = &self.jobs[i];
        let ready = job.state == State::Queued && job.open == 0 && !job.waits_for_resource;
        let paid = self.credits_used() + job.wish.cost <= self.config.credits;
        (ready && paid).then_some(i)
    }

    /// True if anyone who came now would be told of the timer or of the end.
    fn has_errand(&self) -> bool {
        if self.jobs.is_empty() {
            return self.closed_is_due();
        }
        if self.limit().is_some() {
            return true;
        }
        let Some(job) = self.head().map(|i| &self.jobs[i]) else {
            return false;
        };
        let set_too_late = match job.watch {
            Watch::NotStarted => job.wish.timeout.is_some(),
            Watch::Until(at) => self.timer.is_none_or(|timer| timer > at),
            Watch::Stopped { .. } | Watch::Up => false,
        };
        job.state == State::Pending && !self.is_asking() && !self.overdue && set_too_late
    }

    /// True if a worker that came now would have something to do.
    pub(crate) fn has_work(&self) -> bool {
        self.signal(None).is_some()
            || self.reap()
            || self.timeout().is_some()
            || self.run(None).is_some()
            || self.recovery.is_some_and(|(_, told)| !told)
            || self.report_is_due()
            || self.closed_is_due()
    }

    fn closed_is_due(&self) -> bool {
        let over = self.jobs.is_empty() && self.lifecycle != Lifecycle::Open;
        over && !self.told_closed && !self.stopped && self.recovery.is_none()
    }
}

/// What the model hands out.
impl Oracle {
    /// The next effect for a visit: fences first, then payloads, the timer, runs, what the gate is
    /// told; the kick last.
    pub(crate) fn next(&mut self, visit: VisitId, context: Context, now: u64) -> Option<Effect> {
        let effect = self.choose(visit, context, now);
        if let Some(effect) = &effect {
            self.coverage.effect(effect, context);
        }
        effect
    }

    /// The next effect for a visit that asks for fences only.
    pub(crate) fn next_signal(&mut self, visit: VisitId, context: Context) -> Option<Effect> {
        let effect = self.choose_signal(visit, context)?;
        self.coverage.effect(&effect, context);
        Some(effect)
    }

    fn choose_signal(&mut self, visit: VisitId, context: Context) -> Option<Effect> {
        let i = self
            .signal(Some(visit))
            .filter(|_| context != Context::Nested)?;
        Some(self.hand_out_signal(i, visit))
    }

    fn choose(&mut self, visit: VisitId, context: Context, now: u64) -> Option<Effect> {
        if let Some(effect) = self.choose_signal(visit, context) {
            return Some(effect);
        }
        if self.reap() && self.may_drop_payloads(context) {
            self.step(0, JobEvent::Reap, State::Free);
            self.stats.reaped += 1;
            let job = JobId::from_seqno(self.jobs.remove(0).seqno);
            return Some(Effect::Reap { job });
        }
        if let Some(effect) = self.choose_timeout(visit, context, now) {
            return Some(effect);
        }
        if let (Some((seqno, false)), Context::Worker) = (self.recovery, context) {
            self.recovery = Some((seqno, true));
            let job = JobId::from_seqno(seqno);
            return Some(Effect::Recover { job });
        }
        if let Some(effect) = self.choose_run(visit, context) {
            return Some(effect);
        }
        if let Some(effect) = self.choose_report(context) {
            return Some(effect);
        }
        if self.closed_is_due() && !matches!(context, Context::Irq | Context::Nested) {
            self.told_closed = true;
            return Some(Effect::Closed);
        }
        if self.worker == WorkerIs::Idle && self.has_work() {
            self.worker = WorkerIs::Coming;
            self.stats.kicks += 1;
            return Some(Effect::Kick);
        }
        None
    }

    fn hand_out_signal(&mut self, i: usize, visit: VisitId) -> Effect {
        self.step(i, JobEvent::Signal, State::Signalling);
        self.jobs[i].signalled_by = Some(visit);
        // A job that is done has an outcome; a model without one is broken and may panic.
        let outcome = self.jobs[i].verdict.expect("a done job has an outcome");
        self.stats.signalled += 1;
        match outcome {
            Outcome::Completed => self.stats.completed += 1,
            Outcome::Failed(_) => self.stats.failed += 1,
            Outcome::Cancelled(_) => self.stats.cancelled += 1,
            Outcome::TimedOut(_) => self.stats.timed_out += 1,
        }
        self.coverage.outcome(outcome);
        let job = JobId::from_seqno(self.jobs[i].seqno);
        Effect::Signal { job, outcome }
    }

    fn choose_timeout(&mut self, visit: VisitId, context: Context, now: u64) -> Option<Effect> {
        if let Some(limit) = self.limit() {
            self.timer = Some(limit);
            let at = Time::from_ns(limit);
            return Some(Effect::ArmTimer { at });
        }
        if let (Some(i), Context::Worker) = (self.timeout(), context) {
            self.jobs[i].callback = Some(Callback::Timeout(visit));
            self.stats.timeouts += 1;
            return Some(Effect::TimedOut {
                job: JobId::from_seqno(self.jobs[i].seqno),
                extensions_left: match self.overdue {
                    true => 0,
                    false => self.config.extensions_max - self.jobs[i].extensions,
                },
            });
        }
        let i = self.head()?;
        if self.jobs[i].state != State::Pending || self.is_asking() || self.is_up(i) {
            return None;
        }
        if let (Watch::NotStarted, Some(span)) = (self.jobs[i].watch, self.jobs[i].wish.timeout) {
            self.start_watch(i, span, now);
        }
        let Watch::Until(at) = self.jobs[i].watch else {
            return None;
        };
        if self.timer.is_some_and(|timer| timer <= at) {
            return None;
        }
        self.timer = Some(at);
        let at = Time::from_ns(at);
        Some(Effect::ArmTimer { at })
    }

    pub(super) fn start_watch(&mut self, i: usize, span: u64, now: u64) {
        self.jobs[i].watch = if !self.is_held() {
            Watch::Until(now.saturating_add(span))
        } else {
            Watch::Stopped { left: span }
        };
    }

    fn choose_run(&mut self, visit: VisitId, context: Context) -> Option<Effect> {
        if !self.jobs.iter().any(super::Job::in_line) {
            self.bypass_streak = 0;
        }
        let here = match context {
            Context::Worker => true,
            Context::Submit => self.config.bypass && self.bypass_streak < self.config.bypass_budget,
            Context::Irq | Context::Nested | Context::Task => false,
        };
        let i = self.run(Some(visit)).filter(|_| here)?;
        self.step(i, JobEvent::Run, State::Running);
        self.jobs[i].callback = Some(Callback::Run(visit));
        self.stats.runs += 1;
        if context == Context::Submit {
            self.stats.bypassed += 1;
            self.bypass_streak += 1;
        } else {
            self.bypass_streak = 0;
        }
        let job = JobId::from_seqno(self.jobs[i].seqno);
        Some(Effect::Run { job })
    }

    /// The visit's oldest signal is answered for, and no other.
    pub(crate) fn signalled(&mut self, visit: VisitId, seqno: u64) -> bool {
        let mine =
            |job: &&super::Job| job.state == State::Signalling && job.signalled_by == Some(visit);
        if self.jobs.iter().find(mine).map(|job| job.seqno) != Some(seqno) {
            return false;
        }
        let Some(i) = self.at(seqno) else {
            return false;
        };
        self.step(i, JobEvent::Acknowledge, State::Signalled);
        true
    }

    pub(crate) fn enter(&mut self) {
        self.worker = WorkerIs::Here;
    }

    /// `None` where the visit owes answers.
    pub(crate) fn leave(&mut self, visit: VisitId) -> Option<WorkerRest> {
        let asked = |job: &super::Job| job.callback == Some(Callback::Timeout(visit));
        if self.runs_of(Some(visit)) + self.signals_of(Some(visit)) != 0
            || self.jobs.iter().any(asked)
        {
            return None;
        }
        if self.has_work() || self.has_errand() {
            self.worker = WorkerIs::Coming;
            return Some(WorkerRest::More);
        }
        self.worker = WorkerIs::Idle;
        Some(WorkerRest::Idle)
    }
}
