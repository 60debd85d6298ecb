// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who is on which slot.

use super::exec::{Exec, Standing, Wait};
use super::host::Why;
use super::{Firmware, Seat};
use crate::clock::now_ns;
use crate::observer::SlotEventKind;
use crate::slots::LossCause;

/// When a context that has a slot may lose it to one that wants it.
#[derive(Clone, Copy)]
enum Claim {
    /// Only slots nobody has.
    Free,
    /// Slots whose context waits for a semaphore.
    Blocked,
    /// Slots whose context has had its time slice.
    Expired,
}

impl Firmware {
    /// A context has work: it joins the run list, unless it is there already or may not run.
    /// Where the host schedules it begins on the slot that it has, or is seen to wait for one.
    pub(super) fn enlist(&mut self, index: usize) {
        let hosted = self.is_hosted();
        let Some(exec) = self.exec_mut(index).filter(|exec| exec.has_work()) else {
            return;
        };
        if exec.wait == Wait::Doorbell {
            exec.wait = Wait::Nothing;
        }
        if exec.standing == Standing::Idle {
            exec.stand(Standing::Waiting);
            if !hosted {
                self.waiting.push_back(index);
            }
        }
    }

    /// Gives slots to those that wait for one.
    pub(super) fn fill_slots(&mut self, now: u64) {
        // Each that waits now has one chance, so that two cannot swap places for ever.
        let mut chances = self.waiting.len();
        for claim in [Claim::Free, Claim::Blocked, Claim::Expired] {
            for slot in 0..self.slots.len() {
                if chances == 0 {
                    return;
                }
                if !self.can_claim(slot, claim, now) {
                    continue;
                }
                let Some(next) = self.next_waiting(chances) else {
                    return;
                };
                chances -= 1;
                if let Some(index) = self.vacate(slot, Why::Turn) {
                    if let Some(exec) = self.exec_mut(index) {
                        exec.stand(Standing::Waiting);
                    }
                    self.waiting.push_back(index);
                }
                self.occupy(slot, next);
            }
        }
    }

    fn can_claim(&self, slot: usize, claim: Claim, now: u64) -> bool {
        let Some(seat) = &self.slots[slot] else {
            return matches!(claim, Claim::Free);
        };
        match claim {
            Claim::Free => false,
            Claim::Blocked => self
                .exec(seat.context)
                .is_some_and(|exec| !exec.is_satisfied(&self.device)),
            Claim::Expired => now >= seat.slice_end,
        }
    }

    /// Takes the first of the first `among` that wait and can use a slot off the run list.
    fn next_waiting(&mut self, among: usize) -> Option<usize> {
        let wants = |&index: &usize| {
            self.exec(index)
                .is_some_and(|exec| exec.wants_slot(&self.device))
        };
        let place = self.waiting.iter().take(among).position(wants)?;
        self.waiting.remove(place)
    }

    fn occupy(&mut self, slot: usize, index: usize) {
        let now = now_ns();
        self.slots[slot] = Some(Seat {
            context: index,
            slice_end: now.saturating_add(self.slice_ns),
            from: now,
            busy: 0,
            tenancy: None,
        });
        self.arrive(slot, index);
    }

    /// Takes the context on `slot` off it and returns its index. Where it stands then is for the
    /// caller to say, if the firmware schedules.
    pub(super) fn vacate(&mut self, slot: usize, why: Why) -> Option<usize> {
        let seat = self.slots[slot].as_ref()?;
        let now = now_ns();
        // One to which the slot still switches has not come.
        if seat.switching().is_none() {
            self.note(slot, now, SlotEventKind::Left);
        }
        let seat = self.slots[slot].take()?;
        let index = seat.context;
        if let Some(exec) = self.exec_mut(index) {
            exec.leave(now);
            // Before anybody is told.
            match why {
                Why::Asked => exec.stand_by(),
                Why::Lost(cause) => exec.lose(cause),
                Why::Turn | Why::Death => {}
            }
        }
        self.end_stay(slot, now, seat, why);
        Some(index)
    }

    /// Takes a context off slot and run list, wherever it is.
    pub(super) fn withdraw(&mut self, index: usize, cause: LossCause) {
        match self.exec(index).map(|exec| exec.standing) {
            Some(Standing::Resident(slot) | Standing::Switching(slot)) => {
                self.vacate(slot, Why::Lost(cause));
            }
            Some(Standing::Waiting) => self.waiting.retain(|&other| other != index),
            _ => {}
        }
    }

    /// The earliest time at which something changes by itself.
    pub(super) fn next_change(&self) -> Option<u64> {
        let mut earliest = self.resets.iter().map(|reset| reset.due).min();
        let contended = self.waiting.iter().any(|&index| {
            self.exec(index)
                .is_some_and(|exec| exec.wants_slot(&self.device))
        });
        for seat in self.slots.iter().flatten() {
            let spin = match self.exec(seat.context).map(|exec| exec.wait) {
                Some(Wait::Spin { until }) => Some(until),
                _ => None,
            };
            let slice = contended.then_some(seat.slice_end);
            let switch = seat.switching();
            earliest = [earliest, spin, slice, switch].into_iter().flatten().min();
        }
        earliest
    }

    /// Whether any context waits for a semaphore, on a slot or off.
    pub(super) fn any_semaphore(&self) -> bool {
        self.scheduled()
            .any(|exec| matches!(exec.wait, Wait::Semaphore { .. }))
    }

    /// Whether any of those that wait for a semaphore need not any more.
    pub(super) fn any_satisfied(&self) -> bool {
        self.scheduled()
            .filter(|exec| matches!(exec.wait, Wait::Semaphore { .. }))
            .any(|exec| exec.is_satisfied(&self.device))
    }

    fn scheduled(&self) -> impl Iterator<Item = &Exec> {
        let resident = self
            .slots
            .iter()
            .flatten()
            .filter(|seat| seat.executes())
            .map(|seat| seat.context);
        resident
            .chain(self.waiting.iter().copied())
            .filter_map(|index| self.exec(index))
    }

    pub(super) fn exec(&self, index: usize) -> Option<&Exec> {
        self.contexts.get(index)?.as_deref()
    }

    pub(super) fn exec_mut(&mut self, index: usize) -> Option<&mut Exec> {
        self.contexts.get_mut(index)?.as_deref_mut()
    }
}
