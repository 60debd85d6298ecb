// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Pools by priority.

use std::collections::HashSet;
use std::sync::{mpsc, Arc, Barrier};
use std::thread;

use ringfence::{Pool, Priority, PriorityPools, Queue, RealTimePriority, Scheduling};

use crate::common::mock::Mock;
use crate::common::{done, submit, Rig, LONG};
use crate::{tells, told, Worker};

#[test]
fn queues_of_one_priority_share_its_workers_and_no_others() {
    let rig = Rig::new();
    let pools = PriorityPools::new().unwrap();
    let mut seen = Vec::new();
    for priority in Priority::ALL {
        let workers = (0..3).map(|number| {
            let builder = Queue::<Mock>::builder(&format!("{priority:?} {number}"));
            let queue = rig.build_on(builder, pools.executor(priority));
            let (work, ran) = tells(&rig, number);
            done(&submit(&queue, work, &[])).unwrap();
            told(&ran)
        });
        let workers: Vec<Worker> = workers.collect();
        assert!(workers.iter().all(|worker| *worker == workers[0]));
        assert_eq!(workers[0].scheduling, pools.pool(priority).scheduling());
        seen.push(workers[0].clone());
    }
    let names: Vec<&str> = seen.iter().map(|worker| worker.name.as_str()).collect();
    let wanted = [
        "ringfence-l0",
        "ringfence-n0",
        "ringfence-h0",
        "ringfence-k0",
    ];
    assert_eq!(names, wanted);
    let threads: HashSet<_> = seen.iter().map(|worker| worker.id).collect();
    assert_eq!(threads.len(), 4);
    rig.finish();
}

#[test]
fn several_workers_of_a_priority_work_at_a_time() {
    let rig = Rig::new();
    let builder = PriorityPools::builder().threads(Priority::High, 2);
    let pools = builder.build().unwrap();
    // Neither job ends before the other has begun.
    let both = Arc::new(Barrier::new(2));
    let (send, ran) = mpsc::channel();
    let queues = ["a", "b"]
        .map(|name| rig.build_on(Queue::<Mock>::builder(name), pools.executor(Priority::High)));
    let fences = queues.each_ref().map(|queue| {
        let (both, send) = (Arc::clone(&both), send.clone());
        let work = rig.gpu.calls(1, move |submission| {
            both.wait();
            send.send(Worker::this()).unwrap();
            submission.done()
        });
        submit(queue, work, &[])
    });
    assert!(fences.iter().all(|fence| done(fence) == Ok(())));
    let mut names = [(); 2].map(|()| ran.recv_timeout(LONG).unwrap().name);
    names.sort();
    assert_eq!(names, ["ringfence-h0", "ringfence-h1"]);
    drop(queues);
    rig.finish();
}

#[test]
fn what_a_callback_starts_is_no_real_time_thread_by_accident() {
    let rig = Rig::new();
    let pool = crate::real_time(1);
    let queue = rig.build_on(Queue::<Mock>::builder("q"), pool.executor());
    let (send, started) = mpsc::channel();
    let work = rig.gpu.calls(1, move |submission| {
        let started = thread::spawn(|| Worker::this().scheduling);
        send.send(started.join().unwrap()).unwrap();
        submission.done()
    });
    done(&submit(&queue, work, &[])).unwrap();
    let started = started.recv_timeout(LONG).unwrap();
    assert!(!matches!(started, Scheduling::Fifo(_)), "{started}");
    drop(queue);
    rig.finish();
}

#[test]
fn the_more_urgent_go_first_and_the_rest_is_ordinary_whoever_makes_them() {
    let ordinary = crate::scheduling();
    let made = thread::spawn(|| {
        let lowest = libc::sched_param { sched_priority: 1 };
        // SAFETY: `lowest` is there to be read.
        let failed = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) };
        (failed == 0, PriorityPools::new().unwrap())
    });
    let (allowed, pools) = made.join().unwrap();
    let [low, normal, high, kernel] = Priority::ALL.map(|level| pools.pool(level).scheduling());
    assert_eq!((low, normal), (Scheduling::Nice(10), ordinary));
    if allowed {
        let [ten, twenty] = [10, 20].map(|number| RealTimePriority::new(number).unwrap());
        assert_eq!(high, Scheduling::Fifo(ten));
        assert_eq!(kernel, Scheduling::Fifo(twenty));
    } else {
        let refused = |level| pools.pool(level).refusal().is_some();
        assert!(refused(Priority::High) && refused(Priority::Kernel));
    }
}

#[test]
fn a_prefix_that_the_system_cannot_have_is_no_panic() {
    let rig = Rig::new();
    let pool = Pool::builder().name("odd\0").build().unwrap();
    let queue = rig.build_on(Queue::<Mock>::builder("odd"), pool.executor());
    let (work, ran) = tells(&rig, 0);
    done(&submit(&queue, work, &[])).unwrap();
    assert_eq!(told(&ran).name, "odd0");
    rig.finish();
}
