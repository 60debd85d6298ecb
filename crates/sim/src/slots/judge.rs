// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What must be true of a whole run: nothing is lost, nobody waits too long, time is charged.

use std::time::Duration;

use ringfence_core::{ClosePolicy, JobId};
use ringfence_orchestrator_core::{Priority, Rival, Stage, Weight};

use super::device::Place;
use super::seen::Sight;
use super::setup::Rule;
use super::world::{Verdict, World};

impl World {
    /// Keeps what the orchestrator has counted of a queue, whose seat may go.
    pub(super) fn keep_stats(&mut self, queue: usize) {
        let Some(seat) = self.lines[queue].seat else {
            return;
        };
        let Ok(view) = self.orchestrator.view(seat, self.time()) else {
            return;
        };
        if view.stats.warm != 0 {
            self.see(Sight::Warm);
        }
        let line = &mut self.lines[queue];
        let wait = view.stats.longest_wait.as_nanos() as u64;
        line.longest_wait = line.longest_wait.max(wait);
        line.busy += view.stats.busy.as_nanos() as u64;
    }

    /// Everything has come to rest: every job has ended. Then all is taken down.
    pub(super) fn finish(&mut self) -> Verdict {
        // Of those that never end, first who waits for no other.
        for queue in (0..self.lines.len()).filter(|queue| !self.waits_for_another(*queue)) {
            self.is_at_rest(queue)?;
        }
        for queue in 0..self.lines.len() {
            self.is_at_rest(queue)?;
            self.keep_stats(queue);
            self.is_charged(queue)?;
        }
        self.nobody_waited_too_long()?;
        for queue in 0..self.lines.len() {
            if !self.lines[queue].closed {
                let policy = match queue % 2 {
                    0 => ClosePolicy::Drain,
                    _ => ClosePolicy::Cancel,
                };
                self.close(queue, policy);
            }
        }
        self.run()?;
        for (queue, line) in self.lines.iter().enumerate() {
            if !line.closed || line.seat.is_some() {
                return Err(format!("queue {queue} is never rid of its seat"));
            }
        }
        if !self.orchestrator.is_empty() {
            return Err("the orchestrator has a seat that is nobody's".into());
        }
        for (slot, place) in self.device.slots.iter().enumerate() {
            if *place != Place::Free {
                return Err(format!("slot {slot} is not free at the end: {place:?}"));
            }
        }
        Ok(())
    }

    fn waits_for_another(&self, queue: usize) -> bool {
        let first = JobId::from_seqno(self.lines[queue].first);
        let mut facts = self.lines.iter().flat_map(|line| &line.facts);
        facts.any(|fact| fact.waiters.contains(&(queue, first)))
    }

    fn is_at_rest(&self, queue: usize) -> Verdict {
        let line = &self.lines[queue];
        let left = line.submitted - line.ended;
        if left == 0 && line.facts.is_empty() {
            return Ok(());
        }
        let at = line
            .seat
            .map(|seat| self.orchestrator.view(seat, self.time()));
        let at = at.and_then(Result::ok).map(|view| view.whereabouts);
        let gate = line.gate();
        Err(format!(
            "{left} of {} jobs of queue {queue} never end; it is {at:?}, its gate is {gate:?}",
            line.submitted
        ))
    }

    /// What a context has executed its seat was charged for, but for the time that a report was late.
    pub(super) fn is_charged(&self, queue: usize) -> Verdict {
        let line = &self.lines[queue];
        let Some(seat) = line.seat.filter(|_| !line.interrupted) else {
            return Ok(());
        };
        let view = self.orchestrator.view(seat, self.time());
        let view = view.map_err(|error| format!("queue {queue}: {error}"))?;
        let busy = view.stats.busy.as_nanos() as u64;
        let executed = self.device.executed(queue, self.now);
        if executed > busy + self.late_ns {
            return Err(format!(
                "queue {queue} was charged for {busy} of {executed} ns that it has executed"
            ));
        }
        Ok(())
    }

    /// The bound that the policy states holds for everybody.
    fn nobody_waited_too_long(&mut self) -> Verdict {
        let Rule::Fair(config) = self.setup.rule else {
            return Ok(());
        };
        for queue in 0..self.lines.len() {
            let stage = self.stage_of(queue);
            let rivals = self.rivals_of(queue);
            let selves = self.as_rivals(queue);
            let bounds = selves
                .into_iter()
                .map(|waiter| config.longest_wait(waiter, rivals.iter().copied(), &stage));
            let bound = bounds.max().unwrap_or(Duration::ZERO);
            let waited = Duration::from_nanos(self.lines[queue].longest_wait);
            if waited > bound {
                return Err(format!(
                    "queue {queue} has waited for {waited:?}, and at most should for {bound:?}"
                ));
            }
        }
        Ok(())
    }

    /// What a queue's group was at any time, each with all its seats.
    fn as_rivals(&self, queue: usize) -> Vec<Rival> {
        let company = &self.lines[queue].company;
        let dues = company.iter().flat_map(|member| &self.lines[*member].dues);
        let rival = |due: &(Priority, Weight)| Rival {
            priority: due.0,
            weight: due.1,
            seats: company.len() as u16,
        };
        dues.map(rival).collect()
    }

    /// All others that meet a queue on a slot, as they were at any time.
    fn rivals_of(&self, queue: usize) -> Vec<Rival> {
        let mine = &self.lines[queue];
        let meets = |other: &usize| {
            let line = &self.lines[*other];
            let mut company = line.company.iter();
            // Of a group, its first speaks for all.
            !mine.company.contains(other)
                && line.company.first() == Some(other)
                && company.any(|member| self.lines[*member].kinds.meets(mine.kinds))
        };
        let others = (0..self.lines.len()).filter(meets);
        others.flat_map(|other| self.as_rivals(other)).collect()
    }

    fn stage_of(&self, queue: usize) -> Stage {
        let kinds = self.lines[queue].kinds;
        let slots = self.orchestrator.slots().iter();
        let slots = slots.filter(|slot| kinds.contains(slot.kind())).count();
        let alone = self.setup.rates.breaks == 0 && self.lines[queue].company.len() == 1;
        let credits = self.lines.iter().map(|line| line.setup.credits);
        let jobs = match self.to_completion() {
            true => self.longest_job * u64::from(credits.max().unwrap_or(1)),
            false => 0,
        };
        let callbacks = match self.setup.rates.slow_run {
            0 => 0,
            _ => super::visits::SLOW_RUN_NS * u64::from(ringfence_core::queue::BATCH_MAX),
        };
        let switch = self.setup.bind_ns + self.setup.vacate_ns;
        Stage {
            elsewhere: self.setup.slots.len() > 1,
            slots: if alone { slots as u16 } else { 1 },
            drain: Duration::from_nanos(jobs + callbacks + switch),
            trouble: Duration::from_nanos(self.trouble_ns + self.late_ns),
        }
    }
}
