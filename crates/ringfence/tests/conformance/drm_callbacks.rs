// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Bugs of the existing scheduler around callbacks, and callbacks that panic.

use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use ringfence::{Errno, Fence, Pool, Queue, Timeline};

use crate::common::mock::{Does, Mock, What};
use crate::common::{done, eventually, on_signal, submit, Order, Rig};

/// Killing an entity inside a fence callback took locks that others hold around that fence's.
pub(crate) fn drm_4_4_kill_in_a_fence_callback() {
    let rig = Rig::new();
    let queue = Arc::new(rig.queue("q"));
    let timeline = Timeline::new("shared");
    let (first, dependency) = timeline.signaller();
    let (second, later) = timeline.signaller();
    let order = Order::default();
    // Each waits for both; `later` alone would do on one timeline, so another one as well.
    let (third, other) = Timeline::new("other").signaller();
    let fences: Vec<_> = (0..8)
        .map(|tag| {
            let after: [&Fence; 2] = if tag % 2 == 0 {
                [&dependency, &other]
            } else {
                [&later, &other]
            };
            submit(&queue, rig.gpu.done(tag), &after)
        })
        .collect();
    let watches = order.watch_all(&fences);
    let killed = Arc::clone(&queue);
    let _kills = on_signal(&dependency, move |_| killed.kill(Errno::EIO));
    first.signal(Ok(()));
    for fence in &fences {
        assert_eq!(done(fence), Err(Errno::EIO));
    }
    order.assert_in_order(8);
    second.signal(Ok(()));
    third.signal(Err(Errno::EIO));
    assert_eq!(rig.gpu.tags(What::RunBegins), []);
    drop((watches, queue, _kills));
    rig.finish();
}

/// The submitter looked at the job after it had given it away, when it may have been freed.
pub(crate) fn drm_4_7_job_used_after_free_at_push() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").capacity(4));
    thread::scope(|scope| {
        for thread in 0..4 {
            let (rig, queue) = (&rig, &queue);
            scope.spawn(move || {
                let (_keep, over) = (0, Fence::already_signalled(Ok(())));
                for job in 0..500 {
                    let tag = thread * 1000 + job;
                    let Ok(mut prepared) = queue.prepare(rig.gpu.done(tag), 1) else {
                        continue;
                    };
                    prepared.depends_on(&over).unwrap();
                    // A worker runs, completes and frees it while `submit` returns.
                    let fence = prepared.submit();
                    if job % 8 == 0 {
                        assert_eq!(done(&fence), Ok(()));
                        assert_eq!(fence.context(), queue.context());
                    }
                }
            });
        }
    });
    queue.check_invariants().unwrap();
    drop(queue);
    rig.finish();
}

/// Whether anything was left was read without a lock.
pub(crate) fn drm_4_8_idle_without_a_lock() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let (len, stats) = (queue.len(), queue.stats());
                assert!(len <= 64);
                assert!(stats.reaped <= stats.signalled && stats.signalled <= stats.armed);
            }
        });
        for tag in 0..2000 {
            let fence = submit(&queue, rig.gpu.done(tag), &[]);
            if tag % 50 == 0 {
                assert_eq!(done(&fence), Ok(()));
                eventually("idle", || queue.is_empty());
                let stats = queue.stats();
                assert_eq!((stats.reaped, stats.armed), (tag + 1, tag + 1));
            } else if tag % 10 == 0 {
                assert_eq!(done(&fence), Ok(()));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    drop(queue);
    rig.finish();
}

/// The check for resources ran on a job of another queue.
pub(crate) fn drm_4_19_resources_of_the_wrong_queue() {
    let rig = Rig::new();
    let (left, right) = (rig.queue("left"), rig.queue("right"));
    let timeline = Timeline::new("room");
    let (for_left, left_room) = timeline.signaller();
    let (for_right, right_room) = timeline.signaller();
    let wait = |room| Does::NoRoom(room, Box::new(Does::Done));
    let on_left = submit(&left, rig.gpu.work(1, wait(left_room)), &[]);
    let on_right = submit(&right, rig.gpu.work(2, wait(right_room)), &[]);
    rig.gpu.wait_for(1, What::RunEnds);
    rig.gpu.wait_for(2, What::RunEnds);
    for_right.signal(Ok(()));
    assert_eq!(done(&on_right), Ok(()));
    // Room for the one says nothing about the other.
    assert_eq!(rig.gpu.count(1, What::RunBegins), 1);
    assert_eq!(on_left.status(), None);
    for_left.signal(Ok(()));
    assert_eq!(done(&on_left), Ok(()));
    assert_eq!(rig.gpu.count(2, What::RunBegins), 2);
    rig.finish();
}

/// The flag was visible before the callbacks had run, so that trusting it freed too early.
pub(crate) fn drm_4_21_signalled_before_its_callbacks() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    for tag in 0..200 {
        let fence = submit(&queue, rig.gpu.waits(tag), &[]);
        let ran = Arc::new(AtomicBool::new(false));
        let (callback_ran, seen) = (Arc::clone(&ran), fence.clone());
        let watch = on_signal(&fence, move |result| {
            assert_eq!(
                seen.status(),
                Some(result),
                "inside its own callback it has"
            );
            thread::yield_now();
            callback_ran.store(true, Ordering::Relaxed);
        });
        let token = rig.gpu.take(tag);
        let completes = thread::spawn(move || token.complete(Ok(())));
        while !fence.is_signaled() {
            std::hint::spin_loop();
        }
        assert!(
            ran.load(Ordering::Relaxed),
            "signalled, and its callback has not returned"
        );
        completes.join().unwrap();
        drop(watch);
    }
    rig.finish();
}

/// What a callback sets off is done when it has returned: driver callbacks do not nest, whatever
/// their queues, and no payload is dropped in one's signalling section.
pub(crate) fn callbacks_do_not_nest() {
    let rig = Rig::with_threads(1);
    let queue = rig.queue("q");
    let other = Arc::new(rig.build(Queue::<Mock>::builder("other").bypass(true)));
    let in_section = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&in_section);
    let before = rig.gpu.waits(1).when_dropped(move || {
        noted.store(ringfence::section::in_section(), Ordering::SeqCst);
    });
    let before = submit(&queue, before, &[]);
    rig.gpu.wait_for(1, What::RunEnds);
    let (gpu, bypassing) = (Arc::clone(&rig.gpu), Arc::clone(&other));
    let work = rig.gpu.calls(2, move |submission| {
        gpu.complete(1, Ok(()));
        drop(submit(&bypassing, gpu.done(3), &[]));
        submission.done()
    });
    let fence = submit(&queue, work, &[]);
    assert_eq!(done(&fence), Ok(()));
    assert_eq!(before.status(), Some(Ok(())));
    rig.gpu.wait_for(3, What::Dropped);
    rig.gpu.wait_for(1, What::Dropped);
    let seen: Vec<_> = rig
        .gpu
        .seen()
        .iter()
        .map(|seen| (seen.tag, seen.what))
        .collect();
    let at = |what| seen.iter().position(|seen| *seen == what).unwrap();
    assert!(
        at((2, What::RunEnds)) < at((3, What::RunBegins)),
        "{seen:?}"
    );
    assert!(at((2, What::RunEnds)) < at((1, What::Dropped)), "{seen:?}");
    assert!(!in_section.load(Ordering::SeqCst));
    drop((queue, other));
    rig.finish();
}

/// Keeps the messages of panics that are meant out of the tests' output.
fn quietly<R>(body: impl FnOnce() -> R) -> R {
    static HOOK: Mutex<()> = Mutex::new(());
    let _one_at_a_time = HOOK.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let before = panic::take_hook();
    panic::set_hook(Box::new(|info| {
        if !info.to_string().contains("meant") {
            eprintln!("{info}");
        }
    }));
    let result = body();
    panic::set_hook(before);
    result
}

/// A rig with one worker thread, which a panic must not take away, and proof that it works.
fn survives(scenario: impl FnOnce(&Rig)) {
    quietly(|| {
        let mut rig = Rig::with_threads(1);
        rig.pool = Pool::new(1).unwrap();
        scenario(&rig);
        let other = rig.queue("other");
        let fence = submit(&other, rig.gpu.done(1000), &[]);
        assert_eq!(
            done(&fence),
            Ok(()),
            "other queues go on, on the same worker"
        );
        drop(other);
        rig.finish();
    });
}

pub(crate) fn panic_in_run() {
    survives(|rig| {
        let queue = rig.queue("q");
        let on_hardware = submit(&queue, rig.gpu.waits(1), &[]);
        let panics = submit(&queue, rig.gpu.calls(2, |_| panic!("meant")), &[]);
        let behind = submit(&queue, rig.gpu.done(3), &[]);
        for fence in [&on_hardware, &panics, &behind] {
            assert_eq!(done(fence), Err(Errno::EOWNERDEAD));
        }
        assert_eq!(rig.gpu.count(3, What::RunBegins), 0);
        assert!(queue.prepare(rig.gpu.done(4), 1).is_err());
        assert_eq!(done(&queue.closed()), Ok(()));
    });
    // With bypass it unwinds no further than the queue, either.
    survives(|rig| {
        let queue = rig.build(Queue::<Mock>::builder("q").bypass(true));
        let panics = submit(&queue, rig.gpu.calls(2, |_| panic!("meant")), &[]);
        assert_eq!(done(&panics), Err(Errno::EOWNERDEAD));
    });
}

pub(crate) fn panic_in_timed_out() {
    survives(|rig| {
        let queue = rig.queue("q");
        let work = rig.gpu.waits(1).when_timed_out(|_| panic!("meant"));
        let hangs = submit(&queue, work, &[]);
        let behind = submit(&queue, rig.gpu.waits(2), &[]);
        rig.gpu.wait_running(2);
        eventually("it is on the hardware", || queue.trigger_timeout());
        for fence in [&hangs, &behind] {
            assert_eq!(done(fence), Err(Errno::EOWNERDEAD));
        }
    });
}

pub(crate) fn panic_in_a_fence_callback() {
    survives(|rig| {
        let queue = rig.queue("q");
        queue.suspend();
        let fence = submit(&queue, rig.gpu.done(1), &[]);
        let behind = submit(&queue, rig.gpu.done(2), &[]);
        let watch = on_signal(&fence, |_| panic!("meant"));
        queue.resume();
        assert_eq!(done(&fence), Ok(()), "the client's panic is the client's");
        assert_eq!(done(&behind), Ok(()), "those behind it signal all the same");
        drop(watch);
        queue.check_invariants().unwrap();
    });
}

pub(crate) fn panic_in_a_payload_drop() {
    survives(|rig| {
        let queue = rig.queue("q");
        let work = rig.gpu.done(1).when_dropped(|| panic!("meant"));
        let fence = submit(&queue, work, &[]);
        let behind = submit(&queue, rig.gpu.done(2), &[]);
        assert_eq!(done(&fence), Ok(()));
        // Whatever becomes of the queue, its fences signal.
        let _any = done(&behind);
        eventually("dropped", || rig.gpu.count(1, What::Dropped) == 1);
    });
}
