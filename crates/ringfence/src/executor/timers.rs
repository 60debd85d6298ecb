// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The timers of an executor: one per queue, in memory taken at registration.

use std::sync::Weak;

use ringfence_core::Time;

use super::{Place, Runnable};

/// A binary heap of places by time, with each place's position, so that a timer can be moved.
///
/// # Invariants
///
/// `heap[slots[p].position] == p` for every place `p` that is armed; every parent in the heap is
/// not later than its children; `heap` has capacity for all places.
#[derive(Default)]
pub(super) struct Timers {
    slots: Vec<Slot>,
    free: Vec<usize>,
    heap: Vec<usize>,
}

#[derive(Default)]
struct Slot {
    runnable: Option<Weak<dyn Runnable>>,
    at: Time,
    /// In the heap; `None` while not armed.
    position: Option<usize>,
}

impl Timers {
    /// Timers with room for so many places, and none taken. Allocates.
    pub(super) fn with_room(places: usize) -> Self {
        Self {
            slots: Vec::with_capacity(places),
            free: Vec::with_capacity(places),
            heap: Vec::with_capacity(places),
        }
    }

    /// True if [`Timers::register`] needs more room.
    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() == self.slots.capacity()
    }

    /// Takes over what `smaller` has, which is left without. Allocates nothing if there is room.
    pub(super) fn take_over(&mut self, smaller: &mut Self) {
        self.slots.append(&mut smaller.slots);
        self.free.append(&mut smaller.free);
        self.heap.append(&mut smaller.heap);
    }

    /// Takes a place; allocates if full, and then all that [`Timers::arm`] needs.
    pub(super) fn register(&mut self, runnable: Weak<dyn Runnable>) -> Place {
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.slots.push(Slot::default());
                let room = self.slots.capacity();
                self.heap.reserve_exact(room - self.heap.len());
                self.free.reserve_exact(room - self.free.len());
                self.slots.len() - 1
            }
        };
        if let Some(slot) = self.slots.get_mut(place) {
            slot.runnable = Some(runnable);
        }
        Place(place)
    }

    /// How many places there is room for, taken or free.
    pub(super) fn room(&self) -> usize {
        self.slots.capacity()
    }

    pub(super) fn unregister(&mut self, place: Place) -> Option<Weak<dyn Runnable>> {
        let slot = self.slots.get_mut(place.0)?;
        let runnable = slot.runnable.take()?;
        if let Some(position) = slot.position.take() {
            self.remove(position);
        }
        self.free.push(place.0);
        Some(runnable)
    }

    /// Sets the place's timer. Allocates nothing.
    pub(super) fn arm(&mut self, place: Place, at: Time) {
        let Some(slot) = self.slots.get_mut(place.0) else {
            return;
        };
        if slot.runnable.is_none() {
            return;
        }
        slot.at = at;
        let position = match slot.position {
            Some(position) => position,
            None => {
                let position = self.heap.len();
                slot.position = Some(position);
                self.heap.push(place.0);
                position
            }
        };
        let position = self.rise(position);
        self.sink(position);
    }

    /// The earliest time.
    pub(super) fn next(&self) -> Option<Time> {
        self.heap.first().map(|&place| self.at(place))
    }

    /// Takes one timer whose time has come.
    pub(super) fn take_due(&mut self, now: Time) -> Option<Weak<dyn Runnable>> {
        let &place = self.heap.first()?;
        if self.at(place) > now {
            return None;
        }
        self.slots[place].position = None;
        self.remove(0);
        self.slots[place].runnable.clone()
    }

    fn at(&self, place: usize) -> Time {
        self.slots[place].at
    }

    /// Fills the hole at `position` with the last one.
    fn remove(&mut self, position: usize) {
        let Some(last) = self.heap.pop() else { return };
        if position == self.heap.len() {
            return;
        }
        self.put(position, last);
        let position = self.rise(position);
        self.sink(position);
    }

    fn put(&mut self, position: usize, place: usize) {
        self.heap[position] = place;
        self.slots[place].position = Some(position);
    }

    fn rise(&mut self, mut position: usize) -> usize {
        let place = self.heap[position];
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.at(self.heap[parent]) <= self.at(place) {
                break;
            }
            self.put(position, self.heap[parent]);
            position = parent;
        }
        self.put(position, place);
        position
    }

    fn sink(&mut self, mut position: usize) {
        let place = self.heap[position];
        loop {
            let mut child = 2 * position + 1;
            if child >= self.heap.len() {
                break;
            }
            if child + 1 < self.heap.len()
                && self.at(self.heap[child + 1]) < self.at(self.heap[child])
            {
                child += 1;
            }
            if self.at(place) <= self.at(self.heap[child]) {
                break;
            }
            self.put(position, self.heap[child]);
            position = child;
        }
        self.put(position, place);
    }
}

#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests {
    use super::*;
    use ringfence_core::Time;
    use std::sync::Arc;

    struct Nothing;

    impl Runnable for Nothing {
        fn work(self: Arc<Self>) -> super::super::Rest {
            super::super::Rest::Idle
        }

        fn timer_fired(self: Arc<Self>, _now: Time) {}
    }

    fn nothing() -> Weak<dyn Runnable> {
        let strong: Arc<dyn Runnable> = Arc::new(Nothing);
        Arc::downgrade(&strong)
    }

    #[test]
    fn timers_fire_in_order_whatever_was_moved_or_removed() {
        let mut timers = Timers::default();
        let places: Vec<Place> = (0..64).map(|_| timers.register(nothing())).collect();
        let mut wanted: Vec<Option<u64>> = vec![None; places.len()];
        let mut random = 1u64;
        for _ in 0..20_000 {
            random = random
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let which = (random >> 33) as usize % places.len();
            let at = random >> 40;
            match random >> 61 {
                0 => {
                    timers.unregister(places[which]);
                    assert_eq!(timers.register(nothing()), places[which]);
                    wanted[which] = None;
                }
                1 => {
                    let fired = timers.take_due(Time::from_ns(at)).is_some();
                    let due = wanted.iter().flatten().filter(|t| **t <= at).min().copied();
                    assert_eq!(fired, due.is_some());
                    if let Some(due) = due {
                        let index = (0..wanted.len()).find(|&i| {
                            wanted[i] == Some(due) && timers.slots[i].position.is_none()
                        });
                        wanted[index.expect("the earliest fired")] = None;
                    }
                }
                _ => {
                    timers.arm(places[which], Time::from_ns(at));
                    wanted[which] = Some(at);
                }
            }
            let earliest = wanted.iter().flatten().min().map(|ns| Time::from_ns(*ns));
            assert_eq!(timers.next(), earliest);
        }
    }

    #[test]
    fn arming_allocates_nothing() {
        let mut timers = Timers::default();
        let places: Vec<Place> = (0..100).map(|_| timers.register(nothing())).collect();
        let capacity = timers.heap.capacity();
        for (i, place) in places.iter().enumerate() {
            timers.arm(*place, Time::from_ns(i as u64));
        }
        assert_eq!(timers.heap.capacity(), capacity);
    }
}
