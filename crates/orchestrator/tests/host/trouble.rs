// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Devices that fail, forget and take their time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use ringfence::executor::{Place, Runnable};
use ringfence::irq::{self, raise, InterruptLine, IrqLock, LineNumber};
use ringfence::{Executor, GateReport, Out, Time, Timeline};
use ringfence_orchestrator::{
    Account, Binding, Fair, Field, Fifo, Orchestrator, Policy, Preemption, Priority, SeatConfig,
    SlotDevice, SlotId, SlotKind, Vacating, Weight,
};

use crate::manual::Manual;
use crate::rig::{eventually, submit, wait, Context, Manner, Port, Rig, Slots};

fn state(seat: &ringfence_orchestrator::Seat<crate::rig::Port>) -> &'static str {
    seat.snapshot().unwrap().state
}

#[test]
fn a_seat_waits_for_what_its_driver_misses() {
    let rig = Rig::new(1, Preemption::Supported, Fair::default());
    let context = Context::new();
    let (signaller, fence) = Timeline::new("memory").signaller();
    *context.missing.lock().unwrap() = Some(fence);
    let config = SeatConfig {
        checked: true,
        ..SeatConfig::default()
    };
    let seat = rig.seat_with("waits", &context, config);
    let queue = rig.queue(&seat, &[]);
    let done = submit(&queue);
    eventually("it is blocked", || state(&seat) == "blocked");
    // It stands in nobody's way.
    let (_, _, other) = rig.simple("other");
    wait(&submit(&other));
    assert!(done.wait_timeout(Duration::ZERO).is_err());
    signaller.signal(Ok(()));
    wait(&done);
    // The second time the fence is there before anybody waits for it.
    let (signaller, fence) = Timeline::new("memory").signaller();
    signaller.signal(Ok(()));
    wait(&submit(&other));
    *context.missing.lock().unwrap() = Some(fence);
    wait(&submit(&queue));
}

#[test]
fn who_could_not_be_bound_waits_until_it_is_ready() {
    let rig = Rig::new(1, Preemption::Supported, Fair::default());
    *rig.slots.bind.lock().unwrap() = Manner::Fails;
    let (_, seat, queue) = rig.simple("fails");
    let done = submit(&queue);
    eventually("it is blocked", || state(&seat) == "blocked");
    *rig.slots.bind.lock().unwrap() = Manner::Prompt;
    let (_, _, other) = rig.simple("other");
    wait(&submit(&other));
    assert!(done.wait_timeout(Duration::ZERO).is_err());
    seat.ready().unwrap();
    wait(&done);
}

#[test]
fn a_slot_about_which_nobody_knows_is_left_alone() {
    for manner in [Manner::Forgets, Manner::Panics] {
        let rig = Rig::new(2, Preemption::Supported, Fair::default());
        *rig.slots.bind.lock().unwrap() = manner;
        let (_, seat, queue) = rig.simple("lost");
        let done = submit(&queue);
        eventually("it is lost", || state(&seat) == "lost");
        *rig.slots.bind.lock().unwrap() = Manner::Prompt;
        let (_, _, other) = rig.simple("other");
        for _ in 0..5 {
            wait(&submit(&other));
        }
        assert_eq!(rig.slots.most.load(Ordering::Relaxed), 1);
        assert!(done.wait_timeout(Duration::ZERO).is_err());
        assert!(rig.orchestrator.repaired(SlotId::new(1)).is_err());
        rig.orchestrator.repaired(SlotId::new(0)).unwrap();
        wait(&done);
    }
}

#[test]
fn a_device_that_does_not_answer_is_reported() {
    let rig = Rig::new(1, Preemption::Supported, Fair::default());
    *rig.slots.vacate.lock().unwrap() = Manner::Keeps;
    rig.slots.works.store(false, Ordering::Release);
    let (_, _, one) = rig.simple("one");
    let first = submit(&one);
    let (_, _, two) = rig.simple("two");
    let second = submit(&two);
    eventually("it is stuck", || {
        rig.slots.stuck.load(Ordering::Relaxed) == 1
    });
    // The driver has helped itself, and answers.
    *rig.slots.vacate.lock().unwrap() = Manner::Prompt;
    rig.slots.works.store(true, Ordering::Release);
    rig.slots.answer();
    wait(&second);
    wait(&first);
    assert_eq!(rig.slots.stuck.load(Ordering::Relaxed), 1);
}

#[test]
fn after_a_reset_everybody_gets_a_slot_again() {
    let rig = Rig::new(2, Preemption::Supported, Fair::default());
    let queues: Vec<_> = (0..6).map(|n| rig.simple(&format!("q{n}"))).collect();
    for (_, _, queue) in &queues {
        wait(&submit(queue));
    }
    // All are idle: nobody moves meanwhile.
    rig.slots.reset();
    for (_, seat, _) in &queues {
        seat.lost().unwrap();
    }
    for _ in 0..5 {
        let fences: Vec<_> = queues.iter().map(|(_, _, queue)| submit(queue)).collect();
        fences.iter().for_each(wait);
    }
}

/// An executor that is done before the thread that has called it goes on, which is interrupted then.
#[derive(Debug)]
struct Prompt {
    manual: Arc<Manual>,
    slots: Arc<Slots>,
    line: LineNumber,
    /// Once.
    interrupts: AtomicBool,
}

impl Executor for Prompt {
    fn register(&self, runnable: Weak<dyn Runnable>) -> Place {
        self.manual.register(runnable)
    }

    fn unregister(&self, place: Place) {
        self.manual.unregister(place);
    }

    fn schedule(&self, runnable: Arc<dyn Runnable>) {
        self.manual.schedule(runnable);
        if self.interrupts.swap(false, Ordering::AcqRel) {
            thread::scope(|scope| _ = scope.spawn(|| self.manual.work()));
            eventually("the device is asked", || self.slots.is_asked());
            raise(self.line);
        }
    }

    fn arm_timer(&self, place: Place, at: Time) {
        self.manual.arm_timer(place, at);
    }
}

#[test]
fn a_handler_in_the_middle_of_a_fences_callback_does_not_wait_for_that() {
    let slots = Slots::new(1, Preemption::Supported);
    let handled = Arc::clone(&slots);
    let line = InterruptLine::new(move || handled.interrupt()).unwrap();
    let prompt = Arc::new(Prompt {
        manual: Manual::new(),
        slots: Arc::clone(&slots),
        line: line.number(),
        interrupts: AtomicBool::new(false),
    });
    let orchestrator = Orchestrator::builder("prompt", Port(Arc::clone(&slots)))
        .patience(None)
        .build(Arc::clone(&prompt) as Arc<dyn Executor>)
        .unwrap();
    let client = orchestrator.client("test");
    let rig = Rig::new(1, Preemption::Supported, Fair::default());
    let seat = |checked| {
        let config = SeatConfig {
            checked,
            ..SeatConfig::default()
        };
        let seat = orchestrator.seat("seat", config, &client, Context::new());
        seat.unwrap()
    };
    let (waits, other) = (seat(true), seat(false));
    let (waits_queue, other_queue) = (rig.queue(&waits, &[]), rig.queue(&other, &[]));
    let timeline = Timeline::new("memory");
    let (first, fence) = timeline.signaller();
    *waits.context().missing.lock().unwrap() = Some(fence);
    let done = submit(&waits_queue);
    eventually("it is blocked", || state(&waits) == "blocked");
    let job = submit(&other_queue);
    eventually("the other one runs", || {
        other.context().end_jobs();
        job.is_signaled()
    });
    // Its slot is asked for in the fence's callback, and given in the handler.
    let (second, fence) = timeline.signaller();
    *waits.context().missing.lock().unwrap() = Some(fence);
    *slots.vacate.lock().unwrap() = Manner::Interrupts;
    prompt.interrupts.store(true, Ordering::Release);
    first.signal(Ok(()));
    assert!(!prompt.interrupts.load(Ordering::Acquire));
    prompt.manual.work();
    eventually("it waits for the next fence", || state(&waits) == "blocked");
    second.signal(Ok(()));
    prompt.manual.work();
    eventually("it runs", || {
        waits.context().end_jobs();
        done.is_signaled()
    });
}

/// A queue of this context has a job, and ends.
fn comes_and_goes(rig: &Rig, context: Arc<Context>) {
    let seat = rig.seat("short", &context);
    let queue = rig.queue(&seat, &[]);
    drop((context, seat));
    wait(&submit(&queue));
    let closed = queue.closed();
    drop(queue);
    wait(&closed);
}

#[test]
fn a_context_whose_drop_panics_takes_nobody_along() {
    let rig = Rig::new(1, Preemption::Supported, Fair::default());
    let dropped = Arc::new(AtomicBool::new(false));
    // More than there are workers.
    for _ in 0..3 {
        let mut context = Context::new();
        let inner = Arc::get_mut(&mut context).unwrap();
        inner.dropped = Some(Arc::clone(&dropped));
        *inner.panics.get_mut() = true;
        comes_and_goes(&rig, context);
        eventually("the context is dropped", || {
            dropped.swap(false, Ordering::AcqRel)
        });
    }
    let (_, _, other) = rig.simple("other");
    wait(&submit(&other));
}

#[test]
fn a_context_is_not_dropped_where_its_queue_ends() {
    let rig = Rig::new(1, Preemption::Supported, Fair::default());
    rig.slots.works.store(false, Ordering::Release);
    let dropped = Arc::new(AtomicBool::new(false));
    let mut context = Context::new();
    Arc::get_mut(&mut context).unwrap().dropped = Some(Arc::clone(&dropped));
    let seat = rig.seat("ends", &context);
    let queue = rig.queue(&seat, &[]);
    let job = submit(&queue);
    eventually("it is on the hardware", || context.has_jobs());
    let late = context.take_jobs();
    drop((context, seat));
    rig.device.unbind().unwrap();
    drop(queue);
    assert!(job.wait_timeout(crate::rig::PATIENCE).unwrap().is_err());
    eventually("its seat is gone", || {
        rig.orchestrator.snapshot().seats.is_empty()
    });
    eventually("its context is dropped", || dropped.load(Ordering::Acquire));
    // The last that is left of the queue.
    let section = ringfence::section::SignallingSection::enter();
    drop(late);
    drop(section);
}

/// Says whether it was dropped in an interrupt handler.
struct Told(Arc<Mutex<Option<bool>>>);

impl Drop for Told {
    fn drop(&mut self) {
        *self.0.lock().unwrap() = Some(irq::in_handler());
    }
}

/// Keeps what it was asked for.
struct Last {
    asked: Arc<IrqLock<Option<Binding>>>,
    _told: Told,
}

impl SlotDevice for Last {
    type Context = Told;

    fn slots(&self) -> Vec<SlotKind> {
        vec![SlotKind::default()]
    }

    fn preemption(&self) -> Preemption {
        Preemption::Supported
    }

    fn bind(&self, _slot: SlotId, _context: &Told, binding: Binding) {
        *self.asked.lock() = Some(binding);
    }

    fn vacate(&self, _slot: SlotId, _context: &Told, _vacating: Vacating) {}

    fn stuck(&self, _slot: SlotId, _context: &Told) {}
}

#[test]
fn the_last_answer_may_come_from_an_interrupt_handler() {
    let (asked, dropped) = (Arc::new(IrqLock::default()), Arc::new(Mutex::new(None)));
    let device = Last {
        asked: Arc::clone(&asked),
        _told: Told(Arc::clone(&dropped)),
    };
    let handled: Arc<IrqLock<Option<Binding>>> = Arc::clone(&asked);
    let line = InterruptLine::new(move || {
        let binding = handled.lock().take();
        if let Some(binding) = binding {
            binding.broken();
        }
    });
    let line = line.unwrap();
    let orchestrator = Orchestrator::builder("last", device)
        .build(Manual::new() as Arc<dyn Executor>)
        .unwrap();
    let client = orchestrator.client("test");
    let context = Told(Arc::default());
    let seat = orchestrator.seat("seat", SeatConfig::default(), &client, context);
    // In place of a queue.
    let gate = seat.unwrap().gate();
    gate.report(GateReport {
        version: 1,
        wants: true,
        out: Out::Nothing,
    });
    assert!(asked.lock().is_some());
    drop((gate, client, orchestrator));
    assert_eq!(*dropped.lock().unwrap(), None);
    line.raise();
    irq::flush();
    assert_eq!(*dropped.lock().unwrap(), Some(false));
}

#[test]
fn the_last_seat_may_be_dropped_in_an_interrupt_handler() {
    let dropped = Arc::new(Mutex::new(None));
    let device = Last {
        asked: Arc::default(),
        _told: Told(Arc::default()),
    };
    let manual = Manual::new();
    let orchestrator = Orchestrator::builder("last", device)
        .build(Arc::clone(&manual) as Arc<dyn Executor>)
        .unwrap();
    let client = orchestrator.client("test");
    let context = Told(Arc::clone(&dropped));
    let seat = orchestrator.seat("seat", SeatConfig::default(), &client, context);
    let gate = seat.as_ref().unwrap().gate();
    // As an interrupt handler has it that has upgraded its own.
    let last = Arc::new(IrqLock::new(seat.ok()));
    let handled = Arc::clone(&last);
    let line = InterruptLine::new(move || drop(handled.lock().take())).unwrap();
    // Its queue ends.
    gate.detached();
    drop(gate);
    manual.work();
    assert_eq!(*dropped.lock().unwrap(), None);
    line.raise();
    irq::flush();
    manual.work();
    assert_eq!(*dropped.lock().unwrap(), Some(false));
}

/// Panics the first time that it is asked anything of a sort.
struct Panics {
    inner: Fifo,
    key: AtomicBool,
    rank: AtomicBool,
}

impl Policy for Panics {
    fn woke(&mut self, account: &mut Account, now: Time) {
        self.inner.woke(account, now);
    }

    fn joins(&mut self, account: &mut Account) {
        self.inner.joins(account);
    }

    fn key(&self, account: &Account) -> u64 {
        assert!(self.key.swap(true, Ordering::AcqRel), "the policy panics");
        self.inner.key(account)
    }

    fn ran(&mut self, account: &mut Account, kind: SlotKind, ns: u64) {
        self.inner.ran(account, kind, ns);
    }

    fn switched(&mut self, priority: Priority, kind: SlotKind, ns: u64) {
        self.inner.switched(priority, kind, ns);
    }

    fn failed(&mut self, account: &mut Account, ns: u64) {
        self.inner.failed(account, ns);
    }

    fn look(&mut self, field: &Field) {
        self.inner.look(field);
    }

    fn overtaken(&self, account: &mut Account, key: u64) {
        self.inner.overtaken(account, key);
    }

    fn rank(&self, account: &Account) -> u8 {
        assert!(self.rank.swap(true, Ordering::AcqRel), "the policy panics");
        self.inner.rank(account)
    }

    fn makes_way(&self, resident: &Account, waiting: &Account, now: Time) -> Option<Time> {
        self.inner.makes_way(resident, waiting, now)
    }

    fn keeps_for(&self) -> Duration {
        self.inner.keeps_for()
    }

    fn chosen(&mut self, account: &mut Account) {
        self.inner.chosen(account);
    }

    fn changed(&mut self, account: &mut Account, was: Priority, weighed: Weight) {
        self.inner.changed(account, was, weighed);
    }
}

#[test]
fn a_policy_that_panics_stops_nobody() {
    for key in [true, false] {
        let policy = Panics {
            inner: Fifo::default(),
            key: AtomicBool::new(!key),
            rank: AtomicBool::new(key),
        };
        let rig = Rig::new(1, Preemption::Supported, policy);
        let (_, _, one) = rig.simple("one");
        let (_, _, two) = rig.simple("two");
        for _ in 0..3 {
            let fences = [submit(&one), submit(&two)];
            fences.iter().for_each(wait);
        }
    }
}

#[test]
fn a_context_whose_drop_takes_its_time_holds_nobody_up() {
    let rig = Rig::new(1, Preemption::Supported, Fair::default());
    let (_, _, other) = rig.simple("other");
    let (signaller, fence) = Timeline::new("memory").signaller();
    let dropped = Arc::new(AtomicBool::new(false));
    let mut context = Context::new();
    let inner = Arc::get_mut(&mut context).unwrap();
    inner.dropped = Some(Arc::clone(&dropped));
    *inner.waits.get_mut().unwrap() = Some(fence);
    comes_and_goes(&rig, context);
    eventually("its drop has begun", || dropped.load(Ordering::Acquire));
    wait(&submit(&other));
    signaller.signal(Ok(()));
}
