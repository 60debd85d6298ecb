// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Faults of the job queue that was proposed for the kernel (`rust/kernel/drm/jq.rs`, RFC).

use std::sync::Arc;
use std::thread;

use ringfence::{Errno, Fence, Queue, Timeline};

use crate::common::mock::{Does, Mock, What};
use crate::common::{done, eventually, on_signal, submit, Rig};

/// Kicking the worker allocated, under a lock and in fence callbacks. That nothing is allocated is
/// counted in `no_allocation.rs`; here the kick comes from a callback, and goes through.
pub(crate) fn jobqueue_1_worker_kicked_from_a_fence_callback() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").bypass(true));
    let timeline = Timeline::new("t");
    for tag in 0..50 {
        let (signaller, open) = timeline.signaller();
        let fence = submit(&queue, rig.gpu.done(tag), &[&open]);
        signaller.signal(Ok(()));
        assert_eq!(done(&fence), Ok(()));
    }
    let seen = rig.gpu.seen();
    let runs: Vec<_> = seen
        .iter()
        .filter(|seen| seen.what == What::RunBegins)
        .collect();
    assert!(
        runs.iter().all(|run| run.pool),
        "the driver is never called in a fence callback"
    );
    rig.finish();
}

/// A job whose hardware fence had signalled already was never removed.
pub(crate) fn jobqueue_2_hardware_fence_signalled_already() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    for (tag, result) in [(1, Ok(())), (2, Err(Errno::EIO))] {
        let over = Fence::already_signalled(result);
        let fence = submit(&queue, rig.gpu.work(tag, Does::Follows(over)), &[]);
        assert_eq!(done(&fence), result);
        eventually("freed", || rig.gpu.count(tag, What::Dropped) == 1);
    }
    // One that signals while it is being registered.
    let timeline = Timeline::new("hardware");
    for tag in 10..200 {
        let (signaller, hardware) = timeline.signaller();
        let fence = submit(&queue, rig.gpu.work(tag, Does::Follows(hardware)), &[]);
        signaller.signal(Ok(()));
        assert_eq!(done(&fence), Ok(()));
    }
    eventually("all are freed", || queue.is_empty());
    rig.finish();
}

/// Callbacks were registered with a pointer to a job whose making then failed.
pub(crate) fn jobqueue_3_failed_preparation_leaves_callbacks() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").capacity(2));
    let (signaller, open) = Timeline::new("t").signaller();
    for tag in 0..100 {
        // Prepared with a dependency and thrown away, or refused: nothing is registered.
        let mut job = queue.prepare(rig.gpu.done(tag), 1).unwrap();
        job.depends_on(&open).unwrap();
        drop(job);
        assert!(queue.prepare(rig.gpu.done(tag), 1000).is_err());
    }
    assert_eq!(rig.gpu.leftovers().0, 0);
    signaller.signal(Ok(()));
    assert_eq!(queue.stats().armed, 0);
    assert_eq!(done(&submit(&queue, rig.gpu.done(1000), &[&open])), Ok(()));
    rig.finish();
}

/// Dropping the queue left fences of waiting jobs unsignalled, and callbacks registered.
pub(crate) fn jobqueue_4_drop_with_waiting_jobs() {
    let rig = Rig::new();
    let timeline = Timeline::new("t");

    let queue = rig.queue("dropped");
    let (signaller, open) = timeline.signaller();
    let fence = submit(&queue, rig.gpu.done(1), &[&open]);
    let behind = submit(&queue, rig.gpu.done(2), &[]);
    drop(queue);
    assert_eq!(fence.status(), None, "not before what it waits for");
    signaller.signal(Ok(()));
    assert_eq!(done(&fence), Err(Errno::ECANCELED));
    assert_eq!(done(&behind), Err(Errno::ECANCELED));

    let queue = rig.queue("killed");
    let (never, open) = timeline.signaller();
    let fence = submit(&queue, rig.gpu.done(3), &[&open]);
    queue.kill(Errno::EIO);
    assert_eq!(done(&fence), Err(Errno::EIO));
    drop(queue);
    // The open fence holds nothing of the queue: it goes, though that one never signals.
    rig.device.unbind().unwrap();
    let name = fence.timeline_name();
    eventually("the queue goes", || {
        fence.timeline_name() == "signaled-timeline"
    });
    assert!(name == "killed" || name == "signaled-timeline");
    assert_eq!(rig.gpu.tags(What::RunBegins), []);
    never.signal(Ok(()));
    rig.finish();
}

/// A queue's lock was taken under a fence's, and the other way round.
pub(crate) fn jobqueue_5_lock_order_of_queue_and_fence() {
    let rig = Rig::new();
    let queues: Arc<Vec<_>> = Arc::new((0..2).map(|i| rig.queue(&format!("q{i}"))).collect());
    let timeline = Timeline::new("t");
    for round in 0..200 {
        let (signaller, open) = timeline.signaller();
        let left = submit(&queues[0], rig.gpu.done(round * 10), &[&open]);
        let right = submit(&queues[1], rig.gpu.done(round * 10 + 1), &[&open, &left]);
        let entered = Arc::clone(&queues);
        let watch = on_signal(&left, move |_| {
            // Enters both queues inside a callback of a fence of one of them.
            for queue in entered.iter() {
                let _ = (queue.stats(), queue.len(), queue.cancel(0, Errno::EIO));
            }
        });
        let (a, b) = (Arc::clone(&queues), left.clone());
        let other = thread::spawn(move || {
            // The other way round: watches a fence while it uses the queues.
            let _ = (a[0].stats(), b.status(), a[1].len(), b.is_signaled());
        });
        signaller.signal(Ok(()));
        assert_eq!(done(&right), Ok(()));
        // Its last callback may still be returning.
        assert_eq!(done(&left), Ok(()));
        other.join().unwrap();
        drop(watch);
    }
    drop(queues);
    rig.finish();
}

/// Credits were taken after run had returned, or not at all, and a cost above the capacity
/// blocked the queue for ever.
pub(crate) fn jobqueue_6_credits_taken_after_run() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").credits(2));
    assert!(
        queue.prepare(rig.gpu.done(0), 3).is_err(),
        "refused at prepare, never later"
    );
    // Completion races with the end of run, round and round: every credit comes back.
    for tag in 1..300 {
        let work = rig.gpu.calls(tag, move |submission| {
            let (completion, outcome) = submission.pending();
            match tag % 3 {
                0 => completion.complete(Ok(())),
                1 => drop(thread::spawn(move || completion.complete(Ok(())))),
                _ => completion.complete_in_irq(Ok(())),
            }
            outcome
        });
        eventually("room", || queue.prepare(rig.gpu.done(0), 1).is_ok());
        let fence = queue.prepare(work, 1 + (tag % 2) as u32).unwrap().submit();
        if tag % 8 == 0 {
            assert_eq!(done(&fence), Ok(()));
        }
    }
    let all = queue.prepare(rig.gpu.done(1000), 2).unwrap().submit();
    assert_eq!(done(&all), Ok(()), "both credits are there");
    drop(queue);
    rig.finish();
}

/// A dependency that signals while the job that waits for it is on its way in.
pub(crate) fn dependency_signals_during_submit() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").bypass(true));
    let timeline = Timeline::new("t");
    for tag in 0..500 {
        let (signaller, open) = timeline.signaller();
        let mut job = queue.prepare(rig.gpu.done(tag), 1).unwrap();
        job.depends_on(&open).unwrap();
        let fence = thread::scope(|scope| {
            scope.spawn(move || signaller.signal(Ok(())));
            job.submit()
        });
        assert_eq!(done(&fence), Ok(()));
    }
    drop(queue);
    rig.finish();
}
