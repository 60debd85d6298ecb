// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A gated queue runs when it is told to, and says what it wants.
#![cfg(not(any(feature = "loom", feature = "shuttle")))]

#[path = "../common/mod.rs"]
mod common;
mod ends;
mod many;
mod porter;

use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

use common::manual::Manual;
use common::mock::{Mock, What};
use common::{done, eventually, on_signal, submit, Rig};
use porter::{report, Porter};
use ringfence::{Builder, Errno, Out, Queue, Time};

fn builder(porter: &Arc<Porter>) -> Builder {
    Queue::<Mock>::builder("gated").gate(porter.clone())
}

/// A rig, a porter, and a queue whose workers work when the test says so.
fn stepped(build: impl FnOnce(Builder) -> Builder) -> (Rig, Arc<Porter>, Arc<Manual>, Queue<Mock>) {
    let (rig, porter, manual) = (Rig::new(), Porter::new(), Manual::new());
    let queue = rig.build_on(build(builder(&porter)), manual.clone());
    (rig, porter, manual, queue)
}

#[track_caller]
fn end(rig: Rig, porter: &Porter, manual: &Manual, queue: Queue<Mock>) {
    queue.check_invariants().unwrap();
    drop(queue);
    manual.work();
    rig.finish();
    manual.work();
    assert_eq!(porter.detached(), 1);
    porter.assert_kept_the_rules();
}

#[test]
fn a_queue_whose_gate_is_shut_runs_nothing_and_says_that_it_wants_to() {
    let (rig, porter, manual, queue) = stepped(|builder| builder);
    assert_eq!(porter.last(), None, "an empty queue wants nothing");
    let fence = submit(&queue, rig.gpu.waits(1), &[]);
    manual.work();
    assert!(rig.gpu.running().is_empty());
    assert_eq!(porter.last(), Some(report(1, true, Out::Nothing)));
    let text = queue.snapshot();
    assert!(text.contains("gate shut"), "{text}");
    assert!(text.contains("waits for the gate"), "{text}");

    assert_eq!(porter.control().open(), Some(1));
    manual.work();
    assert_eq!(rig.gpu.running(), [1]);
    assert_eq!(porter.last(), Some(report(2, true, Out::Open)));
    rig.gpu.complete(1, Ok(()));
    assert_eq!(done(&fence), Ok(()));
    assert_eq!(porter.last(), Some(report(3, false, Out::Open)));
    end(rig, &porter, &manual, queue);
}

#[test]
fn what_waits_for_something_else_than_the_gate_is_not_wanted() {
    let (rig, porter, manual, queue) = stepped(|builder| builder);
    let (signaller, fence) = ringfence::Timeline::new("other").signaller();
    submit(&queue, rig.gpu.done(1), &[&fence]);
    assert_eq!(porter.last(), None, "it waits for a fence");
    queue.suspend();
    signaller.signal(Ok(()));
    manual.work();
    assert_eq!(porter.last(), None, "it waits for resume");
    queue.resume();
    assert_eq!(porter.last(), Some(report(1, true, Out::Nothing)));
    queue.cancel(1, Errno::ECANCELED).unwrap();
    assert_eq!(porter.last(), Some(report(2, false, Out::Nothing)));
    end(rig, &porter, &manual, queue);
}

#[test]
fn yielding_lets_the_hardware_finish() {
    let (rig, porter, manual, queue) = stepped(|builder| builder.credits(1));
    porter.control().open();
    let fences = [1, 2].map(|tag| submit(&queue, rig.gpu.waits(tag), &[]));
    manual.work();
    assert_eq!(rig.gpu.running(), [1]);

    let seen = porter.control().yield_now().unwrap();
    let told = porter.last().unwrap();
    assert_eq!(told, report(seen + 1, true, Out::OnHardware));
    rig.gpu.complete(1, Ok(()));
    assert_eq!(done(&fences[0]), Ok(()));
    assert_eq!(porter.last(), Some(report(seen + 2, true, Out::Nothing)));
    manual.work();
    assert!(rig.gpu.running().is_empty(), "no job is run");

    porter.control().open();
    manual.work();
    assert_eq!(rig.gpu.running(), [2]);
    rig.gpu.complete(2, Ok(()));
    end(rig, &porter, &manual, queue);
}

#[test]
fn the_clock_goes_on_while_a_queue_yields_and_stands_still_while_it_is_shut() {
    let hour = Duration::from_secs(3600);
    let (rig, porter, manual, queue) = stepped(|builder| builder.timeout(hour));
    porter.control().open();
    let job = rig.gpu.waits(1).when_timed_out(|job| job.no_hang());
    submit(&queue, job, &[]);
    manual.work();
    let asked = || rig.gpu.count(1, What::TimedOutBegins);

    porter.control().yield_now();
    assert_eq!(manual.fire(), 1);
    manual.work();
    assert_eq!(asked(), 1, "its time is up all the same");

    // What the driver said has given it another hour.
    let deadline = manual.timer(0).unwrap();
    porter.control().shut();
    manual.fire_at(0, Time::from_ns(deadline.as_ns() + 1));
    manual.work();
    assert_eq!(asked(), 1, "the clock stands still");
    porter.control().yield_now();
    manual.work();
    assert_eq!(asked(), 1, "and goes on where it stood");
    let later = manual.timer(0).unwrap();
    assert!(later > deadline, "{later:?} is not after {deadline:?}");
    manual.fire();
    manual.work();
    assert_eq!(asked(), 2);

    rig.gpu.complete(1, Ok(()));
    end(rig, &porter, &manual, queue);
}

#[test]
fn a_timeout_that_is_up_waits_for_the_gate() {
    let hour = Duration::from_secs(3600);
    let (rig, porter, manual, queue) = stepped(|builder| builder.timeout(hour));
    porter.control().open();
    let fence = submit(&queue, rig.gpu.waits(1), &[]);
    manual.work();
    manual.fire();
    porter.control().shut();
    manual.work();
    assert_eq!(rig.gpu.count(1, What::TimedOutBegins), 0);
    assert_eq!(fence.status(), None);
    porter.control().open();
    manual.work();
    assert_eq!(rig.gpu.count(1, What::TimedOutBegins), 1);
    assert_eq!(done(&fence), Err(Errno::ETIME));
    end(rig, &porter, &manual, queue);
}

#[test]
fn a_report_tells_when_the_last_callback_has_returned() {
    let (rig, porter) = (Rig::new(), Porter::new());
    let queue = rig.build(builder(&porter));
    let (inside, go_on) = (mpsc::channel(), mpsc::channel::<()>());
    let (began, wait) = (inside.0, go_on.1);
    let (hardware, _on_hardware) = mpsc::channel();
    let job = rig.gpu.calls(1, move |submission| {
        began.send(()).unwrap();
        wait.recv().unwrap();
        let (completion, outcome) = submission.pending();
        hardware.send(completion).unwrap();
        outcome
    });
    // In one batch, the second after the first.
    let fences = [job, rig.gpu.waits(2)].map(|work| submit(&queue, work, &[]));
    porter.control().open();
    inside.1.recv().unwrap();
    let seen = porter.control().shut().unwrap();
    let told = porter.last().unwrap();
    assert_eq!(told, report(seen + 1, true, Out::Inside));
    go_on.0.send(()).unwrap();
    eventually("the callback has returned", || {
        porter.last() == Some(report(seen + 2, true, Out::OnHardware))
    });
    assert_eq!(rig.gpu.tags(What::RunBegins), [1], "the rest was not begun");

    queue.kill(Errno::EIO);
    assert_eq!(porter.last(), Some(report(seen + 3, false, Out::Nothing)));
    for fence in &fences {
        assert_eq!(done(fence), Err(Errno::EIO));
    }
    drop(queue);
    rig.finish();
    eventually("it is detached", || porter.detached() == 1);
    porter.assert_kept_the_rules();
}

#[test]
fn who_walks_a_stopped_queue_is_inside() {
    let (rig, porter, manual, queue) = stepped(|builder| builder);
    porter.control().open();
    submit(&queue, rig.gpu.waits(1), &[]);
    manual.work();
    porter.control().shut();
    let out = || porter.last().map(|report| report.out);
    assert_eq!(out(), Some(Out::OnHardware));
    let mut stopped = queue.stop().unwrap();
    assert_eq!(out(), Some(Out::OnHardware));
    let mut walk = stopped.pending();
    let job = walk.next().unwrap();
    assert_eq!(
        out(),
        Some(Out::Inside),
        "it is told before the job is touched"
    );
    job.keep();
    assert_eq!(out(), Some(Out::OnHardware));
    drop(stopped);
    rig.gpu.complete(1, Ok(()));
    end(rig, &porter, &manual, queue);
}

#[test]
fn completions_in_interrupts_leave_the_report_to_the_worker() {
    let (rig, porter, manual, queue) = stepped(|builder| builder);
    porter.control().open();
    submit(&queue, rig.gpu.waits(1), &[]);
    manual.work();
    let before = porter.last();
    rig.gpu.take(1).complete_in_irq(Ok(()));
    assert_eq!(porter.last(), before);
    assert_eq!(manual.scheduled(), 1);
    manual.work();
    assert!(!porter.last().unwrap().wants);
    end(rig, &porter, &manual, queue);
}

#[test]
fn bypass_works_through_an_open_gate_and_no_other() {
    let (rig, porter, manual, queue) = stepped(|builder| builder.bypass(true));
    submit(&queue, rig.gpu.done(1), &[]);
    assert!(rig.gpu.tags(What::RunBegins).is_empty());
    porter.control().open();
    manual.work();
    assert_eq!(rig.gpu.tags(What::RunBegins), [1]);
    submit(&queue, rig.gpu.done(2), &[]);
    assert_eq!(rig.gpu.tags(What::RunBegins), [1, 2], "on this thread");
    let threads: Vec<_> = rig.gpu.seen().iter().map(|seen| seen.thread).collect();
    assert!(threads.iter().all(|id| *id == thread::current().id()));
    assert_eq!(queue.stats().bypassed, 1);
    porter.control().yield_now();
    submit(&queue, rig.gpu.done(3), &[]);
    manual.work();
    assert_eq!(rig.gpu.tags(What::RunBegins), [1, 2]);
    porter.control().open();
    manual.work();
    assert_eq!(rig.gpu.tags(What::RunBegins), [1, 2, 3]);
    end(rig, &porter, &manual, queue);
}

#[test]
fn a_gate_may_open_at_once_from_inside_the_report() {
    let (rig, manual) = (Rig::new(), Manual::new());
    let porter = Porter::answering(|control, report| {
        if report.wants {
            control.open();
        } else {
            control.shut();
        }
    });
    let queue = rig.build_on(builder(&porter), manual.clone());
    for tag in 1..=3 {
        let fence = submit(&queue, rig.gpu.done(tag), &[]);
        manual.work();
        assert_eq!(done(&fence), Ok(()));
        assert_eq!(porter.last().map(|report| report.out), Some(Out::Nothing));
    }
    end(rig, &porter, &manual, queue);
}

#[test]
fn a_gate_that_never_rests_is_not_called_in_itself() {
    let (rig, manual) = (Rig::new(), Manual::new());
    let porter = Porter::answering(|control, report| {
        match report.out {
            Out::Open => control.yield_now(),
            _ => control.open(),
        };
    });
    let queue = rig.build_on(builder(&porter), manual.clone());
    let fence = submit(&queue, rig.gpu.done(1), &[]);
    for _ in 0..100 {
        assert!(manual.step(), "there is always something to tell");
    }
    assert_eq!(porter.depth(), 1);
    assert_eq!(done(&fence), Ok(()));
    porter.be_silent();
    end(rig, &porter, &manual, queue);
}

#[test]
fn a_gate_may_be_set_from_driver_and_fence_callbacks() {
    let (rig, porter, manual, queue) = stepped(|builder| builder);
    porter.control().open();
    let inner = porter.clone();
    let shuts = rig.gpu.calls(1, move |submission| {
        inner.control().shut();
        submission.done()
    });
    let fence = submit(&queue, shuts, &[]);
    let inner = porter.clone();
    let _opens = on_signal(&fence, move |_| _ = inner.control().open());
    let next = submit(&queue, rig.gpu.done(2), &[]);
    manual.work();
    assert_eq!(done(&fence), Ok(()));
    assert_eq!(done(&next), Ok(()), "the callback opened the gate again");
    assert_eq!(porter.last(), queue.gate_report());
    end(rig, &porter, &manual, queue);
}

#[test]
fn every_change_of_the_gate_is_told() {
    let (rig, porter, manual, queue) = stepped(|builder| builder);
    let control = porter.control();
    assert_eq!(control.shut(), Some(0));
    assert_eq!(porter.last(), None, "it was shut already");
    for version in 0..4 {
        let seen = match version % 2 {
            0 => control.yield_now(),
            _ => control.shut(),
        };
        assert_eq!(seen, Some(version));
        let told = report(version + 1, false, Out::Nothing);
        assert_eq!(porter.last(), Some(told), "though nothing else has changed");
    }
    end(rig, &porter, &manual, queue);
}
