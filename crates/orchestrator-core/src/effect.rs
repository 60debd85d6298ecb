// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the orchestrator asks its host to do.

use ringfence_core::Time;

use crate::seat::{SeatId, SeatStats};
use crate::slot::SlotId;

/// One thing the host must do, after it has released the orchestrator's lock.
///
/// Effects about one seat must be acted on in the order given. `Check`, `Bind`, `Yield` and `Vacate`
/// stay outstanding until they are answered, each exactly once; the others are handed over.
#[must_use = "an effect that is not acted on is a queue that waits for ever"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Ask the driver whether this seat's queue has what its next job needs but for the slot, and
    /// answer with [`Orchestrator::checked`](crate::Orchestrator::checked).
    Check {
        /// Whose.
        seat: SeatId,
        /// The slot it would get.
        slot: SlotId,
    },
    /// Have the device make the seat's context resident on the slot, and answer with
    /// [`Orchestrator::bound`](crate::Orchestrator::bound) when it is. The slot is free: no other
    /// context is on it, nor on its way there.
    Bind {
        /// Whose.
        seat: SeatId,
        /// Where.
        slot: SlotId,
    },
    /// The seat's queue may run jobs: open its gate. All seats of its group are bound. Where there is no
    /// queue yet, it is said again [when there is](crate::Orchestrator::attached).
    Run {
        /// Whose.
        seat: SeatId,
    },
    /// The seat's queue must not hand any more jobs to the hardware: have its gate yield, and answer
    /// with [`Orchestrator::yielded`](crate::Orchestrator::yielded).
    Yield {
        /// Whose.
        seat: SeatId,
    },
    /// The device has let go of the seat's context by itself: shut the gate of its queue, whose jobs
    /// are on no slot.
    Shut {
        /// Whose.
        seat: SeatId,
    },
    /// Shut the gate of the seat's queue, have the device take its context off the slot, and answer
    /// with [`Orchestrator::vacated`](crate::Orchestrator::vacated) when it is off.
    Vacate {
        /// Whose.
        seat: SeatId,
        /// From where.
        slot: SlotId,
    },
    /// The device has not answered for too long: tell the driver, which resets what must be reset.
    /// The answer is still owed.
    Stuck {
        /// Whose.
        seat: SeatId,
        /// Where.
        slot: SlotId,
    },
    /// Nothing about the seat is outstanding, and it is forgotten, as was asked for.
    Gone {
        /// Whose it was.
        seat: SeatId,
        /// What was counted of it.
        stats: SeatStats,
    },
    /// Call [`Orchestrator::timer_fired`](crate::Orchestrator::timer_fired) at `at` or soon after.
    /// Replaces the time asked for before.
    ArmTimer {
        /// When.
        at: Time,
    },
}

/// What a driver says when it is asked whether a queue has what its next job needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checked {
    /// It has.
    Ready,
    /// Not yet: [`Orchestrator::ready`](crate::Orchestrator::ready) says when. It does not stand in
    /// anybody's way until then.
    NotYet,
}

/// What became of a request to the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It is done.
    Done,
    /// It could not be done, and nobody is on the slot: it is free.
    Failed,
    /// Nobody knows what is on the slot. It is not used until
    /// [`Orchestrator::repaired`](crate::Orchestrator::repaired).
    Broken,
}
