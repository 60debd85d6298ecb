// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Slots that the host manages: who is where, for how long, and what is left behind.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::told::{self, a_round, bind, hosted, hosted_config, listener, refused, vacate};
use common::{gpu, mapped, reached, submit, until};
use ringfence_softgpu::{
    reference, Buffer, Command, Context, ContextState, FaultKind, Gpu, GpuConfig, GpuError,
    Interrupt, LossCause, SlotEvent, SlotEventKind,
};

fn contexts<const N: usize>(gpu: &Gpu) -> [Context; N] {
    [(); N].map(|()| gpu.create_context(256).expect("a context"))
}

fn spin(ns: u64, value: u64) -> [Command; 2] {
    [Command::Spin { ns }, Command::Fence { value }]
}

#[test]
fn nothing_runs_but_what_is_bound() {
    let gpu = hosted(2, true);
    let [context, other] = contexts(&gpu);
    let (buffer, dst) = mapped(&gpu, &context, 64);
    let fill = Command::Fill {
        dst,
        words: 64,
        value: 7,
    };
    assert_eq!(context.state(), ContextState::Idle);
    submit(&context, &[fill, Command::Fence { value: 1 }]);
    let _stays = bind(&other, 0);
    a_round(&gpu);
    assert_eq!((context.fence_value(), context.progress()), (0, 0));
    assert_eq!(context.state(), ContextState::Waiting);
    assert!(context.waits_for_slot());
    assert_eq!(buffer.to_vec(), [0; 64]);
    // The doorbell that rang meanwhile need not ring again.
    let _stays = bind(&context, 1);
    reached(&context, 1);
    assert_eq!(buffer.to_vec(), [7; 64]);
    assert_eq!(context.state(), ContextState::Resident(1), "it stays");
    assert!(!context.waits_for_slot());
    // Off again, and the same for a bell that rings off the slot.
    assert_eq!(vacate(&context).slot, 1);
    assert_eq!(context.state(), ContextState::Idle);
    submit(&context, &[Command::Fence { value: 2 }]);
    a_round(&gpu);
    assert_eq!(context.fence_value(), 1);
    let _stays = bind(&context, 1);
    reached(&context, 2);
}

/// Two contexts that compute a product each, in memory of their own.
struct Pair {
    contexts: [Context; 2],
    memory: Vec<(Buffer, u64)>,
    round: u64,
    /// How often each was taken off its slot in the middle of its product.
    interrupted: [u32; 2],
    busy: [Duration; 2],
}

impl Pair {
    fn new(gpu: &Gpu) -> Self {
        let contexts: [Context; 2] = contexts(gpu);
        let memory = contexts.iter().map(|it| mapped(gpu, it, told::MATRICES));
        Self {
            memory: memory.collect(),
            contexts,
            round: 0,
            interrupted: [0; 2],
            busy: [Duration::ZERO; 2],
        }
    }

    /// Has both compute, in turns on one slot, and looks at what they leave.
    fn compute(&mut self) {
        self.round += 1;
        let mut expected = Vec::new();
        for (seed, (context, (buffer, base))) in
            (self.round as u32 * 2..).zip(self.contexts.iter().zip(&self.memory))
        {
            let mut words: Vec<u32> = (0..told::MATRICES as u32)
                .map(|word| (word ^ seed).wrapping_mul(0x9e37_79b9))
                .collect();
            buffer.write(0, &words).expect("in range");
            let product = told::product(*base);
            submit(context, &[product, Command::Fence { value: self.round }]);
            assert!(reference::apply(&product, &mut words, *base));
            expected.push(words);
        }
        let done = |context: &Context| context.fence_value() == self.round;
        for turn in (0..2).cycle() {
            let context = &self.contexts[turn];
            let (get, progress) = (context.ring().get(), context.progress());
            let _stays = bind(context, 0);
            until("progress", || {
                context.progress() != progress || done(context)
            });
            let stay = vacate(context);
            self.busy[turn] += stay.busy;
            assert_eq!(self.busy[turn], context.busy());
            assert_eq!(stay.context, context.id());
            assert!(Duration::from_nanos(stay.to - stay.from) >= stay.busy);
            assert_eq!(stay.work_left, !done(context));
            let in_the_middle = context.ring().get() == get && stay.work_left;
            self.interrupted[turn] += u32::from(in_the_middle);
            if self.contexts.iter().all(done) {
                break;
            }
        }
        for ((buffer, _), expected) in self.memory.iter().zip(expected) {
            assert!(
                buffer.to_vec()[..told::MATRICES] == expected,
                "the products are right"
            );
        }
    }
}

#[test]
fn two_contexts_take_turns_in_the_middle_of_their_commands() {
    let gpu = hosted(1, true);
    let mut pair = Pair::new(&gpu);
    // Where this thread seldom runs, a product may be done before it is interrupted.
    until("both to be interrupted", || {
        pair.compute();
        pair.interrupted.iter().all(|&count| count > 1)
    });
}

/// Has a context spin, in stays of a fraction of that. Returns how many.
fn spin_in_stays(context: &Context, ns: u64, value: u64) -> u64 {
    submit(context, &spin(ns, value));
    let (mut busy, mut stays) = (Duration::ZERO, 0);
    let first = context.busy();
    let done = || context.fence_value() == value;
    while !done() {
        let _stays = bind(context, 0);
        let before = context.busy();
        until("a bit of it", || {
            context.busy() > before + Duration::from_nanos(ns / 8) || done()
        });
        busy += vacate(context).busy;
        stays += 1;
        assert_eq!(context.busy(), first + busy);
    }
    assert!(
        busy >= Duration::from_nanos(ns),
        "{busy:?} in {stays} stays"
    );
    stays
}

#[test]
fn a_spin_is_interrupted_and_takes_as_long_on_the_slot_as_it_should() {
    let gpu = hosted(1, true);
    let [context] = contexts(&gpu);
    let (mut value, mut all) = (0, 0);
    until("an interrupted spin", || {
        value += 1;
        let stays = spin_in_stays(&context, 4_000_000, value);
        all += stays;
        stays > 1
    });
    // Off the slot it is not busy.
    let off = context.busy();
    a_round(&gpu);
    assert_eq!(context.busy(), off);
    assert_eq!(context.stays(), all);
    assert_eq!(gpu.stats().slot_switches, all);
    assert!(gpu.slot_usage(0).expect("a slot").executing >= off);
}

#[test]
fn without_preemption_a_context_leaves_when_its_ring_is_empty() {
    let gpu = hosted(1, false);
    let [context, other] = contexts(&gpu);
    let (gate, address) = mapped(&gpu, &context, 1);
    let _stays = bind(&context, 0);
    submit(&context, &[Command::SemaphoreWait { address, value: 1 }]);
    submit(&context, &spin(2_000_000, 1));
    submit(&context, &[Command::Fence { value: 2 }]);
    let (answer, told) = listener();
    context.vacate(answer).expect("taken");
    a_round(&gpu);
    assert!(told.try_recv().is_err(), "it has work");
    assert!(matches!(
        refused(&other, 0),
        GpuError::SlotTaken { slot: 0 }
    ));
    gate.write(0, &[1]).expect("in range");
    let stay = told::vacated(&told);
    assert_eq!(context.fence_value(), 2, "all of it");
    assert!(!stay.work_left && stay.busy >= Duration::from_millis(2));
    // One that has nothing to do leaves at once.
    let _stays = bind(&other, 0);
    submit(&other, &[Command::Fence { value: 1 }]);
    reached(&other, 1);
    assert!(!vacate(&other).work_left);
}

#[test]
fn without_preemption_a_hang_leaves_by_reset_only() {
    let gpu = hosted(1, false);
    let [context, other] = contexts(&gpu);
    let stay = bind(&context, 0);
    submit(&context, &[Command::Hang, Command::Fence { value: 1 }]);
    let (answer, told) = listener();
    context.vacate(answer).expect("taken");
    a_round(&gpu);
    assert!(told.try_recv().is_err(), "it hangs");
    context.reset().expect("the firmware answers");
    let told = told::next(&told);
    assert!(matches!(told, told::Told::Vacated(Err(GpuError::SlotLost))));
    let loss = told::lost(&stay);
    assert_eq!(loss.cause, LossCause::ContextReset);
    assert_eq!((loss.stay.busy, loss.stay.slot), (context.busy(), 0));
    let _stays = bind(&other, 0);
}

#[test]
fn with_preemption_a_hang_leaves_and_hangs_on() {
    let gpu = hosted(1, true);
    let [context, other] = contexts(&gpu);
    let _stays = bind(&context, 0);
    submit(&context, &[Command::Hang, Command::Fence { value: 1 }]);
    a_round(&gpu);
    let stay = vacate(&context);
    assert!(stay.work_left);
    assert_eq!(stay.busy, context.busy());
    let _stays = bind(&other, 0);
    submit(&other, &[Command::Fence { value: 1 }]);
    reached(&other, 1);
    vacate(&other);
    let progress = context.progress();
    let _stays = bind(&context, 0);
    a_round(&gpu);
    assert_eq!((context.progress(), context.fence_value()), (progress, 0));
}

#[test]
fn a_semaphore_off_the_slot_is_looked_at_when_the_context_is_back() {
    let gpu = hosted(1, true);
    let [context] = contexts(&gpu);
    let (gate, address) = mapped(&gpu, &context, 1);
    let _stays = bind(&context, 0);
    submit(
        &context,
        &[
            Command::SemaphoreWait { address, value: 1 },
            Command::Fence { value: 1 },
        ],
    );
    a_round(&gpu);
    assert!(!context.waits_for_slot(), "it waits for the semaphore");
    vacate(&context);
    assert!(context.waits_for_slot(), "nobody looks at the semaphore");
    gate.write(0, &[1]).expect("in range");
    a_round(&gpu);
    assert_eq!(context.fence_value(), 0);
    let _stays = bind(&context, 0);
    reached(&context, 1);
}

#[test]
fn a_fault_takes_its_context_off_the_slot() {
    let gpu = hosted(1, true);
    let [context, other] = contexts(&gpu);
    let stay = bind(&context, 0);
    submit(&context, &[Command::Fault { address: 0x1000 }]);
    let loss = told::lost(&stay);
    let LossCause::Fault(fault) = loss.cause else {
        panic!("not for a fault: {loss:?}");
    };
    assert_eq!((fault.kind, fault.address), (FaultKind::Unmapped, 0x1000));
    assert_eq!(Some(fault), context.fault());
    assert_eq!((loss.stay.context, loss.stay.slot), (context.id(), 0));
    assert!(matches!(refused(&context, 0), GpuError::NeedsReset));
    // The slot is free.
    let _stays = bind(&other, 0);
    submit(&other, &[Command::Fence { value: 1 }]);
    reached(&other, 1);
    vacate(&other);
    context.reset().expect("the firmware answers");
    assert_eq!(context.state(), ContextState::Idle);
    submit(&context, &[Command::Fence { value: 1 }]);
    let _stays = bind(&context, 0);
    reached(&context, 1);
}

#[test]
fn what_a_context_did_has_been_told_when_it_has_left() {
    let gpu = hosted(1, true);
    let [context] = contexts(&gpu);
    let told_of = Arc::new(Mutex::new(0));
    let newest = Arc::clone(&told_of);
    let _handler = context.on_interrupt(move |interrupt| {
        if let Interrupt::FenceReached { value, .. } = interrupt {
            *newest.lock().expect("no panic") = *value;
        }
    });
    for value in 1..=200 {
        let _stays = bind(&context, 0);
        submit(&context, &[Command::Fence { value }]);
        while context.fence_value() < value {
            std::hint::spin_loop();
        }
        vacate(&context);
        assert_eq!(*told_of.lock().expect("no panic"), value);
    }
}

#[test]
fn the_observer_sees_one_context_on_a_slot_at_a_time() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let gpu = Gpu::start(GpuConfig {
        observer: Some(Arc::new(move |event: &SlotEvent| {
            sink.lock().expect("no panic").push(*event);
        })),
        ..hosted_config(2, true)
    });
    let gpu = gpu.expect("the device starts");
    let [context, other] = contexts(&gpu);
    let (gate, address) = mapped(&gpu, &context, 1);
    submit(
        &context,
        &[
            Command::BeginJob { value: 1 },
            Command::SemaphoreWait { address, value: 1 },
            Command::Fence { value: 1 },
        ],
    );
    submit(&other, &[Command::Fault { address: 0x1000 }]);
    let lost = bind(&other, 1);
    told::lost(&lost);
    let _stays = bind(&context, 0);
    a_round(&gpu);
    vacate(&context);
    gate.write(0, &[1]).expect("in range");
    let _stays = bind(&context, 1);
    reached(&context, 1);
    gpu.stop();
    let events = events.lock().expect("no panic");
    let seen: Vec<_> = events
        .iter()
        .map(|it| (it.slot, it.context, it.kind))
        .collect();
    let (one, two) = (context.id(), other.id());
    let fault = FaultKind::Unmapped;
    let fault = ringfence_softgpu::Fault {
        kind: fault,
        address: 0x1000,
    };
    let resident = |job| SlotEventKind::Resident { job };
    assert_eq!(
        seen,
        [
            (1, two, resident(None)),
            (1, two, SlotEventKind::Fault(fault)),
            (1, two, SlotEventKind::Left),
            (0, one, resident(None)),
            (0, one, SlotEventKind::JobBegin { value: 1 }),
            (0, one, SlotEventKind::Left),
            (1, one, resident(Some(1))),
            (1, one, SlotEventKind::JobEnd { value: 1 }),
            (1, one, SlotEventKind::Left),
        ]
    );
}

#[test]
fn the_firmware_schedules_as_before() {
    let gpu = gpu(1);
    let [one, two] = contexts(&gpu);
    for context in [&one, &two] {
        submit(context, &spin(1_000_000, 1));
    }
    for context in [&one, &two] {
        reached(context, 1);
        until("it to leave", || context.state() == ContextState::Idle);
    }
    let usage = gpu.slot_usage(0).expect("a slot");
    assert!(usage.executing >= Duration::from_millis(2), "{usage:?}");
}
