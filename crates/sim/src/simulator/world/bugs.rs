// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What must hold between host, driver and device, and bugs of theirs to break it with.

use ringfence_core::{Context, Effect, Errno, JobId, Refused, TimeoutOutcome};

use super::super::canary::Canary;
use super::World;
use crate::judge::{Place, Verdict};

impl World {
    /// A job that the device is done with is not punished by who looks into its timeout.
    pub(super) fn done_is_done(&self, queue: u8, job: JobId, verdict: TimeoutOutcome) -> Verdict {
        let attempt = self.lines[usize::from(queue)].port.look().attempt(job);
        let ring = &self.device.rings[usize::from(queue)];
        let done = attempt.is_some_and(|attempt| ring.owes(job.seqno(), attempt));
        match verdict {
            TimeoutOutcome::Handled(_) | TimeoutOutcome::Reset if done => Err(format!(
                "{job:?} is punished and the device is done with it"
            )),
            _ => Ok(()),
        }
    }

    /// Somebody asks the last fence of a queue that is over for its timeline's name.
    pub(super) fn name_of_last_fence(&self, queue: u8) -> Verdict {
        let judge = &self.lines[usize::from(queue)].judge;
        let Some(last) = judge.facts.last() else {
            return Ok(());
        };
        let name = match self.plant.is(Canary::FenceNeedsItsQueue) {
            true if judge.told_closed => {
                return Err("a fence looked into its queue, which is gone".into());
            }
            true => Some(queue),
            false => self.fences.queue_of(last.fence),
        };
        match name == Some(queue) {
            true => Ok(()),
            false => Err(format!("a fence calls itself one of {name:?}")),
        }
    }

    /// All callbacks of a fence have returned: it says that it has signalled.
    pub(super) fn fence_ends(&mut self, fence: u32) -> Verdict {
        match self.plant.is(Canary::FlagBeforeCallbacks) {
            true => Ok(()),
            false => self.fences.end(fence),
        }
    }

    /// Whether a recovery takes a job for guilty that is or is not.
    pub(super) fn decides_on_guilt(&self, guilty: bool) -> bool {
        match self.plant.planted() {
            Some(Canary::InnocentPunished) => true,
            Some(Canary::GuiltyReplayed) => false,
            _ => guilty,
        }
    }
}

/// Bugs.
impl World {
    /// A payload is dropped and nobody asked for that.
    pub(super) fn drop_payload(&mut self, queue: u8, job: JobId) -> Verdict {
        let (id, now) = (self.next_visit, self.now);
        let line = &mut self.lines[usize::from(queue)];
        let drop = Effect::Reap { job };
        line.judge.effect(id, Context::Task, &drop, false, now)
    }

    /// A submitter whose visit is over looks at the job that it has pushed.
    pub(super) fn look_at_newest(&self, at: usize) -> Verdict {
        let visit = &self.visits[at];
        let judge = &self.lines[usize::from(visit.queue)].judge;
        match judge.facts.last() {
            Some(newest) if visit.context == Context::Submit && newest.reaped => Err(format!(
                "the submitter looks at #{}, whose payload is gone",
                judge.seqno(judge.facts.len() - 1)
            )),
            _ => Ok(()),
        }
    }

    /// A fence callback makes the job wait for the next fence that there is.
    pub(super) fn waits_for_the_next(&mut self, queue: u8, seqno: u64) -> Verdict {
        let judge = &self.lines[usize::from(queue)].judge;
        let Some(i) = judge.find(seqno).filter(|i| judge.facts[*i].open > 0) else {
            return Ok(());
        };
        let own = judge.facts[i].fence;
        match self.fences.choose(own, 0) {
            Some(next) => self.fences.wait(next, queue, seqno),
            None => Ok(()),
        }
    }

    /// The next queue is told of resources, under the number of a job of this one.
    pub(super) fn resource_elsewhere(&mut self, queue: u8, job: JobId) -> Result<(), Refused> {
        let other = (usize::from(queue) + 1) % self.lines.len();
        if other != usize::from(queue) {
            let _ = self.lines[other].port.resource(job);
        }
        let judge = &self.lines[usize::from(queue)].judge;
        let found = judge.find(job.seqno());
        match found.filter(|i| judge.facts[*i].place == Place::Line) {
            Some(_) => Ok(()),
            None => Err(Refused::Unknown),
        }
    }

    /// The handler takes the oldest job for done.
    pub(super) fn complete_oldest(&mut self, queue: u8) -> Verdict {
        let ring = &self.device.rings[usize::from(queue)];
        let Some(front) = ring.slots.front() else {
            return Ok(());
        };
        let (job, attempt) = (JobId::from_seqno(front.seqno), front.attempt);
        self.complete(queue, job, attempt, Ok::<(), Errno>(()))
    }

    /// The job's fence is another one from now on.
    pub(super) fn new_fence(&mut self, queue: u8, job: JobId) -> Verdict {
        let fence = self.fences.make(Some(queue));
        let judge = &mut self.line(queue).judge;
        let i = judge.index(job.seqno())?;
        judge.facts[i].fence = fence;
        Ok(())
    }
}
