// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Visits of queues, and the modelled driver's callbacks.

use ringfence_core::{
    Context, Effect, Errno, Gate, JobId, Outcome, RunOutcome, Time, TimeoutOutcome, Visit,
    WorkerRest,
};
use ringfence_orchestrator_core::{GateReport, SeatId};

use super::canary::SlotCanary;
use super::device::{Piece, NEVER};
use super::seen::Sight;
use super::world::{Happening, Todo, Verdict, World};

/// The longest time that a run callback takes.
pub(super) const SLOW_RUN_NS: u64 = 20_000;

/// What a queue says, as the orchestrator wants to hear it.
pub(super) fn report_of(report: ringfence_core::GateReport) -> GateReport {
    use ringfence_core::Out as From;
    use ringfence_orchestrator_core::Out;
    GateReport {
        version: report.version,
        wants: report.wants,
        out: match report.out {
            From::Open => Out::Open,
            From::Inside => Out::Inside,
            From::OnHardware => Out::OnHardware,
            From::Nothing => Out::Nothing,
        },
    }
}

impl World {
    /// A visit, from its beginning.
    pub(super) fn visit(&mut self, queue: usize, context: Context) -> Verdict {
        let line = &mut self.lines[queue];
        let visit = match context {
            // The worker is inside already, with a callback out: it will look once more.
            Context::Worker if line.out.is_some() => return Ok(()),
            Context::Worker => line.core.worker_enters(),
            context => Visit::new(context),
        };
        self.go_on(queue, visit)
    }

    /// A visit, until a callback takes its time or there is nothing left for it.
    fn go_on(&mut self, queue: usize, mut visit: Visit) -> Verdict {
        while let Some(effect) = {
            let now = self.time();
            self.lines[queue].core.next(&mut visit, now)
        } {
            match effect {
                Effect::Signal { job, outcome } => {
                    self.signal(queue, job, outcome)?;
                    let done = self.lines[queue].core.signalled(&mut visit, job);
                    done.map_err(|error| format!("{job:?} was not signalled: {error}"))?;
                }
                Effect::Reap { job } => self.reap(queue, job)?,
                Effect::Run { job } => {
                    if self.run_callback(queue, job)? {
                        self.lines[queue].out = Some((visit, job));
                        return Ok(());
                    }
                    self.ran(queue, &mut visit, job)?;
                }
                Effect::TimedOut { job, .. } => self.timed_out(queue, &mut visit, job)?,
                Effect::Recover { .. } => self.wants_recovery(queue),
                Effect::Gate {
                    version,
                    wants,
                    out,
                } => {
                    let report = ringfence_core::GateReport {
                        version,
                        wants,
                        out,
                    };
                    self.says(queue, report_of(report))?;
                }
                Effect::ArmTimer { at } => {
                    self.lines[queue].timer = Some(at.as_ns());
                    self.at(at.as_ns(), Happening::QueueTimer(queue));
                }
                Effect::Kick => self.todo.push_back(Todo::Visit(queue, Context::Worker)),
                Effect::Closed => self.closed(queue)?,
            }
        }
        if visit.context() == Context::Worker {
            match self.lines[queue].core.worker_leaves(visit) {
                Ok(WorkerRest::Idle) => {}
                Ok(WorkerRest::More) => self.todo.push_back(Todo::Visit(queue, Context::Worker)),
                Err(visit) => return Err(format!("queue {queue}: {visit:?} owes answers")),
            }
        }
        Ok(())
    }

    fn signal(&mut self, queue: usize, job: JobId, outcome: Outcome) -> Verdict {
        let now = self.now;
        self.note(queue, job.seqno(), "job ends");
        let line = &mut self.lines[queue];
        let fact = line.fact(job).ok_or("a fence that nobody knows")?;
        if fact.ended.replace(outcome).is_some() {
            return Err(format!("{job:?} of queue {queue} ends twice"));
        }
        if outcome == Outcome::Completed && !fact.done {
            return Err(format!(
                "{job:?} of queue {queue} has completed, and the device has not done it"
            ));
        }
        let (client, waiters) = (fact.client, std::mem::take(&mut fact.waiters));
        line.ended += 1;
        line.last_end = now;
        for (other, waiter) in waiters {
            if outcome != Outcome::Completed {
                self.see(Sight::DependencyFailed);
            }
            // It may have been cancelled meanwhile.
            let core = &mut self.lines[other].core;
            let _gone = core.dependency_signalled(waiter, outcome.result());
            self.todo.push_back(Todo::Visit(other, Context::Task));
        }
        self.job_ended(client, job);
        Ok(())
    }

    fn reap(&mut self, queue: usize, job: JobId) -> Verdict {
        let line = &mut self.lines[queue];
        let ended = line.facts.front().is_some_and(|fact| fact.ended.is_some());
        if job.seqno() != line.first || !ended {
            return Err(format!("{job:?} of queue {queue} is dropped out of turn"));
        }
        line.facts.pop_front();
        line.first += 1;
        Ok(())
    }

    /// A job is put on its ring. True if the callback does not return at once.
    fn run_callback(&mut self, queue: usize, job: JobId) -> Result<bool, String> {
        self.note(queue, job.seqno(), "run");
        let line = &mut self.lines[queue];
        if line.gate() != Gate::Open {
            return Err(format!(
                "{job:?} of queue {queue} runs, and its gate is not open"
            ));
        }
        if !self.device.is_resident(queue) && !self.lines[queue].lost {
            return Err(format!("{job:?} of queue {queue} runs off its slot"));
        }
        if !self.whole_group_is_resident(queue) {
            return Err(format!("{job:?} of queue {queue} runs without its group"));
        }
        let line = &mut self.lines[queue];
        let attempt = line.core.attempt(job).ok_or("a job that is gone runs")?;
        let awake = line.awake(self.now);
        let fact = line.fact(job).ok_or("a job that nobody knows runs")?;
        if std::mem::replace(&mut fact.taken, true) {
            return Err(format!("{job:?} of queue {queue} runs twice"));
        }
        fact.awake_at = awake;
        let hangs = self.setup.queues[queue].timeout_ns.is_some() && self.happens(self.rates.hang);
        let takes = self.lines[queue].fact(job).map_or(0, |fact| fact.takes);
        if hangs {
            self.see(Sight::Hang);
        }
        self.put(
            queue,
            Piece {
                job,
                attempt,
                left: if hangs { NEVER } else { takes },
            },
        );
        if !self.happens(self.rates.slow_run) {
            return Ok(false);
        }
        self.see(Sight::SlowRun);
        let takes = self.span(SLOW_RUN_NS);
        self.after(takes, Happening::RunReturns(queue));
        Ok(true)
    }

    /// Puts a job on its ring.
    pub(super) fn put(&mut self, queue: usize, piece: Piece) {
        self.device.contexts[queue].ring.push_back(piece);
        self.execute(queue);
    }

    fn ran(&mut self, queue: usize, visit: &mut Visit, job: JobId) -> Verdict {
        let core = &mut self.lines[queue].core;
        let ran = core.run_returned(visit, job, RunOutcome::Pending);
        ran.map_err(|error| format!("{job:?} of queue {queue} was not run: {error}"))
    }

    pub(super) fn run_returns(&mut self, queue: usize) -> Verdict {
        let out = self.lines[queue].out.take();
        let (mut visit, job) = out.ok_or("a callback returns that was not out")?;
        self.ran(queue, &mut visit, job)?;
        self.go_on(queue, visit)?;
        // What would have begun meanwhile was told that the worker is there.
        self.todo.push_back(Todo::Visit(queue, Context::Task));
        Ok(())
    }

    /// The driver looks into a job whose time is up.
    fn timed_out(&mut self, queue: usize, visit: &mut Visit, job: JobId) -> Verdict {
        self.note(queue, job.seqno(), "time is up");
        self.see(Sight::TimedOut);
        let now = self.now;
        let line = &mut self.lines[queue];
        if line.gate() == Gate::Shut {
            return Err(format!(
                "the time of {job:?} of queue {queue} is up off its slot"
            ));
        }
        let awake = line.awake(now);
        let timeout = line.setup.timeout_ns.unwrap_or(0);
        let fact = line.fact(job).ok_or("a job that nobody knows times out")?;
        let had = awake - fact.awake_at;
        if had < timeout {
            return Err(format!(
                "the time of {job:?} of queue {queue} is up after {had} of {timeout} ns"
            ));
        }
        let verdict = if self.device.hung(queue) != Some(job) {
            self.see(Sight::NoHang);
            TimeoutOutcome::NoHang
        } else if self.happens(self.rates.handled) && !self.device.resetting {
            self.see(Sight::Handled);
            self.device.pause(queue, now);
            self.device.contexts[queue].ring.pop_front();
            self.execute(queue);
            TimeoutOutcome::Handled(Errno::ENODATA)
        } else {
            TimeoutOutcome::Reset
        };
        if verdict != TimeoutOutcome::NoHang {
            self.trouble_ns += timeout;
        }
        let line = &mut self.lines[queue];
        line.awake(now);
        let time = Time::from_ns(now);
        let told = line.core.timed_out_returned(visit, job, verdict, time);
        line.awake(now);
        told.map_err(|error| format!("the verdict on {job:?} was refused: {error}"))
    }

    /// A queue says what it wants, now or somewhat later.
    fn says(&mut self, queue: usize, report: GateReport) -> Verdict {
        self.lines[queue].said = report.version;
        let Some(seat) = self.lines[queue].seat else {
            return Ok(());
        };
        if report.wants && self.device.place(queue).is_none() {
            self.see(Sight::GateBlocksRun);
        }
        if self.plant.is(SlotCanary::ReportLost) && self.happens(20) {
            return Ok(());
        }
        if self.happens(self.rates.late_report) {
            self.see(Sight::LateReport);
            let late = self.prng.between(1, 5_000);
            self.late_ns += u64::from(late);
            self.after(u64::from(late), Happening::Report(queue, seat, report));
            return Ok(());
        }
        self.report(queue, seat, report)
    }

    /// The orchestrator hears what a queue has said.
    pub(super) fn report(&mut self, queue: usize, seat: SeatId, mut report: GateReport) -> Verdict {
        if self.lines[queue].seat != Some(seat) {
            return Ok(());
        }
        self.note(queue, u64::from(report.wants), "report");
        if self.plant.is(SlotCanary::OldReportBelieved) {
            report.version = self.lines[queue].version + 1;
        }
        let version = &mut self.lines[queue].version;
        *version = report.version.max(*version);
        if self.lines[queue]
            .yields
            .is_some_and(|seen| report.version > seen)
        {
            return self.answer_yield(queue, seat, report);
        }
        let now = self.time();
        let heard = self.orchestrator.report(seat, report, now);
        if heard.is_err() && self.lines[queue].removing {
            // Its seat has gone, and the host is about to hear of it.
            return Ok(());
        }
        heard.map_err(|error| format!("a report of queue {queue} was refused: {error}"))?;
        self.told = true;
        Ok(())
    }

    /// Sets a queue's gate. What comes of it is for a visit. Returns the version of the last report that
    /// did not know of it.
    pub(super) fn set_gate(&mut self, queue: usize, gate: Gate) -> Result<u64, String> {
        let time = Time::from_ns(self.now);
        self.note(queue, gate as u64, "gate");
        let line = &mut self.lines[queue];
        line.awake(self.now);
        let set = line.core.set_gate(gate, time);
        line.awake(self.now);
        self.todo.push_back(Todo::Visit(queue, Context::Task));
        set.map_err(|error| format!("the gate of queue {queue}: {error}"))
    }

    /// A random span of up to so many nanoseconds.
    pub(super) fn span(&mut self, most: u64) -> u64 {
        1 + self.prng.bits() % most.max(1)
    }
}
