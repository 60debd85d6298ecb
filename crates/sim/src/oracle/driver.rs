// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The model's driver, hardware and clock.

use ringfence_core::state::JobEvent;
use ringfence_core::{Completed, Errno, Outcome, RunOutcome, State, TimeoutOutcome};

use crate::coverage::Seen;

use super::{whole_ns, Callback, Oracle, VisitId, Watch};

impl Oracle {
    /// The visit's oldest run is answered for, and no other.
    pub(crate) fn run_returned(&mut self, visit: VisitId, seqno: u64, answer: RunOutcome) -> bool {
        let lent = |job: &&super::Job| job.callback == Some(Callback::Run(visit));
        if self.jobs.iter().find(lent).map(|job| job.seqno) != Some(seqno) {
            return false;
        }
        let Some(i) = self.at(seqno) else {
            return false;
        };
        self.jobs[i].callback = None;
        if self.jobs[i].state != State::Running {
            // It ended before its callback returned: that stands.
            let state = self.jobs[i].state;
            self.step(i, JobEvent::Return, state);
            if matches!(answer, RunOutcome::Done | RunOutcome::Failed(_)) {
                self.stats.late_completions += 1;
            }
            return true;
        }
        match answer {
            RunOutcome::Pending => self.step(i, JobEvent::Pend, State::Pending),
            RunOutcome::Done => self.end(i, Outcome::Completed),
            RunOutcome::Failed(error) => self.end(i, Outcome::Failed(error)),
            RunOutcome::NoResources => {
                self.stats.no_resources += 1;
                self.back_in_line(i, true);
                self.hand_back(visit);
            }
        }
        true
    }

    pub(crate) fn hand_back(&mut self, visit: VisitId) {
        for i in 0..self.jobs.len() {
            if self.jobs[i].callback != Some(Callback::Run(visit)) {
                continue;
            }
            self.jobs[i].callback = None;
            if self.jobs[i].state == State::Running {
                self.back_in_line(i, false);
            } else {
                let state = self.jobs[i].state;
                self.step(i, JobEvent::Return, state);
            }
        }
    }

    fn back_in_line(&mut self, i: usize, for_resource: bool) {
        self.step(i, JobEvent::Requeue, State::Queued);
        self.jobs[i].waits_for_resource = for_resource;
        if self.runs_no_more() {
            self.give_up(i, Outcome::Cancelled(Errno::ECANCELED));
        }
    }

    pub(crate) fn complete(
        &mut self,
        seqno: u64,
        attempt: u8,
        result: Result<(), Errno>,
    ) -> Completed {
        let on_hardware =
            |i: &usize| self.jobs[*i].on_hardware() && self.jobs[*i].attempt == attempt;
        let Some(i) = self.at(seqno).filter(on_hardware) else {
            self.stats.late_completions += 1;
            return Completed::Late;
        };
        self.end(
            i,
            result.map_or_else(Outcome::Failed, |()| Outcome::Completed),
        );
        Completed::Finished
    }

    /// The timer fires. Only the head of the line can have its time up: nobody else's runs.
    pub(crate) fn timer_fired(&mut self, now: u64) {
        self.timer = None;
        for job in &mut self.jobs {
            match job.watch {
                Watch::Until(at) if at <= now => job.watch = Watch::Up,
                _ => {}
            }
        }
        self.look_at_limit(now);
    }

    pub(crate) fn trigger(&mut self) -> bool {
        let head = self.jobs.iter_mut().find(|job| !job.fence_is_out());
        match head {
            Some(job) if job.state == State::Pending && !is_asked(job) => {
                job.watch = Watch::Up;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn verdict(
        &mut self,
        visit: VisitId,
        seqno: u64,
        verdict: TimeoutOutcome,
        now: u64,
    ) -> bool {
        let asked = |i: &usize| self.jobs[*i].callback == Some(Callback::Timeout(visit));
        let Some(i) = self.at(seqno).filter(asked) else {
            return false;
        };
        self.coverage.verdict(verdict);
        self.jobs[i].callback = None;
        if self.jobs[i].state != State::Pending {
            let state = self.jobs[i].state;
            self.step(i, JobEvent::Return, state);
            if verdict == TimeoutOutcome::DeviceGone {
                self.kill(Errno::ENODEV);
            }
            return true;
        }
        self.jobs[i].watch = Watch::NotStarted;
        match verdict {
            TimeoutOutcome::NoHang | TimeoutOutcome::Extend(_) if self.overdue => {
                self.guilty(i, Errno::ETIME, now);
            }
            TimeoutOutcome::NoHang => {
                if let Some(span) = self.jobs[i].wish.timeout {
                    self.start_watch(i, span, now);
                }
            }
            TimeoutOutcome::Extend(span)
                if self.jobs[i].extensions < self.config.extensions_max =>
            {
                self.jobs[i].extensions += 1;
                self.stats.extensions += 1;
                self.start_watch(i, whole_ns(span).max(1), now);
            }
            TimeoutOutcome::Extend(_) => {
                self.coverage.see(Seen::ExtendRefused);
                self.guilty(i, Errno::ETIME, now);
            }
            TimeoutOutcome::Handled(error) => self.guilty(i, error, now),
            TimeoutOutcome::Reset => {
                self.recovery = Some((seqno, false));
                self.stats.recoveries += 1;
            }
            TimeoutOutcome::DeviceGone => {
                self.end(i, Outcome::TimedOut(Errno::ENODEV));
                self.kill(Errno::ENODEV);
            }
        }
        true
    }
}

fn is_asked(job: &super::Job) -> bool {
    matches!(job.callback, Some(Callback::Timeout(_)))
}
