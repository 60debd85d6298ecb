// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Timeouts: when the driver is asked, and what happens to the job then.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringfence::{Builder, Errno, Queue, Request, Time, Timeout};

use crate::common::manual::Manual;
use crate::common::mock::{Mock, TimedOut, What, AT_ONCE};
use crate::common::{done, eventually, submit, Order, Rig};

/// A queue whose jobs have no time at all.
fn hasty(name: &str) -> Builder {
    Queue::<Mock>::builder(name).timeout(AT_ONCE)
}

/// Longer than any test takes.
const AGES: Duration = Duration::from_secs(100_000);

pub(crate) fn timeout() {
    let rig = Rig::new();
    let queue = rig.build(hasty("q"));
    let fence = submit(&queue, rig.gpu.waits(1), &[]);
    assert_eq!(done(&fence), Err(Errno::ETIME));
    assert_eq!(queue.stats().timed_out, 1);
    // The hardware finds it after all.
    rig.gpu.complete(1, Ok(()));
    assert_eq!(fence.status(), Some(Err(Errno::ETIME)));
    assert_eq!(queue.stats().late_completions, 1);
    rig.finish();
}

pub(crate) fn timeout_of_the_next_job() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").timeout(AGES));
    let order = Order::default();
    let hasty = Request {
        cost: 1,
        timeout: Timeout::After(AT_ONCE),
        ..Request::default()
    };
    let first = submit(&queue, rig.gpu.waits(1), &[]);
    let second = queue
        .prepare_with(rig.gpu.waits(2), hasty)
        .unwrap()
        .submit();
    let third = submit(&queue, rig.gpu.waits(3), &[]);
    let _watches = order.watch_all(&[first.clone(), second.clone(), third.clone()]);
    rig.gpu.wait_running(3);
    assert_eq!(
        rig.gpu.tags(What::TimedOutBegins),
        [],
        "the first has time, and is the head"
    );
    rig.gpu.complete(1, Ok(()));
    assert_eq!(
        done(&second),
        Err(Errno::ETIME),
        "its clock began when it was the head"
    );
    rig.gpu.complete(3, Ok(()));
    assert_eq!(done(&third), Ok(()));
    order.assert_in_order(3);
    rig.finish();
}

pub(crate) fn skip_reset() {
    // The driver finds no hang: the job goes on and ends well.
    let rig = Rig::new();
    let queue = rig.build(hasty("q"));
    let work = rig.gpu.waits(1).when_timed_out(|job| job.no_hang());
    // It is asked again, since its time is up again at once; the second time it is a hang.
    let fence = submit(&queue, work, &[]);
    assert_eq!(done(&fence), Err(Errno::ETIME));
    assert_eq!(rig.gpu.count(1, What::TimedOutBegins), 2);

    let gpu = Arc::clone(&rig.gpu);
    let work = rig.gpu.waits(2).when_timed_out(move |job| {
        // It completes meanwhile, by the same thread.
        gpu.complete(2, Ok(()));
        job.no_hang()
    });
    let fence = submit(&queue, work, &[]);
    assert_eq!(done(&fence), Ok(()));
    eventually("reaped", || rig.gpu.count(2, What::Dropped) == 1);
    rig.finish();
}

/// Asks for more time, again and again.
fn extend(seen: Arc<Mutex<Vec<u8>>>) -> TimedOut {
    Box::new(move |mut job| {
        seen.lock().unwrap().push(job.extensions_left());
        job.payload().set_timed_out(extend(Arc::clone(&seen)));
        match job.extend(AT_ONCE) {
            Ok(outcome) => outcome,
            Err(job) => job.handled(Errno::EIO),
        }
    })
}

pub(crate) fn extended_a_bounded_number_of_times() {
    let rig = Rig::new();
    let queue = rig.build(hasty("q").extensions(3));
    let seen = Arc::default();
    let work = rig.gpu.waits(1).when_timed_out(extend(Arc::clone(&seen)));
    let fence = submit(&queue, work, &[]);
    assert_eq!(done(&fence), Err(Errno::EIO));
    assert_eq!(*seen.lock().unwrap(), [3, 2, 1, 0]);
    assert_eq!(queue.stats().extensions, 3);
    rig.finish();
}

pub(crate) fn device_gone() {
    let rig = Rig::new();
    let queue = rig.build(hasty("q"));
    let order = Order::default();
    queue.suspend();
    let work = rig.gpu.waits(0).when_timed_out(|job| job.device_gone());
    let mut fences = vec![submit(&queue, work, &[])];
    fences.extend((1..8).map(|tag| submit(&queue, rig.gpu.waits(tag), &[])));
    let _watches = order.watch_all(&fences);
    assert!(queue.resume());
    for fence in &fences {
        assert_eq!(done(fence), Err(Errno::ENODEV));
    }
    order.assert_in_order(8);
    rig.finish();
}

pub(crate) fn timeout_of_one_job() {
    let rig = Rig::new();
    let queue = rig.build(hasty("q"));
    let never = Request {
        cost: 1,
        timeout: Timeout::Never,
        ..Request::default()
    };
    let patient = queue
        .prepare_with(rig.gpu.waits(1), never)
        .unwrap()
        .submit();
    let hasty = submit(&queue, rig.gpu.waits(2), &[]);
    rig.gpu.wait_running(2);
    assert_eq!(rig.gpu.tags(What::TimedOutBegins), []);
    rig.gpu.complete(1, Ok(()));
    assert_eq!(done(&hasty), Err(Errno::ETIME));
    assert_eq!(patient.status(), Some(Ok(())));
    assert_eq!(rig.gpu.tags(What::TimedOutBegins), [2]);
    rig.finish();
}

pub(crate) fn triggered_timeout() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    assert!(!queue.trigger_timeout(), "there is no job");
    let fence = submit(&queue, rig.gpu.waits(1), &[]);
    rig.gpu.wait_for(1, What::RunEnds);
    eventually("it is on the hardware", || queue.trigger_timeout());
    assert_eq!(done(&fence), Err(Errno::ETIME));
    rig.finish();
}

/// Recovery inside the timeout callback lets the job be freed while the callback uses it.
pub(crate) fn drm_4_5_job_used_after_free_in_timeout() {
    let rig = Rig::new();
    let queue = Arc::new(rig.build(hasty("q")));
    let (send, receive) = mpsc::channel();
    let (gpu, recovered) = (Arc::clone(&rig.gpu), Arc::clone(&queue));
    let work = rig.gpu.waits(1).when_timed_out(move |mut job| {
        // All that a recovery might do, and more.
        recovered.suspend();
        gpu.complete(1, Ok(()));
        recovered.resume();
        recovered.kill(Errno::EIO);
        recovered.close();
        send.send((job.payload().tag, gpu.count(1, What::Dropped)))
            .unwrap();
        job.handled(Errno::ETIME)
    });
    let fence = submit(&queue, work, &[]);
    assert_eq!(done(&fence), Ok(()), "completion was first");
    assert_eq!(
        receive.recv().unwrap(),
        (1, 0),
        "the payload is there until the callback returns"
    );
    eventually("dropped after it", || rig.gpu.count(1, What::Dropped) == 1);
    let order: Vec<_> = rig.gpu.seen().iter().map(|seen| seen.what).collect();
    let at = |what| order.iter().position(|seen| *seen == what).unwrap();
    assert!(at(What::TimedOutEnds) < at(What::Dropped));
    rig.finish();
}

/// A job that has completed, but was not cleaned up yet, "times out".
pub(crate) fn drm_4_6_finished_job_times_out() {
    let rig = Rig::new();
    let executor = Manual::new();
    let queue = rig.build_on(Queue::<Mock>::builder("q").timeout(AGES), executor.clone());
    let fence = submit(&queue, rig.gpu.waits(1), &[]);
    executor.work();
    // Its time is up, the worker that would ask is on its way, and then it completes.
    executor.fire();
    assert_eq!(executor.scheduled(), 1);
    rig.gpu.complete(1, Ok(()));
    executor.work();
    assert_eq!(fence.status(), Some(Ok(())));
    assert_eq!(rig.gpu.tags(What::TimedOutBegins), []);
    assert_eq!(queue.stats().timeouts, 0);
    drop(queue);
    rig.finish();
}

/// A driver that finds no hang hands the job back; the scheduler had let go of it.
pub(crate) fn drm_4_6_job_without_hang_leaks() {
    let rig = Rig::new();
    let executor = Manual::new();
    let queue = rig.build_on(Queue::<Mock>::builder("q").timeout(AGES), executor.clone());
    let work = rig.gpu.waits(1).when_timed_out(|job| job.no_hang());
    let fence = submit(&queue, work, &[]);
    executor.work();
    assert_eq!(executor.fire(), 1);
    executor.work();
    assert_eq!(rig.gpu.count(1, What::TimedOutEnds), 1);
    assert!(
        executor.timer(0).is_some(),
        "watched again, with its whole time before it"
    );
    rig.gpu.complete(1, Ok(()));
    assert_eq!(fence.status(), Some(Ok(())));
    executor.work();
    assert_eq!(rig.gpu.count(1, What::Dropped), 1);
    assert!(queue.is_empty());
    drop(queue);
    rig.finish();
}

/// A reset runs jobs again that had run.
pub(crate) fn drm_4_12_run_called_twice() {
    let rig = Rig::new();
    let queue = rig.build(hasty("q"));
    let hung = submit(&queue, rig.gpu.waits(1), &[]);
    let behind = submit(&queue, rig.gpu.waits(2), &[]);
    rig.gpu.wait_running(2);
    assert_eq!(done(&hung), Err(Errno::ETIME));
    queue.suspend();
    queue.resume();
    assert_eq!(done(&behind), Err(Errno::ETIME), "it hung, too");
    let again = submit(&queue, rig.gpu.done(3), &[]);
    assert_eq!(done(&again), Ok(()));
    // The mock complains when a job is run twice; `finish` reads the complaints.
    assert_eq!(rig.gpu.tags(What::RunBegins), [1, 2, 3]);
    rig.finish();
}

/// A forgotten parameter meant a workqueue that did not serialise resets with anything.
pub(crate) fn drm_4_17_timeouts_on_a_forgotten_workqueue() {
    let rig = Rig::new();
    let queue = rig.build(hasty("q").bypass(true).capacity(64));
    let fences: Vec<_> = (0..40)
        .map(|tag| submit(&queue, rig.gpu.waits(tag), &[]))
        .collect();
    for fence in &fences {
        assert_eq!(done(fence), Err(Errno::ETIME));
    }
    // The mock complains where a timeout overlaps with a run.
    let seen = rig.gpu.seen();
    let asked = seen.iter().filter(|seen| seen.what == What::TimedOutBegins);
    assert!(
        asked.clone().all(|seen| seen.pool),
        "on the queue's executor, bypass or not"
    );
    assert_eq!(asked.count(), 40);
    rig.finish();
}

/// Finish workers that came out of order armed the timer for a job that had finished.
pub(crate) fn drm_4_20_timer_armed_for_a_finished_job() {
    let rig = Rig::new();
    let executor = Manual::new();
    let queue = rig.build_on(Queue::<Mock>::builder("q").timeout(AGES), executor.clone());
    let fences: Vec<_> = (1..=3)
        .map(|tag| submit(&queue, rig.gpu.waits(tag), &[]))
        .collect();
    executor.work();
    let armed = executor.armed();
    assert_eq!(armed, 1, "for the head of the line");
    rig.gpu.complete(3, Ok(()));
    rig.gpu.complete(2, Ok(()));
    executor.work();
    assert_eq!(executor.armed(), armed, "not for those that have finished");
    rig.gpu.complete(1, Ok(()));
    executor.work();
    assert!(fences.iter().all(|fence| fence.status() == Some(Ok(()))));
    assert_eq!(executor.armed(), armed);
    // What is left of the timer finds nobody.
    executor.fire_at(0, Time::from_ns(u64::MAX));
    executor.work();
    assert_eq!(rig.gpu.tags(What::TimedOutBegins), []);
    drop(queue);
    rig.finish();
}

/// One worker sits in a callback; the other one keeps the time.
pub(crate) fn timeout_while_a_worker_is_busy() {
    for round in 0..20 {
        let rig = Rig::new();
        let (busy, timed) = (rig.queue("busy"), rig.build(hasty("timed")));
        let (release, wait) = mpsc::channel::<()>();
        let blocks = submit(
            &busy,
            rig.gpu.calls(1, move |submission| {
                // The sender's end ends it.
                let _ = wait.recv();
                submission.done()
            }),
            &[],
        );
        if round % 2 == 0 {
            rig.gpu.wait_for(1, What::RunBegins);
        }
        let fence = submit(&timed, rig.gpu.waits(2), &[]);
        assert_eq!(done(&fence), Err(Errno::ETIME));
        drop(release);
        assert_eq!(done(&blocks), Ok(()));
        rig.finish();
    }
}

/// The worker that would have woken for a timer is woken for a job instead, and sits in it.
pub(crate) fn timeout_while_its_watch_is_busy() {
    for _ in 0..20 {
        let rig = Rig::new();
        let busy = rig.queue("busy");
        let timed = rig.build(Queue::<Mock>::builder("timed").timeout(Duration::from_millis(20)));
        let fence = submit(&timed, rig.gpu.waits(1), &[]);
        rig.gpu.wait_for(1, What::RunEnds);
        // Mostly both workers are asleep by now, one of them until the timer.
        for _ in 0..100 {
            std::thread::yield_now();
        }
        let (release, wait) = mpsc::channel::<()>();
        let work = rig.gpu.calls(2, move |submission| {
            // The sender's end ends it.
            let _ = wait.recv();
            submission.done()
        });
        let blocks = submit(&busy, work, &[]);
        assert_eq!(done(&fence), Err(Errno::ETIME));
        drop(release);
        assert_eq!(done(&blocks), Ok(()));
        rig.finish();
    }
}
