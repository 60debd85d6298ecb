// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Submit, chains, teardown, credits.

use kernel::prelude::*;
use kernel::sync::aref::ARef;

use ringfence::{Errno, Fence, Queue};

use super::run_clock;
use crate::rig::{done, many, submit, Does, Mock, Order, Rig, What};

/// How long a job takes, in microseconds.
const JOB_US: u64 = 1000;
/// How many jobs there are.
const DEPTH: u64 = 100;
/// How long to look whether something happens that must not, in milliseconds.
const LOOK_MS: u32 = 50;

/// A job runs, and ends only when the hardware says so.
pub(crate) fn drm_sched_basic_submit() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"entity")?;
    let fence = submit(&queue, rig.gpu.waits(1), &[])?;
    rig.gpu.wait_running(1)?;
    ensure_eq!(fence.wait_timeout(LOOK_MS), None);
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(done(&fence)?, Ok(()));
    ensure_eq!(rig.gpu.running(), 0);
    drop(queue);
    rig.finish()
}

/// The parameters of `drm_sched_basic_test`.
struct Basic {
    entities: usize,
    dep_chain: bool,
}

pub(crate) fn drm_sched_basic_test_a_queue_of_jobs_in_a_single_entity() -> Result {
    basic_test(Basic {
        entities: 1,
        dep_chain: false,
    })
}

/// Over there it has a single entity, too, whatever its name says.
pub(crate) fn drm_sched_basic_test_a_chain_of_dependent_jobs_across_multiple_entities() -> Result {
    basic_test(Basic {
        entities: 1,
        dep_chain: true,
    })
}

pub(crate) fn drm_sched_basic_test_multiple_independent_job_queues() -> Result {
    basic_test(Basic {
        entities: 4,
        dep_chain: false,
    })
}

pub(crate) fn drm_sched_basic_test_multiple_inter_dependent_job_queues() -> Result {
    basic_test(Basic {
        entities: 4,
        dep_chain: true,
    })
}

/// Submits jobs to the queues in turn, each after the one before if there is a chain.
fn submit_chain(rig: &Rig, queues: &[Queue<Mock>], dep_chain: bool) -> Result<KVVec<ARef<Fence>>> {
    let mut fences: KVVec<ARef<Fence>> = KVVec::new();
    for tag in 0..DEPTH {
        let queue = &queues[tag as usize % queues.len()];
        let work = rig.gpu.work(tag, Does::Takes(JOB_US));
        let fence = match fences.last() {
            Some(before) if dep_chain => submit(queue, work, &[before])?,
            _ => submit(queue, work, &[])?,
        };
        fences.push(fence, GFP_KERNEL)?;
    }
    Ok(fences)
}

fn basic_test(params: Basic) -> Result {
    let rig = Rig::new()?;
    let queues = many(params.entities as u64, |_| rig.queue(c"entity"))?;
    // Queues that know nothing of each other have no common order.
    let lines = if params.dep_chain { 1 } else { queues.len() };
    let orders = many(lines as u64, |_| Order::new(DEPTH as usize))?;
    // The clock stands still: nothing has signalled when it is watched.
    let fences = submit_chain(&rig, &queues, params.dep_chain)?;
    let watches = many(DEPTH, |tag| {
        let tag = tag as usize;
        orders[tag % lines].watch_as(tag as u64, &fences[tag])
    })?;
    run_clock(&rig, "all have signalled", || {
        fences.iter().all(|fence| fence.is_signaled())
    })?;
    for fence in &fences {
        ensure_eq!(done(fence)?, Ok(()));
    }
    let ran = rig.gpu.tags(What::RunBegins)?;
    ensure_eq!(ran.len() as u64, DEPTH);
    for (line, order) in orders.iter().enumerate() {
        order.ensure_in_order(DEPTH as usize / lines)?;
        let its = ran.iter().filter(|tag| **tag as usize % lines == line);
        ensure!(its.is_sorted());
    }
    for queue in &queues {
        ensure_eq!(queue.stats().completed, DEPTH / queues.len() as u64);
        ensure_eq!(queue.check_invariants(), Ok(()));
    }
    drop((watches, queues));
    rig.finish()
}

/// All queues go in the middle of a chain across them. What is on the hardware ends by itself, what
/// is not is cancelled, and so is what depends on it.
pub(crate) fn drm_sched_basic_entity_cleanup() -> Result {
    let rig = Rig::new()?;
    let queues = many(4, |_| rig.queue(c"entity"))?;
    let fences = submit_chain(&rig, &queues, true)?;
    let middle = DEPTH as usize / 2;
    run_clock(&rig, "the middle of the chain", || {
        fences[middle].is_signaled()
    })?;
    drop(queues);
    run_clock(&rig, "all have signalled", || {
        fences.iter().all(|fence| fence.is_signaled())
    })?;
    let ended_well = fences
        .iter()
        .take_while(|fence| fence.status() == Some(Ok(())))
        .count();
    ensure!(ended_well > middle);
    // The clock stood still when the queues went, and one job of the chain is on the hardware at a
    // time.
    ensure!(ended_well <= middle + 2);
    for fence in fences.iter().skip(ended_well) {
        ensure_eq!(fence.status(), Some(Err(Errno::ECANCELED)));
    }
    ensure_eq!(rig.gpu.count_all(What::RunBegins), ended_well);
    rig.finish()
}

/// The entity goes, then the scheduler with what its hardware has: that job ends with `ECANCELED`.
pub(crate) fn drm_sched_basic_cancel() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"entity")?;
    let fence = submit(&queue, rig.gpu.waits(1), &[])?;
    rig.gpu.wait_running(1)?;
    drop(queue);
    // What is on the hardware is the hardware's to end.
    ensure_eq!(fence.wait_timeout(LOOK_MS), None);
    rig.gpu.drop_hardware();
    ensure_eq!(done(&fence)?, Err(Errno::ECANCELED));
    rig.finish()
}

/// As `drm_sched_basic_cancel`, by the end of the device: here that says `ENODEV`, and what the
/// hardware says later is late.
pub(crate) fn drm_sched_basic_cancel_by_unbind() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"entity")?;
    let fence = submit(&queue, rig.gpu.waits(1), &[])?;
    rig.gpu.wait_running(1)?;
    drop(queue);
    ensure_eq!(rig.device.unbind(), Ok(()));
    ensure_eq!(fence.status(), Some(Err(Errno::ENODEV)));
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(fence.status(), Some(Err(Errno::ENODEV)));
    rig.finish()
}

/// One credit: the second job runs when the first has ended.
pub(crate) fn drm_sched_test_credits() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"entity").credits(1))?;
    let first = submit(&queue, rig.gpu.waits(1), &[])?;
    let second = submit(&queue, rig.gpu.waits(2), &[])?;
    rig.gpu.wait_running(1)?;
    ensure_eq!(second.wait_timeout(LOOK_MS), None);
    ensure_eq!(rig.gpu.count(2, What::RunBegins), 0);
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(done(&first)?, Ok(()));
    rig.gpu.wait_running(2)?;
    rig.gpu.complete(2, Ok(()))?;
    ensure_eq!(done(&second)?, Ok(()));
    drop(queue);
    rig.finish()
}
