// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Bugs between core and its host: what core would do with them.

use std::time::Duration;

use ringfence_core::{
    Attempt, Completed, Config, Context, Effect, Errno, JobId, Lifecycle, Outcome, Refused, State,
    Time, Visit,
};

use super::super::canary::{Canary, Plant};
use super::Port;

/// What bugs have to remember.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// What is to be handed out again.
    twice: Option<Effect>,
    /// The timer has fired since the worker was last told something.
    pub(super) fired: bool,
    /// A timeout is being looked into.
    pub(super) asking: bool,
    /// A job that the driver has found to be well.
    pub(super) off_the_list: Option<JobId>,
    /// A job has completed, and the timer is not set for it yet.
    rearm: bool,
    pub(super) suspended_at: Time,
    pub(super) shut_at: Time,
}

/// The config of a queue that has the bug.
pub(super) fn config(plant: Plant, mut config: Config) -> Config {
    match plant.planted() {
        Some(Canary::CloseBoundIgnored) => config.close_timeout = None,
        Some(Canary::ExtensionsUnbounded) => config.extensions_max = u8::MAX,
        Some(Canary::BanIgnored) => config.ban = None,
        Some(Canary::RunOnSubmitter) => config.bypass = true,
        _ => {}
    }
    config
}

impl Port {
    /// What core would have handed out instead.
    pub(super) fn spoil(
        &mut self,
        canary: Canary,
        effect: Option<Effect>,
        visit: &mut Visit,
        now: Time,
    ) -> Option<Effect> {
        let worker = visit.context() == Context::Worker;
        match (canary, effect) {
            (Canary::KickLost, Some(Effect::Kick))
            | (Canary::TimerLost, Some(Effect::ArmTimer { .. }))
            | (Canary::RecoveryNotTold, Some(Effect::Recover { .. })) => self.ask(visit, now),
            (Canary::ReportLost, Some(Effect::Gate { .. })) if worker => self.ask(visit, now),
            (Canary::JobsLeakAtTeardown, Some(Effect::Reap { .. })) if !self.is_open() => {
                self.next(visit, now)
            }
            (Canary::CancelledOutOfOrder, Some(Effect::Signal { job, outcome })) => {
                Some(Effect::Signal {
                    job: self.newest_cancelled(job, outcome),
                    outcome,
                })
            }
            (Canary::ErrorLost, Some(Effect::Signal { job, .. })) => Some(Effect::Signal {
                job,
                outcome: Outcome::Completed,
            }),
            (Canary::SignalTwice, Some(Effect::Signal { .. }))
            | (Canary::PayloadDroppedTwice, Some(Effect::Reap { .. }))
            | (Canary::ClosedTwice, Some(Effect::Closed)) => {
                self.memory.twice = effect;
                effect
            }
            (Canary::SignalTwice | Canary::PayloadDroppedTwice | Canary::ClosedTwice, None) => {
                self.memory.twice.take()
            }
            (Canary::FinishedJobTimesOut, Some(Effect::Signal { job, outcome }))
                if worker && self.memory.fired && outcome == Outcome::Completed =>
            {
                Some(Effect::TimedOut {
                    job,
                    extensions_left: self.core.config().extensions_max,
                })
            }
            (Canary::TimerForFinishedJob, None) if std::mem::take(&mut self.memory.rearm) => {
                Some(Effect::ArmTimer {
                    at: now.after(Duration::from_nanos(100)),
                })
            }
            (Canary::PayloadDroppedInTimeout, Some(Effect::TimedOut { .. })) => {
                self.memory.asking = true;
                effect
            }
            (_, None) => self.spoil_rest(canary, visit.context()),
            _ => effect,
        }
    }

    /// What core would have handed out where it has nothing to hand out.
    fn spoil_rest(&self, canary: Canary, context: Context) -> Option<Effect> {
        let oldest = self.core.jobs().next()?;
        let reaps = matches!(context, Context::Worker | Context::Task | Context::Submit);
        // Its payload would have been handed out, were it not lent.
        let lent = reaps && self.core.state(oldest) == State::Signalled;
        let reap = Some(Effect::Reap { job: oldest });
        match canary {
            Canary::PayloadDroppedInTimeout if lent && self.memory.asking => reap,
            Canary::PayloadDroppedInRun if lent && self.is_killed() && !self.core.is_stopped() => {
                reap
            }
            Canary::ClosedEarly if reaps && !self.is_open() => {
                let over = |job| self.core.state(job) == State::Signalled;
                self.core.jobs().all(over).then_some(Effect::Closed)
            }
            _ => None,
        }
    }

    fn is_open(&self) -> bool {
        self.core.lifecycle() == Lifecycle::Open
    }

    fn is_killed(&self) -> bool {
        matches!(self.core.lifecycle(), Lifecycle::Killed(_))
    }

    /// The newest job that is to signal, where `job` was cancelled.
    fn newest_cancelled(&self, job: JobId, outcome: Outcome) -> JobId {
        let done = |job: &JobId| self.core.state(*job) == State::Done;
        match outcome {
            Outcome::Cancelled(_) => self.core.jobs().filter(done).last().unwrap_or(job),
            _ => job,
        }
    }

    /// What comes of a completion.
    pub(super) fn spoil_completion(
        &mut self,
        canary: Canary,
        job: JobId,
        attempt: Attempt,
        result: Result<(), Errno>,
    ) -> Completed {
        let present = self.core.attempt(job).unwrap_or(attempt);
        match canary {
            Canary::StaleCompletionAccepted => self.core.complete(job, present, result),
            Canary::NumbersDoNotWrap if job.seqno() < self.core.config().first_seqno => {
                Completed::Late
            }
            Canary::JobWithoutHangLost if self.memory.off_the_list == Some(job) => {
                Completed::Finished
            }
            _ => {
                let done = self.core.complete(job, attempt, result);
                self.memory.rearm |= done == Completed::Finished;
                done
            }
        }
    }

    /// What a walk is lent.
    pub(super) fn spoil_walk(
        &mut self,
        canary: Canary,
        first: JobId,
    ) -> Result<Option<JobId>, Refused> {
        match canary {
            Canary::WalkWithoutStop if !self.core.is_quiet() => {
                let pending = |job: &JobId| self.core.state(*job) == State::Pending;
                let found = self.core.jobs().find(pending);
                found.map_or(self.core.walk_from(first), |job| Ok(Some(job)))
            }
            Canary::WalkOutOfOrder if self.core.state(first) == State::Pending => {
                let second = JobId::from_seqno(first.seqno().wrapping_add(1));
                match self.core.walk_from(second)? {
                    Some(job) => Ok(Some(job)),
                    None => self.core.walk_from(first),
                }
            }
            _ => self.core.walk_from(first),
        }
    }
}
