// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Timeouts: when the driver is asked, and what happens to the job then.
//!
//! The kernel's own: a timer that fires while a callback runs on another processor (`timer.rs`).

mod timer;

use core::time::Duration;

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::Arc;

use ringfence::{Builder, Errno, Executor, Fence, Queue, Request, Timeout};

pub(crate) use timer::*;

use crate::rig::channel::{Channel, Closer};
use crate::rig::mock::TimedOut;
use crate::rig::{done, eventually, many, outcome, says, submit, Mock, Order, Rig, What, Work};

/// A span that is up at once: at the next tick.
pub(crate) const AT_ONCE: Duration = Duration::from_nanos(1);

/// Longer than any test takes.
pub(crate) const AGES: Duration = Duration::from_secs(100_000);

/// A queue whose jobs have no time at all.
pub(crate) fn hasty(name: &CStr) -> Builder<'_> {
    Queue::<Mock>::builder(name).timeout(AT_ONCE)
}

/// As [`submit`], with a timeout of the job's own.
pub(crate) fn submit_with(
    queue: &Queue<Mock>,
    work: Work,
    timeout: Timeout,
) -> Result<ARef<Fence>> {
    let request = Request {
        cost: 1,
        timeout,
        ..Request::default()
    };
    Ok(queue.prepare_with(work, request, GFP_KERNEL)?.submit())
}

/// Ends the time of the head of the line once it is on the hardware.
pub(crate) fn time_is_up(queue: &Queue<Mock>) -> Result {
    eventually("its head is on the hardware", || queue.trigger_timeout())
}

/// A job that stays in its run callback until what is returned is dropped.
pub(crate) fn blocks(rig: &Rig, tag: u64) -> Result<(Work, Closer<()>)> {
    let go = Channel::new(1)?;
    let closer = go.closer();
    let work = rig.gpu.calls(tag, move |submission| {
        let _closed = go.receive();
        submission.done()
    })?;
    Ok((work, closer))
}

pub(crate) fn timeout() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(hasty(c"q"))?;
    let fence = submit(&queue, rig.gpu.waits(1), &[])?;
    ensure_eq!(done(&fence)?, Err(Errno::ETIME));
    ensure_eq!(queue.stats().timed_out, 1);
    // The hardware finds it after all.
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(fence.status(), Some(Err(Errno::ETIME)));
    ensure_eq!(queue.stats().late_completions, 1);
    drop(queue);
    rig.finish()
}

pub(crate) fn timeout_of_the_next_job() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").timeout(AGES))?;
    let order = Order::new(3)?;
    let first = submit(&queue, rig.gpu.waits(1), &[])?;
    let second = submit_with(&queue, rig.gpu.waits(2), Timeout::After(AT_ONCE))?;
    let third = submit(&queue, rig.gpu.waits(3), &[])?;
    let watches = order.watch_all(&[first, second.clone(), third.clone()])?;
    rig.gpu.wait_running(3)?;
    // The first has time, and is the head.
    ensure_eq!(rig.gpu.count_all(What::TimedOutBegins), 0);
    rig.gpu.complete(1, Ok(()))?;
    // Its clock began when it was the head.
    ensure_eq!(done(&second)?, Err(Errno::ETIME));
    rig.gpu.complete(3, Ok(()))?;
    ensure_eq!(done(&third)?, Ok(()));
    order.ensure_in_order(3)?;
    drop((watches, queue));
    rig.finish()
}

pub(crate) fn skip_reset() -> Result {
    // The driver finds no hang: the job goes on and ends well.
    let rig = Rig::new()?;
    let queue = rig.build(hasty(c"q"))?;
    let work = rig.gpu.waits(1).when_timed_out(|job| job.no_hang())?;
    // It is asked again, since its time is up again at once; the second time it is a hang.
    let fence = submit(&queue, work, &[])?;
    ensure_eq!(done(&fence)?, Err(Errno::ETIME));
    ensure_eq!(rig.gpu.count(1, What::TimedOutBegins), 2);

    let gpu = rig.gpu.clone();
    let work = rig.gpu.waits(2).when_timed_out(move |job| {
        // It completes meanwhile, by the same thread.
        if let Some(token) = gpu.try_take(2) {
            token.complete(Ok(()));
        }
        job.no_hang()
    })?;
    let fence = submit(&queue, work, &[])?;
    ensure_eq!(done(&fence)?, Ok(()));
    rig.gpu.wait_for(2, What::Dropped)?;
    drop(queue);
    rig.finish()
}

/// Asks for more time, again and again.
fn extend(seen: Channel<u8>, flags: kernel::alloc::Flags) -> Result<TimedOut> {
    Ok(KBox::new(
        move |mut job: ringfence::TimedOutJob<'_, Mock>| {
            seen.send(job.extensions_left());
            // In a signalling section.
            match extend(seen.clone(), GFP_ATOMIC) {
                Ok(again) => job.payload().set_timed_out(again),
                Err(_) => return job.handled(Errno::ENOMEM),
            }
            match job.extend(AT_ONCE) {
                Ok(outcome) => outcome,
                Err(job) => job.handled(Errno::EIO),
            }
        },
        flags,
    )?)
}

pub(crate) fn extended_a_bounded_number_of_times() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(hasty(c"q").extensions(3))?;
    let seen = Channel::new(8)?;
    let mut work = rig.gpu.waits(1);
    work.set_timed_out(extend(seen.clone(), GFP_KERNEL)?);
    let fence = submit(&queue, work, &[])?;
    ensure_eq!(done(&fence)?, Err(Errno::EIO));
    ensure_eq!(&seen.drain()?[..], &[3, 2, 1, 0]);
    ensure_eq!(queue.stats().extensions, 3);
    drop(queue);
    rig.finish()
}

pub(crate) fn device_gone() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(hasty(c"q"))?;
    let order = Order::new(8)?;
    queue.suspend();
    let fences = many(8, |tag| {
        let work = rig.gpu.waits(tag);
        let work = match tag {
            0 => work.when_timed_out(|job| job.device_gone())?,
            _ => work,
        };
        submit(&queue, work, &[])
    })?;
    let watches = order.watch_all(&fences)?;
    ensure!(queue.resume());
    for fence in &fences {
        ensure_eq!(done(fence)?, Err(Errno::ENODEV));
    }
    order.ensure_in_order(8)?;
    drop((watches, queue));
    rig.finish()
}

pub(crate) fn timeout_of_one_job() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(hasty(c"q"))?;
    let patient = submit_with(&queue, rig.gpu.waits(1), Timeout::Never)?;
    let hasty = submit(&queue, rig.gpu.waits(2), &[])?;
    rig.gpu.wait_running(2)?;
    ensure_eq!(rig.gpu.count_all(What::TimedOutBegins), 0);
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(done(&hasty)?, Err(Errno::ETIME));
    ensure_eq!(patient.status(), Some(Ok(())));
    ensure_eq!(&rig.gpu.tags(What::TimedOutBegins)?[..], &[2]);
    drop(queue);
    rig.finish()
}

pub(crate) fn triggered_timeout() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    // There is no job.
    ensure!(!queue.trigger_timeout());
    let fence = submit(&queue, rig.gpu.waits(1), &[])?;
    rig.gpu.wait_for(1, What::RunEnds)?;
    time_is_up(&queue)?;
    ensure_eq!(done(&fence)?, Err(Errno::ETIME));
    drop(queue);
    rig.finish()
}

/// Recovery inside the timeout callback lets the job be freed while the callback uses it.
pub(crate) fn drm_4_5_job_used_after_free_in_timeout() -> Result {
    let rig = Rig::new()?;
    let queue = Arc::new(rig.build(hasty(c"q"))?, GFP_KERNEL)?;
    let heard = Channel::new(1)?;
    let (gpu, recovered, said) = (rig.gpu.clone(), queue.clone(), heard.clone());
    let work = rig.gpu.waits(1).when_timed_out(move |mut job| {
        // All that a recovery might do, and more.
        recovered.suspend();
        if let Some(token) = gpu.try_take(1) {
            token.complete(Ok(()));
        }
        recovered.resume();
        recovered.kill(Errno::EIO);
        recovered.close();
        said.send((job.payload().tag, gpu.count(1, What::Dropped)));
        job.handled(Errno::ETIME)
    })?;
    let fence = submit(&queue, work, &[])?;
    // Completion was first.
    ensure_eq!(done(&fence)?, Ok(()));
    // The payload is there until the callback returns.
    ensure_eq!(heard.receive()?, Some((1, 0)));
    rig.gpu.wait_for(1, What::Dropped)?;
    let seen = rig.gpu.seen()?;
    let at = |what| seen.iter().position(|seen| seen.what == what);
    ensure!(at(What::TimedOutEnds).is_some() && at(What::TimedOutEnds) < at(What::Dropped));
    drop(queue);
    rig.finish()
}

/// A job that has completed, but was not cleaned up yet, "times out".
pub(crate) fn drm_4_6_finished_job_times_out() -> Result {
    let mut rig = Rig::new()?;
    rig.executor = Executor::real_time(c"one-thread")?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").timeout(AGES))?;
    let busy = rig.queue(c"busy")?;
    let fence = submit(&queue, rig.gpu.waits(1), &[])?;
    eventually("the thread is through with it", || {
        says(&queue, "times out in")
    })?;
    let (work, go) = blocks(&rig, 100)?;
    let blocking = submit(&busy, work, &[])?;
    rig.gpu.wait_for(100, What::RunBegins)?;
    // Its time is up, the worker that would ask is on its way, and then it completes.
    ensure!(queue.trigger_timeout());
    rig.gpu.complete(1, Ok(()))?;
    drop(go);
    ensure_eq!(done(&blocking)?, Ok(()));
    ensure_eq!(outcome(&queue, rig.gpu.done(3))?, Ok(()));
    ensure_eq!(fence.status(), Some(Ok(())));
    ensure_eq!(rig.gpu.count_all(What::TimedOutBegins), 0);
    ensure_eq!(queue.stats().timeouts, 0);
    drop((queue, busy));
    rig.finish()
}

/// A driver that finds no hang hands the job back; the scheduler had let go of it.
pub(crate) fn drm_4_6_job_without_hang_leaks() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").timeout(AGES))?;
    let work = rig.gpu.waits(1).when_timed_out(|job| job.no_hang())?;
    let fence = submit(&queue, work, &[])?;
    time_is_up(&queue)?;
    rig.gpu.wait_for(1, What::TimedOutEnds)?;
    eventually("watched again, with its whole time before it", || {
        says(&queue, "times out in") && !says(&queue, "in the timeout callback")
    })?;
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(fence.status(), Some(Ok(())));
    rig.gpu.wait_for(1, What::Dropped)?;
    eventually("nothing is left", || queue.is_empty())?;
    ensure_eq!(rig.gpu.count(1, What::TimedOutBegins), 1);
    drop(queue);
    rig.finish()
}

/// A reset runs jobs again that had run.
pub(crate) fn drm_4_12_run_called_twice() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(hasty(c"q"))?;
    let hung = submit(&queue, rig.gpu.waits(1), &[])?;
    let behind = submit(&queue, rig.gpu.waits(2), &[])?;
    rig.gpu.wait_running(2)?;
    ensure_eq!(done(&hung)?, Err(Errno::ETIME));
    queue.suspend();
    queue.resume();
    // It hung, too.
    ensure_eq!(done(&behind)?, Err(Errno::ETIME));
    ensure_eq!(outcome(&queue, rig.gpu.done(3))?, Ok(()));
    // The mock complains when a job is run twice; `finish` reads the complaints.
    ensure_eq!(&rig.gpu.tags(What::RunBegins)?[..], &[1, 2, 3]);
    drop(queue);
    rig.finish()
}

/// A forgotten parameter meant a workqueue that did not serialise resets with anything.
pub(crate) fn drm_4_17_timeouts_on_a_forgotten_workqueue() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(hasty(c"q").bypass(true).capacity(64))?;
    let fences = many(40, |tag| submit(&queue, rig.gpu.waits(tag), &[]))?;
    for fence in &fences {
        ensure_eq!(done(fence)?, Err(Errno::ETIME));
    }
    // The mock complains where a timeout overlaps with a run.
    let here = kernel::current!().as_ptr() as usize;
    let seen = rig.gpu.seen()?;
    let mut asked = 0;
    for seen in seen.iter().filter(|seen| seen.what == What::TimedOutBegins) {
        // On the queue's executor, bypass or not.
        ensure!(seen.task != here);
        asked += 1;
    }
    ensure_eq!(asked, 40);
    drop(queue);
    rig.finish()
}

suite! { ringfence_drm_timeout of drm_timeout {
    timeout,
    timeout_of_the_next_job,
    skip_reset,
    extended_a_bounded_number_of_times,
    device_gone,
    timeout_of_one_job,
    triggered_timeout,
    drm_4_5_job_used_after_free_in_timeout,
    drm_4_6_finished_job_times_out,
    drm_4_6_job_without_hang_leaks,
    drm_4_12_run_called_twice,
    drm_4_17_timeouts_on_a_forgotten_workqueue,
    drm_4_20_timer_armed_for_a_finished_job,
    timeout_while_a_worker_is_busy,
    timeout_while_its_watch_is_busy,
    timer_fires_while_a_callback_runs,
} }
