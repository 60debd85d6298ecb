// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the drivers of all contexts of a device share: the thread on which resets are done that
//! no timeout callback asked for.
//!
//! A fault is told by an interrupt, and interrupts must not wait for a reset. Nor can the queue be
//! asked to look at its head job: the interrupt may come while that job is still in `run`.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use ringfence::{Device, UnbindError};

use super::{ContextRing, Jobs, SoftDriver, PATIENCE};
use crate::{Context, Gpu, GpuError, HandlerGuard, Interrupt};

/// What the recovery thread is called for.
enum Call {
    Context(Weak<ContextRing>),
    Device(Weak<Gpu>),
}

/// The driver of a device: makes the drivers of its contexts.
pub struct SoftDevice {
    gpu: Arc<Gpu>,
    recovery: Sender<Call>,
    /// Hears of the firmware's death.
    _handler: HandlerGuard,
}

impl SoftDevice {
    /// Takes charge of `gpu`. Starts a thread, which ends when this and all drivers are gone.
    ///
    /// # Errors
    ///
    /// [`GpuError::HandlerInstalled`] if somebody else has, [`GpuError::Thread`].
    pub fn new(gpu: Arc<Gpu>) -> Result<Self, GpuError> {
        let (recovery, calls) = channel();
        spawn(calls)?;
        let (call, device) = (recovery.clone(), Arc::downgrade(&gpu));
        let handler = gpu.on_interrupt(move |interrupt| {
            if *interrupt == Interrupt::FirmwareDied {
                // Refused only when the thread is gone, and everything with it.
                let _ = call.send(Call::Device(Weak::clone(&device)));
            }
        })?;
        Ok(Self {
            gpu,
            recovery,
            _handler: handler,
        })
    }

    /// Makes the driver of `context` for a queue with this `capacity`.
    ///
    /// The ring needs room for the words of all jobs that the queue's credits let run at a time;
    /// a job that finds none fails with `ENOSPC`.
    ///
    /// # Errors
    ///
    /// [`GpuError::HandlerInstalled`]: the context has a driver.
    pub fn driver(&self, context: Arc<Context>, capacity: usize) -> Result<SoftDriver, GpuError> {
        let ring = Arc::new(ContextRing {
            gpu: Arc::clone(&self.gpu),
            context,
            writer: Mutex::new(()),
            jobs: Mutex::new(Jobs::with_room(capacity)),
            lost: AtomicBool::new(false),
        });
        let (call, shared) = (self.recovery.clone(), Arc::clone(&ring));
        let handler = ring.context.on_interrupt(move |interrupt| {
            shared.interrupt(interrupt, || {
                let _ = call.send(Call::Context(Arc::downgrade(&shared)));
            });
        })?;
        Ok(SoftDriver {
            ring,
            patience: PATIENCE,
            looked: (0, 0),
            slotless: 0,
            _handler: handler,
        })
    }

    /// Ends everything in the right order: first the hardware, so that nothing touches memory
    /// any more, then the queues of `scope` with their fences. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`Device::unbind`].
    pub fn stop(&self, scope: &Device) -> Result<(), UnbindError> {
        self.gpu.stop();
        scope.unbind()
    }
}

impl SoftDriver {
    /// How much longer a job may take, each time, that has used up its time but makes progress.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

fn spawn(calls: Receiver<Call>) -> io::Result<()> {
    let recover = move || {
        for call in calls {
            match call {
                Call::Context(ring) => {
                    if let Some(ring) = ring.upgrade() {
                        ring.attend();
                    }
                }
                // Its contexts are told that they lost their work, and call in turn. If the
                // device does not answer, timeouts will find out.
                Call::Device(gpu) => {
                    if let Some(gpu) = gpu.upgrade() {
                        let _ = gpu.reset();
                    }
                }
            }
        }
    };
    // Not joined: it ends with the last sender.
    thread::Builder::new()
        .name("soft-recovery".into())
        .spawn(recover)
        .map(drop)
}
