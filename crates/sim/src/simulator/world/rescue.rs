// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who recovers: stops what is concerned, resets, walks, replays, starts; one recovery at a time.

use std::collections::VecDeque;

use ringfence_core::{Context, Errno, JobId, Outcome, Walked};

use super::super::canary::Canary;
use super::super::coverage::{Fault, Recovered};
use super::super::device::Health;
use super::super::log::{Detail, Event};
use super::super::scenario::{Reach, Rest};
use super::{Holder, World};
use crate::judge::{Loan, Place, Verdict};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Phase {
    #[default]
    Idle,
    Stop,
    Quiet,
    Reset,
    Walk,
    Lent(JobId),
    Replay(JobId),
    Start,
}

/// The one who recovers.
#[derive(Debug, Default)]
pub(super) struct Rescue {
    wanted: VecDeque<(u8, Option<Reach>)>,
    phase: Phase,
    reach: Option<Reach>,
    /// Whose hang it is about, and which job.
    first: u8,
    guilty: Option<JobId>,
    /// The queue that comes next in this phase.
    at: u8,
    from: Option<JobId>,
    retries: u8,
    begun: u64,
    /// Jobs that hung their rings when they were reset.
    blamed: [Option<u64>; 8],
}

impl Rescue {
    pub(super) fn reset(&mut self) {
        self.wanted.clear();
        self.phase = Phase::Idle;
        self.blamed = [None; 8];
    }

    /// A recovery is wanted because of a queue: by its driver, or by somebody who says how much.
    pub(super) fn ask(&mut self, queue: u8, reach: Option<Reach>) {
        if self.wanted.len() < 16 && !self.wanted.contains(&(queue, reach)) {
            self.wanted.push_back((queue, reach));
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Idle && self.wanted.is_empty()
    }
}

impl World {
    /// One step. False if there is none to take now.
    pub(super) fn rescue_step(&mut self) -> Result<bool, String> {
        let went = match self.rescue.phase {
            Phase::Idle => Ok(self.rescue_begins()),
            Phase::Stop => self.rescue_stops(),
            Phase::Quiet => self.rescue_waits(),
            Phase::Reset => self.rescue_resets(),
            Phase::Walk => self.rescue_walks(),
            Phase::Lent(job) => self.rescue_decides(job).map(|()| true),
            Phase::Replay(job) => {
                let queue = self.rescue.at;
                self.rescue.phase = Phase::Walk;
                self.replay_callback(queue, job).map(|()| true)
            }
            Phase::Start => self.rescue_starts(),
        };
        went.map_err(|what| format!("while recovering queue {}: {what}", self.rescue.at))
    }

    fn rescue_begins(&mut self) -> bool {
        let Some((queue, reach)) = self.rescue.wanted.pop_front() else {
            return false;
        };
        let guilty = self.line(queue).port.look().wants_recovery();
        if reach.is_none() && guilty.is_none() {
            self.coverage.recovered(Recovered::Obsolete);
            return true;
        }
        let roll = self.roll(7, queue, guilty.map_or(0, JobId::seqno), 0);
        let drawn = match roll % 20 {
            0..=9 => Reach::Queue,
            10..=16 => Reach::Device,
            17 | 18 => Reach::Migration,
            _ if self.live => Reach::Device,
            _ => Reach::Unplug,
        };
        let reach = match (self.device.health, reach.unwrap_or(drawn)) {
            (Health::Gone, Reach::Migration) => Reach::Migration,
            (Health::Gone, _) => Reach::Unplug,
            (Health::FirmwareDead, Reach::Queue) => Reach::Device,
            (_, reach) => reach,
        };
        self.note_all(
            Event::RecoveryBegins,
            Detail::Text(match reach {
                Reach::Queue => "queue",
                Reach::Device => "device",
                Reach::Migration => "migration",
                Reach::Unplug => "unplug",
            }),
        );
        let rescue = &mut self.rescue;
        rescue.reach = Some(reach);
        rescue.first = queue;
        rescue.guilty = guilty;
        rescue.retries = 0;
        rescue.begun = self.now;
        self.rescue_enters(Phase::Stop);
        true
    }

    fn rescue_enters(&mut self, phase: Phase) {
        self.rescue.phase = phase;
        self.rescue.from = None;
        self.rescue.at = match self.rescue.reach {
            Some(Reach::Queue) => self.rescue.first,
            _ => 0,
        };
    }

    /// Goes on to the next queue, or says that there is none.
    fn rescue_next_queue(&mut self) -> bool {
        self.rescue.from = None;
        self.rescue.at += 1;
        self.rescue.reach != Some(Reach::Queue) && usize::from(self.rescue.at) < self.lines.len()
    }

    fn rescue_stops(&mut self) -> Result<bool, String> {
        let queue = self.rescue.at;
        if self.line(queue).holder == Holder::Client {
            // Waits for whoever looks at the queue just now.
            return Ok(false);
        }
        if !self.stop(queue, Holder::Rescue)? {
            return Err("a queue that nobody holds could not be stopped".into());
        }
        self.begin(queue, Context::Task);
        if !self.rescue_next_queue() {
            self.rescue_enters(Phase::Quiet);
        }
        Ok(true)
    }

    fn rescue_reaches(&self) -> std::ops::Range<u8> {
        match self.rescue.reach {
            Some(Reach::Queue) => self.rescue.first..self.rescue.first + 1,
            _ => 0..self.lines.len() as u8,
        }
    }

    fn rescue_waits(&mut self) -> Result<bool, String> {
        let mut reaches = self.rescue_reaches();
        let quiet = |queue| self.lines[usize::from(queue)].port.look().is_quiet();
        if !reaches.all(quiet) && !self.plant.is(Canary::StopDoesNotWait) {
            return Ok(false);
        }
        let inside = |queue: &u8| self.lines[usize::from(*queue)].inside != 0;
        if let Some(queue) = self.rescue_reaches().find(inside) {
            return Err(format!(
                "a reset begins while the driver of queue {queue} is inside"
            ));
        }
        self.rescue_enters(Phase::Reset);
        self.reset_begins()?;
        Ok(true)
    }

    /// The device begins a reset: there is one at a time.
    pub(super) fn begin_reset(&mut self, until: u64, fails: bool) -> Verdict {
        if let Health::Resetting { .. } = self.device.health {
            return Err("a reset of the device begins while another one goes on".into());
        }
        self.device.health = Health::Resetting { until, fails };
        Ok(())
    }

    fn reset_begins(&mut self) -> Verdict {
        let reach = self.rescue.reach;
        if reach != Some(Reach::Device) || self.device.health == Health::Gone {
            return Ok(());
        }
        let rates = self.scenario.rates;
        let retries = self.rescue.retries;
        let mut roll = self.roll(8, self.rescue.first, self.now, retries);
        let slow = self.happens(&mut roll, rates.reset_slow);
        let fails = self.happens(&mut roll, rates.reset_fails);
        if slow {
            self.coverage.fault(Fault::SlowReset);
        }
        let takes = u64::from(self.scenario.reset_ns) * if slow { 10 } else { 1 };
        self.note_all(Event::ResetBegins, Detail::Number(takes));
        self.begin_reset(self.now + takes, fails)
    }

    fn rescue_resets(&mut self) -> Result<bool, String> {
        match self.device.health {
            Health::Resetting { until, .. } if until > self.now => return Ok(false),
            Health::Resetting { fails: true, .. } => {
                self.coverage.fault(Fault::FailedReset);
                self.note_all(Event::ResetEnds, Detail::Text("failed"));
                self.rescue.retries += 1;
                self.device.health = Health::FirmwareDead;
                if self.rescue.retries > 2 {
                    self.device_goes();
                    self.rescue.reach = Some(Reach::Unplug);
                } else {
                    self.reset_begins()?;
                }
                return Ok(true);
            }
            Health::Gone if self.rescue.reach != Some(Reach::Migration) => {
                if self.rescue.reach == Some(Reach::Queue) {
                    // The others come with recoveries of their own.
                    self.device.rings[usize::from(self.rescue.first)]
                        .slots
                        .clear();
                } else {
                    self.rescue.reach = Some(Reach::Unplug);
                }
            }
            _ => {}
        }
        self.reset_rings();
        self.coverage.recovered(match self.rescue.reach {
            Some(Reach::Queue) => Recovered::QueueReset,
            Some(Reach::Device) => Recovered::DeviceReset,
            Some(Reach::Migration) => Recovered::Migration,
            _ => Recovered::Unplug,
        });
        self.rescue_enters(Phase::Walk);
        Ok(true)
    }

    /// What was on the rings is gone, but for what a queue's own reset keeps.
    fn reset_rings(&mut self) {
        let reach = self.rescue.reach;
        match reach {
            Some(Reach::Device | Reach::Migration) => self.device.health = Health::Well,
            Some(Reach::Unplug) => self.device_goes(),
            _ => {}
        }
        for queue in self.rescue_reaches() {
            let keeps = self.keeps(queue);
            let ring = &mut self.device.rings[usize::from(queue)];
            let hung = ring.hung();
            self.rescue.blamed[usize::from(queue)] = hung;
            match hung {
                Some(hung) if keeps => {
                    ring.remove(hung);
                    ring.restart();
                }
                None if keeps => {}
                _ => ring.slots.clear(),
            }
        }
        self.note_all(Event::ResetEnds, Detail::Text("done"));
        self.pass(self.now);
    }

    /// Whether the innocent jobs of a queue stay on its ring.
    fn keeps(&self, queue: u8) -> bool {
        let rest = self.lines[usize::from(queue)].shape.rest;
        self.rescue.reach == Some(Reach::Queue)
            && rest == Rest::Keep
            && self.device.health == Health::Well
    }

    fn rescue_walks(&mut self) -> Result<bool, String> {
        let queue = self.rescue.at;
        if self.rescue.reach == Some(Reach::Unplug) {
            self.kill(queue, Errno::ENODEV);
            if !self.rescue_next_queue() {
                self.rescue_enters(Phase::Start);
            }
            return Ok(true);
        }
        let lent = match self.rescue.from {
            None => self.walk(queue, 0)?,
            Some(first) => self.walk_from(queue, first)?,
        };
        match lent {
            Some(job) => {
                self.rescue.from = Some(JobId::from_seqno(job.seqno().wrapping_add(1)));
                self.rescue.phase = Phase::Lent(job);
            }
            None => {
                if !self.rescue_next_queue() {
                    self.rescue_enters(Phase::Start);
                }
            }
        }
        Ok(true)
    }

    /// What becomes of the job that the walk has lent.
    fn rescue_decides(&mut self, job: JobId) -> Verdict {
        let queue = self.rescue.at;
        self.rescue.phase = Phase::Walk;
        let seqno = job.seqno();
        if self.lent(queue, Loan::Walk) != Some(job) {
            return Err(format!("{job:?} is not lent any more"));
        }
        let attempt = self.line(queue).port.look().attempt(job);
        let attempt = attempt.ok_or_else(|| format!("{job:?} is lent and gone"))?;
        let mut roll = self.roll(10, queue, seqno, attempt.replays());
        let blind = self.happens(&mut roll, self.scenario.rates.blind);
        let ring = &mut self.device.rings[usize::from(queue)];
        let written = ring.find_written(seqno, attempt).filter(|_| !blind);
        if let Some(written) = written.and_then(|at| ring.written.remove(at)) {
            self.coverage.recovered(Recovered::Completed);
            if roll.is_multiple_of(2) {
                self.read(queue, written)?;
                return self.walked(queue, job, Walked::Keep);
            }
            ring.told(seqno, attempt);
            let outcome = written
                .result
                .map_or_else(Outcome::Failed, |()| Outcome::Completed);
            return self.walked(queue, job, Walked::End(outcome));
        }
        let ring = &self.device.rings[usize::from(queue)];
        let (on_ring, blamed) = (
            ring.find(seqno).is_some(),
            self.rescue.blamed[usize::from(queue)],
        );
        let is_first = queue == self.rescue.first && self.rescue.guilty == Some(job);
        let guilty = blamed == Some(seqno) || (is_first && !on_ring && blamed.is_none());
        if self.decides_on_guilt(guilty) {
            if !guilty {
                return Err(format!("{job:?} is punished and did not hang"));
            }
            self.coverage.recovered(Recovered::Guilty);
            let end = Outcome::TimedOut(Errno::ENODATA);
            return self.walked(queue, job, Walked::End(end));
        }
        if self.keeps(queue) && on_ring {
            self.coverage.recovered(Recovered::Kept);
            return self.walked(queue, job, Walked::Keep);
        }
        if self.line(queue).shape.rest == Rest::Cancel {
            self.coverage.recovered(Recovered::Cancelled);
            let end = Outcome::Cancelled(Errno::ECANCELED);
            return self.walked(queue, job, Walked::End(end));
        }
        if guilty {
            return Err(format!("{job:?} hung its ring and is put back"));
        }
        if self.replay(queue, job)? {
            self.rescue.phase = Phase::Replay(job);
            return Ok(());
        }
        let judge = &self.line(queue).judge;
        let on_hardware = judge
            .find(seqno)
            .is_some_and(|i| judge.facts[i].place == Place::Hardware);
        // It has ended meanwhile, or there is no time left to do it again.
        let what = match on_hardware {
            true => Walked::End(Outcome::TimedOut(Errno::ETIME)),
            false => Walked::Keep,
        };
        self.walked(queue, job, what)
    }

    fn rescue_starts(&mut self) -> Result<bool, String> {
        let queue = self.rescue.at;
        if !self.plant.is(Canary::RestartForgotten) {
            self.start(queue)?;
        }
        self.begin(queue, Context::Task);
        if !self.rescue_next_queue() {
            self.rescue.phase = Phase::Idle;
            let took = self.now - self.rescue.begun;
            let longest = &mut self.summary.longest_recovery_ns;
            *longest = took.max(*longest);
            self.note_all(Event::RecoveryEnds, Detail::Number(took));
        }
        Ok(true)
    }
}
