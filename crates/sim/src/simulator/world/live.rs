// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The liveness phase: faults stop, and everything must come to its end.

use ringfence_core::{Context, JobId};

use super::super::device::{Health, NEVER};
use super::super::log::{Detail, Event};
use super::super::plan::Inside;
use super::{Holder, World};
use crate::judge::{Loan, Place, Verdict};
use crate::oracle::WorkerIs;

/// More rounds than any run needs.
const ROUNDS: u32 = 100_000;

impl World {
    /// Brings everything to its end and looks whether it got there.
    pub(in crate::simulator) fn finish(&mut self, step: usize) -> Verdict {
        self.step = step as u32;
        self.live = true;
        self.note_all(Event::Liveness, Detail::Nothing);
        self.let_go()?;
        if self.scenario.close_first {
            self.close_all();
        }
        for _ in 0..ROUNDS {
            self.settle()?;
            self.check_late_teardown()?;
            if !self.push_on()? {
                return self.at_the_end();
            }
        }
        Err(format!("no end after {ROUNDS} rounds"))
    }

    /// Clients let go of all they hold.
    fn let_go(&mut self) -> Verdict {
        for queue in 0..self.lines.len() as u8 {
            if self.line(queue).holder == Holder::Client {
                if let Some(job) = self.lent(queue, Loan::Replay) {
                    self.replay_callback(queue, job)?;
                }
                if let Some(job) = self.lent(queue, Loan::Walk) {
                    self.walked(queue, job, ringfence_core::Walked::Keep)?;
                }
                self.start(queue)?;
            }
            while self.line(queue).judge.is_suspended() {
                self.resume(queue)?;
            }
            self.put_back(queue, u32::MAX);
            while !self.line(queue).rooms.is_empty() {
                self.release(queue, 0);
            }
            while let Some(i) = self.line(queue).judge.nth(0, |f| f.place == Place::Armed) {
                let seqno = self.line(queue).judge.seqno(i);
                self.submit(queue, JobId::from_seqno(seqno), 0, false)?;
            }
        }
        while self.fences.foreign(0).is_some() {
            self.foreign(0)?;
        }
        self.check_touched()
    }

    fn close_all(&mut self) {
        for queue in 0..self.lines.len() as u8 {
            let policy = self.line(queue).shape.policy;
            if self.line(queue).judge.closing_at.is_none() {
                self.close(queue, policy);
            }
        }
    }

    /// Everything that can be done at this time is done.
    fn settle(&mut self) -> Verdict {
        for _ in 0..ROUNDS {
            let mut went = false;
            while !self.visits.is_empty() {
                let last = self.visits.len() - 1;
                self.step_visit(last, Inside::Nothing)?;
                went = true;
            }
            for queue in 0..self.lines.len() as u8 {
                if self.line(queue).worker == WorkerIs::Coming {
                    self.enter(queue);
                    went = true;
                } else if self.line(queue).unvisited {
                    self.begin(queue, Context::Task);
                    went = true;
                }
            }
            if !went {
                self.check_touched()?;
                if !self.keepers_work()? && !self.rescue_step()? {
                    return Ok(());
                }
            }
            self.check_touched()?;
        }
        Err("the machine never comes to rest".into())
    }

    /// The next thing that happens by itself; false if there is none and all is over.
    fn push_on(&mut self) -> Result<bool, String> {
        for queue in 0..self.lines.len() as u8 {
            let ring = &self.device.rings[usize::from(queue)];
            if ring.irq.is_some() {
                self.interrupt(queue)?;
                return Ok(true);
            }
            let has_room = ring.has_room() || self.device.health == Health::Gone;
            let waits = |fact: &super::Fact| fact.resource_wait;
            if has_room && self.line(queue).judge.nth(0, waits).is_some() {
                self.resources(queue)?;
                return Ok(true);
            }
        }
        let next = self.next_time();
        if next != NEVER {
            self.pass(next);
            for queue in 0..self.lines.len() as u8 {
                let now = self.now;
                if self.line(queue).timer.is_some_and(|at| at <= now) {
                    self.fire(queue);
                }
            }
            return Ok(true);
        }
        self.watch()
    }

    /// What a driver's watchdog does about jobs that nobody asks about.
    fn watch(&mut self) -> Result<bool, String> {
        let mut went = false;
        for queue in 0..self.lines.len() as u8 {
            if !self.device.rings[usize::from(queue)].written.is_empty() {
                self.interrupt(queue)?;
                return Ok(true);
            }
            if let Some(hung) = self.device.rings[usize::from(queue)].hung() {
                if !self.is_on_hardware(queue, hung) {
                    self.device.rings[usize::from(queue)].remove(hung);
                    self.pass(self.now);
                    return Ok(true);
                }
            }
            let judge = &self.line(queue).judge;
            let head = judge.facts.get(judge.signals_out);
            if head.is_some_and(|fact| fact.place == Place::Hardware) {
                self.trigger(queue)?;
                self.begin(queue, Context::Task);
                went = true;
            }
        }
        if went {
            return Ok(true);
        }
        if self.device.health == Health::FirmwareDead && self.rescue.is_idle() {
            // Nobody needs it any more.
            self.device.health = Health::Well;
            return Ok(true);
        }
        if self
            .lines
            .iter()
            .any(|line| line.judge.closing_at.is_none() && !line.judge.is_killed())
        {
            self.close_all();
            return Ok(true);
        }
        Ok(false)
    }

    /// A hung device does not hold a queue up for longer than its bound: nothing can be done now,
    /// and all timers have fired in time.
    fn check_late_teardown(&self) -> Verdict {
        for (queue, line) in self.lines.iter().enumerate() {
            let judge = &line.judge;
            let (Some(at), Some(span)) = (judge.closing_at, line.shape.config.close_timeout) else {
                continue;
            };
            let limit = at.saturating_add(crate::oracle::whole_ns(span));
            let held = judge.is_held() || judge.live().is_empty();
            // Its timer is about to fire.
            let due = line.timer.is_some_and(|timer| timer <= self.now);
            let late = self.now > limit && !held && !due;
            let waits = judge.facts[judge.reaped..].iter().any(|fact| fact.open > 0);
            if late && !waits {
                return Err(format!(
                    "queue {queue}: closing was to be over at {limit} and is not"
                ));
            }
        }
        Ok(())
    }

    fn at_the_end(&self) -> Verdict {
        for (queue, line) in self.lines.iter().enumerate() {
            line.judge
                .at_the_end(line.port.look())
                .map_err(|what| format!("queue {queue}: {what}"))?;
            line.keeper_knows_all()
                .map_err(|what| format!("queue {queue}: {what}"))?;
            if let Some(seqno) = self.device.rings[queue].untold() {
                return Err(format!(
                    "queue {queue}: the device was done with #{seqno} and nobody was told"
                ));
            }
            if !line.rooms.is_empty() || line.aside != 0 || line.inside != 0 || line.visits != 0 {
                return Err(format!("queue {queue}: something is left over"));
            }
        }
        if !self.rescue.is_idle() {
            return Err("a recovery never ends".into());
        }
        self.fences.at_the_end()
    }
}
