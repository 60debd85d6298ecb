// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who is on which slot.

use super::exec::{Exec, Standing, Wait};
use super::{Firmware, Seat};
use crate::clock::now_ns;
use crate::observer::SlotEventKind;

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
    pub(super) fn enlist(&mut self, index: usize) {
        if let Some(exec) = self.exec_mut(index) {
            if exec.standing == Standing::Idle && exec.shared.ring.put() != exec.shared.ring.get() {
                exec.stand(Standing::Waiting);
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
                if let Some(index) = self.vacate(slot) {
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
        // The round's time is too old: what it has been on the slot counts to the nanosecond.
        let now = now_ns();
        let slice_end = now.saturating_add(self.slice_ns);
        let Some(exec) = self.exec_mut(index) else {
            return;
        };
        exec.arrive(now);
        exec.stand(Standing::Resident(slot));
        let job = exec.job;
        self.slots[slot] = Some(Seat {
            context: index,
            slice_end,
        });
        self.device.counters.slot_switches.add();
        self.note(slot, now, SlotEventKind::Resident { job });
    }

    /// Takes the context on `slot` off it and returns its index. Where it stands then is for the
    /// caller to say.
    pub(super) fn vacate(&mut self, slot: usize) -> Option<usize> {
        self.slots[slot].as_ref()?;
        let now = now_ns();
        self.note(slot, now, SlotEventKind::Left);
        let seat = self.slots[slot].take()?;
        if let Some(exec) = self.exec_mut(seat.context) {
            exec.leave(now);
        }
        Some(seat.context)
    }

    /// Takes a context off slot and run list, wherever it is.
    pub(super) fn withdraw(&mut self, index: usize) {
        match self.exec(index).map(|exec| exec.standing) {
            Some(Standing::Resident(slot)) => {
                self.vacate(slot);
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
            earliest = [earliest, spin, slice].into_iter().flatten().min();
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
        let resident = self.slots.iter().flatten().map(|seat| seat.context);
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
