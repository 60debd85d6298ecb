// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is always true of an orchestrator, recomputed from its seats and slots.

use core::fmt;

use super::{Orchestrator, GROUPS};
use crate::line::NONE;
use crate::policy::Policy;
use crate::priority::Priority;
use crate::seat::{Phase, Seat, Standing};
use crate::slot::{Kinds, Slot, NO_SLOT};

/// An invariant that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Violation {
    /// What should be true.
    pub rule: &'static str,
    /// The place of the seat, or the number of the slot, at which it is not; or a count.
    pub at: u32,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken at {}: {}", self.at, self.rule)
    }
}

impl core::error::Error for Violation {}

fn rule(holds: bool, rule: &'static str, at: u32) -> Result<(), Violation> {
    if holds {
        Ok(())
    } else {
        Err(Violation { rule, at })
    }
}

impl<S, L, P> Orchestrator<S, L, P>
where
    S: AsRef<[Seat]> + AsMut<[Seat]>,
    L: AsRef<[Slot]> + AsMut<[Slot]>,
    P: Policy,
{
    /// Checks every invariant, in time linear in the number of seats. Callable between events; made
    /// for tests, the simulator and debug builds.
    ///
    /// # Errors
    ///
    /// The first invariant that does not hold.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        for (number, slot) in self.slots.as_ref().iter().enumerate() {
            self.check_slot(number as u16, slot)?;
        }
        self.check_kept()?;
        let (mut waiting, mut used) = (0, 0);
        for at in 0..self.seats.len() as u32 {
            let seat = self.seats.at(at);
            if !seat.used {
                rule(seat.slot == NO_SLOT, "a free seat has no slot", at)?;
                continue;
            }
            used += 1;
            self.check_seat(at, seat)?;
            if seat.leader == at {
                self.check_unit(at)?;
                waiting += u32::from(seat.unit.standing == Standing::Waiting);
            }
        }
        rule(used == self.used, "seats in use are counted", used)?;
        rule(
            waiting == self.waiting,
            "units in line are counted",
            waiting,
        )?;
        self.check_lines(waiting)
    }

    fn check_slot(&self, number: u16, slot: &Slot) -> Result<(), Violation> {
        let at = u32::from(number);
        if slot.seat == NONE {
            return rule(!slot.broken, "a broken slot knows whose it was", at);
        }
        let seat = self.seats.at(slot.seat);
        rule(seat.used, "a slot's seat is in use", at)?;
        rule(seat.slot == number, "a slot's seat has that slot", at)?;
        rule(
            seat.kinds.contains(slot.kind),
            "a seat is on a slot of its kinds",
            at,
        )?;
        rule(
            slot.broken == (seat.phase == Phase::Off),
            "only on a broken slot is nobody on the way",
            at,
        )
    }

    fn check_kept(&self) -> Result<(), Violation> {
        for kind in Kinds::ALL.iter() {
            let free = |slot: &&Slot| slot.is_free() && slot.kind == kind;
            let free = self.slots.as_ref().iter().filter(free).count();
            let kept = self
                .kept
                .iter()
                .map(|kept| usize::from(kept[kind.number()]));
            rule(
                kept.sum::<usize>() <= free,
                "slots that are kept are free",
                kind.number() as u32,
            )?;
        }
        Ok(())
    }

    fn check_seat(&self, at: u32, seat: &Seat) -> Result<(), Violation> {
        let has_slot = seat.slot != NO_SLOT;
        if has_slot {
            let slot = self.slot_at(seat.slot);
            rule(slot.seat == at, "a seat's slot has that seat", at)?;
        } else {
            rule(seat.phase == Phase::Off, "without a slot a seat is off", at)?;
        }
        let phases: &[Phase] = match self.seats.unit(seat.leader).standing {
            Standing::Off | Standing::Waiting | Standing::Blocked | Standing::Lost => &[Phase::Off],
            Standing::Checking => &[Phase::Check, Phase::Checking, Phase::Checked],
            Standing::Binding => &[Phase::Bind, Phase::Binding, Phase::Bound, Phase::Off],
            Standing::Running => &[Phase::Run, Phase::Running],
            Standing::Yielding => &[Phase::Yield, Phase::Yielding, Phase::Quiet],
            Standing::Vacating => &[Phase::Vacate, Phase::Vacating, Phase::Off],
        };
        rule(
            phases.contains(&seat.phase),
            "a seat is where its unit is",
            at,
        )?;
        rule(
            !seat.phase.is_news() || seat.in_news,
            "the host will be told",
            at,
        )
    }

    fn check_unit(&self, leader: u32) -> Result<(), Violation> {
        let unit = self.seats.unit(leader);
        let (mut members, mut wanting, mut unready, mut broken) = (0u16, 0u16, 0u16, 0u16);
        let mut kinds = Kinds::NONE;
        let mut next = Some(leader);
        while let Some(at) = next {
            let seat = self.seats.at(at);
            rule(seat.leader == leader, "a member knows its leader", at)?;
            members += 1;
            wanting += u16::from(seat.wants);
            unready += u16::from(seat.not_ready);
            broken += u16::from(seat.slot != NO_SLOT && self.slot_at(seat.slot).broken);
            kinds = kinds.union(seat.kinds);
            rule(members <= unit.members, "members are counted", leader)?;
            next = self.next_member(leader, at);
        }
        rule(members == unit.members, "members are counted", leader)?;
        rule(
            wanting == unit.wanting,
            "who wants a slot is counted",
            leader,
        )?;
        rule(
            unready == unit.unready,
            "who is not ready is counted",
            leader,
        )?;
        rule(broken == unit.broken, "broken slots are counted", leader)?;
        rule(
            kinds == unit.account.kinds,
            "a unit may be where its seats may be",
            leader,
        )?;
        rule(
            unit.node.is_in_line() == (unit.standing == Standing::Waiting),
            "who waits is in line",
            leader,
        )?;
        let rests = match unit.standing {
            Standing::Off => unit.wanting == 0 && unit.unready == 0 && unit.broken == 0,
            Standing::Waiting => unit.wanting != 0 && unit.unready == 0 && unit.broken == 0,
            Standing::Blocked => unit.unready != 0 && unit.broken == 0,
            Standing::Lost => unit.broken != 0,
            Standing::Running => unit.charging == (unit.wanting != 0),
            _ => unit.owing != 0,
        };
        rule(rests, "a unit stands where it belongs", leader)
    }

    fn check_lines(&self, waiting: u32) -> Result<(), Violation> {
        let mut sum = 0;
        for level in 0..Priority::COUNT {
            for (line, head) in self.lines[level].iter().enumerate() {
                let Some(first) = head.first() else {
                    let empty = self.filled[level] & 1 << line == 0;
                    rule(empty, "an empty line is known as empty", line as u32)?;
                    continue;
                };
                let length = head.check(&self.seats, self.seats.len());
                rule(length.is_some(), "a line is in order", first)?;
                sum += length.unwrap_or(0) as u32;
                let unit = self.seats.unit(first);
                rule(
                    unit.account.priority.level() == level
                        && (line >= GROUPS) == (unit.members > 1)
                        && line % GROUPS == unit.account.kinds.bits(),
                    "who is in a line belongs there",
                    first,
                )?;
            }
        }
        rule(sum == waiting, "who waits is in one line", sum)
    }
}
