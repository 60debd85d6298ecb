// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A driver that does as the job says, and a queue with all around it made beforehand.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use ringfence::{
    Builder, Completion, Device, Driver, Errno, Fence, Gate, GateControl, GateReport, Pool, Queue,
    Replay, ReplayOutcome, RunOutcome, Submission, TimedOutJob, TimeoutOutcome,
};

use crate::counting::spin_until;

/// What the driver does with a job.
pub(crate) enum Does {
    Done,
    Waits,
    Follows(Fence),
    NoRoom(Fence),
    Allocates,
    /// Runs when as many run as the pool has threads.
    Meets(Arc<AtomicUsize>),
}

/// Opens while the queue wants it, and shuts the gate after.
#[derive(Default)]
pub(crate) struct Turnstile(OnceLock<GateControl>);

impl Gate for Turnstile {
    fn attached(&self, control: GateControl) {
        let _ = self.0.set(control);
    }

    fn report(&self, report: GateReport) {
        let control = self.0.get().expect("attached");
        match report.wants {
            true => control.open(),
            false => control.shut(),
        };
    }

    fn detached(&self) {}
}

/// Where the completions wait for the hardware: memory taken beforehand.
pub(crate) type Hardware = Arc<Mutex<Vec<Completion<Plain>>>>;

pub(crate) struct Plain {
    hardware: Hardware,
}

pub(crate) struct Work {
    does: Does,
    left: Arc<AtomicU64>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.left.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Driver for Plain {
    type Payload = Work;
    type ReplayData = ();

    const NAMES_FENCES: bool = true;

    fn run(&mut self, mut submission: Submission<'_, Self>) -> RunOutcome {
        match std::mem::replace(&mut submission.payload().does, Does::Done) {
            Does::Done => submission.done(),
            Does::Waits => {
                let (completion, outcome) = submission.pending();
                self.hardware.lock().unwrap().push(completion);
                outcome
            }
            Does::Follows(fence) => submission.follow(fence),
            Does::NoRoom(fence) => submission.no_resources(fence),
            Does::Meets(met) => {
                met.fetch_add(1, Ordering::SeqCst);
                spin_until(|| met.load(Ordering::SeqCst) == THREADS);
                submission.done()
            }
            Does::Allocates => {
                drop(std::hint::black_box(Box::new(1)));
                submission.done()
            }
        }
    }

    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        let job = match job.reset() {
            Ok(outcome) => return outcome,
            // The device has no recovery.
            Err(job) => job,
        };
        match job.extend(Duration::from_nanos(1)) {
            Ok(outcome) => outcome,
            Err(job) => job.handled(Errno::ETIME),
        }
    }

    fn replay(&mut self, replay: Replay<'_, Self>) -> ReplayOutcome {
        let (completion, outcome) = replay.pending();
        self.hardware.lock().unwrap().push(completion);
        outcome
    }
}

/// A queue with all around it made beforehand.
pub(crate) struct Bench {
    pub(crate) device: Device,
    pool: Pool,
    pub(crate) hardware: Hardware,
    left: Arc<AtomicU64>,
    pub(crate) made: AtomicU64,
}

pub(crate) const JOBS: u64 = 50;

/// Of the pool.
const THREADS: usize = 2;

impl Bench {
    pub(crate) fn new() -> Self {
        Self::on(Device::new("bench"))
    }

    pub(crate) fn on(device: Device) -> Self {
        Self {
            device,
            pool: Pool::new(THREADS).unwrap(),
            // Each hang of many has all others replayed.
            hardware: Arc::new(Mutex::new(Vec::with_capacity(4000))),
            left: Arc::new(AtomicU64::new(0)),
            made: AtomicU64::new(0),
        }
    }

    pub(crate) fn queue(&self, builder: Builder) -> Queue<Plain> {
        let driver = Plain {
            hardware: Arc::clone(&self.hardware),
        };
        builder.build(&self.device, &self.pool, driver).unwrap()
    }

    pub(crate) fn work(&self, does: Does) -> Work {
        self.left.fetch_add(1, Ordering::SeqCst);
        self.made.fetch_add(1, Ordering::SeqCst);
        Work {
            does,
            left: Arc::clone(&self.left),
        }
    }

    /// Completes what is on the hardware, from this thread.
    pub(crate) fn complete(&self, in_irq: bool) {
        loop {
            let next = self.hardware.lock().unwrap().pop();
            match next {
                Some(completion) if in_irq => completion.complete_in_irq(Ok(())),
                Some(completion) => completion.complete(Ok(())),
                None => return,
            }
        }
    }

    pub(crate) fn all_gone(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }

    /// Lets the pool's threads do once what they have never done before: threads take memory
    /// when they start, and some of the system's locks when they first wait. Each of them sits in
    /// a callback until all do, so none has still to start afterwards.
    pub(crate) fn warm_up(&self) {
        let queues = [(); THREADS].map(|()| self.queue(builder("warm-up")));
        for _ in 0..2 {
            let met = Arc::new(AtomicUsize::new(0));
            let fences: Vec<_> = queues
                .iter()
                .map(|queue| {
                    let work = self.work(Does::Meets(Arc::clone(&met)));
                    queue.prepare(work, 1).unwrap().submit()
                })
                .collect();
            spin_until(|| fences.iter().all(Fence::is_signaled) && self.all_gone());
        }
    }
}

pub(crate) fn builder(name: &str) -> Builder {
    Queue::<Plain>::builder(name).capacity(64).credits(64)
}
