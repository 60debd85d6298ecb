// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Many submitters, each with a queue of its own.

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Acquire, Atomic, Full, Release};

use ringfence::{Fence, Queue};

use super::run_clock;
use crate::rig::{done, eventually, many, submit, thread, Does, Mock, Rig, What};

/// The parameters of `drm_sched_parallel_submit_test`.
const PARALLEL_WORKERS: u64 = 16;
const PARALLEL_JOBS: u64 = 8;

/// Sixteen workers submit eight jobs each, at once; all run; then the hardware ends them.
pub(crate) fn drm_sched_parallel_submit_test() -> Result {
    let rig = Rig::new()?;
    let queues = many(PARALLEL_WORKERS, |_| rig.queue(c"entity"))?;
    let (ready, fences) = (Atomic::new(0u64), Fences::new(PARALLEL_WORKERS)?);
    thread::all(PARALLEL_WORKERS as usize, |worker| {
        // Prepared before, so that the submits are as close as can be.
        let mut jobs = KVec::new();
        for number in 0..PARALLEL_JOBS {
            let tag = worker as u64 * PARALLEL_JOBS + number;
            let job = queues[worker].prepare(rig.gpu.waits(tag), 1, GFP_KERNEL);
            jobs.push(job.map_err(|failed| failed.to_error())?, GFP_KERNEL)?;
        }
        ready.fetch_add(1, Full);
        eventually("all are ready", || ready.load(Acquire) == PARALLEL_WORKERS)?;
        for job in jobs {
            fences.add(worker, job.submit())?;
        }
        Ok(())
    })?;
    let total = PARALLEL_WORKERS * PARALLEL_JOBS;
    eventually("all are on the hardware", || {
        rig.gpu.running() as u64 == total
    })?;
    fences.each(|fence| {
        ensure_eq!(fence.status(), None);
        Ok(())
    })?;
    for tag in 0..total {
        rig.gpu.complete(tag, Ok(()))?;
    }
    fences.each(|fence| {
        ensure_eq!(done(fence)?, Ok(()));
        Ok(())
    })?;
    ensure_eq!(fences.count() as u64, total);
    in_order(&rig, PARALLEL_WORKERS, PARALLEL_JOBS)?;
    drop((fences, queues));
    rig.finish()
}

/// The parameters of `drm_sched_interleaved_submit_test`.
const INTERLEAVED_US: u64 = 1_000_000;
const INTERLEAVED_BASE_US: u64 = 100;
const INTERLEAVED_WORKERS: u64 = 16;
const INTERLEAVED_IN_FLIGHT: usize = 8;

/// More than any worker has jobs.
const INTERLEAVED_TAGS: u64 = 1000;

/// Workers whose jobs take a multiple of a base duration each keep eight of them in flight, until
/// each has had its share of the time.
pub(crate) fn drm_sched_interleaved_submit_test() -> Result {
    let rig = Rig::new()?;
    let queues = many(INTERLEAVED_WORKERS, |_| rig.queue(c"entity"))?;
    let running = Atomic::new(1);
    let ((), ()) = thread::beside(
        || {
            let result = thread::all(INTERLEAVED_WORKERS as usize, |worker| {
                interleaved_worker(&rig, &queues[worker], worker as u64)
            });
            running.store(0, Release);
            result
        },
        || run_clock(&rig, "all workers are done", || running.load(Acquire) == 0),
    )?;
    for (worker, queue) in queues.iter().enumerate() {
        ensure_eq!(queue.stats().completed, interleaved_jobs(worker as u64));
        ensure_eq!(queue.len(), 0);
    }
    in_order(&rig, INTERLEAVED_WORKERS, INTERLEAVED_TAGS)?;
    drop(queues);
    rig.finish()
}

fn interleaved_jobs(worker: u64) -> u64 {
    let share = INTERLEAVED_US / INTERLEAVED_WORKERS;
    (share / (INTERLEAVED_BASE_US * (worker + 1))).max(1)
}

fn interleaved_worker(rig: &Rig, queue: &Queue<Mock>, worker: u64) -> Result {
    let mut in_flight: KVec<ARef<Fence>> = KVec::new();
    for number in 0..interleaved_jobs(worker) {
        if in_flight.len() == INTERLEAVED_IN_FLIGHT {
            let oldest = in_flight.remove(0).map_err(|_| EINVAL)?;
            ensure_eq!(done(&oldest)?, Ok(()));
        }
        let takes = Does::Takes(INTERLEAVED_BASE_US * (worker + 1));
        let work = rig.gpu.work(worker * INTERLEAVED_TAGS + number, takes);
        in_flight.push(submit(queue, work, &[])?, GFP_KERNEL)?;
    }
    for fence in &in_flight {
        ensure_eq!(done(fence)?, Ok(()));
    }
    // Dropping the payload of the last one may take a moment longer.
    eventually("the queue is empty", || queue.is_empty())
}

/// The jobs of each worker have run in the order in which it has submitted them.
fn in_order(rig: &Rig, workers: u64, tags: u64) -> Result {
    let ran = rig.gpu.tags(What::RunBegins)?;
    for worker in 0..workers {
        let its = || ran.iter().copied().filter(|tag| tag / tags == worker);
        ensure!(its().is_sorted());
        ensure!(its().next() == Some(worker * tags));
    }
    Ok(())
}

/// Each worker's fences.
struct Fences(KVVec<ringfence::Lock<KVec<ARef<Fence>>>>);

impl Fences {
    fn new(workers: u64) -> Result<Self> {
        Ok(Self(many(workers, |_| {
            let list = KVec::with_capacity(PARALLEL_JOBS as usize, GFP_KERNEL)?;
            Ok(ringfence::Lock::new(list))
        })?))
    }

    fn add(&self, worker: usize, fence: ARef<Fence>) -> Result {
        let refused = self.0[worker].lock().push_within_capacity(fence);
        refused.map_err(|_| ENOSPC)
    }

    fn count(&self) -> usize {
        self.0.iter().map(|list| list.lock().len()).sum()
    }

    fn each(&self, each: impl Fn(&Fence) -> Result) -> Result {
        for list in &self.0 {
            let len = list.lock().len();
            for at in 0..len {
                let fence = list.lock()[at].clone();
                each(&fence)?;
            }
        }
        Ok(())
    }
}
