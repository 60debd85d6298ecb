// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Everything a host, its queues, its driver, its device or a clock can do to one orchestrator.
//!
//! An operation means something whatever the state: it chooses by index modulo what there is, and
//! does nothing where there is nothing to choose from. So any part of a sequence of operations is a
//! sequence of operations, and a failing one can be made shorter.

use ringfence_orchestrator_core::{Answer, Out};

/// Which seat an operation is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// One that there is.
    There(u8),
    /// One that is gone.
    Gone(u8),
}

/// What the host can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// Whether the driver is ready for a seat.
    Check,
    /// To bind.
    Bind,
    /// To have a gate yield.
    Yield,
    /// To vacate.
    Vacate,
}

impl Question {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Check, Self::Bind, Self::Yield, Self::Vacate];
}

/// What is answered: of this, what fits the question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The driver is not ready.
    pub not_yet: bool,
    /// What became of the request to the device.
    pub answer: Answer,
    /// What the queue has out when its gate has yielded, and whether it wants a slot.
    pub out: Out,
    /// See `out`.
    pub wants: bool,
    /// A report made after the gate had yielded comes before the answer.
    pub raced: bool,
}

impl Reply {
    /// What a host says with which all is well.
    pub const WELL: Self = Self {
        not_yet: false,
        answer: Answer::Done,
        out: Out::Nothing,
        wants: true,
        raced: false,
    };
}

/// One thing that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// A seat is made, of that priority and weight (by index), for the kinds that are bits of
    /// `kinds`.
    Add {
        /// By index.
        priority: u8,
        /// By index.
        weight: u8,
        /// Bits; kinds that the device does not have are refused.
        kinds: u8,
        /// Whether the driver is asked first.
        checked: bool,
        /// Its queue wants a slot at once.
        wants: bool,
    },
    /// So many seats, each so many places after the last, are to be a group.
    Group {
        /// The first.
        first: u8,
        /// To the next.
        step: u8,
        /// How many.
        count: u8,
    },
    /// A seat is due something else.
    Change {
        /// Whose.
        seat: Who,
        /// By index.
        priority: u8,
        /// By index.
        weight: u8,
    },
    /// A seat is removed.
    Remove(Who),
    /// A queue says what it wants.
    Report {
        /// Whose.
        seat: Who,
        /// Whether it wants a slot.
        wants: bool,
        /// What it has out, where its gate is not open.
        out: Out,
        /// By how many it is older than the newest report; 0 for a new one.
        age: u8,
    },
    /// The host takes so many effects.
    Take(u8),
    /// It answers one of the questions that it was asked.
    Answer {
        /// Which, the oldest first.
        which: u8,
        /// With what.
        reply: Reply,
    },
    /// It answers what it was not asked: an error, and no change.
    Foul {
        /// About whom.
        seat: Who,
        /// What.
        question: Question,
    },
    /// The device has let go of a seat's context by itself.
    Lost(Who),
    /// What was missing for a seat is there.
    Ready(Who),
    /// A slot is repaired, broken or not.
    Repaired(u8),
    /// The timer fires: when it was asked to (the clock is put forward), or just so.
    Timer {
        /// When it was asked to.
        due: bool,
    },
    /// Time passes, in microseconds.
    Pass(u32),
    /// The seats are moved into storage for so many.
    Grow(u8),
    /// The host takes all effects and gives that answer to all questions, so many times over.
    Serve(u8),
}
