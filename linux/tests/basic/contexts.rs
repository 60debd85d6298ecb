// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where only the kernel can be: in hard interrupts, and on a real-time thread.

use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Arc;

use ringfence::{Errno, Executor, Queue, Timeline};

use crate::rig::hooks::{in_hard_irq, in_task};
use crate::rig::{done, many, submit as submit_after, Does, Mock, Order, Rig, What, Work};

/// Where callbacks of the driver were called, and payloads dropped.
struct Places(Arc<[Atomic<i32>; 2]>);

impl Places {
    fn new() -> Result<Self> {
        Ok(Self(Arc::new(
            [Atomic::new(0), Atomic::new(0)],
            GFP_KERNEL,
        )?))
    }

    fn note(places: &[Atomic<i32>; 2]) {
        places[usize::from(in_task())].fetch_add(1, kernel::sync::atomic::Full);
    }

    /// A job that is done at once, and notes where it was.
    fn job(&self, rig: &Rig, tag: u64) -> Result<Work> {
        let (run, drop) = (self.0.clone(), self.0.clone());
        let work = rig.gpu.calls(tag, move |submission| {
            Self::note(&run);
            submission.done()
        })?;
        work.when_dropped(move || Self::note(&drop))
    }

    /// All were in tasks with interrupts on, so often.
    fn ensure_in_tasks(&self, times: i32) -> Result {
        ensure_eq!(self.0[0].load(Relaxed), 0);
        ensure_eq!(self.0[1].load(Relaxed), times);
        Ok(())
    }
}

/// With bypass, too, the driver is not called there.
pub(crate) fn dependency_signals_in_a_hard_interrupt() -> Result {
    for bypass in [false, true] {
        let rig = Rig::new()?;
        let queue = rig.build(Queue::<Mock>::builder(c"q").bypass(bypass))?;
        let timeline = Timeline::new(c"test", c"t", GFP_KERNEL)?;
        let places = Places::new()?;
        for tag in 0..20 {
            let (signaller, open) = timeline.signaller(GFP_KERNEL)?;
            let fence = submit_after(&queue, places.job(&rig, tag)?, &[&open])?;
            let result = if tag % 4 == 0 {
                Err(Errno::EIO)
            } else {
                Ok(())
            };
            in_hard_irq(move || signaller.signal(result))?;
            ensure_eq!(done(&fence)?, result);
            rig.gpu.wait_for(tag, What::Dropped)?;
        }
        // And the fence of the hardware, and one for which a job waits that found no room.
        let (hardware, on) = timeline.signaller(GFP_KERNEL)?;
        let follows = submit_after(&queue, rig.gpu.work(100, Does::Follows(on)), &[])?;
        rig.gpu.wait_for(100, What::RunEnds)?;
        in_hard_irq(move || hardware.signal(Err(Errno::EIO)))?;
        ensure_eq!(done(&follows)?, Err(Errno::EIO));
        let (signaller, room) = timeline.signaller(GFP_KERNEL)?;
        let then = KBox::new(Does::Done, GFP_KERNEL)?;
        let again = submit_after(&queue, rig.gpu.work(101, Does::NoRoom(room, then)), &[])?;
        rig.gpu.wait_for(101, What::RunEnds)?;
        in_hard_irq(move || signaller.signal(Ok(())))?;
        ensure_eq!(done(&again)?, Ok(()));
        drop((queue, timeline));
        rig.finish()?;
        // Those of failed dependencies did not run.
        places.ensure_in_tasks(15 + 20)?;
    }
    Ok(())
}

/// By each way of completing, in order and not, while others wait to run.
pub(crate) fn completed_in_a_hard_interrupt() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").credits(4))?;
    let order = Order::new(64)?;
    let places = Places::new()?;
    queue.suspend();
    let fences = many(40, |tag| {
        let dropped = places.0.clone();
        let work = rig
            .gpu
            .waits(tag)
            .when_dropped(move || Places::note(&dropped))?;
        submit_after(&queue, work, &[])
    })?;
    let watches = order.watch_all(&fences)?;
    ensure!(queue.resume());
    for pair in 0..20 {
        // The second first: it waits for its turn.
        let (second, first) = (rig.gpu.take(2 * pair + 1)?, rig.gpu.take(2 * pair)?);
        in_hard_irq(move || match pair % 3 {
            0 => second.complete(Ok(())),
            1 => second.complete_in_irq(Ok(())),
            _ => second.complete_in_callback(Ok(())),
        })?;
        ensure!(!fences[2 * pair as usize + 1].is_signaled());
        in_hard_irq(move || match pair % 3 {
            0 => first.complete_in_irq(Err(Errno::EIO)),
            1 => drop(first),
            _ => first.complete(Ok(())),
        })?;
        // In the interrupt, not later.
        let result = [Err(Errno::EIO), Err(Errno::ECANCELED), Ok(())][pair as usize % 3];
        ensure_eq!(fences[2 * pair as usize].status(), Some(result));
        ensure_eq!(done(&fences[2 * pair as usize + 1])?, Ok(()));
    }
    order.ensure_in_order(40)?;
    drop((watches, queue));
    rig.finish()?;
    places.ensure_in_tasks(40)
}

/// With `GFP_ATOMIC`; the memory is the emergency pool's, the driver is the worker's.
pub(crate) fn prepared_and_submitted_in_a_hard_interrupt() -> Result {
    for bypass in [false, true] {
        let rig = Rig::new()?;
        let queue = rig.build(Queue::<Mock>::builder(c"q").bypass(bypass))?;
        let (signaller, open) = Timeline::new(c"test", c"t", GFP_KERNEL)?.signaller(GFP_KERNEL)?;
        let places = Places::new()?;
        let mut fences = KVec::new();
        for tag in 0..3 {
            let work = places.job(&rig, tag)?;
            let fence = in_hard_irq(|| -> Result<_> {
                let mut job = queue.prepare(work, 1, GFP_ATOMIC)?;
                if tag == 1 {
                    job.depends_on(&open, GFP_ATOMIC)?;
                }
                Ok(job.submit())
            })??;
            fences.push(fence, GFP_KERNEL)?;
        }
        // One that was prepared there and is thrown away there.
        let work = places.job(&rig, 3)?;
        in_hard_irq(|| queue.prepare(work, 1, GFP_ATOMIC).map(drop).is_ok())
            .and_then(|prepared| if prepared { Ok(()) } else { Err(ENOMEM) })?;
        ensure_eq!(done(&fences[0])?, Ok(()));
        ensure_eq!(fences[2].status(), None);
        in_hard_irq(move || signaller.signal(Ok(())))?;
        ensure_eq!(done(&fences[2])?, Ok(()));
        ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq(0..3));
        drop(queue);
        rig.finish()?;
        // The one that was thrown away was dropped where it was.
        ensure_eq!(places.0[0].load(Relaxed), 1);
        ensure_eq!(places.0[1].load(Relaxed), 6);
    }
    Ok(())
}

/// Cancel, suspend, kill, close, and the handle's drop.
pub(crate) fn killed_and_dropped_in_a_hard_interrupt() -> Result {
    for kill in [false, true] {
        let rig = Rig::new()?;
        let queue = rig.build(Queue::<Mock>::builder(c"q").credits(1))?;
        let order = Order::new(8)?;
        let fences = many(8, |tag| submit_after(&queue, rig.gpu.waits(tag), &[]))?;
        let watches = order.watch_all(&fences)?;
        rig.gpu.wait_running(0)?;
        in_hard_irq(|| {
            queue.suspend();
            let _cancelled = queue.cancel(fences[1].seqno(), Errno::EIO);
            let _resumed = queue.resume();
        })?;
        let closed = queue.closed(GFP_KERNEL)?;
        in_hard_irq(move || {
            if kill {
                queue.kill(Errno::ENODEV);
            }
            drop(queue);
        })?;
        ensure_eq!(fences[0].is_signaled(), kill);
        let completion = rig.gpu.take(0)?;
        in_hard_irq(move || completion.complete(Ok(())))?;
        ensure_eq!(done(&closed)?, Ok(()));
        order.ensure_in_order(8)?;
        let (first, rest) = match kill {
            true => (Err(Errno::ENODEV), Err(Errno::ENODEV)),
            false => (Ok(()), Err(Errno::ECANCELED)),
        };
        ensure_eq!(fences[0].status(), Some(first));
        ensure!(fences
            .iter()
            .skip(2)
            .all(|fence| fence.status() == Some(rest)));
        ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq([0]));
        drop(watches);
        rig.finish()?;
    }
    Ok(())
}

/// One thread with the scheduler's real-time class runs the jobs of all its queues.
pub(crate) fn real_time_executor() -> Result {
    let rig = Rig::new()?;
    let executor = Executor::real_time(c"ringfence-rt")?;
    let builder = Queue::<Mock>::builder(c"q").credits(2);
    let queues = many(3, |_| {
        let builder = builder.clone();
        Ok(builder.build(&rig.device, &executor, rig.gpu.driver(), GFP_KERNEL)?)
    })?;
    drop(executor);
    let policies = Arc::new(Atomic::new(0), GFP_KERNEL)?;
    let (signaller, open) = Timeline::new(c"test", c"t", GFP_KERNEL)?.signaller(GFP_KERNEL)?;
    let mut last = open;
    for tag in 0..60 {
        let theirs = policies.clone();
        let work = rig.gpu.calls(tag, move |submission| {
            let task = kernel::current!().as_ptr();
            // SAFETY: A thread has itself, and nobody changes its class.
            if unsafe { (*task).policy } == bindings::SCHED_FIFO {
                theirs.add(1, Relaxed);
            }
            submission.done()
        })?;
        last = submit_after(&queues[tag as usize % 3], work, &[&last])?;
    }
    in_hard_irq(move || signaller.signal(Ok(())))?;
    ensure_eq!(done(&last)?, Ok(()));
    ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq(0..60));
    ensure_eq!(policies.load(Relaxed), 60);
    let seen = rig.gpu.seen()?;
    let mut runs = seen.iter().filter(|seen| seen.what == What::RunBegins);
    ensure!(runs.all(|run| run.task == seen[0].task));
    // A timer and a hang are dealt with there, too.
    let builder = builder.timeout(core::time::Duration::from_millis(20));
    let executor = Executor::real_time(c"ringfence-rt")?;
    let hangs = builder.build(&rig.device, &executor, rig.gpu.driver(), GFP_KERNEL)?;
    let fence = submit_after(&hangs, rig.gpu.waits(100), &[])?;
    ensure_eq!(done(&fence)?, Err(Errno::ETIME));
    rig.gpu.complete(100, Ok(()))?;
    drop((hangs, executor, queues));
    rig.finish()
}
