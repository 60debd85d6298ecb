// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is to be done next, and by whom: the batons, the order of effects, the kick.

use super::{Lifecycle, Queue, Recovery, Worker, BATCH_MAX};
use crate::effect::{Context, Effect, JobId, Outcome, Visit};
use crate::entry::{Entry, HasEntry, Lent, Refused};
use crate::log::What;
use crate::state::{JobEvent, State};
use crate::time::Now;

impl<S: AsRef<[P]> + AsMut<[P]>, P: HasEntry> Queue<S, P> {
    /// The next thing for this visit to do, or `None` when there is nothing for it now: fences
    /// first, then payloads, the timeout of the head of the line, runs, what its gate is told, and
    /// the kick last.
    ///
    /// A host takes effects until its batch is full or there are none, releases the lock, acts
    /// on them in the order given, takes the lock, answers, and asks again. A visit that is told
    /// `None` and owes no answer is over.
    #[inline]
    pub fn next(&mut self, visit: &mut Visit, mut now: impl Now) -> Option<Effect> {
        if let Some(effect) = self.next_signal(visit, &mut now) {
            return Some(effect);
        }
        if let Some(job) = self.next_reap(visit) {
            return Some(Effect::Reap { job });
        }
        if self.line_is_quiet(visit) {
            self.bypass_streak = 0;
            return None;
        }
        self.next_of_the_line(visit, now)
    }

    /// True where [`Self::next_of_the_line`] is sure to find nothing, as after most events.
    #[inline]
    fn line_is_quiet(&self, visit: &Visit) -> bool {
        let wants_clock = |entry: &Entry| entry.state == State::Pending && entry.timeout_ns != 0;
        self.run_next == self.tail
            && self.lifecycle == Lifecycle::Open
            && self.is_free()
            && !matches!(visit.context, Context::Irq | Context::Nested)
            && self.clock.is_idle()
            && !self.entry(self.signal_next).is_some_and(wants_clock)
    }

    #[inline(never)]
    fn next_of_the_line(&mut self, visit: &mut Visit, mut now: impl Now) -> Option<Effect> {
        if let Some(effect) = self.next_timeout(visit, &mut now) {
            return Some(effect);
        }
        if let Some(job) = self.next_recovery(visit) {
            return Some(Effect::Recover { job });
        }
        if let Some(job) = self.next_run(visit) {
            return Some(Effect::Run { job });
        }
        if let Some(report) = self.next_report(visit) {
            return Some(report);
        }
        if self.closed_is_due() && !matches!(visit.context, Context::Irq | Context::Nested) {
            self.closed_told = true;
            return Some(Effect::Closed);
        }
        if self.worker == Worker::Idle && self.leaves_work(visit) {
            self.worker = Worker::Kicked;
            self.counts.kicks += 1;
            return Some(Effect::Kick);
        }
        None
    }

    /// The visit has signalled the fence of the oldest job it was told to.
    ///
    /// # Errors
    ///
    /// The visit was not told to, or older answers are missing.
    #[inline]
    pub fn signalled(&mut self, visit: &mut Visit, job: JobId) -> Result<(), Refused> {
        // Signals are handed out in order, without gaps and to one visit.
        if visit.signals == 0 || job.0 != self.signal_next.wrapping_sub(u64::from(self.signals)) {
            return Err(Refused::NotHeld);
        }
        self.entry_mut(job.0)
            .ok_or(Refused::Unknown)?
            .step(JobEvent::Acknowledge)?;
        visit.signals -= 1;
        self.signals = self.signals.saturating_sub(1);
        Ok(())
    }

    /// As [`Queue::next`], but signals only, which come first there: for a host that would rather
    /// signal than first hear of what else there is.
    #[inline]
    pub fn next_signal(&mut self, visit: &mut Visit, now: &mut impl Now) -> Option<Effect> {
        // The signal baton: all outstanding signals are this visit's.
        if self.signals != visit.signals || visit.signals >= BATCH_MAX {
            return None;
        }
        if visit.context == Context::Nested {
            return None;
        }
        let seqno = self.signal_next;
        let entry = self.entry_mut(seqno)?;
        entry.step(JobEvent::Signal).ok()?;
        let outcome = entry.outcome?;
        self.signal_next = seqno.wrapping_add(1);
        if self.run_next == seqno {
            self.run_next = self.signal_next;
        }
        visit.signals += 1;
        self.signals += 1;
        // Not a reading more: the fence is stamped with the same.
        self.log_head.now = now.now();
        self.note(What::Signal, seqno);
        match outcome {
            Outcome::Completed => {}
            Outcome::Failed(_) => self.counts.failed += 1,
            Outcome::Cancelled(_) => self.counts.cancelled += 1,
            Outcome::TimedOut(_) => self.counts.timed_out += 1,
        }
        Some(Effect::Signal {
            job: JobId(seqno),
            outcome,
        })
    }

    #[inline]
    fn next_reap(&mut self, visit: &Visit) -> Option<JobId> {
        if !self.may_reap(visit) {
            return None;
        }
        let seqno = self.head;
        let entry = self.entry_mut(seqno)?;
        if entry.lent != Lent::No {
            return None;
        }
        entry.step(JobEvent::Reap).ok()?;
        *entry = Entry::FREE;
        self.head = seqno.wrapping_add(1);
        Some(JobId(seqno))
    }

    fn may_reap(&self, visit: &Visit) -> bool {
        match visit.context {
            Context::Irq => self.irq_droppable,
            Context::Nested => false,
            Context::Task | Context::Submit | Context::Worker => true,
        }
    }

    /// Keeps the head of the line's clock going and asks the driver when its time is up.
    #[inline]
    fn next_timeout(&mut self, visit: &mut Visit, now: &mut impl Now) -> Option<Effect> {
        if self.clock.has_limit() && !self.is_empty() {
            if let Some(at) = self.clock.take_limit_arm() {
                return Some(Effect::ArmTimer { at });
            }
        }
        if self.signal_next == self.run_next {
            return None;
        }
        let held = self.is_held();
        let seqno = self.signal_next;
        let entry = self.entry(seqno)?;
        if entry.state != State::Pending || self.clock.is_asking() {
            return None;
        }
        if self.time_is_up(seqno) {
            return self.ask_about_timeout(visit, seqno);
        }
        let timeout_ns = entry.timeout_ns;
        if !self.clock.times(seqno) {
            if timeout_ns == 0 {
                // The clock is still that of a job that has ended: nobody needs its timer.
                return None;
            }
            self.clock.start(seqno, timeout_ns, now.now(), held);
        }
        self.clock.take_arm().map(|at| Effect::ArmTimer { at })
    }

    fn ask_about_timeout(&mut self, visit: &mut Visit, seqno: u64) -> Option<Effect> {
        if visit.context != Context::Worker || !self.may_ask_driver() {
            return None;
        }
        let extensions_max = match self.overdue {
            true => 0,
            false => self.config.extensions_max,
        };
        let entry = self.entry_mut(seqno)?;
        entry.lent = Lent::Timeout;
        let extensions_left = extensions_max.saturating_sub(entry.extensions);
        self.clock.ask(seqno);
        self.note(What::Asked, seqno);
        visit.timeouts = 1;
        self.counts.timeouts += 1;
        Some(Effect::TimedOut {
            job: JobId(seqno),
            extensions_left,
        })
    }

    /// No driver callback is outstanding, and one may begin.
    fn may_ask_driver(&self) -> bool {
        !self.callback_is_out() && !self.is_held() && !self.unbound
    }

    #[inline]
    fn next_run(&mut self, visit: &mut Visit) -> Option<JobId> {
        let Some(seqno) = self.runnable(visit) else {
            self.pass_ended_jobs();
            if self.run_next == self.tail {
                // A submitter has run enough only for as long as there is more to run.
                self.bypass_streak = 0;
            }
            return None;
        };
        let entry = self.entry_mut(seqno)?;
        entry.step(JobEvent::Run).ok()?;
        entry.lent = Lent::Run;
        let cost = entry.cost;
        self.credits.take(cost);
        self.run_next = seqno.wrapping_add(1);
        if self.runs == 0 {
            self.run_oldest = seqno;
        }
        visit.runs += 1;
        self.runs += 1;
        self.ran += 1;
        self.note(What::Run, seqno);
        if visit.context == Context::Submit {
            self.bypass_streak = self.bypass_streak.saturating_add(1);
            self.bypassed += 1;
        } else {
            self.bypass_streak = 0;
        }
        Some(JobId(seqno))
    }

    /// Jobs that ended without running keep their place in line until they signal.
    #[inline]
    fn pass_ended_jobs(&mut self) {
        while self
            .entry(self.run_next)
            .is_some_and(|entry| entry.state == State::Done)
        {
            self.run_next = self.run_next.wrapping_add(1);
        }
    }

    /// The job that this visit may be told to run now.
    #[inline]
    pub(super) fn runnable(&self, visit: &Visit) -> Option<u64> {
        let allowed = match visit.context {
            Context::Worker => true,
            Context::Submit => self.bypass_streak < self.bypass_budget,
            Context::Irq | Context::Nested | Context::Task => false,
        };
        // The run baton: all outstanding runs are this visit's.
        if !allowed || self.runs != visit.runs || visit.runs >= BATCH_MAX {
            return None;
        }
        if self.runs_are_held() || self.unbound || self.clock.is_asking() {
            return None;
        }
        self.next_in_line()
    }

    /// The next job of the line, if nothing but the driver's leave keeps it from running.
    #[inline]
    pub(super) fn next_in_line(&self) -> Option<u64> {
        let mut seqno = self.run_next;
        let mut entry = self.entry(seqno)?;
        while entry.state == State::Done {
            seqno = seqno.wrapping_add(1);
            entry = self.entry(seqno)?;
        }
        (entry.is_ready() && self.credits.fit(entry.cost)).then_some(seqno)
    }

    /// True if a worker would find something to do that `visit`, which found nothing, may not.
    #[inline]
    fn leaves_work(&self, visit: &Visit) -> bool {
        // Every other context signals and reaps all there is, or leaves it to one that is there.
        let signals = !matches!(visit.context, Context::Irq | Context::Nested);
        if signals
            && self.run_next == self.tail
            && !self.time_is_up(self.signal_next)
            && self.is_free()
        {
            return false;
        }
        self.has_work_for(&Visit::new(Context::Worker))
    }

    /// True if any visit would be told something that takes no worker: to set the timer, or
    /// that the queue is closed. A worker that leaves before it was told nothing must not drop it.
    pub(super) fn has_errand(&self) -> bool {
        if self.closed_is_due() {
            return true;
        }
        if !self.is_empty() && self.clock.wants_limit_arm().is_some() {
            return true;
        }
        self.head_of_line().is_some_and(|(seqno, entry)| {
            let timed = self.clock.times(seqno);
            // Of a job whose time is up nothing is left to be timed, asked about or not.
            entry.state == State::Pending
                && !self.clock.is_asking()
                && !self.time_is_up(seqno)
                && ((!timed && entry.timeout_ns != 0)
                    || (timed && self.clock.wants_arm().is_some()))
        })
    }

    /// True if a worker that visits now would find something to do.
    pub(super) fn has_work_for(&self, worker: &Visit) -> bool {
        let reap = self.entry(self.head).is_some_and(|entry| {
            entry.state == State::Signalled && entry.lent == Lent::No && self.may_reap(worker)
        });
        let signal = self.signals == 0
            && self
                .head_of_line()
                .is_some_and(|(_, entry)| entry.state == State::Done);
        let timeout = self.head_of_line().is_some_and(|(seqno, entry)| {
            entry.state == State::Pending && self.time_is_up(seqno) && self.may_ask_driver()
        });
        let recovery = matches!(self.recovery, Recovery::Wanted(_));
        reap || signal
            || timeout
            || recovery
            || self.report_is_due()
            || self.closed_is_due()
            || self.runnable(worker).is_some()
    }

    fn closed_is_due(&self) -> bool {
        // Whoever recovers the queue still has the driver.
        !self.closed_told && self.is_closed() && !self.stopped && self.recovery == Recovery::None
    }
}
