// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Real-time queues: which thread runs their jobs, who has a part in it, and what the system gives.
//!
//! Nothing here is timed, and all of it holds where the system refuses real time, too.
#![cfg(not(any(feature = "loom", feature = "shuttle")))]

#[path = "../common/mod.rs"]
mod common;

mod granted;
mod levels;
mod path;

use std::sync::mpsc;
use std::thread::{self, ThreadId};

use common::mock::Does;
use common::{Rig, LONG};
use ringfence::{Pool, RealTimePriority, Scheduling};

/// A thread that ran a job.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Worker {
    name: String,
    id: ThreadId,
    scheduling: Scheduling,
}

impl Worker {
    /// This thread, by its own account.
    fn this() -> Self {
        let current = thread::current();
        Self {
            name: current.name().unwrap_or_default().to_owned(),
            id: current.id(),
            scheduling: scheduling(),
        }
    }

    fn is_real_time_worker(&self) -> bool {
        self.name.starts_with("ringfence-rt-")
    }
}

/// What the system says about this thread.
fn scheduling() -> Scheduling {
    let mut param = std::mem::MaybeUninit::<libc::sched_param>::zeroed();
    // SAFETY: `param` is there to be written.
    let policy = unsafe {
        libc::sched_getparam(0, param.as_mut_ptr());
        libc::sched_getscheduler(0)
    };
    // SAFETY: Zeroes are one.
    let number = unsafe { param.assume_init() }.sched_priority;
    if policy & !libc::SCHED_RESET_ON_FORK == libc::SCHED_FIFO {
        return Scheduling::Fifo(RealTimePriority::new(number as u8).unwrap());
    }
    match rustix::process::getpriority_process(None).unwrap() {
        0 => Scheduling::Ordinary,
        nice => Scheduling::Nice(nice as i8),
    }
}

/// A pool of so many real-time workers.
fn real_time(threads: usize) -> Pool {
    let builder = Pool::builder().threads(threads);
    builder.real_time(RealTimePriority::LOWEST).build().unwrap()
}

/// A job that tells who runs it.
fn tells(rig: &Rig, tag: u64) -> (common::mock::Work, mpsc::Receiver<Worker>) {
    let (send, receive) = mpsc::channel();
    let does = Does::Calls(Box::new(move |submission| {
        send.send(Worker::this()).unwrap();
        submission.done()
    }));
    (rig.gpu.work(tag, does), receive)
}

/// What a job has told.
#[track_caller]
fn told(receive: &mpsc::Receiver<Worker>) -> Worker {
    receive.recv_timeout(LONG).expect("the job runs")
}
