// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a driver says of its slots, and how it answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ringfence::Fence;
use ringfence_orchestrator_core::{Answer, Preemption, SeatId, SlotId, SlotKind};

/// A device whose slots the host gives away: the driver's side of an
/// [`Orchestrator`](crate::Orchestrator).
///
/// All methods but `slots` and `preemption` are called in a signalling section, with no lock held: job
/// fences wait for what they do, so they must not allocate, sleep or wait for a fence. They are called
/// by one thread at a time, but by any: one that submits or completes a job, a worker, a timer, an
/// interrupt handler that has answered. One that panics has said so; the request that it was called for
/// counts as [broken](Binding::broken).
pub trait SlotDevice: Send + Sync + 'static {
    /// What the driver needs to know of a queue to put it on a slot: its context. Given with the
    /// queue's seat, and dropped when the seat has gone: by the executor, or by who has it last, with a
    /// [`Seat`](crate::Seat) or while a [snapshot](crate::Orchestrator::snapshot) is taken.
    type Context: Send + Sync + 'static;

    /// What kind each slot is of. Asked once.
    fn slots(&self) -> Vec<SlotKind>;

    /// Whether a context can be taken off its slot while it has jobs on the hardware. Asked once.
    fn preemption(&self) -> Preemption;

    /// Whether the queue of this context has what its next job needs, but for the slot. Asked before
    /// it gets a slot, where its seat is [to be checked](crate::SeatConfig::checked). Not called in
    /// interrupt handlers.
    fn check(&self, context: &Self::Context) -> Check {
        let _everything_is_there = context;
        Check::Ready
    }

    /// Make `context` resident on `slot`, which is free, and answer when it is: now, or from any
    /// thread or interrupt handler.
    fn bind(&self, slot: SlotId, context: &Self::Context, binding: Binding);

    /// Take `context` off `slot`, and answer when it is off. No driver callback of its queue is
    /// running, nor will be. Where the device [cannot preempt](Preemption::RunToCompletion), nothing
    /// of it is on the hardware.
    fn vacate(&self, slot: SlotId, context: &Self::Context, vacating: Vacating);

    /// The device has not answered a request about this slot for too long. Whatever is done about it,
    /// as asking for a recovery, is done elsewhere; the request must still be answered.
    fn stuck(&self, slot: SlotId, context: &Self::Context);
}

/// The answer to [`SlotDevice::check`].
#[derive(Debug)]
pub enum Check {
    /// It has.
    Ready,
    /// Not before this fence has signalled, with whatever result; then it is asked again. Meanwhile
    /// it stands in nobody's way.
    WaitFor(Fence),
}

/// Where answers go.
pub(crate) trait Answers: Send + Sync {
    fn bound(self: Arc<Self>, seat: SeatId, answer: Answer);
    fn vacated(self: Arc<Self>, seat: SeatId, answer: Answer, measured: Option<Duration>);
}

/// The duty to answer a [bind](SlotDevice::bind), once. Dropped without an answer, it says that
/// nobody knows what is on the slot.
///
/// Answering takes a short lock, and may call the driver on this thread. Interrupt-safe.
#[must_use = "dropping it says that the slot is broken"]
pub struct Binding {
    to: Option<Arc<dyn Answers>>,
    seat: SeatId,
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Binding({:?})", self.seat)
    }
}

impl Binding {
    pub(crate) fn new(to: Arc<dyn Answers>, seat: SeatId) -> Self {
        Self { to: Some(to), seat }
    }

    /// The context is on the slot.
    pub fn done(self) {
        self.answer(Answer::Done);
    }

    /// It is not, nor is anybody else. It gets no slot until [`Seat::ready`](crate::Seat::ready) is
    /// called.
    pub fn failed(self) {
        self.answer(Answer::Failed);
    }

    /// Nobody knows what is on the slot. It is left alone until
    /// [`Orchestrator::repaired`](crate::Orchestrator::repaired).
    pub fn broken(self) {
        self.answer(Answer::Broken);
    }

    fn answer(mut self, answer: Answer) {
        if let Some(to) = self.to.take() {
            to.bound(self.seat, answer);
        }
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        if let Some(to) = self.to.take() {
            to.bound(self.seat, Answer::Broken);
        }
    }
}

/// The duty to answer a [vacate](SlotDevice::vacate), once. As [`Binding`] otherwise.
#[must_use = "dropping it says that the slot is broken"]
pub struct Vacating {
    to: Option<Arc<dyn Answers>>,
    seat: SeatId,
}

impl fmt::Debug for Vacating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vacating({:?})", self.seat)
    }
}

impl Vacating {
    pub(crate) fn new(to: Arc<dyn Answers>, seat: SeatId) -> Self {
        Self { to: Some(to), seat }
    }

    /// The context is off the slot, which is free. If the device can say for how long it has executed
    /// since it was bound, `measured` does.
    pub fn done(mut self, measured: Option<Duration>) {
        if let Some(to) = self.to.take() {
            to.vacated(self.seat, Answer::Done, measured);
        }
    }

    /// Nobody knows what is on the slot. It is left alone until
    /// [`Orchestrator::repaired`](crate::Orchestrator::repaired).
    pub fn broken(mut self) {
        if let Some(to) = self.to.take() {
            to.vacated(self.seat, Answer::Broken, None);
        }
    }
}

impl Drop for Vacating {
    fn drop(&mut self) {
        if let Some(to) = self.to.take() {
            to.vacated(self.seat, Answer::Broken, None);
        }
    }
}
