// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The only way from the modelled host to core: where a bug can be planted in between.

mod bugs;

use ringfence_core::{
    Attempt, Cancelled, ClosePolicy, Completed, Config, ConfigError, Context, Effect, Errno, Gate,
    JobId, PrepareError, Queue, Refused, ReplayOutcome, Request, Reservation, RunOutcome, Standing,
    State, Terms, Time, TimeoutOutcome, Visit, Walked, WorkerRest,
};

use super::canary::{Canary, Plant};
use crate::element::{self, Core};

/// One core queue as the modelled host sees it.
#[derive(Debug)]
pub(crate) struct Port {
    core: Core,
    /// What the queue makes of requests, kept since it was made.
    terms: Terms,
    plant: Plant,
    memory: bugs::Memory,
}

impl Port {
    pub(crate) fn new(
        config: Config,
        entries: usize,
        reap_in_irq: bool,
        plant: Plant,
    ) -> Result<Self, ConfigError> {
        let config = bugs::config(plant, config);
        let mut core = Queue::new(config, element::storage(entries))?;
        if reap_in_irq || plant.is(Canary::DropInInterrupt) {
            core.allow_reap_in_irq();
        }
        let memory = bugs::Memory::default();
        Ok(Self {
            terms: core.terms(),
            core,
            plant,
            memory,
        })
    }

    /// Core, for looking only.
    pub(crate) fn look(&self) -> &Core {
        &self.core
    }

    #[inline]
    pub(crate) fn next(&mut self, visit: &mut Visit, now: Time) -> Option<Effect> {
        let effect = self.ask(visit, now);
        match self.plant.planted() {
            None => effect,
            Some(canary) => self.spoil(canary, effect, visit, now),
        }
    }

    /// Of core, with the payload taken out where it is to be dropped.
    #[inline]
    fn ask(&mut self, visit: &mut Visit, now: Time) -> Option<Effect> {
        let effect = self.core.next(visit, now);
        if let Some(Effect::Reap { job }) = effect {
            element::keep(&mut self.core, job, None);
        }
        effect
    }

    /// As [`Self::next`], but signals only.
    #[inline]
    pub(crate) fn next_signal(&mut self, visit: &mut Visit, now: Time) -> Option<Effect> {
        let effect = self.core.next_signal(visit, &mut { now });
        match self.plant.planted() {
            Some(canary) if effect.is_some() => self.spoil(canary, effect, visit, now),
            _ => effect,
        }
    }

    pub(crate) fn visit(&self, context: Context) -> Visit {
        Visit::new(context)
    }

    pub(crate) fn worker_enters(&mut self) -> Visit {
        self.core.worker_enters()
    }

    pub(crate) fn worker_leaves(&mut self, visit: Visit) -> Result<WorkerRest, Visit> {
        let rest = self.core.worker_leaves(visit)?;
        Ok(match self.plant.planted() {
            Some(Canary::IdleWithoutALook) => WorkerRest::Idle,
            Some(Canary::WorkerNeverRests) if !self.core.is_empty() => WorkerRest::More,
            _ => rest,
        })
    }

    pub(crate) fn prepare(&mut self, request: Request) -> Result<Reservation, PrepareError> {
        self.core.prepare(request)
    }

    /// A job gets a room that was set aside.
    pub(crate) fn prepare_aside(&self, request: Request) -> Result<Reservation, PrepareError> {
        self.terms.reservation(request)
    }

    pub(crate) fn set_aside(&mut self, most: u32) -> u32 {
        self.core.set_aside(most)
    }

    pub(crate) fn put_back(&mut self, rooms: u32) {
        self.core.put_back(rooms);
        if self.plant.is(Canary::RoomPutBackTwice) {
            element::put_back_again(&mut self.core, rooms);
        }
    }

    pub(crate) fn move_into(&mut self, elements: usize) -> Result<bool, String> {
        let before = self.core.capacity();
        let moved = element::move_into(&mut self.core, elements)?;
        if moved && self.plant.is(Canary::MovedJobForgotten) {
            element::forget_moved(&mut self.core, before);
        }
        Ok(moved)
    }

    pub(crate) fn release(&mut self, room: Reservation) {
        self.core.release(room);
    }

    pub(crate) fn arm(&mut self, room: Reservation) -> Result<JobId, Refused> {
        let job = self.core.arm(room)?;
        element::keep(&mut self.core, job, Some(job.seqno()));
        Ok(job)
    }

    pub(crate) fn submit(
        &mut self,
        job: JobId,
        open: u32,
        abandoned: bool,
        now: Time,
    ) -> Result<(), Refused> {
        if abandoned && self.plant.is(Canary::DroppedJobForgotten) {
            return Ok(());
        }
        self.core.submit(job, open, abandoned, now)
    }

    pub(crate) fn dependency(
        &mut self,
        job: JobId,
        result: Result<(), Errno>,
    ) -> Result<(), Refused> {
        let result = match self.plant.is(Canary::DependencyErrorLost) {
            true => Ok(()),
            false => result,
        };
        self.core.dependency_signalled(job, result)
    }

    pub(crate) fn resource(&mut self, job: JobId) -> Result<(), Refused> {
        self.core.resource_signalled(job)
    }

    pub(crate) fn cancel(&mut self, job: JobId, error: Errno) -> Result<Cancelled, Refused> {
        let queued = self.core.state(job) == State::Queued;
        if queued && self.plant.is(Canary::CancelForgotten) {
            return Ok(Cancelled::Yes);
        }
        self.core.cancel(job, error)
    }

    #[inline]
    pub(crate) fn complete(
        &mut self,
        job: JobId,
        attempt: Attempt,
        result: Result<(), Errno>,
    ) -> Completed {
        match self.plant.planted() {
            None => self.core.complete(job, attempt, result),
            Some(canary) => self.spoil_completion(canary, job, attempt, result),
        }
    }

    #[inline]
    pub(crate) fn run_returned(
        &mut self,
        visit: &mut Visit,
        job: JobId,
        outcome: RunOutcome,
    ) -> Result<(), Refused> {
        let outcome = match outcome {
            RunOutcome::NoResources if self.plant.is(Canary::CreditsLeak) => RunOutcome::Pending,
            told => told,
        };
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
        self.memory.asking = false;
        if outcome == TimeoutOutcome::NoHang && self.plant.is(Canary::JobWithoutHangLost) {
            self.memory.off_the_list = Some(job);
        }
        let finished = self.core.state(job) != State::Pending;
        if finished && self.plant.is(Canary::FinishedJobStrikes) {
            self.core.strike(now);
        }
        self.core.timed_out_returned(visit, job, outcome, now)
    }

    pub(crate) fn hand_back_runs(&mut self, visit: &mut Visit) -> Result<(), Refused> {
        self.core.hand_back_runs(visit)
    }

    pub(crate) fn timer_fired(&mut self, now: Time) {
        self.memory.fired = true;
        self.core.timer_fired(now);
    }

    pub(crate) fn trigger_timeout(&mut self) -> bool {
        self.core.trigger_timeout()
    }

    pub(crate) fn kill(&mut self, error: Errno) {
        self.core.kill(error);
    }

    pub(crate) fn unbind(&mut self, error: Errno) {
        if !self.plant.is(Canary::UnbindNotTold) {
            self.core.unbind(error);
        }
    }

    pub(crate) fn close(&mut self, policy: ClosePolicy, now: Time) {
        let policy = match policy {
            ClosePolicy::Drain if self.plant.is(Canary::DrainIsCancel) => ClosePolicy::Cancel,
            ClosePolicy::Cancel if self.plant.is(Canary::CancelIsDrain) => ClosePolicy::Drain,
            told => told,
        };
        self.core.close(policy, now);
    }

    pub(crate) fn abandon(&mut self, policy: ClosePolicy, now: Time) {
        self.core.abandon(policy, now);
    }

    pub(crate) fn suspend(&mut self, now: Time) {
        self.memory.suspended_at = now;
        self.core.suspend(now);
    }

    pub(crate) fn resume(&mut self, now: Time) -> bool {
        let now = match self.plant.is(Canary::SuspendedTimeCounts) {
            true => self.memory.suspended_at,
            false => now,
        };
        self.core.resume(now)
    }

    pub(crate) fn set_gate(&mut self, gate: Gate, now: Time) -> Result<u64, Refused> {
        let was_shut = self.core.gate() == Some(Gate::Shut);
        if gate == Gate::Shut && !was_shut {
            self.memory.shut_at = now;
        }
        match (gate, self.plant.planted()) {
            (Gate::Yield, Some(Canary::YieldForgotten)) => self.core.set_gate(Gate::Open, now),
            (_, Some(Canary::ShutTimeCounts)) if was_shut => {
                self.core.set_gate(gate, self.memory.shut_at)
            }
            _ => self.core.set_gate(gate, now),
        }
    }

    pub(crate) fn stop(&mut self, now: Time) -> Result<(), Refused> {
        if self.plant.is(Canary::StopForgotten) && !self.core.is_stopped() {
            return Ok(());
        }
        self.core.stop(now)
    }

    pub(crate) fn start(&mut self, now: Time) -> Result<(), Refused> {
        self.core.start(now)
    }

    pub(crate) fn walk_from(&mut self, first: JobId) -> Result<Option<JobId>, Refused> {
        match self.plant.planted() {
            None => self.core.walk_from(first),
            Some(canary) => self.spoil_walk(canary, first),
        }
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
