// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Bugs on purpose, between core and its host: the checks must find each of them.

use ringfence_core::{
    Attempt, Cancelled, Completed, Context, Effect, Errno, Gate, JobId, Outcome, Refused,
    Reservation, RunOutcome, Time, TimeoutOutcome, Visit,
};

use crate::element::{self, Core};

/// One bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// Two fences change places.
    SignalOutOfOrder,
    /// A fence is signalled twice.
    SignalTwice,
    /// An error is signalled as success.
    ErrorLost,
    /// A kick never reaches the worker.
    KickLost,
    /// A payload is dropped twice.
    ReapTwice,
    /// A job runs twice.
    RunTwice,
    /// A completion is swallowed: its credits leak.
    CompletionLost,
    /// A job forgets one of its dependencies.
    DependencySkipped,
    /// A failed dependency counts as a good one.
    DependencyErrorLost,
    /// A cancelled job runs all the same.
    CancelLost,
    /// The timer is deaf.
    TimerLost,
    /// The timer's time is always up.
    TimerEarly,
    /// An interrupt is taken for a thread.
    IrqIsTask,
    /// Suspension is forgotten.
    SuspendLost,
    /// The end of the queue is told twice.
    ClosedTwice,
    /// A job that no resources were found for is taken for one on the hardware.
    NoResourcesIsPending,
    /// A hang is taken for none.
    HandledIsNoHang,
    /// A completion from before a replay ends the job.
    StaleAccepted,
    /// A stop is forgotten.
    StopLost,
    /// A ring that grows forgets the jobs that do not keep their places.
    MovedForgotten,
    /// Rooms that were set aside are given back twice.
    PutBackTwice,
    /// A room is set aside that there is not.
    OneTooMany,
    /// What a worker reports is lost.
    ReportLost,
    /// A gate that is to yield is opened.
    YieldIsOpen,
    /// Time counts while the gate is shut.
    ShutTimeCounts,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::SignalOutOfOrder,
        Self::SignalTwice,
        Self::ErrorLost,
        Self::KickLost,
        Self::ReapTwice,
        Self::RunTwice,
        Self::CompletionLost,
        Self::DependencySkipped,
        Self::DependencyErrorLost,
        Self::CancelLost,
        Self::TimerLost,
        Self::TimerEarly,
        Self::IrqIsTask,
        Self::SuspendLost,
        Self::ClosedTwice,
        Self::NoResourcesIsPending,
        Self::HandledIsNoHang,
        Self::StaleAccepted,
        Self::StopLost,
        Self::MovedForgotten,
        Self::PutBackTwice,
        Self::OneTooMany,
        Self::ReportLost,
        Self::YieldIsOpen,
        Self::ShutTimeCounts,
    ];
}

/// Core as its host sees it, with at most one bug in between.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) queue: Core,
    mutant: Option<Mutant>,
    /// What is said again next time.
    again: Option<Effect>,
    /// When the gate was shut.
    shut_at: Time,
}

impl Subject {
    pub(crate) fn new(queue: Core, mutant: Option<Mutant>) -> Self {
        Self {
            queue,
            mutant,
            again: None,
            shut_at: Time::ZERO,
        }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(crate) fn visit(&self, context: Context) -> Visit {
        if self.is(Mutant::IrqIsTask) && context == Context::Irq {
            return Visit::new(Context::Task);
        }
        Visit::new(context)
    }

    fn ask(&mut self, visit: &mut Visit, mut now: Time, signals: bool) -> Option<Effect> {
        let effect = match signals {
            true => self.queue.next_signal(visit, &mut now)?,
            false => self.queue.next(visit, now)?,
        };
        if let Effect::Reap { job } = effect {
            element::keep(&mut self.queue, job, None);
        }
        Some(effect)
    }

    /// The next effect; `signals` only, where the visit asks for no more.
    pub(crate) fn next(&mut self, visit: &mut Visit, now: Time, signals: bool) -> Option<Effect> {
        if let Some(again) = self.again.take() {
            return Some(again);
        }
        let effect = self.ask(visit, now, signals)?;
        let twice = match effect {
            Effect::Signal { .. } => self.is(Mutant::SignalTwice),
            Effect::Run { .. } => self.is(Mutant::RunTwice),
            Effect::Reap { .. } => self.is(Mutant::ReapTwice),
            Effect::Closed => self.is(Mutant::ClosedTwice),
            _ => false,
        };
        if twice {
            self.again = Some(effect);
        }
        match effect {
            Effect::Kick if self.is(Mutant::KickLost) => self.ask(visit, now, signals),
            Effect::Gate { .. }
                if self.is(Mutant::ReportLost) && visit.context() == Context::Worker =>
            {
                self.ask(visit, now, signals)
            }
            Effect::Signal {
                job,
                outcome: Outcome::Failed(_),
            } if self.is(Mutant::ErrorLost) => Some(Effect::Signal {
                job,
                outcome: Outcome::Completed,
            }),
            Effect::Signal { .. } if self.is(Mutant::SignalOutOfOrder) => {
                match self.ask(visit, now, signals) {
                    Some(other @ Effect::Signal { .. }) => {
                        self.again = Some(effect);
                        Some(other)
                    }
                    other => {
                        self.again = other;
                        Some(effect)
                    }
                }
            }
            effect => Some(effect),
        }
    }

    pub(crate) fn arm(&mut self, room: Reservation) -> Result<JobId, Refused> {
        let job = self.queue.arm(room)?;
        element::keep(&mut self.queue, job, Some(job.seqno()));
        Ok(job)
    }

    pub(crate) fn set_aside(&mut self, most: u32) -> u32 {
        let rooms = self.queue.set_aside(most);
        let one_more = self.is(Mutant::OneTooMany) && rooms != 0 && rooms < most;
        rooms + u32::from(one_more)
    }

    pub(crate) fn put_back(&mut self, rooms: u32) {
        self.queue.put_back(rooms);
        if self.is(Mutant::PutBackTwice) {
            element::put_back_again(&mut self.queue, rooms);
        }
    }

    pub(crate) fn move_into(&mut self, elements: usize) -> Result<bool, String> {
        let before = self.queue.capacity();
        let moved = element::move_into(&mut self.queue, elements)?;
        if moved && self.is(Mutant::MovedForgotten) {
            element::forget_moved(&mut self.queue, before);
        }
        Ok(moved)
    }

    pub(crate) fn submit(
        &mut self,
        job: JobId,
        open: u32,
        abandoned: bool,
        now: Time,
    ) -> Result<(), Refused> {
        let skipped = u32::from(self.is(Mutant::DependencySkipped) && open > 0);
        self.queue.submit(job, open - skipped, abandoned, now)
    }

    pub(crate) fn dependency(
        &mut self,
        job: JobId,
        result: Result<(), Errno>,
    ) -> Result<(), Refused> {
        let lost = self.is(Mutant::DependencyErrorLost);
        let result = if lost { Ok(()) } else { result };
        self.queue.dependency_signalled(job, result)
    }

    pub(crate) fn cancel(&mut self, job: JobId, error: Errno) -> Result<Cancelled, Refused> {
        if self.is(Mutant::CancelLost) {
            return Ok(Cancelled::Yes);
        }
        self.queue.cancel(job, error)
    }

    pub(crate) fn complete(
        &mut self,
        job: JobId,
        attempt: Attempt,
        result: Result<(), Errno>,
    ) -> Completed {
        let present = self.queue.attempt(job);
        let attempt = match present.filter(|_| self.is(Mutant::StaleAccepted)) {
            Some(present) => present,
            None => attempt,
        };
        if self.is(Mutant::CompletionLost) {
            let held = self.queue.state(job).holds_credits();
            return if held {
                Completed::Finished
            } else {
                Completed::Late
            };
        }
        self.queue.complete(job, attempt, result)
    }

    pub(crate) fn run_returned(
        &mut self,
        visit: &mut Visit,
        job: JobId,
        outcome: RunOutcome,
    ) -> Result<(), Refused> {
        let outcome = match outcome {
            RunOutcome::NoResources if self.is(Mutant::NoResourcesIsPending) => RunOutcome::Pending,
            outcome => outcome,
        };
        self.queue.run_returned(visit, job, outcome)
    }

    pub(crate) fn timed_out_returned(
        &mut self,
        visit: &mut Visit,
        job: JobId,
        outcome: TimeoutOutcome,
        now: Time,
    ) -> Result<(), Refused> {
        let outcome = match outcome {
            TimeoutOutcome::Handled(_) if self.is(Mutant::HandledIsNoHang) => {
                TimeoutOutcome::NoHang
            }
            outcome => outcome,
        };
        self.queue.timed_out_returned(visit, job, outcome, now)
    }

    pub(crate) fn timer_fired(&mut self, now: Time) {
        match self.mutant {
            Some(Mutant::TimerLost) => {}
            Some(Mutant::TimerEarly) => self.queue.timer_fired(Time::from_ns(u64::MAX)),
            _ => self.queue.timer_fired(now),
        }
    }

    pub(crate) fn suspend(&mut self, now: Time) {
        if !self.is(Mutant::SuspendLost) {
            self.queue.suspend(now);
        }
    }

    pub(crate) fn resume(&mut self, now: Time) -> bool {
        if self.is(Mutant::SuspendLost) {
            return true;
        }
        self.queue.resume(now)
    }

    pub(crate) fn set_gate(&mut self, gate: Gate, now: Time) -> Result<u64, Refused> {
        let was_shut = self.queue.gate() == Some(Gate::Shut);
        if gate == Gate::Shut && !was_shut {
            self.shut_at = now;
        }
        match (gate, self.mutant) {
            (Gate::Yield, Some(Mutant::YieldIsOpen)) => self.queue.set_gate(Gate::Open, now),
            (_, Some(Mutant::ShutTimeCounts)) if was_shut => {
                self.queue.set_gate(gate, self.shut_at)
            }
            _ => self.queue.set_gate(gate, now),
        }
    }

    pub(crate) fn stop(&mut self, now: Time) -> Result<(), Refused> {
        if self.is(Mutant::StopLost) {
            return Ok(());
        }
        self.queue.stop(now)
    }

    pub(crate) fn start(&mut self, now: Time) -> Result<(), Refused> {
        if self.is(Mutant::StopLost) {
            return Ok(());
        }
        self.queue.start(now)
    }
}
