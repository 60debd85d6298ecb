// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What must be true when the host was told that there is nothing for it to do.

use ringfence_orchestrator_core::Whereabouts;

use super::{bits, fit, rule, Member, Oracle, Stage, Verdict};
use crate::orchestrator::seen::Seen;

/// How many slices somebody may keep a slot, of those of its priority and weight, while one waits: its
/// own, two that the other may be ahead (it has just had its own, and was owed one when it woke), and
/// one for what comes between.
const TURN_SLICES: u64 = 5;

impl Oracle {
    /// There is no effect left.
    pub(in crate::orchestrator) fn rest(&mut self) -> Verdict {
        self.all_told()?;
        self.no_slot_is_idle()?;
        self.timer_is_set()?;
        if self.punctual {
            self.turns_end()?;
        }
        if self.tidy {
            self.higher_go_first()?;
        }
        Ok(())
    }

    /// The host knows all that it should do.
    fn all_told(&self) -> Verdict {
        for member in &self.members {
            let told = match (member.stage, member.seen) {
                (Stage::Off, Whereabouts::Coming(_)) => {
                    // Others of its group may still be asked, or bound.
                    self.of(member.unit)
                        .any(|other| other.stage.question().is_some())
                }
                (Stage::Passed(_), _) => self
                    .of(member.unit)
                    .any(|other| matches!(other.stage, Stage::Asked(_))),
                (Stage::Bound(_), Whereabouts::Resident(_)) => false,
                (Stage::Open(_), Whereabouts::Leaving(_)) => false,
                (Stage::Bound(_) | Stage::Yielded(_), Whereabouts::Leaving(_)) => {
                    self.of(member.unit).any(|other| !self.is_past(other))
                }
                _ => true,
            };
            rule(told, || format!("the host was not told about {member:?}"))?;
            let shut = member.stage != Stage::Off || !member.ajar;
            rule(shut, || format!("the host was not told to shut {member:?}"))?;
            let gone = member.removing && self.at_rest(member.unit) && member.stage == Stage::Off;
            rule(!gone, || {
                format!("the host was not told that {member:?} has gone")
            })?;
        }
        Ok(())
    }

    /// Whether a member does not keep its group from being taken off.
    fn is_past(&self, member: &Member) -> bool {
        match member.stage {
            Stage::Open(_) | Stage::Yielding(_) => false,
            Stage::Yielded(_) => self.is_quiet(member),
            _ => member.stage.question().is_none(),
        }
    }

    /// Nobody waits who could have what is free, unless it is kept for a group.
    fn no_slot_is_idle(&mut self) -> Verdict {
        let free: Vec<u8> = (0..self.slots.len() as u16)
            .filter(|slot| self.is_free(*slot))
            .map(|slot| self.slots[usize::from(slot)])
            .collect();
        if free.is_empty() {
            return Ok(());
        }
        let mut reserved = false;
        for leader in self.waiting() {
            let seats: Vec<u8> = self.of(leader.unit).map(|one| bits(&one.config)).collect();
            if !fit(&seats, &mut free.clone()) {
                continue;
            }
            let kept = self.waiting().any(|other| {
                let several = self.of(other.unit).count() > 1;
                other.id != leader.id
                    && several
                    && self.kinds(other.unit) & self.kinds(leader.unit) != 0
            });
            rule(kept, || {
                format!("{leader:?} waits, and kinds {free:?} are free")
            })?;
            reserved = true;
        }
        if reserved {
            self.see(Seen::ReservedForGroup);
        }
        Ok(())
    }

    /// Whatever the passing of time alone will bring about, somebody will look.
    fn timer_is_set(&self) -> Verdict {
        let Some(due) = self.due() else {
            return Ok(());
        };
        if self.fired == Some(self.now) {
            rule(due.as_ns() > self.now, || {
                "an answer is overdue, and the host was not told".into()
            })?;
        }
        rule(self.timer.is_some_and(|at| at <= due.as_ns()), || {
            format!(
                "an answer is due at {due:?}, and the timer is at {:?}",
                self.timer
            )
        })
    }

    /// Whether a decision has been made about everything up to now.
    fn is_up_to_date(&self) -> bool {
        self.fired == Some(self.now) || self.timer.is_none_or(|at| at > self.now)
    }

    /// Of equals, nobody keeps a slot for long while another waits.
    fn turns_end(&mut self) -> Verdict {
        let Some(config) = self.fair().filter(|_| self.is_up_to_date()) else {
            return Ok(());
        };
        let most = TURN_SLICES * config.slice.as_nanos() as u64;
        let mut seen = false;
        for on in &self.members {
            if !on.stage.is_on() || !matches!(on.seen, Whereabouts::Resident(_)) {
                continue;
            }
            let turn = self.now - self.units[on.unit].turn;
            for other in self.waiting() {
                let alike = other.config == on.config;
                let waited = self.units[other.unit]
                    .since
                    .map_or(0, |since| self.now - since);
                seen |= alike;
                rule(!alike || turn.min(waited) <= most, || {
                    format!("{on:?} has had its slot for {turn} ns, {other:?} waits")
                })?;
            }
        }
        if seen {
            self.see(Seen::TurnWatched);
        }
        Ok(())
    }

    /// Who is less important than those that wait makes way for as many.
    fn higher_go_first(&mut self) -> Verdict {
        let Some(config) = self.fair().filter(|_| self.is_up_to_date()) else {
            return Ok(());
        };
        let leaving = (self.members.iter())
            .filter(|member| matches!(member.seen, Whereabouts::Leaving(_)))
            .count();
        let mut seen = false;
        for on in &self.members {
            if !matches!(on.seen, Whereabouts::Resident(_)) {
                continue;
            }
            let turn = self.now - self.units[on.unit].turn;
            let higher = self
                .waiting()
                .filter(|other| other.config.priority < on.config.priority)
                .count();
            seen |= higher != 0;
            // It may be owed a whole slice.
            let over = !on.wants || turn >= config.slice.as_nanos() as u64;
            rule(!over || higher <= leaving, || {
                format!("{on:?} does not make way for one more important")
            })?;
        }
        if seen {
            self.see(Seen::HigherPreempts);
        }
        Ok(())
    }
}
