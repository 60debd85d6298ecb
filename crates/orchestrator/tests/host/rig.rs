// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A device with slots whose hardware is a thread, and the driver of its contexts. It checks what it
//! is asked to do.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ringfence::irq::{InterruptLine, IrqLock};
use ringfence::{
    Completion, Device, Driver, Executor, Fence, Pool, Queue, RunOutcome, Submission, TimedOutJob,
    TimeoutOutcome,
};
use ringfence_orchestrator::{
    Binding, Builder, Check, Client, Orchestrator, Policy, Preemption, Seat, SeatConfig,
    SlotDevice, SlotId, SlotKind, Vacating,
};

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One context: what is on its hardware.
pub(crate) struct Context {
    jobs: Mutex<VecDeque<Completion<Rider>>>,
    /// Its slot, or `NOWHERE`.
    slot: AtomicU64,
    pub(crate) binds: AtomicU64,
    pub(crate) dropped: Option<Arc<AtomicBool>>,
    /// Its drop waits for this.
    pub(crate) waits: Mutex<Option<Fence>>,
    /// Its drop panics.
    pub(crate) panics: AtomicBool,
    /// What `check` says.
    pub(crate) missing: Mutex<Option<Fence>>,
}

const NOWHERE: u64 = u64::MAX;

impl Context {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            jobs: Mutex::default(),
            slot: AtomicU64::new(NOWHERE),
            binds: AtomicU64::new(0),
            dropped: None,
            waits: Mutex::new(None),
            panics: AtomicBool::new(false),
            missing: Mutex::new(None),
        })
    }

    /// The hardware does at once what it has.
    pub(crate) fn end_jobs(&self) {
        self.take_jobs()
            .into_iter()
            .for_each(|job| job.complete(Ok(())));
    }

    /// The hardware forgets what it has.
    pub(crate) fn take_jobs(&self) -> VecDeque<Completion<Rider>> {
        std::mem::take(&mut *self.jobs.lock().unwrap())
    }

    pub(crate) fn has_jobs(&self) -> bool {
        !self.jobs.lock().unwrap().is_empty()
    }

    pub(crate) fn is_resident(&self) -> bool {
        self.slot.load(Ordering::Acquire) != NOWHERE
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(dropped) = &self.dropped {
            dropped.store(true, Ordering::Release);
        }
        if let Some(fence) = self.waits.get_mut().unwrap().take() {
            wait(&fence);
        }
        assert!(!*self.panics.get_mut(), "a context's drop panics");
    }
}

/// What the device does with its next request of a sort.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Does it at once.
    Prompt,
    /// Does it on the hardware's thread.
    Late,
    /// Says that it failed.
    Fails,
    /// Drops the duty to answer.
    Forgets,
    /// Keeps it.
    Keeps,
    /// Panics.
    Panics,
    /// Does it in an interrupt handler.
    Interrupts,
}

/// What an interrupt handler is to do: nothing is freed there, so no closure.
enum Request {
    Bind(SlotId, Arc<Context>, Binding),
    Vacate(SlotId, Arc<Context>, Vacating),
}

type Late = Box<dyn FnOnce() + Send>;

/// The hardware and what it was told.
pub(crate) struct Slots {
    count: usize,
    preemption: Preemption,
    residents: Mutex<Vec<Option<Arc<Context>>>>,
    late: Mutex<Vec<Late>>,
    requests: IrqLock<VecDeque<Request>>,
    pub(crate) bind: Mutex<Manner>,
    pub(crate) vacate: Mutex<Manner>,
    pub(crate) kept: Mutex<Vec<Late>>,
    pub(crate) stuck: AtomicU64,
    pub(crate) most: AtomicU64,
    /// Binds that were asked for on a thread of the pool's.
    pub(crate) by_pool: AtomicU64,
    tick: Condvar,
    stop: AtomicBool,
    /// Jobs end only while this is set.
    pub(crate) works: AtomicBool,
}

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slots").finish_non_exhaustive()
    }
}

impl Slots {
    pub(crate) fn new(count: usize, preemption: Preemption) -> Arc<Self> {
        Arc::new(Self {
            count,
            preemption,
            residents: Mutex::new(vec![None; count]),
            late: Mutex::default(),
            requests: IrqLock::new(VecDeque::with_capacity(1024)),
            bind: Mutex::new(Manner::Prompt),
            vacate: Mutex::new(Manner::Prompt),
            kept: Mutex::default(),
            stuck: AtomicU64::new(0),
            most: AtomicU64::new(0),
            by_pool: AtomicU64::new(0),
            tick: Condvar::new(),
            stop: AtomicBool::new(false),
            works: AtomicBool::new(true),
        })
    }

    fn occupy(&self, slot: SlotId, context: &Arc<Context>) {
        let mut residents = self.residents.lock().unwrap();
        let place = &mut residents[usize::from(slot.number())];
        assert!(place.is_none(), "a slot is given to one context at a time");
        *place = Some(Arc::clone(context));
        let before = context.slot.swap(slot.number().into(), Ordering::AcqRel);
        assert_eq!(before, NOWHERE, "a context is on one slot at a time");
        context.binds.fetch_add(1, Ordering::Relaxed);
        let now = residents.iter().flatten().count() as u64;
        self.most.fetch_max(now, Ordering::Relaxed);
        self.tick.notify_all();
    }

    fn leave(&self, slot: SlotId, context: &Arc<Context>) {
        let mut residents = self.residents.lock().unwrap();
        let place = &mut residents[usize::from(slot.number())];
        assert!(place.as_ref().is_some_and(|on| Arc::ptr_eq(on, context)));
        *place = None;
        context.slot.store(NOWHERE, Ordering::Release);
        if self.preemption == Preemption::RunToCompletion {
            assert!(
                context.jobs.lock().unwrap().is_empty(),
                "it ran to completion"
            );
        }
    }

    /// The device has forgotten everything.
    pub(crate) fn reset(&self) {
        for place in self.residents.lock().unwrap().iter_mut() {
            if let Some(context) = place.take() {
                context.slot.store(NOWHERE, Ordering::Release);
            }
        }
    }

    /// Answers what was kept.
    pub(crate) fn answer(&self) {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap());
        kept.into_iter().for_each(|answer| answer());
    }

    fn serve(&self, manner: Manner, act: Late) {
        match manner {
            Manner::Prompt => act(),
            Manner::Late => self.late.lock().unwrap().push(act),
            Manner::Keeps => self.kept.lock().unwrap().push(act),
            Manner::Forgets => drop(act),
            Manner::Panics => panic!("the device's driver panics"),
            Manner::Fails | Manner::Interrupts => unreachable!("it has been dealt with"),
        }
    }

    /// Whether a request waits for the interrupt handler.
    pub(crate) fn is_asked(&self) -> bool {
        !self.requests.lock().is_empty()
    }

    /// The interrupt handler.
    pub(crate) fn interrupt(&self) {
        loop {
            let request = self.requests.lock().pop_front();
            match request {
                Some(Request::Bind(slot, context, binding)) => {
                    self.occupy(slot, &context);
                    binding.done();
                }
                Some(Request::Vacate(slot, context, vacating)) => {
                    self.leave(slot, &context);
                    vacating.done(None);
                }
                None => return,
            }
        }
    }

    fn work(self: &Arc<Self>) {
        let handled = Arc::clone(self);
        let line = InterruptLine::new(move || handled.interrupt()).unwrap();
        while !self.stop.load(Ordering::Acquire) {
            let late = std::mem::take(&mut *self.late.lock().unwrap());
            late.into_iter().for_each(|answer| answer());
            line.raise();
            let residents = self.residents.lock().unwrap();
            let jobs = residents.iter().flatten().filter_map(|context| {
                let works = self.works.load(Ordering::Acquire);
                works
                    .then(|| context.jobs.lock().unwrap().pop_front())
                    .flatten()
            });
            let jobs: Vec<_> = jobs.collect();
            let idle = jobs.is_empty();
            if idle {
                let wait = Duration::from_micros(200);
                let (residents, _) = self.tick.wait_timeout(residents, wait).unwrap();
                drop(residents);
            } else {
                drop(residents);
            }
            jobs.into_iter().for_each(|job| job.complete(Ok(())));
        }
    }
}

/// The same device, for the orchestrator.
pub(crate) struct Port(pub(crate) Arc<Slots>);

impl SlotDevice for Port {
    type Context = Arc<Context>;

    fn slots(&self) -> Vec<SlotKind> {
        vec![SlotKind::default(); self.0.count]
    }

    fn preemption(&self) -> Preemption {
        self.0.preemption
    }

    fn check(&self, context: &Arc<Context>) -> Check {
        match context.missing.lock().unwrap().take() {
            Some(fence) => Check::WaitFor(fence),
            None => Check::Ready,
        }
    }

    fn bind(&self, slot: SlotId, context: &Arc<Context>, binding: Binding) {
        let own = thread::current();
        if own
            .name()
            .is_some_and(|name| name.starts_with("ringfence-"))
        {
            self.0.by_pool.fetch_add(1, Ordering::Relaxed);
        }
        let manner = *self.0.bind.lock().unwrap();
        if manner == Manner::Fails {
            binding.failed();
            return;
        }
        if manner == Manner::Interrupts {
            let request = Request::Bind(slot, Arc::clone(context), binding);
            self.0.requests.lock().push_back(request);
            return;
        }
        let (slots, context) = (Arc::clone(&self.0), Arc::clone(context));
        let act = move || {
            slots.occupy(slot, &context);
            binding.done();
        };
        self.0.serve(manner, Box::new(act));
    }

    fn vacate(&self, slot: SlotId, context: &Arc<Context>, vacating: Vacating) {
        let manner = *self.0.vacate.lock().unwrap();
        if manner == Manner::Interrupts {
            let request = Request::Vacate(slot, Arc::clone(context), vacating);
            self.0.requests.lock().push_back(request);
            return;
        }
        let (slots, context) = (Arc::clone(&self.0), Arc::clone(context));
        let act = move || {
            slots.leave(slot, &context);
            vacating.done(Some(Duration::from_micros(1)));
        };
        self.0.serve(manner, Box::new(act));
    }

    fn stuck(&self, _slot: SlotId, _context: &Arc<Context>) {
        self.0.stuck.fetch_add(1, Ordering::Relaxed);
    }
}

/// A queue's driver: puts jobs on its context, and checks that it may.
pub(crate) struct Rider {
    pub(crate) context: Arc<Context>,
    /// Others that must be resident whenever it runs a job.
    pub(crate) with: Vec<Arc<Context>>,
}

impl Driver for Rider {
    type Payload = ();
    type ReplayData = ();

    fn run(&mut self, submission: Submission<'_, Self>) -> RunOutcome {
        assert!(self.context.is_resident(), "no job is run off its slot");
        for other in &self.with {
            assert!(other.is_resident(), "a group is resident as a whole");
        }
        let (completion, outcome) = submission.pending();
        self.context.jobs.lock().unwrap().push_back(completion);
        outcome
    }

    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        job.no_hang()
    }
}

/// A machine to test on.
pub(crate) struct Rig {
    pub(crate) slots: Arc<Slots>,
    pub(crate) orchestrator: Orchestrator<Port>,
    pub(crate) client: Client,
    pub(crate) device: Device,
    pub(crate) pool: Pool,
    hardware: Option<JoinHandle<()>>,
}

impl Rig {
    pub(crate) fn new(
        count: usize,
        preemption: Preemption,
        policy: impl Policy + Send + 'static,
    ) -> Self {
        Self::with(count, preemption, |builder| builder.policy(policy))
    }

    pub(crate) fn with(
        count: usize,
        preemption: Preemption,
        configure: impl FnOnce(Builder<Port>) -> Builder<Port>,
    ) -> Self {
        let slots = Slots::new(count, preemption);
        let pool = Pool::new(2).unwrap();
        let builder = Orchestrator::builder("rig", Port(Arc::clone(&slots)))
            .patience(Some(Duration::from_millis(20)));
        let orchestrator = configure(builder).build(&pool).unwrap();
        let hardware = thread::spawn({
            let slots = Arc::clone(&slots);
            move || slots.work()
        });
        Self {
            client: orchestrator.client("test"),
            slots,
            orchestrator,
            device: Device::new("rig"),
            pool,
            hardware: Some(hardware),
        }
    }

    pub(crate) fn seat(&self, name: &str, context: &Arc<Context>) -> Seat<Port> {
        self.seat_with(name, context, SeatConfig::default())
    }

    pub(crate) fn seat_with(
        &self,
        name: &str,
        context: &Arc<Context>,
        config: SeatConfig,
    ) -> Seat<Port> {
        let context = Arc::clone(context);
        self.orchestrator
            .seat(name, config, &self.client, context)
            .unwrap()
    }

    pub(crate) fn queue(&self, seat: &Seat<Port>, with: &[&Arc<Context>]) -> Queue<Rider> {
        let rider = Rider {
            context: Arc::clone(seat.context()),
            with: with.iter().map(|other| Arc::clone(other)).collect(),
        };
        let executor: Arc<dyn Executor> = self.pool.executor();
        Queue::<Rider>::builder("queue")
            .credits(4)
            .capacity(64)
            .gate(seat.gate())
            .build(&self.device, executor, rider)
            .unwrap()
    }

    /// A queue with a seat of its own.
    pub(crate) fn simple(&self, name: &str) -> (Arc<Context>, Seat<Port>, Queue<Rider>) {
        let context = Context::new();
        let seat = self.seat(name, &context);
        let queue = self.queue(&seat, &[]);
        (context, seat, queue)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.slots.stop.store(true, Ordering::Release);
        let ended = self.hardware.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert!(!matches!(ended, Some(Err(_))), "the hardware has panicked");
        }
    }
}

pub(crate) fn submit(queue: &Queue<Rider>) -> Fence {
    queue.prepare((), 1).unwrap().submit()
}

pub(crate) fn wait(fence: &Fence) {
    let ended = fence.wait_timeout(PATIENCE);
    assert!(matches!(ended, Ok(Ok(()))), "{ended:?}");
}

/// Looks until it holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        thread::yield_now();
    }
}
