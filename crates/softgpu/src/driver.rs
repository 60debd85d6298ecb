// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A driver for this device, written on Ringfence's public API only: the example to copy.
//!
//! ```text
//!   queue ── run ──► SoftDriver ── words ──► ring ── doorbell ──► firmware
//!     │                 │  leaves the words with the job, and a token by its fence value
//!     │                 ▼
//!     │              tokens ◄── fence value ── interrupt: complete what was reached
//!     │
//!     ├─ timed_out ──► done? waits for a slot? makes progress? else: reset
//!     └─ recovery ───► find out, reset, end the guilty job, replay ──► words ──► ring
//! ```
//!
//! * A job's fence value is its sequence number: nothing has to be looked up.
//! * The context's fence value, in memory, says what is done; interrupts only say that it is time
//!   to look. So lost, late, spurious and double interrupts do no harm.
//! * The queue is the one list of jobs. What a job needs to be written again is its replay data.
//! * Callbacks neither allocate nor sleep. Resets are for the recovery, on its own thread
//!   (`driver/recovery.rs`), whether a timeout or an interrupt asks for one.
//! * A reset empties the ring. Jobs that are not to blame are replayed, in order, with the fences
//!   they have. So what a job writes must not depend on what it wrote before.
//! * Whatever is needed to move to another device is there from the beginning, because fences wait
//!   for the move: [`SoftContext`], [`SoftBuffer`].
//! * Where the [host schedules](crate::Scheduling::Host), somebody else [binds](SoftContext::bind)
//!   the contexts; the driver does not care. A job whose context is on no slot is not said to hang.
//!
//! ```
//! use ringfence::{Pool, Queue};
//! use ringfence_softgpu::driver::{Batch, SoftConfig, SoftDevice, SoftDriver};
//! use ringfence_softgpu::{Command, Gpu, GpuConfig, Permissions};
//!
//! let soft = SoftDevice::start(SoftConfig::new(Gpu::start(GpuConfig::default())?))?;
//! let pool = Pool::new(1)?;
//!
//! let context = soft.create_context(1024)?;
//! let driver = soft.driver(&context, 16)?;
//! let queue = soft.build(Queue::<SoftDriver>::builder("copy").capacity(16), &pool, driver)?;
//!
//! let buffer = soft.alloc(4096)?;
//! let dst = context.map(&buffer, Permissions::READ_WRITE)?;
//! let batch = Batch::new(&[Command::Fill { dst, words: 1024, value: 7 }]);
//! let done = queue.prepare(batch, 1)?.submit();
//! done.wait()?;
//! let mut words = [0; 1024];
//! buffer.read(0, &mut words)?;
//! assert_eq!(words, [7; 1024]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod device;
mod recovery;
mod ring;
mod space;
mod station;

pub use batch::{Batch, Kept};
pub use device::{Reset, SoftConfig, SoftDevice};
pub use space::{SoftBuffer, SoftContext};
pub use station::Recoveries;

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use ringfence::{
    Driver, Errno, Replay, ReplayOutcome, Rest, RunOutcome, Submission, TimedOutJob, TimeoutOutcome,
};

use crate::{ContextState, HandlerGuard};
use ring::ContextRing;

/// How much longer a job may take that makes progress, if nothing was said.
const PATIENCE: Duration = Duration::from_millis(100);

/// The driver's side of one context: give it to [`SoftDevice::build`].
///
/// The queue drops it when it is closed and empty, or unbound, which takes the interrupt handlers
/// off. What is then still on the hardware must be stopped by whoever holds the [`SoftContext`]:
/// [`SoftContext::clear`], or stop the [`Gpu`](crate::Gpu) before the unbind, as
/// [`SoftDevice::stop`] does.
pub struct SoftDriver {
    ring: Arc<ContextRing>,
    patience: Duration,
    /// What becomes of innocent jobs when the context is reset because of a guilty one.
    rest: Rest,
    looked: Looked,
    /// Dropped with the driver: no interrupt finds it after.
    _handlers: Vec<HandlerGuard>,
}

/// What was seen when somebody asked about a job.
#[derive(Clone, Copy, Default)]
struct Looked {
    job: u64,
    /// How far the context was the last time.
    progress: u64,
    /// How long it had been busy the first time.
    busy: Duration,
}

impl SoftDriver {
    fn new(ring: Arc<ContextRing>, handlers: Vec<HandlerGuard>) -> Self {
        Self {
            ring,
            patience: PATIENCE,
            rest: Rest::Replay,
            looked: Looked::default(),
            _handlers: handlers,
        }
    }

    /// What becomes of innocent jobs on the hardware when their context is reset because of a guilty
    /// one: they are replayed if not said. Those of other contexts are, in any case.
    pub fn rest(mut self, rest: Rest) -> Self {
        self.rest = rest;
        self
    }
}

impl Driver for SoftDriver {
    type Payload = Batch;
    type ReplayData = Kept;

    fn run(&mut self, mut submission: Submission<'_, Self>) -> RunOutcome {
        let value = submission.seqno();
        let batch = submission.payload();
        batch.stamp(value);
        let words = batch.words();
        let ring = &self.ring;
        let context = ring.context.now();
        // The queue calls nobody else meanwhile, so what is free stays free.
        if context.ring().free_words() < words.len() || !ring.has_room() {
            return submission.failed(Errno::ENOSPC);
        }
        let kept = Kept {
            words: Arc::clone(&words),
            deaths: 0,
        };
        let (completion, outcome) = submission.pending_with(kept);
        // First the token, then the words: the interrupt may come before this returns.
        ring.add(completion);
        // There is room, as was just seen.
        let _ = context.ring().push_words(&words);
        context.doorbell();
        if context.state() == ContextState::Gone {
            ring.call_recovery();
        }
        outcome
    }

    fn replay(&mut self, mut replay: Replay<'_, Self>) -> ReplayOutcome {
        let context = self.ring.context.now();
        if replay.seqno() <= context.fence_value() {
            return replay.done();
        }
        let words = Arc::clone(&replay.data().words);
        if context.ring().free_words() < words.len() {
            return replay.failed(Errno::ENOSPC);
        }
        // It has its whole time once more.
        self.looked = Looked::default();
        let (completion, outcome) = replay.pending();
        self.ring.add(completion);
        // The doorbell rings when all are there.
        let _ = context.ring().push_words(&words);
        outcome
    }

    fn timed_out(&mut self, mut job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        let value = job.seqno();
        // Perhaps it is done and the interrupt was lost.
        self.ring.complete_reached();
        if !self.ring.contains(value) {
            return job.no_hang();
        }
        let context = self.ring.context.now();
        // The slots are for all in turn: that others have them is not its fault.
        if context.waits_for_slot() {
            return job.no_hang();
        }
        let (progress, busy) = (context.progress(), context.busy());
        if self.looked.job != value {
            self.looked = Looked {
                job: value,
                progress,
                busy,
            };
        } else if self.looked.progress != progress && context.fault().is_none() {
            // It made progress in a whole span of time.
            self.looked.progress = progress;
            job = match job.extend(self.patience) {
                Ok(extended) => return extended,
                Err(job) => job,
            };
            // Its time is that on the hardware: on a loaded machine less goes by there.
            if busy.saturating_sub(self.looked.busy) < self.patience {
                return job.no_hang();
            }
            self.ring.exhausted.store(true, Ordering::Release);
        }
        // Whether it hangs is for the recovery to find out, which may wait for the device.
        match job.reset() {
            Ok(outcome) => outcome,
            // The device is being unbound, or its recovery has died: nobody can help.
            Err(job) => job.device_gone(),
        }
    }
}
