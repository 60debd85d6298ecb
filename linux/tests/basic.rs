// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Jobs in, fences out: the ordinary ways through a queue, and (`contexts`) from every context that
//! the kernel has.

mod contexts;
mod watched;

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::Arc;

use ringfence::{
    Errno, Fence, NotCovered, OnDependencyError, Queue, Request, SubmissionGuard, Timeline,
};

use crate::rig::{done, eventually, many, prepare_when_room, says, submit as submit_after, thread};
use crate::rig::{Does, Gpu, Mock, Order, Rig, What};

pub(crate) use contexts::*;
pub(crate) use watched::watched;

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
    let queues = [
        rig.queue(c"q0")?,
        rig.queue(c"q1")?,
        rig.queue(c"q2")?,
        rig.queue(c"q3")?,
    ];
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
    let then = KBox::new(
        Does::NoRoom(more_room, KBox::new(Does::Done, GFP_KERNEL)?),
        GFP_KERNEL,
    )?;
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
    ensure!(rig
        .gpu
        .tags(What::RunBegins)?
        .iter()
        .copied()
        .eq([1, 1, 1, 2]));
    ensure_eq!(queue.stats().no_resources, 2);
    drop((queue, timeline));
    rig.finish()
}

/// Four queues of the defaults.
fn four(rig: &Rig) -> Result<[Queue<Mock>; 4]> {
    Ok([
        rig.queue(c"q0")?,
        rig.queue(c"q1")?,
        rig.queue(c"q2")?,
        rig.queue(c"q3")?,
    ])
}

pub(crate) fn independent_queues() -> Result {
    let rig = Rig::new()?;
    let queues = four(&rig)?;
    let stuck = submit_after(&queues[0], rig.gpu.waits(1000), &[])?;
    for (number, queue) in queues.iter().enumerate().skip(1) {
        for job in 0..20 {
            let fence = submit_after(queue, rig.gpu.done(number as u64 * 100 + job), &[])?;
            ensure_eq!(done(&fence)?, Ok(()));
        }
    }
    // Its queue alone is stuck.
    ensure_eq!(stuck.status(), None);
    rig.gpu.complete(1000, Ok(()))?;
    ensure_eq!(done(&stuck)?, Ok(()));
    drop(queues);
    rig.finish()
}

pub(crate) fn interdependent_queues() -> Result {
    let rig = Rig::new()?;
    let queues = four(&rig)?;
    let mut layer: KVVec<ARef<Fence>> = KVVec::new();
    for round in 0..10 {
        // Every job of a layer waits for every job of the layer before, on all queues.
        let after = many(layer.len() as u64, |at| Ok(&*layer[at as usize]))?;
        let next = many(4, |at| {
            submit_after(&queues[at as usize], rig.gpu.done(round * 10 + at), &after)
        })?;
        drop(after);
        layer = next;
    }
    for fence in &layer {
        ensure_eq!(done(fence)?, Ok(()));
    }
    let tags = rig.gpu.tags(What::RunBegins)?;
    ensure_eq!(tags.len(), 40);
    ensure!(tags.windows(2).all(|pair| pair[0] / 10 <= pair[1] / 10));
    drop(queues);
    rig.finish()
}

pub(crate) fn ping_pong() -> Result {
    let rig = Rig::new()?;
    let queues = [rig.queue(c"ping")?, rig.queue(c"pong")?];
    let mut last: Option<ARef<Fence>> = None;
    for tag in 0..500 {
        let mut job = prepare_when_room(&queues[tag as usize % 2], rig.gpu.done(tag))?;
        if let Some(last) = &last {
            job.depends_on(last, GFP_KERNEL)?;
        }
        last = Some(job.submit());
    }
    let last = last.ok_or(EINVAL)?;
    ensure_eq!(done(&last)?, Ok(()));
    ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq(0..500));
    drop(queues);
    rig.finish()
}

pub(crate) fn failed_dependency_may_be_ignored() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let (signaller, failed) = Timeline::new(c"test", c"t", GFP_KERNEL)?.signaller(GFP_KERNEL)?;
    let request = Request {
        cost: 1,
        on_dependency_error: Some(OnDependencyError::Run),
        ..Request::default()
    };
    let mut job = queue.prepare_with(rig.gpu.done(1), request, GFP_KERNEL)?;
    job.depends_on(&failed, GFP_KERNEL)?;
    let fence = job.submit();
    signaller.signal(Err(Errno::EIO));
    ensure_eq!(done(&fence)?, Ok(()));
    drop(queue);
    rig.finish()
}

/// One thread's jobs of [`gang_over_two_queues`].
fn gangs(gpu: &Arc<Gpu>, left: &Queue<Mock>, right: &Queue<Mock>, base: u64) -> Result {
    for job in 0..8 {
        let on_left = left.prepare(gpu.done(base + job), 1, GFP_KERNEL)?;
        let on_right = right.prepare(gpu.done(base + job), 1, GFP_KERNEL)?;
        // In either order of naming them: no deadlock.
        let mut guard = match job % 2 {
            0 => SubmissionGuard::over(&[left, right])?,
            _ => SubmissionGuard::over(&[right, left, right])?,
        };
        let armed = guard.arm(on_left).map_err(|_| EINVAL)?;
        let first = armed.finished();
        ensure_eq!(first.seqno(), armed.seqno());
        armed.submit();
        let second = guard.submit(on_right).map_err(|_| EINVAL)?;
        // The same place in both lines.
        ensure_eq!(first.seqno(), second.seqno());
        drop(guard);
        ensure_eq!(done(&first)?, Ok(()));
        ensure_eq!(done(&second)?, Ok(()));
    }
    Ok(())
}

pub(crate) fn gang_over_two_queues() -> Result {
    let rig = Rig::new()?;
    let (left, right) = (rig.queue(c"left")?, rig.queue(c"right")?);
    thread::all(4, |number| {
        gangs(&rig.gpu, &left, &right, number as u64 * 1000)
    })?;
    let other = rig.queue(c"other")?;
    let stranger = other.prepare(rig.gpu.done(1), 1, GFP_KERNEL)?;
    let mut guard = SubmissionGuard::over(&[&left, &right])?;
    let Err(NotCovered(job)) = guard.submit(stranger) else {
        return Err(EINVAL);
    };
    drop(guard);
    // It comes back as it was.
    ensure_eq!(done(&job.submit())?, Ok(()));
    drop((left, right, other));
    rig.finish()
}

pub(crate) fn armed_and_let_go() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let before = submit_after(&queue, rig.gpu.waits(1), &[])?;
    let job = queue.prepare(rig.gpu.done(2), 1, GFP_KERNEL)?;
    let mut guard = queue.submission_guard()?;
    let armed = guard.arm(job).map_err(|_| EINVAL)?;
    let let_go = armed.finished();
    drop(armed);
    drop(guard);
    let after = submit_after(&queue, rig.gpu.done(3), &[])?;
    // Not before its turn.
    ensure_eq!(let_go.status(), None);
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(done(&after)?, Ok(()));
    ensure_eq!(before.status(), Some(Ok(())));
    ensure_eq!(let_go.status(), Some(Err(Errno::ECANCELED)));
    ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq([1, 3]));
    drop(queue);
    rig.finish()
}

pub(crate) fn suspend_and_resume() -> Result {
    let rig = Rig::new()?;
    let (queue, other) = (rig.queue(c"q")?, rig.queue(c"p")?);
    // There is nothing to take back.
    ensure!(!queue.resume());
    queue.suspend();
    queue.suspend();
    let fence = submit_after(&queue, rig.gpu.done(1), &[])?;
    ensure!(queue.resume());
    ensure!(rig.gpu.seen()?.is_empty());
    // Another queue's job after it shows that the workers have been there.
    let probe = submit_after(&other, rig.gpu.done(2), &[])?;
    ensure_eq!(done(&probe)?, Ok(()));
    ensure_eq!(rig.gpu.count(1, What::RunBegins), 0);
    ensure!(queue.resume());
    ensure_eq!(done(&fence)?, Ok(()));
    drop((queue, other));
    rig.finish()
}

/// What was handed to a worker together is not begun once the queue is suspended, or killed.
///
/// The kernel has no executor that works by hand. But a job signals when its whole batch has been
/// acted on: whatever would have begun with it has, by then.
pub(crate) fn suspended_between_two_callbacks() -> Result {
    for kill in [false, true] {
        let rig = Rig::new()?;
        let queue = Arc::new(rig.queue(c"q")?, GFP_KERNEL)?;
        let inner = queue.clone();
        queue.suspend();
        let work = rig.gpu.calls(0, move |submission| {
            match kill {
                true => inner.kill(Errno::EIO),
                false => inner.suspend(),
            }
            submission.done()
        })?;
        let first = submit_after(&queue, work, &[])?;
        let rest = many(4, |at| submit_after(&queue, rig.gpu.done(1 + at), &[]))?;
        ensure!(queue.resume());
        let result = if kill { Err(Errno::EIO) } else { Ok(()) };
        ensure_eq!(done(&first)?, result);
        rig.gpu.wait_for(0, What::Dropped)?;
        ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq([0]));
        if !kill {
            ensure!(!rest[0].is_signaled());
            ensure!(queue.resume());
        }
        for fence in &rest {
            ensure_eq!(done(fence)?, result);
        }
        let ran = if kill { 0..1 } else { 0..5 };
        ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq(ran));
        drop(queue);
        rig.finish()?;
    }
    Ok(())
}

pub(crate) fn snapshot_of_every_state() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"picture").credits(1))?;
    let on_hardware = submit_after(&queue, rig.gpu.waits(1), &[])?;
    rig.gpu.wait_for(1, What::RunEnds)?;
    let (signaller, open) = Timeline::new(c"test", c"t", GFP_KERNEL)?.signaller(GFP_KERNEL)?;
    let waits = submit_after(&queue, rig.gpu.done(2), &[&open])?;
    eventually("run has returned", || says(&queue, "pending"))?;
    for wanted in ["picture", "#1", "#2", "queued"] {
        ensure!(says(&queue, wanted));
    }
    signaller.signal(Ok(()));
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(done(&waits)?, Ok(()));
    ensure_eq!(on_hardware.status(), Some(Ok(())));
    drop(queue);
    rig.finish()
}

suite! { ringfence_basic of basic {
    submit,
    queue_of_jobs,
    chain_of_dependent_jobs,
    independent_queues,
    interdependent_queues,
    ping_pong,
    failed_run,
    failed_dependency_fails_the_job,
    failed_dependency_may_be_ignored,
    follows_a_fence_of_the_hardware,
    no_room_until_a_fence_signals,
    gang_over_two_queues,
    armed_and_let_go,
    suspend_and_resume,
    suspended_between_two_callbacks,
    watched,
    snapshot_of_every_state,
    dependency_signals_in_a_hard_interrupt,
    completed_in_a_hard_interrupt,
    prepared_and_submitted_in_a_hard_interrupt,
    killed_and_dropped_in_a_hard_interrupt,
    real_time_executor,
} }
