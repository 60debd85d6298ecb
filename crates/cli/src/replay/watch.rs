// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the queues said about each job.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicU8, Ordering};
use std::sync::Arc;

use ringfence::{Event, EventKind, Observer, Outcome};

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It has not.
    Not,
    Completed,
    Failed,
    Cancelled,
    TimedOut,
}

/// What was seen of one job. Written by one thread at a time, read when all is over.
#[derive(Debug, Default)]
struct Seen {
    queued: AtomicU64,
    run: AtomicU64,
    done: AtomicU64,
    runs: AtomicU32,
    dones: AtomicU32,
    ended: AtomicU8,
}

/// What was seen of one job: times in nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) queued: Option<u64>,
    pub(super) run: Option<u64>,
    pub(super) done: Option<u64>,
    /// How often it was put on the hardware.
    pub(super) runs: u32,
    /// How often it was done.
    pub(super) dones: u32,
    pub(super) ended: Ended,
}

/// Takes down what happens to every job, without locks or allocations.
#[derive(Debug)]
pub(super) struct Watch {
    jobs: Vec<Seen>,
    /// Events of jobs that nobody submitted.
    strangers: AtomicU64,
}

impl Watch {
    /// Makes room for `jobs` jobs.
    pub(super) fn new(jobs: usize) -> Arc<Self> {
        Arc::new(Self {
            jobs: (0..jobs).map(|_| Seen::default()).collect(),
            strangers: AtomicU64::new(0),
        })
    }

    /// The observer of a queue whose jobs, in the order of submission, are `jobs`.
    pub(super) fn of_queue(self: &Arc<Self>, jobs: Vec<u32>) -> Arc<dyn Observer> {
        Arc::new(QueueWatch {
            watch: Arc::clone(self),
            jobs,
        })
    }

    /// The lives of all jobs.
    pub(super) fn lives(&self) -> Vec<Life> {
        self.jobs.iter().map(Seen::life).collect()
    }

    /// How many events belonged to no job.
    pub(super) fn strangers(&self) -> u64 {
        self.strangers.load(Ordering::Relaxed)
    }
}

impl Seen {
    fn note(&self, event: &Event) {
        let time = event.time.as_ns();
        match event.kind {
            EventKind::Queued { .. } => self.queued.store(time, Ordering::Relaxed),
            EventKind::Run { .. } => {
                self.run.store(time, Ordering::Relaxed);
                self.runs.fetch_add(1, Ordering::Relaxed);
            }
            EventKind::Unschedulable { .. } => {
                self.run.store(0, Ordering::Relaxed);
                self.runs.fetch_sub(1, Ordering::Relaxed);
            }
            EventKind::Done { outcome } => {
                self.done.store(time, Ordering::Relaxed);
                self.dones.fetch_add(1, Ordering::Relaxed);
                let ended = match outcome {
                    Outcome::Completed => 1,
                    Outcome::Failed(_) => 2,
                    Outcome::Cancelled(_) => 3,
                    Outcome::TimedOut(_) => 4,
                };
                self.ended.store(ended, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    fn life(&self) -> Life {
        let time = |time: &AtomicU64| Some(time.load(Ordering::Relaxed)).filter(|&time| time != 0);
        Life {
            queued: time(&self.queued),
            run: time(&self.run),
            done: time(&self.done),
            runs: self.runs.load(Ordering::Relaxed),
            dones: self.dones.load(Ordering::Relaxed),
            ended: match self.ended.load(Ordering::Relaxed) {
                1 => Ended::Completed,
                2 => Ended::Failed,
                3 => Ended::Cancelled,
                4 => Ended::TimedOut,
                _ => Ended::Not,
            },
        }
    }
}

/// One queue's observer.
struct QueueWatch {
    watch: Arc<Watch>,
    jobs: Vec<u32>,
}

impl Observer for QueueWatch {
    fn observe(&self, event: &Event) {
        // The first sequence number of a queue is 1.
        let place = usize::try_from(event.seqno.wrapping_sub(1)).ok();
        let number = place.and_then(|place| self.jobs.get(place));
        match number.and_then(|&number| self.watch.jobs.get(number as usize)) {
            Some(seen) => seen.note(event),
            None => _ = self.watch.strangers.fetch_add(1, Ordering::Relaxed),
        }
    }
}
