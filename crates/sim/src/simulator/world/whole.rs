// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What happens to a queue as a whole: its timer, its end, its holds, and who stopped it.

use ringfence_core::{ClosePolicy, Context, Errno, JobId, Outcome, ReplayOutcome, Walked};

use super::super::canary::Canary;
use super::super::coverage::{Fault, Fed, Recovered};
use super::super::log::{Detail, Event};
use super::super::plan::Inside;
use super::{Holder, World};
use crate::judge::{Loan, Verdict};
use crate::op::{Op, ReplayAnswer, WalkAnswer};
use crate::oracle::WorkerIs;

impl World {
    pub(super) fn whole_op(&mut self, queue: u8, op: &Op) -> Verdict {
        match *op {
            Op::Timer { due } => self.timer_op(queue, due),
            Op::Trigger => self.trigger(queue),
            Op::Kill => {
                self.coverage.fault(Fault::Kill);
                self.kill(queue, Errno::EOWNERDEAD);
                Ok(())
            }
            Op::Unbind => {
                self.unbind(queue);
                Ok(())
            }
            Op::Close(policy) => {
                self.close(queue, policy);
                Ok(())
            }
            Op::Abandon(policy) => {
                self.abandon(queue, policy);
                Ok(())
            }
            Op::Suspend => {
                self.suspend(queue);
                Ok(())
            }
            Op::Resume => self.resume(queue),
            Op::Strike => {
                self.strike(queue);
                Ok(())
            }
            Op::Gate(gate) => self.set_gate(queue, gate),
            Op::Leave => self.leave_early(queue),
            Op::Stop => self.stop(queue, Holder::Client).map(drop),
            Op::Start => match self.line(queue).holder {
                Holder::Rescue => Ok(()),
                _ => self.start(queue),
            },
            _ if self.line(queue).holder != Holder::Client => Ok(()),
            Op::Walk(ahead) => self.walk(queue, u64::from(ahead)).map(drop),
            Op::Walked(answer) => self.client_walked(queue, answer),
            Op::Replay => self.client_replays(queue),
            Op::Replayed(answer) => self.client_replayed(queue, answer),
            // The visits' own business here.
            _ => Ok(()),
        }
    }

    fn timer_op(&mut self, queue: u8, due: bool) -> Verdict {
        match (self.line(queue).timer, due) {
            (Some(at), true) => {
                if self.now > at {
                    self.coverage.fault(Fault::TimerLate);
                }
                self.pass(at);
            }
            (Some(at), false) if at > self.now => self.coverage.fault(Fault::TimerEarly),
            _ => {}
        }
        self.fire(queue);
        Ok(())
    }

    /// The queue's timer fires now.
    pub(super) fn fire(&mut self, queue: u8) {
        let (now, time) = (self.now, self.time());
        let line = self.line(queue);
        line.timer = None;
        line.port.timer_fired(time);
        if line.judge.timer(now) {
            self.coverage.fault(Fault::CloseOverdue);
        }
        self.note(
            queue,
            None,
            Some(Context::Irq),
            Event::Timer,
            Detail::Nothing,
        );
        self.stir(queue);
        self.begin(queue, Context::Irq);
    }

    pub(super) fn trigger(&mut self, queue: u8) -> Verdict {
        let line = self.line(queue);
        let got = line.port.trigger_timeout();
        line.judge.trigger(got)?;
        self.note(queue, None, None, Event::Trigger, Detail::Nothing);
        self.stir(queue);
        Ok(())
    }

    /// Notes in which state every job meets an event of the whole queue.
    fn met(&mut self, queue: u8, fed: Fed) {
        let line = &self.lines[usize::from(queue)];
        for job in line.port.look().jobs() {
            self.coverage.fed(fed, line.port.look().state(job));
        }
    }

    /// The hardware lets go of the queue's jobs, and they end.
    pub(super) fn kill(&mut self, queue: u8, error: Errno) {
        self.met(queue, Fed::Kill);
        self.device.rings[usize::from(queue)].slots.clear();
        let now = self.now;
        let line = self.line(queue);
        line.port.kill(error);
        line.judge.kill(error, now);
        self.note(queue, None, None, Event::Kill, Detail::Error(error));
        self.stir(queue);
    }

    pub(super) fn unbind(&mut self, queue: u8) {
        self.coverage.fault(Fault::Unbind);
        self.met(queue, Fed::Kill);
        self.device.rings[usize::from(queue)].slots.clear();
        let (now, early) = (self.now, self.plant.is(Canary::UnbindEndsEarly));
        let line = self.line(queue);
        if line.judge.stopped {
            self.coverage.fault(Fault::UnbindWhileStopped);
        }
        let line = self.line(queue);
        line.port.unbind(Errno::ENODEV);
        line.driver_gone |= early;
        line.judge.unbind(Errno::ENODEV, now);
        self.note(queue, None, None, Event::Unbind, Detail::Nothing);
        self.stir(queue);
    }

    pub(super) fn close(&mut self, queue: u8, policy: ClosePolicy) {
        self.coverage.fault(Fault::Close);
        self.met(queue, Fed::Close);
        if self.device.rings[usize::from(queue)].hung().is_some() {
            self.coverage.fault(Fault::CloseWhileHung);
        }
        let (now, time) = (self.now, self.time());
        let line = self.line(queue);
        line.port.close(policy, time);
        line.judge.close(policy, now);
        self.note(queue, None, None, Event::Close, policy_text(policy));
        self.stir(queue);
    }

    fn abandon(&mut self, queue: u8, policy: ClosePolicy) {
        self.coverage.fault(Fault::Abandon);
        let (now, time) = (self.now, self.time());
        let line = self.line(queue);
        line.port.abandon(policy, time);
        line.judge.abandon(policy, now);
        self.note(queue, None, None, Event::Abandon, policy_text(policy));
        self.stir(queue);
    }

    fn suspend(&mut self, queue: u8) {
        self.coverage.fault(Fault::Suspend);
        let (now, time) = (self.now, self.time());
        let line = self.line(queue);
        line.port.suspend(time);
        line.judge.suspend(now);
        self.note(queue, None, None, Event::Suspend, Detail::Nothing);
        self.stir(queue);
    }

    pub(super) fn resume(&mut self, queue: u8) -> Verdict {
        let (now, time) = (self.now, self.time());
        let line = self.line(queue);
        let got = line.port.resume(time);
        line.judge.resume(now, got)?;
        self.note(queue, None, None, Event::Resume, Detail::Nothing);
        self.stir(queue);
        Ok(())
    }

    fn strike(&mut self, queue: u8) {
        let (now, time) = (self.now, self.time());
        let line = self.line(queue);
        line.port.strike(time);
        let before = line.judge.is_banned();
        line.judge.strike(now);
        let banned = line.judge.is_banned() && !before;
        self.coverage.recovered(Recovered::Strike);
        if banned {
            self.coverage.recovered(Recovered::Banned);
        }
        self.note(queue, None, None, Event::Strike, Detail::Nothing);
        self.stir(queue);
    }

    /// A worker that goes before it was told that there is nothing for it.
    fn leave_early(&mut self, queue: u8) -> Verdict {
        let leaves = |v: &super::HostVisit| {
            v.queue == queue && v.context == Context::Worker && v.todo.is_empty()
        };
        match self.visits.iter().position(leaves) {
            Some(at) => {
                self.leave(at)?;
                // Nobody has been told of an errand yet where the worker is to come again.
                if self.line(queue).worker == WorkerIs::Idle {
                    let now = self.now;
                    let line = self.line(queue);
                    line.unvisited = false;
                    line.visited = now;
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Somebody stops the queue. False if somebody else has.
    pub(super) fn stop(&mut self, queue: u8, holder: Holder) -> Result<bool, String> {
        let (now, time) = (self.now, self.time());
        let line = self.line(queue);
        let got = line.port.stop(time).is_ok();
        line.judge.stop(now, got)?;
        if got {
            line.holder = holder;
        }
        self.coverage.fault(match got {
            true => Fault::Stop,
            false => Fault::StopRefused,
        });
        let text = if got { "granted" } else { "refused" };
        self.note(queue, None, None, Event::Stop, Detail::Text(text));
        self.stir(queue);
        Ok(got)
    }

    /// Who has stopped the queue starts it; refused where a job is still lent, or nobody has.
    pub(super) fn start(&mut self, queue: u8) -> Verdict {
        let (now, time) = (self.now, self.time());
        let line = self.line(queue);
        let got = line.port.start(time).is_ok();
        line.judge.start(now, got)?;
        if got {
            line.holder = Holder::Nobody;
        }
        let text = if got { "granted" } else { "refused" };
        self.note(queue, None, None, Event::Start, Detail::Text(text));
        self.stir(queue);
        Ok(())
    }

    /// The walk asks for the oldest job on the hardware, some places after the oldest fence.
    pub(super) fn walk(&mut self, queue: u8, ahead: u64) -> Result<Option<JobId>, String> {
        let oldest = self.line(queue).port.look().oldest().seqno();
        self.walk_from(queue, JobId::from_seqno(oldest.wrapping_add(ahead)))
    }

    pub(super) fn walk_from(&mut self, queue: u8, first: JobId) -> Result<Option<JobId>, String> {
        let line = self.line(queue);
        let got = line.port.walk_from(first);
        let told = got.map(|job| job.map(JobId::seqno)).map_err(drop);
        line.judge.walk(first.seqno(), told)?;
        let job = told.ok().flatten();
        self.note(queue, job, None, Event::Walk, Detail::Nothing);
        self.stir(queue);
        Ok(got.ok().flatten())
    }

    /// The job that the walk has lent, where it has.
    pub(super) fn lent(&self, queue: u8, loan: Loan) -> Option<JobId> {
        let judge = &self.lines[usize::from(queue)].judge;
        let i = judge.walked.filter(|i| judge.facts[*i].loan == loan)?;
        Some(JobId::from_seqno(judge.seqno(i)))
    }

    pub(super) fn walked(&mut self, queue: u8, job: JobId, what: Walked) -> Verdict {
        let (now, time) = (self.now, self.time());
        if what != Walked::Keep {
            // The hardware has let go of it.
            self.device.rings[usize::from(queue)].remove(job.seqno());
        }
        let line = self.line(queue);
        let before = line.judge.is_banned();
        let got = line.port.walked(job, what, time).is_ok();
        line.judge.walked(job.seqno(), what, now, got)?;
        if line.judge.is_banned() && !before {
            self.coverage.recovered(Recovered::Banned);
        }
        let detail = match what {
            Walked::Keep => Detail::Text("keep"),
            Walked::End(outcome) => Detail::Outcome(outcome),
        };
        self.note(queue, Some(job.seqno()), None, Event::Walked, detail);
        self.stir(queue);
        Ok(())
    }

    fn client_walked(&mut self, queue: u8, answer: WalkAnswer) -> Verdict {
        let Some(job) = self.lent(queue, Loan::Walk) else {
            return Ok(());
        };
        let what = match answer {
            WalkAnswer::Keep => Walked::Keep,
            WalkAnswer::Completed => Walked::End(Outcome::Completed),
            WalkAnswer::Failed => Walked::End(Outcome::Failed(Errno::EIO)),
            WalkAnswer::Cancelled => Walked::End(Outcome::Cancelled(Errno::ECANCELED)),
            WalkAnswer::TimedOut => Walked::End(Outcome::TimedOut(Errno::ENODATA)),
        };
        self.walked(queue, job, what)
    }

    fn client_replays(&mut self, queue: u8) -> Verdict {
        match self.lent(queue, Loan::Walk) {
            Some(job) => self.replay(queue, job).map(drop),
            None => Ok(()),
        }
    }

    /// Begins the next attempt at the job that the walk has lent. False where that is refused.
    pub(super) fn replay(&mut self, queue: u8, job: JobId) -> Result<bool, String> {
        let now = self.now;
        let line = self.line(queue);
        let got = line.port.replay(job).ok();
        let overdue = line.judge.is_overdue();
        let told = got.map(|attempt| attempt.replays());
        line.judge.replay(job.seqno(), now, told)?;
        self.coverage.recovered(match got {
            Some(_) => Recovered::Replayed,
            None if overdue => Recovered::ReplayOverdue,
            None => Recovered::ReplayTooLate,
        });
        if got.is_some() && self.plant.is(Canary::ReplayGetsANewFence) {
            self.new_fence(queue, job)?;
        }
        let most = &mut self.summary.most_replays;
        *most = u64::from(told.unwrap_or(0)).max(*most);
        let detail = told.map_or(Detail::Text("refused"), |t| Detail::Number(t.into()));
        self.note(queue, Some(job.seqno()), None, Event::Replay, detail);
        self.stir(queue);
        Ok(got.is_some())
    }

    /// The replay callback as a whole: the driver puts the job on the ring again.
    pub(super) fn replay_callback(&mut self, queue: u8, job: JobId) -> Verdict {
        let attempt = self.line(queue).port.look().attempt(job);
        let attempt = attempt.ok_or_else(|| format!("{job:?} is replayed and is gone"))?;
        if self.plant.is(Canary::RunAgain) {
            self.run_begins(queue, Context::Worker, job, Inside::Nothing)?;
            self.line(queue).inside -= 1;
        }
        let outcome = self.replay_begins(queue, job, attempt)?;
        self.replayed(queue, job, outcome)
    }

    fn replayed(&mut self, queue: u8, job: JobId, outcome: ReplayOutcome) -> Verdict {
        let line = self.line(queue);
        line.inside -= 1;
        let got = line.port.replay_returned(job, outcome).is_ok();
        line.judge.replayed(job.seqno(), outcome, got)?;
        let text = match outcome {
            ReplayOutcome::Pending => "pending",
            ReplayOutcome::Done => {
                self.coverage.recovered(Recovered::ReplayDone);
                "done"
            }
            ReplayOutcome::Failed(_) => {
                self.coverage.recovered(Recovered::ReplayFailed);
                "failed"
            }
        };
        let seqno = Some(job.seqno());
        self.note(queue, seqno, None, Event::Replayed, Detail::Text(text));
        self.stir(queue);
        Ok(())
    }

    fn client_replayed(&mut self, queue: u8, answer: ReplayAnswer) -> Verdict {
        let Some(job) = self.lent(queue, Loan::Replay) else {
            return Ok(());
        };
        let outcome = match answer {
            ReplayAnswer::Pending => return self.replay_callback(queue, job),
            ReplayAnswer::Done => ReplayOutcome::Done,
            ReplayAnswer::Failed => ReplayOutcome::Failed(Errno::EIO),
        };
        self.callback_begins(queue, job)?;
        self.device.rings[usize::from(queue)].remove(job.seqno());
        self.replayed(queue, job, outcome)
    }
}

fn policy_text(policy: ClosePolicy) -> Detail {
    Detail::Text(match policy {
        ClosePolicy::Cancel => "cancel",
        ClosePolicy::Drain => "drain",
    })
}
