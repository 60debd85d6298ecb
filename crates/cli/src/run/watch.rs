// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is seen of each job from outside the queue: by fence callbacks, by the queue's events, and
//! by the device's.
//!
//! The checks rest on this, not on what the queue counts about itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use ringfence::{Event, EventKind, Observer, Outcome};
use ringfence_trace::Recorder;

use super::hosted::gang::Residence;
use super::tracing;
use crate::args::Sabotage;

/// How a job ended, as a number that fits an atomic: 0 for not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Completed,
    Failed,
    Cancelled,
    TimedOut,
}

impl Ending {
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::Failed(_) => Self::Failed,
            Outcome::Cancelled(_) => Self::Cancelled,
            Outcome::TimedOut(_) => Self::TimedOut,
        }
    }

    fn number(self) -> u64 {
        self as u64 + 1
    }

    fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Completed,
            2 => Self::Failed,
            3 => Self::Cancelled,
            4 => Self::TimedOut,
            _ => return None,
        })
    }
}

/// What was seen of one job. Times in nanoseconds, 0 for not seen.
#[derive(Default)]
struct Sight {
    seqno: AtomicU64,
    queued: AtomicU64,
    run: AtomicU64,
    done: AtomicU64,
    /// When the device began with it, for the first time.
    begun: AtomicU64,
    /// When the device wrote its fence.
    ended: AtomicU64,
    ending: AtomicU64,
    /// `Done` events, and calls of the fence's callback.
    dones: AtomicU64,
    signals: AtomicU64,
    bypass: AtomicBool,
}

/// What was seen of one job, to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) queued: u64,
    pub(super) run: u64,
    pub(super) done: u64,
    pub(super) begun: u64,
    pub(super) ended: u64,
    pub(super) ending: Option<Ending>,
    pub(super) dones: u64,
    pub(super) signals: u64,
    pub(super) bypass: bool,
}

/// Watches one queue.
///
/// # Invariants
///
/// A job's sight stays until the client has looked at it: there are as many as a client can have
/// in flight, and it looks in the order of submission.
pub(super) struct QueueWatch {
    sights: Box<[Sight]>,
    last_signal: AtomicU64,
    pub(super) signalled: AtomicU64,
    pub(super) out_of_order: AtomicU64,
    /// Events about jobs that are over or were never submitted.
    pub(super) stray: AtomicU64,
    /// Jobs queued, run and done so far, for the trace.
    counts: [AtomicU64; 3],
    /// How often it has run out of work.
    idles: AtomicU64,
    /// Where its context is, where the host gives out the slots.
    pub(super) residence: Option<Residence>,
    context: OnceLock<u64>,
    client: OnceLock<Thread>,
    recorder: Option<Arc<Recorder>>,
    sabotage: Option<Sabotage>,
}

impl QueueWatch {
    /// For a queue of which at most `in_flight` jobs are submitted and not looked at.
    pub(super) fn new(
        in_flight: usize,
        residence: Option<Residence>,
        recorder: Option<Arc<Recorder>>,
        sabotage: Option<Sabotage>,
    ) -> Self {
        let sights = in_flight.max(1).next_power_of_two();
        Self {
            sights: (0..sights).map(|_| Sight::default()).collect(),
            last_signal: AtomicU64::new(0),
            signalled: AtomicU64::new(0),
            out_of_order: AtomicU64::new(0),
            stray: AtomicU64::new(0),
            counts: Default::default(),
            idles: AtomicU64::new(0),
            residence,
            context: OnceLock::new(),
            client: OnceLock::new(),
            recorder,
            sabotage,
        }
    }

    /// Says which fence context the queue has.
    pub(super) fn set_context(&self, context: u64) {
        let _ = self.context.set(context);
    }

    /// The queue's fence context.
    pub(super) fn context(&self) -> Option<u64> {
        self.context.get().copied()
    }

    /// Whether it has jobs that are not over, and how often it has run out of them.
    pub(super) fn work(&self) -> (bool, u64) {
        let [queued, _, done] = &self.counts;
        let done = done.load(Ordering::Acquire);
        let has_work = queued.load(Ordering::Acquire) > done;
        (has_work, self.idles.load(Ordering::Acquire))
    }

    /// Says which thread to wake when a job is over.
    pub(super) fn set_client(&self, thread: Thread) {
        let _ = self.client.set(thread);
    }

    fn sight(&self, seqno: u64) -> Option<&Sight> {
        // A power of two, so the remainder of a wrapping counter stays right.
        let place = usize::try_from(seqno & (self.sights.len() as u64 - 1)).ok()?;
        let sight = self.sights.get(place)?;
        (sight.seqno.load(Ordering::Acquire) == seqno).then_some(sight)
    }

    /// A job with this number is about to be submitted.
    pub(super) fn expect(&self, seqno: u64) {
        let place = usize::try_from(seqno & (self.sights.len() as u64 - 1)).unwrap_or(0);
        let sight = &self.sights[place];
        for field in [
            &sight.queued,
            &sight.run,
            &sight.done,
            &sight.begun,
            &sight.ended,
            &sight.ending,
            &sight.dones,
            &sight.signals,
        ] {
            field.store(0, Ordering::Relaxed);
        }
        sight.bypass.store(false, Ordering::Relaxed);
        sight.seqno.store(seqno, Ordering::Release);
    }

    /// What was seen of a job.
    pub(super) fn seen(&self, seqno: u64) -> Option<Seen> {
        let sight = self.sight(seqno)?;
        Some(Seen {
            queued: sight.queued.load(Ordering::Acquire),
            run: sight.run.load(Ordering::Acquire),
            done: sight.done.load(Ordering::Acquire),
            begun: sight.begun.load(Ordering::Acquire),
            ended: sight.ended.load(Ordering::Acquire),
            ending: Ending::from_number(sight.ending.load(Ordering::Acquire)),
            dones: sight.dones.load(Ordering::Acquire),
            signals: sight.signals.load(Ordering::Acquire),
            bypass: sight.bypass.load(Ordering::Acquire),
        })
    }

    /// The fence callback: the fence of this job has signalled.
    pub(super) fn signal(&self, seqno: u64) {
        match self.sabotage {
            Some(Sabotage::SignalTwice) if seqno % 64 == 1 => self.count_signal(seqno),
            // Two neighbours change places.
            Some(Sabotage::OutOfOrder) if seqno % 64 == 1 => {
                self.last_signal.store(seqno, Ordering::Relaxed);
            }
            _ => {}
        }
        self.count_signal(seqno);
        if let Some(client) = self.client.get() {
            client.unpark();
        }
    }

    fn count_signal(&self, seqno: u64) {
        self.signalled.fetch_add(1, Ordering::Relaxed);
        if self.last_signal.swap(seqno, Ordering::Relaxed) + 1 != seqno {
            self.out_of_order.fetch_add(1, Ordering::Relaxed);
        }
        match self.sight(seqno) {
            Some(sight) => _ = sight.signals.fetch_add(1, Ordering::AcqRel),
            None => _ = self.stray.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The device began with a job; again, after a reset, if it had to be written again.
    pub(super) fn begun(&self, seqno: u64, at: u64) {
        if let Some(sight) = self.sight(seqno) {
            let _ = sight
                .begun
                .compare_exchange(0, at, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// The device wrote a job's fence; once more, if it was written again.
    pub(super) fn ended(&self, seqno: u64, at: u64) {
        if let Some(sight) = self.sight(seqno) {
            let _ = sight
                .ended
                .compare_exchange(0, at, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    fn record(&self, event: &Event) {
        let [queued, run, done] = &self.counts;
        let counter = match event.kind {
            EventKind::Queued { .. } => Some(queued),
            EventKind::Run { .. } => Some(run),
            EventKind::Done { .. } => Some(done),
            _ => None,
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::AcqRel);
        }
        match (event.kind, &self.residence) {
            (EventKind::Run { .. }, Some(residence)) => residence.runs(),
            (EventKind::Done { .. }, _) => {
                let idle = done.load(Ordering::Acquire) >= queued.load(Ordering::Acquire);
                self.idles.fetch_add(u64::from(idle), Ordering::AcqRel);
            }
            _ => {}
        }
        if let Some(recorder) = &self.recorder {
            let [queued, run, done] = [queued, run, done].map(|c| c.load(Ordering::Relaxed));
            let counts = tracing::Counts {
                waiting: queued.saturating_sub(run),
                on_hardware: run.saturating_sub(done),
            };
            tracing::record(recorder, event, counts);
        }
    }
}

impl Observer for QueueWatch {
    fn observe(&self, event: &Event) {
        self.record(event);
        let Some(sight) = self.sight(event.seqno) else {
            // A job may end, and be looked at, while somebody is about to tell that its time was up
            // or that it is put on the hardware again.
            let late = matches!(event.kind, EventKind::TimedOut | EventKind::Replay { .. });
            self.stray.fetch_add(u64::from(!late), Ordering::Relaxed);
            return;
        };
        let at = event.time.as_ns();
        match event.kind {
            EventKind::Queued { .. } => sight.queued.store(at, Ordering::Release),
            EventKind::Run { bypass } => {
                sight.bypass.store(bypass, Ordering::Relaxed);
                sight.run.store(at, Ordering::Release);
            }
            EventKind::Done { outcome } => {
                sight.done.store(at, Ordering::Relaxed);
                let ending = Ending::of(outcome).number();
                sight.ending.store(ending, Ordering::Relaxed);
                sight.dones.fetch_add(1, Ordering::AcqRel);
            }
            _ => {}
        }
    }
}
