// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The device: its threads, and what the host's handles share.

mod slots;
mod stats;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use crate::answer::{Answer, Mailbox};
use crate::config::GpuConfig;
use crate::context::{Context, ContextId, Shared};
use crate::error::GpuError;
use crate::fault::{Armed, Injection, InjectionKind, Injections, When};
use crate::firmware::{Firmware, Inbox, Request};
use crate::interrupt::{HandlerGuard, Interrupt, Interrupts};
use crate::memory::{allocate, Buffer, Memory, PageTable, WORD_BYTES};
use crate::ring::Ring;
use crate::slots::{Scheduling, SlotKind};
use crate::sync::lock;

pub use stats::GpuStats;
pub(crate) use stats::{Counters, SlotMeter};

/// What a reset of the whole device found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceResetReport {
    /// Contexts that had work, which is lost. Each gets a
    /// [`ContextLost`](Interrupt::ContextLost) interrupt.
    pub contexts_lost: usize,
    /// Whose command the firmware was dealing with when it died, if it had.
    pub culprit: Option<Culprit>,
}

/// Whose command a dead firmware was dealing with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// The context.
    pub context: ContextId,
    /// The fence value of its job, if its stream named it.
    pub job: Option<u64>,
}

/// What firmware, interrupts and handles share.
pub(crate) struct Device {
    pub(crate) memory: Arc<Memory>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) interrupts: Arc<Interrupts>,
    pub(crate) injections: Arc<Injections>,
    pub(crate) counters: Counters,
    pub(crate) scheduling: Scheduling,
    pub(crate) slots: Box<[SlotMeter]>,
    /// In nanoseconds.
    answer_timeout: AtomicU64,
    device_resets: Arc<Mailbox<Option<DeviceResetReport>>>,
    pings: Arc<Mailbox<()>>,
    gone: AtomicBool,
    firmware: OnceLock<ThreadId>,
    indices: Mutex<Indices>,
}

/// The places in the firmware's table.
#[derive(Default)]
struct Indices {
    free: Vec<usize>,
    next: usize,
    last_id: u64,
}

impl Device {
    /// Whether it has been pulled out.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Pulls it out.
    pub(crate) fn unplug(&self, announced: bool) {
        self.gone.store(true, Ordering::Release);
        self.memory.set_gone();
        self.inbox.close();
        self.interrupts.cut(announced);
    }

    /// Why a device that is stopped does not answer.
    pub(crate) fn absence(&self) -> GpuError {
        if self.is_gone() {
            GpuError::Gone
        } else {
            GpuError::Stopped
        }
    }

    /// Sends a request.
    pub(crate) fn send(&self, request: Request) -> Result<(), GpuError> {
        match self.inbox.send(request) {
            Ok(()) => Ok(()),
            Err(Request::Bind { duty, .. } | Request::Vacate { duty, .. }) => {
                duty.take_back();
                Err(self.absence())
            }
            Err(_) => Err(self.absence()),
        }
    }

    /// Sends a request that will be answered in a mailbox made beforehand, and waits for the answer.
    /// Does not allocate.
    pub(crate) fn ask_in<T: Copy>(
        &self,
        mailbox: &Arc<Mailbox<T>>,
        request: impl FnOnce(Answer<T>) -> Request,
    ) -> Result<T, GpuError> {
        let patience = Duration::from_nanos(self.answer_timeout.load(Ordering::Relaxed));
        let answered = mailbox.ask(patience, |answer| self.send(request(answer)));
        match answered {
            Err(GpuError::NotResponding) if self.inbox.is_stopped() => Err(self.absence()),
            answered => answered,
        }
    }

    /// Whether the host puts contexts on slots.
    pub(crate) fn is_host_scheduled(&self) -> bool {
        matches!(self.scheduling, Scheduling::Host { .. })
    }

    /// Takes a context out of the firmware and waits until it is out.
    pub(crate) fn remove(&self, index: usize) {
        let (answer, answered) = sync_channel(1);
        if self.inbox.send(Request::Remove { index, answer }).is_err() {
            return;
        }
        // An observer that drops a context cannot wait for its own thread.
        if self.firmware.get() != Some(&thread::current().id()) {
            // Disconnected: the device was stopped, which removes the context as well.
            let _ = answered.recv();
        }
        lock(&self.indices).free.push(index);
    }
}

/// The duration in nanoseconds; what is longer than five centuries is that long.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A GPU in software. Dropping it stops it.
///
/// [`Context`]s and [`Buffer`]s may outlive it; a context then says
/// [`Stopped`](crate::ContextState::Stopped) and does nothing.
pub struct Gpu {
    device: Arc<Device>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Gpu {
    /// Starts a device: one thread for the firmware, one for interrupts.
    ///
    /// # Errors
    ///
    /// [`GpuError::Invalid`] for a configuration out of range, [`GpuError::Thread`].
    pub fn start(config: GpuConfig) -> Result<Self, GpuError> {
        config.check()?;
        let inbox = Arc::new(Inbox::default());
        let pages = config.vram_bytes.div_ceil(config.page_bytes) as u32;
        let device = Arc::new(Device {
            memory: Arc::new(Memory::new(pages, config.page_bytes, Arc::clone(&inbox))),
            inbox,
            interrupts: Arc::default(),
            injections: Arc::default(),
            counters: Counters::default(),
            scheduling: config.scheduling,
            slots: config.kinds().iter().copied().map(SlotMeter::new).collect(),
            answer_timeout: AtomicU64::new(nanoseconds(config.answer_timeout)),
            device_resets: Arc::default(),
            pings: Arc::default(),
            gone: AtomicBool::new(false),
            firmware: OnceLock::new(),
            indices: Mutex::default(),
        });
        let gpu = Self {
            device: Arc::clone(&device),
            threads: Mutex::default(),
        };
        let interrupts = Arc::clone(&device.interrupts);
        gpu.spawn("gpu-interrupts", move || interrupts.run())?;
        let firmware = Firmware::new(Arc::clone(&device), &config);
        let id = gpu.spawn("gpu-firmware", move || firmware.run())?;
        let _ = device.firmware.set(id);
        Ok(gpu)
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<ThreadId, GpuError> {
        let thread = thread::Builder::new().name(name.into()).spawn(run)?;
        let id = thread.thread().id();
        lock(&self.threads).push(thread);
        Ok(id)
    }

    /// Stops the device, whatever it is doing. When it has returned, nothing executes and no
    /// interrupt handler runs (but the caller, if it is one). Interrupts not yet delivered are
    /// dropped; requests for slots are [answered](crate::SlotAnswer) before it returns, unless one of
    /// the device's own threads calls it. May be called more than once; of calls at the same time
    /// only one waits. Sleeps.
    pub fn stop(&self) {
        let _ = self.device.inbox.send(Request::Stop);
        self.device.interrupts.stop();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            if thread.thread().id() != thread::current().id() {
                // A device thread that panicked has printed why; there is nothing left to stop.
                let _ = thread.join();
            }
        }
    }

    /// Pulls the device out, whatever it is doing: nothing that is asked of it is answered any more,
    /// doorbells do nothing, what was not delivered of its interrupts is lost, and its memory can be
    /// neither read nor written. What contexts and buffers take is given back when they are dropped.
    /// If `announced`, the handler of the device is told [`Removed`](Interrupt::Removed), by the bus.
    /// Requests for slots are [answered](crate::SlotAnswer) with [`GpuError::Gone`].
    /// Does not wait: the firmware may still finish what it has in hand, which nobody sees.
    pub fn unplug(&self, announced: bool) {
        self.device.unplug(announced);
    }

    /// Whether the device has been pulled out. What a driver finds out by reading a register.
    pub fn is_gone(&self) -> bool {
        self.device.is_gone()
    }

    /// Creates a context with a ring of `ring_words` words (a power of two from 16 on), which
    /// takes video memory, in whole pages.
    ///
    /// # Errors
    ///
    /// [`GpuError::Invalid`], [`GpuError::OutOfMemory`], [`GpuError::Stopped`], [`GpuError::Gone`].
    pub fn create_context(&self, ring_words: usize) -> Result<Context, GpuError> {
        self.create(ring_words, None)
    }

    fn create(&self, ring_words: usize, kind: Option<SlotKind>) -> Result<Context, GpuError> {
        if !ring_words.is_power_of_two() || ring_words < 16 {
            return Err(GpuError::Invalid(
                "a ring has a power of two of words, at least 16",
            ));
        }
        let device = &self.device;
        let buffer = allocate(&device.memory, ring_words as u64 * WORD_BYTES)?;
        let (index, id) = {
            let mut indices = lock(&device.indices);
            let index = indices.free.pop().unwrap_or_else(|| {
                indices.next += 1;
                indices.next - 1
            });
            indices.last_id += 1;
            (index, ContextId(indices.last_id))
        };
        device.inbox.make_room(index);
        let ring = Ring::new(buffer, ring_words);
        let page_table = PageTable::new(device.memory.page_bytes());
        let shared = Arc::new(Shared::new(id, index, ring, page_table, kind));
        device.send(Request::Attach(Arc::clone(&shared)))?;
        Ok(Context::new(shared, Arc::clone(device)))
    }

    /// Takes `bytes` of video memory, rounded up to whole pages and zeroed.
    ///
    /// # Errors
    ///
    /// [`GpuError::OutOfMemory`] if no free range is large enough, [`GpuError::Invalid`] for none,
    /// [`GpuError::Gone`].
    pub fn alloc(&self, bytes: u64) -> Result<Buffer, GpuError> {
        allocate(&self.device.memory, bytes)
    }

    /// Bytes of video memory in use, by buffers and by rings.
    pub fn memory_in_use(&self) -> u64 {
        self.device.memory.bytes_in_use()
    }

    /// Bytes of video memory there are.
    pub fn memory_size(&self) -> u64 {
        self.device.memory.bytes()
    }

    /// Changes how long the host waits for an answer ([`GpuConfig::answer_timeout`]), from the next
    /// request on. Never sleeps.
    pub fn set_answer_timeout(&self, timeout: Duration) {
        let timeout = nanoseconds(timeout);
        self.device.answer_timeout.store(timeout, Ordering::Relaxed);
    }

    /// Asks the firmware for a sign of life. Sleeps until it answers; does not allocate.
    ///
    /// # Errors
    ///
    /// [`GpuError::NotResponding`], [`GpuError::Stopped`], [`GpuError::Gone`].
    pub fn ping(&self) -> Result<(), GpuError> {
        let device = &self.device;
        device.ask_in(&device.pings, |answer| Request::Ping { answer })
    }

    /// Resets the whole device, dead or alive: every context loses its work, its fault and the
    /// contents of its ring. Memory, mappings and fences stay. A context that lost work stands
    /// still until it is [reset](Context::reset) too: what is pushed later must not overtake. Sleeps until the device answers;
    /// does not allocate.
    ///
    /// # Errors
    ///
    /// [`GpuError::NotResponding`] if it takes longer than the configured time (it happens
    /// nevertheless), [`GpuError::ResetFailed`] (nothing runs until one succeeds),
    /// [`GpuError::Stopped`], [`GpuError::Gone`].
    pub fn reset(&self) -> Result<DeviceResetReport, GpuError> {
        let device = &self.device;
        device
            .ask_in(&device.device_resets, |answer| Request::ResetDevice {
                answer,
            })?
            .ok_or(GpuError::ResetFailed)
    }

    /// Installs the handler of interrupts that concern no single context.
    ///
    /// # Errors
    ///
    /// [`GpuError::HandlerInstalled`].
    pub fn on_interrupt(
        &self,
        handler: impl Fn(&Interrupt) + Send + Sync + 'static,
    ) -> Result<HandlerGuard, GpuError> {
        let place = &self.device.interrupts.device;
        place
            .install(Box::new(handler))
            .ok_or(GpuError::HandlerInstalled)
    }

    /// Arms a fault in whichever context comes first. `Nth` counts the jobs of all contexts.
    ///
    /// # Errors
    ///
    /// [`GpuError::Invalid`] for a time that the injection cannot happen at, see [`When`];
    /// [`GpuError::Stopped`], [`GpuError::Gone`].
    pub fn inject(&self, injection: Injection, when: When) -> Result<Armed, GpuError> {
        if let (Injection::FirmwareDeath { silent }, When::Now) = (injection, when) {
            self.device.send(Request::Die { silent })?;
            return Ok(self.device.injections.fire_now(injection));
        }
        if let (Injection::Unplug { announced }, When::Now) = (injection, when) {
            self.device.unplug(announced);
            return Ok(self.device.injections.fire_now(injection));
        }
        let armed = self.device.injections.arm(injection, when);
        armed.ok_or(GpuError::Invalid(
            "this injection cannot happen at that time",
        ))
    }

    /// How many injections of this kind, armed on the device, have happened.
    pub fn injected(&self, kind: InjectionKind) -> u64 {
        self.device.injections.fired(kind)
    }

    /// What the device has done.
    pub fn stats(&self) -> GpuStats {
        let counters = &self.device.counters;
        GpuStats {
            jobs: counters.jobs.get(),
            faults: counters.faults.get(),
            slot_switches: counters.slot_switches.get(),
            context_resets: counters.context_resets.get(),
            device_resets: counters.device_resets.get(),
            failed_resets: counters.failed_resets.get(),
            interrupts: self.device.interrupts.delivered.load(Ordering::Relaxed),
            handler_panics: self.device.interrupts.panics.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        self.stop();
    }
}
