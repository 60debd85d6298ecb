// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The driver of a device: its scope, its recovery, and how the drivers of its contexts are made.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use ringfence::{BuildError, Device, Executor, Queue, Timeout, UnbindError};

use super::recovery::Doctor;
use super::ring::ContextRing;
use super::space::{SoftBuffer, SoftContext};
use super::station::{Recoveries, Station};
use super::SoftDriver;
use crate::{Gpu, GpuError, HandlerGuard, Interrupt, SlotKind};

/// What is reset when a job hangs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reset {
    /// The context of its queue. No other queue notices.
    #[default]
    Queue,
    /// The whole device. What is innocent is put on it again.
    Device,
}

/// What to drive, and how.
pub struct SoftConfig {
    /// For people.
    pub name: String,
    /// The device.
    pub gpu: Gpu,
    /// Fresh devices to which everything moves when the one in use fails for good; first the first.
    /// They are best equal to it: contexts and memory are taken on all of them. Where the host
    /// schedules, every context is off the slots after the move, see [`SoftContext::bind`].
    pub standby: Vec<Gpu>,
    /// What is reset when a job hangs.
    pub reset: Reset,
    /// How long jobs may take where neither they nor their queues say anything.
    pub timeout: Timeout,
}

impl SoftConfig {
    /// Drives `gpu`, resets queues, and has nothing on standby.
    pub fn new(gpu: Gpu) -> Self {
        Self {
            name: "soft".to_owned(),
            gpu,
            standby: Vec::new(),
            reset: Reset::default(),
            timeout: Timeout::Inherit,
        }
    }
}

/// The driver of a device: makes the drivers of its contexts, and recovers what hangs.
pub struct SoftDevice {
    /// Hear of the firmware's death and of the device's.
    _handlers: Vec<HandlerGuard>,
    station: Arc<Station>,
    scope: Device,
}

impl SoftDevice {
    /// Takes charge of the devices. Starts a thread for recovery, which ends with the scope.
    ///
    /// # Errors
    ///
    /// [`GpuError::HandlerInstalled`] if somebody else has a handler, [`GpuError::Thread`].
    pub fn start(config: SoftConfig) -> Result<Self, GpuError> {
        let mut gpus = vec![config.gpu];
        gpus.extend(config.standby);
        let station = Arc::new(Station::new(gpus));
        let doctor = Doctor::new(Arc::clone(&station), config.reset);
        let scope = Device::builder(&config.name)
            .timeout(config.timeout)
            .recovery(doctor)
            .map_err(GpuError::Thread)?;
        let handlers = station.gpus.iter().map(|gpu| {
            let shared = Arc::downgrade(&station);
            gpu.on_interrupt(move |interrupt| {
                let Some(station) = shared.upgrade() else {
                    return;
                };
                if *interrupt == Interrupt::FirmwareDied {
                    station.note_death();
                }
                station.call_recovery();
            })
        });
        Ok(Self {
            _handlers: handlers.collect::<Result<_, _>>()?,
            station: Arc::clone(&station),
            scope,
        })
    }

    /// The scope in which the queues are made.
    pub fn scope(&self) -> &Device {
        &self.scope
    }

    /// The device in use.
    pub fn gpu(&self) -> &Gpu {
        self.station.gpu()
    }

    /// The device in use and those on standby, and those that were left.
    pub fn gpus(&self) -> &[Gpu] {
        &self.station.gpus
    }

    /// Creates a context. Its ring needs room for the words of all jobs that the queue's credits let
    /// run at a time; a job that finds none fails with `ENOSPC`.
    ///
    /// # Errors
    ///
    /// As [`Gpu::create_context`].
    pub fn create_context(&self, ring_words: usize) -> Result<Arc<SoftContext>, GpuError> {
        let create = |gpu: &Gpu| gpu.create_context(ring_words);
        SoftContext::new(Arc::clone(&self.station), create).map(Arc::new)
    }

    /// Creates a context that may be bound to slots of this kind only, where the host schedules.
    ///
    /// # Errors
    ///
    /// As [`Gpu::create_context_for`].
    pub fn create_context_for(
        &self,
        kind: SlotKind,
        ring_words: usize,
    ) -> Result<Arc<SoftContext>, GpuError> {
        let create = |gpu: &Gpu| gpu.create_context_for(kind, ring_words);
        SoftContext::new(Arc::clone(&self.station), create).map(Arc::new)
    }

    /// Takes video memory.
    ///
    /// # Errors
    ///
    /// As [`Gpu::alloc`].
    pub fn alloc(&self, bytes: u64) -> Result<SoftBuffer, GpuError> {
        SoftBuffer::new(Arc::clone(&self.station), bytes)
    }

    /// Makes the driver of `context` for a queue with this `capacity`.
    ///
    /// # Errors
    ///
    /// [`GpuError::HandlerInstalled`]: the context has a driver.
    pub fn driver(
        &self,
        context: &Arc<SoftContext>,
        capacity: usize,
    ) -> Result<SoftDriver, GpuError> {
        let scope = self.scope.clone();
        let ring = Arc::new(ContextRing::new(Arc::clone(context), scope, capacity));
        let handlers = context.homes().iter().map(|home| {
            let shared = Arc::clone(&ring);
            home.on_interrupt(move |interrupt| shared.interrupt(interrupt))
        });
        let handlers = handlers.collect::<Result<_, _>>()?;
        self.station.add(&ring);
        Ok(SoftDriver::new(ring, handlers))
    }

    /// Makes the queue of `driver`.
    ///
    /// # Errors
    ///
    /// As [`ringfence::Builder::build`].
    pub fn build(
        &self,
        builder: ringfence::Builder,
        executor: impl Into<Arc<dyn Executor>>,
        driver: SoftDriver,
    ) -> Result<Queue<SoftDriver>, BuildError> {
        let ring = Arc::clone(&driver.ring);
        let queue = builder.build(&self.scope, executor, driver)?;
        ring.set_queue(queue.context());
        Ok(queue)
    }

    /// Has the whole device reset, as if somebody had pressed its button. Does not wait.
    pub fn request_reset(&self) {
        self.station.wants_reset.store(true, Ordering::Release);
        self.station.call_recovery();
    }

    /// Has everything moved to the first device on standby, if there is one. Does not wait.
    pub fn request_migration(&self) {
        self.station.wants_move.store(true, Ordering::Release);
        self.station.call_recovery();
    }

    /// What recoveries came to so far.
    pub fn recoveries(&self) -> Recoveries {
        self.station.recoveries()
    }

    /// Ends everything in the right order: first the hardware, so that nothing touches memory
    /// any more, then the queues with their fences. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`Device::unbind`].
    pub fn stop(&self) -> Result<(), UnbindError> {
        for gpu in &self.station.gpus {
            gpu.stop();
        }
        self.scope.unbind()
    }
}

impl SoftDriver {
    /// How much longer a job may take, each time, that has used up its time but makes progress.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}
