// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Contexts and memory that exist on the device in use and on all that are on standby.
//!
//! Moving to another device is something fences wait for, so it must not allocate: whatever it
//! needs there has been there from the beginning.

use std::sync::{Arc, Mutex};

use super::station::Station;
use crate::sync::{lock, read, write};
use crate::{Buffer, Context, ContextState, Gpu, GpuError, Permissions, SlotAnswer};

/// How often a context is tried to be cleared before that is given up.
const TRIES: u32 = 256;

/// Is told that a recovery is through with a context.
type Ready = Arc<dyn Fn() + Send + Sync>;

/// A context, wherever it lives at the moment.
pub struct SoftContext {
    homes: Box<[Context]>,
    station: Arc<Station>,
    ready: Mutex<Option<Ready>>,
}

impl SoftContext {
    pub(super) fn new(
        station: Arc<Station>,
        create: impl Fn(&Gpu) -> Result<Context, GpuError>,
    ) -> Result<Self, GpuError> {
        let homes = station.present().map(create).collect::<Result<_, _>>()?;
        Ok(Self {
            homes,
            station,
            ready: Mutex::default(),
        })
    }

    /// Where it lives on each device, the last of them the last of [`SoftDevice::gpus`](super::SoftDevice::gpus).
    pub fn homes(&self) -> &[Context] {
        &self.homes
    }

    /// The context on the device in use.
    pub fn now(&self) -> &Context {
        // Those that were left before this context was made are not among its homes.
        let first = self.station.gpus.len() - self.homes.len();
        &self.homes[self.station.at() - first]
    }

    /// [Binds](Context::bind) the context on the device in use, where the host schedules.
    ///
    /// A recovery takes contexts off their slots: a reset of the context or of the device, and a move
    /// to another device, where no context is on a slot. [`SlotAnswer::lost`] says so when it begins
    /// (for a move with the cause [`Stopped`](crate::LossCause::Stopped)), and
    /// [`on_ready`](Self::on_ready) when the context can be bound again. In between this fails with
    /// [`GpuError::NeedsReset`], [`GpuError::SlotLost`] or [`GpuError::Stopped`], or, on a device
    /// whose reset has lost nothing of the context's, succeeds and may be lost once more.
    ///
    /// # Errors
    ///
    /// As [`Context::bind`].
    pub fn bind(&self, slot: u32, answer: Arc<dyn SlotAnswer>) -> Result<(), GpuError> {
        self.now().bind(slot, answer)
    }

    /// [Takes](Context::vacate) the context off its slot on the device in use.
    ///
    /// # Errors
    ///
    /// As [`Context::vacate`].
    pub fn vacate(&self, answer: Arc<dyn SlotAnswer>) -> Result<(), GpuError> {
        self.now().vacate(answer)
    }

    /// Has `ready` called whenever a recovery of the device or of the context's queue has reset or
    /// moved the context, and it can be bound again, with what is to be done again in its ring.
    /// Replaces the one before. Only for a context with a [`SoftDriver`](super::SoftDriver) whose
    /// queue is alive: others are reset by whoever owns them.
    ///
    /// It is called on the recovery's thread, without a lock, and must not wait for fences or queues
    /// of the device, which hold still: it may `bind`, or leave word for who does.
    pub fn on_ready(&self, ready: Arc<dyn Fn() + Send + Sync>) {
        let before = lock(&self.ready).replace(ready);
        drop(before);
    }

    /// The recovery is through with it.
    pub(super) fn is_ready(&self) {
        let ready = lock(&self.ready).clone();
        if let Some(ready) = ready {
            ready();
        }
    }

    /// Maps all of `buffer`, and returns the address, which is the same wherever the context lives.
    ///
    /// # Errors
    ///
    /// As [`Context::map`]; [`GpuError::Invalid`] if the two live on different devices.
    pub fn map(&self, buffer: &SoftBuffer, permissions: Permissions) -> Result<u64, GpuError> {
        let pairs = self.homes.iter().rev().zip(buffer.copies.iter().rev());
        let mut address = None;
        for (context, copy) in pairs {
            match address {
                None => address = Some(context.map(copy, permissions)?),
                Some(address) => context.map_at(copy, address, permissions)?,
            }
        }
        address.ok_or(GpuError::Invalid("a buffer and a context of one device"))
    }

    /// Takes whatever it does off the hardware, and returns when nothing of it is there any more.
    /// For who has no queue on it: jobs on their way are lost. Sleeps.
    ///
    /// # Errors
    ///
    /// [`GpuError::NotResponding`], [`GpuError::ResetFailed`] if the device cannot be brought to it.
    pub fn clear(&self) -> Result<(), GpuError> {
        let mut last = Ok(());
        for _ in 0..TRIES {
            let context = self.now();
            last = match context.reset() {
                Ok(_) | Err(GpuError::Gone | GpuError::Stopped) => return Ok(()),
                // Its driver brings it back, if one is there; a reset of ours would lose the work of
                // others.
                Err(error) => Err(error),
            };
            if matches!(context.state(), ContextState::Gone | ContextState::Stopped) {
                return Ok(());
            }
        }
        last
    }
}

/// Video memory, wherever it lives at the moment. A shared handle, as [`Buffer`].
#[derive(Clone)]
pub struct SoftBuffer {
    copies: Arc<[Buffer]>,
    station: Arc<Station>,
}

impl SoftBuffer {
    pub(super) fn new(station: Arc<Station>, bytes: u64) -> Result<Self, GpuError> {
        let copies: Arc<[Buffer]> = station
            .present()
            .map(|gpu| gpu.alloc(bytes))
            .collect::<Result<_, _>>()?;
        station.keep(&copies);
        Ok(Self { copies, station })
    }

    fn now(&self) -> &Buffer {
        let first = self.station.gpus.len() - self.copies.len();
        &self.copies[self.station.at() - first]
    }

    /// As [`Buffer::write`]. Waits while everything moves.
    ///
    /// # Errors
    ///
    /// As [`Buffer::write`].
    pub fn write(&self, first: usize, data: &[u32]) -> Result<(), GpuError> {
        let _still = read(&self.station.moving);
        self.now().write(first, data)
    }

    /// As [`Buffer::post_mortem`]. Waits while everything moves.
    ///
    /// # Errors
    ///
    /// As [`Buffer::post_mortem`].
    pub fn read(&self, first: usize, into: &mut [u32]) -> Result<(), GpuError> {
        let _still = read(&self.station.moving);
        self.now().post_mortem(first, into)
    }
}

impl Station {
    /// Makes the next device the one in use, with all that is in memory. The one that was in use
    /// must have been stopped. `false` if there is none. Does not allocate.
    pub(super) fn move_on(&self) -> bool {
        let from = self.at();
        if from + 1 >= self.gpus.len() {
            return false;
        }
        let _moving = write(&self.moving);
        self.for_buffers(|copies| {
            let first = self.gpus.len() - copies.len();
            copies[from - first].copy_to(&copies[from + 1 - first]);
        });
        self.set_at(from + 1);
        true
    }
}
