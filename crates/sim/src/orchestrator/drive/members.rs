// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Seats come, are grouped, change and go.

use ringfence_orchestrator_core::{AddError, GroupError, Out, Refused, Seat, SeatConfig, SeatId};

use super::World;
use crate::orchestrator::op::Who;
use crate::orchestrator::oracle::{bits, rule, Verdict};
use crate::orchestrator::plan::due;
use crate::orchestrator::port::Port;
use crate::orchestrator::seen::Seen;

impl World {
    pub(super) fn add(&mut self, config: SeatConfig, wants: bool) -> Verdict {
        let kinds = bits(&config);
        let there = (0..self.oracle.slots.len() as u16).map(|slot| self.oracle.kind_bit(slot));
        let there = there.fold(0, |all, bit| all | bit);
        match self.port.core.add(config) {
            Ok(id) => {
                let room = self.oracle.members.len() < self.oracle.capacity;
                rule(room && kinds & there != 0, || "a seat too many".into())?;
                let known = self.oracle.find(id).is_some() || self.oracle.gone.contains(&id);
                rule(!known, || "a name is used twice".into())?;
                self.oracle.add(id, config);
                if wants {
                    self.oracle.look(&self.port.core)?;
                    self.tell(self.oracle.members.len() - 1, true, Out::Nothing)?;
                }
                Ok(())
            }
            Err(AddError::Full) => {
                self.oracle.see(Seen::Full);
                let full = self.oracle.members.len() == self.oracle.capacity;
                rule(full, || "there is room".into())
            }
            Err(AddError::NoSuchSlot) => {
                self.oracle.see(Seen::NoSuchSlot);
                rule(kinds & there == 0, || "there is such a slot".into())
            }
        }
    }

    pub(super) fn group(&mut self, first: u8, step: u8, count: u8) -> Verdict {
        let there = self.oracle.members.len();
        let gone = self.oracle.gone.last().copied();
        let seats: Vec<SeatId> = (0..usize::from(count))
            .filter_map(|n| match (first, n) {
                // Now and then somebody who is not there.
                (250.., 1) => gone,
                _ if there == 0 => None,
                _ => {
                    let at = usize::from(first) + n * usize::from(step);
                    Some(self.oracle.members[at % there].id)
                }
            })
            .collect();
        let against = self.oracle.against_group(&seats);
        match self.port.group(&seats) {
            Ok(()) => {
                rule(against.is_empty(), || format!("{seats:?}: {against:?}"))?;
                self.oracle.group(&seats);
                Ok(())
            }
            Err(error) => {
                self.oracle.see(match error {
                    GroupError::Unknown => Seen::GroupUnknown,
                    GroupError::Taken => Seen::GroupTaken,
                    GroupError::InUse => Seen::GroupInUse,
                    GroupError::TooMany => Seen::GroupTooMany,
                });
                rule(against.contains(&error), || {
                    format!("{error:?}, not {against:?}")
                })
            }
        }
    }

    pub(super) fn change(&mut self, who: Who, priority: u8, weight: u8) -> Verdict {
        let (priority, weight) = due(priority, weight);
        let gone = |port: &mut Port, id, now| port.core.change(id, priority, weight, now);
        let Some(at) = self.about(who, gone)? else {
            return Ok(());
        };
        let member = &mut self.oracle.members[at];
        (member.config.priority, member.config.weight) = (priority, weight);
        member.founder = false;
        let id = member.id;
        let said = self.port.core.change(id, priority, weight, self.now());
        rule(said.is_ok(), || format!("{said:?}"))
    }

    pub(in crate::orchestrator) fn remove(&mut self, who: Who) -> Verdict {
        let Some(at) = self.about(who, |port, id, now| port.core.remove(id, now))? else {
            return Ok(());
        };
        let member = &self.oracle.members[at];
        let expected = match member.removing {
            true => Err(Refused::Unknown),
            false => Ok(()),
        };
        let said = self.port.core.remove(member.id, self.now());
        rule(said == expected, || format!("{said:?}, not {expected:?}"))?;
        if said.is_ok() {
            self.oracle.remove(at);
        }
        Ok(())
    }

    pub(super) fn grow(&mut self, seats: usize) -> Verdict {
        let was = self.oracle.capacity;
        match self.port.core.move_into(vec![Seat::FREE; seats]) {
            Ok(old) => {
                rule(old.len() == was && seats >= was, || "moved wrongly".into())?;
                self.oracle.capacity = seats;
                self.oracle.see(Seen::Grown);
                Ok(())
            }
            Err((_, storage)) => {
                self.oracle.see(Seen::NotGrown);
                let kept = seats < was && storage.len() == seats;
                rule(kept, || "not moved, for no reason".into())
            }
        }
    }
}
