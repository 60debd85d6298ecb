// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What keeps a machine busy, all of it by ordinary threads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ringfence::{
    monotonic, Device, Driver, Errno, Pool, Queue, RunOutcome, Submission, TimedOutJob,
    TimeoutOutcome,
};

/// Threads that do nothing, all the time, until dropped.
pub(super) struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    pub(super) fn start(threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spin = |_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || while !stop.load(Ordering::Relaxed) {})
        };
        let threads = (0..threads).map(spin).collect();
        Self { stop, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// In words.
pub(super) const FLOOD: &str = "8 queues with 16 jobs each, of 20 us, on as many ordinary workers";
const QUEUES: usize = 8;
const JOBS: usize = 16;
const WORK: Duration = Duration::from_micros(20);

/// A driver whose run callback takes its time.
struct Works;

impl Driver for Works {
    type Payload = ();
    type ReplayData = ();

    fn run(&mut self, submission: Submission<'_, Self>) -> RunOutcome {
        let begin = monotonic();
        while monotonic().since(begin) < WORK {}
        submission.done()
    }

    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        job.handled(Errno::ETIME)
    }
}

/// A thread that keeps queues of a pool full, until dropped.
pub(super) struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    pub(super) fn start(device: &Device, pool: &Pool) -> Self {
        let queues: Vec<Queue<Works>> = (0..QUEUES)
            .map(|_| {
                let queue = Queue::<Works>::builder("flood").build(device, pool, Works);
                queue.expect("a queue")
            })
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut fences = VecDeque::new();
            for queue in queues.iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                if fences.len() == QUEUES * JOBS {
                    let oldest: Option<ringfence::Fence> = fences.pop_front();
                    oldest.map(|fence| fence.wait());
                }
                fences.push_back(queue.prepare((), 1).expect("room").submit());
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
