// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Interrupts, and the thread that delivers them.

mod handler;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::now_ns;
use crate::context::ContextId;
use crate::fault::Fault;
use crate::slots::Word;
use crate::sync::lock;

pub use handler::HandlerGuard;
pub(crate) use handler::HandlerSlot;

/// What the device tells the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interrupt {
    /// The context's fence reached a value.
    ///
    /// Fences that are reached while an interrupt for the same context waits to be delivered do not
    /// raise another: `value` is the newest. A careful driver believes
    /// [`fence_value`](crate::Context::fence_value) rather than this, since hardware has been known
    /// to raise spurious interrupts.
    FenceReached {
        /// The context.
        context: ContextId,
        /// The fence value.
        value: u64,
    },
    /// The context faulted and has stopped until it is reset.
    Fault {
        /// The context.
        context: ContextId,
        /// What happened.
        fault: Fault,
    },
    /// The whole device was reset while the context had work, and that work is lost. It has
    /// stopped until it is reset.
    ContextLost {
        /// The context.
        context: ContextId,
    },
    /// The firmware has died: nothing runs until the device is reset. Every handler is told.
    FirmwareDied,
    /// The device was pulled out. It is the bus that says so, to the handler of the device alone;
    /// nothing comes after it.
    Removed,
}

/// A context's interrupt line. It is apart from the context so that an interrupt on its way does
/// not keep the context's memory.
pub(crate) struct Line {
    pub(crate) context: ContextId,
    pub(crate) handler: Arc<HandlerSlot>,
    /// The context's fence.
    fence: AtomicU64,
    /// A fence interrupt is on its way.
    pending: AtomicBool,
    /// The highest fence value that the handler has been told and has returned from.
    handled: AtomicU64,
    /// The context has asked for a slot, or to leave it, and has not been answered.
    pub(crate) asked: AtomicBool,
}

impl Line {
    pub(crate) fn new(context: ContextId) -> Self {
        Self {
            context,
            handler: Arc::default(),
            fence: AtomicU64::new(0),
            pending: AtomicBool::new(false),
            handled: AtomicU64::new(0),
            asked: AtomicBool::new(false),
        }
    }

    /// The highest fence value that the handler has returned from.
    pub(crate) fn handled(&self) -> u64 {
        self.handled.load(Ordering::Acquire)
    }

    pub(crate) fn fence_value(&self) -> u64 {
        self.fence.load(Ordering::Acquire)
    }

    pub(crate) fn write_fence(&self, value: u64) {
        self.fence.store(value, Ordering::Release);
    }
}

/// An interrupt on its way.
enum Pending {
    /// The newest fence value of the context, whatever it is on delivery.
    Fence(Arc<Line>),
    Exactly(Arc<HandlerSlot>, Interrupt),
    /// An answer, which is never dropped.
    Word(Word),
}

#[derive(Default)]
struct State {
    queue: VecDeque<Pending>,
    /// Interrupts that are held back, with the time of their delivery.
    late: Vec<(u64, Pending)>,
    stop: bool,
    /// The device is gone: what is raised from now on is lost.
    gone: bool,
    /// The thread has ended: nobody takes anything out of the queue any more.
    ended: bool,
}

impl State {
    /// Whether interrupts are lost. Answers are not.
    fn loses(&self) -> bool {
        self.gone || self.ended
    }
}

/// The interrupt controller: raised anywhere, delivered one at a time by one thread.
#[derive(Default)]
pub(crate) struct Interrupts {
    state: Mutex<State>,
    raised: Condvar,
    /// The handler of what concerns no single context.
    pub(crate) device: Arc<HandlerSlot>,
    pub(crate) delivered: AtomicU64,
    pub(crate) panics: AtomicU64,
}

impl Interrupts {
    /// Raises the interrupt for the newest fence value of a context.
    pub(crate) fn raise_fence(&self, line: &Arc<Line>) {
        if line.pending.swap(true, Ordering::AcqRel) {
            return;
        }
        self.push(Pending::Fence(Arc::clone(line)));
    }

    pub(crate) fn raise(&self, slot: &Arc<HandlerSlot>, interrupt: Interrupt) {
        self.push(Pending::Exactly(Arc::clone(slot), interrupt));
    }

    /// Raises `interrupt` when `delay` has gone by.
    pub(crate) fn raise_late(
        &self,
        slot: &Arc<HandlerSlot>,
        interrupt: Interrupt,
        delay: Duration,
    ) {
        let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let due = now_ns().saturating_add(delay);
        let pending = Pending::Exactly(Arc::clone(slot), interrupt);
        let mut state = lock(&self.state);
        if state.loses() {
            return;
        }
        state.late.push((due, pending));
        drop(state);
        self.raised.notify_one();
    }

    fn push(&self, pending: Pending) {
        let mut state = lock(&self.state);
        if state.loses() {
            return;
        }
        state.queue.push_back(pending);
        drop(state);
        self.raised.notify_one();
    }

    /// Has an answer delivered, exactly once, whatever becomes of the device. No lock may be held.
    pub(crate) fn answer(&self, word: Word) {
        let mut state = lock(&self.state);
        if state.ended {
            drop(state);
            self.tell(word);
            return;
        }
        state.queue.push_back(Pending::Word(word));
        drop(state);
        self.raised.notify_one();
    }

    fn tell(&self, word: Word) {
        if word.deliver().is_none() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Drops interrupts that have not been delivered and whatever may be raised later; only the
    /// device's own handler is told, if `announced`. Answers are delivered all the same.
    pub(crate) fn cut(&self, announced: bool) {
        let mut state = lock(&self.state);
        state.gone = true;
        let late = std::mem::take(&mut state.late);
        let (answers, left): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut state.queue)
            .into_iter()
            .partition(|pending| matches!(pending, Pending::Word(_)));
        state.queue = answers;
        if announced {
            let removed = Pending::Exactly(Arc::clone(&self.device), Interrupt::Removed);
            state.queue.push_back(removed);
        }
        drop(state);
        drop((late, left));
        self.raised.notify_one();
    }

    /// Makes [`run`](Self::run) return after the call in progress; what is undelivered is dropped.
    pub(crate) fn stop(&self) {
        lock(&self.state).stop = true;
        self.raised.notify_one();
    }

    /// Delivers interrupts until [`stop`](Self::stop), and then the answers that are left.
    pub(crate) fn run(&self) {
        while let Some(pending) = self.next() {
            match pending {
                Pending::Word(word) => self.tell(word),
                Pending::Exactly(slot, interrupt) => self.call(&slot, &interrupt),
                Pending::Fence(line) => {
                    // First the flag, then the value: a fence written in between raises again.
                    line.pending.swap(false, Ordering::AcqRel);
                    let value = line.fence_value();
                    let reached = Interrupt::FenceReached {
                        context: line.context,
                        value,
                    };
                    self.call(&line.handler, &reached);
                    line.handled.fetch_max(value, Ordering::AcqRel);
                }
            }
        }
        while let Some(pending) = self.next_left() {
            match pending {
                Pending::Word(word) => self.tell(word),
                interrupt => drop(interrupt),
            }
        }
    }

    fn call(&self, slot: &Arc<HandlerSlot>, interrupt: &Interrupt) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        if let Some(cell) = slot.get() {
            if cell.call(interrupt).is_none() {
                self.panics.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What is left when interrupts are no longer delivered; `None` at the end, from which on who
    /// has an answer delivers it.
    fn next_left(&self) -> Option<Pending> {
        let mut state = lock(&self.state);
        let next = state.queue.pop_front();
        state.ended = next.is_none();
        let late = std::mem::take(&mut state.late);
        drop(state);
        drop(late);
        next
    }

    /// Sleeps until there is an interrupt to deliver; `None` when stopped.
    fn next(&self) -> Option<Pending> {
        let mut state = lock(&self.state);
        loop {
            if state.stop {
                return None;
            }
            let now = if state.late.is_empty() { 0 } else { now_ns() };
            let earliest = (0..state.late.len()).min_by_key(|&index| state.late[index].0);
            if let Some(index) = earliest.filter(|&index| state.late[index].0 <= now) {
                return Some(state.late.remove(index).1);
            }
            if let Some(pending) = state.queue.pop_front() {
                return Some(pending);
            }
            state = match earliest {
                None => self
                    .raised
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(index) => {
                    let rest = Duration::from_nanos(state.late[index].0 - now);
                    let result = self.raised.wait_timeout(state, rest);
                    result.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}
