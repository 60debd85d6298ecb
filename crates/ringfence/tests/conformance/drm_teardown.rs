// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Teardown bugs of the existing scheduler.

use std::sync::mpsc;
use std::thread;

use ringfence::{BuildError, ClosePolicy, Errno, PrepareError, Queue, Timeline};

use crate::common::mock::{Mock, What};
use crate::common::{done, eventually, submit, Order, Rig};

/// Jobs that were pending when the scheduler was torn down were never freed.
pub(crate) fn drm_4_1_pending_jobs_leak_at_teardown() {
    for kill in [false, true] {
        let rig = Rig::new();
        let queue = rig.build(Queue::<Mock>::builder("q").credits(4));
        let fences: Vec<_> = (0..8)
            .map(|tag| submit(&queue, rig.gpu.waits(tag), &[]))
            .collect();
        rig.gpu.wait_running(3);
        if kill {
            queue.kill(Errno::EIO);
        } else {
            rig.device.unbind().unwrap();
        }
        let error = if kill { Errno::EIO } else { Errno::ENODEV };
        assert!(fences
            .iter()
            .all(|fence| fence.status() == Some(Err(error))));
        eventually(
            "all are freed, though the hardware still has tokens",
            || rig.gpu.leftovers().0 == 0,
        );
        assert_eq!(rig.gpu.running(), [0, 1, 2, 3]);
        drop(queue);
        rig.finish();
    }
}

/// Teardown that waits until all is over keeps a process from dying.
pub(crate) fn drm_4_2_teardown_blocks_until_empty() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").close_policy(ClosePolicy::Drain));
    let fences: Vec<_> = (0..4)
        .map(|tag| submit(&queue, rig.gpu.waits(tag), &[]))
        .collect();
    let closed = queue.closed();
    // Returns while the hardware is busy, and what must be drained is drained in order.
    drop(queue);
    assert_eq!(closed.status(), None);
    for tag in 0..4 {
        rig.gpu.complete(tag, Ok(()));
    }
    assert_eq!(done(&closed), Ok(()));
    assert!(fences.iter().all(|fence| fence.status() == Some(Ok(()))));
    rig.finish();
}

/// Cancelling walked the list backwards, and left out jobs in the queue.
pub(crate) fn drm_4_3_cancelled_out_of_order() {
    let rig = Rig::new();
    for how in 0..4 {
        let queue = rig.build(Queue::<Mock>::builder("q").credits(3));
        let order = Order::default();
        let (signaller, open) = Timeline::new("t").signaller();
        let base = how * 100;
        let mut fences: Vec<_> = (0..6)
            .map(|job| submit(&queue, rig.gpu.waits(base + job), &[]))
            .collect();
        fences.extend((6..9).map(|job| submit(&queue, rig.gpu.waits(base + job), &[&open])));
        let _watches = order.watch_all(&fences);
        rig.gpu.wait_running(base + 2);
        match how {
            0 => queue.kill(Errno::ECANCELED),
            1 => queue.close(),
            2 => {
                for seqno in (1..=9).rev() {
                    let _ = queue.cancel(seqno, Errno::ECANCELED);
                }
            }
            _ => drop(queue),
        }
        for job in [2, 0, 1] {
            rig.gpu.complete(base + job, Err(Errno::ECANCELED));
        }
        signaller.signal(Ok(()));
        for fence in &fences {
            assert_eq!(done(fence), Err(Errno::ECANCELED));
        }
        order.assert_in_order(9);
        assert_eq!(rig.gpu.tags(What::RunBegins).len(), 3 * (how as usize + 1));
    }
    rig.finish();
}

/// An entity could be killed while the work item still ran.
pub(crate) fn drm_4_9_kill_while_the_worker_runs() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let (release, wait) = mpsc::channel::<()>();
    let work = rig.gpu.calls(1, move |submission| {
        let _ = wait.recv();
        submission.done()
    });
    let fence = submit(&queue, work, &[]);
    let behind = submit(&queue, rig.gpu.done(2), &[]);
    rig.gpu.wait_for(1, What::RunBegins);
    queue.kill(Errno::EIO);
    assert_eq!(
        fence.status(),
        Some(Err(Errno::EIO)),
        "at once, while the driver has it"
    );
    assert_eq!(behind.status(), Some(Err(Errno::EIO)));
    assert_eq!(
        rig.gpu.count(1, What::Dropped),
        0,
        "the driver has the payload"
    );
    drop(queue);
    drop(release);
    eventually("freed when run has returned", || {
        rig.gpu.count(1, What::Dropped) == 1
    });
    let whats: Vec<_> = rig
        .gpu
        .seen()
        .iter()
        .filter(|s| s.tag == 1)
        .map(|s| s.what)
        .collect();
    assert_eq!(whats, [What::RunBegins, What::RunEnds, What::Dropped]);
    rig.finish();
}

/// The name of an exported fence's timeline was read from a scheduler that was gone.
pub(crate) fn drm_4_11_name_of_a_fence_after_teardown() {
    let rig = Rig::new();
    let queue = rig.queue("renderer");
    let fence = submit(&queue, rig.gpu.done(1), &[]);
    assert_eq!(done(&fence), Ok(()));
    assert_eq!(fence.timeline_name(), "renderer");
    drop(queue);
    rig.finish();
    eventually("its timeline goes", || {
        fence.timeline_name() == "signaled-timeline"
    });
    assert_eq!(fence.status(), Some(Ok(())));
    assert!(fence.timestamp().is_some());
    assert!(!format!("{fence:?}").is_empty());
}

/// Drivers kept lists of jobs of their own, in order to survive teardown.
pub(crate) fn drm_4_14_driver_outlives_its_jobs() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let fences: Vec<_> = (0..4)
        .map(|tag| submit(&queue, rig.gpu.waits(tag), &[]))
        .collect();
    let tokens: Vec<_> = (0..4).map(|tag| rig.gpu.take(tag)).collect();
    rig.device.unbind().unwrap();
    assert_eq!(
        rig.gpu.leftovers(),
        (0, 0),
        "jobs and driver are gone when unbind returns"
    );
    // The hardware's side, which is later: its tokens are valid, and mean nothing any more.
    for (number, token) in tokens.into_iter().enumerate() {
        match number % 2 {
            0 => token.complete(Ok(())),
            _ => drop(token),
        }
    }
    assert!(fences
        .iter()
        .all(|fence| fence.status() == Some(Err(Errno::ENODEV))));
    assert_eq!(queue.stats().late_completions, 4);
    drop(queue);
    rig.finish();
}

/// A barrier before a wait, instead of a condition that is looked at again.
pub(crate) fn drm_4_15_wait_for_teardown() {
    let rig = Rig::new();
    for round in 0..50 {
        let queue = rig.queue("q");
        let fence = submit(&queue, rig.gpu.waits(round), &[]);
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let closed = queue.closed();
                thread::spawn(move || done(&closed))
            })
            .collect();
        // The last completion races with close and with the waiters.
        let token = rig.gpu.take(round);
        thread::scope(|scope| {
            scope.spawn(|| token.complete(Ok(())));
            scope.spawn(|| queue.close());
        });
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Ok(()));
        }
        assert_eq!(
            fence.status(),
            Some(Ok(())),
            "closed means that nothing is left"
        );
        assert_eq!(queue.len(), 0);
    }
    rig.finish();
}

/// Entities may be used after their scheduler has gone.
pub(crate) fn drm_4_16_queue_outlives_its_device() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").bypass(true));
    let prepared = queue.prepare(rig.gpu.done(1), 1).unwrap();
    let held = queue.prepare(rig.gpu.done(2), 1).unwrap();
    let mut guard = queue.submission_guard();
    let armed = guard.arm(held).unwrap();
    let first = armed.finished();
    // Unbind waits, so it is for another thread: this one is between arm and submit.
    thread::scope(|scope| {
        scope.spawn(|| rig.device.unbind().unwrap());
    });
    assert!(rig.device.is_unbound());
    armed.submit();
    drop(guard);
    let second = prepared.submit();
    assert_eq!(done(&first), Err(Errno::ENODEV));
    assert_eq!(done(&second), Err(Errno::ENODEV));
    let refused = queue.prepare(rig.gpu.done(3), 1).unwrap_err();
    assert_eq!(refused.error, PrepareError::Killed(Errno::ENODEV));
    drop(refused);
    queue.suspend();
    assert!(queue.resume());
    assert!(!queue.trigger_timeout());
    queue.kill(Errno::EIO);
    assert!(queue.cancel(1, Errno::EIO).is_err());
    assert!(queue.snapshot().contains('q'));
    assert_eq!(done(&queue.closed()), Ok(()));
    queue.check_invariants().unwrap();
    let refused =
        Queue::<Mock>::builder("late").build(&rig.device, rig.pool.executor(), rig.gpu.driver());
    assert_eq!(refused.err(), Some(BuildError::Unbound));
    assert_eq!(rig.gpu.tags(What::RunBegins), []);
    drop(queue);
    rig.finish();
}
