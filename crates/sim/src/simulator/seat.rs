// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A queue and, where somebody asks for it, the model of the property tests beside it: both are told
//! the same and must say the same, down to the very next effect.

use std::fmt;

use ringfence_core::{
    Attempt, Cancelled, ClosePolicy, Completed, Context, Effect, Errno, Gate, JobId, PrepareError,
    Refused, ReplayOutcome, Request, Reservation, RunOutcome, Standing, Time, TimeoutOutcome,
    Visit, Walked, WorkerRest,
};

use super::port::Port;
use super::scenario::Shape;
use crate::element::Core;
use crate::judge::{Verdict, VisitId};
use crate::oracle::Oracle;

/// A queue as the modelled host sees it.
#[derive(Debug)]
pub(crate) struct Seat {
    port: Port,
    model: Option<Box<Oracle>>,
    /// The first thing that the two did not agree on.
    differs: Option<String>,
}

impl Seat {
    pub(crate) fn new(port: Port, shape: &Shape, with_model: bool) -> Self {
        let model = || Oracle::new(shape.config, shape.entries, shape.reap_in_irq);
        Self {
            port,
            model: with_model.then(|| Box::new(model())),
            differs: None,
        }
    }

    /// Core, for looking only.
    pub(crate) fn look(&self) -> &Core {
        self.port.look()
    }

    #[inline]
    fn same<T: PartialEq + fmt::Debug>(&mut self, got: T, model: impl FnOnce(&mut Oracle) -> T) {
        if let Some(oracle) = &mut self.model {
            let want = model(oracle);
            if got != want && self.differs.is_none() {
                self.differs = Some(format!("core says {got:?}, the model {want:?}"));
            }
        }
    }

    /// The two have agreed so far, and count the same.
    pub(crate) fn check(&mut self) -> Verdict {
        let Some(model) = &self.model else {
            return Ok(());
        };
        if let Some(differs) = self.differs.take() {
            return Err(differs);
        }
        let core = self.port.look();
        if core.stats() == *model.stats() {
            return Ok(());
        }
        let (got, want) = (core.stats(), model.stats());
        Err(format!("core has counted {got:?}, the model {want:?}"))
    }

    #[inline]
    pub(crate) fn next(
        &mut self,
        id: VisitId,
        context: Context,
        visit: &mut Visit,
        now: Time,
    ) -> Option<Effect> {
        let got = self.port.next(visit, now);
        self.same(got, |model| model.next(id, context, now.as_ns()));
        got
    }

    #[inline]
    pub(crate) fn next_signal(
        &mut self,
        id: VisitId,
        context: Context,
        visit: &mut Visit,
        now: Time,
    ) -> Option<Effect> {
        let got = self.port.next_signal(visit, now);
        self.same(got, |model| model.next_signal(id, context));
        got
    }

    pub(crate) fn visit(&self, context: Context) -> Visit {
        self.port.visit(context)
    }

    pub(crate) fn worker_enters(&mut self) -> Visit {
        self.same((), Oracle::enter);
        self.port.worker_enters()
    }

    pub(crate) fn worker_leaves(&mut self, id: VisitId, visit: Visit) -> Result<WorkerRest, Visit> {
        let got = self.port.worker_leaves(visit);
        self.same(got.as_ref().ok().copied(), |model| model.leave(id));
        got
    }

    pub(crate) fn prepare(&mut self, request: Request) -> Result<Reservation, PrepareError> {
        let got = self.port.prepare(request);
        let told = got.as_ref().map(|_| ()).map_err(|error| *error);
        self.same(told, |model| model.prepare(request));
        got
    }

    /// The queue itself is not asked.
    pub(crate) fn prepare_aside(&mut self, request: Request) -> Result<Reservation, PrepareError> {
        let got = self.port.prepare_aside(request);
        let told = got.as_ref().map(|_| ()).map_err(|error| *error);
        self.same(told, |model| model.prepare_aside(request));
        got
    }

    pub(crate) fn set_aside(&mut self, most: u32) -> u32 {
        let got = self.port.set_aside(most);
        self.same(got, |model| model.set_aside(most));
        got
    }

    pub(crate) fn put_back(&mut self, rooms: u32) {
        self.same((), |model| model.put_back(rooms));
        self.port.put_back(rooms);
    }

    pub(crate) fn move_into(&mut self, elements: usize) -> Result<bool, String> {
        let got = self.port.move_into(elements)?;
        self.same(got, |model| model.move_into(elements));
        Ok(got)
    }

    /// `at` is where the host keeps the room; the last one moves there.
    pub(crate) fn release(&mut self, room: Reservation, at: usize) {
        self.same((), |model| model.release(at));
        self.port.release(room);
    }

    /// As in [`Self::release`].
    pub(crate) fn arm(&mut self, room: Reservation, at: usize) -> Result<JobId, Refused> {
        let job = self.port.arm(room)?;
        self.same(job.seqno(), |model| model.arm(at));
        Ok(job)
    }

    pub(crate) fn submit(
        &mut self,
        job: JobId,
        open: u32,
        abandoned: bool,
        now: Time,
    ) -> Result<(), Refused> {
        let got = self.port.submit(job, open, abandoned, now);
        let seqno = job.seqno();
        self.same(got.is_ok(), |model| model.submit(seqno, open, abandoned));
        got
    }

    pub(crate) fn dependency(
        &mut self,
        job: JobId,
        result: Result<(), Errno>,
    ) -> Result<(), Refused> {
        let got = self.port.dependency(job, result);
        self.same(got.is_ok(), |model| model.dependency(job.seqno(), result));
        got
    }

    pub(crate) fn resource(&mut self, job: JobId) -> Result<(), Refused> {
        let got = self.port.resource(job);
        self.same(got.is_ok(), |model| model.resource(job.seqno()));
        got
    }

    pub(crate) fn cancel(&mut self, job: JobId, error: Errno) -> Result<Cancelled, Refused> {
        let got = self.port.cancel(job, error);
        let granted = got.ok().map(|got| got == Cancelled::Yes);
        self.same(granted, |model| model.cancel(job.seqno(), error));
        got
    }

    #[inline]
    pub(crate) fn complete(
        &mut self,
        job: JobId,
        attempt: Attempt,
        result: Result<(), Errno>,
    ) -> Completed {
        let got = self.port.complete(job, attempt, result);
        let (seqno, attempt) = (job.seqno(), attempt.replays());
        self.same(got, |model| model.complete(seqno, attempt, result));
        got
    }

    #[inline]
    pub(crate) fn run_returned(
        &mut self,
        id: VisitId,
        visit: &mut Visit,
        job: JobId,
        outcome: RunOutcome,
    ) -> Result<(), Refused> {
        let got = self.port.run_returned(visit, job, outcome);
        let seqno = job.seqno();
        self.same(got.is_ok(), |model| model.run_returned(id, seqno, outcome));
        got
    }

    #[inline]
    pub(crate) fn signalled(
        &mut self,
        id: VisitId,
        visit: &mut Visit,
        job: JobId,
    ) -> Result<(), Refused> {
        let got = self.port.signalled(visit, job);
        self.same(got.is_ok(), |model| model.signalled(id, job.seqno()));
        got
    }

    pub(crate) fn timed_out_returned(
        &mut self,
        id: VisitId,
        visit: &mut Visit,
        job: JobId,
        outcome: TimeoutOutcome,
        now: Time,
    ) -> Result<(), Refused> {
        let got = self.port.timed_out_returned(visit, job, outcome, now);
        let (seqno, now) = (job.seqno(), now.as_ns());
        self.same(got.is_ok(), |model| model.verdict(id, seqno, outcome, now));
        got
    }

    pub(crate) fn hand_back_runs(&mut self, id: VisitId, visit: &mut Visit) -> Result<(), Refused> {
        self.same((), |model| model.hand_back(id));
        self.port.hand_back_runs(visit)
    }

    pub(crate) fn timer_fired(&mut self, now: Time) {
        self.same((), |model| model.timer_fired(now.as_ns()));
        self.port.timer_fired(now);
    }

    pub(crate) fn trigger_timeout(&mut self) -> bool {
        let got = self.port.trigger_timeout();
        self.same(got, Oracle::trigger);
        got
    }

    pub(crate) fn kill(&mut self, error: Errno) {
        self.same((), |model| model.kill(error));
        self.port.kill(error);
    }

    pub(crate) fn unbind(&mut self, error: Errno) {
        self.same((), |model| model.unbind(error));
        self.port.unbind(error);
    }

    pub(crate) fn close(&mut self, policy: ClosePolicy, now: Time) {
        self.same((), |model| model.close(policy, now.as_ns()));
        self.port.close(policy, now);
    }

    pub(crate) fn abandon(&mut self, policy: ClosePolicy, now: Time) {
        self.same((), |model| model.abandon(policy, now.as_ns()));
        self.port.abandon(policy, now);
    }

    pub(crate) fn suspend(&mut self, now: Time) {
        self.same((), |model| model.suspend(now.as_ns()));
        self.port.suspend(now);
    }

    pub(crate) fn resume(&mut self, now: Time) -> bool {
        let got = self.port.resume(now);
        self.same(got, |model| model.resume(now.as_ns()));
        got
    }

    pub(crate) fn set_gate(&mut self, gate: Gate, now: Time) -> Result<u64, Refused> {
        let got = self.port.set_gate(gate, now);
        self.same(got.ok(), |model| model.set_gate(gate, now.as_ns()));
        got
    }

    pub(crate) fn stop(&mut self, now: Time) -> Result<(), Refused> {
        let got = self.port.stop(now);
        self.same(got.is_ok(), |model| model.stop(now.as_ns()));
        got
    }

    pub(crate) fn start(&mut self, now: Time) -> Result<(), Refused> {
        let got = self.port.start(now);
        self.same(got.is_ok(), |model| model.start(now.as_ns()));
        got
    }

    pub(crate) fn walk_from(&mut self, first: JobId) -> Result<Option<JobId>, Refused> {
        let oldest = self.look().oldest().seqno();
        let ahead = usize::try_from(first.seqno().wrapping_sub(oldest)).unwrap_or(0);
        // What lies behind is a huge step ahead.
        let ahead = if ahead > 1 << 20 { 0 } else { ahead };
        let got = self.port.walk_from(first);
        let told = got.ok().map(|job| job.map(JobId::seqno));
        self.same(told, |model| model.walk(ahead));
        got
    }

    pub(crate) fn walked(&mut self, job: JobId, what: Walked, now: Time) -> Result<(), Refused> {
        let got = self.port.walked(job, what, now);
        let (seqno, now) = (job.seqno(), now.as_ns());
        self.same(got.is_ok(), |model| model.walked(seqno, what, now));
        got
    }

    pub(crate) fn replay(&mut self, job: JobId) -> Result<Attempt, Refused> {
        let got = self.port.replay(job);
        let told = got.ok().map(|attempt| attempt.replays());
        self.same(told, |model| model.replay(job.seqno()));
        got
    }

    pub(crate) fn replay_returned(
        &mut self,
        job: JobId,
        outcome: ReplayOutcome,
    ) -> Result<(), Refused> {
        let got = self.port.replay_returned(job, outcome);
        self.same(got.is_ok(), |model| model.replayed(job.seqno(), outcome));
        got
    }

    pub(crate) fn strike(&mut self, now: Time) -> Standing {
        self.same((), |model| model.strike(now.as_ns()));
        self.port.strike(now)
    }
}
