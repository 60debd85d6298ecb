// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What can go wrong in a context, and what can be made to go wrong.

mod injection;

pub use injection::{Armed, Injection, InjectionKind, When};
pub(crate) use injection::{Injections, Moment};

use std::fmt;

/// Why a context stopped. It stays so until it is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// What was wrong.
    pub kind: FaultKind,
    /// Where: for memory faults and bad operands the virtual address in bytes, for faults of the
    /// stream the word counter of the packet ([`Ring::get`](crate::Ring::get)).
    pub address: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:#x}", self.kind.text(), self.address)
    }
}

/// The kinds of [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The header names no operation.
    BadOpcode,
    /// The header's length does not fit its operation.
    BadLength,
    /// The packet goes on beyond PUT.
    Truncated,
    /// PUT is behind GET, or further ahead than the ring is long.
    RingOverrun,
    /// An operand is out of its range.
    BadOperand,
    /// An address is no multiple of the word size.
    Misaligned,
    /// A range leaves the address space.
    OutOfRange,
    /// No page is mapped there.
    Unmapped,
    /// The page may not be read.
    NotReadable,
    /// The page may not be written.
    NotWritable,
}

impl FaultKind {
    /// Whether the stream itself was bad, rather than an address in it.
    pub fn is_stream(self) -> bool {
        matches!(
            self,
            Self::BadOpcode | Self::BadLength | Self::Truncated | Self::RingOverrun
        )
    }

    fn text(self) -> &'static str {
        match self {
            Self::BadOpcode => "bad opcode",
            Self::BadLength => "bad packet length",
            Self::Truncated => "truncated packet",
            Self::RingOverrun => "ring overrun",
            Self::BadOperand => "bad operand",
            Self::Misaligned => "misaligned address",
            Self::OutOfRange => "address out of range",
            Self::Unmapped => "unmapped address",
            Self::NotReadable => "unreadable address",
            Self::NotWritable => "unwritable address",
        }
    }
}
