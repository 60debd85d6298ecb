// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Jobs in, fences out: the ordinary ways through a queue.

use kernel::prelude::*;

use ringfence::{Errno, Queue, Timeline};

use crate::rig::{done, eventually, submit as submit_after, Does, Mock, Order, Rig, What};

pub(crate) fn submit() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let fence = submit_after(&queue, rig.gpu.waits(1), &[])?;
    ensure_eq!(fence.seqno(), 1);
    ensure_eq!(fence.context(), queue.context());
    rig.gpu.wait_running(1)?;
    ensure_eq!(fence.status(), None);
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(done(&fence)?, Ok(()));
    ensure_eq!(queue.stats().completed, 1);
    drop(queue);
    rig.finish()
}

pub(crate) fn queue_of_jobs() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").capacity(64).credits(4))?;
    let order = Order::new(64)?;
    queue.suspend();
    let mut fences = KVec::new();
    let mut watches = KVec::new();
    for tag in 0..64 {
        let fence = submit_after(&queue, rig.gpu.work(tag, Does::Takes(1)), &[])?;
        watches.push(order.watch(&fence)?, GFP_KERNEL)?;
        fences.push(fence, GFP_KERNEL)?;
    }
    ensure!(queue.resume());
    eventually("all have signalled", || {
        rig.gpu.advance(1);
        fences.iter().all(|fence| fence.is_signaled())
    })?;
    for fence in &fences {
        ensure_eq!(done(fence)?, Ok(()));
    }
    order.ensure_in_order(64)?;
    ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq(0..64));
    ensure_eq!(queue.check_invariants(), Ok(()));
    drop((watches, queue));
    rig.finish()
}

pub(crate) fn chain_of_dependent_jobs() -> Result {
    let rig = Rig::new()?;
    let queues = [rig.queue(c"q0")?, rig.queue(c"q1")?, rig.queue(c"q2")?, rig.queue(c"q3")?];
    let (start, started) = Timeline::new(c"test", c"start", GFP_KERNEL)?.signaller(GFP_KERNEL)?;
    let mut last = started;
    let mut fences = KVec::new();
    for tag in 0..100 {
        let queue = &queues[tag as usize % queues.len()];
        last = submit_after(queue, rig.gpu.done(tag), &[&last])?;
        fences.push(last.clone(), GFP_KERNEL)?;
    }
    ensure!(rig.gpu.tags(What::RunBegins)?.is_empty());
    start.signal(Ok(()));
    ensure_eq!(done(&last)?, Ok(()));
    ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq(0..100));
    ensure!(fences.iter().all(|fence| fence.status() == Some(Ok(()))));
    drop(queues);
    rig.finish()
}

pub(crate) fn failed_run() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let bad = submit_after(&queue, rig.gpu.work(1, Does::Fails(Errno::EINVAL)), &[])?;
    let good = submit_after(&queue, rig.gpu.done(2), &[])?;
    ensure_eq!(done(&bad)?, Err(Errno::EINVAL));
    ensure_eq!(done(&good)?, Ok(()));
    let loses = rig.gpu.calls(3, |submission| {
        let (completion, outcome) = submission.pending();
        drop(completion);
        outcome
    })?;
    let lost = submit_after(&queue, loses, &[])?;
    // The hardware side has lost it.
    ensure_eq!(done(&lost)?, Err(Errno::ECANCELED));
    drop(queue);
    rig.finish()
}

pub(crate) fn failed_dependency_fails_the_job() -> Result {
    let rig = Rig::new()?;
    let (first, second) = (rig.queue(c"first")?, rig.queue(c"second")?);
    let bad = submit_after(&first, rig.gpu.waits(1), &[])?;
    let waits = submit_after(&second, rig.gpu.done(2), &[&bad])?;
    rig.gpu.complete(1, Err(Errno::EIO))?;
    ensure_eq!(done(&waits)?, Err(Errno::EIO));
    // And one that has failed already when the job is submitted.
    let late = submit_after(&second, rig.gpu.done(3), &[&bad])?;
    ensure_eq!(done(&late)?, Err(Errno::EIO));
    ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq([1]));
    drop((first, second));
    rig.finish()
}

pub(crate) fn follows_a_fence_of_the_hardware() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let hardware = Timeline::new(c"test", c"hardware", GFP_KERNEL)?;
    for (tag, result) in [(1, Ok(())), (2, Err(Errno::EIO))] {
        let (signaller, fence) = hardware.signaller(GFP_KERNEL)?;
        let job = submit_after(&queue, rig.gpu.work(tag, Does::Follows(fence)), &[])?;
        rig.gpu.wait_for(tag, What::RunEnds)?;
        ensure_eq!(job.status(), None);
        signaller.signal(result);
        ensure_eq!(done(&job)?, result);
    }
    drop((queue, hardware));
    rig.finish()
}

pub(crate) fn no_room_until_a_fence_signals() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let timeline = Timeline::new(c"test", c"room", GFP_KERNEL)?;
    let (first, room) = timeline.signaller(GFP_KERNEL)?;
    let (second, more_room) = timeline.signaller(GFP_KERNEL)?;
    let then = KBox::new(Does::NoRoom(more_room, KBox::new(Does::Done, GFP_KERNEL)?), GFP_KERNEL)?;
    let job = submit_after(&queue, rig.gpu.work(1, Does::NoRoom(room, then)), &[])?;
    let behind = submit_after(&queue, rig.gpu.done(2), &[])?;
    rig.gpu.wait_for(1, What::RunEnds)?;
    // Nobody overtakes it.
    ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq([1]));
    // With whatever result: there may be room, says the signal.
    first.signal(Err(Errno::EIO));
    eventually("second try", || rig.gpu.count(1, What::RunEnds) == 2)?;
    ensure_eq!(job.status(), None);
    second.signal(Ok(()));
    ensure_eq!(done(&behind)?, Ok(()));
    ensure_eq!(job.status(), Some(Ok(())));
    ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq([1, 1, 1, 2]));
    ensure_eq!(queue.stats().no_resources, 2);
    drop((queue, timeline));
    rig.finish()
}

suite! { ringfence_basic of basic {
    submit,
    queue_of_jobs,
    chain_of_dependent_jobs,
    failed_run,
    failed_dependency_fails_the_job,
    follows_a_fence_of_the_hardware,
    no_room_until_a_fence_signals,
} }
