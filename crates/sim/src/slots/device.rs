// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The modelled device: slots, contexts with a ring each, and time that passes on a ring only while
//! its context is on a slot.

use std::collections::VecDeque;

use ringfence_core::{Attempt, JobId};

/// Never, in virtual time; and how long a job takes that hangs.
pub(super) const NEVER: u64 = u64::MAX;

/// What is on a slot, as the device has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Nothing.
    Free,
    /// This queue's context is being made resident.
    Coming(usize),
    /// It is.
    On(usize),
    /// It is being taken off.
    Leaving(usize),
    /// Nobody knows.
    Broken,
}

/// A job on a ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) job: JobId,
    pub(super) attempt: Attempt,
    /// How much of it is left.
    pub(super) left: u64,
}

/// The context of a queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Context {
    pub(super) ring: VecDeque<Piece>,
    pub(super) slot: Option<usize>,
    /// It has been told to execute since it came to its slot.
    pub(super) started: bool,
    /// Since when the front of its ring has been done.
    since: Option<u64>,
    /// Changes with everything that makes an end that was foreseen wrong.
    pub(super) stamp: u64,
    /// Changes with each request about it.
    pub(super) request: u64,
    /// How long it has executed, ever, and when it came to its slot.
    pub(super) executed: u64,
    pub(super) executed_before: u64,
}

/// Slots and contexts.
#[derive(Debug, Default)]
pub(super) struct Device {
    pub(super) slots: Vec<Place>,
    pub(super) contexts: Vec<Context>,
    pub(super) resetting: bool,
}

impl Device {
    pub(super) fn new(slots: usize, contexts: usize) -> Self {
        Self {
            slots: vec![Place::Free; slots],
            contexts: vec![Context::default(); contexts],
            resetting: false,
        }
    }

    /// What the slot that a context has says of it.
    pub(super) fn place(&self, queue: usize) -> Option<Place> {
        self.contexts[queue].slot.map(|slot| self.slots[slot])
    }

    pub(super) fn is_resident(&self, queue: usize) -> bool {
        self.place(queue) == Some(Place::On(queue))
    }

    /// Lets a context execute, if it may. Returns when the front of its ring will be done, and the
    /// stamp of that, unless it was foreseen before.
    pub(super) fn go_on(&mut self, queue: usize, now: u64) -> Option<(u64, u64)> {
        let place = self.place(queue);
        let on = place == Some(Place::On(queue)) || place == Some(Place::Leaving(queue));
        let context = &mut self.contexts[queue];
        if !on || !context.started || self.resetting || context.since.is_some() {
            return None;
        }
        let front = context.ring.front()?;
        context.since = Some(now);
        context.stamp += 1;
        (front.left != NEVER).then(|| (now + front.left, context.stamp))
    }

    /// Has a context stand still: what it has done so far is done.
    pub(super) fn pause(&mut self, queue: usize, now: u64) {
        let context = &mut self.contexts[queue];
        let Some(since) = context.since.take() else {
            return;
        };
        context.stamp += 1;
        context.executed += now - since;
        if let Some(front) = context.ring.front_mut().filter(|front| front.left != NEVER) {
            front.left -= now - since;
        }
    }

    /// The front of a ring is done, if `stamp` is that of its end.
    pub(super) fn ends(&mut self, queue: usize, stamp: u64, now: u64) -> Option<Piece> {
        if self.contexts[queue].stamp != stamp || self.contexts[queue].since.is_none() {
            return None;
        }
        self.pause(queue, now);
        self.contexts[queue].ring.pop_front()
    }

    /// The job that holds a ring up for ever.
    pub(super) fn hung(&self, queue: usize) -> Option<JobId> {
        let front = self.contexts[queue].ring.front()?;
        (front.left == NEVER).then_some(front.job)
    }

    /// How long a context has executed, up to now.
    pub(super) fn executed(&self, queue: usize, now: u64) -> u64 {
        let context = &self.contexts[queue];
        context.executed + context.since.map_or(0, |since| now - since)
    }

    /// Takes a context off its slot, which is `then` after that. Returns how long it has executed
    /// there.
    pub(super) fn leave(&mut self, queue: usize, then: Place, now: u64) -> u64 {
        self.pause(queue, now);
        let context = &mut self.contexts[queue];
        context.request += 1;
        context.started = false;
        if let Some(slot) = context.slot.take() {
            self.slots[slot] = then;
        }
        context.executed - context.executed_before
    }
}
