// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Whether a decision may be as it is: who was placed, and who was made to leave.

use ringfence_core::Time;
use ringfence_orchestrator_core::{SeatId, Whereabouts};

use super::{rule, Member, Oracle, Verdict};
use crate::orchestrator::plan::Rules;
use crate::orchestrator::seen::Seen;

/// Rounding in virtual time, in nanoseconds.
const SLACK: u64 = 2_000;

/// A unit of one seat, or of several, as it was before a decision.
#[derive(Clone, Copy, Debug)]
pub(in crate::orchestrator) struct Before {
    id: SeatId,
    unit: usize,
    waiting: bool,
    resident: bool,
    since: u64,
}

impl Oracle {
    /// Before the orchestrator is asked for an effect.
    pub(in crate::orchestrator) fn before(&self) -> Vec<Before> {
        let units = self.leaders().map(|leader| Before {
            id: leader.id,
            unit: leader.unit,
            waiting: matches!(leader.seen, Whereabouts::Waiting(_)),
            resident: matches!(leader.seen, Whereabouts::Resident(_)),
            since: self.units[leader.unit].since.unwrap_or(0),
        });
        units.collect()
    }

    /// After it, and after [`Oracle::look`]; who has gone meanwhile is left out.
    pub(in crate::orchestrator) fn decided(&mut self, before: &[Before]) -> Verdict {
        let all = before
            .iter()
            .filter_map(|was| Some((was, self.find(was.id)?)));
        let all: Vec<(&Before, usize)> = all.collect();
        for (was, at) in &all {
            let member = &self.members[*at];
            let placed = was.waiting && matches!(member.seen, Whereabouts::Coming(_));
            let leaves = was.resident && matches!(member.seen, Whereabouts::Leaving(_));
            if placed {
                let seen = self.check_order(was, member, &all)?;
                seen.into_iter().for_each(|seen| self.see(seen));
            } else if leaves {
                let seen = self.check_leaving(was, before)?;
                self.see(seen);
            }
        }
        Ok(())
    }

    /// Of equals, the first is placed first.
    fn check_order(
        &self,
        was: &Before,
        placed: &Member,
        all: &[(&Before, usize)],
    ) -> Result<Option<Seen>, String> {
        let Some(key) = self.key(was, placed) else {
            return Ok(None);
        };
        let slack = match self.rules {
            Rules::Fair(_) => SLACK,
            Rules::Fifo(_) => 0,
        };
        let mut seen = None;
        for (other_was, at) in all {
            let other = &self.members[*at];
            let passed_over = matches!(other.seen, Whereabouts::Waiting(_));
            if !other_was.waiting || !passed_over || !self.are_equals(placed, other) {
                continue;
            }
            let Some(other_key) = self.key(other_was, other) else {
                continue;
            };
            seen = Some(match self.rules {
                Rules::Fair(_) => Seen::OrderByTime,
                Rules::Fifo(_) => Seen::OrderByArrival,
            });
            rule(key <= other_key + slack, || {
                format!(
                    "{:?} ({key}) goes before {:?} ({other_key})",
                    placed.id, other.id
                )
            })?;
        }
        Ok(seen)
    }

    /// One that is placed and one that is not are told apart by nothing but their turn.
    fn are_equals(&self, one: &Member, other: &Member) -> bool {
        self.of(one.unit).count() == 1
            && self.of(other.unit).count() == 1
            && one.config.priority == other.config.priority
            && one.config.kinds == other.config.kinds
    }

    /// Where a unit stood, where that can be said.
    fn key(&self, was: &Before, member: &Member) -> Option<u64> {
        match self.rules {
            Rules::Fifo(_) => Some(was.since),
            Rules::Fair(_) if self.tidy && member.founder => {
                let weight = u64::from(member.config.weight.get());
                Some(member.busy * 100 / weight)
            }
            Rules::Fair(_) => None,
        }
    }

    /// Nobody leaves without a reason.
    fn check_leaving(&self, was: &Before, before: &[Before]) -> Result<Seen, String> {
        let unit = was.unit;
        let kinds = (self.of(unit))
            .filter_map(|member| member.given)
            .fold(0, |kinds, slot| kinds | self.kind_bit(slot));
        let mut rivals = before.iter().filter(|other| {
            other.waiting && self.find(other.id).is_some() && self.kinds(other.unit) & kinds != 0
        });
        if !self.wants(unit) {
            rule(rivals.next().is_some(), || {
                format!("{:?} leaves, and nobody waits for its slots", was.id)
            })?;
            return Ok(Seen::Evicted);
        }
        let turn = self.now - self.units[unit].came;
        let mine = self.priority(unit);
        let reason = rivals.any(|other| {
            let theirs = self.priority(other.unit);
            match self.rules {
                Rules::Fifo(least) => theirs <= mine && turn >= least.as_nanos() as u64,
                Rules::Fair(config) => {
                    let least = match theirs == mine {
                        true => config.slice,
                        false => config.min_run.min(config.slice),
                    };
                    turn >= least.as_nanos() as u64
                }
            }
        });
        rule(reason, || {
            format!("{:?} leaves after {turn} ns, too soon", was.id)
        })?;
        Ok(Seen::Preempted)
    }

    /// The time when the host is told that the device is stuck, at the earliest.
    pub(super) fn due(&self) -> Option<Time> {
        let patience = self.config.patience?;
        let open = self.members.iter().filter(|member| {
            let device = matches!(
                member.stage,
                super::Stage::Binding(_) | super::Stage::Vacating(_)
            );
            device && !member.told_stuck
        });
        let first = open.map(|member| member.asked_at).min()?;
        Some(Time::from_ns(first).after(patience))
    }
}
