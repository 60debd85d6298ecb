// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Whole queues under a scheduler that picks the interleaving.
//!
//! `cargo test -p ringfence --features shuttle --test shuttle`; RINGFENCE_SHUTTLE_SCHEDULES says
//! how many schedules each test runs, half of them random, half by PCT. A failure prints the
//! schedule, to be given to `shuttle::replay`.
#![cfg(all(feature = "shuttle", not(feature = "loom")))]

mod attempts;
mod gate;
mod recovery;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use ringfence::fence::{Callback, Registration, Status};
use ringfence::{
    ClosePolicy, Completion, Device, Driver, Errno, Fence, Pool, Queue, Replay, ReplayOutcome,
    RunOutcome, Submission, SubmissionGuard, TimedOutJob, Timeline, TimeoutOutcome,
};
use shuttle::sync::Mutex;
use shuttle::thread;

/// Schedules for each test, unless the environment says otherwise: at least 2 000 in all.
const SCHEDULES: usize = 500;

fn check(body: impl Fn() + Send + Sync + Copy + 'static) {
    let schedules = std::env::var("RINGFENCE_SHUTTLE_SCHEDULES").map_or(SCHEDULES, |text| {
        text.parse().expect("a number of schedules")
    });
    shuttle::check_random(body, schedules.div_ceil(2));
    shuttle::check_pct(body, schedules / 2, 4);
}

/// What the driver does with a job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Done,
    Waits,
    Fails,
}

/// What a race is about; not watched by the model checker, which it would only slow down.
#[derive(Default)]
struct Facts {
    /// Payloads that exist.
    payloads: AtomicU64,
    drivers: AtomicU64,
    inside: AtomicBool,
    unbound: AtomicBool,
    /// Somebody has stopped the queue.
    stopped: AtomicBool,
    /// Rules that callbacks broke. Kept, since a queue catches the panics of its callbacks.
    broken: std::sync::Mutex<Vec<&'static str>>,
}

impl Facts {
    fn is_unbound(&self) -> bool {
        self.unbound.load(Ordering::SeqCst)
    }

    fn check(&self, holds: bool, rule: &'static str) {
        if !holds {
            self.broken.lock().unwrap().push(rule);
        }
    }
}

struct Payload {
    does: Does,
    facts: Arc<Facts>,
}

impl Drop for Payload {
    fn drop(&mut self) {
        self.facts.payloads.fetch_sub(1, Ordering::SeqCst);
    }
}

type Hardware = Arc<Mutex<Vec<Completion<Mock>>>>;

struct Mock {
    facts: Arc<Facts>,
    hardware: Hardware,
}

impl Mock {
    /// Checks the rules of callbacks, and gives others a chance to break them.
    fn enter(&self) {
        let inside = self.facts.inside.swap(true, Ordering::SeqCst);
        self.facts.check(!inside, "callbacks overlap");
        self.facts
            .check(!self.facts.is_unbound(), "a callback after unbind");
        thread::yield_now();
    }

    /// As [`Mock::enter`], for callbacks that a stop keeps from beginning.
    fn enter_running(&self) {
        self.enter();
        let stopped = self.facts.stopped.load(Ordering::SeqCst);
        self.facts.check(!stopped, "a callback while stopped");
    }

    fn leave(&self) {
        self.facts
            .check(!self.facts.is_unbound(), "unbind did not wait");
        self.facts.inside.store(false, Ordering::SeqCst);
    }
}

impl Driver for Mock {
    type Payload = Payload;
    type ReplayData = ();

    fn run(&mut self, mut submission: Submission<'_, Self>) -> RunOutcome {
        self.enter_running();
        let outcome = match submission.payload().does {
            Does::Done => submission.done(),
            Does::Fails => submission.failed(Errno::EINVAL),
            Does::Waits => {
                let (completion, outcome) = submission.pending();
                self.hardware.lock().unwrap().push(completion);
                outcome
            }
        };
        self.leave();
        outcome
    }

    fn timed_out(&mut self, mut job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        self.enter_running();
        let waits = job.payload().does == Does::Waits;
        self.facts
            .check(waits, "only what is on the hardware times out");
        let outcome = match (job.seqno() % 2, job.reset()) {
            (_, Ok(reset)) => reset,
            (0, Err(job)) => job.no_hang(),
            (_, Err(job)) => job.handled(Errno::ETIME),
        };
        self.leave();
        outcome
    }

    fn replay(&mut self, replay: Replay<'_, Self>) -> ReplayOutcome {
        self.enter();
        let (completion, outcome) = replay.pending();
        self.hardware.lock().unwrap().push(completion);
        self.leave();
        outcome
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let inside = self.facts.inside.load(Ordering::SeqCst);
        self.facts.check(!inside, "dropped inside a callback");
        thread::yield_now();
        self.facts.drivers.fetch_sub(1, Ordering::SeqCst);
    }
}

type Boxed = Box<dyn FnMut(Status) + Send>;

/// A fence and the callback that says when it signalled.
struct Watched {
    fence: Fence,
    _callback: Option<Registration<Boxed>>,
}

/// One queue with all that is needed to race over it.
struct World {
    device: Device,
    queue: Queue<Mock>,
    facts: Arc<Facts>,
    hardware: Hardware,
    /// Sequence numbers in the order in which their fences signalled.
    signalled: Arc<Mutex<Vec<u64>>>,
    watched: Mutex<Vec<Watched>>,
    keeper: Option<Arc<gate::Keeper>>,
}

impl World {
    fn new(bypass: bool) -> Arc<Self> {
        Self::with(bypass, |_| Device::new("d"))
    }

    fn with(bypass: bool, device: impl FnOnce(&Arc<Facts>) -> Device) -> Arc<Self> {
        Self::made(bypass, device, None)
    }

    fn made(
        bypass: bool,
        device: impl FnOnce(&Arc<Facts>) -> Device,
        keeper: Option<Arc<gate::Keeper>>,
    ) -> Arc<Self> {
        // Lives as long as the queue.
        let pool = Pool::new(1).unwrap();
        let facts = Arc::new(Facts::default());
        let device = device(&facts);
        let hardware = Hardware::default();
        facts.drivers.store(1, Ordering::SeqCst);
        let driver = Mock {
            facts: Arc::clone(&facts),
            hardware: Arc::clone(&hardware),
        };
        let mut builder = Queue::<Mock>::builder("q")
            .capacity(8)
            .credits(2)
            .bypass(bypass);
        if let Some(keeper) = &keeper {
            builder = builder.gate(Arc::clone(keeper) as Arc<dyn ringfence::Gate>);
        }
        let queue = builder.build(&device, &pool, driver).unwrap();
        Arc::new(Self {
            device,
            queue,
            facts,
            hardware,
            signalled: Arc::default(),
            watched: Mutex::default(),
            keeper,
        })
    }

    fn payload(&self, does: Does) -> Payload {
        self.facts.payloads.fetch_add(1, Ordering::SeqCst);
        Payload {
            does,
            facts: Arc::clone(&self.facts),
        }
    }

    /// Submits a job under a guard, with a callback from before it could signal.
    fn submit(&self, does: Does, after: &[&Fence]) -> Option<Fence> {
        let mut job = self.queue.prepare(self.payload(does), 1).ok()?;
        for fence in after {
            job.depends_on(fence).unwrap();
        }
        let mut guard = SubmissionGuard::over(&[&self.queue]);
        let armed = guard.arm(job).unwrap();
        let (fence, signalled) = (armed.finished(), Arc::clone(&self.signalled));
        let seqno = fence.seqno();
        let callback: Box<dyn FnMut(Status) + Send> =
            Box::new(move |_| signalled.lock().unwrap().push(seqno));
        let callback = fence.add_callback(Callback::new(callback)).ok();
        armed.submit();
        drop(guard);
        self.watched.lock().unwrap().push(Watched {
            fence: fence.clone(),
            _callback: callback,
        });
        Some(fence)
    }

    /// Submits without a guard, so that nobody listens to the fence.
    fn submit_quietly(&self, does: Does) {
        if let Ok(job) = self.queue.prepare(self.payload(does), 1) {
            drop(job.submit());
        }
    }

    /// The hardware completes what it has.
    fn complete(&self) {
        loop {
            let next = self.hardware.lock().unwrap().pop();
            match next {
                Some(completion) => completion.complete(Ok(())),
                None => return,
            }
        }
    }

    fn unbind(&self) {
        self.device.unbind().unwrap();
        self.facts.unbound.store(true, Ordering::SeqCst);
        let drivers = self.facts.drivers.load(Ordering::SeqCst);
        assert_eq!(drivers, 0, "the driver is gone");
    }

    /// Brings everything to its end and looks at what has become of it.
    fn finish(self: Arc<Self>) {
        self.queue.close();
        let closed = self.queue.closed();
        while !closed.is_signaled() {
            self.complete();
            thread::yield_now();
        }
        let watched = std::mem::take(&mut *self.watched.lock().unwrap());
        for Watched { fence, .. } in &watched {
            let _any = fence.wait();
        }
        let signalled = self.signalled.lock().unwrap().clone();
        assert_eq!(signalled.len(), watched.len(), "each fence signals once");
        assert!(signalled.is_sorted(), "out of order: {signalled:?}");
        self.queue.check_invariants().unwrap();
        assert!(self.queue.is_empty());
        let stats = self.queue.stats();
        assert_eq!(stats.armed, stats.signalled);
        assert_eq!(stats.armed, stats.reaped);
        drop(watched);
        let facts = Arc::clone(&self.facts);
        let keeper = self.keeper.clone();
        drop(self);
        // The worker may be about to let go of the last of it.
        while facts.payloads.load(Ordering::SeqCst) + facts.drivers.load(Ordering::SeqCst) != 0 {
            thread::yield_now();
        }
        let broken = facts.broken.lock().unwrap();
        assert!(broken.is_empty(), "{broken:?}");
        if let Some(keeper) = keeper {
            keeper.finish();
        }
    }
}

/// Runs `parts` on threads of their own, then brings the world to its end.
fn race(world: Arc<World>, parts: &[fn(&World)]) {
    let threads: Vec<_> = parts
        .iter()
        .map(|part| {
            let (world, part) = (Arc::clone(&world), *part);
            thread::spawn(move || part(&world))
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    world.finish();
}

fn submitter(world: &World) {
    world.submit(Does::Waits, &[]);
    world.submit(Does::Done, &[]);
    world.submit_quietly(Does::Fails);
}

fn completer(world: &World) {
    for _ in 0..3 {
        world.complete();
        thread::yield_now();
    }
}

#[test]
fn submitters_race_with_completions() {
    check(|| race(World::new(false), &[submitter, submitter, completer]));
}

#[test]
fn submitters_with_bypass_race_with_completions() {
    check(|| race(World::new(true), &[submitter, submitter, completer]));
}

#[test]
fn submitters_race_with_cancel_and_kill() {
    check(|| {
        race(
            World::new(true),
            &[submitter, completer, |world| {
                let _ = world.queue.cancel(2, Errno::ECANCELED);
                world.queue.kill(Errno::EIO);
            }],
        );
    });
}

#[test]
fn submitters_race_with_close_and_drop_of_tokens() {
    check(|| {
        race(
            World::new(false),
            &[
                submitter,
                |world| world.queue.close_with(ClosePolicy::Drain),
                |world| {
                    let token = world.hardware.lock().unwrap().pop();
                    drop(token);
                    world.queue.close_with(ClosePolicy::Cancel);
                },
            ],
        );
    });
}

#[test]
fn everything_races_with_unbind() {
    check(|| {
        race(
            World::new(true),
            &[submitter, completer, World::unbind, |world| {
                world.queue.suspend();
                world.queue.trigger_timeout();
                assert!(world.queue.resume());
            }],
        );
    });
}

#[test]
fn two_unbinds_race_with_close() {
    check(|| {
        race(
            World::new(false),
            &[submitter, World::unbind, World::unbind, |world| {
                world.queue.close()
            }],
        );
    });
}

#[test]
fn dependencies_race_with_submit() {
    check(|| {
        race(
            World::new(true),
            &[
                |world| {
                    let (first, open) = Timeline::new("t").signaller();
                    let (second, other) = Timeline::new("u").signaller();
                    let signals = thread::spawn(move || {
                        first.signal(Ok(()));
                        second.signal(Ok(()));
                    });
                    let fence = world.submit(Does::Done, &[&open, &other]).unwrap();
                    signals.join().unwrap();
                    // Nobody kills or closes: it must run, and end by itself.
                    assert_eq!(fence.wait(), Ok(()));
                },
                |world| world.submit_quietly(Does::Fails),
            ],
        );
    });
}

#[test]
fn dependencies_race_with_kill() {
    check(|| {
        race(
            World::new(false),
            &[
                |world| {
                    let timeline = Timeline::new("t");
                    let (first, open) = timeline.signaller();
                    let (second, other) = Timeline::new("u").signaller();
                    let signals = thread::spawn(move || {
                        first.signal(Ok(()));
                        second.signal(Err(Errno::EIO));
                    });
                    world.submit(Does::Done, &[&open, &other]);
                    world.submit(Does::Waits, &[&other]);
                    signals.join().unwrap();
                },
                completer,
                |world| world.queue.kill(Errno::EIO),
            ],
        );
    });
}

#[test]
fn timeouts_race_with_completions() {
    check(|| {
        race(
            World::new(false),
            &[submitter, completer, |world| {
                for _ in 0..3 {
                    world.queue.trigger_timeout();
                    thread::yield_now();
                }
            }],
        );
    });
}
