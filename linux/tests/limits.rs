// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Credits, capacity, cancelling, closing; and (`growth`) how a ring gets its capacity.

mod growth;

use kernel::prelude::*;

use ringfence::{
    Cancelled, ClosePolicy, Errno, PrepareError, PrepareFailed, Prepared, Queue, Timeline,
};
use ringfence_core::PrepareError as Refused;

use crate::rig::{done, eventually, many, submit, Does, Mock, Order, Rig, What, Work};

pub(crate) use growth::*;

/// That it was not prepared, and why not; drops the payload.
fn refusal(refused: Result<Prepared<'_, Mock>, PrepareFailed<Work>>) -> Option<Refused> {
    match refused {
        Err(PrepareFailed {
            error: PrepareError::Refused(error),
            ..
        }) => Some(error),
        _ => None,
    }
}

pub(crate) fn credits() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").credits(2))?;
    let fences = many(6, |tag| submit(&queue, rig.gpu.waits(tag), &[]))?;
    for tag in 0..6 {
        rig.gpu.wait_running(tag)?;
        // Two credits, so many runs, with `tag` complete.
        ensure!(rig.gpu.tags(What::RunBegins)?.len() as u64 <= tag + 2);
        rig.gpu.complete(tag, Ok(()))?;
    }
    ensure_eq!(done(&fences[5])?, Ok(()));
    ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq(0..6));
    drop(queue);
    rig.finish()
}

pub(crate) fn credits_of_different_costs() -> Result {
    let rig = Rig::new()?;
    let (queue, other) = (
        rig.build(Queue::<Mock>::builder(c"q").credits(4))?,
        rig.queue(c"p")?,
    );
    let small = queue.prepare(rig.gpu.waits(1), 1, GFP_KERNEL)?.submit();
    let big = queue.prepare(rig.gpu.waits(2), 4, GFP_KERNEL)?.submit();
    let fits = queue.prepare(rig.gpu.done(3), 1, GFP_KERNEL)?.submit();
    rig.gpu.wait_running(1)?;
    // A job on another queue shows that the workers found nothing else to do here.
    let probe = submit(&other, rig.gpu.done(9), &[])?;
    ensure_eq!(done(&probe)?, Ok(()));
    // One credit is taken.
    ensure_eq!(rig.gpu.count(2, What::RunBegins), 0);
    // Nobody overtakes.
    ensure_eq!(rig.gpu.count(3, What::RunBegins), 0);
    rig.gpu.complete(1, Ok(()))?;
    rig.gpu.complete(2, Err(Errno::EIO))?;
    ensure_eq!(done(&fits)?, Ok(()));
    ensure_eq!(
        (small.status(), big.status()),
        (Some(Ok(())), Some(Err(Errno::EIO)))
    );
    drop((queue, other));
    rig.finish()
}

pub(crate) fn cost_zero() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").credits(1))?;
    let full = queue.prepare(rig.gpu.waits(1), 1, GFP_KERNEL)?.submit();
    let free = queue.prepare(rig.gpu.waits(2), 0, GFP_KERNEL)?.submit();
    rig.gpu.wait_running(1)?;
    rig.gpu.wait_running(2)?;
    rig.gpu.complete(2, Ok(()))?;
    // In its turn.
    ensure_eq!(free.status(), None);
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(done(&free)?, Ok(()));
    ensure_eq!(full.status(), Some(Ok(())));
    drop(queue);
    rig.finish()
}

pub(crate) fn cost_above_the_limit() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").credits(3))?;
    let Err(refused) = queue.prepare(rig.gpu.done(1), 4, GFP_KERNEL) else {
        return Err(EINVAL);
    };
    let error = Refused::CostAboveLimit { cost: 4, limit: 3 };
    ensure_eq!(refused.error, PrepareError::Refused(error));
    // The payload comes back.
    ensure_eq!(refused.payload.tag, 1);
    drop(refused);
    let whole = queue.prepare(rig.gpu.done(2), 3, GFP_KERNEL)?.submit();
    ensure_eq!(done(&whole)?, Ok(()));
    drop(queue);
    rig.finish()
}

pub(crate) fn queue_full() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").capacity(2))?;
    let first = submit(&queue, rig.gpu.waits(1), &[])?;
    let second = queue.prepare(rig.gpu.done(2), 1, GFP_KERNEL)?;
    let third = queue.prepare(rig.gpu.done(3), 1, GFP_KERNEL);
    ensure_eq!(refusal(third), Some(Refused::Full));
    drop(second);
    let second = submit(&queue, rig.gpu.done(4), &[])?;
    let third = queue.prepare(rig.gpu.done(5), 1, GFP_KERNEL);
    ensure_eq!(refusal(third), Some(Refused::Full));
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(done(&second)?, Ok(()));
    ensure_eq!(first.status(), Some(Ok(())));
    eventually("room again", || {
        queue.prepare(rig.gpu.done(6), 1, GFP_KERNEL).is_ok()
    })?;
    ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq([1, 4]));
    drop(queue);
    rig.finish()
}

pub(crate) fn cancel() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").credits(1))?;
    let order = Order::new(4)?;
    let fences = many(4, |at| submit(&queue, rig.gpu.waits(at + 1), &[]))?;
    let watches = order.watch_all(&fences)?;
    rig.gpu.wait_running(1)?;
    ensure_eq!(queue.cancel(3, Errno::ECANCELED), Ok(Cancelled::Yes));
    ensure_eq!(queue.cancel(1, Errno::ECANCELED), Ok(Cancelled::TooLate));
    ensure!(queue.cancel(5, Errno::ECANCELED).is_err());
    rig.gpu.complete(1, Ok(()))?;
    rig.gpu.wait_running(2)?;
    // Not before its turn.
    ensure_eq!(fences[2].status(), None);
    rig.gpu.complete(2, Ok(()))?;
    rig.gpu.complete(4, Ok(()))?;
    ensure_eq!(done(&fences[3])?, Ok(()));
    ensure_eq!(fences[2].status(), Some(Err(Errno::ECANCELED)));
    ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq([1, 2, 4]));
    order.ensure_in_order(4)?;
    eventually("all are gone", || queue.is_empty())?;
    ensure!(queue.cancel(3, Errno::ECANCELED).is_err());
    drop((watches, queue));
    rig.finish()
}

pub(crate) fn cancel_with_open_dependency() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let (signaller, open) = Timeline::new(c"test", c"t", GFP_KERNEL)?.signaller(GFP_KERNEL)?;
    let fence = submit(&queue, rig.gpu.done(1), &[&open])?;
    ensure_eq!(queue.cancel(1, Errno::EIO), Ok(Cancelled::Yes));
    // Whoever holds it takes it for what the job waits for.
    ensure_eq!(fence.status(), None);
    signaller.signal(Ok(()));
    ensure_eq!(done(&fence)?, Err(Errno::EIO));
    ensure!(rig.gpu.tags(What::RunBegins)?.is_empty());
    drop(queue);
    rig.finish()
}

pub(crate) fn cancel_armed() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").bypass(true))?;
    let job = queue.prepare(rig.gpu.done(1), 1, GFP_KERNEL)?;
    let mut guard = queue.submission_guard()?;
    let armed = guard.arm(job).map_err(|_| EINVAL)?;
    let fence = armed.finished();
    ensure_eq!(queue.cancel(1, Errno::EIO), Ok(Cancelled::Yes));
    armed.submit();
    drop(guard);
    ensure_eq!(done(&fence)?, Err(Errno::EIO));
    ensure!(rig.gpu.tags(What::RunBegins)?.is_empty());
    drop(queue);
    rig.finish()
}

pub(crate) fn close_cancels_in_order() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").credits(2))?;
    let order = Order::new(10)?;
    let fences = many(10, |tag| submit(&queue, rig.gpu.waits(tag), &[]))?;
    let watches = order.watch_all(&fences)?;
    rig.gpu.wait_running(1)?;
    queue.close();
    let late = queue.prepare(rig.gpu.done(99), 1, GFP_KERNEL);
    ensure_eq!(refusal(late), Some(Refused::Closed));
    // Two are on the hardware, before all others.
    ensure!(order.seen()?.is_empty());
    rig.gpu.complete(1, Ok(()))?;
    rig.gpu.complete(0, Ok(()))?;
    let closed = queue.closed(GFP_KERNEL)?;
    ensure_eq!(done(&closed)?, Ok(()));
    order.ensure_in_order(10)?;
    let seen = order.seen()?;
    let cancelled = seen
        .iter()
        .filter(|(_, result)| *result == Err(Errno::ECANCELED));
    ensure_eq!(cancelled.count(), 8);
    ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq([0, 1]));
    drop((watches, queue));
    rig.finish()
}

pub(crate) fn close_drains_in_order() -> Result {
    let rig = Rig::new()?;
    let builder = Queue::<Mock>::builder(c"q").close_policy(ClosePolicy::Drain);
    let queue = rig.build(builder.credits(1))?;
    let order = Order::new(10)?;
    let fences = many(10, |tag| submit(&queue, rig.gpu.waits(tag), &[]))?;
    let watches = order.watch_all(&fences)?;
    let closed = queue.closed(GFP_KERNEL)?;
    drop(queue);
    for tag in 0..10 {
        ensure_eq!(closed.status(), None);
        rig.gpu.complete(tag, Ok(()))?;
    }
    ensure_eq!(done(&closed)?, Ok(()));
    order.ensure_in_order(10)?;
    ensure!(order.seen()?.iter().all(|(_, result)| *result == Ok(())));
    drop(watches);
    rig.finish()
}

pub(crate) fn cleanup_with_half_the_jobs_pending() -> Result {
    for policy in [ClosePolicy::Cancel, ClosePolicy::Drain] {
        let rig = Rig::new()?;
        let queue = rig.build(Queue::<Mock>::builder(c"q").close_policy(policy).credits(5))?;
        let order = Order::new(10)?;
        let fences = many(10, |tag| submit(&queue, rig.gpu.waits(tag), &[]))?;
        let watches = order.watch_all(&fences)?;
        rig.gpu.wait_running(4)?;
        let closed = queue.closed(GFP_KERNEL)?;
        drop(queue);
        for tag in 0..10 {
            if tag < 5 || policy == ClosePolicy::Drain {
                rig.gpu.complete(tag, Ok(()))?;
            }
        }
        ensure_eq!(done(&closed)?, Ok(()));
        order.ensure_in_order(10)?;
        let seen = order.seen()?;
        let well = seen.iter().filter(|(_, result)| *result == Ok(())).count();
        ensure_eq!(well, if policy == ClosePolicy::Drain { 10 } else { 5 });
        drop(watches);
        rig.finish()?;
    }
    Ok(())
}

pub(crate) fn closed_signals_when_nothing_is_left() -> Result {
    let rig = Rig::new()?;
    let idle = rig.queue(c"idle")?;
    let closed = idle.closed(GFP_KERNEL)?;
    ensure_eq!(closed.status(), None);
    idle.close();
    // At once, with nothing in it.
    ensure_eq!(done(&closed)?, Ok(()));
    idle.close_with(ClosePolicy::Drain);
    idle.kill(Errno::EIO);
    // Once.
    let again = idle.closed(GFP_KERNEL)?;
    ensure_eq!(done(&again)?, Ok(()));
    idle.wait_closed();

    let killed = rig.queue(c"killed")?;
    let fence = submit(&killed, rig.gpu.waits(1), &[])?;
    rig.gpu.wait_running(1)?;
    killed.kill(Errno::EIO);
    // Before kill returns.
    ensure_eq!(fence.status(), Some(Err(Errno::EIO)));
    let closed = killed.closed(GFP_KERNEL)?;
    ensure_eq!(done(&closed)?, Ok(()));
    let refused = killed.prepare(rig.gpu.done(2), 1, GFP_KERNEL);
    ensure_eq!(refusal(refused), Some(Refused::Killed(Errno::EIO)));
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(killed.stats().late_completions, 1);
    drop((idle, killed));
    rig.finish()
}

pub(crate) fn long_running_queue() -> Result {
    let rig = Rig::new()?;
    let builder = Queue::<Mock>::builder(c"q");
    let driver = rig.gpu.driver();
    let queue = builder.build_long_running(&rig.device, &rig.executor, driver, GFP_KERNEL)?;
    let () = queue.prepare(rig.gpu.waits(1), 1, GFP_KERNEL)?.submit();
    rig.gpu.complete(1, Ok(()))?;
    eventually("it ends", || queue.stats().completed == 1)?;
    queue.close();
    let closed = queue.closed(GFP_KERNEL)?;
    ensure_eq!(done(&closed)?, Ok(()));
    drop(queue);
    rig.finish()
}

/// Around the top of 64 bits. The kernel's `dma_fence_is_later()` compares such numbers plainly, as
/// no fence gets there: what is later is asked of the run order here.
pub(crate) fn sequence_numbers_wrap() -> Result {
    let rig = Rig::new()?;
    let builder = Queue::<Mock>::builder(c"q").first_seqno(u64::MAX - 4);
    let queue = rig.build(builder.credits(3))?;
    queue.suspend();
    let fences = many(10, |tag| {
        submit(&queue, rig.gpu.work(tag, Does::Takes(1)), &[])
    })?;
    ensure_eq!(fences[0].seqno(), u64::MAX - 4);
    ensure_eq!(fences[9].seqno(), 4);
    ensure!(queue.resume());
    eventually("all have signalled", || {
        rig.gpu.advance(1);
        // In order: whoever sees one sees all before it.
        let open = fences.iter().position(|fence| !fence.is_signaled());
        open.is_none()
    })?;
    for fence in &fences {
        ensure_eq!(fence.status(), Some(Ok(())));
    }
    ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq(0..10));
    ensure_eq!(queue.check_invariants(), Ok(()));
    drop(queue);
    rig.finish()
}

pub(crate) fn prepared_outlives_its_queue() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let kept = queue.prepare(rig.gpu.done(1), 1, GFP_KERNEL)?.detach();
    let dropped = queue.prepare(rig.gpu.done(2), 1, GFP_KERNEL)?.detach();
    drop(queue);
    let fence = kept.submit();
    ensure_eq!(done(&fence)?, Err(Errno::ECANCELED));
    drop(dropped);
    eventually("nothing holds the queue any more", || {
        rig.gpu.leftovers() == (0, 0)
    })?;
    rig.finish()
}

pub(crate) fn drop_of_a_suspended_queue_that_drains() -> Result {
    // Nobody can resume it any more; its fences signal all the same.
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").close_policy(ClosePolicy::Drain))?;
    queue.suspend();
    let fence = submit(&queue, rig.gpu.done(1), &[])?;
    let closed = queue.closed(GFP_KERNEL)?;
    drop(queue);
    let _any = done(&fence)?;
    ensure_eq!(done(&closed)?, Ok(()));
    rig.finish()
}

suite! { ringfence_limits of limits {
    credits,
    credits_of_different_costs,
    cost_zero,
    cost_above_the_limit,
    queue_full,
    cancel,
    cancel_with_open_dependency,
    cancel_armed,
    close_cancels_in_order,
    close_drains_in_order,
    cleanup_with_half_the_jobs_pending,
    closed_signals_when_nothing_is_left,
    long_running_queue,
    sequence_numbers_wrap,
    prepared_outlives_its_queue,
    drop_of_a_suspended_queue_that_drains,
    ring_grows_with_jobs_in_flight,
    ring_does_not_grow_for_atomic_memory,
    ring_is_grown_by_several_at_once,
    last_growth_is_for_all,
    last_rooms_are_for_all,
    closed_while_a_cost_is_refused,
} }
