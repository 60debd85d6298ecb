// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A client thread: submits the jobs of some streams and looks at what became of them.
//!
//! All streams of one queue belong to one client, which therefore knows each job's number in
//! advance and looks at jobs in the order in which their fences must signal. A queue that it has
//! closed or killed, or that was banned or lost with its device, it replaces by a new one.

mod act;
mod excuse;
mod look;
mod submit;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ringfence::fence::Registration;
use ringfence::{Errno, Fence};
use ringfence_softgpu::driver::SoftBuffer;
use ringfence_softgpu::Armed;

use super::figures::QueueFigures;
use super::machine::QueueParts;
use super::Run;
use crate::plan::{FaultKind, QueuePlan, StreamPlan};

/// Jobs of one stream that are submitted before the next stream has its turn.
const BURST: usize = 8;
/// How soon to try again where nobody will say that there is room.
const SOON: Duration = Duration::from_micros(200);
/// The longest sleep: the run may have been stopped meanwhile.
const NAP: Duration = Duration::from_millis(100);

type OnSignal = Box<dyn FnMut(Result<(), Errno>) + Send>;

/// A stream and the places its jobs have in memory.
pub(super) struct StreamState<'run> {
    pub(super) plan: &'run StreamPlan,
    /// The client's number of the queue.
    pub(super) queue: usize,
    /// Which of the queue's streams it is.
    slot: usize,
    next: u64,
    in_flight: u32,
    free: Vec<u32>,
    due: Option<Instant>,
}

impl<'run> StreamState<'run> {
    pub(super) fn new(plan: &'run StreamPlan, queue: usize, slot: usize) -> Self {
        let mut state = Self {
            plan,
            queue,
            slot,
            next: 0,
            in_flight: 0,
            free: Vec::new(),
            due: None,
        };
        state.free_all();
        state
    }

    /// All places are free, as in memory that nobody has used.
    fn free_all(&mut self) {
        let places = u64::from(self.plan.in_flight).min(self.plan.jobs) as u32;
        self.free.clear();
        self.free.extend((0..places).rev());
    }

    fn is_done(&self) -> bool {
        self.next == self.plan.jobs && self.in_flight == 0
    }

    /// Where the words of a place begin in the buffer.
    fn first_word(&self, place: u32) -> usize {
        (u64::from(place) * self.plan.job_memory() / 4) as usize
    }
}

/// A queue and its jobs in flight.
pub(super) struct QueueState<'run> {
    /// Its place in the plan.
    index: usize,
    plan: &'run QueuePlan,
    /// The queue that takes jobs.
    parts: Arc<QueueParts>,
    /// Those before it that have not let go of everything.
    replaced: Vec<Arc<QueueParts>>,
    /// It does not take jobs any more, and no other one has been made yet.
    spent: bool,
    figures: QueueFigures,
    /// Of all of them, in the order of submission.
    line: VecDeque<InFlight>,
    last_seqno: u64,
    /// When suspensions end.
    suspended: Vec<Instant>,
}

impl<'run> QueueState<'run> {
    pub(super) fn new(
        index: usize,
        plan: &'run QueuePlan,
        parts: Arc<QueueParts>,
        figures: QueueFigures,
    ) -> Self {
        Self {
            index,
            plan,
            parts,
            replaced: Vec::new(),
            spent: false,
            figures,
            line: VecDeque::new(),
            last_seqno: 0,
            suspended: Vec::new(),
        }
    }

    fn runs_on_error(&self) -> bool {
        self.plan.on_dependency_error == crate::plan::OnDependencyError::Run
    }
}

/// A job that has been submitted and not looked at.
struct InFlight {
    /// The queue that has it.
    parts: Arc<QueueParts>,
    memory: SoftBuffer,
    stream: usize,
    place: u32,
    job: u64,
    seqno: u64,
    fence: Fence,
    /// Kept until the job is over: dropping it takes the callback off.
    _registration: Option<Registration<OnSignal>>,
    dependencies: Vec<Fence>,
    fault: Option<FaultKind>,
    injected: Vec<Armed>,
    image: Vec<u32>,
    /// The image is in its memory: the device had not gone when that was written.
    written: bool,
    expected: Vec<u32>,
    stamps: Vec<usize>,
    submitted_at: u64,
}

/// Why a stream did not submit.
enum Held {
    /// Something will wake the client.
    Waits,
    /// Its time has not come.
    Until(Instant),
    /// The queue has no room for a moment longer than its jobs are in flight.
    Soon,
}

/// One client.
pub(super) struct Client<'run> {
    pub(super) run: &'run Run<'run>,
    pub(super) queues: Vec<QueueState<'run>>,
    pub(super) streams: Vec<StreamState<'run>>,
}

impl Client<'_> {
    /// Submits everything and waits for it; returns what was seen of each queue.
    pub(super) fn work(mut self) -> Vec<QueueFigures> {
        for queue in &self.queues {
            queue.parts.watch.set_client(thread::current());
        }
        while !self.is_done() {
            if self.run.stop.load(Ordering::Relaxed) {
                break;
            }
            let mut moved = false;
            let mut nap = NAP;
            for queue in 0..self.queues.len() {
                while self.look_at_next(queue) {
                    moved = true;
                }
                nap = nap.min(self.tend(queue));
            }
            for stream in 0..self.streams.len() {
                for _ in 0..BURST {
                    match self.submit_next(stream) {
                        Ok(()) => moved = true,
                        Err(held) => {
                            nap = nap.min(match held {
                                Held::Waits => NAP,
                                Held::Until(due) => due.saturating_duration_since(Instant::now()),
                                Held::Soon => SOON,
                            });
                            break;
                        }
                    }
                }
            }
            if !moved && !nap.is_zero() {
                thread::park_timeout(nap);
            }
        }
        let figures = self.queues.into_iter();
        figures.map(|queue| queue.figures).collect()
    }

    fn is_done(&self) -> bool {
        self.streams.iter().all(StreamState::is_done)
            && self
                .queues
                .iter()
                .all(|queue| queue.replaced.is_empty() && queue.suspended.is_empty())
    }

    /// Submits the next job of a stream, if it may.
    fn submit_next(&mut self, index: usize) -> Result<(), Held> {
        let stream = &self.streams[index];
        let plan = stream.plan;
        let number = plan.index.0;
        let job = stream.next;
        if job >= plan.jobs || stream.free.is_empty() {
            return Err(Held::Waits);
        }
        if !self.run.board.is_ready(&plan.dependencies, job) || !self.run.board.has_room(number) {
            return Err(Held::Waits);
        }
        if let Some(every) = plan.every {
            let now = Instant::now();
            let due = stream.due.unwrap_or(now);
            if due > now {
                return Err(Held::Until(due));
            }
            self.streams[index].due = Some(due + every);
        }
        let flies = self.submit(index, job)?;
        let stream = &mut self.streams[index];
        stream.next += 1;
        stream.in_flight += u32::from(flies);
        let run = self.run;
        for other in run.board.waiters(number) {
            run.wake(*other);
        }
        let jobs = plan.jobs;
        for other in run.board.advance(number, &plan.dependencies, job + 1, jobs) {
            run.wake(other);
        }
        Ok(())
    }
}
