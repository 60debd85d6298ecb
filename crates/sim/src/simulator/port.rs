// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The only way from the modelled host to core: where a bug can be planted in between.

use ringfence_core::{
    Attempt, Cancelled, ClosePolicy, Completed, Config, ConfigError, Context, Effect, Entry, Errno,
    JobId, PrepareError, Queue, Refused, ReplayOutcome, Request, Reservation, RunOutcome, Standing,
    Time, TimeoutOutcome, Visit, Walked, WorkerRest,
};

use super::canary::{Canary, Plant};

/// One core queue as the modelled host sees it.
#[derive(Debug)]
pub(crate) struct Port {
    core: Queue<Vec<Entry>>,
    plant: Plant,
}

impl Port {
    pub(crate) fn new(
        config: Config,
        entries: usize,
        reap_in_irq: bool,
        plant: Plant,
    ) -> Result<Self, ConfigError> {
        let mut core = Queue::new(config, vec![Entry::FREE; entries])?;
        if reap_in_irq {
            core.allow_reap_in_irq();
        }
        Ok(Self { core, plant })
    }

    /// Core, for looking only.
    pub(crate) fn look(&self) -> &Queue<Vec<Entry>> {
        &self.core
    }

    #[inline]
    pub(crate) fn next(&mut self, visit: &mut Visit, now: Time) -> Option<Effect> {
        match self.core.next(visit, now)? {
            Effect::Kick if self.plant.is(Canary::KickLost) => self.core.next(visit, now),
            effect => Some(effect),
        }
    }

    pub(crate) fn visit(&self, context: Context) -> Visit {
        Visit::new(context)
    }

    pub(crate) fn worker_enters(&mut self) -> Visit {
        self.core.worker_enters()
    }

    pub(crate) fn worker_leaves(&mut self, visit: Visit) -> Result<WorkerRest, Visit> {
        self.core.worker_leaves(visit)
    }

    pub(crate) fn prepare(&mut self, request: Request) -> Result<Reservation, PrepareError> {
        self.core.prepare(request)
    }

    pub(crate) fn release(&mut self, room: Reservation) {
        self.core.release(room);
    }

    pub(crate) fn arm(&mut self, room: Reservation) -> Result<JobId, Refused> {
        self.core.arm(room)
    }

    pub(crate) fn submit(
        &mut self,
        job: JobId,
        open: u32,
        abandoned: bool,
        now: Time,
    ) -> Result<(), Refused> {
        self.core.submit(job, open, abandoned, now)
    }

    pub(crate) fn dependency(
        &mut self,
        job: JobId,
        result: Result<(), Errno>,
    ) -> Result<(), Refused> {
        self.core.dependency_signalled(job, result)
    }

    pub(crate) fn resource(&mut self, job: JobId) -> Result<(), Refused> {
        self.core.resource_signalled(job)
    }

    pub(crate) fn cancel(&mut self, job: JobId, error: Errno) -> Result<Cancelled, Refused> {
        self.core.cancel(job, error)
    }

    #[inline]
    pub(crate) fn complete(
        &mut self,
        job: JobId,
        attempt: Attempt,
        result: Result<(), Errno>,
    ) -> Completed {
        let attempt = match self.core.attempt(job) {
            Some(present) if self.plant.is(Canary::StaleCompletionAccepted) => present,
            _ => attempt,
        };
        self.core.complete(job, attempt, result)
    }

    #[inline]
    pub(crate) fn run_returned(
        &mut self,
        visit: &mut Visit,
        job: JobId,
        outcome: RunOutcome,
    ) -> Result<(), Refused> {
        self.core.run_returned(visit, job, outcome)
    }

    #[inline]
    pub(crate) fn signalled(&mut self, visit: &mut Visit, job: JobId) -> Result<(), Refused> {
        self.core.signalled(visit, job)
    }

    pub(crate) fn timed_out_returned(
        &mut self,
        visit: &mut Visit,
        job: JobId,
        outcome: TimeoutOutcome,
        now: Time,
    ) -> Result<(), Refused> {
        self.core.timed_out_returned(visit, job, outcome, now)
    }

    pub(crate) fn hand_back_runs(&mut self, visit: &mut Visit) -> Result<(), Refused> {
        self.core.hand_back_runs(visit)
    }

    pub(crate) fn timer_fired(&mut self, now: Time) {
        self.core.timer_fired(now);
    }

    pub(crate) fn trigger_timeout(&mut self) -> bool {
        self.core.trigger_timeout()
    }

    pub(crate) fn kill(&mut self, error: Errno) {
        self.core.kill(error);
    }

    pub(crate) fn unbind(&mut self, error: Errno) {
        self.core.unbind(error);
    }

    pub(crate) fn close(&mut self, policy: ClosePolicy, now: Time) {
        self.core.close(policy, now);
    }

    pub(crate) fn abandon(&mut self, policy: ClosePolicy, now: Time) {
        self.core.abandon(policy, now);
    }

    pub(crate) fn suspend(&mut self, now: Time) {
        self.core.suspend(now);
    }

    pub(crate) fn resume(&mut self, now: Time) -> bool {
        self.core.resume(now)
    }

    pub(crate) fn stop(&mut self, now: Time) -> Result<(), Refused> {
        self.core.stop(now)
    }

    pub(crate) fn start(&mut self, now: Time) -> Result<(), Refused> {
        self.core.start(now)
    }

    pub(crate) fn walk_from(&mut self, first: JobId) -> Result<Option<JobId>, Refused> {
        self.core.walk_from(first)
    }

    pub(crate) fn walked(&mut self, job: JobId, what: Walked, now: Time) -> Result<(), Refused> {
        self.core.walked(job, what, now)
    }

    pub(crate) fn replay(&mut self, job: JobId) -> Result<Attempt, Refused> {
        self.core.replay(job)
    }

    pub(crate) fn replay_returned(
        &mut self,
        job: JobId,
        outcome: ReplayOutcome,
    ) -> Result<(), Refused> {
        self.core.replay_returned(job, outcome)
    }

    pub(crate) fn strike(&mut self, now: Time) -> Standing {
        self.core.strike(now)
    }
}
