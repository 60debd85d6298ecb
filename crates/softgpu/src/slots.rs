// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Slots that the host manages: kinds, requests and their answers.
//!
//! ```text
//!   bind ──► [switching] ──► bound ──► on the slot ── vacate ──► vacated
//!                │                         │ fault, reset, drop, stop, unplug
//!                ▼                         ▼
//!            bound(Err)                   lost
//! ```

mod word;

use std::time::Duration;

use crate::context::ContextId;
use crate::error::GpuError;
use crate::fault::Fault;

pub(crate) use word::{Duty, Word};

/// Who puts contexts on slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// The firmware, in turn, for a time slice each.
    #[default]
    Firmware,
    /// The host, by [`Context::bind`](crate::Context::bind) and
    /// [`Context::vacate`](crate::Context::vacate). A context executes only on the slot where it was
    /// put, and stays there, with or without work, until it is taken away.
    Host {
        /// A context can be taken off its slot in the middle of its work, long commands and hangs
        /// included. If not, it goes when its ring is empty: run to completion.
        preemption: bool,
    },
}

/// What a slot is for, where the host manages them. The device executes every command on every
/// slot; the kind only decides which contexts may be [bound](crate::Context::bind) to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SlotKind {
    /// Computing.
    #[default]
    Compute,
    /// Copying.
    Copy,
    /// Drawing.
    Render,
}

/// Is told what became of a context's requests for a slot, and of the slot.
///
/// The methods are called on the device's interrupt thread, in the order in which things happened
/// and in line with [interrupts](crate::Interrupt): when a context is said to be off its slot, the
/// interrupts of all it did there have been delivered (those that were injected to be lost or late
/// excepted). They hold up the interrupts of the whole device and should be short; they may call
/// `bind` and `vacate`. While the device stops, what is left is said on its other thread, or, if
/// that has ended too, on the one that has the device stopped or pulled out. No lock is held.
/// A panic is caught and [counted](crate::GpuStats::handler_panics).
///
/// Made beforehand, so that asking does not allocate. The device lets go of it after the last call,
/// on the same thread, and may be the last to do so.
pub trait SlotAnswer: Send + Sync {
    /// The answer to a [`bind`](crate::Context::bind) that was taken, exactly once: from now on the
    /// context is on the slot, or why it is not.
    fn bound(&self, result: Result<(), GpuError>);

    /// The answer to a [`vacate`](crate::Context::vacate) that was taken, exactly once: the slot is
    /// free, or why the context has not been taken off it.
    fn vacated(&self, result: Result<Stay, GpuError>);

    /// The context is off its slot though nobody took it away, and the slot is free. Called on the
    /// object of the `bind`. A stay that began with `bound(Ok)` ends with exactly one call: this,
    /// or `vacated(Ok)`. A `vacate` under way is answered with an error as well, before or after.
    fn lost(&self, loss: Loss);
}

/// A context's time on a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The context.
    pub context: ContextId,
    /// The slot.
    pub slot: u32,
    /// When it came, in nanoseconds of [`now_ns`](crate::now_ns).
    pub from: u64,
    /// When it left.
    pub to: u64,
    /// How long it was [busy](crate::Context::busy) meanwhile.
    pub busy: Duration,
    /// Its ring was not empty when it left.
    pub work_left: bool,
}

/// A stay that ended without a vacate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// What was measured.
    pub stay: Stay,
    /// Why.
    pub cause: LossCause,
}

/// Why a context lost its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossCause {
    /// It faulted. It needs a reset before it can be bound again.
    Fault(Fault),
    /// It is being reset. Said when the reset begins; it can be bound when the reset has succeeded.
    ContextReset,
    /// The whole device was reset. Also what ends the stays that ended with the firmware's life: a
    /// dead firmware says nothing until then. A context that lost work needs a reset of its own
    /// before it can be bound again.
    DeviceReset,
    /// The [`Context`](crate::Context) was dropped.
    Dropped,
    /// The device was stopped.
    Stopped,
    /// The device was pulled out.
    Gone,
}

impl LossCause {
    /// What requests under way are answered.
    pub(crate) fn error(self) -> GpuError {
        match self {
            Self::Fault(_) | Self::ContextReset | Self::DeviceReset | Self::Dropped => {
                GpuError::SlotLost
            }
            Self::Stopped => GpuError::Stopped,
            Self::Gone => GpuError::Gone,
        }
    }
}

/// What a slot has been used for since the device started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotUsage {
    /// Executing commands, in stays that have ended.
    pub executing: Duration,
    /// Switching from one context to another ([`GpuConfig::switch_cost`](crate::GpuConfig)).
    pub switching: Duration,
}
