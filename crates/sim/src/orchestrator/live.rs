// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Faults stop, and all questions are answered: whoever wants a slot gets one, and whoever is removed
//! goes.

use ringfence_orchestrator_core::{Out, SeatId};

use super::drive::{ns, World};
use super::op::{Reply, Who};
use super::oracle::{rule, Stage, Verdict};
use super::plan::Rules;

impl World {
    /// Faults stop.
    pub(super) fn mend(&mut self) -> Verdict {
        // What is being asked is answered first: nothing new breaks.
        self.settle()?;
        for slot in 0..self.oracle.slots.len() as u16 {
            if self.oracle.is_broken(slot) {
                self.repair(slot)?;
                self.oracle.look(&self.port.core)?;
            }
        }
        for at in 0..self.oracle.members.len() {
            self.ready(Who::There(at as u8))?;
            self.oracle.look(&self.port.core)?;
        }
        // A queue with jobs on the hardware comes to their end.
        for at in 0..self.oracle.members.len() {
            let member = &self.oracle.members[at];
            if matches!(member.stage, Stage::Yielded(_)) {
                let wants = member.wants;
                self.finish_jobs(at, wants)?;
                self.oracle.look(&self.port.core)?;
            }
        }
        Ok(())
    }

    /// Takes and answers until there is nothing to take and nothing to answer.
    pub(super) fn settle(&mut self) -> Verdict {
        /// A unit takes four turns of this to come and go.
        const MOST: u32 = 500;
        for _ in 0..MOST {
            if !self.serve(Reply::WELL)? {
                return Ok(());
            }
        }
        Err("it does not come to rest".into())
    }

    /// Everybody who wants a slot gets one within the bound.
    pub(super) fn live(&mut self) -> Verdict {
        self.mend()?;
        for member in &mut self.oracle.members {
            member.served = matches!(member.stage, Stage::Open(_));
        }
        let begun = self.oracle.now;
        let bound = self.bound();
        let mut fired = 0;
        loop {
            self.settle()?;
            let Some(waits) = self.starving() else {
                break;
            };
            let took = self.oracle.now - begun;
            rule(took <= bound, || {
                format!("after {took} ns of at most {bound}, still without a slot: {waits:?}")
            })?;
            rule(self.oracle.timer.is_some(), || {
                format!("nobody will ever look again: {waits:?}")
            })?;
            fired += 1;
            rule(fired < 10_000 + took / 5_000, || {
                format!("after {fired} timers and {took} ns of at most {bound}, still without a slot: {waits:?}")
            })?;
            self.fire(true);
        }
        let took = self.oracle.now - begun;
        rule(took <= bound, || {
            format!("{took} ns of at most {bound} for everybody to have a slot")
        })?;
        let share = took.saturating_mul(1_000) / bound.max(1);
        let worst = &mut self.oracle.coverage.worst_wait;
        *worst = share.max(*worst);
        Ok(())
    }

    /// Somebody who should have had a slot and has not.
    fn starving(&self) -> Option<SeatId> {
        let oracle = &self.oracle;
        let unit = oracle.leaders().find(|leader| {
            let unit = leader.unit;
            let never = oracle.of(unit).any(|member| !member.served);
            oracle.wants(unit) && never && !self.may_starve(unit)
        });
        unit.map(|leader| leader.id)
    }

    /// First come, first served knows only the most important.
    fn may_starve(&self, unit: usize) -> bool {
        let oracle = &self.oracle;
        matches!(oracle.rules, Rules::Fifo(_))
            && oracle.leaders().any(|other| {
                oracle.wants(other.unit)
                    && oracle.priority(other.unit) < oracle.priority(unit)
                    && oracle.kinds(other.unit) & oracle.kinds(unit) != 0
            })
    }

    /// How long anybody may have to wait for a slot.
    fn bound(&self) -> u64 {
        let units = self.oracle.leaders().count() as u64 + 1;
        match self.oracle.rules {
            Rules::Fifo(turn) => units * (ns(turn) + 1),
            Rules::Fair(config) => {
                let slice = ns(config.slice);
                // A host that has acted late has let some have more than their share: up to all
                // the time there was, and weights are up to 8 to 1.
                let late = self.oracle.now * 8;
                units * (slice * u64::from(config.guarantee) * 4 + ns(config.lag).min(late) + late)
            }
        }
    }

    /// Everybody is removed, and goes.
    pub(super) fn end(&mut self) -> Verdict {
        for at in 0..self.oracle.members.len() {
            if !self.oracle.members[at].removing {
                self.remove(Who::There(at as u8))?;
                self.oracle.look(&self.port.core)?;
            }
        }
        self.settle()?;
        rule(
            self.oracle.members.is_empty() && self.port.core.is_empty(),
            || format!("still there: {:?}", self.oracle.members),
        )?;
        let free = (0..self.oracle.slots.len() as u16).all(|slot| self.oracle.is_free(slot));
        rule(free, || "a slot is not free in the end".into())
    }

    /// A queue's jobs on the hardware end.
    fn finish_jobs(&mut self, at: usize, wants: bool) -> Verdict {
        self.tell(at, wants, Out::Nothing)
    }
}
