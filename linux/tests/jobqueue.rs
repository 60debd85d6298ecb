// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Faults of the job queue that was proposed for the kernel (`rust/kernel/drm/jq.rs`, RFC).

use kernel::prelude::*;

use ringfence::{Completion, Errno, Queue, Timeline};

use crate::rig::channel::Channel;
use crate::rig::hooks::{in_hard_irq, Chained};
use crate::rig::{done, eventually, many, on_signal, submit, thread, Does, Mock, Rig, What};

/// Kicking the worker allocated, under a lock and in fence callbacks. Here the kick comes from a
/// callback, on a thread and in an interrupt, and goes through; lockdep sees what is allocated.
pub(crate) fn jobqueue_1_worker_kicked_from_a_fence_callback() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").bypass(true))?;
    let timeline = Timeline::new(c"test", c"t", GFP_KERNEL)?;
    for tag in 0..50 {
        let (signaller, open) = timeline.signaller(GFP_KERNEL)?;
        let fence = submit(&queue, rig.gpu.done(tag), &[&open])?;
        match tag % 5 {
            0 => in_hard_irq(move || signaller.signal(Ok(())))?,
            _ => signaller.signal(Ok(())),
        }
        ensure_eq!(done(&fence)?, Ok(()));
    }
    // The driver is never called in a fence callback.
    let here = kernel::current!().as_ptr() as usize;
    let seen = rig.gpu.seen()?;
    let mut runs = seen.iter().filter(|seen| seen.what == What::RunBegins);
    ensure!(runs.all(|run| run.task != here));
    drop((queue, timeline));
    rig.finish()
}

/// A job whose hardware fence had signalled already was never removed.
pub(crate) fn jobqueue_2_hardware_fence_signalled_already() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let timeline = Timeline::new(c"test", c"hardware", GFP_KERNEL)?;
    for (tag, result) in [(1, Ok(())), (2, Err(Errno::EIO))] {
        let (signaller, over) = timeline.signaller(GFP_KERNEL)?;
        signaller.signal(result);
        let fence = submit(&queue, rig.gpu.work(tag, Does::Follows(over)), &[])?;
        ensure_eq!(done(&fence)?, result);
        eventually("freed", || rig.gpu.count(tag, What::Dropped) == 1)?;
    }
    // One that signals while it is being registered.
    for tag in 10..200 {
        let (signaller, hardware) = timeline.signaller(GFP_KERNEL)?;
        let fence = submit(&queue, rig.gpu.work(tag, Does::Follows(hardware)), &[])?;
        match tag % 8 {
            0 => in_hard_irq(move || signaller.signal(Ok(())))?,
            _ => signaller.signal(Ok(())),
        }
        ensure_eq!(done(&fence)?, Ok(()));
    }
    eventually("all are freed", || queue.is_empty())?;
    drop((queue, timeline));
    rig.finish()
}

/// Callbacks were registered with a pointer to a job whose making then failed.
pub(crate) fn jobqueue_3_failed_preparation_leaves_callbacks() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").capacity(2))?;
    let (signaller, open) = Timeline::new(c"test", c"t", GFP_KERNEL)?.signaller(GFP_KERNEL)?;
    for tag in 0..100 {
        // Prepared with a dependency and thrown away, or refused: nothing is registered.
        let mut job = queue.prepare(rig.gpu.done(tag), 1, GFP_KERNEL)?;
        job.depends_on(&open, GFP_KERNEL)?;
        drop(job);
        ensure!(queue.prepare(rig.gpu.done(tag), 1000, GFP_KERNEL).is_err());
    }
    ensure_eq!(rig.gpu.leftovers().0, 0);
    signaller.signal(Ok(()));
    ensure_eq!(queue.stats().armed, 0);
    let fence = submit(&queue, rig.gpu.done(1000), &[&open])?;
    ensure_eq!(done(&fence)?, Ok(()));
    drop(queue);
    rig.finish()
}

/// Dropping the queue left fences of waiting jobs unsignalled, and callbacks registered.
pub(crate) fn jobqueue_4_drop_with_waiting_jobs() -> Result {
    let rig = Rig::new()?;
    let timeline = Timeline::new(c"test", c"t", GFP_KERNEL)?;

    let queue = rig.queue(c"dropped")?;
    let (signaller, open) = timeline.signaller(GFP_KERNEL)?;
    let fence = submit(&queue, rig.gpu.done(1), &[&open])?;
    let behind = submit(&queue, rig.gpu.done(2), &[])?;
    drop(queue);
    // Not before what it waits for.
    ensure_eq!(fence.status(), None);
    signaller.signal(Ok(()));
    ensure_eq!(done(&fence)?, Err(Errno::ECANCELED));
    ensure_eq!(done(&behind)?, Err(Errno::ECANCELED));
    eventually("the queue goes", || rig.gpu.leftovers() == (0, 0))?;

    let queue = rig.queue(c"killed")?;
    let (never, open) = timeline.signaller(GFP_KERNEL)?;
    let fence = submit(&queue, rig.gpu.done(3), &[&open])?;
    queue.kill(Errno::EIO);
    ensure_eq!(done(&fence)?, Err(Errno::EIO));
    drop(queue);
    // The open fence holds nothing of the queue: it goes, though that one never signals. The end of
    // the device waits for that.
    ensure!(rig.gpu.tags(What::RunBegins)?.is_empty());
    rig.finish()?;
    ensure_eq!(open.status(), None);
    never.signal(Ok(()));
    Ok(())
}

/// A queue's lock was taken under a fence's, and the other way round.
///
/// Of what a queue can be told, only a completion may come in a fence's callback in the kernel,
/// where that fence's lock is held.
pub(crate) fn jobqueue_5_lock_order_of_queue_and_fence() -> Result {
    let rig = Rig::new()?;
    let queues = [rig.queue(c"q0")?, rig.queue(c"q1")?, rig.queue(c"q2")?];
    let timeline = Timeline::new(c"test", c"t", GFP_KERNEL)?;
    for round in 0..200 {
        let (signaller, open) = timeline.signaller(GFP_KERNEL)?;
        let chained = submit(&queues[2], rig.gpu.waits(round * 10 + 2), &[])?;
        let mut completion = Some(rig.gpu.take(round * 10 + 2)?);
        let left = submit(&queues[0], rig.gpu.done(round * 10), &[&open])?;
        let right = submit(&queues[1], rig.gpu.done(round * 10 + 1), &[&open, &left])?;
        // Enters a third queue inside a callback of a fence of the first.
        let watch = on_signal(&left, move |result| {
            if let Some(completion) = completion.take() {
                completion.complete_in_callback(result);
            }
        })?;
        let other = || {
            // The other way round: asks a fence while it uses the queues.
            let _ = (
                queues[0].stats(),
                left.status(),
                queues[1].len(),
                left.is_signaled(),
            );
            let _ = (
                queues[2].cancel(0, Errno::EIO),
                chained.status(),
                queues[2].stats(),
            );
            Ok(())
        };
        thread::beside(other, || {
            signaller.signal(Ok(()));
            ensure_eq!(done(&right)?, Ok(()));
            Ok(())
        })?;
        // Its last callback may still be returning.
        ensure_eq!(done(&left)?, Ok(()));
        ensure_eq!(done(&chained)?, Ok(()));
        drop(watch);
    }
    drop((queues, timeline));
    rig.finish()
}

/// Credits were taken after run had returned, or not at all, and a cost above the capacity
/// blocked the queue for ever.
pub(crate) fn jobqueue_6_credits_taken_after_run() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").credits(2))?;
    // Refused at prepare, never later.
    ensure!(queue.prepare(rig.gpu.done(0), 3, GFP_KERNEL).is_err());
    let channel = Channel::<Completion<Mock>>::new(8)?;
    let hardware = many(2, |number| {
        let channel = channel.clone();
        thread::spawn(move || -> Result {
            while let Some(completion) = channel.receive()? {
                match number {
                    0 => completion.complete(Ok(())),
                    _ => in_hard_irq(move || completion.complete(Ok(())))?,
                }
            }
            Ok(())
        })
    })?;
    let close = channel.closer();
    // Completion races with the end of run, round and round: every credit comes back.
    for tag in 1..300 {
        let channel = channel.clone();
        let work = rig.gpu.calls(tag, move |submission| {
            let (completion, outcome) = submission.pending();
            match tag % 3 {
                0 => completion.complete(Ok(())),
                1 => channel.send(completion),
                _ => completion.complete_in_irq(Ok(())),
            }
            outcome
        })?;
        eventually("room", || {
            queue.prepare(rig.gpu.done(0), 1, GFP_KERNEL).is_ok()
        })?;
        let fence = queue
            .prepare(work, 1 + (tag % 2) as u32, GFP_KERNEL)?
            .submit();
        if tag % 8 == 0 {
            ensure_eq!(done(&fence)?, Ok(()));
        }
    }
    let all = queue.prepare(rig.gpu.done(1000), 2, GFP_KERNEL)?.submit();
    // Both credits are there.
    ensure_eq!(done(&all)?, Ok(()));
    drop(close);
    for thread in hardware {
        thread.join().flatten()?;
    }
    ensure_eq!(queue.check_invariants(), Ok(()));
    drop(queue);
    rig.finish()
}

/// A dependency that signals while the job that waits for it is on its way in.
pub(crate) fn dependency_signals_during_submit() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").bypass(true))?;
    let timeline = Timeline::new(c"test", c"t", GFP_KERNEL)?;
    for tag in 0..500 {
        let (signaller, open) = timeline.signaller(GFP_KERNEL)?;
        let mut job = queue.prepare(rig.gpu.done(tag), 1, GFP_KERNEL)?;
        job.depends_on(&open, GFP_KERNEL)?;
        let theirs = move || {
            match tag % 16 {
                0 => in_hard_irq(move || signaller.signal(Ok(())))?,
                _ => signaller.signal(Ok(())),
            }
            Ok(())
        };
        let ((), fence) = thread::beside(theirs, || Ok(job.submit()))?;
        ensure_eq!(done(&fence)?, Ok(()));
    }
    drop((queue, timeline));
    rig.finish()
}

/// The same for certain: one dependency signals while the next is being registered.
pub(crate) fn dependency_signals_between_two_registrations() -> Result {
    let rig = Rig::new()?;
    let timeline = Timeline::new(c"test", c"t", GFP_KERNEL)?;
    for (bypass, later) in [(false, 0), (true, 0), (false, 2), (true, 2)] {
        let queue = rig.build(Queue::<Mock>::builder(c"q").bypass(bypass))?;
        for tag in 0..20 {
            let (signaller, first) = timeline.signaller(GFP_KERNEL)?;
            let next = Chained::to(signaller)?;
            let mut job = queue.prepare(rig.gpu.done(tag), 1, GFP_KERNEL)?;
            job.depends_on(&first, GFP_KERNEL)?;
            job.depends_on(&next.0, GFP_KERNEL)?;
            // And some that nothing happens to until then.
            let others = many(later, |_| {
                let other = Timeline::new(c"test", c"other", GFP_KERNEL)?;
                let (signaller, fence) = other.signaller(GFP_KERNEL)?;
                job.depends_on(&fence, GFP_KERNEL)?;
                Ok(signaller)
            })?;
            let fence = job.submit();
            ensure_eq!(first.status(), Some(Ok(())));
            ensure_eq!(next.0.status(), None);
            ensure_eq!(fence.status(), None);
            drop(next);
            for other in others {
                ensure_eq!(fence.status(), None);
                other.signal(Ok(()));
            }
            ensure_eq!(done(&fence)?, Ok(()));
        }
        drop(queue);
    }
    drop(timeline);
    rig.finish()
}

suite! { ringfence_jobqueue of jobqueue {
    jobqueue_1_worker_kicked_from_a_fence_callback,
    jobqueue_2_hardware_fence_signalled_already,
    jobqueue_3_failed_preparation_leaves_callbacks,
    jobqueue_4_drop_with_waiting_jobs,
    jobqueue_5_lock_order_of_queue_and_fence,
    jobqueue_6_credits_taken_after_run,
    dependency_signals_during_submit,
    dependency_signals_between_two_registrations,
} }
