// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A context: one ring, one page table, one fence.

mod binding;
mod shared;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::now_ns;
use crate::device::Device;
use crate::error::GpuError;
use crate::fault::{Armed, Fault, Injection, InjectionKind, Injections, Moment, When};
use crate::firmware::Request;
use crate::interrupt::{HandlerGuard, Interrupt};
use crate::memory::{Buffer, Permissions};
use crate::ring::Ring;
use crate::sync::{lock, write};

pub(crate) use shared::Shared;

/// The longest that an injected early completion stalls a doorbell, in nanoseconds.
const STALL_NS: u64 = 20_000_000;

/// Names a context. Never used again for another context of the same device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContextId(pub u64);

impl fmt::Display for ContextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "context {}", self.0)
    }
}

/// Where a context stands, as its firmware last said. A dead firmware says nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextState {
    /// It has nothing to do that the firmware knows of. Where the host schedules: and is on no slot.
    Idle,
    /// It waits for a slot, or, off its slot, for a semaphore.
    Waiting,
    /// It is on this slot. Where the host schedules, it may have nothing to do there.
    Resident(u32),
    /// It faulted, or lost its work in a reset of the device, and needs a reset.
    Faulted,
    /// It is being reset.
    Resetting,
    /// The device has been stopped.
    Stopped,
    /// The device has been pulled out.
    Gone,
}

/// What a reset found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetReport {
    /// How far the fence got. Work behind it will not be done.
    pub fence_value: u64,
    /// Words of commands that had not ended and were dropped from the ring.
    pub discarded_words: u64,
    /// The fault that the reset cleared.
    pub fault: Option<Fault>,
}

/// A context of the device, owned by who created it. Dropping it takes it off the hardware and
/// frees its memory, which waits for the firmware. Its interrupt handler lives as long as the
/// [`HandlerGuard`], and may still be told what happened before.
///
/// Methods may be called from any thread, interrupt handlers included, and do not sleep unless
/// they say so.
pub struct Context {
    shared: Arc<Shared>,
    device: Arc<Device>,
}

impl Context {
    pub(crate) fn new(shared: Arc<Shared>, device: Arc<Device>) -> Self {
        Self { shared, device }
    }

    /// Its name.
    pub fn id(&self) -> ContextId {
        self.shared.id
    }

    /// Its ring.
    pub fn ring(&self) -> &Ring {
        &self.shared.ring
    }

    /// Tells the firmware to look at PUT. May be called without the ring having changed. Does not
    /// allocate; takes a short lock, and wakes the firmware's thread if it sleeps. To a device that
    /// is gone it does nothing, as any posted write; see [`Context::state`].
    pub fn doorbell(&self) {
        let newest = [&self.shared.injections, &self.device.injections]
            .into_iter()
            .filter(|list| !list.is_empty())
            .find_map(|list| {
                let value = self.shared.ring.newest_alone()?;
                list.waits_at_doorbell(value).then_some((list, value))
            });
        if !self.shared.rung.swap(true, Ordering::AcqRel) {
            self.device.inbox.ring(self.shared.index);
        }
        if let Some((list, value)) = newest {
            self.stall(list, value);
        }
    }

    /// Injected: the doorbell's write takes until the job's interrupt has been handled.
    fn stall(&self, list: &Injections, value: u64) {
        let end = now_ns() + STALL_NS;
        while self.shared.line.handled() < value {
            if now_ns() > end || self.state() == ContextState::Faulted {
                return;
            }
            std::thread::yield_now();
        }
        let _ = list.take(Moment::Doorbell { value });
    }

    /// The last value a [`Fence`](crate::Command::Fence) wrote; 0 before the first. It happens
    /// after everything the job wrote: who has read it may read the job's results.
    pub fn fence_value(&self) -> u64 {
        self.shared.fence_value()
    }

    /// Grows as long as the context gets anything done on a slot: commands, parts of long
    /// commands, time spent in [`Spin`](crate::Command::Spin). It stands still in a hang, in a
    /// semaphore wait, off the slot. Never goes back, and has no unit.
    pub fn progress(&self) -> u64 {
        self.shared.progress()
    }

    /// Where it stands.
    pub fn state(&self) -> ContextState {
        if self.device.is_gone() {
            return ContextState::Gone;
        }
        if self.device.inbox.is_stopped() {
            return ContextState::Stopped;
        }
        self.shared.state()
    }

    /// How long it has been executing commands on a slot, or spinning. A hang, a semaphore and a
    /// machine that does not let the firmware run do not count.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.shared.busy_ns())
    }

    /// Whether it waits for nothing but a slot, which others have. Where the host schedules: it has
    /// work and is on no slot, or on one that still switches to it; nobody looks at the semaphore
    /// that it may wait for.
    pub fn waits_for_slot(&self) -> bool {
        let blocked = || !self.device.is_host_scheduled() && self.shared.is_blocked();
        self.state() == ContextState::Waiting && !blocked()
    }

    /// How many times it has come to a slot.
    pub fn stays(&self) -> u64 {
        self.shared.stays()
    }

    /// The fault that stopped it, if one did.
    pub fn fault(&self) -> Option<Fault> {
        *lock(&self.shared.fault)
    }

    /// Maps all of `buffer` from `address` on.
    ///
    /// The mapping keeps the buffer's memory until it is removed or the context is dropped. Waits
    /// for the firmware to finish what it has in hand of this context: a few microseconds.
    ///
    /// # Errors
    ///
    /// [`GpuError::Invalid`] (not at a page, page 0, beyond [`VA_LIMIT`](crate::VA_LIMIT), another
    /// device's buffer), [`GpuError::AlreadyMapped`].
    pub fn map_at(
        &self,
        buffer: &Buffer,
        address: u64,
        permissions: Permissions,
    ) -> Result<(), GpuError> {
        self.check_owner(buffer)?;
        write(&self.shared.page_table).map(buffer, address, permissions)
    }

    /// Maps all of `buffer` where there is room, and returns the address. See
    /// [`map_at`](Self::map_at).
    ///
    /// # Errors
    ///
    /// [`GpuError::OutOfAddressSpace`], [`GpuError::Invalid`] (another device's buffer).
    pub fn map(&self, buffer: &Buffer, permissions: Permissions) -> Result<u64, GpuError> {
        self.check_owner(buffer)?;
        write(&self.shared.page_table).place(buffer, permissions)
    }

    /// Removes the mapping that begins at `address`. When it has returned, the device no longer
    /// touches the buffer through it; a command that still means to will fault.
    ///
    /// # Errors
    ///
    /// [`GpuError::NotMapped`].
    pub fn unmap(&self, address: u64) -> Result<(), GpuError> {
        let buffer = write(&self.shared.page_table).unmap(address)?;
        drop(buffer);
        // A context that waits for a semaphore there must find out.
        self.device.inbox.wake();
        Ok(())
    }

    fn check_owner(&self, buffer: &Buffer) -> Result<(), GpuError> {
        if buffer.is_of(&self.device.memory) {
            Ok(())
        } else {
            Err(GpuError::Invalid(
                "a buffer is mapped on its own device only",
            ))
        }
    }

    /// Kills what the context does, empties its ring and clears its fault. Fence, memory and
    /// mappings stay. Other contexts do not notice. Takes it off its slot: where the host schedules,
    /// who bound it is told that the slot is [lost](crate::SlotAnswer::lost), when the reset begins.
    ///
    /// The caller must not push at the same time: whether such words survive is not defined.
    /// Sleeps until the firmware answers; does not allocate. Must not be called from an [`Observer`](crate::Observer).
    ///
    /// # Errors
    ///
    /// [`GpuError::NotResponding`] after the configured time: the firmware is dead, or slow (then
    /// the reset happens later). [`GpuError::ResetFailed`]: nothing is lost, and the context stands
    /// still until a reset succeeds. [`GpuError::Gone`], [`GpuError::Stopped`].
    pub fn reset(&self) -> Result<ResetReport, GpuError> {
        let index = self.shared.index;
        self.device
            .ask_in(&self.shared.resets, |answer| Request::ResetContext {
                index,
                answer,
            })?
            .ok_or(GpuError::ResetFailed)
    }

    /// Installs the handler of this context's interrupts. It runs on the device's interrupt
    /// thread, one call at a time for the whole device, and should be short.
    ///
    /// # Errors
    ///
    /// [`GpuError::HandlerInstalled`].
    pub fn on_interrupt(
        &self,
        handler: impl Fn(&Interrupt) + Send + Sync + 'static,
    ) -> Result<HandlerGuard, GpuError> {
        self.shared
            .line
            .handler
            .install(Box::new(handler))
            .ok_or(GpuError::HandlerInstalled)
    }

    /// Arms a fault in this context.
    ///
    /// # Errors
    ///
    /// [`GpuError::Invalid`] for a time that the injection cannot happen at, see [`When`].
    pub fn inject(&self, injection: Injection, when: When) -> Result<Armed, GpuError> {
        let injections = &self.shared.injections;
        match (injection, when) {
            (Injection::FirmwareDeath { silent }, When::Now) => {
                self.device.send(Request::Die { silent })?;
                Ok(injections.fire_now(injection))
            }
            (Injection::Unplug { announced }, When::Now) => {
                self.device.unplug(announced);
                Ok(injections.fire_now(injection))
            }
            (Injection::SpuriousInterrupt(value), When::Now) => {
                let interrupt = Interrupt::FenceReached {
                    context: self.shared.id,
                    value,
                };
                self.device
                    .interrupts
                    .raise(&self.shared.line.handler, interrupt);
                Ok(injections.fire_now(injection))
            }
            _ => injections.arm(injection, when).ok_or(GpuError::Invalid(
                "this injection cannot happen at that time",
            )),
        }
    }

    /// How many injections of this kind, armed on this context, have happened.
    pub fn injected(&self, kind: InjectionKind) -> u64 {
        self.shared.injections.fired(kind)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.device.remove(self.shared.index);
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("id", &self.id().0)
            .field("state", &self.state())
            .field("get", &self.ring().get())
            .field("put", &self.ring().put())
            .field("fence_value", &self.fence_value())
            .field("fault", &self.fault())
            .finish_non_exhaustive()
    }
}
