// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Looking at an orchestrator, at any time.

use core::time::Duration;

use ringfence_core::Time;

use super::{Orchestrator, Refused};
use crate::policy::Policy;
use crate::priority::{Priority, Weight};
use crate::seat::{Phase, Seat, SeatId, SeatStats, Standing};
use crate::slot::{Slot, SlotId, SlotStats};

/// Where a seat is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whereabouts {
    /// It wants no slot and has none.
    Off,
    /// It waits for a slot, since then.
    Waiting(Time),
    /// The driver, or a failure, keeps it from having one.
    Blocked,
    /// It is on its way to this slot.
    Coming(SlotId),
    /// It is on this slot, and its queue may run jobs.
    Resident(SlotId),
    /// It is on its way from this slot.
    Leaving(SlotId),
    /// Nobody knows what is on its slot, or on one of its group's.
    Lost,
}

/// A seat, as it is at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeatView {
    /// Which.
    pub seat: SeatId,
    /// The first of its group, or itself.
    pub group: SeatId,
    /// How many seats its group has.
    pub members: u16,
    /// What its unit is treated as.
    pub priority: Priority,
    /// Its share.
    pub weight: Weight,
    /// Whether its queue wants a slot.
    pub wants: bool,
    /// Where it is.
    pub whereabouts: Whereabouts,
    /// What was counted of it, up to now.
    pub stats: SeatStats,
}

impl<S, L, P> Orchestrator<S, L, P>
where
    S: AsRef<[Seat]> + AsMut<[Seat]>,
    L: AsRef<[Slot]> + AsMut<[Slot]>,
    P: Policy,
{
    /// A seat as it is now.
    ///
    /// # Errors
    ///
    /// [`Refused::Unknown`].
    pub fn view(&self, seat: SeatId, now: Time) -> Result<SeatView, Refused> {
        let at = self.find(seat)?;
        Ok(self.view_at(at, now))
    }

    /// All seats, in the order of their places. Takes time linear in the number of seats.
    pub fn views(&self, now: Time) -> impl Iterator<Item = SeatView> + '_ {
        (0..self.seats.len() as u32)
            .filter(|at| self.seats.at(*at).used)
            .map(move |at| self.view_at(at, now))
    }

    fn view_at(&self, at: u32, now: Time) -> SeatView {
        let seat = self.seats.at(at);
        let unit = self.seats.unit(seat.leader);
        let slot = Self::slot_id(seat.slot);
        let whereabouts = match unit.standing {
            Standing::Off => Whereabouts::Off,
            Standing::Waiting => Whereabouts::Waiting(unit.account.waiting_since),
            Standing::Blocked => Whereabouts::Blocked,
            Standing::Lost => Whereabouts::Lost,
            Standing::Checking | Standing::Binding if seat.phase != Phase::Off => {
                Whereabouts::Coming(slot)
            }
            Standing::Yielding | Standing::Vacating if seat.phase != Phase::Off => {
                Whereabouts::Leaving(slot)
            }
            Standing::Running => Whereabouts::Resident(slot),
            _ => Whereabouts::Off,
        };
        let mut stats = seat.stats;
        let has_slot = seat.phase != Phase::Off;
        if unit.charging && has_slot {
            let span = now.since(unit.charged);
            let on = &mut stats.busy_on[self.slot_at(seat.slot).kind.number()];
            *on = on.saturating_add(span);
            stats.busy = stats.busy.saturating_add(span);
        }
        if unit.standing == Standing::Waiting {
            let waits = now.since(unit.account.waiting_since);
            stats.waited = stats.waited.saturating_add(waits);
            stats.longest_wait = stats.longest_wait.max(waits);
        }
        SeatView {
            seat: self.id(at),
            group: self.id(seat.leader),
            members: unit.members,
            priority: unit.account.priority,
            weight: unit.account.weight,
            wants: seat.wants,
            whereabouts,
            stats,
        }
    }

    /// The slot that a seat has, from the decision until it has been vacated.
    pub fn slot_of(&self, seat: SeatId) -> Option<SlotId> {
        let at = self.find(seat).ok()?;
        let slot = self.seats.at(at).slot;
        self.slots.as_ref().get(usize::from(slot))?;
        Some(Self::slot_id(slot))
    }

    /// The seat that has a slot.
    pub fn seat_on(&self, slot: SlotId) -> Option<SeatId> {
        let found = self.slots.as_ref().get(slot.at())?;
        self.seats.0.as_ref().get(found.seat as usize)?;
        Some(self.id(found.seat))
    }

    /// What was counted of a slot, up to now.
    pub fn slot_stats(&self, slot: SlotId, now: Time) -> Option<SlotStats> {
        let found = self.slots.as_ref().get(slot.at())?;
        let mut stats = found.stats;
        if let Some(seat) = self.seats.0.as_ref().get(found.seat as usize) {
            let unit = self.seats.unit(seat.leader);
            if unit.charging && seat.phase != Phase::Off {
                let span: Duration = now.since(unit.charged);
                let ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
                stats.busy_ns = stats.busy_ns.saturating_add(ns);
            }
        }
        Some(stats)
    }
}
