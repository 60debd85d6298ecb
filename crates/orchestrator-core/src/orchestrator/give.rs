// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Giving slots to a unit whose turn it is, or promising them: which seat gets which.

use ringfence_core::Time;

use super::decide::{bits, Round};
use super::fit::{Have, Need};
use super::Orchestrator;
use crate::line::NONE;
use crate::policy::Policy;
use crate::seat::Seat;
use crate::slot::{Kinds, Slot};

impl<S, L, P> Orchestrator<S, L, P>
where
    S: AsRef<[Seat]> + AsMut<[Seat]>,
    L: AsRef<[Slot]> + AsMut<[Slot]>,
    P: Policy,
{
    pub(super) fn need(&self, leader: u32) -> Need {
        let mut need = Need::NONE;
        let mut next = Some(leader);
        while let Some(at) = next {
            need.add(self.seats.at(at).kinds);
            next = self.next_member(leader, at);
        }
        need
    }

    /// Takes what a unit will get off what is left for others, free slots first.
    pub(super) fn promise(&mut self, leader: u32, round: &mut Round) {
        let level = self.seats.unit(leader).account.priority.level();
        let mut need = self.need(leader);
        let mut next = Some(leader);
        while let Some(at) = next {
            next = self.next_member(leader, at);
            let kinds = self.seats.at(at).kinds;
            need.remove(kinds);
            let best = kinds
                .iter()
                .filter(|kind| round.free.of(*kind) + round.coming.of(*kind) != 0)
                .min_by_key(|kind| {
                    let mut rest = round.free.and(&round.coming);
                    rest.take(*kind);
                    (need.left_over(&rest), round.free.of(*kind) == 0)
                });
            let Some(kind) = best else {
                continue;
            };
            if round.free.take(kind) {
                self.kept[level][kind.number()] += 1;
                self.seats.unit_mut(leader).kept_at = self.decisions;
            } else {
                let _one_of_them = round.coming.take(kind);
                if round.slow.of(kind) > round.coming.of(kind) {
                    let _it_was_this = round.slow.take(kind);
                }
            }
        }
    }

    /// Gives a unit slots that are free.
    pub(super) fn place(&mut self, leader: u32, mut need: Need, round: &mut Round, now: Time) {
        self.leave_line(leader);
        let mut next = Some(leader);
        while let Some(at) = next {
            next = self.next_member(leader, at);
            let kinds = self.seats.at(at).kinds;
            need.remove(kinds);
            let mut allowed = Kinds::NONE;
            for kind in kinds.iter() {
                let mut rest = round.free;
                if rest.take(kind) && need.fits(&rest) {
                    allowed = allowed.with(kind);
                }
            }
            let allowed = self.needed_least(allowed, &round.free);
            let Some(slot) = self.slot_for(at, allowed) else {
                debug_assert!(false, "a unit that fits has a slot for each seat");
                continue;
            };
            let taken = round.free.take_any(Kinds::only(self.slot_at(slot).kind));
            debug_assert!(taken, "a free slot was counted as free");
            self.slot_mut(slot).seat = at;
            self.seats.at_mut(at).slot = slot;
            self.overtake(leader, slot);
        }
        self.begin(leader, now);
    }

    /// Of these kinds of free slots, those without which the fewest of the other lines have none.
    fn needed_least(&self, allowed: Kinds, free: &Have) -> Kinds {
        let filled = self.filled.iter().fold(0, |all, filled| all | filled);
        let has = |line: usize, have: &Have| {
            let mut kinds = Kinds::from_bits(line).iter();
            kinds.any(|kind| have.of(kind) != 0)
        };
        let (mut best, mut fewest) = (allowed, usize::MAX);
        for kind in allowed.iter() {
            let mut rest = *free;
            let _taken = rest.take(kind);
            let left = bits(filled).filter(|line| has(*line, free) && !has(*line, &rest));
            let left = left.count();
            if left < fewest {
                (best, fewest) = (Kinds::NONE, left);
            }
            if left == fewest {
                best = best.with(kind);
            }
        }
        best
    }

    /// The slot for a seat: where it was last, if nobody was there since; else where it is longest
    /// that somebody was.
    fn slot_for(&self, at: u32, allowed: Kinds) -> Option<u16> {
        let free = |slot: &Slot| slot.is_free() && allowed.contains(slot.kind);
        let last = self.seats.at(at).last_slot;
        let warm = self.slots.as_ref().get(usize::from(last));
        if warm.is_some_and(|slot| free(slot) && slot.last == at) {
            return Some(last);
        }
        let slots = self.slots.as_ref().iter().enumerate();
        let coldest = slots
            .filter(|(_, slot)| free(slot))
            .min_by_key(|(_, slot)| (slot.last != NONE, slot.left))?;
        Some(coldest.0 as u16)
    }

    /// Who has a slot of that kind already cannot use another: the policy may want to know.
    fn overtake(&mut self, leader: u32, slot: u16) {
        let account = self.seats.unit(leader).account;
        let kind = self.slot_at(slot).kind;
        for number in 0..self.slots.as_ref().len() {
            let other = &self.slots.as_ref()[number];
            if other.kind != kind || other.seat == NONE {
                continue;
            }
            let other = self.seats.at(other.seat).leader;
            let unit = self.seats.unit_mut(other);
            let behind = unit.account.virtual_time < account.virtual_time;
            if other != leader && unit.account.priority == account.priority && behind {
                self.policy
                    .overtaken(&mut unit.account, account.virtual_time);
            }
        }
    }
}
