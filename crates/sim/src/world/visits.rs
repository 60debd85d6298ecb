// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a host does for the queue: visits, effects, answers.

use std::collections::VecDeque;
use std::time::Duration;

use ringfence_core::{Attempt, Context, Effect, Errno, JobId, TimeoutOutcome, Visit, WorkerRest};

use super::events::outcome_of;
use super::{HostVisit, World};
use crate::coverage::Seen;
use crate::judge::Verdict as Judged;
use crate::op::{Foul, Op, RunAnswer, Verdict};
use crate::oracle::{WorkerIs, BATCH};

impl World {
    pub(super) fn visit_op(&mut self, op: &Op) -> Judged {
        match *op {
            Op::Begin(context) => {
                self.begin(context);
                Ok(())
            }
            Op::Take { visit, count } => {
                let Some(at) = usize::from(visit).checked_rem(self.visits.len()) else {
                    return Ok(());
                };
                for _ in 0..=count % 20 {
                    if !self.take(at)? {
                        break;
                    }
                }
                Ok(())
            }
            Op::Run {
                visit,
                answer,
                completed,
            } => match self.owing(visit, |visit| !visit.runs.is_empty()) {
                Some(at) => self.answer_run(at, answer, completed),
                None => Ok(()),
            },
            Op::Signal(visit) => match self.owing(visit, |visit| !visit.signals.is_empty()) {
                Some(at) => self.answer_signal(at),
                None => Ok(()),
            },
            Op::Verdict { visit, verdict } => {
                match self.owing(visit, |visit| visit.timeout.is_some()) {
                    Some(at) => self.answer_timeout(at, verdict),
                    None => Ok(()),
                }
            }
            Op::HandBack(visit) => match self.owing(visit, |visit| !visit.runs.is_empty()) {
                Some(at) => self.hand_back(at),
                None => Ok(()),
            },
            Op::Serve {
                context,
                answer,
                batch,
            } => self.serve(context, answer, batch),
            Op::Enter => self.enter(),
            Op::Leave => {
                let worker = self.visits.iter().position(is_worker);
                worker.map_or(Ok(()), |at| self.leave(at))
            }
            Op::Foul { foul, visit, job } => self.foul(foul, visit, job),
            _ => Err(format!("{op:?} is no visit's")),
        }
    }

    /// A visit for which `owes` holds.
    fn owing(&self, index: u8, owes: impl Fn(&HostVisit) -> bool) -> Option<usize> {
        let visits = self.visits.iter().enumerate();
        let owing: Vec<usize> = visits.filter(|(_, v)| owes(v)).map(|(at, _)| at).collect();
        let index = usize::from(index).checked_rem(owing.len())?;
        owing.get(index).copied()
    }

    fn push_visit(&mut self, context: Context, core: Visit) {
        self.visits.push(HostVisit {
            id: self.next_visit,
            context,
            core,
            runs: VecDeque::new(),
            signals: VecDeque::new(),
            timeout: None,
        });
        self.next_visit += 1;
    }

    /// Begins a visit where no more of its kind are there than a machine would have.
    fn begin(&mut self, context: Context) -> bool {
        let most = match context {
            Context::Irq | Context::Nested => 1,
            Context::Task | Context::Submit => 2,
            Context::Worker => 0,
        };
        let there = self.visits.iter().filter(|v| v.context == context);
        if there.count() >= most {
            return false;
        }
        let core = self.subject.visit(context);
        self.push_visit(context, core);
        true
    }

    fn enter(&mut self) -> Judged {
        if self.visits.iter().any(is_worker) {
            return Ok(());
        }
        let core = self.subject.queue.worker_enters();
        self.push_visit(Context::Worker, core);
        self.worker = WorkerIs::Here;
        self.same(&(), crate::oracle::Oracle::enter)
    }

    fn leave(&mut self, at: usize) -> Judged {
        let visit = self.visits.swap_remove(at);
        let id = visit.id;
        let owes = visit.owes();
        let got = match self.subject.queue.worker_leaves(visit.core) {
            Ok(rest) => Some(rest),
            Err(core) => {
                self.visits.push(HostVisit { core, ..visit });
                None
            }
        };
        self.same(&got, |oracle| oracle.leave(id))?;
        if owes != got.is_none() {
            return Err(format!(
                "a worker that owes answers ({owes}) leaves with {got:?}"
            ));
        }
        match got {
            Some(WorkerRest::Idle) => {
                self.worker = WorkerIs::Idle;
                self.see(Seen::LeaveIdle);
            }
            Some(WorkerRest::More) => {
                self.worker = WorkerIs::Coming;
                self.see(Seen::LeaveMore);
            }
            None => self.see(Seen::LeaveRefused),
        }
        Ok(())
    }

    /// Takes one effect; false if there is none, in which case a visit that owes nothing is over.
    fn take(&mut self, at: usize) -> Result<bool, String> {
        self.keep_none_aside()?;
        let (now, idle) = (self.now, self.worker == WorkerIs::Idle);
        let (id, context) = (self.visits[at].id, self.visits[at].context);
        let mut got = None;
        if self.signals_first {
            got = self.next(at, true)?;
            if got.is_none() && !self.visits[at].signals.is_empty() {
                // What it has been told is done first.
                self.see(Seen::SignalsFirst);
                return Ok(false);
            }
        }
        if got.is_none() {
            got = self.next(at, false)?;
        }
        let Some(effect) = got else {
            if !self.visits[at].owes() {
                self.unvisited = false;
                self.visited = now;
                if context != Context::Worker {
                    self.visits.swap_remove(at);
                }
            }
            return Ok(false);
        };
        let verdict = self.history.effect(id, context, &effect, idle, now);
        self.heard(verdict)?;
        let visit = &mut self.visits[at];
        match effect {
            Effect::Signal { job, .. } => visit.signals.push_back(job),
            Effect::Run { job } => visit.runs.push_back(job),
            Effect::TimedOut { job, .. } => visit.timeout = Some(job),
            Effect::ArmTimer { at } => self.timer = Some(at.as_ns()),
            Effect::Kick => self.worker = WorkerIs::Coming,
            Effect::Reap { .. } | Effect::Recover { .. } | Effect::Closed | Effect::Gate { .. } => {
            }
        }
        if self.visits[at].runs.len() == BATCH {
            self.see(Seen::FullBatch);
        }
        Ok(true)
    }

    /// What core, and the model, tell a visit next; `signals` only, where it asks for no more.
    fn next(&mut self, at: usize, signals: bool) -> Result<Option<Effect>, String> {
        let (now, time) = (self.now, self.time());
        let visit = &mut self.visits[at];
        let (id, context) = (visit.id, visit.context);
        let got = self.subject.next(&mut visit.core, time, signals);
        self.same(&got, |oracle| match signals {
            true => oracle.next_signal(id, context),
            false => oracle.next(id, context, now),
        })?;
        Ok(got)
    }

    fn answer_run(&mut self, at: usize, answer: RunAnswer, completed: Option<bool>) -> Judged {
        let Some(job) = self.visits[at].runs.front().copied() else {
            return Ok(());
        };
        if let Some(ok) = completed {
            let result = if ok { Ok(()) } else { Err(Errno::EFAULT) };
            self.complete(job, Attempt::FIRST, result)?;
        }
        let (seqno, outcome, running) = (
            job.seqno(),
            outcome_of(answer),
            self.subject.queue.state(job) == ringfence_core::State::Running,
        );
        let visit = &mut self.visits[at];
        let id = visit.id;
        let got = self.subject.run_returned(&mut visit.core, job, outcome);
        self.same(&got.is_ok(), |oracle| {
            oracle.run_returned(id, seqno, outcome)
        })?;
        got.map_err(|error| format!("the answer for #{seqno} was refused: {error}"))?;
        self.unvisited = true;
        self.see(match answer {
            RunAnswer::Pending => Seen::RunPending,
            RunAnswer::Done => Seen::RunDone,
            RunAnswer::Failed => Seen::RunFailed,
            RunAnswer::NoResources => Seen::RunNoResources,
        });
        let verdict = self.history.run_returned(id, seqno, outcome, self.now);
        self.heard(verdict.map(drop))?;
        let runs = &mut self.visits[at].runs;
        runs.pop_front();
        if running && answer == RunAnswer::NoResources {
            // The others went back to the line with it.
            runs.clear();
        }
        Ok(())
    }

    fn answer_signal(&mut self, at: usize) -> Judged {
        let visit = &mut self.visits[at];
        let Some(job) = visit.signals.pop_front() else {
            return Ok(());
        };
        let (id, seqno) = (visit.id, job.seqno());
        let got = self.subject.queue.signalled(&mut visit.core, job);
        self.same(&got.is_ok(), |oracle| oracle.signalled(id, seqno))?;
        got.map_err(|error| format!("the signal of #{seqno} was refused: {error}"))?;
        self.unvisited = true;
        let verdict = self.history.signalled(seqno);
        self.heard(verdict)
    }

    fn answer_timeout(&mut self, at: usize, verdict: Verdict) -> Judged {
        let Some(job) = self.visits[at].timeout.take() else {
            return Ok(());
        };
        let outcome = match verdict {
            Verdict::NoHang => TimeoutOutcome::NoHang,
            Verdict::Extend(ns) => TimeoutOutcome::Extend(Duration::from_nanos(ns.into())),
            Verdict::Handled => TimeoutOutcome::Handled(Errno::ENODATA),
            Verdict::Reset => TimeoutOutcome::Reset,
            Verdict::DeviceGone => TimeoutOutcome::DeviceGone,
        };
        let (now, at_time, seqno) = (self.now, self.time(), job.seqno());
        let visit = &mut self.visits[at];
        let id = visit.id;
        let got = self
            .subject
            .timed_out_returned(&mut visit.core, job, outcome, at_time);
        self.same(&got.is_ok(), |oracle| {
            oracle.verdict(id, seqno, outcome, now)
        })?;
        got.map_err(|error| format!("the verdict on #{seqno} was refused: {error}"))?;
        self.unvisited = true;
        let judged = self.history.verdict(seqno, outcome, now);
        self.heard(judged)
    }

    fn hand_back(&mut self, at: usize) -> Judged {
        self.see(Seen::HandBack);
        let visit = &mut self.visits[at];
        let id = visit.id;
        let got = self.subject.queue.hand_back_runs(&mut visit.core);
        visit.runs.clear();
        got.map_err(|error| format!("runs were not taken back: {error}"))?;
        self.unvisited = true;
        self.history.hand_back(id);
        self.same(&(), |oracle| oracle.hand_back(id))
    }

    /// A whole visit.
    pub(super) fn serve(&mut self, context: Context, answer: RunAnswer, batch: u8) -> Judged {
        if !self.begin(context) {
            return Ok(());
        }
        self.carry_on(self.visits.len() - 1, answer, batch)
    }

    /// Carries a visit on until it is over. A worker then leaves.
    pub(super) fn carry_on(&mut self, at: usize, answer: RunAnswer, batch: u8) -> Judged {
        let id = self.visits[at].id;
        for _ in 0..2000 {
            let mut more = true;
            for _ in 0..batch.max(1) {
                more = self.take(at)?;
                if !more {
                    break;
                }
            }
            match self.visits.get(at) {
                Some(visit) if visit.id == id => {}
                _ => return Ok(()),
            }
            if !more && !self.visits[at].owes() {
                // Only a worker is still here.
                return self.leave(at);
            }
            while self.visits[at].owes() {
                self.answer_run(at, answer, None)?;
                self.answer_signal(at)?;
                self.answer_timeout(at, Verdict::Handled)?;
            }
        }
        Err("a visit never ends".into())
    }

    /// The host breaks the rules; core must say so and change nothing.
    fn foul(&mut self, foul: Foul, visit: u8, job: u8) -> Judged {
        let Some(at) = usize::from(visit).checked_rem(self.visits.len()) else {
            return Ok(());
        };
        let judge = &self.history;
        let index = judge.nth(job, |_| true).unwrap_or(judge.facts.len());
        let job = JobId::from_seqno(judge.seqno(index));
        if foul == Foul::Walk {
            return match self.foul_walk(job) {
                Ok(false) => Ok(()),
                Ok(true) => Err(format!("{job:?} was taken back and was not lent")),
                Err(error) => {
                    self.note_refusal(Err(error));
                    Ok(())
                }
            };
        }
        let at_time = self.time();
        let visit = &mut self.visits[at];
        let core = &mut visit.core;
        let queue = &mut self.subject.queue;
        let got = match foul {
            Foul::Run if visit.runs.front() != Some(&job) => {
                queue.run_returned(core, job, ringfence_core::RunOutcome::NoResources)
            }
            Foul::Signal if visit.signals.front() != Some(&job) => queue.signalled(core, job),
            Foul::Timeout if visit.timeout != Some(job) => {
                queue.timed_out_returned(core, job, TimeoutOutcome::DeviceGone, at_time)
            }
            Foul::Leave if is_worker(visit) && visit.owes() => return self.leave(at),
            _ => return Ok(()),
        };
        self.note_refusal(got);
        if got.is_ok() {
            return Err(format!("a foul answer for {job:?} was accepted: {foul:?}"));
        }
        Ok(())
    }
}

fn is_worker(visit: &HostVisit) -> bool {
    visit.context == Context::Worker
}
