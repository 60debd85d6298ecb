// SPDX-License-Identifier: GPL-2.0 OR MIT
//! After `Device::unbind` returns no driver callback runs, and fences go on meaning what they say.
#![cfg(not(any(feature = "loom", feature = "shuttle")))]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::mock::{Does, What};
use common::{done, eventually, submit, without_deadlock, Order, Rig};
use ringfence::{
    Completion, Device, Driver, Errno, Fence, Pool, Queue, RunOutcome, Submission, TimedOutJob,
    Timeline, TimeoutOutcome, UnbindError,
};

/// A driver that notes when it is called after the end.
struct Guarded {
    over: Arc<AtomicBool>,
    broken: Arc<AtomicU64>,
    calls: Arc<AtomicU64>,
    hardware: mpsc::Sender<Completion<Guarded>>,
    /// Dropped with the driver.
    _alive: Arc<()>,
}

impl Guarded {
    fn called(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        // A span, so that unbind finds callbacks that are running.
        for _ in 0..4 {
            if self.over.load(Ordering::SeqCst) {
                self.broken.fetch_add(1, Ordering::SeqCst);
            }
            thread::yield_now();
        }
    }
}

impl Driver for Guarded {
    type Payload = u64;
    type ReplayData = ();

    fn run(&mut self, mut submission: Submission<'_, Self>) -> RunOutcome {
        self.called();
        match *submission.payload() % 3 {
            0 => submission.done(),
            1 => submission.failed(Errno::EIO),
            _ => {
                let (completion, outcome) = submission.pending();
                let _gone = self.hardware.send(completion);
                outcome
            }
        }
    }

    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        self.called();
        match job.seqno() % 2 {
            0 => job.no_hang(),
            _ => job.handled(Errno::ETIME),
        }
    }
}

/// Submitters, completions, timeouts, suspends and kills race with unbind.
fn race(round: u64) {
    let device = Device::new("racing");
    let pool = Pool::new(2).unwrap();
    let (over, broken) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let (calls, alive) = (Arc::new(AtomicU64::new(0)), Arc::new(()));
    let (send, receive) = mpsc::channel();
    let queues: Vec<Queue<Guarded>> = (0..3)
        .map(|number| {
            let driver = Guarded {
                over: Arc::clone(&over),
                broken: Arc::clone(&broken),
                calls: Arc::clone(&calls),
                hardware: send.clone(),
                _alive: Arc::clone(&alive),
            };
            let builder = Queue::<Guarded>::builder("q")
                .capacity(16)
                .bypass(number == 0);
            let builder = builder.timeout(Duration::from_nanos(1));
            builder.build(&device, &pool, driver).unwrap()
        })
        .collect();
    drop(send);
    let fences: Mutex<Vec<Fence>> = Mutex::default();
    let receive = Mutex::new(receive);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for queue in &queues {
            let (fences, stop) = (&fences, &stop);
            scope.spawn(move || {
                let mut number = 0;
                while !stop.load(Ordering::SeqCst) {
                    number += 1;
                    match queue.prepare(number, 1) {
                        Ok(job) => fences.lock().unwrap().push(job.submit()),
                        Err(_) => thread::yield_now(),
                    }
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                for queue in &queues {
                    queue.trigger_timeout();
                    queue.suspend();
                    queue.resume();
                }
                while let Ok(token) = receive.lock().unwrap().try_recv() {
                    token.complete(Ok(()));
                }
            }
        });
        scope.spawn(|| {
            // At another point in each round.
            while calls.load(Ordering::SeqCst) < round {
                thread::yield_now();
            }
            assert_eq!(device.unbind(), Ok(()));
            over.store(true, Ordering::SeqCst);
            let calls_then = calls.load(Ordering::SeqCst);
            assert_eq!(
                Arc::strong_count(&alive),
                1,
                "the drivers have been dropped"
            );
            // The others go on for a while, and the pool's threads with them.
            for _ in 0..50 {
                thread::yield_now();
            }
            stop.store(true, Ordering::SeqCst);
            assert_eq!(calls.load(Ordering::SeqCst), calls_then);
        });
    });
    assert_eq!(
        broken.load(Ordering::SeqCst),
        0,
        "a callback ran after unbind had returned"
    );
    for queue in &queues {
        queue.check_invariants().unwrap();
        assert!(queue.prepare(0, 1).is_err());
        assert_eq!(done(&queue.closed()), Ok(()));
    }
    for fence in fences.lock().unwrap().iter() {
        assert!(done(fence).is_ok() || fence.error().is_some());
    }
}

#[test]
fn nothing_runs_after_unbind_whatever_races_with_it() {
    for round in 1..30 {
        without_deadlock("unbind", move || race(round));
    }
}

#[test]
fn unbind_waits_for_a_callback_that_runs() {
    let rig = Rig::new();
    let queue = rig.queue("q");
    let (release, wait) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let work = rig.gpu.calls(1, move |submission| {
        entered.send(()).unwrap();
        let _ = wait.recv();
        submission.done()
    });
    let fence = submit(&queue, work, &[]);
    inside.recv().unwrap();
    let device = rig.device.clone();
    let (said, unbound) = mpsc::channel();
    let unbinds = thread::spawn(move || {
        device.unbind().unwrap();
        said.send(()).unwrap();
    });
    assert_eq!(
        done(&fence),
        Err(Errno::ENODEV),
        "fences do not wait for the callback"
    );
    assert!(rig.device.is_unbound());
    assert!(unbound.try_recv().is_err(), "unbind does");
    assert_eq!(rig.gpu.count(1, What::RunEnds), 0);
    drop(release);
    unbinds.join().unwrap();
    unbound.recv().unwrap();
    assert_eq!(rig.gpu.count(1, What::RunEnds), 1);
    assert_eq!(rig.gpu.leftovers().1, 0, "the driver has been dropped");
    drop(queue);
    rig.finish();
}

#[test]
fn fences_signal_in_order_and_with_enodev() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<common::mock::Mock>::builder("q").credits(3));
    let order = Order::default();
    let (never, open) = Timeline::new("t").signaller();
    let room = Does::NoRoom(open.clone(), Box::new(Does::Done));
    let mut fences: Vec<_> = (0..3)
        .map(|tag| submit(&queue, rig.gpu.waits(tag), &[]))
        .collect();
    fences.push(submit(&queue, rig.gpu.work(3, room), &[]));
    fences.extend((4..8).map(|tag| submit(&queue, rig.gpu.done(tag), &[&open])));
    let watches = order.watch_all(&fences);
    rig.gpu.wait_running(2);
    rig.device.unbind().unwrap();
    for fence in &fences {
        assert_eq!(fence.status(), Some(Err(Errno::ENODEV)));
        assert!(fence.timestamp().is_some());
        assert_eq!(fence.wait(), Err(Errno::ENODEV));
    }
    order.assert_in_order(8);
    // What they waited for signals later, into nothing.
    never.signal(Ok(()));
    drop((watches, queue));
    rig.finish();
}

#[test]
fn unbind_in_a_callback_is_refused_and_does_nothing() {
    for bypass in [false, true] {
        let rig = Rig::new();
        let other_device = Device::new("other");
        let builder = Queue::<common::mock::Mock>::builder("q").bypass(bypass);
        let queue = rig.build(builder);
        let (send, receive) = mpsc::channel();
        let (device, sent) = (rig.device.clone(), send.clone());
        let work = rig.gpu.calls(1, move |submission| {
            sent.send(device.unbind()).unwrap();
            submission.done()
        });
        assert_eq!(done(&submit(&queue, work, &[])), Ok(()));
        assert_eq!(receive.recv().unwrap(), Err(UnbindError::InCallback));
        let device = rig.device.clone();
        let work = rig.gpu.waits(2).when_timed_out(move |job| {
            send.send(device.unbind()).unwrap();
            job.handled(Errno::ETIME)
        });
        let fence = submit(&queue, work, &[]);
        eventually("on the hardware", || queue.trigger_timeout());
        assert_eq!(done(&fence), Err(Errno::ETIME));
        assert_eq!(receive.recv().unwrap(), Err(UnbindError::InCallback));
        assert!(!rig.device.is_unbound());
        assert_eq!(
            done(&submit(&queue, rig.gpu.done(3), &[])),
            Ok(()),
            "the queue goes on"
        );
        assert_eq!(other_device.unbind(), Ok(()));
        drop(queue);
        rig.finish();
    }
}

#[test]
fn unbinding_twice_and_from_several_threads_waits_for_all() {
    let rig = Rig::new();
    let queues: Vec<_> = (0..4).map(|_| rig.queue("q")).collect();
    for (tag, queue) in queues.iter().enumerate() {
        submit(queue, rig.gpu.waits(tag as u64), &[]);
    }
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                rig.device.unbind().unwrap();
                assert_eq!(rig.gpu.leftovers().1, 0, "every one of them waits");
            });
        }
    });
    rig.device.unbind().unwrap();
    drop(queues);
    rig.finish();
}
