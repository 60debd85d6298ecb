// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Queues on slots under a scheduler that picks the interleaving.
//!
//! `cargo test -p ringfence-orchestrator --features shuttle --test shuttle`;
//! RINGFENCE_SHUTTLE_SCHEDULES says how many schedules each test runs.
#![cfg(feature = "shuttle")]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Arc;
use std::time::Duration;

use ringfence::{
    Completion, Device, Driver, Errno, Fence, Pool, Queue, RunOutcome, Submission, TimedOutJob,
    TimeoutOutcome,
};
use ringfence_orchestrator::{
    Binding, Client, Fair, FairConfig, Orchestrator, Preemption, Seat, SeatConfig, SlotDevice,
    SlotId, SlotKind, Vacating,
};
use shuttle::sync::Mutex;
use shuttle::thread;

/// Schedules for each test, unless the environment says otherwise.
const SCHEDULES: usize = 400;

fn check(body: impl Fn() + Send + Sync + Copy + 'static) {
    let schedules = std::env::var("RINGFENCE_SHUTTLE_SCHEDULES").map_or(SCHEDULES, |text| {
        text.parse().expect("a number of schedules")
    });
    shuttle::check_random(body, schedules.div_ceil(2));
    shuttle::check_pct(body, schedules / 2, 4);
}

/// A context; not watched by the model checker, which it would only slow down.
#[derive(Default)]
struct Context {
    resident: AtomicBool,
    jobs: std::sync::Mutex<Vec<Completion<Rider>>>,
}

enum Request {
    Bind(Arc<Context>, Binding),
    Vacate(Arc<Context>, Vacating),
}

/// A device that answers at once, or when its own thread comes to it.
struct Slots {
    count: usize,
    late: bool,
    requests: Mutex<Vec<Request>>,
    taken: AtomicU32,
    /// It may have let go of contexts by itself.
    was_reset: AtomicBool,
    /// Rules that were broken. Kept, since panics of callbacks are caught.
    broken: std::sync::Mutex<Vec<&'static str>>,
}

impl Slots {
    fn check(&self, holds: bool, rule: &'static str) {
        if !holds {
            self.broken.lock().unwrap().push(rule);
        }
    }

    fn serve(&self, request: Request) {
        match request {
            Request::Bind(context, binding) => {
                let taken = self.taken.fetch_add(1, Ordering::SeqCst) as usize;
                self.check(taken < self.count, "a slot for each context");
                let was = context.resident.swap(true, Ordering::SeqCst);
                self.check(!was, "a context is on one slot");
                binding.done();
            }
            Request::Vacate(context, vacating) => {
                let let_go = self.lets_go(&context);
                let reset = self.was_reset.load(Ordering::SeqCst);
                self.check(let_go || reset, "who leaves was there");
                vacating.done(None);
            }
        }
    }

    /// The context is on no slot any more. Whether it was on one.
    fn lets_go(&self, context: &Context) -> bool {
        let was = context.resident.swap(false, Ordering::SeqCst);
        self.taken.fetch_sub(u32::from(was), Ordering::SeqCst);
        was
    }

    fn ask(&self, request: Request) {
        if self.late {
            self.requests.lock().unwrap().push(request);
        } else {
            self.serve(request);
        }
    }
}

struct Port(Arc<Slots>);

impl SlotDevice for Port {
    type Context = Arc<Context>;

    fn slots(&self) -> Vec<SlotKind> {
        vec![SlotKind::default(); self.0.count]
    }

    fn preemption(&self) -> Preemption {
        Preemption::Supported
    }

    fn bind(&self, _slot: SlotId, context: &Arc<Context>, binding: Binding) {
        thread::yield_now();
        self.0.ask(Request::Bind(Arc::clone(context), binding));
    }

    fn vacate(&self, _slot: SlotId, context: &Arc<Context>, vacating: Vacating) {
        thread::yield_now();
        self.0.ask(Request::Vacate(Arc::clone(context), vacating));
    }

    fn stuck(&self, _slot: SlotId, _context: &Arc<Context>) {}
}

struct Rider {
    slots: Arc<Slots>,
    context: Arc<Context>,
    /// Jobs are left to the device's thread.
    waits: bool,
}

impl Driver for Rider {
    type Payload = ();
    type ReplayData = ();

    fn run(&mut self, submission: Submission<'_, Self>) -> RunOutcome {
        let at_once = |flag: &AtomicBool| flag.load(Ordering::SeqCst);
        let here = || at_once(&self.context.resident) || at_once(&self.slots.was_reset);
        self.slots.check(here(), "no job is run off its slot");
        thread::yield_now();
        self.slots.check(here(), "nobody leaves in a run callback");
        if self.waits {
            let (completion, outcome) = submission.pending();
            self.context.jobs.lock().unwrap().push(completion);
            return outcome;
        }
        submission.done()
    }

    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        job.no_hang()
    }
}

struct Rig {
    slots: Arc<Slots>,
    orchestrator: Orchestrator<Port>,
    client: Client,
    device: Device,
    pool: Pool,
    waits: bool,
}

type Place = (Arc<Context>, Seat<Port>, Queue<Rider>);

impl Rig {
    fn new(count: usize, late: bool, waits: bool) -> Self {
        let slots = Arc::new(Slots {
            count,
            late,
            requests: Mutex::new(Vec::new()),
            taken: AtomicU32::new(0),
            was_reset: AtomicBool::new(false),
            broken: std::sync::Mutex::default(),
        });
        let pool = Pool::new(1).unwrap();
        // Time that passes here is no time: whoever waits may take a slot at once.
        let policy = Fair::new(FairConfig {
            slice: Duration::from_nanos(1),
            min_run: Duration::ZERO,
            ..FairConfig::default()
        });
        let orchestrator = Orchestrator::builder("rig", Port(Arc::clone(&slots)))
            .policy(policy)
            .patience(None)
            .build(&pool)
            .unwrap();
        Self {
            client: orchestrator.client("test"),
            slots,
            orchestrator,
            device: Device::new("rig"),
            pool,
            waits,
        }
    }

    fn place(&self) -> Place {
        let context = Arc::new(Context::default());
        let config = SeatConfig::default();
        let seat = self
            .orchestrator
            .seat("seat", config, &self.client, Arc::clone(&context))
            .unwrap();
        let rider = Rider {
            slots: Arc::clone(&self.slots),
            context: Arc::clone(&context),
            waits: self.waits,
        };
        let queue = Queue::<Rider>::builder("queue")
            .capacity(4)
            .gate(seat.gate())
            .build(&self.device, self.pool.executor(), rider)
            .unwrap();
        (context, seat, queue)
    }

    /// The device's thread, until `fences` have signalled.
    fn hardware(&self, contexts: &[Arc<Context>], fences: &[Fence]) {
        while fences.iter().any(|fence| !fence.is_signaled()) {
            let request = self.slots.requests.lock().unwrap().pop();
            match request {
                Some(request) => self.slots.serve(request),
                None => thread::yield_now(),
            }
            for context in contexts {
                if context.resident.load(Ordering::SeqCst) {
                    let job = context.jobs.lock().unwrap().pop();
                    if let Some(job) = job {
                        job.complete_in_irq(Ok(()));
                    }
                }
            }
        }
    }

    fn end(self, places: Vec<Place>) {
        drop(places);
        let broken = std::mem::take(&mut *self.slots.broken.lock().unwrap());
        assert!(broken.is_empty(), "{broken:?}");
        self.device.unbind().unwrap();
        self.pool.shut_down();
    }
}

fn submit(queue: &Queue<Rider>) -> Fence {
    queue.prepare((), 1).unwrap().submit()
}

#[test]
fn two_queues_share_a_slot() {
    check(|| {
        let rig = Rig::new(1, false, false);
        let places = vec![rig.place(), rig.place()];
        let fences: Vec<_> = places
            .iter()
            .flat_map(|(_, _, queue)| [submit(queue), submit(queue)])
            .collect();
        for fence in &fences {
            assert_eq!(fence.wait(), Ok(()));
        }
        rig.end(places);
    });
}

#[test]
fn the_device_takes_its_time() {
    check(|| {
        let rig = Arc::new(Rig::new(1, true, true));
        let places = [rig.place(), rig.place()];
        let contexts: Vec<_> = places
            .iter()
            .map(|(context, ..)| Arc::clone(context))
            .collect();
        let fences: Vec<_> = places
            .iter()
            .flat_map(|(_, _, queue)| [submit(queue), submit(queue)])
            .collect();
        let hardware = thread::spawn({
            let (rig, fences) = (Arc::clone(&rig), fences.clone());
            move || rig.hardware(&contexts, &fences)
        });
        for fence in &fences {
            assert_eq!(fence.wait(), Ok(()));
        }
        hardware.join().unwrap();
        drop(places);
        let broken = std::mem::take(&mut *rig.slots.broken.lock().unwrap());
        assert!(broken.is_empty(), "{broken:?}");
        rig.pool.shut_down();
    });
}

#[test]
fn a_queue_ends_while_another_wants_its_slot() {
    check(|| {
        let rig = Rig::new(1, false, false);
        let (_, first_seat, first) = rig.place();
        let second = rig.place();
        let ended = submit(&first);
        let killer = thread::spawn(move || {
            first.kill(Errno::ENODEV);
            // The handle lives on: the queue says nothing any more.
            first
        });
        let done = submit(&second.2);
        assert_eq!(done.wait(), Ok(()));
        let _either = ended.wait();
        let first = killer.join().unwrap();
        // The slot is to be had, once the other has gone.
        assert_eq!(submit(&second.2).wait(), Ok(()));
        drop((first_seat, first));
        rig.end(vec![second]);
    });
}

#[test]
fn a_context_is_lost_while_it_runs() {
    check(|| {
        let rig = Rig::new(1, false, false);
        let (context, seat, queue) = rig.place();
        let other = rig.place();
        assert_eq!(submit(&queue).wait(), Ok(()));
        let slots = Arc::clone(&rig.slots);
        let reset = thread::spawn(move || {
            // The device lets go of it, if it has it. It does not wait for a run callback: what that
            // finds is no fault of anybody's.
            slots.was_reset.store(true, Ordering::SeqCst);
            if slots.lets_go(&context) {
                seat.lost().unwrap();
            }
            (context, seat)
        });
        let fence = submit(&other.2);
        assert_eq!(fence.wait(), Ok(()));
        let (context, seat) = reset.join().unwrap();
        assert_eq!(submit(&queue).wait(), Ok(()));
        rig.end(vec![(context, seat, queue), other]);
    });
}
