// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Visits of the host: take effects, act on them, answer, each a step of its own.

use ringfence_core::{
    Context, Effect, GateReport, JobId, Outcome, RunOutcome, TimeoutOutcome, WorkerRest,
};

use super::super::canary::Canary;
use super::super::coverage::{effect_index, End, Hosted, Recovered};
use super::super::log::{Detail, Event};
use super::super::plan::Inside;
use super::{job_of, HostVisit, World};
use crate::judge::Verdict;
use crate::oracle::WorkerIs;

/// What a visit will say of the effect that it has acted on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Run(RunOutcome),
    Signalled,
    Timeout(TimeoutOutcome),
}

/// The most visits in the whole machine.
const MOST: usize = 24;

impl World {
    /// Begins a visit where no more of its kind are there than a machine would have.
    pub(super) fn begin(&mut self, queue: u8, context: Context) -> bool {
        let there = self
            .visits
            .iter()
            .filter(|v| v.queue == queue && v.context == context);
        if there.count() >= 2 || self.visits.len() >= MOST {
            return false;
        }
        let core = self.line(queue).port.visit(context);
        self.push_visit(queue, context, core);
        true
    }

    fn push_visit(&mut self, queue: u8, context: Context, core: ringfence_core::Visit) {
        let id = self.next_visit;
        self.next_visit += 1;
        let batch = match self.roll(9, queue, u64::from(id), 0) % 4 {
            0 => 1,
            1 => 2,
            _ => 32,
        };
        self.line(queue).visits += 1;
        self.touched |= 1 << queue;
        let todo = self.spare_todos.pop().unwrap_or_default();
        self.visits.push(HostVisit {
            id,
            queue,
            context,
            core,
            todo,
            answer: None,
            batch,
        });
    }

    /// The worker comes, kicked or not.
    pub(super) fn enter(&mut self, queue: u8) {
        let here = |v: &HostVisit| v.queue == queue && v.context == Context::Worker;
        if self.visits.len() >= MOST || self.visits.iter().any(here) {
            return;
        }
        let line = self.line(queue);
        let core = line.port.worker_enters();
        line.worker = WorkerIs::Here;
        self.note(
            queue,
            None,
            Some(Context::Worker),
            Event::Enter,
            Detail::Nothing,
        );
        self.push_visit(queue, Context::Worker, core);
    }

    pub(super) fn step_visits(&mut self, pick: u8, steps: u8, inside: Inside) -> Verdict {
        for _ in 0..steps {
            let Some(at) = usize::from(pick).checked_rem(self.visits.len()) else {
                return Ok(());
            };
            self.step_visit(at, inside)?;
        }
        Ok(())
    }

    /// One step of one visit. False once it is over.
    pub(super) fn step_visit(&mut self, at: usize, inside: Inside) -> Result<bool, String> {
        let visit = &mut self.visits[at];
        let queue = visit.queue;
        self.touched |= 1 << queue;
        let done = match (visit.todo.front().copied(), visit.answer.take()) {
            (None, _) => self.take_or_end(at),
            (Some(effect), None) => self.perform(at, effect, inside).map(|()| true),
            (Some(effect), Some(answer)) => self.answer(at, &effect, answer).map(|()| true),
        };
        done.map_err(|what| format!("queue {queue}: {what}"))
    }

    /// Takes a batch. A visit that is told nothing and owes nothing is over.
    fn take_or_end(&mut self, at: usize) -> Result<bool, String> {
        self.keep_none_aside(self.visits[at].queue);
        if self.signals(at)? {
            return Ok(true);
        }
        for _ in 0..self.visits[at].batch {
            if !self.take(at)? {
                break;
            }
        }
        if !self.visits[at].todo.is_empty() {
            return Ok(true);
        }
        if self.take(at)? {
            return Ok(true);
        }
        let (queue, now) = (self.visits[at].queue, self.now);
        let line = self.line(queue);
        line.unvisited = false;
        line.visited = now;
        if self.visits[at].context == Context::Worker {
            return self.leave(at).map(|()| false);
        }
        if self.plant.is(Canary::UsedAfterPush) {
            self.look_at_newest(at)?;
        }
        let _ = self.drop_visit(at);
        Ok(false)
    }

    fn drop_visit(&mut self, at: usize) -> ringfence_core::Visit {
        let visit = self.visits.swap_remove(at);
        self.line(visit.queue).visits -= 1;
        self.spare_todos.push(visit.todo);
        visit.core
    }

    pub(super) fn leave(&mut self, at: usize) -> Verdict {
        let queue = self.visits[at].queue;
        let id = self.visits[at].id;
        let core = self.drop_visit(at);
        let line = self.line(queue);
        let rest = line
            .port
            .worker_leaves(id, core)
            .map_err(|_| "a worker that owes nothing may not leave")?;
        line.worker = match rest {
            WorkerRest::Idle => WorkerIs::Idle,
            WorkerRest::More => WorkerIs::Coming,
        };
        let text = match rest {
            WorkerRest::Idle => "idle",
            WorkerRest::More => "more",
        };
        self.note(
            queue,
            None,
            Some(Context::Worker),
            Event::Leave,
            Detail::Text(text),
        );
        Ok(())
    }

    /// Takes a batch of signals, where the host asks for those first. False if there is none.
    fn signals(&mut self, at: usize) -> Result<bool, String> {
        let (time, visit) = (self.time(), &self.visits[at]);
        let (queue, id, context) = (visit.queue, visit.id, visit.context);
        if !self.lines[usize::from(queue)].shape.signals_first {
            return Ok(false);
        }
        for _ in 0..self.visits[at].batch {
            let visit = &mut self.visits[at];
            let line = &mut self.lines[usize::from(queue)];
            let Some(effect) = line.port.next_signal(id, context, &mut visit.core, time) else {
                break;
            };
            visit.todo.push_back(effect);
            self.taken(queue, id, context, &effect)?;
            self.coverage.hosted(Hosted::SignalsFirst);
        }
        Ok(!self.visits[at].todo.is_empty())
    }

    /// Takes one effect; false if there is none.
    fn take(&mut self, at: usize) -> Result<bool, String> {
        let time = self.time();
        let visit = &mut self.visits[at];
        let queue = visit.queue;
        let line = &mut self.lines[usize::from(queue)];
        let (id, context) = (visit.id, visit.context);
        let Some(effect) = line.port.next(id, context, &mut visit.core, time) else {
            return Ok(false);
        };
        if matches!(
            effect,
            Effect::Run { .. } | Effect::Signal { .. } | Effect::TimedOut { .. }
        ) {
            visit.todo.push_back(effect);
        }
        self.taken(queue, id, context, &effect)?;
        Ok(true)
    }

    /// Judges an effect and acts on it, where that needs no answer.
    fn taken(&mut self, queue: u8, id: u32, context: Context, effect: &Effect) -> Verdict {
        let (event, detail) = match *effect {
            Effect::Signal { outcome, .. } => (Event::TakeSignal, Detail::Outcome(outcome)),
            Effect::Run { .. } => (Event::TakeRun, Detail::Nothing),
            Effect::TimedOut {
                extensions_left, ..
            } => (
                Event::TakeTimedOut,
                Detail::Number(u64::from(extensions_left)),
            ),
            Effect::Reap { .. } => (Event::TakeReap, Detail::Nothing),
            Effect::ArmTimer { at } => (Event::TakeArmTimer, Detail::Number(at.as_ns())),
            Effect::Kick => (Event::TakeKick, Detail::Nothing),
            Effect::Recover { .. } => (Event::TakeRecover, Detail::Nothing),
            Effect::Gate { version, .. } => (Event::TakeGate, Detail::Number(version)),
            Effect::Closed => (Event::TakeClosed, Detail::Nothing),
        };
        let job = job_of(effect).map(JobId::seqno);
        self.note(queue, job, Some(context), event, detail);
        self.coverage.effect(effect_index(effect), context);
        let now = self.now;
        let line = &mut self.lines[usize::from(queue)];
        let idle = line.worker == WorkerIs::Idle;
        line.judge.effect(id, context, effect, idle, now)?;
        match *effect {
            Effect::Signal { outcome, .. } => self.ended(queue, outcome),
            Effect::ArmTimer { at } => line.timer = Some(at.as_ns()),
            Effect::Kick => line.worker = WorkerIs::Coming,
            Effect::Recover { .. } => self.rescue.ask(queue, None),
            Effect::Closed => self.closed(queue)?,
            Effect::Run { .. } => {
                if line.judge.closing_at.is_some() {
                    self.coverage.end(End::Drained);
                }
            }
            Effect::Gate {
                version,
                wants,
                out,
            } => line.keeper.sends(GateReport {
                version,
                wants,
                out,
            }),
            Effect::TimedOut { .. } | Effect::Reap { .. } => {}
        }
        Ok(())
    }

    fn ended(&mut self, queue: u8, outcome: Outcome) {
        let given_up = self.line(queue).judge.closing_at.is_some();
        self.coverage.end(match outcome {
            Outcome::Completed => End::Completed,
            Outcome::Failed(_) => End::Failed,
            Outcome::Cancelled(_) => End::Cancelled,
            Outcome::TimedOut(_) => End::TimedOut,
        });
        if given_up && matches!(outcome, Outcome::Cancelled(_)) {
            self.coverage.end(End::GivenUp);
        }
    }

    /// The queue is over: its driver's value goes.
    fn closed(&mut self, queue: u8) -> Verdict {
        let now = self.now;
        let line = self.line(queue);
        if line.inside != 0 {
            return Err("the queue says it is closed while its driver is inside".into());
        }
        line.driver_gone = true;
        let took = line.judge.closing_at.map(|at| now - at);
        if let Some(took) = took {
            let longest = &mut self.summary.longest_teardown_ns;
            *longest = took.max(*longest);
        }
        self.coverage.end(End::QueueClosed);
        self.name_of_last_fence(queue)
    }

    /// Acts on the first effect that a visit owes an answer to.
    fn perform(&mut self, at: usize, effect: Effect, inside: Inside) -> Verdict {
        let (queue, context) = (self.visits[at].queue, self.visits[at].context);
        let answer = match effect {
            Effect::Run { job } => Answer::Run(self.run_begins(queue, context, job, inside)?),
            Effect::TimedOut {
                job,
                extensions_left,
            } => Answer::Timeout(self.timeout_begins(queue, job, extensions_left, inside)?),
            Effect::Signal { job, outcome } => {
                self.fence_begins(queue, context, job, outcome, inside)?;
                Answer::Signalled
            }
            _ => return Err(format!("{effect:?} needs no answer")),
        };
        self.visits[at].answer = Some(answer);
        Ok(())
    }

    fn answer(&mut self, at: usize, effect: &Effect, answer: Answer) -> Verdict {
        let Some(job) = job_of(effect) else {
            return Ok(());
        };
        self.visits[at].todo.pop_front();
        let (queue, context) = (self.visits[at].queue, self.visits[at].context);
        self.stir(queue);
        match answer {
            Answer::Run(outcome) => self.run_returns(at, job, outcome),
            Answer::Timeout(verdict) => self.timeout_returns(at, job, verdict),
            Answer::Signalled => {
                let id = self.visits[at].id;
                let line = &mut self.lines[usize::from(queue)];
                let i = line.judge.index(job.seqno())?;
                let fence = line.judge.facts[i].fence;
                self.fence_ends(fence)?;
                let line = &mut self.lines[usize::from(queue)];
                line.port
                    .signalled(id, &mut self.visits[at].core, job)
                    .map_err(|error| format!("the signal of {job:?} was refused: {error}"))?;
                line.judge.signalled(job.seqno())?;
                self.note(
                    queue,
                    Some(job.seqno()),
                    Some(context),
                    Event::Signalled,
                    Detail::Nothing,
                );
                Ok(())
            }
        }
    }

    fn run_returns(&mut self, at: usize, job: JobId, outcome: RunOutcome) -> Verdict {
        let (visit, now) = (&mut self.visits[at], self.now);
        let (queue, id, context) = (visit.queue, visit.id, visit.context);
        let line = &mut self.lines[usize::from(queue)];
        line.port
            .run_returned(id, &mut visit.core, job, outcome)
            .map_err(|error| format!("the answer for {job:?} was refused: {error}"))?;
        line.inside -= 1;
        let back = line.judge.run_returned(id, job.seqno(), outcome, now)?;
        if back {
            visit.todo.retain(|e| !matches!(e, Effect::Run { .. }));
        }
        let text = match outcome {
            RunOutcome::Pending => "pending",
            RunOutcome::Done => "done",
            RunOutcome::Failed(_) => "failed",
            RunOutcome::NoResources => "no resources",
        };
        self.note(
            queue,
            Some(job.seqno()),
            Some(context),
            Event::RunReturned,
            Detail::Text(text),
        );
        Ok(())
    }

    fn timeout_returns(&mut self, at: usize, job: JobId, verdict: TimeoutOutcome) -> Verdict {
        let (now, time) = (self.now, self.time());
        let visit = &mut self.visits[at];
        let queue = visit.queue;
        let line = &mut self.lines[usize::from(queue)];
        let before = (line.judge.is_banned(), line.judge.is_killed());
        let i = line.judge.index(job.seqno())?;
        let over = line.judge.facts[i].place != crate::judge::Place::Hardware;
        line.port
            .timed_out_returned(visit.id, &mut visit.core, job, verdict, time)
            .map_err(|error| format!("the verdict on {job:?} was refused: {error}"))?;
        line.inside -= 1;
        line.judge.verdict(job.seqno(), verdict, now)?;
        let used_up = line.judge.facts[i].place == crate::judge::Place::Over;
        let banned = line.judge.is_banned() && !before.0;
        let what = match verdict {
            _ if over => Recovered::AnswerLate,
            TimeoutOutcome::NoHang | TimeoutOutcome::Extend(_) if used_up => {
                Recovered::ExtensionsUp
            }
            TimeoutOutcome::NoHang => Recovered::NoHang,
            TimeoutOutcome::Extend(_) => Recovered::Extended,
            TimeoutOutcome::Handled(_) => Recovered::Handled,
            TimeoutOutcome::Reset => Recovered::ResetWanted,
            TimeoutOutcome::DeviceGone => Recovered::DeviceGone,
        };
        self.coverage.recovered(what);
        if banned {
            self.coverage.recovered(Recovered::Banned);
        }
        let text = match verdict {
            TimeoutOutcome::NoHang => "no hang",
            TimeoutOutcome::Extend(_) => "extend",
            TimeoutOutcome::Handled(_) => "handled",
            TimeoutOutcome::Reset => "reset",
            TimeoutOutcome::DeviceGone => "device gone",
        };
        self.note(
            queue,
            Some(job.seqno()),
            Some(Context::Worker),
            Event::Verdict,
            Detail::Text(text),
        );
        Ok(())
    }

    /// A visit that is over at once, as inside a fence callback: everything is left to the worker.
    pub(super) fn nested(&mut self, queue: u8) -> Verdict {
        let time = self.time();
        let id = self.next_visit;
        self.next_visit += 1;
        let context = match self.plant.is(Canary::WorkInFenceCallback) {
            true => Context::Task,
            false => Context::Nested,
        };
        let mut core = self.line(queue).port.visit(context);
        self.touched |= 1 << queue;
        self.keep_none_aside(queue);
        // More than a timer and a kick would be handed out for ever.
        for _ in 0..4 {
            let Some(effect) = self
                .line(queue)
                .port
                .next(id, Context::Nested, &mut core, time)
            else {
                let now = self.now;
                let line = self.line(queue);
                line.unvisited = false;
                line.visited = now;
                return Ok(());
            };
            self.taken(queue, id, Context::Nested, &effect)?;
        }
        Err("a nested visit never ends".into())
    }

    /// The runs that a visit has not begun go back to the line.
    pub(super) fn hand_back(&mut self, queue: u8) -> Verdict {
        let has = |v: &HostVisit| {
            v.queue == queue
                && !matches!(v.answer, Some(Answer::Run(_)))
                && v.todo.iter().any(|e| matches!(e, Effect::Run { .. }))
        };
        let Some(at) = self.visits.iter().position(has) else {
            return Ok(());
        };
        let visit = &mut self.visits[at];
        visit.todo.retain(|e| !matches!(e, Effect::Run { .. }));
        let line = &mut self.lines[usize::from(queue)];
        line.port
            .hand_back_runs(visit.id, &mut visit.core)
            .map_err(|error| format!("runs were not taken back: {error}"))?;
        line.judge.hand_back(visit.id);
        self.note(queue, None, None, Event::HandBack, Detail::Nothing);
        self.stir(queue);
        Ok(())
    }
}
