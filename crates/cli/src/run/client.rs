// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A client thread: submits the jobs of some streams and looks at what became of them.
//!
//! All streams of one queue belong to one client, which therefore knows each job's number in
//! advance and looks at jobs in the order in which their fences must signal.

mod look;
mod submit;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ringfence::fence::Registration;
use ringfence::{Errno, Fence, Queue};
use ringfence_softgpu::driver::SoftDriver;
use ringfence_softgpu::{Armed, Buffer, Context};

use super::figures::QueueFigures;
use super::watch::QueueWatch;
use super::Run;
use crate::plan::{FaultKind, StreamPlan};

/// Jobs of one stream that are submitted before the next stream has its turn.
const BURST: usize = 8;
/// How soon to try again where nobody will say that there is room.
const SOON: Duration = Duration::from_micros(200);
/// The longest sleep: the run may have been stopped meanwhile.
const NAP: Duration = Duration::from_millis(100);

type OnSignal = Box<dyn FnMut(Result<(), Errno>) + Send>;

/// A stream and its memory.
pub(super) struct StreamState<'run> {
    pub(super) plan: &'run StreamPlan,
    /// The client's number of the queue.
    pub(super) queue: usize,
    pub(super) buffer: Buffer,
    /// Where the queue's context sees the buffer.
    pub(super) address: u64,
    next: u64,
    in_flight: u32,
    free: Vec<u32>,
    due: Option<Instant>,
}

impl<'run> StreamState<'run> {
    pub(super) fn new(plan: &'run StreamPlan, queue: usize, buffer: Buffer, address: u64) -> Self {
        let places = u64::from(plan.in_flight).min(plan.jobs) as u32;
        Self {
            plan,
            queue,
            buffer,
            address,
            next: 0,
            in_flight: 0,
            free: (0..places).rev().collect(),
            due: None,
        }
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
    pub(super) queue: &'run Queue<SoftDriver>,
    pub(super) context: &'run Context,
    pub(super) watch: &'run Arc<QueueWatch>,
    pub(super) runs_on_error: bool,
    /// Held by every payload: who still has it has not been dropped.
    pub(super) held: Arc<()>,
    pub(super) figures: QueueFigures,
    line: VecDeque<InFlight>,
    last_seqno: u64,
}

impl<'run> QueueState<'run> {
    pub(super) fn new(
        queue: &'run Queue<SoftDriver>,
        context: &'run Context,
        watch: &'run Arc<QueueWatch>,
        runs_on_error: bool,
        figures: QueueFigures,
    ) -> Self {
        Self {
            queue,
            context,
            watch,
            runs_on_error,
            held: Arc::new(()),
            figures,
            line: VecDeque::new(),
            last_seqno: 0,
        }
    }
}

/// A job that has been submitted and not looked at.
struct InFlight {
    stream: usize,
    place: u32,
    job: u64,
    seqno: u64,
    fence: Fence,
    /// Kept until the job is over: dropping it takes the callback off.
    _registration: Option<Registration<OnSignal>>,
    dependencies: Vec<Fence>,
    fault: Option<FaultKind>,
    injected: Option<Armed>,
    image: Vec<u32>,
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
    pub(super) fn work(mut self) -> Vec<(QueueFigures, Arc<()>)> {
        for queue in &self.queues {
            queue.watch.set_client(thread::current());
        }
        while !self.streams.iter().all(StreamState::is_done) {
            if self.run.stop.load(Ordering::Relaxed) {
                break;
            }
            let mut moved = false;
            for queue in 0..self.queues.len() {
                while self.look_at_next(queue) {
                    moved = true;
                }
            }
            let mut nap = NAP;
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
        figures.map(|queue| (queue.figures, queue.held)).collect()
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
