// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A driver for this device, written on Ringfence's public API only: the example to copy.
//!
//! ```text
//!   queue ── run ──► SoftDriver ── words ──► ring ── doorbell ──► firmware
//!     │                 │  remembers the words and the Completion by fence value
//!     │                 ▼
//!     │             jobs in the ring ◄── fence value ── interrupt: complete what was reached
//!     │                 ▲
//!     └─ timed_out ─────┴── fault, reset: throw out the guilty job, write the others again
//! ```
//!
//! * A job's fence value is its sequence number: nothing has to be looked up.
//! * The context's fence value, in memory, says what is done; interrupts only say that it is time
//!   to look. So lost, late, spurious and double interrupts do no harm.
//! * Callbacks neither allocate nor sleep, but for a reset, which takes bounded time: a job's
//!   words are encoded when it is made, and the list of jobs in the ring has room for all.
//! * A reset empties the ring. Jobs that are not to blame are written again, in order, with the
//!   completions they have: their queue does not notice. So what a job writes must not depend on
//!   what it wrote before.
//! * Jobs are completed with no lock held, since that runs other people's callbacks.
//!
//! ```
//! use std::sync::Arc;
//! use ringfence::{Device, Pool, Queue};
//! use ringfence_softgpu::driver::{Batch, SoftDevice, SoftDriver};
//! use ringfence_softgpu::{Command, Gpu, GpuConfig, Permissions};
//!
//! let gpu = Arc::new(Gpu::start(GpuConfig::default())?);
//! let soft = SoftDevice::new(Arc::clone(&gpu))?;
//! let (scope, pool) = (Device::new("soft"), Pool::new(1)?);
//!
//! let context = Arc::new(gpu.create_context(1024)?);
//! let driver = soft.driver(Arc::clone(&context), 16)?;
//! let queue = Queue::<SoftDriver>::builder("copy").capacity(16).build(&scope, &pool, driver)?;
//!
//! let buffer = gpu.alloc(4096)?;
//! let dst = context.map(&buffer, Permissions::READ_WRITE)?;
//! let batch = Batch::new(&[Command::Fill { dst, words: 1024, value: 7 }]);
//! let done = queue.prepare(batch, 1)?.submit();
//! done.wait()?;
//! assert_eq!(buffer.to_vec(), vec![7; 1024]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod device;
mod jobs;

pub use batch::Batch;
pub use device::SoftDevice;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringfence::{Driver, Errno, RunOutcome, Submission, TimedOutJob, TimeoutOutcome};

use crate::sync::lock;
use crate::{Context, ContextState, Fault, Gpu, GpuError, HandlerGuard, Interrupt, ResetReport};
use jobs::{InRing, Jobs};

/// How often a job is written again when it was at the head at a reset that nobody is known to
/// be to blame for. Then it is.
const REPLAYS: u8 = 3;

/// How often the device is tried to be brought back before it is given up.
const RESETS: u32 = 8;

/// How often a job has its whole time once more because its context has no slot.
const SLOTLESS: u8 = 8;

/// How much longer a job may take that makes progress, if nothing was said.
const PATIENCE: Duration = Duration::from_millis(100);

/// The driver's side of one context: give it to [`ringfence::Builder::build`].
///
/// The queue drops it when it is closed and empty, or unbound, which takes the interrupt handler
/// off. What is then still on the hardware must be stopped by whoever holds the [`Context`]:
/// stop the [`Gpu`] before the unbind, as [`SoftDevice::stop`] does.
pub struct SoftDriver {
    ring: Arc<ContextRing>,
    patience: Duration,
    /// Which job was asked about last, how far the context was then, and how often it was found
    /// without a slot.
    looked: (u64, u64),
    slotless: u8,
    /// Dropped with the driver: no interrupt finds it after.
    _handler: HandlerGuard,
}

/// What callbacks, interrupts and recovery share.
pub(crate) struct ContextRing {
    gpu: Arc<Gpu>,
    context: Arc<Context>,
    /// Held while words are written and while the context is reset. Never by interrupts.
    writer: Mutex<()>,
    /// Held for moments only.
    jobs: Mutex<Jobs>,
    /// A reset of the whole device took what was in the ring.
    lost: AtomicBool,
}

/// The device does not come back.
#[derive(Debug)]
pub(crate) struct Gone;

impl Driver for SoftDriver {
    type Payload = Batch;
    type ReplayData = ();

    fn run(&mut self, mut submission: Submission<'_, Self>) -> RunOutcome {
        let value = submission.seqno();
        let batch = submission.payload();
        batch.stamp(value);
        let words = batch.words();
        let ring = &self.ring;
        let writer = lock(&ring.writer);
        // Only the holder of the writer's lock takes room, so what is free stays free.
        if ring.context.ring().free_words() < words.len() || lock(&ring.jobs).is_full() {
            return submission.failed(Errno::ENOSPC);
        }
        let (completion, outcome) = submission.pending();
        // First the note, then the words: the interrupt may come before this returns.
        lock(&ring.jobs).add(InRing::new(value, Arc::clone(&words), completion));
        // There is room, as was just seen.
        let _ = ring.context.ring().push_words(&words);
        drop(writer);
        ring.context.doorbell();
        outcome
    }

    fn timed_out(&mut self, mut job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        let value = job.seqno();
        // Perhaps it is done and the interrupt was lost.
        self.ring.complete_reached();
        if !lock(&self.ring.jobs).contains(value) {
            return job.no_hang();
        }
        if self.ring.context.fault().is_none() {
            if self.waits_for_a_slot(value) {
                return job.no_hang();
            }
            let progress = self.ring.context.progress();
            if std::mem::replace(&mut self.looked, (value, progress)) != (value, progress) {
                job = match job.extend(self.patience) {
                    Ok(extended) => return extended,
                    Err(job) => job,
                };
            }
        }
        let guilty = match self.ring.recover(Some(value)) {
            Ok(guilty) => guilty,
            Err(Gone) => return job.device_gone(),
        };
        self.ring.complete_reached();
        match guilty {
            Some((guilty, Errno::ETIME)) if guilty.value() == value => {
                // The answer below ends the job. Its token, which is of no use any more, goes
                // where it is dropped after that.
                job.payload().keep(guilty);
                job.handled(Errno::ETIME)
            }
            // Done in the last moment, or failed by another route: not a hang in any case.
            guilty => {
                if let Some((guilty, error)) = guilty {
                    guilty.complete(Err(error));
                }
                job.no_hang()
            }
        }
    }
}

impl SoftDriver {
    /// Whether the job cannot be blamed because others have the slots. Not for ever: a context
    /// that waits for a semaphore in vain looks the same.
    fn waits_for_a_slot(&mut self, value: u64) -> bool {
        if self.looked.0 != value {
            self.slotless = 0;
        }
        let waits = self.ring.context.state() == ContextState::Waiting;
        self.slotless = self.slotless.saturating_add(1);
        if waits {
            self.looked = (value, self.ring.context.progress());
        }
        waits && self.slotless <= SLOTLESS
    }
}

impl ContextRing {
    /// Completes, in order, the jobs whose fence value the context has reached.
    fn complete_reached(&self) {
        loop {
            let reached = self.context.fence_value();
            // The lock ends with the statement: completing runs other people's code.
            let Some(job) = lock(&self.jobs).take_reached(reached) else {
                return;
            };
            job.complete_in_irq(Ok(()));
        }
    }

    /// The interrupt handler: looks, and leaves what takes longer to `recovery`.
    fn interrupt(&self, interrupt: &Interrupt, call_recovery: impl FnOnce()) {
        self.complete_reached();
        match interrupt {
            Interrupt::Fault { .. } => call_recovery(),
            Interrupt::ContextLost { .. } => {
                self.lost.store(true, Ordering::Release);
                call_recovery();
            }
            // The first says no more than the fence in memory; death is the device's affair.
            _ => {}
        }
    }

    /// On the recovery thread: has the context work again if it needs that.
    fn attend(&self) {
        if self.context.fault().is_none() && !self.lost.load(Ordering::Acquire) {
            return;
        }
        // If the device is gone, its queues' timeouts or the unbind will say so.
        if let Ok(Some((guilty, error))) = self.recover(None) {
            self.complete_reached();
            guilty.complete(Err(error));
        }
    }

    /// Resets the context, or the device if that does not help, and writes again what was lost
    /// with that, but for the job to blame: that one is taken out and returned with its error.
    /// `hung` is the job to blame if there is no fault. Does not allocate; sleeps for as long as
    /// the device's answer may take.
    fn recover(&self, hung: Option<u64>) -> Result<Option<(InRing, Errno)>, Gone> {
        let _writer = lock(&self.writer);
        // It may stand still for that though the interrupt has not come yet.
        let stands =
            self.context.state() == ContextState::Faulted && self.context.fault().is_none();
        let lost = self.lost.swap(false, Ordering::AcqRel) || stands;
        let (report, whole) = self.reset()?;
        let reached = report.fence_value;
        let mut jobs = lock(&self.jobs);
        let guilty = match (report.fault, hung) {
            (Some(fault), _) => jobs.take_head(reached).map(|job| (job, errno(fault))),
            (None, Some(value)) if value > reached && !lost && !whole => {
                jobs.take(value).map(|job| (job, Errno::ETIME))
            }
            _ => jobs
                .blame_head(reached, REPLAYS)
                .map(|job| (job, Errno::EIO)),
        };
        for job in jobs.after(reached) {
            // They had room before, all together.
            let _ = self.context.ring().push_words(job.words());
        }
        drop(jobs);
        self.context.doorbell();
        Ok(guilty)
    }

    /// Resets the context, and says whether the whole device had to be reset for that.
    fn reset(&self) -> Result<(ResetReport, bool), Gone> {
        let resets = || self.gpu.stats().device_resets;
        let before = resets();
        for _ in 0..RESETS {
            match self.context.reset() {
                Ok(report) => return Ok((report, resets() != before)),
                Err(GpuError::Stopped) => return Err(Gone),
                // The firmware is dead or too slow: the big switch is left. Other contexts may
                // press it too, and thereby undo what was asked for here.
                Err(_) => _ = self.gpu.reset(),
            }
        }
        Err(Gone)
    }
}

/// What a job's fence says about a fault: an address, or a stream that could not be read.
fn errno(fault: Fault) -> Errno {
    if fault.kind.is_stream() {
        Errno::EBADMSG
    } else {
        Errno::EFAULT
    }
}
