// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From a dependency's signal to the run callback.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::thread;

use ringfence::irq::{self, InterruptLine, IrqLock};
use ringfence::{Queue, Timeline};

use crate::common::mock::{Does, Mock, What, Work};
use crate::common::{done, on_signal, submit, Rig, LONG};
use crate::{real_time, tells, told};

/// An ordinary rig, and a queue on a real-time pool.
fn rig() -> (Rig, Queue<Mock>) {
    let rig = Rig::new();
    let pool = real_time(1);
    let queue = rig.build_on(Queue::<Mock>::builder("real time"), pool.executor());
    (rig, queue)
}

/// A job that stays in its run callback until what comes with it is dropped.
fn held(rig: &Rig, tag: u64) -> (mpsc::Sender<()>, Work) {
    let (hold, held) = mpsc::channel();
    let work = rig.gpu.calls(tag, move |submission| {
        // Nothing comes.
        let _ = held.recv();
        submission.done()
    });
    (hold, work)
}

#[test]
fn signalled_by_an_ordinary_thread_a_job_runs_on_the_real_time_worker() {
    let (rig, queue) = rig();
    let (signaller, dependency) = Timeline::new("t").signaller();
    let (work, ran) = tells(&rig, 1);
    let fence = submit(&queue, work, &[&dependency]);
    assert!(ran.try_recv().is_err(), "it waits");
    signaller.signal(Ok(()));
    assert!(told(&ran).is_real_time_worker());
    assert_eq!(done(&fence), Ok(()));
    drop(queue);
    rig.finish();
}

#[test]
fn signalled_in_a_fence_callback_it_runs_once_that_has_returned() {
    let (rig, queue) = rig();
    let (outer, watched) = Timeline::new("outer").signaller();
    let (inner, dependency) = Timeline::new("inner").signaller();
    let returned = Arc::new(AtomicBool::new(false));
    let (send, ran) = mpsc::channel();
    let seen = Arc::clone(&returned);
    let work = rig.gpu.calls(1, move |submission| {
        let late = seen.load(Ordering::SeqCst);
        send.send((crate::Worker::this(), late)).unwrap();
        submission.done()
    });
    let fence = submit(&queue, work, &[&dependency]);
    let mut inner = Some(inner);
    let watch = on_signal(&watched, move |_| {
        inner.take().unwrap().signal(Ok(()));
        returned.store(true, Ordering::SeqCst);
    });
    outer.signal(Ok(()));
    let (worker, late) = ran.recv_timeout(LONG).unwrap();
    assert!(worker.is_real_time_worker());
    assert!(late, "callbacks do not nest");
    assert_eq!(done(&fence), Ok(()));
    drop((watch, queue));
    rig.finish();
}

#[test]
fn signalled_in_an_interrupt_handler_it_runs_on_the_real_time_worker() {
    let (rig, queue) = rig();
    let (signaller, dependency) = Timeline::new("t").signaller();
    let (work, ran) = tells(&rig, 1);
    let fence = submit(&queue, work, &[&dependency]);
    let signaller = IrqLock::new(Some(signaller));
    let line = InterruptLine::new(move || {
        assert!(irq::in_handler());
        let signaller = signaller.lock().take();
        signaller.unwrap().signal(Ok(()));
    })
    .unwrap();
    line.raise();
    assert!(told(&ran).is_real_time_worker());
    assert_eq!(done(&fence), Ok(()));
    drop((line, queue));
    rig.finish();
}

#[test]
fn jobs_that_wait_for_resources_run_there_again() {
    let (rig, queue) = rig();
    let (signaller, room) = Timeline::new("t").signaller();
    let (send, ran) = mpsc::channel();
    let again = Does::Calls(Box::new(move |submission| {
        send.send(crate::Worker::this()).unwrap();
        submission.done()
    }));
    let work = rig.gpu.work(1, Does::NoRoom(room, Box::new(again)));
    let fence = submit(&queue, work, &[]);
    rig.gpu.wait_for(1, What::RunEnds);
    signaller.signal(Ok(()));
    assert!(told(&ran).is_real_time_worker());
    assert_eq!(done(&fence), Ok(()));
    drop(queue);
    rig.finish();
}

#[test]
fn a_flooded_ordinary_pool_is_not_in_the_way() {
    let (rig, queue) = rig();
    // Each ordinary worker is held in a run callback, and there are more jobs behind.
    let ordinary: Vec<_> = ["a", "b", "c", "d"].map(|name| rig.queue(name)).into();
    let (mut holds, mut fences) = (Vec::new(), Vec::new());
    for (tag, busy) in (100..).zip(&ordinary) {
        let (hold, work) = held(&rig, tag);
        holds.push(hold);
        fences.push(submit(busy, work, &[]));
        fences.push(submit(busy, rig.gpu.done(tag + 100), &[]));
    }
    rig.gpu.wait_for(100, What::RunBegins);
    rig.gpu.wait_for(101, What::RunBegins);

    let (signaller, dependency) = Timeline::new("t").signaller();
    let (work, ran) = tells(&rig, 1);
    let fence = submit(&queue, work, &[&dependency]);
    signaller.signal(Ok(()));
    assert!(told(&ran).is_real_time_worker());
    assert_eq!(done(&fence), Ok(()));
    assert_eq!(rig.gpu.tags(What::RunEnds), [1], "the others are held");
    assert!(fences.iter().all(|fence| !fence.is_signaled()));

    drop(holds);
    for fence in &fences {
        assert_eq!(done(fence), Ok(()));
    }
    drop((queue, ordinary));
    rig.finish();
}

#[test]
fn an_ordinary_thread_that_signals_holds_up_fences_but_no_run() {
    let (rig, queue) = rig();
    let first = submit(&queue, rig.gpu.waits(1), &[]);
    // An ordinary thread completes the first job and does not come back from a callback of its fence.
    let (hold, held) = mpsc::channel::<()>();
    let (send, inside) = mpsc::channel();
    let watch = on_signal(&first, move |_| {
        send.send(()).unwrap();
        let _ = held.recv();
    });
    let completion = rig.gpu.take(1);
    let completing = thread::spawn(move || completion.complete(Ok(())));
    inside.recv_timeout(LONG).unwrap();

    let (signaller, dependency) = Timeline::new("t").signaller();
    let (work, ran) = tells(&rig, 2);
    let second = submit(&queue, work, &[&dependency]);
    signaller.signal(Ok(()));
    assert!(told(&ran).is_real_time_worker());
    assert!(!second.is_signaled(), "fences signal in order");
    drop(hold);
    assert_eq!(done(&second), Ok(()));
    completing.join().unwrap();
    drop((watch, queue));
    rig.finish();
}

#[test]
fn bypass_runs_jobs_on_whoever_submits() {
    let rig = Rig::new();
    let pool = real_time(1);
    let builder = Queue::<Mock>::builder("real time").bypass(true);
    let queue = rig.build_on(builder, pool.executor());
    let (work, ran) = tells(&rig, 1);
    done(&submit(&queue, work, &[])).unwrap();
    assert_eq!(told(&ran).id, thread::current().id());

    // One that waits has no submitter any more.
    let (signaller, dependency) = Timeline::new("t").signaller();
    let (work, ran) = tells(&rig, 2);
    let fence = submit(&queue, work, &[&dependency]);
    signaller.signal(Ok(()));
    assert!(told(&ran).is_real_time_worker());
    assert_eq!(done(&fence), Ok(()));

    // But the worker leaves it to one who is in a run callback of the queue.
    let (hold, work) = held(&rig, 3);
    let (signaller, dependency) = Timeline::new("t").signaller();
    thread::scope(|scope| {
        let submitter = scope.spawn(|| {
            submit(&queue, work, &[]);
            thread::current().id()
        });
        rig.gpu.wait_for(3, What::RunBegins);
        let (work, ran) = tells(&rig, 4);
        let fence = submit(&queue, work, &[&dependency]);
        signaller.signal(Ok(()));
        // The worker has been and gone when it has run a job of another queue after this one.
        let other = rig.build_on(Queue::<Mock>::builder("other"), pool.executor());
        assert_eq!(done(&submit(&other, rig.gpu.done(5), &[])), Ok(()));
        assert!(ran.try_recv().is_err(), "an ordinary thread has the queue");
        drop(hold);
        told(&ran);
        assert_eq!(done(&fence), Ok(()));
        submitter.join().unwrap();
    });
    drop(queue);
    rig.finish();
}
