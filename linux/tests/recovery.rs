// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Stop, walk, replay: what who has stopped a queue can do, and what goes on meanwhile.
//!
//! Left out: a replay callback that panics, in `replay_answers_done_failed_or_panics`. In the
//! kernel that is a `BUG()`.

use core::time::Duration;

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Acquire, Atomic, Release};

use ringfence::{ClosePolicy, Errno, Fence, Guilty, Queue, Replayed, Rest, StopError};

use crate::drm_timeout::blocks;
use crate::rig::thread::beside;
use crate::rig::{done, eventually, many, outcome, says, submit, Mock, Order, Rig, What};

/// Jobs 1 to `count`, on the hardware.
pub(crate) fn on_hardware(
    rig: &Rig,
    queue: &Queue<Mock>,
    count: u64,
) -> Result<KVVec<ARef<Fence>>> {
    let fences = many(count, |tag| submit(queue, rig.gpu.waits(tag + 1), &[]))?;
    rig.gpu.wait_running(count)?;
    Ok(fences)
}

/// What stopping a queue was refused with.
pub(crate) fn refused<T>(stop: Result<T, StopError>) -> Option<StopError> {
    stop.map(drop).err()
}

/// As an error that a scenario returns.
pub(crate) fn stopped<T>(stop: Result<T, StopError>) -> Result<T> {
    stop.map_err(|error| {
        pr_err!("not stopped: {:?}\n", error);
        EBUSY
    })
}

pub(crate) fn stop_waits_for_the_callback_that_runs() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let (work, go) = blocks(&rig, 1)?;
    let fence = submit(&queue, work, &[])?;
    rig.gpu.wait_for(1, What::RunBegins)?;
    let over = Atomic::new(0);
    let stops = || {
        let stopped = stopped(queue.stop())?;
        over.store(1, Release);
        let ended = rig.gpu.count(1, What::RunEnds);
        drop(stopped);
        Ok(ended)
    };
    let (ended, ()) = beside(stops, || {
        eventually("the stop waits", || says(&queue, "stopped"))?;
        ensure_eq!(over.load(Acquire), 0);
        drop(go);
        Ok(())
    })?;
    // Not before the callback is over.
    ensure_eq!(ended, 1);
    ensure_eq!(done(&fence)?, Ok(()));
    drop(queue);
    rig.finish()
}

pub(crate) fn nothing_begins_while_stopped_and_restart_visits() -> Result {
    for bypass in [false, true] {
        let rig = Rig::new()?;
        let queue = rig.build(Queue::<Mock>::builder(c"q").bypass(bypass))?;
        let stopped = stopped(queue.stop())?;
        let fences = many(5, |tag| submit(&queue, rig.gpu.done(tag + 1), &[]))?;
        queue.suspend();
        ensure!(queue.resume());
        ensure_eq!(rig.gpu.count_all(What::RunBegins), 0);
        drop(stopped);
        for fence in &fences {
            ensure_eq!(done(fence)?, Ok(()));
        }
        ensure_eq!(&rig.gpu.tags(What::RunBegins)?[..], &[1, 2, 3, 4, 5]);
        drop(queue);
        rig.finish()?;
    }
    Ok(())
}

pub(crate) fn walk_shows_jobs_in_order() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let fences = on_hardware(&rig, &queue, 4)?;
    let behind = submit(&queue, rig.gpu.done(5), &[&fences[0]])?;
    rig.gpu.complete(2, Ok(()))?;
    let mut stopped = stopped(queue.stop())?;
    let mut seen = KVec::new();
    let mut walk = stopped.pending();
    while let Some(mut job) = walk.next() {
        let tag = job.payload().tag;
        ensure_eq!(tag, job.seqno());
        ensure_eq!((job.cost(), job.attempt().replays()), (1, 0));
        ensure!(*job.replay_data() == 0 && !job.has_ended());
        ensure!(job.age() < Duration::from_secs(60));
        seen.push(job.seqno(), GFP_KERNEL)?;
        // Dropped without a word, it is kept.
    }
    // On the hardware, and nothing else.
    ensure_eq!(&seen[..], &[1, 3, 4]);
    drop(stopped);
    for tag in [1, 3, 4] {
        rig.gpu.complete(tag, Ok(()))?;
    }
    for fence in Iterator::chain(fences.iter(), [&behind]) {
        ensure_eq!(done(fence)?, Ok(()));
    }
    drop(queue);
    rig.finish()
}

pub(crate) fn walk_ends_jobs_in_order() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let order = Order::new(4)?;
    let fences = on_hardware(&rig, &queue, 4)?;
    let watches = order.watch_all(&fences)?;
    let mut stopped = stopped(queue.stop())?;
    let mut walk = stopped.pending();
    ensure!(walk.next().ok_or(ENODATA)?.time_out(Errno::ETIME));
    ensure!(walk.next().ok_or(ENODATA)?.fail(Errno::EIO));
    walk.next().ok_or(ENODATA)?.keep();
    ensure!(walk.next().ok_or(ENODATA)?.complete(Ok(())));
    ensure!(walk.next().is_none());
    ensure_eq!(fences[0].status(), Some(Err(Errno::ETIME)));
    ensure_eq!(fences[1].status(), Some(Err(Errno::EIO)));
    // In its turn.
    ensure_eq!(fences[3].status(), None);
    drop(stopped);
    rig.gpu.complete(3, Ok(()))?;
    ensure_eq!(done(&fences[3])?, Ok(()));
    order.ensure_in_order(4)?;
    let stats = queue.stats();
    ensure_eq!((stats.timed_out, stats.failed, stats.strikes), (1, 1, 1));
    drop((watches, queue));
    rig.finish()
}

/// The hardware's word of the first attempt comes late: after the reset, the job is being done
/// again, and must not end with it.
pub(crate) fn late_completion_of_an_attempt_before_the_reset() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let fences = on_hardware(&rig, &queue, 2)?;
    let (completed_late, dropped_late) = (rig.gpu.take(1)?, rig.gpu.take(2)?);
    let mut stopped = stopped(queue.stop())?;
    let recovered = stopped.recover(None, Rest::Replay);
    ensure_eq!(recovered.replayed, 2);
    drop(stopped);
    completed_late.complete(Err(Errno::EIO));
    drop(dropped_late);
    ensure_eq!(fences[0].status(), None);
    ensure_eq!(fences[1].status(), None);
    ensure_eq!(queue.stats().late_completions, 2);
    let second = rig.gpu.take(1)?;
    ensure_eq!(second.attempt().replays(), 1);
    second.complete(Ok(()));
    rig.gpu.complete(2, Ok(()))?;
    ensure_eq!((done(&fences[0])?, done(&fences[1])?), (Ok(()), Ok(())));
    // Run was called once for each: the mock complains otherwise.
    ensure_eq!(&rig.gpu.tags(What::RunBegins)?[..], &[1, 2]);
    ensure_eq!(&rig.gpu.tags(What::Replay)?[..], &[1, 2]);
    drop(queue);
    rig.finish()
}

pub(crate) fn replay_answers_done_failed_or_panics() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let work = |tag| rig.gpu.waits(tag);
    let first = submit(&queue, work(1).when_replayed(|again| again.done())?, &[])?;
    let failing = work(2).when_replayed(|again| again.failed(Errno::EIO))?;
    let second = submit(&queue, failing, &[])?;
    let third = submit(&queue, work(3), &[])?;
    rig.gpu.wait_running(3)?;
    let mut stopped = stopped(queue.stop())?;
    let recovered = stopped.recover(None, Rest::Replay);
    let counts = (recovered.completed, recovered.failed, recovered.replayed);
    ensure_eq!(counts, (1, 1, 1));
    drop(stopped);
    ensure_eq!((done(&first)?, done(&second)?), (Ok(()), Err(Errno::EIO)));
    rig.gpu.complete(3, Ok(()))?;
    ensure_eq!(done(&third)?, Ok(()));
    drop(queue);
    rig.finish()
}

/// A job completes while the walk has it: it is not punished, and not freed before it is let go.
pub(crate) fn job_completes_while_it_is_walked() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let fences = on_hardware(&rig, &queue, 2)?;
    let mut stopped = stopped(queue.stop())?;
    let mut walk = stopped.pending();
    let mut job = walk.next().ok_or(ENODATA)?;
    rig.gpu.complete(1, Ok(()))?;
    // Its fence does not wait.
    ensure_eq!(fences[0].status(), Some(Ok(())));
    ensure!(job.has_ended());
    ensure_eq!((job.payload().tag, rig.gpu.count(1, What::Dropped)), (1, 0));
    ensure!(!job.time_out(Errno::ETIME));
    // Let go of.
    ensure_eq!(rig.gpu.count(1, What::Dropped), 1);
    let job = walk.next().ok_or(ENODATA)?;
    rig.gpu.complete(2, Ok(()))?;
    ensure_eq!(job.replay(), Replayed::Ended);
    drop(stopped);
    ensure_eq!(rig.gpu.count_all(What::Replay), 0);
    ensure_eq!(queue.stats().strikes, 0);
    ensure_eq!((done(&fences[0])?, done(&fences[1])?), (Ok(()), Ok(())));
    drop(queue);
    rig.finish()
}

/// A guard's jobs that are forgotten are kept, and the guard restarts all the same.
pub(crate) fn forgotten_pending_job_is_kept() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let fences = on_hardware(&rig, &queue, 2)?;
    let mut stop = stopped(queue.stop())?;
    let mut walk = stop.pending();
    core::mem::forget(walk.next());
    let second = walk.next().ok_or(ENODATA)?;
    ensure_eq!(second.seqno(), 2);
    core::mem::forget(second);
    drop(stop);
    ensure_eq!(queue.check_invariants(), Ok(()));
    for (fence, tag) in fences.iter().zip(1..) {
        rig.gpu.complete(tag, Ok(()))?;
        ensure_eq!(done(fence)?, Ok(()));
    }
    drop(stopped(queue.stop())?);
    drop(queue);
    rig.finish()
}

pub(crate) fn everything_else_goes_on_while_stopped() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").close_policy(ClosePolicy::Drain))?;
    let order = Order::new(5)?;
    let mut fences = on_hardware(&rig, &queue, 3)?;
    let mut stopped = stopped(queue.stop())?;
    fences.push(submit(&queue, rig.gpu.done(4), &[])?, GFP_KERNEL)?;
    fences.push(submit(&queue, rig.gpu.done(5), &[])?, GFP_KERNEL)?;
    let watches = order.watch_all(&fences)?;
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(fences[0].status(), Some(Ok(())));
    ensure!(queue.cancel(5, Errno::ECANCELED).is_ok());
    queue.close();
    let closed = queue.closed(GFP_KERNEL)?;
    ensure_eq!(closed.status(), None);
    // The guard is not upset by any of it.
    ensure_eq!(stopped.pending().next().map(|job| job.seqno()), Some(2));
    rig.gpu.complete(2, Ok(()))?;
    rig.gpu.complete(3, Err(Errno::EIO))?;
    ensure_eq!(fences[2].status(), Some(Err(Errno::EIO)));
    // It drains when it is let.
    ensure_eq!(fences[3].status(), None);
    drop(stopped);
    ensure_eq!(done(&closed)?, Ok(()));
    ensure_eq!(fences[3].status(), Some(Ok(())));
    ensure_eq!(fences[4].status(), Some(Err(Errno::ECANCELED)));
    order.ensure_in_order(5)?;
    drop((watches, queue));
    rig.finish()
}

/// A killed queue, and one whose handle is gone, keep their driver for as long as somebody has
/// stopped them.
pub(crate) fn driver_is_not_dropped_under_the_guard() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let fences = on_hardware(&rig, &queue, 2)?;
    let mut stop = stopped(queue.stop())?;
    stop.kill(Errno::EIO);
    for fence in &fences {
        ensure_eq!(fence.status(), Some(Err(Errno::EIO)));
    }
    queue.close();
    ensure!(stop.pending().next().is_none());
    stop.driver().hardware += 1;
    ensure_eq!(rig.gpu.leftovers().1, 1);
    let closed = queue.closed(GFP_KERNEL)?;
    ensure_eq!(closed.status(), None);
    drop(stop);
    ensure_eq!(done(&closed)?, Ok(()));
    // And goes with it.
    ensure_eq!(rig.gpu.leftovers().1, 0);
    ensure_eq!(refused(queue.stop()), Some(StopError::Closed));
    drop(queue);
    rig.finish()
}

pub(crate) fn guilty_job_fails_and_the_rest_is_as_chosen() -> Result {
    for rest in [Rest::Replay, Rest::Cancel, Rest::Keep] {
        let rig = Rig::new()?;
        let queue = rig.queue(c"q")?;
        let order = Order::new(3)?;
        let fences = on_hardware(&rig, &queue, 3)?;
        let watches = order.watch_all(&fences)?;
        let mut stopped = stopped(queue.stop())?;
        let behind = submit(&queue, rig.gpu.done(4), &[])?;
        let guilty = Guilty {
            seqno: 2,
            error: Errno::ETIME,
        };
        let recovered = stopped.recover(Some(guilty), rest);
        ensure_eq!(recovered.failed, 1);
        let others = recovered.replayed + recovered.cancelled + recovered.kept;
        ensure_eq!(others, 2);
        drop(stopped);
        if rest != Rest::Cancel {
            rig.gpu.complete(1, Ok(()))?;
            rig.gpu.complete(3, Ok(()))?;
        }
        let ends = match rest {
            Rest::Cancel => Err(Errno::ECANCELED),
            Rest::Replay | Rest::Keep => Ok(()),
        };
        ensure_eq!(done(&fences[0])?, ends);
        ensure_eq!(done(&fences[1])?, Err(Errno::ETIME));
        ensure_eq!(done(&fences[2])?, ends);
        // Queued jobs stay queued, and run.
        ensure_eq!(done(&behind)?, Ok(()));
        ensure_eq!(outcome(&queue, rig.gpu.done(5))?, Ok(()));
        order.ensure_in_order(3)?;
        drop((watches, queue));
        rig.finish()?;
    }
    Ok(())
}

suite! { ringfence_recovery of recovery {
    stop_waits_for_the_callback_that_runs,
    nothing_begins_while_stopped_and_restart_visits,
    walk_shows_jobs_in_order,
    walk_ends_jobs_in_order,
    late_completion_of_an_attempt_before_the_reset,
    replay_answers_done_failed_or_panics,
    job_completes_while_it_is_walked,
    forgotten_pending_job_is_kept,
    everything_else_goes_on_while_stopped,
    driver_is_not_dropped_under_the_guard,
    guilty_job_fails_and_the_rest_is_as_chosen,
} }
