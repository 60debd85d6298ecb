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
            Self::Invalid(_) | Self::OutOfBounds { .. } => -22,               // EINVAL
            Self::AlreadyMapped { .. } | Self::HandlerInstalled => -16,       // EBUSY
            Self::NotMapped { .. } => -2,                                     // ENOENT
            Self::NotResponding => -110,                                      // ETIMEDOUT
            Self::ResetFailed => -5,                                          // EIO
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
