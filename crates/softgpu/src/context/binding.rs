// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A context and its slot, where the host schedules.

use std::sync::Arc;

use super::Context;
use crate::error::GpuError;
use crate::firmware::Request;
use crate::slots::{Duty, SlotAnswer, SlotKind};

impl Context {
    /// The kind of slots that it may be bound to; `None`: any.
    pub fn kind(&self) -> Option<SlotKind> {
        self.shared.kind
    }

    /// Has the context put on `slot`, which must be free. It then executes what is in its ring,
    /// whether or not its doorbell has rung, and stays until it is [taken away](Self::vacate) or
    /// [loses](SlotAnswer::lost) the slot, however little it has to do.
    ///
    /// `answer` is told the outcome, exactly once, and keeps being told what becomes of the stay.
    /// If the slot has to switch ([`GpuConfig::switch_cost`](crate::GpuConfig)), the answer comes
    /// after that; until then the context waits, and the slot is taken. A dead firmware does not
    /// answer before the device is reset, stopped or pulled out.
    ///
    /// A context has one request of this sort under way at a time. Does not sleep and does not
    /// allocate; takes a short lock, as the doorbell does.
    ///
    /// # Errors
    ///
    /// At once, and then `answer` is not called: [`GpuError::NotHostScheduled`],
    /// [`GpuError::NoSuchSlot`], [`GpuError::WrongSlotKind`], [`GpuError::SlotRequestPending`],
    /// [`GpuError::Stopped`], [`GpuError::Gone`].
    ///
    /// By `answer`: [`GpuError::SlotTaken`], [`GpuError::AlreadyBound`], [`GpuError::NeedsReset`],
    /// [`GpuError::SlotLost`] (a reset came in between, or the context was dropped),
    /// [`GpuError::Stopped`], [`GpuError::Gone`].
    pub fn bind(&self, slot: u32, answer: Arc<dyn SlotAnswer>) -> Result<(), GpuError> {
        let device = &self.device;
        if !device.is_host_scheduled() {
            return Err(GpuError::NotHostScheduled);
        }
        let meter = device.slots.get(slot as usize);
        let meter = meter.ok_or(GpuError::NoSuchSlot { slot })?;
        if self.shared.kind.is_some_and(|kind| kind != meter.kind) {
            return Err(GpuError::WrongSlotKind { slot });
        }
        let duty = Duty::bind(device, &self.shared.line, answer);
        device.send(Request::Bind {
            index: self.shared.index,
            slot: slot as usize,
            duty: duty.ok_or(GpuError::SlotRequestPending)?,
        })
    }

    /// Has the context taken off its slot. What it has not finished goes on when it is bound again,
    /// be it in the middle of a command.
    ///
    /// With preemption it leaves within a few microseconds of the firmware's time, out of long
    /// commands, spins, semaphore waits and [hangs](crate::Command::Hang) alike; only an injected
    /// [`StuckPreemption`](crate::Injection::StuckPreemption) holds it. Without, it leaves when its
    /// ring is empty: after a hang, or while somebody keeps pushing, that is never, and only a reset
    /// helps.
    ///
    /// `answer` is told the outcome, exactly once. A dead firmware does not answer before the device
    /// is reset, stopped or pulled out.
    ///
    /// A context has one request of this sort under way at a time. Does not sleep and does not
    /// allocate; takes a short lock, as the doorbell does.
    ///
    /// # Errors
    ///
    /// At once, and then `answer` is not called: [`GpuError::NotHostScheduled`],
    /// [`GpuError::SlotRequestPending`], [`GpuError::Stopped`], [`GpuError::Gone`].
    ///
    /// By `answer`: [`GpuError::NotBound`] (also if it has lost its slot before),
    /// [`GpuError::SlotLost`], [`GpuError::Stopped`], [`GpuError::Gone`].
    pub fn vacate(&self, answer: Arc<dyn SlotAnswer>) -> Result<(), GpuError> {
        let device = &self.device;
        if !device.is_host_scheduled() {
            return Err(GpuError::NotHostScheduled);
        }
        let duty = Duty::vacate(device, &self.shared.line, answer);
        device.send(Request::Vacate {
            index: self.shared.index,
            duty: duty.ok_or(GpuError::SlotRequestPending)?,
        })
    }
}
