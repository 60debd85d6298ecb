// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What clients do: prepare, arm, submit, cancel, and foreign fences.

use std::time::Duration;

use ringfence_core::{
    Attempt, Context, Errno, JobId, OnDependencyError, PrepareError, Request, Timeout,
};

use super::super::canary::Canary;
use super::super::coverage::{End, Fault, Fed, Recovered};
use super::super::log::{Detail, Event};
use super::{Wish, World};
use crate::judge::{Place, Verdict};
use crate::op::{Op, Pick};

impl World {
    /// One operation on one queue.
    pub(super) fn queue_op(&mut self, queue: u8, op: &Op) -> Verdict {
        match *op {
            Op::Push { cost, open } => self.push(queue, cost, open),
            Op::Prepare {
                cost,
                timeout,
                on_error,
                aside,
            } => self
                .prepare(queue, cost, timeout, on_error, aside)
                .map(drop),
            Op::SetAside(most) => self.set_aside(queue, most),
            Op::PutBack(most) => {
                self.put_back(queue, most.into());
                Ok(())
            }
            Op::MoveInto(storage) => self.move_into(queue, storage),
            Op::Release(room) => {
                self.release(queue, room);
                Ok(())
            }
            Op::Arm(room) => self.arm(queue, room).map(drop),
            Op::Submit {
                job,
                open,
                abandoned,
            } => match self.choose(queue, job, |place| place == Place::Armed) {
                Some(job) => self.submit(queue, job, open, abandoned),
                None => Ok(()),
            },
            Op::Cancel(job) => {
                let fits = |place| matches!(place, Place::Armed | Place::Line);
                match self.choose(queue, job, fits) {
                    Some(job) => self.cancel(queue, job),
                    None => Ok(()),
                }
            }
            Op::Dependency { job, ok } => self.stray_dependency(queue, job, ok),
            Op::Resource(job) => match self.choose(queue, job, |place| place == Place::Line) {
                Some(job) => self.resource(queue, job),
                None => Ok(()),
            },
            Op::Complete { job, ok } | Op::Stale { job, ok } => self.stray(queue, job, ok),
            Op::Begin(Context::Nested) => self.nested(queue),
            Op::Begin(context) | Op::Serve { context, .. } => {
                self.begin(queue, context);
                Ok(())
            }
            Op::Enter => {
                self.enter(queue);
                Ok(())
            }
            Op::HandBack(_) => self.hand_back(queue),
            _ => self.whole_op(queue, op),
        }
    }

    /// The job that an operation is about.
    fn choose(&mut self, queue: u8, pick: Pick, fits: impl Fn(Place) -> bool) -> Option<JobId> {
        let judge = &self.lines[usize::from(queue)].judge;
        let index = match pick {
            Pick::Fit(index) => judge.nth(index, |fact| fits(fact.place))?,
            Pick::Any(index) => judge.nth(index, |_| true)?,
            Pick::Gone(index) => {
                let far = u64::from(index / 2);
                return Some(JobId::from_seqno(match index % 2 {
                    0 => judge.seqno(judge.facts.len()).wrapping_add(far),
                    _ => judge.seqno(judge.reaped).wrapping_sub(1 + far),
                }));
            }
        };
        Some(JobId::from_seqno(judge.seqno(index)))
    }

    fn prepare(
        &mut self,
        queue: u8,
        cost: u8,
        timeout: u8,
        on_error: u8,
        aside: bool,
    ) -> Result<bool, String> {
        let credits = self.line(queue).shape.config.credits;
        let request = Request {
            cost: u32::from(cost) % credits.saturating_add(2),
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
        let got = self.room_for(queue, request, aside)?;
        let line = &mut self.lines[usize::from(queue)];
        let told = got.as_ref().map(|_| ()).map_err(|error| *error);
        let detail = Detail::from(told.map_err(PrepareError::errno));
        match got {
            Ok(room) => {
                let wish = Wish {
                    cost: request.cost,
                    timeout: match timeout {
                        0 => line.judge.timeout(),
                        1 => 0,
                        tens => u64::from(tens) * 10,
                    },
                    run_on_error: match on_error {
                        0 => line.judge.runs_on_error(),
                        1 => false,
                        _ => true,
                    },
                };
                line.rooms.push((room, wish));
            }
            Err(PrepareError::Banned) => self.coverage.recovered(Recovered::RefusedBanned),
            Err(error) => self.coverage.end(match error {
                PrepareError::Full => End::Full,
                PrepareError::CostAboveLimit { .. } => End::Cost,
                PrepareError::Killed(_) => End::Killed,
                PrepareError::Closed | PrepareError::Banned => End::Closed,
            }),
        }
        self.note(queue, None, None, Event::Prepare, detail);
        Ok(told.is_ok())
    }

    pub(super) fn release(&mut self, queue: u8, room: u8) {
        let line = self.line(queue);
        if let Some(at) = usize::from(room).checked_rem(line.rooms.len()) {
            let (room, _) = line.rooms.swap_remove(at);
            line.port.release(room, at);
            line.judge.release();
            self.note(queue, None, None, Event::Release, Detail::Nothing);
        }
    }

    fn arm(&mut self, queue: u8, room: u8) -> Result<Option<JobId>, String> {
        let line = &mut self.lines[usize::from(queue)];
        let Some(at) = usize::from(room).checked_rem(line.rooms.len()) else {
            return Ok(None);
        };
        let (room, wish) = line.rooms.swap_remove(at);
        let job = line.port.arm(room, at).map_err(|error| error.to_string())?;
        let fence = self.fences.make(Some(queue));
        line.judge.arm(job.seqno(), wish, fence)?;
        if job.seqno() == 0 && line.shape.config.first_seqno != 0 {
            self.coverage.fault(Fault::SeqnoWrap);
        }
        self.summary.jobs += 1;
        self.note(queue, Some(job.seqno()), None, Event::Arm, Detail::Nothing);
        Ok(Some(job))
    }

    pub(super) fn submit(&mut self, queue: u8, job: JobId, open: u8, abandoned: bool) -> Verdict {
        let seqno = job.seqno();
        let armed = {
            let judge = &self.lines[usize::from(queue)].judge;
            let found = judge.find(seqno);
            found.filter(|i| judge.facts[*i].place == Place::Armed)
        };
        let (mut waits, mut skipped) = (0, 0);
        if let Some(i) = armed {
            let fence = self.lines[usize::from(queue)].judge.facts[i].fence;
            for nth in 0..open {
                let waits_for = self.depend(queue, seqno, fence, nth)?;
                waits += u32::from(waits_for.is_some());
                let from = waits_for.and_then(|fence| self.fences.queue_of(fence));
                if from.is_some_and(|from| from != queue)
                    && self.plant.is(Canary::DependencySkipped)
                {
                    skipped += 1;
                }
            }
        }
        let time = self.time();
        let line = self.line(queue);
        let got = line.port.submit(job, waits - skipped, abandoned, time);
        line.judge.submit(seqno, waits, abandoned, got.is_ok())?;
        if got.is_ok() {
            if abandoned {
                self.coverage.fault(Fault::AbandonedJob);
            }
            self.stir(queue);
        }
        let detail = Detail::Number(u64::from(waits));
        self.note(queue, Some(seqno), None, Event::Submit, detail);
        Ok(())
    }

    /// Makes a job wait for a fence of another job, or a foreign one.
    fn depend(&mut self, queue: u8, seqno: u64, own: u32, nth: u8) -> Result<Option<u32>, String> {
        let roll = self.roll(5, queue, seqno, nth);
        let foreign = roll.is_multiple_of(4);
        let fence = match foreign {
            true => Some(self.fences.make(None)),
            false => self.fences.choose(own, (roll >> 8) as u8),
        };
        if let Some(fence) = fence {
            self.fences.wait(fence, queue, seqno)?;
        }
        Ok(fence)
    }

    fn push(&mut self, queue: u8, cost: u8, open: u8) -> Verdict {
        if !self.prepare(queue, cost, 0, 0, true)? {
            return Ok(());
        }
        let last = self.line(queue).rooms.len() - 1;
        // More rooms than a byte can tell would only make this arm another one.
        let Some(job) = self.arm(queue, last as u8)? else {
            return Ok(());
        };
        self.submit(queue, job, open, false)?;
        self.begin(queue, Context::Submit);
        Ok(())
    }

    pub(super) fn dependency(
        &mut self,
        queue: u8,
        job: JobId,
        result: Result<(), Errno>,
    ) -> Verdict {
        let line = &mut self.lines[usize::from(queue)];
        self.coverage
            .fed(Fed::Dependency, line.port.look().state(job));
        let got = line.port.dependency(job, result);
        line.judge.dependency(job.seqno(), result, got.is_ok())?;
        self.note(
            queue,
            Some(job.seqno()),
            None,
            Event::Dependency,
            Detail::from(result),
        );
        self.stir(queue);
        Ok(())
    }

    /// A callback that was on its way when its job ended.
    fn stray_dependency(&mut self, queue: u8, job: Pick, ok: bool) -> Verdict {
        let Some(job) = self.choose(queue, job, |_| true) else {
            return Ok(());
        };
        let judge = &self.lines[usize::from(queue)].judge;
        let Some(i) = judge.find(job.seqno()) else {
            return Ok(());
        };
        // One more than it waits for, where it waits, would be a host's mistake.
        if judge.facts[i].place == Place::Line && judge.facts[i].open > 0 {
            return Ok(());
        }
        let result = if ok { Ok(()) } else { Err(Errno::EBADMSG) };
        self.dependency(queue, job, result)
    }

    pub(super) fn resource(&mut self, queue: u8, job: JobId) -> Verdict {
        let line = &mut self.lines[usize::from(queue)];
        self.coverage
            .fed(Fed::Resource, line.port.look().state(job));
        let got = match self.plant.is(Canary::ResourceOfAnotherQueue) {
            true => self.resource_elsewhere(queue, job),
            false => line.port.resource(job),
        };
        let line = &mut self.lines[usize::from(queue)];
        line.judge.resource(job.seqno(), got.is_ok())?;
        self.note(
            queue,
            Some(job.seqno()),
            None,
            Event::Resource,
            Detail::Nothing,
        );
        self.stir(queue);
        Ok(())
    }

    fn cancel(&mut self, queue: u8, job: JobId) -> Verdict {
        let line = &mut self.lines[usize::from(queue)];
        self.coverage.fed(Fed::Cancel, line.port.look().state(job));
        let got = line.port.cancel(job, Errno::EAGAIN).ok();
        line.judge.cancel(job.seqno(), Errno::EAGAIN, got)?;
        self.note(
            queue,
            Some(job.seqno()),
            None,
            Event::Cancel,
            Detail::Nothing,
        );
        self.stir(queue);
        Ok(())
    }

    /// A completion that no ring has written: early, late, or out of the blue.
    fn stray(&mut self, queue: u8, pick: Pick, ok: bool) -> Verdict {
        let Some(job) = self.choose(queue, pick, |place| place == Place::Hardware) else {
            return Ok(());
        };
        self.coverage.fault(Fault::StrayCompletion);
        let present = self.line(queue).port.look().attempt(job);
        let attempt = match pick {
            Pick::Fit(_) => present.unwrap_or(Attempt::FIRST),
            _ => Attempt::FIRST,
        };
        if present == Some(attempt) {
            self.device.rings[usize::from(queue)].remove(job.seqno());
        }
        let result = if ok { Ok(()) } else { Err(Errno::EFAULT) };
        self.complete(queue, job, attempt, result)?;
        self.begin(queue, Context::Irq);
        Ok(())
    }

    /// A foreign fence signals.
    pub(super) fn foreign(&mut self, pick: u8) -> Verdict {
        let Some(fence) = self.fences.foreign(pick) else {
            return Ok(());
        };
        let mut roll = self.roll(6, 0, u64::from(fence), 0);
        let result = match self.happens(&mut roll, self.scenario.rates.foreign) {
            true => Err(Errno::EBADMSG),
            false => Ok(()),
        };
        self.note_all(Event::Foreign, Detail::from(result));
        self.fences.begin(fence, result)?;
        self.call_back(fence)?;
        self.fence_ends(fence)
    }
}
