// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Credits, capacity, cancelling, closing.

use ringfence::{Cancelled, ClosePolicy, Errno, PrepareError, Queue, Timeline};

use crate::common::mock::{Does, Mock, What};
use crate::common::{done, eventually, submit, Order, Rig};

pub(crate) fn credits() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").credits(2));
    let fences: Vec<_> = (0..6)
        .map(|tag| submit(&queue, rig.gpu.waits(tag), &[]))
        .collect();
    for tag in 0..6 {
        rig.gpu.wait_running(tag);
        let on = rig.gpu.tags(What::RunBegins).len() as u64;
        assert!(on <= tag + 2, "two credits, {on} runs with {tag} complete");
        rig.gpu.complete(tag, Ok(()));
    }
    assert_eq!(done(&fences[5]), Ok(()));
    assert_eq!(rig.gpu.tags(What::RunBegins), [0, 1, 2, 3, 4, 5]);
    rig.finish();
}

pub(crate) fn credits_of_different_costs() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").credits(4));
    let small = queue.prepare(rig.gpu.waits(1), 1).unwrap().submit();
    let big = queue.prepare(rig.gpu.waits(2), 4).unwrap().submit();
    let fits = queue.prepare(rig.gpu.done(3), 1).unwrap().submit();
    rig.gpu.wait_running(1);
    // A job on another queue shows that the workers found nothing else to do here.
    assert_eq!(done(&submit(&rig.queue("p"), rig.gpu.done(9), &[])), Ok(()));
    assert_eq!(rig.gpu.count(2, What::RunBegins), 0, "one credit is taken");
    assert_eq!(rig.gpu.count(3, What::RunBegins), 0, "nobody overtakes");
    rig.gpu.complete(1, Ok(()));
    rig.gpu.complete(2, Err(Errno::EIO));
    assert_eq!(done(&fits), Ok(()));
    assert_eq!(
        (small.status(), big.status()),
        (Some(Ok(())), Some(Err(Errno::EIO)))
    );
    rig.finish();
}

pub(crate) fn cost_zero() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").credits(1));
    let full = queue.prepare(rig.gpu.waits(1), 1).unwrap().submit();
    let free = queue.prepare(rig.gpu.waits(2), 0).unwrap().submit();
    rig.gpu.wait_running(1);
    rig.gpu.wait_running(2);
    rig.gpu.complete(2, Ok(()));
    assert_eq!(free.status(), None, "in its turn");
    rig.gpu.complete(1, Ok(()));
    assert_eq!(done(&free), Ok(()));
    assert_eq!(full.status(), Some(Ok(())));
    rig.finish();
}

pub(crate) fn cost_above_the_limit() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").credits(3));
    let refused = queue.prepare(rig.gpu.done(1), 4).unwrap_err();
    assert_eq!(
        refused.error,
        PrepareError::CostAboveLimit { cost: 4, limit: 3 }
    );
    assert_eq!(refused.payload.tag, 1, "the payload comes back");
    drop(refused);
    let whole = queue.prepare(rig.gpu.done(2), 3).unwrap().submit();
    assert_eq!(done(&whole), Ok(()));
    rig.finish();
}

pub(crate) fn queue_full() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").capacity(2));
    let first = submit(&queue, rig.gpu.waits(1), &[]);
    let second = queue.prepare(rig.gpu.done(2), 1).unwrap();
    assert_eq!(
        queue.prepare(rig.gpu.done(3), 1).unwrap_err().error,
        PrepareError::Full
    );
    drop(second);
    let second = submit(&queue, rig.gpu.done(4), &[]);
    assert_eq!(
        queue.prepare(rig.gpu.done(5), 1).unwrap_err().error,
        PrepareError::Full
    );
    rig.gpu.complete(1, Ok(()));
    assert_eq!(done(&second), Ok(()));
    assert_eq!(first.status(), Some(Ok(())));
    eventually("room again", || queue.prepare(rig.gpu.done(6), 1).is_ok());
    assert_eq!(rig.gpu.tags(What::RunBegins), [1, 4]);
    rig.finish();
}

pub(crate) fn cancel() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").credits(1));
    let order = Order::default();
    let fences: Vec<_> = (1..=4)
        .map(|tag| submit(&queue, rig.gpu.waits(tag), &[]))
        .collect();
    let _watches = order.watch_all(&fences);
    rig.gpu.wait_running(1);
    assert_eq!(queue.cancel(3, Errno::ECANCELED), Ok(Cancelled::Yes));
    assert_eq!(queue.cancel(1, Errno::ECANCELED), Ok(Cancelled::TooLate));
    assert!(queue.cancel(5, Errno::ECANCELED).is_err());
    rig.gpu.complete(1, Ok(()));
    rig.gpu.wait_running(2);
    assert_eq!(fences[2].status(), None, "not before its turn");
    rig.gpu.complete(2, Ok(()));
    rig.gpu.complete(4, Ok(()));
    assert_eq!(done(&fences[3]), Ok(()));
    assert_eq!(fences[2].status(), Some(Err(Errno::ECANCELED)));
    assert_eq!(rig.gpu.tags(What::RunBegins), [1, 2, 4]);
    order.assert_in_order(4);
    eventually("all are gone", || queue.is_empty());
    assert!(queue.cancel(3, Errno::ECANCELED).is_err());
    rig.finish();
}

pub(crate) fn cancel_with_open_dependency() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let (signaller, open) = Timeline::new("t").signaller();
    let fence = submit(&queue, rig.gpu.done(1), &[&open]);
    assert_eq!(queue.cancel(1, Errno::EIO), Ok(Cancelled::Yes));
    assert_eq!(
        fence.status(),
        None,
        "whoever holds it takes it for what the job waits for"
    );
    signaller.signal(Ok(()));
    assert_eq!(done(&fence), Err(Errno::EIO));
    assert!(rig.gpu.tags(What::RunBegins).is_empty());
    rig.finish();
}

pub(crate) fn cancel_armed() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").bypass(true));
    let mut guard = queue.submission_guard();
    let armed = guard
        .arm(queue.prepare(rig.gpu.done(1), 1).unwrap())
        .unwrap();
    let fence = armed.finished();
    assert_eq!(queue.cancel(1, Errno::EIO), Ok(Cancelled::Yes));
    armed.submit();
    drop(guard);
    assert_eq!(done(&fence), Err(Errno::EIO));
    assert!(rig.gpu.tags(What::RunBegins).is_empty());
    rig.finish();
}

pub(crate) fn close_cancels_in_order() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").credits(2));
    let order = Order::default();
    let fences: Vec<_> = (0..10)
        .map(|tag| submit(&queue, rig.gpu.waits(tag), &[]))
        .collect();
    let _watches = order.watch_all(&fences);
    rig.gpu.wait_running(1);
    queue.close();
    assert_eq!(
        queue.prepare(rig.gpu.done(99), 1).unwrap_err().error,
        PrepareError::Closed
    );
    assert!(
        order.seen().is_empty(),
        "two are on the hardware, before all others"
    );
    rig.gpu.complete(1, Ok(()));
    rig.gpu.complete(0, Ok(()));
    assert_eq!(done(&queue.closed()), Ok(()));
    order.assert_in_order(10);
    let cancelled = order
        .seen()
        .iter()
        .filter(|(_, r)| *r == Err(Errno::ECANCELED))
        .count();
    assert_eq!(cancelled, 8);
    assert_eq!(rig.gpu.tags(What::RunBegins), [0, 1]);
    rig.finish();
}

pub(crate) fn close_drains_in_order() {
    let rig = Rig::new();
    let queue = rig.build(
        Queue::<Mock>::builder("q")
            .close_policy(ClosePolicy::Drain)
            .credits(1),
    );
    let order = Order::default();
    let fences: Vec<_> = (0..10)
        .map(|tag| submit(&queue, rig.gpu.waits(tag), &[]))
        .collect();
    let _watches = order.watch_all(&fences);
    let closed = queue.closed();
    drop(queue);
    for tag in 0..10 {
        assert_eq!(closed.status(), None);
        rig.gpu.complete(tag, Ok(()));
    }
    assert_eq!(done(&closed), Ok(()));
    order.assert_in_order(10);
    assert!(order.seen().iter().all(|(_, result)| *result == Ok(())));
    rig.finish();
}

pub(crate) fn cleanup_with_half_the_jobs_pending() {
    for policy in [ClosePolicy::Cancel, ClosePolicy::Drain] {
        let rig = Rig::new();
        let builder = Queue::<Mock>::builder("q").close_policy(policy).credits(5);
        let queue = rig.build(builder);
        let order = Order::default();
        let fences: Vec<_> = (0..10)
            .map(|tag| submit(&queue, rig.gpu.waits(tag), &[]))
            .collect();
        let _watches = order.watch_all(&fences);
        rig.gpu.wait_running(4);
        let closed = queue.closed();
        drop(queue);
        for tag in 0..10 {
            if tag < 5 || policy == ClosePolicy::Drain {
                rig.gpu.complete(tag, Ok(()));
            }
        }
        assert_eq!(done(&closed), Ok(()));
        order.assert_in_order(10);
        let well = order
            .seen()
            .iter()
            .filter(|(_, result)| *result == Ok(()))
            .count();
        assert_eq!(well, if policy == ClosePolicy::Drain { 10 } else { 5 });
        rig.finish();
    }
}

pub(crate) fn closed_signals_when_nothing_is_left() {
    let rig = Rig::new();
    let idle = rig.queue("idle");
    assert_eq!(idle.closed().status(), None);
    idle.close();
    assert_eq!(done(&idle.closed()), Ok(()), "at once, with nothing in it");
    idle.close_with(ClosePolicy::Drain);
    idle.kill(Errno::EIO);
    assert_eq!(done(&idle.closed()), Ok(()), "once");

    let killed = rig.queue("killed");
    let fence = submit(&killed, rig.gpu.waits(1), &[]);
    rig.gpu.wait_running(1);
    killed.kill(Errno::EIO);
    assert_eq!(fence.status(), Some(Err(Errno::EIO)), "before kill returns");
    assert_eq!(done(&killed.closed()), Ok(()));
    let refused = killed.prepare(rig.gpu.done(2), 1).unwrap_err();
    assert_eq!(refused.error, PrepareError::Killed(Errno::EIO));
    drop(refused);
    rig.gpu.complete(1, Ok(()));
    assert_eq!(killed.stats().late_completions, 1);
    rig.finish();
}

pub(crate) fn long_running_queue() {
    let rig = Rig::new();
    let executor = rig.pool.executor();
    let queue = Queue::<Mock>::builder("q")
        .build_long_running(&rig.device, executor, rig.gpu.driver())
        .unwrap();
    let () = queue.prepare(rig.gpu.waits(1), 1).unwrap().submit();
    rig.gpu.complete(1, Ok(()));
    eventually("it ends", || queue.stats().completed == 1);
    queue.close();
    assert_eq!(done(&queue.closed()), Ok(()));
    rig.finish();
}

pub(crate) fn sequence_numbers_wrap() {
    let rig = Rig::new();
    let queue = rig.build(
        Queue::<Mock>::builder("q")
            .first_seqno(u64::MAX - 4)
            .credits(3),
    );
    queue.suspend();
    let fences: Vec<_> = (0..10)
        .map(|tag| submit(&queue, rig.gpu.work(tag, Does::Takes(1)), &[]))
        .collect();
    assert_eq!(fences[9].seqno(), 4);
    assert!(fences[9].is_later_than(&fences[0]));
    assert!(queue.resume());
    let clock = rig.gpu.start_clock();
    for fence in &fences {
        assert_eq!(done(fence), Ok(()));
    }
    drop(clock);
    assert_eq!(rig.gpu.tags(What::RunBegins), (0..10).collect::<Vec<_>>());
    rig.finish();
}

pub(crate) fn prepared_outlives_its_queue() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let kept = queue.prepare(rig.gpu.done(1), 1).unwrap().detach();
    let dropped = queue.prepare(rig.gpu.done(2), 1).unwrap().detach();
    drop(queue);
    assert_eq!(done(&kept.submit()), Err(Errno::ECANCELED));
    drop(dropped);
    eventually("nothing holds the queue any more", || {
        rig.gpu.leftovers() == (0, 0)
    });
    rig.finish();
}

pub(crate) fn drop_of_a_suspended_queue_that_drains() {
    // Nobody can resume it any more; its fences signal all the same.
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").close_policy(ClosePolicy::Drain));
    queue.suspend();
    let fence = submit(&queue, rig.gpu.done(1), &[]);
    let closed = queue.closed();
    drop(queue);
    let _any = done(&fence);
    assert_eq!(done(&closed), Ok(()));
    rig.finish();
}
