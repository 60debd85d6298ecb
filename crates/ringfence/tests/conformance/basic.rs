// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Jobs in, fences out: the ordinary ways through a queue.

use std::sync::{Arc, Mutex};

use ringfence::{Errno, Event, EventKind, Observer, OnDependencyError, Outcome, Queue, Request};
use ringfence::{SubmissionGuard, Timeline};

use crate::common::manual::Manual;
use crate::common::mock::{Does, Mock, What};
use crate::common::{done, eventually, submit as submit_after, Order, Rig};

pub(crate) fn submit() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let fence = queue.prepare(rig.gpu.waits(1), 1).unwrap().submit();
    assert_eq!(fence.seqno(), 1);
    assert_eq!(fence.context(), queue.context());
    rig.gpu.wait_running(1);
    assert_eq!(fence.status(), None);
    rig.gpu.complete(1, Ok(()));
    assert_eq!(done(&fence), Ok(()));
    assert_eq!(queue.stats().completed, 1);
    rig.finish();
}

pub(crate) fn queue_of_jobs() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").capacity(64).credits(4));
    let order = Order::default();
    queue.suspend();
    let fences: Vec<_> = (0..64)
        .map(|tag| submit_after(&queue, rig.gpu.work(tag, Does::Takes(1)), &[]))
        .collect();
    let _watches = order.watch_all(&fences);
    assert!(queue.resume());
    let clock = rig.gpu.start_clock();
    for fence in &fences {
        assert_eq!(done(fence), Ok(()));
    }
    drop(clock);
    order.assert_in_order(64);
    assert_eq!(rig.gpu.tags(What::RunBegins), (0..64).collect::<Vec<_>>());
    queue.check_invariants().unwrap();
    rig.finish();
}

pub(crate) fn chain_of_dependent_jobs() {
    let rig = Rig::new();
    let queues: Vec<_> = (0..4).map(|i| rig.queue(&format!("q{i}"))).collect();
    let (start, started) = Timeline::new("start").signaller();
    let mut last = started;
    let mut fences = Vec::new();
    for tag in 0..100 {
        let queue = &queues[tag as usize % queues.len()];
        last = submit_after(queue, rig.gpu.done(tag), &[&last]);
        fences.push(last.clone());
    }
    assert!(rig.gpu.tags(What::RunBegins).is_empty());
    start.signal(Ok(()));
    assert_eq!(done(&last), Ok(()));
    assert_eq!(rig.gpu.tags(What::RunBegins), (0..100).collect::<Vec<_>>());
    assert!(fences.iter().all(|fence| fence.status() == Some(Ok(()))));
    rig.finish();
}

pub(crate) fn independent_queues() {
    let rig = Rig::new();
    let queues: Vec<_> = (0..4).map(|i| rig.queue(&format!("q{i}"))).collect();
    let stuck = submit_after(&queues[0], rig.gpu.waits(1000), &[]);
    for (number, queue) in queues.iter().enumerate().skip(1) {
        for job in 0..20 {
            let fence = submit_after(queue, rig.gpu.done(number as u64 * 100 + job), &[]);
            assert_eq!(done(&fence), Ok(()));
        }
    }
    assert_eq!(stuck.status(), None, "its queue alone is stuck");
    rig.gpu.complete(1000, Ok(()));
    assert_eq!(done(&stuck), Ok(()));
    rig.finish();
}

pub(crate) fn interdependent_queues() {
    let rig = Rig::new();
    let queues: Vec<_> = (0..4).map(|i| rig.queue(&format!("q{i}"))).collect();
    let mut layer: Vec<ringfence::Fence> = Vec::new();
    for round in 0..10 {
        // Every job of a layer waits for every job of the layer before, on all queues.
        let after: Vec<_> = layer.iter().collect();
        layer = queues
            .iter()
            .enumerate()
            .map(|(i, queue)| submit_after(queue, rig.gpu.done(round * 10 + i as u64), &after))
            .collect();
    }
    for fence in &layer {
        assert_eq!(done(fence), Ok(()));
    }
    let rounds: Vec<_> = rig
        .gpu
        .tags(What::RunBegins)
        .iter()
        .map(|tag| tag / 10)
        .collect();
    assert!(
        rounds.windows(2).all(|pair| pair[0] <= pair[1]),
        "{rounds:?}"
    );
    rig.finish();
}

pub(crate) fn ping_pong() {
    let rig = Rig::new();
    let (ping, pong) = (rig.queue("ping"), rig.queue("pong"));
    let mut last = None;
    for tag in 0..500 {
        let queue = if tag % 2 == 0 { &ping } else { &pong };
        let after: Vec<_> = last.iter().collect();
        let mut job = loop {
            match queue.prepare(rig.gpu.done(tag), 1) {
                Ok(job) => break job,
                Err(full) => drop((full, std::thread::yield_now())),
            }
        };
        for fence in after {
            job.depends_on(fence).unwrap();
        }
        last = Some(job.submit());
    }
    assert_eq!(done(&last.unwrap()), Ok(()));
    let order = rig.gpu.tags(What::RunBegins);
    assert_eq!(order, (0..500).collect::<Vec<_>>());
    rig.finish();
}

pub(crate) fn failed_run() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let bad = submit_after(&queue, rig.gpu.work(1, Does::Fails(Errno::EINVAL)), &[]);
    let good = submit_after(&queue, rig.gpu.done(2), &[]);
    assert_eq!(done(&bad), Err(Errno::EINVAL));
    assert_eq!(done(&good), Ok(()));
    let lost = submit_after(
        &queue,
        rig.gpu.calls(3, |submission| {
            let (completion, outcome) = submission.pending();
            drop(completion);
            outcome
        }),
        &[],
    );
    assert_eq!(
        done(&lost),
        Err(Errno::ECANCELED),
        "the hardware side has lost it"
    );
    rig.finish();
}

pub(crate) fn failed_dependency_fails_the_job() {
    let rig = Rig::new();
    let (first, second) = (rig.queue("first"), rig.queue("second"));
    let bad = submit_after(&first, rig.gpu.waits(1), &[]);
    let waits = submit_after(&second, rig.gpu.done(2), &[&bad]);
    rig.gpu.complete(1, Err(Errno::EIO));
    assert_eq!(done(&waits), Err(Errno::EIO));
    // And one that has failed already when the job is submitted.
    let late = submit_after(&second, rig.gpu.done(3), &[&bad]);
    assert_eq!(done(&late), Err(Errno::EIO));
    assert_eq!(rig.gpu.tags(What::RunBegins), [1]);
    rig.finish();
}

pub(crate) fn failed_dependency_may_be_ignored() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let (signaller, failed) = Timeline::new("t").signaller();
    let request = Request {
        cost: 1,
        on_dependency_error: Some(OnDependencyError::Run),
        ..Request::default()
    };
    let mut job = queue.prepare_with(rig.gpu.done(1), request).unwrap();
    job.depends_on(&failed).unwrap();
    let fence = job.submit();
    signaller.signal(Err(Errno::EIO));
    assert_eq!(done(&fence), Ok(()));
    rig.finish();
}

pub(crate) fn follows_a_fence_of_the_hardware() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let hardware = Timeline::new("hardware");
    for (tag, result) in [(1, Ok(())), (2, Err(Errno::EIO))] {
        let (signaller, fence) = hardware.signaller();
        let job = submit_after(&queue, rig.gpu.work(tag, Does::Follows(fence)), &[]);
        rig.gpu.wait_for(tag, What::RunEnds);
        assert_eq!(job.status(), None);
        signaller.signal(result);
        assert_eq!(done(&job), result);
    }
    rig.finish();
}

pub(crate) fn no_room_until_a_fence_signals() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let (first, room) = Timeline::new("room").signaller();
    let (second, more_room) = Timeline::new("room").signaller();
    let twice = Does::NoRoom(
        room,
        Box::new(Does::NoRoom(more_room, Box::new(Does::Done))),
    );
    let job = submit_after(&queue, rig.gpu.work(1, twice), &[]);
    let behind = submit_after(&queue, rig.gpu.done(2), &[]);
    rig.gpu.wait_for(1, What::RunEnds);
    assert_eq!(rig.gpu.tags(What::RunBegins), [1], "nobody overtakes it");
    // With whatever result: there may be room, says the signal.
    first.signal(Err(Errno::EIO));
    eventually("second try", || rig.gpu.count(1, What::RunEnds) == 2);
    assert_eq!(job.status(), None);
    second.signal(Ok(()));
    assert_eq!(done(&behind), Ok(()));
    assert_eq!(job.status(), Some(Ok(())));
    assert_eq!(rig.gpu.tags(What::RunBegins), [1, 1, 1, 2]);
    assert_eq!(queue.stats().no_resources, 2);
    rig.finish();
}

pub(crate) fn gang_over_two_queues() {
    let rig = Rig::new();
    let (left, right) = (rig.queue("left"), rig.queue("right"));
    let threads: Vec<_> = (0..4).map(|thread| thread * 1000).collect();
    std::thread::scope(|scope| {
        for base in threads {
            let (rig, left, right) = (&rig, &left, &right);
            scope.spawn(move || {
                for job in 0..8 {
                    let tag = base + job;
                    let on_left = left.prepare(rig.gpu.done(tag), 1).unwrap();
                    let on_right = right.prepare(rig.gpu.done(tag), 1).unwrap();
                    // In either order of naming them: no deadlock.
                    let mut guard = if job % 2 == 0 {
                        SubmissionGuard::over(&[left, right])
                    } else {
                        SubmissionGuard::over(&[right, left, right])
                    };
                    let armed = guard.arm(on_left).unwrap();
                    let first = armed.finished();
                    assert_eq!(first.seqno(), armed.seqno());
                    armed.submit();
                    let second = guard.submit(on_right).unwrap();
                    assert_eq!(
                        first.seqno(),
                        second.seqno(),
                        "the same place in both lines"
                    );
                    drop(guard);
                    assert_eq!(done(&first), Ok(()));
                    assert_eq!(done(&second), Ok(()));
                }
            });
        }
    });
    let other = rig.queue("other");
    let mut guard = SubmissionGuard::over(&[&left, &right]);
    let refused = guard.submit(other.prepare(rig.gpu.done(1), 1).unwrap());
    let job = refused.expect_err("not covered").0;
    drop(guard);
    assert_eq!(done(&job.submit()), Ok(()), "it comes back as it was");
    drop((left, right, other));
    rig.finish();
}

pub(crate) fn armed_and_let_go() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let before = submit_after(&queue, rig.gpu.waits(1), &[]);
    let mut guard = queue.submission_guard();
    let armed = guard
        .arm(queue.prepare(rig.gpu.done(2), 1).unwrap())
        .unwrap();
    let let_go = armed.finished();
    drop(armed);
    drop(guard);
    let after = submit_after(&queue, rig.gpu.done(3), &[]);
    assert_eq!(let_go.status(), None, "not before its turn");
    rig.gpu.complete(1, Ok(()));
    assert_eq!(done(&after), Ok(()));
    assert_eq!(before.status(), Some(Ok(())));
    assert_eq!(let_go.status(), Some(Err(Errno::ECANCELED)));
    assert_eq!(rig.gpu.tags(What::RunBegins), [1, 3]);
    rig.finish();
}

pub(crate) fn suspend_and_resume() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    assert!(!queue.resume(), "there is nothing to take back");
    queue.suspend();
    queue.suspend();
    let fence = submit_after(&queue, rig.gpu.done(1), &[]);
    assert!(queue.resume());
    assert!(rig.gpu.seen().is_empty());
    // Another queue's job after it shows that the workers have been there.
    assert_eq!(
        done(&submit_after(&rig.queue("p"), rig.gpu.done(2), &[])),
        Ok(())
    );
    assert_eq!(rig.gpu.count(1, What::RunBegins), 0);
    assert!(queue.resume());
    assert_eq!(done(&fence), Ok(()));
    rig.finish();
}

/// What was handed to a worker together is not begun once the queue is suspended, or killed.
pub(crate) fn suspended_between_two_callbacks() {
    for kill in [false, true] {
        let rig = Rig::new();
        let executor = Manual::new();
        let builder = Queue::<Mock>::builder("q");
        let queue = Arc::new(rig.build_on(builder, executor.clone()));
        let inner = Arc::clone(&queue);
        let work = rig.gpu.calls(0, move |submission| {
            if kill {
                inner.kill(Errno::EIO);
            } else {
                inner.suspend();
            }
            submission.done()
        });
        let mut fences = vec![submit_after(&queue, work, &[])];
        fences.extend((1..5).map(|tag| submit_after(&queue, rig.gpu.done(tag), &[])));
        executor.work();
        assert_eq!(rig.gpu.tags(What::RunBegins), [0]);
        assert_eq!(fences[4].is_signaled(), kill);
        if !kill {
            assert!(queue.resume());
            executor.work();
            assert_eq!(rig.gpu.tags(What::RunBegins), [0, 1, 2, 3, 4]);
        }
        let result = if kill { Err(Errno::EIO) } else { Ok(()) };
        assert!(fences.iter().all(|fence| fence.status() == Some(result)));
        drop(queue);
        rig.finish();
    }
}

#[derive(Default)]
struct Witness(Mutex<Vec<Event>>);

impl Observer for Witness {
    fn observe(&self, event: &Event) {
        self.0.lock().unwrap().push(*event);
    }
}

pub(crate) fn watched() {
    let rig = Rig::new();
    let witness = Arc::new(Witness::default());
    let observer = Arc::clone(&witness) as Arc<dyn Observer>;
    let queue = rig.build(Queue::<Mock>::builder("q").observer(observer));
    let (signaller, dependency) = Timeline::new("t").signaller();
    let fence = submit_after(&queue, rig.gpu.waits(1), &[&dependency]);
    signaller.signal(Ok(()));
    rig.gpu.complete(1, Err(Errno::EIO));
    assert_eq!(done(&fence), Err(Errno::EIO));
    let events = witness.0.lock().unwrap().clone();
    assert!(events
        .iter()
        .all(|event| event.context == queue.context() && event.seqno == 1));
    assert!(
        events.windows(2).all(|pair| pair[0].time <= pair[1].time),
        "{events:?}"
    );
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    let (context, seqno) = (dependency.context(), dependency.seqno());
    assert_eq!(
        kinds,
        [
            EventKind::Dependency { context, seqno },
            EventKind::Queued { cost: 1, depth: 0 },
            EventKind::Run { bypass: false },
            EventKind::Done {
                outcome: Outcome::Failed(Errno::EIO)
            },
        ]
    );
    rig.finish();
}

pub(crate) fn snapshot_of_every_state() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("picture").credits(1));
    let on_hardware = submit_after(&queue, rig.gpu.waits(1), &[]);
    rig.gpu.wait_for(1, What::RunEnds);
    let (signaller, open) = Timeline::new("t").signaller();
    let waits = submit_after(&queue, rig.gpu.done(2), &[&open]);
    let shows = |text: &str, wanted: &str| text.to_lowercase().contains(wanted);
    eventually("run has returned", || shows(&queue.snapshot(), "pending"));
    let text = queue.snapshot();
    for wanted in ["picture", "#1", "#2", "queued"] {
        assert!(shows(&text, wanted), "no {wanted} in:\n{text}");
    }
    signaller.signal(Ok(()));
    rig.gpu.complete(1, Ok(()));
    assert_eq!(done(&waits), Ok(()));
    assert_eq!(on_hardware.status(), Some(Ok(())));
    rig.finish();
}
