// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A million jobs, each completed by a signal handler that has interrupted some thread somewhere.

use std::collections::VecDeque;
use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use ringfence::fence::{Callback, Fence};
use ringfence::irq::{self, InterruptLine};
use ringfence::{Device, Errno, Pool, Queue};

use crate::rig::{alone, block, unblock, Drops, Handler, Mock, Payload, Ring, Thread, Timer};

/// On the hardware or on the way to it, of one queue.
const OUTSTANDING: usize = 64;

/// Wakes a thread, the ordinary way: with a lock, and the memory of an `Arc`.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        assert!(!irq::in_handler(), "a waker is foreign code");
        self.0.unpark();
    }
}

/// What one of the two clients uses.
struct Client<const IRQ: bool> {
    queue: Queue<Mock<IRQ>>,
    drops: &'static Drops,
    /// Fences of others to depend on.
    others: Arc<Mutex<Option<Fence>>>,
    own: Arc<Mutex<Option<Fence>>>,
    waiter: SyncSender<(u64, Fence)>,
}

/// As this job ends, by the rig's hardware.
fn result_of(seqno: u64) -> Result<(), Errno> {
    if seqno.is_multiple_of(64) {
        Err(Errno::ECANCELED)
    } else {
        Ok(())
    }
}

impl<const IRQ: bool> Client<IRQ> {
    /// Submits so many jobs, and waits for all of them.
    fn submit(&self, jobs: u64, signal: libc::c_int, beat: &AtomicU64) {
        let mut line = VecDeque::new();
        let mut callbacks = VecDeque::new();
        let seen = Arc::new(AtomicU64::new(0));
        for seqno in 1..=jobs {
            let mut job = self.queue.prepare(Payload(self.drops), 1).unwrap();
            if seqno % 32 == 5 {
                if let Some(other) = self.others.lock().unwrap().clone() {
                    job.depends_on(&other).unwrap();
                }
            }
            beat.store(seqno, Ordering::Relaxed);
            let fence = job.submit();
            assert_eq!(fence.seqno(), seqno);
            if seqno % 4 == 0 {
                // In order, in whatever context.
                let seen = Arc::clone(&seen);
                let callback = Callback::new(move |result| {
                    assert!(seen.swap(seqno, Ordering::Relaxed) < seqno, "out of order");
                    assert_eq!(result, result_of(seqno));
                });
                callbacks.extend(fence.add_callback(callback));
            }
            if seqno % 256 == 9 {
                *self.own.lock().unwrap() = Some(fence.clone());
                self.waiter.send((seqno, fence.clone())).unwrap();
            }
            if seqno % 1024 == 0 {
                // For certain, whatever the other signals do.
                let masked = irq::mask();
                Thread::here().kill(signal);
                assert!(!irq::in_handler());
                drop(masked);
            }
            line.push_back((seqno, fence));
            if line.len() == OUTSTANDING {
                let (seqno, fence) = line.pop_front().unwrap();
                assert_eq!(fence.wait(), result_of(seqno));
                while callbacks.len() > OUTSTANDING / 4 {
                    callbacks.pop_front();
                }
            }
        }
        let mut last = 0;
        for (seqno, fence) in line {
            assert_eq!(fence.wait(), result_of(seqno));
            let stamp = fence.timestamp().unwrap();
            assert!(stamp >= last, "timestamps follow the order");
            last = stamp;
        }
        assert_eq!(self.queue.stats().submitted, jobs);
    }
}

/// Waits for fences in every way there is, until there are no more.
fn wait_in_all_ways(fences: &Receiver<(u64, Fence)>) {
    let (never, open) = ringfence::Timeline::new("never").signaller();
    while let Ok((seqno, fence)) = fences.recv() {
        let result = result_of(seqno);
        match seqno / 256 % 5 {
            0 => {
                let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
                let mut future = pin!((&fence).into_future());
                let found = loop {
                    match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                        Poll::Ready(found) => break found,
                        Poll::Pending => std::thread::park(),
                    }
                };
                assert_eq!(found, result);
            }
            1 => {
                let event = fence.eventfd().unwrap();
                let mut count = [0; 8];
                let mut readable = || rustix::io::read(&event, &mut count);
                while readable().is_err() {
                    std::thread::yield_now();
                }
                assert_eq!(fence.status(), Some(result));
            }
            // Gives up now and then, in the middle of the signal at best.
            2 => while fence.wait_timeout(Duration::from_micros(20)).is_err() {},
            3 => {
                let fences = [open.clone(), fence];
                assert_eq!(Fence::wait_any(&fences), Some((1, result)));
            }
            _ => {
                let both = Fence::all(&[fence.clone(), Fence::any(&[open.clone(), fence])]);
                assert_eq!(both.wait(), result);
            }
        }
    }
    never.signal(Ok(()));
}

fn jobs_wanted() -> u64 {
    std::env::var("RINGFENCE_IRQ_JOBS").map_or(1_000_000, |jobs| jobs.parse().unwrap())
}

#[test]
fn a_million_jobs_are_completed_by_a_signal_handler() {
    static DROPS: [Drops; 2] = [Drops::new(), Drops::new()];
    let _alone = alone();
    let each = jobs_wanted() / 2;
    let before = irq::violations();
    let signal = libc::SIGRTMIN() + 1;
    let (on_threads, in_irq) = (Ring::<false>::new(256, 8), Ring::<true>::new(256, 8));
    let line = {
        let (on_threads, in_irq) = (Arc::clone(&on_threads), Arc::clone(&in_irq));
        InterruptLine::new(move || {
            on_threads.interrupt();
            in_irq.interrupt();
        })
        .unwrap()
    };
    let handler = Handler::install(signal, &line);
    let device = Device::new("d");
    let pool = Pool::new(2).unwrap();
    let build = |name: &str| {
        Queue::<Mock<false>>::builder(name)
            .capacity(128)
            .credits(128)
    };
    let fences = [Arc::default(), Arc::default()];
    let (waiter, waited) = sync_channel(16);
    let first = Client {
        queue: build("a")
            .bypass(true)
            .build(&device, &pool, Mock(on_threads.clone()))
            .unwrap(),
        drops: &DROPS[0],
        others: Arc::clone(&fences[1]),
        own: Arc::clone(&fences[0]),
        waiter: waiter.clone(),
    };
    let second = Client {
        queue: build("b")
            .build(&device, &pool, Mock(in_irq.clone()))
            .unwrap(),
        drops: &DROPS[1],
        others: Arc::clone(&fences[0]),
        own: Arc::clone(&fences[1]),
        waiter,
    };
    let start = Instant::now();
    // Not at this thread, which has nothing to interrupt.
    block(signal);
    let timer = Timer::start(signal, 100_000);
    let over = AtomicBool::new(false);
    let beats = [AtomicU64::new(0), AtomicU64::new(0)];
    let submitters: Mutex<Vec<(Thread, &AtomicU64)>> = Mutex::default();
    std::thread::scope(|scope| {
        let over = &over;
        let submitters = &submitters;
        let beats = &beats;
        let waiting = scope.spawn(move || {
            unblock(signal);
            wait_in_all_ways(&waited);
        });
        let clients = [
            scope.spawn(move || {
                unblock(signal);
                submitters.lock().unwrap().push((Thread::here(), &beats[0]));
                first.submit(each, signal, &beats[0]);
                first.queue.close();
            }),
            scope.spawn(move || {
                unblock(signal);
                submitters.lock().unwrap().push((Thread::here(), &beats[1]));
                second.submit(each, signal, &beats[1]);
                second.queue.close();
            }),
        ];
        // At the very threads that submit, once for each job: more, and a slow one would do nothing
        // but handle signals.
        let storm = scope.spawn(move || {
            let mut seen = [0; 2];
            while !over.load(Ordering::Relaxed) {
                for (thread, beat) in submitters.lock().unwrap().iter() {
                    let seen = &mut seen[usize::from(std::ptr::eq(*beat, &beats[1]))];
                    let now = beat.load(Ordering::Relaxed);
                    if std::mem::replace(seen, now) != now {
                        thread.kill(signal);
                    }
                }
                std::thread::yield_now();
            }
        });
        // Not joined yet: a thread that has ended may be killed as long as it is not joined.
        while !clients.iter().all(|client| client.is_finished()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        over.store(true, Ordering::Relaxed);
        storm.join().unwrap();
        for client in clients {
            client.join().unwrap();
        }
        waiting.join().unwrap();
    });
    drop(timer);
    unblock(signal);
    let stats = line.stats();
    drop(handler);
    let took = start.elapsed();
    eprintln!("{} jobs in {took:.1?}: {stats:?}", 2 * each);
    assert_eq!(irq::violations(), before, "a handler did what it must not");
    for ring in [&on_threads.completed, &in_irq.completed] {
        assert_eq!(
            ring.load(Ordering::Relaxed),
            each,
            "by handlers, all of them"
        );
    }
    assert!(
        stats.put_off >= each / 1024,
        "some found their thread masked"
    );
    // The pool's threads and the bottom half may hold the last payloads for a moment.
    drop(pool);
    while DROPS.iter().map(Drops::total).sum::<u64>() != 2 * each {
        irq::flush();
        std::thread::yield_now();
    }
    assert_eq!(
        DROPS[0].in_handlers.load(Ordering::Relaxed),
        0,
        "not declared droppable"
    );
    assert!(
        DROPS[1].in_handlers.load(Ordering::Relaxed) > 0,
        "declared so"
    );
}
