// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Stop, walk, replay: what who has stopped a queue can do, and what goes on meanwhile.

use std::sync::mpsc;
use std::thread;

use ringfence::{ClosePolicy, Errno, Fence, Guilty, Queue, Replayed, Rest, StopError};

use crate::common::mock::{Mock, What};
use crate::common::{done, eventually, submit, Order, Rig};

/// Jobs 1 to `count`, on the hardware.
pub(super) fn on_hardware(rig: &Rig, queue: &Queue<Mock>, count: u64) -> Vec<Fence> {
    let fences = (1..=count).map(|tag| submit(queue, rig.gpu.waits(tag), &[]));
    let fences = fences.collect();
    rig.gpu.wait_running(count);
    fences
}

pub(crate) fn stop_waits_for_the_callback_that_runs() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let (release, wait) = mpsc::channel::<()>();
    let work = rig.gpu.calls(1, move |submission| {
        // The sender's end ends it.
        let _ = wait.recv();
        submission.done()
    });
    let fence = submit(&queue, work, &[]);
    rig.gpu.wait_for(1, What::RunBegins);
    thread::scope(|scope| {
        let (queue, gpu) = (&queue, &rig.gpu);
        let stops = scope.spawn(move || {
            let stopped = queue.stop().unwrap();
            let ended = gpu.count(1, What::RunEnds);
            drop(stopped);
            ended
        });
        eventually("the stop waits", || queue.snapshot().contains("stopped"));
        assert!(!stops.is_finished());
        drop(release);
        assert_eq!(stops.join().unwrap(), 1, "not before the callback is over");
    });
    assert_eq!(done(&fence), Ok(()));
    drop(queue);
    rig.finish();
}

pub(crate) fn nothing_begins_while_stopped_and_restart_visits() {
    for bypass in [false, true] {
        let rig = Rig::new();
        let queue = rig.build(Queue::<Mock>::builder("q").bypass(bypass));
        let stopped = queue.stop().unwrap();
        let fences: Vec<_> = (1..=5)
            .map(|tag| submit(&queue, rig.gpu.done(tag), &[]))
            .collect();
        queue.suspend();
        assert!(queue.resume());
        assert_eq!(rig.gpu.tags(What::RunBegins), []);
        drop(stopped);
        for fence in &fences {
            assert_eq!(done(fence), Ok(()));
        }
        assert_eq!(rig.gpu.tags(What::RunBegins), [1, 2, 3, 4, 5]);
        drop(queue);
        rig.finish();
    }
}

pub(crate) fn walk_shows_jobs_in_order() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let fences = on_hardware(&rig, &queue, 4);
    let behind = submit(&queue, rig.gpu.done(5), &[&fences[0]]);
    rig.gpu.complete(2, Ok(()));
    let mut stopped = queue.stop().unwrap();
    let mut seen = Vec::new();
    let mut walk = stopped.pending();
    while let Some(mut job) = walk.next() {
        let tag = job.payload().tag;
        assert_eq!(tag, job.seqno());
        assert_eq!((job.cost(), job.attempt().replays()), (1, 0));
        assert!(job.replay_data().is_empty() && !job.has_ended());
        assert!(job.age() < crate::common::LONG);
        seen.push(job.seqno());
        // Dropped without a word, it is kept.
    }
    assert_eq!(seen, [1, 3, 4], "on the hardware, and nothing else");
    drop(stopped);
    for tag in [1, 3, 4] {
        rig.gpu.complete(tag, Ok(()));
    }
    for fence in fences.iter().chain([&behind]) {
        assert_eq!(done(fence), Ok(()));
    }
    drop(queue);
    rig.finish();
}

pub(crate) fn walk_ends_jobs_in_order() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let order = Order::default();
    let fences = on_hardware(&rig, &queue, 4);
    let watches = order.watch_all(&fences);
    let mut stopped = queue.stop().unwrap();
    let mut walk = stopped.pending();
    assert!(walk.next().unwrap().time_out(Errno::ETIME));
    assert!(walk.next().unwrap().fail(Errno::EIO));
    walk.next().unwrap().keep();
    assert!(walk.next().unwrap().complete(Ok(())));
    assert!(walk.next().is_none());
    assert_eq!(fences[0].status(), Some(Err(Errno::ETIME)));
    assert_eq!(fences[1].status(), Some(Err(Errno::EIO)));
    assert_eq!(fences[3].status(), None, "in its turn");
    drop(stopped);
    rig.gpu.complete(3, Ok(()));
    assert_eq!(done(&fences[3]), Ok(()));
    order.assert_in_order(4);
    let stats = queue.stats();
    assert_eq!((stats.timed_out, stats.failed, stats.strikes), (1, 1, 1));
    drop((watches, queue));
    rig.finish();
}

/// The hardware's word of the first attempt comes late: after the reset, the job is being done
/// again, and must not end with it.
pub(crate) fn late_completion_of_an_attempt_before_the_reset() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let fences = on_hardware(&rig, &queue, 2);
    let (completed_late, dropped_late) = (rig.gpu.take(1), rig.gpu.take(2));
    let mut stopped = queue.stop().unwrap();
    let recovered = stopped.recover(None, Rest::Replay);
    assert_eq!(recovered.replayed, 2);
    drop(stopped);
    completed_late.complete(Err(Errno::EIO));
    drop(dropped_late);
    assert_eq!(fences[0].status(), None);
    assert_eq!(fences[1].status(), None);
    assert_eq!(queue.stats().late_completions, 2);
    let second = rig.gpu.take(1);
    assert_eq!(second.attempt().replays(), 1);
    second.complete(Ok(()));
    rig.gpu.complete(2, Ok(()));
    assert_eq!((done(&fences[0]), done(&fences[1])), (Ok(()), Ok(())));
    // Run was called once for each: the mock complains otherwise.
    assert_eq!(rig.gpu.tags(What::RunBegins), [1, 2]);
    assert_eq!(rig.gpu.tags(What::Replay), [1, 2]);
    drop(queue);
    rig.finish();
}

pub(crate) fn replay_answers_done_failed_or_panics() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let work = |tag| rig.gpu.waits(tag);
    let first = submit(&queue, work(1).when_replayed(|again| again.done()), &[]);
    let failing = work(2).when_replayed(|again| again.failed(Errno::EIO));
    let second = submit(&queue, failing, &[]);
    let third = submit(&queue, work(3), &[]);
    rig.gpu.wait_running(3);
    let mut stopped = queue.stop().unwrap();
    let recovered = stopped.recover(None, Rest::Replay);
    let counts = (recovered.completed, recovered.failed, recovered.replayed);
    assert_eq!(counts, (1, 1, 1));
    drop(stopped);
    assert_eq!((done(&first), done(&second)), (Ok(()), Err(Errno::EIO)));
    rig.gpu.complete(3, Ok(()));
    assert_eq!(done(&third), Ok(()));

    let panics = submit(&queue, work(4).when_replayed(|_| panic!("meant")), &[]);
    let behind = submit(&queue, work(5), &[]);
    rig.gpu.wait_running(5);
    let mut stopped = queue.stop().unwrap();
    let recovered = stopped.recover(None, Rest::Replay);
    assert_eq!(recovered.replayed, 0);
    drop(stopped);
    for fence in [&panics, &behind] {
        assert_eq!(done(fence), Err(Errno::EOWNERDEAD));
    }
    drop(queue);
    rig.finish();
}

/// A job completes while the walk has it: it is not punished, and not freed before it is let go.
pub(crate) fn job_completes_while_it_is_walked() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let fences = on_hardware(&rig, &queue, 2);
    let mut stopped = queue.stop().unwrap();
    let mut walk = stopped.pending();
    let mut job = walk.next().unwrap();
    rig.gpu.complete(1, Ok(()));
    assert_eq!(fences[0].status(), Some(Ok(())), "its fence does not wait");
    assert!(job.has_ended());
    assert_eq!((job.payload().tag, rig.gpu.count(1, What::Dropped)), (1, 0));
    assert!(!job.time_out(Errno::ETIME));
    assert_eq!(rig.gpu.count(1, What::Dropped), 1, "let go of");
    let job = walk.next().unwrap();
    rig.gpu.complete(2, Ok(()));
    assert_eq!(job.replay(), Replayed::Ended);
    drop(stopped);
    assert_eq!(rig.gpu.tags(What::Replay), []);
    assert_eq!(queue.stats().strikes, 0);
    assert_eq!((done(&fences[0]), done(&fences[1])), (Ok(()), Ok(())));
    drop(queue);
    rig.finish();
}

/// A guard's jobs that are forgotten are kept, and the guard restarts all the same.
pub(crate) fn forgotten_pending_job_is_kept() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let fences = on_hardware(&rig, &queue, 2);
    let mut stopped = queue.stop().unwrap();
    let mut walk = stopped.pending();
    std::mem::forget(walk.next());
    let second = walk.next().unwrap();
    assert_eq!(second.seqno(), 2);
    std::mem::forget(second);
    drop(stopped);
    queue.check_invariants().unwrap();
    for (fence, tag) in fences.iter().zip(1..) {
        rig.gpu.complete(tag, Ok(()));
        assert_eq!(done(fence), Ok(()));
    }
    drop(queue.stop().unwrap());
    drop(queue);
    rig.finish();
}

pub(crate) fn everything_else_goes_on_while_stopped() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").close_policy(ClosePolicy::Drain));
    let order = Order::default();
    let mut fences = on_hardware(&rig, &queue, 3);
    let mut stopped = queue.stop().unwrap();
    fences.push(submit(&queue, rig.gpu.done(4), &[]));
    fences.push(submit(&queue, rig.gpu.done(5), &[]));
    let watches = order.watch_all(&fences);
    rig.gpu.complete(1, Ok(()));
    assert_eq!(fences[0].status(), Some(Ok(())));
    queue.cancel(5, Errno::ECANCELED).unwrap();
    queue.close();
    assert!(queue.closed().status().is_none());
    // The guard is not upset by any of it.
    assert_eq!(stopped.pending().next().unwrap().seqno(), 2);
    rig.gpu.complete(2, Ok(()));
    rig.gpu.complete(3, Err(Errno::EIO));
    assert_eq!(fences[2].status(), Some(Err(Errno::EIO)));
    assert_eq!(fences[3].status(), None, "it drains when it is let");
    drop(stopped);
    assert_eq!(done(&queue.closed()), Ok(()));
    assert_eq!(fences[3].status(), Some(Ok(())));
    assert_eq!(fences[4].status(), Some(Err(Errno::ECANCELED)));
    order.assert_in_order(5);
    drop((watches, queue));
    rig.finish();
}

/// A killed queue, and one whose handle is gone, keep their driver for as long as somebody has
/// stopped them.
pub(crate) fn driver_is_not_dropped_under_the_guard() {
    let rig = Rig::new();
    let queue = std::sync::Arc::new(rig.queue("q"));
    let fences = on_hardware(&rig, &queue, 2);
    let mut stopped = queue.stop().unwrap();
    stopped.kill(Errno::EIO);
    for fence in &fences {
        assert_eq!(fence.status(), Some(Err(Errno::EIO)));
    }
    queue.close();
    assert!(stopped.pending().next().is_none());
    stopped.driver().hardware += 1;
    assert_eq!(rig.gpu.leftovers().1, 1);
    assert!(queue.closed().status().is_none());
    drop(stopped);
    assert_eq!(done(&queue.closed()), Ok(()));
    assert_eq!(rig.gpu.leftovers().1, 0, "and goes with it");
    assert_eq!(queue.stop().unwrap_err(), StopError::Closed);
    drop(queue);
    rig.finish();
}

pub(crate) fn guilty_job_fails_and_the_rest_is_as_chosen() {
    let rest = [Rest::Replay, Rest::Cancel, Rest::Keep];
    for rest in rest {
        let rig = Rig::new();
        let queue = rig.queue("q");
        let order = Order::default();
        let fences = on_hardware(&rig, &queue, 3);
        let behind = submit(&queue, rig.gpu.done(4), &[]);
        let watches = order.watch_all(&fences);
        let mut stopped = queue.stop().unwrap();
        let guilty = Guilty {
            seqno: 2,
            error: Errno::ETIME,
        };
        let recovered = stopped.recover(Some(guilty), rest);
        assert_eq!(recovered.failed, 1);
        let others = recovered.replayed + recovered.cancelled + recovered.kept;
        assert_eq!(others, 2);
        drop(stopped);
        if rest != Rest::Cancel {
            rig.gpu.complete(1, Ok(()));
            rig.gpu.complete(3, Ok(()));
        }
        let ends = match rest {
            Rest::Cancel => Err(Errno::ECANCELED),
            Rest::Replay | Rest::Keep => Ok(()),
        };
        assert_eq!(done(&fences[0]), ends);
        assert_eq!(done(&fences[1]), Err(Errno::ETIME));
        assert_eq!(done(&fences[2]), ends);
        assert_eq!(done(&behind), Ok(()), "queued jobs stay queued, and run");
        order.assert_in_order(3);
        drop((watches, queue));
        rig.finish();
    }
}
