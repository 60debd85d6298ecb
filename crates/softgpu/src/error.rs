// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Errors of the host-side calls.

use thiserror::Error;

/// Why a call on the device failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GpuError {
    /// No free range of video memory is large enough.
    #[error("out of video memory: no free range of {bytes} bytes")]
    OutOfMemory {
        /// What was asked for, in bytes.
        bytes: u64,
    },
    /// No free range of the context's address space is large enough.
    #[error("out of address space: no free range of {bytes} bytes")]
    OutOfAddressSpace {
        /// What was asked for, in bytes.
        bytes: u64,
    },
    /// An argument is out of range; the text says which, and what it may be.
    #[error("invalid argument: {0}")]
    Invalid(&'static str),
    /// The range of virtual addresses is in use.
    #[error("address {address:#x}: the range overlaps a mapping")]
    AlreadyMapped {
        /// Where the mapping was to begin.
        address: u64,
    },
    /// No mapping begins at this address.
    #[error("address {address:#x}: no mapping begins here")]
    NotMapped {
        /// The address.
        address: u64,
    },
    /// A read or write by the processor leaves the buffer.
    #[error("words {first}..+{count} leave a buffer of {words} words")]
    OutOfBounds {
        /// The first word.
        first: usize,
        /// How many words.
        count: usize,
        /// The buffer's size in words.
        words: usize,
    },
    /// There is a handler already, and a context has one at most.
    #[error("an interrupt handler is installed already")]
    HandlerInstalled,
    /// The firmware schedules: the host has no say in who is on which slot, see
    /// [`Scheduling`](crate::Scheduling).
    #[error("the firmware of this device puts contexts on slots by itself")]
    NotHostScheduled,
    /// The device has no such slot.
    #[error("there is no slot {slot}")]
    NoSuchSlot {
        /// The slot.
        slot: u32,
    },
    /// Another context has the slot.
    #[error("slot {slot} is taken")]
    SlotTaken {
        /// The slot.
        slot: u32,
    },
    /// The slot is of another [kind](crate::SlotKind) than the context needs.
    #[error("slot {slot} is of another kind")]
    WrongSlotKind {
        /// The slot.
        slot: u32,
    },
    /// The context is on a slot already.
    #[error("the context is on slot {slot} already")]
    AlreadyBound {
        /// The slot on which it is.
        slot: u32,
    },
    /// The context is on no slot.
    #[error("the context is on no slot")]
    NotBound,
    /// The context has asked for a slot, or to leave it, and has not been answered yet.
    #[error("the context waits for the answer to a request about its slot")]
    SlotRequestPending,
    /// The context has faulted, lost its work, or is being reset; it needs a reset that succeeds.
    #[error("the context must be reset first")]
    NeedsReset,
    /// The context lost its slot before the request was done, or did not get it: it faulted, was
    /// reset or dropped, or the device was reset.
    #[error("the context was taken off the slots before the request was done")]
    SlotLost,
    /// The firmware did not answer in time ([`GpuConfig::answer_timeout`](crate::GpuConfig)).
    #[error("the firmware does not answer")]
    NotResponding,
    /// The reset was carried out and did not help, see
    /// [`FailedReset`](crate::Injection::FailedReset).
    #[error("the reset failed")]
    ResetFailed,
    /// The device has been pulled out.
    #[error("the device is gone")]
    Gone,
    /// The device has been stopped.
    #[error("the device has been stopped")]
    Stopped,
    /// A thread of the device could not be started.
    #[error("cannot start a device thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl GpuError {
    /// The kernel error number that a driver would return for it: negative, as in `-ENOSPC`.
    pub fn errno(&self) -> i32 {
        match self {
            Self::OutOfMemory { .. } | Self::OutOfAddressSpace { .. } => -28, // ENOSPC
            Self::Invalid(_) | Self::OutOfBounds { .. } | Self::NoSuchSlot { .. } => -22, // EINVAL
            Self::WrongSlotKind { .. } | Self::NotBound => -22,               // EINVAL
            Self::AlreadyMapped { .. } | Self::HandlerInstalled => -16,       // EBUSY
            Self::SlotTaken { .. } | Self::AlreadyBound { .. } => -16,        // EBUSY
            Self::NotHostScheduled => -95,                                    // EOPNOTSUPP
            Self::SlotRequestPending => -114,                                 // EALREADY
            Self::SlotLost => -125,                                           // ECANCELED
            Self::NotMapped { .. } => -2,                                     // ENOENT
            Self::NotResponding => -110,                                      // ETIMEDOUT
            Self::ResetFailed | Self::NeedsReset => -5,                       // EIO
            Self::Stopped | Self::Gone => -19,                                // ENODEV
            Self::Thread(_) => -12,                                           // ENOMEM
        }
    }
}

/// The ring has too little room for the whole of what was pushed; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the ring has room for {free} words, not for {needed}")]
pub struct RingFull {
    /// Words that were to be pushed.
    pub needed: usize,
    /// Words that had room.
    pub free: usize,
}
