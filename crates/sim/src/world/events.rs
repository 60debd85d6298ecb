// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What clients, the device and the clock do.

use std::time::Duration;

use ringfence_core::{
    Attempt, Cancelled, Completed, Errno, Gate, OnDependencyError, PrepareError, Refused, Request,
    RunOutcome, Timeout,
};

use super::{error_of, World};
use crate::coverage::Seen;
use crate::judge::{Place, Verdict, Wish};
use crate::op::{Op, Pick, RunAnswer};

impl World {
    pub(super) fn act(&mut self, op: &Op) -> Verdict {
        match *op {
            Op::Prepare {
                cost,
                timeout,
                on_error,
                aside,
            } => self.prepare(cost, timeout, on_error, aside).map(drop),
            Op::SetAside(most) => self.set_aside(most),
            Op::PutBack(most) => self.put_back(most.into()),
            Op::MoveInto(storage) => self.move_into(storage),
            Op::Release(room) => {
                let Some(room) = usize::from(room).checked_rem(self.rooms.len()) else {
                    return Ok(());
                };
                self.subject.queue.release(self.rooms.swap_remove(room).0);
                self.history.release();
                self.same(&(), |oracle| oracle.release(room))
            }
            Op::Arm(room) => match usize::from(room).checked_rem(self.rooms.len()) {
                Some(room) => self.arm(room).map(drop),
                None => Ok(()),
            },
            Op::Submit {
                job,
                open,
                abandoned,
            } => self.submit(job, u32::from(open), abandoned),
            Op::Push { cost, open } => self.push(cost, open),
            Op::Dependency { job, ok } => self.dependency(op, job, ok),
            Op::Resource(job) => self.resource(job),
            Op::Cancel(job) => self.cancel(op, job),
            Op::Complete { job, ok } => match self.choose(job, super::on_hardware) {
                Some(job) => {
                    let attempt = self.subject.queue.attempt(job).unwrap_or_default();
                    self.complete(job, attempt, result(ok, error_of(op)))
                }
                None => Ok(()),
            },
            Op::Stale { job, ok } => {
                let replayed =
                    |fact: &crate::judge::Fact| fact.attempt != 0 && fact.place == Place::Hardware;
                match self.choose(job, replayed) {
                    Some(job) => self.complete(job, Attempt::FIRST, result(ok, error_of(op))),
                    None => Ok(()),
                }
            }
            Op::Timer { due } => self.timer(due),
            Op::Advance(by) => {
                self.now += u64::from(by);
                Ok(())
            }
            Op::Trigger => self.trigger(),
            Op::Kill
            | Op::Unbind
            | Op::Close(_)
            | Op::Abandon(_)
            | Op::Suspend
            | Op::Resume
            | Op::Gate(_)
            | Op::Strike => self.whole(op),
            Op::Stop | Op::Start | Op::Walk(_) | Op::Walked(_) | Op::Replay | Op::Replayed(_) => {
                self.recovery(op)
            }
            _ => self.visit_op(op),
        }
    }

    fn prepare(
        &mut self,
        cost: u8,
        timeout: u8,
        on_error: u8,
        aside: bool,
    ) -> Result<bool, String> {
        let request = Request {
            cost: u32::from(cost) % self.history.config.credits.saturating_add(2),
            timeout: match timeout {
                0 => Timeout::Inherit,
                1 => Timeout::Never,
                tens => Timeout::After(Duration::from_nanos(u64::from(tens) * 10)),
            },
            on_dependency_error: match on_error {
                0 => None,
                1 => Some(OnDependencyError::Fail),
                _ => Some(OnDependencyError::Run),
            },
        };
        let room = match self.room_for(request, aside)? {
            Ok(room) => room,
            Err(error) => {
                self.see(match error {
                    PrepareError::Full => Seen::PrepareFull,
                    PrepareError::CostAboveLimit { .. } => Seen::PrepareCost,
                    PrepareError::Closed => Seen::PrepareClosed,
                    PrepareError::Banned => Seen::PrepareBanned,
                    PrepareError::Killed(_) => Seen::PrepareKilled,
                });
                return Ok(false);
            }
        };
        let wish = Wish {
            cost: request.cost,
            timeout: match timeout {
                0 => self.history.timeout(),
                1 => 0,
                tens => u64::from(tens) * 10,
            },
            run_on_error: match on_error {
                0 => self.history.runs_on_error(),
                1 => false,
                _ => true,
            },
        };
        self.rooms.push((room, wish));
        Ok(true)
    }

    fn arm(&mut self, room: usize) -> Result<u64, String> {
        let (room_of_core, wish) = self.rooms.swap_remove(room);
        let job = self.subject.arm(room_of_core);
        let seqno = job.map_err(|error| error.to_string())?.seqno();
        self.same(&seqno, |oracle| oracle.arm(room))?;
        if seqno == 0 {
            self.see(Seen::Wrapped);
        }
        let verdict = self.history.arm(seqno, wish, 0);
        self.heard(verdict)?;
        Ok(seqno)
    }

    fn submit(&mut self, job: Pick, open: u32, abandoned: bool) -> Verdict {
        let Some(job) = self.choose(job, |fact| fact.place == Place::Armed) else {
            return Ok(());
        };
        let now = self.time();
        let got = self.subject.submit(job, open, abandoned, now);
        let seqno = job.seqno();
        self.same(&got.is_ok(), |oracle| oracle.submit(seqno, open, abandoned))?;
        self.note_refusal(got);
        if got.is_ok() {
            self.unvisited = true;
            if self.history.lifecycle() != ringfence_core::Lifecycle::Open {
                self.see(Seen::SubmittedLate);
            }
        }
        let verdict = self.history.submit(seqno, open, abandoned, got.is_ok());
        self.heard(verdict)
    }

    fn push(&mut self, cost: u8, open: u8) -> Verdict {
        if !self.prepare(cost, 0, 0, true)? {
            return Ok(());
        }
        let seqno = self.arm(self.rooms.len() - 1)?;
        let armed = |fact: &&crate::judge::Fact| fact.place == Place::Armed;
        let judge = &self.history;
        let older = judge.find(seqno).map_or(0, |i| {
            judge.facts[judge.reaped..i].iter().filter(armed).count()
        });
        // More armed jobs than a byte can tell would only make this submit another one.
        self.submit(Pick::Fit(older as u8), u32::from(open), false)?;
        self.serve(ringfence_core::Context::Submit, RunAnswer::Pending, 40)
    }

    fn dependency(&mut self, op: &Op, job: Pick, ok: bool) -> Verdict {
        let Some(job) = self.choose(job, |fact| fact.place == Place::Line && fact.open > 0) else {
            return Ok(());
        };
        let result = result(ok, error_of(op));
        let got = self.subject.dependency(job, result);
        let seqno = job.seqno();
        self.same(&got.is_ok(), |oracle| oracle.dependency(seqno, result))?;
        self.note_refusal(got);
        self.unvisited |= got.is_ok();
        if self.history.find(seqno).is_none() {
            return Ok(());
        }
        let verdict = self.history.dependency(seqno, result, got.is_ok());
        self.heard(verdict)
    }

    fn resource(&mut self, job: Pick) -> Verdict {
        let Some(job) = self.choose(job, |fact| fact.resource_wait) else {
            return Ok(());
        };
        let got = self.subject.queue.resource_signalled(job);
        let seqno = job.seqno();
        self.same(&got.is_ok(), |oracle| oracle.resource(seqno))?;
        self.note_refusal(got);
        self.unvisited |= got.is_ok();
        let verdict = self.history.resource(seqno, got.is_ok());
        self.heard(verdict)
    }

    fn cancel(&mut self, op: &Op, job: Pick) -> Verdict {
        let Some(job) = self.choose(job, |fact| matches!(fact.place, Place::Armed | Place::Line))
        else {
            return Ok(());
        };
        let error = error_of(op);
        let got = self.subject.cancel(job, error);
        let seqno = job.seqno();
        let granted = got.ok().map(|got| got == Cancelled::Yes);
        self.same(&granted, |oracle| oracle.cancel(seqno, error))?;
        self.see(match granted {
            Some(true) => Seen::CancelYes,
            Some(false) => Seen::CancelTooLate,
            None => Seen::CancelUnknown,
        });
        self.unvisited |= granted.is_some();
        let verdict = self.history.cancel(seqno, error, got.ok());
        self.heard(verdict)
    }

    pub(super) fn complete(
        &mut self,
        job: ringfence_core::JobId,
        attempt: Attempt,
        result: Result<(), Errno>,
    ) -> Verdict {
        let got = self.subject.complete(job, attempt, result);
        let (seqno, replays) = (job.seqno(), attempt.replays());
        self.same(&got, |oracle| oracle.complete(seqno, replays, result))?;
        self.unvisited = true;
        let finished = got == Completed::Finished;
        self.see(if finished {
            Seen::CompletionInTime
        } else {
            Seen::CompletionLate
        });
        let verdict = self.history.complete(seqno, replays, result, got);
        self.heard(verdict)
    }

    fn timer(&mut self, due: bool) -> Verdict {
        if let (true, Some(at)) = (due, self.timer) {
            self.now = self.now.max(at);
        }
        self.timer = None;
        self.unvisited = true;
        let (now, at) = (self.now, self.time());
        self.subject.timer_fired(at);
        self.history.timer(now);
        self.same(&(), |oracle| oracle.timer_fired(now))
    }

    fn trigger(&mut self) -> Verdict {
        let got = self.subject.queue.trigger_timeout();
        self.unvisited = true;
        self.same(&got, crate::oracle::Oracle::trigger)?;
        self.see(if got {
            Seen::TriggerYes
        } else {
            Seen::TriggerNo
        });
        let verdict = self.history.trigger(got);
        self.heard(verdict)
    }

    fn whole(&mut self, op: &Op) -> Verdict {
        self.unvisited = true;
        let (now, at, error) = (self.now, self.time(), error_of(op));
        match op {
            Op::Kill => {
                self.subject.queue.kill(error);
                self.history.kill(error, now);
                self.same(&(), |oracle| oracle.kill(error))
            }
            Op::Unbind => {
                self.subject.queue.unbind(error);
                self.history.unbind(error, now);
                self.same(&(), |oracle| oracle.unbind(error))
            }
            Op::Close(policy) => {
                self.subject.queue.close(*policy, at);
                self.history.close(*policy, now);
                self.same(&(), |oracle| oracle.close(*policy, now))
            }
            Op::Abandon(policy) => {
                self.subject.queue.abandon(*policy, at);
                self.history.abandon(*policy, now);
                self.same(&(), |oracle| oracle.abandon(*policy, now))
            }
            Op::Strike => {
                self.subject.queue.strike(at);
                self.history.strike(now);
                self.same(&(), |oracle| oracle.strike(now))
            }
            Op::Gate(gate) => self.set_gate(*gate),
            Op::Suspend => {
                self.subject.suspend(at);
                self.history.suspend(now);
                self.same(&(), |oracle| oracle.suspend(now))
            }
            _ => {
                let got = self.subject.resume(at);
                let verdict = self.history.resume(now, got);
                self.heard(verdict)?;
                if !got {
                    self.see(Seen::ResumeRefused);
                }
                self.same(&got, |oracle| oracle.resume(now))
            }
        }
    }

    fn set_gate(&mut self, gate: Gate) -> Verdict {
        let (now, at) = (self.now, self.time());
        let got = self.subject.set_gate(gate, at);
        self.note_refusal(got.map(drop));
        let told = got.ok();
        self.same(&told, |oracle| oracle.set_gate(gate, now))?;
        match gate {
            Gate::Open if self.history.gated.gate != Some(gate) => self.see(Seen::GateOpened),
            Gate::Yield if self.history.is_on_hardware() => self.see(Seen::YieldOnHardware),
            Gate::Shut if self.history.is_on_hardware() => self.see(Seen::ShutOnHardware),
            _ => {}
        }
        let verdict = self.history.set_gate(gate, now, told);
        self.heard(verdict)
    }

    pub(super) fn note_refusal(&mut self, got: Result<(), Refused>) {
        let Err(error) = got else { return };
        self.see(match error {
            Refused::Unknown => Seen::RefusedUnknown,
            Refused::Illegal { .. } => Seen::RefusedIllegal,
            Refused::NotHeld => Seen::RefusedNotHeld,
            Refused::Stopped => Seen::RefusedStopped,
            Refused::NotQuiet => Seen::RefusedNotQuiet,
            Refused::Overdue => Seen::RefusedOverdue,
            Refused::Count => Seen::RefusedCount,
            Refused::NotGated => Seen::RefusedNotGated,
        });
    }
}

/// What a run callback says, in core's words.
pub(super) const fn outcome_of(answer: RunAnswer) -> RunOutcome {
    match answer {
        RunAnswer::Pending => RunOutcome::Pending,
        RunAnswer::Done => RunOutcome::Done,
        RunAnswer::Failed => RunOutcome::Failed(Errno::EIO),
        RunAnswer::NoResources => RunOutcome::NoResources,
    }
}

const fn result(ok: bool, error: Errno) -> Result<(), Errno> {
    if ok {
        Ok(())
    } else {
        Err(error)
    }
}
