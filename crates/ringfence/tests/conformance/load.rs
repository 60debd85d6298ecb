// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Many jobs, many threads, many queues.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{mpsc, Arc};
use std::thread;

use ringfence::{Completion, Errno, Fence, Queue};

use crate::common::mock::{Does, Mock, What, Work};
use crate::common::{done, eventually, on_signal, submit, Rig};

/// Submits, waiting for room where there is none.
fn push(queue: &Queue<Mock>, mut work: Work) -> Fence {
    loop {
        match queue.prepare(work, 1) {
            Ok(job) => return job.submit(),
            Err(full) => work = full.payload,
        }
        thread::yield_now();
    }
}

/// Has every fence checked, on its signal, to be the next of its queue.
fn expect_order(fence: &Fence, next: &Arc<AtomicU64>) -> Option<crate::common::Watch> {
    let (next, seqno) = (Arc::clone(next), fence.seqno());
    let check = ringfence::fence::Callback::new(Box::new(move |_| {
        next.fetch_max(seqno, Ordering::SeqCst);
    }) as Box<dyn FnMut(_) + Send>);
    fence.add_callback(check).ok()
}

pub(crate) fn parallel_submission() {
    for bypass in [false, true] {
        let rig = Rig::new();
        let queue = rig.build(Queue::<Mock>::builder("q").capacity(32).bypass(bypass));
        let fences: Vec<Vec<Fence>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|thread| {
                    let (rig, queue) = (&rig, &queue);
                    scope.spawn(move || {
                        (0..100)
                            .map(|job| push(queue, rig.gpu.done(thread * 100 + job)))
                            .collect()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let mut seqnos = Vec::new();
        for thread in &fences {
            for fence in thread {
                assert_eq!(done(fence), Ok(()));
                seqnos.push(fence.seqno());
            }
            assert!(thread
                .windows(2)
                .all(|pair| pair[1].is_later_than(&pair[0])));
        }
        seqnos.sort_unstable();
        assert_eq!(seqnos, (1..=800).collect::<Vec<_>>());
        let mut tags = rig.gpu.tags(What::RunBegins);
        for thread in 0..8 {
            let own: Vec<_> = tags.iter().filter(|tag| **tag / 100 == thread).collect();
            assert!(
                own.windows(2).all(|pair| pair[0] < pair[1]),
                "run out of order"
            );
        }
        tags.sort_unstable();
        assert_eq!(tags, (0..800).collect::<Vec<_>>());
        queue.check_invariants().unwrap();
        rig.finish();
    }
}

pub(crate) fn parallel_submission_through_guards() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").capacity(64).bypass(true));
    let (sent, received) = mpsc::channel();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (rig, queue, sent) = (&rig, &queue, sent.clone());
            scope.spawn(move || {
                for job in 0..50 {
                    let work = rig.gpu.done(thread * 100 + job);
                    let mut work = Some(work);
                    let job = loop {
                        match queue.prepare(work.take().unwrap(), 1) {
                            Ok(job) => break job,
                            Err(full) => work = Some(full.payload),
                        }
                        thread::yield_now();
                    };
                    let mut guard = queue.submission_guard();
                    let armed = guard.arm(job).unwrap();
                    let fence = armed.finished();
                    armed.submit();
                    // Under the guard: what one thread sends is in the queue's order.
                    sent.send(fence).unwrap();
                }
            });
        }
    });
    drop(sent);
    let fences: Vec<Fence> = received.into_iter().collect();
    assert_eq!(fences.len(), 200);
    let ordered = fences
        .windows(2)
        .all(|pair| pair[1].seqno() == pair[0].seqno() + 1);
    assert!(ordered, "arm order is submission order under a guard");
    fences
        .iter()
        .for_each(|fence| assert_eq!(done(fence), Ok(())));
    drop(queue);
    rig.finish();
}

pub(crate) fn interleaved_durations() {
    let rig = Rig::new();
    let slow = rig.queue("slow");
    let fast = rig.queue("fast");
    let slow_jobs: Vec<_> = (0..8)
        .map(|tag| submit(&slow, rig.gpu.work(tag, Does::Takes(10)), &[]))
        .collect();
    let fast_jobs: Vec<_> = (100..140)
        .map(|tag| submit(&fast, rig.gpu.work(tag, Does::Takes(1)), &[]))
        .collect();
    for tag in (0..8).chain(100..140) {
        rig.gpu.wait_running(tag);
    }
    for tick in 1..=80u64 {
        rig.gpu.advance(1);
        // By the ticks: the GPU's clock is the only one there is.
        for (number, fence) in slow_jobs.iter().enumerate() {
            assert_eq!(
                fence.is_signaled(),
                tick >= 10 * (number as u64 + 1),
                "slow {number}"
            );
        }
        for (number, fence) in fast_jobs.iter().enumerate() {
            assert_eq!(fence.is_signaled(), tick > number as u64, "fast {number}");
        }
    }
    rig.finish();
}

pub(crate) fn completion_from_many_threads() {
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").capacity(64).credits(64));
    let (send, receive) = mpsc::channel::<Completion<Mock>>();
    let receive = Arc::new(std::sync::Mutex::new(receive));
    let hardware: Vec<_> = (0..3)
        .map(|number| {
            let receive = Arc::clone(&receive);
            thread::spawn(move || loop {
                let next = receive.lock().unwrap().recv();
                match next {
                    Ok(completion) if number == 0 => completion.complete_in_irq(Ok(())),
                    Ok(completion) => completion.complete(Err(Errno::EIO)),
                    Err(_) => return,
                }
            })
        })
        .collect();
    let last = Arc::new(AtomicU64::new(0));
    let mut fences = Vec::new();
    let mut watches = Vec::new();
    for tag in 0..600 {
        let send = send.clone();
        let work = rig.gpu.calls(tag, move |submission| {
            let (completion, outcome) = submission.pending();
            send.send(completion).unwrap();
            outcome
        });
        let fence = push(&queue, work);
        watches.extend(expect_order(&fence, &last));
        fences.push(fence);
    }
    for (number, fence) in fences.iter().enumerate() {
        let result = done(fence);
        assert!(result == Ok(()) || result == Err(Errno::EIO));
        // In order: whoever sees one sees all before it.
        assert!(fences[..number]
            .iter()
            .rev()
            .take(20)
            .all(Fence::is_signaled));
    }
    drop(send);
    hardware
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    drop(watches);
    queue.check_invariants().unwrap();
    drop(queue);
    rig.finish();
}

pub(crate) fn overhead() {
    // Jobs without work, far more than there is room for: the queue keeps up, and counts.
    let rig = Rig::new();
    let queue = rig.build(Queue::<Mock>::builder("q").capacity(256).bypass(true));
    let mut last = None;
    for tag in 0..20_000 {
        last = Some(push(&queue, rig.gpu.done(tag)));
    }
    assert_eq!(done(&last.unwrap()), Ok(()));
    let stats = queue.stats();
    assert_eq!((stats.armed, stats.completed), (20_000, 20_000));
    assert!(stats.bypassed > 0, "{stats:?}");
    rig.finish();
}

pub(crate) fn two_clients() {
    let rig = Rig::new();
    let (one, two) = (rig.queue("one"), rig.queue("two"));
    let clock = rig.gpu.start_clock();
    thread::scope(|scope| {
        for (base, queue) in [(0, &one), (1000, &two)] {
            let rig = &rig;
            scope.spawn(move || {
                for job in 0..50 {
                    let ticks = 1 + job % 3;
                    let work = rig.gpu.work(base + job, Does::Takes(ticks));
                    assert_eq!(done(&push(queue, work)), Ok(()));
                }
            });
        }
    });
    drop(clock);
    rig.finish();
}

pub(crate) fn many_clients() {
    let rig = Rig::new();
    let queues: Vec<_> = (0..64).map(|i| rig.queue(&format!("client {i}"))).collect();
    let signalled = Arc::new(AtomicU64::new(0));
    let (start, started) = ringfence::Timeline::new("start").signaller();
    let mut watches = Vec::new();
    for job in 0..10 {
        for (number, queue) in queues.iter().enumerate() {
            let fence = submit(queue, rig.gpu.done(number as u64 * 100 + job), &[&started]);
            let signalled = Arc::clone(&signalled);
            watches.push(on_signal(&fence, move |result| {
                assert_eq!(result, Ok(()));
                signalled.fetch_add(1, Ordering::SeqCst);
            }));
        }
    }
    start.signal(Ok(()));
    eventually("all jobs of all clients", || {
        signalled.load(Ordering::SeqCst) == 640
    });
    rig.finish();
}

pub(crate) fn ten_thousand_queues() {
    let rig = Rig::new();
    let queues: Vec<_> = (0..10_000)
        .map(|_| rig.build(Queue::<Mock>::builder("q").capacity(2)))
        .collect();
    let fences: Vec<_> = queues
        .iter()
        .enumerate()
        .map(|(number, queue)| submit(queue, rig.gpu.done(number as u64), &[]))
        .collect();
    fences
        .iter()
        .for_each(|fence| assert_eq!(done(fence), Ok(())));
    let closed: Vec<_> = queues.iter().map(Queue::closed).collect();
    queues.iter().for_each(Queue::close);
    closed
        .iter()
        .for_each(|fence| assert_eq!(done(fence), Ok(())));
    drop(queues);
    rig.finish();
}
