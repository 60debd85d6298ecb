// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Seats come, are grouped, change and go.

use core::fmt;

use ringfence_core::Time;

use super::fit::{Have, Need};
use super::{Orchestrator, Refused};
use crate::line::NONE;
use crate::policy::Policy;
use crate::priority::{Priority, Weight};
use crate::seat::{Phase, Seat, SeatConfig, SeatId, Standing, Unit};
use crate::slot::{Kinds, Slot};

/// Why there is no seat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddError {
    /// All seats are taken: [`Orchestrator::move_into`] larger storage.
    Full,
    /// The device has no slot of the kinds that the seat may be on.
    NoSuchSlot,
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "all seats are taken",
            Self::NoSuchSlot => "the device has no slot of such a kind",
        })
    }
}

impl core::error::Error for AddError {}

/// Why seats cannot be a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupError {
    /// One is no seat, or is to be removed.
    Unknown,
    /// One was named twice, or is in a group.
    Taken,
    /// One has work, or is on a slot: seats are grouped before they are used.
    InUse,
    /// The device has not enough slots, of their kinds, for all of them at a time.
    TooMany,
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "one of them is no seat",
            Self::Taken => "one of them was named twice or is in a group",
            Self::InUse => "one of them has work or is on a slot",
            Self::TooMany => "the device has not enough slots for all of them",
        })
    }
}

impl core::error::Error for GroupError {}

impl<S, L, P> Orchestrator<S, L, P>
where
    S: AsRef<[Seat]> + AsMut<[Seat]>,
    L: AsRef<[Slot]> + AsMut<[Slot]>,
    P: Policy,
{
    /// Makes a seat, for a queue whose gate is shut.
    ///
    /// # Errors
    ///
    /// [`AddError`], with nothing made.
    pub fn add(&mut self, config: SeatConfig) -> Result<SeatId, AddError> {
        if !self.kinds_there().meets(config.kinds) {
            return Err(AddError::NoSuchSlot);
        }
        let at = self.free;
        if at == NONE {
            return Err(AddError::Full);
        }
        self.free = self.seats.at(at).next;
        self.used += 1;
        let seat = self.seats.at_mut(at);
        let generation = seat.generation.wrapping_add(1);
        *seat = Seat {
            used: true,
            generation,
            checked: config.checked,
            priority: config.priority,
            weight: config.weight,
            kinds: config.kinds,
            leader: at,
            next: at,
            ..Seat::FREE
        };
        self.sum_up(at);
        Ok(SeatId { at, generation })
    }

    fn kinds_there(&self) -> Kinds {
        let slots = self.slots.as_ref().iter();
        slots.fold(Kinds::NONE, |kinds, slot| kinds.with(slot.kind))
    }

    /// Makes a group of seats, which from now on get their slots together, or none.
    ///
    /// # Errors
    ///
    /// [`GroupError`], and nothing has changed.
    pub fn group(&mut self, seats: &[SeatId]) -> Result<(), GroupError> {
        let mut need = Need::NONE;
        for (place, seat) in seats.iter().enumerate() {
            let at = self.find(*seat).map_err(|_| GroupError::Unknown)?;
            let found = self.seats.at(at);
            if found.removing {
                return Err(GroupError::Unknown);
            }
            if found.unit.members != 1 || found.leader != at || seats[..place].contains(seat) {
                return Err(GroupError::Taken);
            }
            if found.unit.standing != Standing::Off || found.wants {
                return Err(GroupError::InUse);
            }
            need.add(found.kinds);
        }
        if seats.len() > self.slots.as_ref().len() || !need.fits(&Have(self.kinds)) {
            return Err(GroupError::TooMany);
        }
        let Some((leader, others)) = seats.split_first() else {
            return Ok(());
        };
        for other in others.iter().rev() {
            let next = self.seats.at(leader.at).next;
            self.seats.at_mut(leader.at).next = other.at;
            let member = self.seats.at_mut(other.at);
            member.next = next;
            member.leader = leader.at;
        }
        self.seats.unit_mut(leader.at).members = seats.len() as u16;
        self.sum_up(leader.at);
        Ok(())
    }

    /// Computes what a unit's account says of its seats.
    fn sum_up(&mut self, leader: u32) {
        let (mut kinds, mut priority) = (Kinds::NONE, Priority::Low);
        self.each_member(leader, |this, at| {
            let seat = this.seats.at(at);
            kinds = kinds.union(seat.kinds);
            priority = priority.min(seat.priority);
        });
        let seat = self.seats.at_mut(leader);
        seat.unit.account.kinds = kinds;
        seat.unit.account.weight = seat.weight;
        seat.unit.account.priority = priority;
    }

    /// Changes what a seat is due, also while it waits or runs.
    ///
    /// # Errors
    ///
    /// [`Refused::Unknown`].
    pub fn change(
        &mut self,
        seat: SeatId,
        priority: Priority,
        weight: Weight,
        now: Time,
    ) -> Result<(), Refused> {
        let at = self.find(seat)?;
        let leader = self.seats.at(at).leader;
        // Who has come how far is seen before it changes.
        self.look(now);
        let waits = self.seats.unit(leader).standing == Standing::Waiting;
        let since = self.seats.unit(leader).account.waiting_since;
        if waits {
            self.leave_line(leader);
        }
        let found = self.seats.at_mut(at);
        (found.priority, found.weight) = (priority, weight);
        let was = self.seats.unit(leader).account;
        self.sum_up(leader);
        self.policy.changed(
            &mut self.seats.unit_mut(leader).account,
            was.priority,
            was.weight,
        );
        if waits {
            self.join(leader, since);
        }
        self.dirty = true;
        Ok(())
    }

    /// Removes a seat. It leaves its slot, with all of its group, which comes back without it;
    /// [`Effect::Gone`](crate::Effect::Gone) says when nothing about it is outstanding. Until then what
    /// its queue has out is waited for: of one that has ended, and will say nothing any more, the host
    /// [says](Self::report) that it has nothing out, with the last version there is.
    ///
    /// # Errors
    ///
    /// [`Refused::Unknown`], also if it is being removed.
    pub fn remove(&mut self, seat: SeatId, now: Time) -> Result<(), Refused> {
        let at = self.find(seat)?;
        if self.seats.at(at).removing {
            return Err(Refused::Unknown);
        }
        self.seats.at_mut(at).removing = true;
        self.set_ready(at);
        self.set_wants(at, false, now);
        let leader = self.seats.at(at).leader;
        match self.seats.unit(leader).standing {
            Standing::Off => self.settle(leader, now),
            Standing::Waiting => {
                self.leave_line(leader);
                self.settle(leader, now);
            }
            Standing::Blocked | Standing::Lost => self.settle(leader, now),
            Standing::Running => self.begin_yielding(leader, now),
            Standing::Checking | Standing::Binding | Standing::Yielding | Standing::Vacating => {
                self.seats.unit_mut(leader).leave = true
            }
        }
        Ok(())
    }

    /// Takes the seats that are to be removed out of a unit that is on no slot. Returns who leads it
    /// now, if anybody is left.
    pub(super) fn weed(&mut self, leader: u32) -> Option<u32> {
        let mut at = self.seats.at(leader).next;
        let mut before = leader;
        while at != leader {
            let next = self.seats.at(at).next;
            if self.is_to_go(at) {
                self.seats.at_mut(before).next = next;
                self.seats.unit_mut(leader).members -= 1;
                self.take_out(at);
            } else {
                before = at;
            }
            at = next;
        }
        if !self.is_to_go(leader) {
            self.sum_up(leader);
            return Some(leader);
        }
        let heir = self.seats.at(leader).next;
        let unit = *self.seats.unit(leader);
        if heir != leader {
            self.seats.at_mut(before).next = heir;
            self.seats.at_mut(heir).unit = unit;
            self.seats.unit_mut(heir).members -= 1;
            self.each_member(heir, |this, at| this.seats.at_mut(at).leader = heir);
            self.sum_up(heir);
        }
        self.take_out(leader);
        (heir != leader).then_some(heir)
    }

    fn is_to_go(&self, at: u32) -> bool {
        let seat = self.seats.at(at);
        seat.removing && seat.phase == Phase::Off && seat.slot == crate::slot::NO_SLOT
    }

    /// A seat is alone, and the host is to be told that it has gone.
    fn take_out(&mut self, at: u32) {
        let seat = self.seats.at_mut(at);
        seat.leader = at;
        seat.next = at;
        seat.gone = true;
        // What it has kept for the others is theirs.
        seat.unit = Unit {
            account: seat.unit.account,
            ..Seat::FREE.unit
        };
        self.sum_up(at);
        self.tell(at);
    }

    /// A seat that has gone, and of which the host has been told, is free.
    pub(super) fn free(&mut self, at: u32) {
        for slot in self.slots.as_mut() {
            if slot.last == at {
                slot.last = NONE;
            }
        }
        let generation = self.seats.at(at).generation;
        *self.seats.at_mut(at) = Seat {
            generation,
            next: self.free,
            ..Seat::FREE
        };
        self.free = at;
        self.used -= 1;
    }
}
