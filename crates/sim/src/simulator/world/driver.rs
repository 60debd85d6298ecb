// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The modelled driver: its callbacks, and fence callbacks.

use std::time::Duration;

use ringfence_core::{
    Attempt, Context, Errno, JobId, Outcome, ReplayOutcome, RunOutcome, TimeoutOutcome,
};

use super::super::canary::Canary;
use super::super::coverage::{Fault, Hosted, Recovered};
use super::super::device::{Health, Slot, Written, NEVER};
use super::super::log::{Detail, Event};
use super::super::plan::Inside;
use super::super::scenario::{Patience, Reach};
use super::World;
use crate::judge::{Place, Verdict};
use crate::op::Op;

/// What comes of putting a job on a ring.
enum Placed {
    Pending,
    Done,
    Failed(Errno),
    NoResources,
}

impl World {
    /// A driver callback begins: none may run at the same time, nor after the driver has gone.
    pub(super) fn callback_begins(&mut self, queue: u8, job: JobId) -> Verdict {
        let line = self.line(queue);
        if line.driver_gone {
            return Err(format!(
                "a driver callback for {job:?} after the driver has gone"
            ));
        }
        line.inside += 1;
        if line.inside != 1 {
            return Err(format!("the callback for {job:?} overlaps another one"));
        }
        let i = line.judge.index(job.seqno())?;
        if line.judge.facts[i].reaped {
            return Err(format!(
                "a callback is handed {job:?}, whose payload is gone"
            ));
        }
        Ok(())
    }

    pub(super) fn run_begins(
        &mut self,
        queue: u8,
        context: Context,
        job: JobId,
        inside: Inside,
    ) -> Result<RunOutcome, String> {
        self.callback_begins(queue, job)?;
        let seqno = job.seqno();
        let judge = &self.lines[usize::from(queue)].judge;
        if judge.find(seqno).is_some_and(|i| judge.facts[i].taken) {
            return Err(format!("the driver is to run {job:?}, which it has taken"));
        }
        self.note(
            queue,
            Some(seqno),
            Some(context),
            Event::RunBegins,
            Detail::Nothing,
        );
        let attempt = self.line(queue).port.look().attempt(job);
        let attempt = attempt.ok_or_else(|| format!("{job:?} is to run and is gone"))?;
        let placed = self.place(queue, job, attempt, Fault::EarlyCompletion)?;
        self.inside(queue, inside, true)?;
        Ok(match placed {
            Placed::Pending => RunOutcome::Pending,
            Placed::Done => {
                self.coverage.fault(Fault::DoneAtOnce);
                RunOutcome::Done
            }
            Placed::Failed(error) => {
                self.coverage.fault(Fault::RunFails);
                RunOutcome::Failed(error)
            }
            Placed::NoResources => {
                self.coverage.fault(Fault::NoResources);
                RunOutcome::NoResources
            }
        })
    }

    /// Puts a job on its ring, or not.
    fn place(
        &mut self,
        queue: u8,
        job: JobId,
        attempt: Attempt,
        early: Fault,
    ) -> Result<Placed, String> {
        let (seqno, rates) = (job.seqno(), self.scenario.rates);
        if self.device.health == Health::Gone {
            return Ok(Placed::Failed(Errno::ENODEV));
        }
        let mut roll = self.roll(1, queue, seqno, attempt.replays());
        if self.happens(&mut roll, rates.run_fails) {
            return Ok(Placed::Failed(Errno::EIO));
        }
        if self.happens(&mut roll, rates.at_once) {
            return Ok(Placed::Done);
        }
        let busy = self.happens(&mut roll, rates.busy);
        let hangs = self.happens(&mut roll, rates.hang);
        let result = match self.happens(&mut roll, rates.fault) {
            true => Err(Errno::EFAULT),
            false => Ok(()),
        };
        let comes_early = self.happens(&mut roll, rates.early);
        let lost = self.happens(&mut roll, rates.lost);
        let double = self.happens(&mut roll, rates.double);
        let ring = &mut self.device.rings[usize::from(queue)];
        if !ring.has_room() || (busy && early == Fault::EarlyCompletion) {
            return Ok(Placed::NoResources);
        }
        if ring.is_on(seqno, attempt) {
            return Err(format!("{job:?} is on the ring twice in one attempt"));
        }
        if result.is_err() {
            self.coverage.fault(Fault::BadJob);
        }
        if comes_early && self.device.health == Health::Well {
            self.coverage.fault(early);
            self.complete(queue, job, attempt, result)?;
            self.begin(queue, Context::Irq);
            return Ok(Placed::Pending);
        }
        if hangs {
            self.coverage.fault(Fault::Hang);
        }
        let takes = match hangs {
            true => NEVER,
            false => 1 + roll % u64::from(self.scenario.job_ns.max(1)),
        };
        self.device.rings[usize::from(queue)].slots.push_back(Slot {
            seqno,
            attempt,
            takes,
            result,
            done_at: None,
            lost,
            double,
        });
        // A ring that has nothing else to do begins at once.
        self.pass(self.now);
        Ok(Placed::Pending)
    }

    pub(super) fn replay_begins(
        &mut self,
        queue: u8,
        job: JobId,
        attempt: Attempt,
    ) -> Result<ReplayOutcome, String> {
        self.callback_begins(queue, job)?;
        let seqno = job.seqno();
        self.device.rings[usize::from(queue)].remove(seqno);
        let mut roll = self.roll(2, queue, seqno, attempt.replays());
        if self.happens(&mut roll, self.scenario.rates.replay_fails) {
            return Ok(ReplayOutcome::Failed(Errno::EIO));
        }
        Ok(match self.place(queue, job, attempt, Fault::EarlyReplay)? {
            Placed::Pending => ReplayOutcome::Pending,
            Placed::Done => ReplayOutcome::Done,
            Placed::Failed(error) => ReplayOutcome::Failed(error),
            // Nothing is tried again here.
            Placed::NoResources => ReplayOutcome::Failed(Errno::ENOSPC),
        })
    }

    /// The driver looks into a job whose time is up.
    pub(super) fn timeout_begins(
        &mut self,
        queue: u8,
        job: JobId,
        extensions_left: u8,
        inside: Inside,
    ) -> Result<TimeoutOutcome, String> {
        self.callback_begins(queue, job)?;
        let seqno = job.seqno();
        self.note(
            queue,
            Some(seqno),
            Some(Context::Worker),
            Event::TimeoutBegins,
            Detail::Number(u64::from(extensions_left)),
        );
        let verdict = self.look_into(queue, job)?;
        self.done_is_done(queue, job, verdict)?;
        self.inside(queue, inside, true)?;
        Ok(verdict)
    }

    fn look_into(&mut self, queue: u8, job: JobId) -> Result<TimeoutOutcome, String> {
        let seqno = job.seqno();
        if self.device.health == Health::Gone {
            return Ok(TimeoutOutcome::DeviceGone);
        }
        let attempt = self.line(queue).port.look().attempt(job);
        let attempt = attempt.ok_or_else(|| format!("{job:?} timed out and is gone"))?;
        let ring = &mut self.device.rings[usize::from(queue)];
        if let Some(at) = ring.find_written(seqno, attempt) {
            // Its interrupt was lost, or is late: what was written counts.
            if let Some(written) = ring.written.remove(at) {
                self.coverage.recovered(Recovered::LostFound);
                self.complete(queue, job, attempt, written.result)?;
                self.coverage.fault(Fault::CompletionInTimeout);
            }
            return Ok(TimeoutOutcome::NoHang);
        }
        let dead = self.device.health == Health::FirmwareDead;
        let ring = &mut self.device.rings[usize::from(queue)];
        match (ring.hung(), ring.find(seqno).is_some()) {
            (Some(front), true) if front != seqno && !self.is_on_hardware(queue, front) => {
                // A job that ended already holds the ring up.
                let ring = &mut self.device.rings[usize::from(queue)];
                ring.remove(front);
                self.pass(self.now);
                Ok(TimeoutOutcome::NoHang)
            }
            // It is nowhere: whatever was to be done with it is lost.
            (_, false) => Ok(TimeoutOutcome::Handled(Errno::ENODATA)),
            (None, true) if !dead => {
                if self.roll(3, queue, seqno, 0).is_multiple_of(3) {
                    return Ok(TimeoutOutcome::NoHang);
                }
                Ok(TimeoutOutcome::Extend(Duration::from_nanos(50)))
            }
            (_, true) => self.hang_verdict(queue, seqno),
        }
    }

    fn hang_verdict(&mut self, queue: u8, seqno: u64) -> Result<TimeoutOutcome, String> {
        let patience = self.line(queue).shape.patience;
        let roll = self.roll(4, queue, seqno, (self.now >> 3) as u8);
        let (handles, asks) = (Patience::Handles, Patience::AsksForReset);
        let patience = match patience {
            Patience::Mixed => [handles, asks, Patience::Hopes][(roll % 3) as usize],
            fixed => fixed,
        };
        let dead = self.device.health == Health::FirmwareDead;
        match patience {
            // A ring's reset does not raise the firmware.
            Patience::Handles if !dead => {
                let ring = &mut self.device.rings[usize::from(queue)];
                ring.remove(seqno);
                ring.restart();
                self.pass(self.now);
                Ok(TimeoutOutcome::Handled(Errno::ENODATA))
            }
            Patience::Hopes => Ok(TimeoutOutcome::Extend(Duration::from_nanos(
                20 + roll % 100,
            ))),
            _ => {
                if self.plant.is(Canary::TwoResetsAtOnce) {
                    self.rescue.ask(queue, Some(Reach::Device));
                    self.begin_reset(self.now + 1, false)?;
                }
                Ok(TimeoutOutcome::Reset)
            }
        }
    }

    /// True if core still takes the job for one on the hardware.
    pub(super) fn is_on_hardware(&self, queue: u8, seqno: u64) -> bool {
        let judge = &self.lines[usize::from(queue)].judge;
        let found = judge.find(seqno);
        found.is_some_and(|i| judge.facts[i].place == Place::Hardware)
    }

    /// A fence signals: who waits for it is told, inside its callbacks.
    pub(super) fn fence_begins(
        &mut self,
        queue: u8,
        context: Context,
        job: JobId,
        outcome: Outcome,
        inside: Inside,
    ) -> Verdict {
        let seqno = job.seqno();
        self.note(
            queue,
            Some(seqno),
            Some(context),
            Event::FenceBegins,
            Detail::Outcome(outcome),
        );
        let line = self.line(queue);
        let i = line.judge.index(seqno)?;
        let fence = line.judge.facts[i].fence;
        self.fences.begin(fence, outcome.result())?;
        self.call_back(fence)?;
        self.inside(queue, inside, false)
    }

    /// Tells all who wait for a fence.
    pub(super) fn call_back(&mut self, fence: u32) -> Verdict {
        if self.plant.is(Canary::FlagBeforeCallbacks) {
            self.fences.end(fence)?;
        }
        self.fences.in_callbacks(true);
        while let Some((queue, seqno, result)) = self.fences.take_waiter(fence) {
            let from = self.fences.queue_of(fence);
            if from.is_some_and(|from| from != queue) {
                self.coverage.fault(Fault::CrossQueue);
            }
            if result.is_err() {
                self.coverage.fault(Fault::DependencyFailure);
            }
            self.dependency(queue, JobId::from_seqno(seqno), result)
                .and_then(|()| self.nested(queue))
                .map_err(|what| format!("queue {queue}, which waits: {what}"))?;
            if self.plant.is(Canary::WaitAddedInFenceCallback) {
                self.waits_for_the_next(queue, seqno)?;
            }
        }
        self.fences.in_callbacks(false);
        Ok(())
    }

    /// What a callback calls back: a visit from inside a driver callback is an interrupt's, one
    /// from inside a fence callback is nested.
    fn inside(&mut self, queue: u8, inside: Inside, in_driver: bool) -> Verdict {
        let op = match inside {
            Inside::Nothing => return Ok(()),
            Inside::Close(policy) => Op::Close(policy),
            Inside::Kill => Op::Kill,
            Inside::Suspend => Op::Suspend,
            Inside::Resume => Op::Resume,
            Inside::Cancel => Op::Cancel(crate::op::Pick::Fit(0)),
            Inside::Trigger => Op::Trigger,
            Inside::Gate(gate) => Op::Gate(gate),
            Inside::Recover => {
                self.rescue.ask(queue, None);
                return Ok(());
            }
        };
        match (inside, in_driver) {
            (Inside::Close(_), true) => self.coverage.fault(Fault::CloseInDriver),
            (Inside::Close(_), false) => self.coverage.fault(Fault::CloseInFence),
            (Inside::Kill, true) => self.coverage.fault(Fault::KillInDriver),
            (Inside::Kill, false) => self.coverage.fault(Fault::KillInFence),
            (Inside::Gate(_), true) => self.coverage.hosted(Hosted::GateInDriver),
            (Inside::Gate(_), false) => self.coverage.hosted(Hosted::GateInFence),
            _ => {}
        }
        self.queue_op(queue, &op)?;
        if in_driver {
            self.begin(queue, Context::Irq);
            Ok(())
        } else {
            self.nested(queue)
        }
    }

    /// A completion is reported for one attempt at a job.
    pub(super) fn complete(
        &mut self,
        queue: u8,
        job: JobId,
        attempt: Attempt,
        result: Result<(), Errno>,
    ) -> Verdict {
        use super::super::coverage::Fed;
        use crate::judge::Loan;
        let seqno = job.seqno();
        let ring = &mut self.device.rings[usize::from(queue)];
        ring.told(seqno, attempt);
        let works = ring.is_on(seqno, attempt);
        let line = &mut self.lines[usize::from(queue)];
        if works
            && line
                .judge
                .takes_completion(seqno, attempt.replays())
                .is_some()
        {
            return Err(format!("{job:?} completes while the device works on it"));
        }
        self.coverage
            .fed(Fed::Complete, line.port.look().state(job));
        if let Some(i) = line.judge.find(seqno) {
            let fact = &line.judge.facts[i];
            let hardware = fact.place == Place::Hardware;
            if attempt.replays() < fact.attempt {
                self.coverage.fault(Fault::StaleCompletion);
            } else if hardware && fact.loan == Loan::Walk {
                self.coverage.fault(Fault::CompletionInWalk);
            } else if hardware && fact.loan == Loan::Replay {
                self.coverage.fault(Fault::CompletionInReplay);
            } else if hardware && matches!(fact.loan, Loan::Timeout(_)) {
                self.coverage.fault(Fault::CompletionInTimeout);
            }
        }
        let got = line.port.complete(job, attempt, result);
        line.judge.complete(seqno, attempt.replays(), result, got)?;
        self.note(
            queue,
            Some(seqno),
            None,
            Event::Complete,
            Detail::from(result),
        );
        self.stir(queue);
        Ok(())
    }

    /// What the driver does with a completion that it reads from the ring.
    pub(super) fn read(&mut self, queue: u8, written: Written) -> Verdict {
        let job = JobId::from_seqno(written.seqno);
        self.complete(queue, job, written.attempt, written.result)?;
        if self.plant.is(Canary::PayloadDroppedByDriver) {
            self.drop_payload(queue, job)?;
        }
        if written.double {
            self.coverage.fault(Fault::DoubleInterrupt);
            self.complete(queue, job, written.attempt, written.result)?;
        }
        Ok(())
    }
}
