// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Slots: the places on the hardware, and what kinds of them there are.

use ringfence_core::Time;

use crate::line::NONE;

/// The most kinds of slots a device can have.
pub const KINDS_MAX: usize = 4;

/// One kind of slot, such as those for compute or for copies: a number below [`KINDS_MAX`] that the
/// driver gives a meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct SlotKind(u8);

impl SlotKind {
    pub(crate) const FIRST: Self = Self(0);

    /// A kind; `None` from [`KINDS_MAX`] on.
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < KINDS_MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Its number.
    pub const fn number(self) -> usize {
        self.0 as usize
    }
}

/// A set of kinds: where a seat may be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(transparent)]
pub struct Kinds(u8);

impl Kinds {
    /// No kind.
    pub const NONE: Self = Self(0);
    /// Every kind.
    pub const ALL: Self = Self((1 << KINDS_MAX) - 1);

    /// That kind alone.
    pub const fn only(kind: SlotKind) -> Self {
        Self(1 << kind.0)
    }

    /// These and that kind.
    #[must_use]
    pub const fn with(self, kind: SlotKind) -> Self {
        Self(self.0 | 1 << kind.0)
    }

    /// Those of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These but for those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether `kind` is one of them.
    pub const fn contains(self, kind: SlotKind) -> bool {
        self.0 & 1 << kind.0 != 0
    }

    /// Whether the sets have a kind in common.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether all of these are in `other`.
    pub const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = SlotKind> {
        (0..KINDS_MAX as u8)
            .map(SlotKind)
            .filter(move |kind| self.contains(*kind))
    }

    pub(crate) const fn bits(self) -> usize {
        self.0 as usize
    }

    pub(crate) const fn from_bits(bits: usize) -> Self {
        Self((bits & Self::ALL.0 as usize) as u8)
    }
}

/// A slot, by its place in the storage that the orchestrator was given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct SlotId(pub(crate) u16);

impl SlotId {
    /// The slot with this number.
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }

    pub(crate) const fn at(self) -> usize {
        self.0 as usize
    }
}

/// No slot.
pub(crate) const NO_SLOT: u16 = u16::MAX;

/// A place on the hardware for one queue at a time. Made by the host, kept by the orchestrator.
///
/// # Invariants
///
/// `seat` names a seat whose `slot` names this one, or none.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub(crate) kind: SlotKind,
    /// The seat that it is given to, from the decision until it has been vacated.
    pub(crate) seat: u32,
    /// The seat that was on it last, and when that left: where its state may still be warm.
    pub(crate) last: u32,
    pub(crate) left: Time,
    /// Nobody knows what is on it: a request about it failed.
    pub(crate) broken: bool,
    pub(crate) stats: SlotStats,
}

impl Slot {
    /// A slot of this kind that nobody is on.
    pub const fn new(kind: SlotKind) -> Self {
        Self {
            kind,
            seat: NONE,
            last: NONE,
            left: Time::ZERO,
            broken: false,
            stats: SlotStats::NONE,
        }
    }

    /// What kind it is.
    pub const fn kind(&self) -> SlotKind {
        self.kind
    }

    pub(crate) const fn is_free(&self) -> bool {
        self.seat == NONE && !self.broken
    }
}

/// What was counted of one slot. Times are in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct SlotStats {
    /// How long the seats on it had work.
    pub busy_ns: u64,
    /// Times a seat was bound to it.
    pub binds: u64,
    /// Of those, by the seat that had left it last.
    pub warm: u64,
}

impl SlotStats {
    pub(crate) const NONE: Self = Self {
        busy_ns: 0,
        binds: 0,
        warm: 0,
    };
}
