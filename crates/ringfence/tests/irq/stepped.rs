// SPDX-License-Identifier: GPL-2.0 OR MIT
//! An interrupt after single instructions, anywhere.
//!
//! With the trap flag set the processor raises `SIGTRAP` after each instruction, and clears the flag
//! for the handler. The handler is the hardware's: now and then it completes the oldest job of the very
//! queue that the thread is working on. So each step of submitting, running, completing, waiting and
//! closing is interrupted everywhere, lock holds and the allocator included, by a completion that signals
//! a fence, calls its callbacks and kicks the worker.

use std::arch::asm;
use std::collections::VecDeque;
use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use ringfence::executor::{Place, Rest, Runnable};
use ringfence::fence::Callback;
use ringfence::irq::{self, InterruptLine, IrqLock};
use ringfence::{Device, Errno, Executor, Fence, Queue, Time, Timeline};

use crate::rig::{alone, Drops, Handler, Mock, Payload, Ring};

/// Runs `f` with a signal after each instruction.
fn step(f: impl FnOnce()) {
    // SAFETY: Only the flag is changed; the traps go to the handler that the caller has installed.
    unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq") };
    f();
    // SAFETY: As above.
    unsafe { asm!("pushfq", "and qword ptr [rsp], ~0x100", "popfq") };
}

/// A worker on the test's own thread, that may be scheduled by a handler.
#[derive(Default)]
struct Here {
    run: IrqLock<VecDeque<Arc<dyn Runnable>>>,
    armed: AtomicU64,
}

impl std::fmt::Debug for Here {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Here")
    }
}

impl Here {
    fn work_once(&self) -> bool {
        let next = self.run.lock().pop_front();
        let Some(next) = next else { return false };
        if let Rest::Again(next) = next.work() {
            self.run.lock().push_back(next);
        }
        true
    }

    fn work(&self) {
        while self.work_once() {}
    }
}

impl Executor for Here {
    fn register(&self, _runnable: Weak<dyn Runnable>) -> Place {
        self.run.lock().reserve(16);
        Place::new(0)
    }

    fn unregister(&self, _place: Place) {}

    fn schedule(&self, runnable: Arc<dyn Runnable>) {
        self.run.lock().push_back(runnable);
    }

    fn arm_timer(&self, _place: Place, _at: Time) {
        self.armed.fetch_add(1, Ordering::Relaxed);
    }
}

static DROPS: Drops = Drops::new();

/// Jobs that are on the hardware when the stepping begins, and how many instructions there are to a
/// completion. A trap may cost as much as 25 us in a virtual machine, and a payload that is left to
/// the thread some thousand instructions, so one round completes at some instructions only.
/// `RINGFENCE_IRQ_ROUNDS` says how many rounds, each at others; as many as `STRIDE` are all of them.
const fn filled(irq: bool) -> u64 {
    if irq {
        64
    } else {
        6
    }
}

const fn stride(irq: bool) -> u64 {
    if irq {
        61
    } else {
        997
    }
}

fn rounds() -> u64 {
    std::env::var("RINGFENCE_IRQ_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap())
}

const CAPACITY: usize = 256;

struct Bench<const IRQ: bool> {
    ring: Arc<Ring<IRQ>>,
    queue: Queue<Mock<IRQ>>,
    here: Arc<Here>,
    line: InterruptLine,
    seen: Arc<AtomicU64>,
    submitted: u64,
}

impl<const IRQ: bool> Bench<IRQ> {
    fn new() -> Self {
        let ring = Ring::new(CAPACITY, 1);
        let hardware = Arc::clone(&ring);
        static TRAPS: AtomicU64 = AtomicU64::new(0);
        let here = Arc::new(Here::default());
        let executor = Arc::clone(&here) as Arc<dyn Executor>;
        Self {
            line: InterruptLine::new(move || {
                if TRAPS
                    .fetch_add(1, Ordering::Relaxed)
                    .is_multiple_of(stride(IRQ))
                {
                    hardware.interrupt();
                }
            })
            .unwrap(),
            queue: Queue::<Mock<IRQ>>::builder("stepped")
                .capacity(CAPACITY)
                .credits(CAPACITY as u32)
                .bypass(true)
                .timeout(Duration::from_secs(1000))
                .build(&Device::new("d"), executor, Mock(Arc::clone(&ring)))
                .unwrap(),
            ring,
            here,
            seen: Arc::default(),
            submitted: 0,
        }
    }

    fn submit(&mut self) -> Fence {
        self.submitted += 1;
        let job = self.queue.prepare(Payload(&DROPS), 1).unwrap();
        job.submit()
    }

    /// Steps through `f`, with the hardware full of jobs, some of which are listened to.
    fn step(&mut self, what: &str, f: impl FnOnce(&mut Self)) {
        self.here.work();
        let mut callbacks = Vec::new();
        while (self.ring.len() as u64) < filled(IRQ) {
            let fence = self.submit();
            if self.submitted % 16 == 1 {
                let (seen, seqno) = (Arc::clone(&self.seen), fence.seqno());
                callbacks.extend(fence.add_callback(Callback::new(move |_| {
                    assert!(seen.swap(seqno, Ordering::Relaxed) < seqno, "out of order");
                })));
            }
        }
        let before = (self.line.stats(), irq::violations());
        let handler = Handler::install(libc::SIGTRAP, &self.line);
        step(|| f(self));
        drop(handler);
        let after = self.line.stats();
        let (traps, put_off) = (
            after.raised - before.0.raised,
            after.put_off - before.0.put_off,
        );
        eprintln!("{what}: {traps} instructions, {put_off} of them masked");
        assert!(traps > 50, "nothing was stepped through");
        assert_eq!(irq::violations(), before.1, "in {what}");
        assert_eq!(self.queue.check_invariants(), Ok(()), "after {what}");
    }

    /// Completes what is left, and looks that everything has ended.
    fn end(mut self) {
        while let Some(completion) = self.ring.pop() {
            completion.complete(Ok(()));
        }
        let last = self.submit();
        while let Some(completion) = self.ring.pop() {
            completion.complete(Ok(()));
        }
        self.here.work();
        assert_eq!(last.status(), Some(Ok(())));
        assert_eq!(last.seqno(), self.submitted);
        irq::flush();
        assert!(self.queue.is_empty());
    }
}

fn walk_through<const IRQ: bool>() {
    let mut bench = Bench::<IRQ>::new();
    bench.step("submit", |bench| drop(bench.submit()));
    bench.step("prepare", |bench| {
        drop(bench.queue.prepare(Payload(&DROPS), 1).unwrap());
    });
    bench.step("the worker's visit", |bench| {
        // It leaves something for the worker.
        bench.queue.suspend();
        drop(bench.submit());
        bench.queue.resume();
        bench.here.work_once();
    });
    let oldest = bench.submit();
    bench.step("complete", |bench| {
        for _ in 0..4 {
            if let Some(completion) = bench.ring.pop() {
                completion.complete(Ok(()));
            }
        }
    });
    assert!(oldest.seqno() < bench.submitted);
    bench.step("callbacks", |bench| {
        let fence = bench.submit();
        let callback = Callback::new(|_| ());
        drop(fence.add_callback(callback));
    });
    bench.step("a timeline", |_| {
        let timeline = Timeline::new("t");
        let (signaller, fence) = timeline.signaller();
        let both = Fence::all(&[fence.clone(), Fence::any(&[fence])]);
        signaller.signal(Err(Errno::EIO));
        assert_eq!(both.status(), Some(Err(Errno::EIO)));
    });
    bench.step("dependencies", |bench| {
        let first = bench.submit();
        let mut second = bench.queue.prepare(Payload(&DROPS), 1).unwrap();
        second.depends_on(&first).unwrap();
        bench.submitted += 1;
        drop(second.submit());
    });
    bench.step("a future and a wait", |bench| {
        let fence = bench.submit();
        let mut future = pin!((&fence).into_future());
        let _ = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        let _ = fence.wait_timeout(Duration::from_nanos(1));
    });
    bench.step("suspend, cancel, resume", |bench| {
        bench.queue.suspend();
        let fence = bench.submit();
        let _ = bench.queue.cancel(fence.seqno(), Errno::ECANCELED);
        bench.queue.resume();
    });
    bench.step("looking", |bench| {
        assert!(bench.queue.stats().submitted > 0);
        assert!(bench.queue.len() <= CAPACITY as u64);
    });
    bench.end();
}

#[test]
fn completions_at_single_instructions() {
    let _alone = alone();
    for _ in 0..rounds() {
        walk_through::<false>();
    }
}

#[test]
fn completions_that_reap_at_single_instructions() {
    let _alone = alone();
    for _ in 0..rounds() {
        walk_through::<true>();
    }
}

#[test]
fn killing_and_closing_a_queue_at_single_instructions() {
    let _alone = alone();
    let before = DROPS.total();
    let mut bench = Bench::<false>::new();
    bench.step("kill", |bench| bench.queue.kill(Errno::ENODEV));
    let mut other = Bench::<false>::new();
    other.step("close", |bench| bench.queue.close());
    for bench in [bench, other] {
        let submitted = bench.submitted;
        let Bench {
            queue,
            ring,
            here,
            line,
            ..
        } = bench;
        drop(queue);
        // Tokens whose jobs are over, the last of which has the last count of its queue.
        while ring.len() > 0 {
            line.raise();
        }
        here.work();
        irq::flush();
        assert_eq!(Arc::strong_count(&ring), 1 + 1, "the line's and this");
        drop((line, submitted));
    }
    assert!(DROPS.total() > before);
}

#[test]
fn the_last_count_of_a_queue_goes_away_in_a_handler() {
    let _alone = alone();
    let before = irq::violations();
    let mut bench = Bench::<false>::new();
    for _ in 0..3 {
        drop(bench.submit());
    }
    let Bench {
        queue,
        ring,
        here,
        line,
        ..
    } = bench;
    queue.kill(Errno::ENODEV);
    drop(queue);
    here.work();
    assert_eq!(
        Arc::strong_count(&here),
        2,
        "the queue's, which the tokens hold"
    );
    while ring.len() > 0 {
        line.raise();
    }
    irq::flush();
    assert_eq!(Arc::strong_count(&here), 1);
    assert_eq!(irq::violations(), before);
}
