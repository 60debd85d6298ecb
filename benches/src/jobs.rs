// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Ringfence's side: drivers that do nothing, and whole lives of jobs.

use std::cell::Cell;
use std::collections::VecDeque;
use std::mem::ManuallyDrop;

use ringfence::{
    Completion, Device, Driver, Errno, Fence, Pool, Queue, RunOutcome, Submission, TimedOutJob,
    TimeoutOutcome,
};

/// Jobs between submit and the wait for their fence.
pub(crate) const IN_FLIGHT: usize = 64;

/// A driver whose hardware is done at once.
pub(crate) struct AtOnce;

impl Driver for AtOnce {
    type Payload = u64;
    type ReplayData = ();

    fn run(&mut self, submission: Submission<'_, Self>) -> RunOutcome {
        submission.done()
    }

    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        job.handled(Errno::ETIME)
    }
}

/// A driver that leaves the completion with the thread that runs it: the cheapest place there is.
pub(crate) struct Parking;

thread_local! {
    // Without a destructor, as one would cost a look at each access. Emptied by each job.
    static PARKED: Cell<Option<ManuallyDrop<Completion<Parking>>>> = const { Cell::new(None) };
}

impl Driver for Parking {
    type Payload = u64;
    type ReplayData = ();

    fn run(&mut self, submission: Submission<'_, Self>) -> RunOutcome {
        let (completion, outcome) = submission.pending();
        PARKED.set(Some(ManuallyDrop::new(completion)));
        outcome
    }

    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        job.handled(Errno::ETIME)
    }
}

/// Completes what a [`Parking`] driver ran last on this thread.
pub(crate) fn complete_parked() {
    let completion = PARKED.take().expect("the job ran on this thread");
    ManuallyDrop::into_inner(completion).complete(Ok(()));
}

/// Whole lives of jobs on bypass queues, in turn: prepare, submit, run on this thread, complete,
/// signal, reap, drop of the fence.
pub(crate) struct Bypass {
    queues: Vec<Queue<Parking>>,
    next: usize,
    _pool: Pool,
}

impl Bypass {
    pub(crate) fn new(queues: usize) -> Self {
        let device = Device::new("bypass");
        let pool = Pool::new(1).expect("a thread");
        let executor = pool.executor();
        let make = |_| {
            let builder = Queue::<Parking>::builder("bypass").bypass(true);
            let queue = builder.build(&device, executor.clone(), Parking);
            queue.expect("a queue")
        };
        Self {
            queues: (0..queues).map(make).collect(),
            next: 0,
            _pool: pool,
        }
    }

    pub(crate) fn run(&mut self, jobs: u32) {
        for number in 0..jobs {
            let queue = &self.queues[self.next];
            self.next = if self.next + 1 == self.queues.len() {
                0
            } else {
                self.next + 1
            };
            let job = queue.prepare(u64::from(number), 1).expect("room");
            let fence = job.submit();
            complete_parked();
            assert!(fence.is_signaled());
        }
    }

    /// True if every job so far ran on the submitter's thread and has been reaped.
    pub(crate) fn all_bypassed(&self) -> bool {
        self.queues.iter().all(|queue| {
            let stats = queue.stats();
            stats.bypassed == stats.prepared && stats.reaped == stats.prepared
        })
    }
}

/// Whole lives of jobs through the worker thread, in turn on each queue, [`IN_FLIGHT`] of them at
/// a time: the submitter waits for the oldest.
pub(crate) struct Worker {
    queues: Vec<Queue<AtOnce>>,
    next: usize,
    fences: VecDeque<Fence>,
    _pool: Pool,
}

impl Worker {
    pub(crate) fn new(queues: usize) -> Self {
        let device = Device::new("worker");
        let pool = Pool::new(1).expect("a thread");
        let executor = pool.executor();
        let make = |_| {
            // A job is reaped after its fence has signalled: room for those that are not yet.
            let builder = Queue::<AtOnce>::builder("worker").capacity(2 * IN_FLIGHT);
            let queue = builder.build(&device, executor.clone(), AtOnce);
            queue.expect("a queue")
        };
        Self {
            queues: (0..queues).map(make).collect(),
            next: 0,
            fences: VecDeque::with_capacity(IN_FLIGHT),
            _pool: pool,
        }
    }

    pub(crate) fn run(&mut self, jobs: u32) {
        for number in 0..jobs {
            if self.fences.len() == IN_FLIGHT {
                self.wait_for_oldest();
            }
            let queue = &self.queues[self.next];
            self.next = if self.next + 1 == self.queues.len() {
                0
            } else {
                self.next + 1
            };
            let job = queue.prepare(u64::from(number), 1).expect("room");
            self.fences.push_back(job.submit());
        }
        while !self.fences.is_empty() {
            self.wait_for_oldest();
        }
    }

    fn wait_for_oldest(&mut self) {
        if let Some(fence) = self.fences.pop_front() {
            fence.wait().expect("the job completes");
        }
    }
}
