// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Slots that the host manages: who is where, for how long, and what is left behind.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::told::{self, a_round, bind, hosted, hosted_config, listener, refused, vacate};
use common::{gpu, mapped, reached, submit, until};
use ringfence_softgpu::{
    reference, Buffer, Command, Context, ContextState, FaultKind, Gpu, GpuConfig, GpuError,
    Interrupt, LossCause, SlotEvent, SlotEventKind, SlotKind,
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

/// Three matrices of a context, two of them full of numbers.
fn matrices(gpu: &Gpu, context: &Context, seed: u32) -> (Buffer, u64) {
    let (buffer, base) = mapped(gpu, context, told::MATRICES);
    let words: Vec<u32> = (0..told::MATRICES as u32)
        .map(|word| (word ^ seed).wrapping_mul(0x9e37_79b9))
        .collect();
    buffer.write(0, &words).expect("in range");
    (buffer, base)
}

#[test]
fn two_contexts_take_turns_in_the_middle_of_their_commands() {
    let gpu = hosted(1, true);
    let both: [Context; 2] = contexts(&gpu);
    let jobs = [0x1111, 0x2222].map(|seed| seed as u32);
    let memory: Vec<_> = both
        .iter()
        .zip(jobs)
        .map(|(context, seed)| matrices(&gpu, context, seed))
        .collect();
    let expected: Vec<_> = memory
        .iter()
        .map(|(buffer, base)| {
            let mut words = buffer.to_vec();
            assert!(reference::apply(&told::product(*base), &mut words, *base));
            words
        })
        .collect();
    for (context, (_, base)) in both.iter().zip(&memory) {
        submit(
            context,
            &[told::product(*base), Command::Fence { value: 1 }],
        );
    }
    let mut in_the_middle = [0; 2];
    let mut told_busy = [Duration::ZERO; 2];
    for turn in (0..2).cycle() {
        let context = &both[turn];
        let progress = context.progress();
        let _stays = bind(context, 0);
        until("progress", || {
            context.progress() != progress || context.fence_value() == 1
        });
        let stay = vacate(context);
        let get = context.ring().get();
        told_busy[turn] += stay.busy;
        assert_eq!(told_busy[turn], context.busy());
        assert_eq!(stay.context, context.id());
        assert!(Duration::from_nanos(stay.to - stay.from) >= stay.busy);
        assert_eq!(stay.work_left, context.fence_value() == 0);
        in_the_middle[turn] += u32::from(get == 0);
        if both.iter().all(|context| context.fence_value() == 1) {
            break;
        }
    }
    assert!(
        in_the_middle.iter().all(|&count| count > 1),
        "{in_the_middle:?}"
    );
    for ((buffer, _), expected) in memory.iter().zip(expected) {
        assert!(buffer.to_vec() == expected, "the products are right");
    }
}

#[test]
fn a_spin_is_interrupted_and_takes_as_long_on_the_slot_as_it_should() {
    let gpu = hosted(1, true);
    let [context] = contexts(&gpu);
    let ns = 4_000_000;
    submit(&context, &spin(ns, 1));
    let mut busy = Duration::ZERO;
    let mut stays = 0;
    while context.fence_value() == 0 {
        let _stays = bind(&context, 0);
        let before = context.busy();
        until("a bit of it", || {
            context.busy() > before + Duration::from_micros(500) || context.fence_value() == 1
        });
        busy += vacate(&context).busy;
        stays += 1;
        // Off the slot it is not busy.
        let off = context.busy();
        a_round(&gpu);
        assert_eq!((context.busy(), busy), (off, off));
    }
    assert!(
        busy >= Duration::from_nanos(ns),
        "{busy:?} in {stays} stays"
    );
    assert!(stays > 1);
    assert_eq!(context.stays(), stays);
    assert_eq!(gpu.stats().slot_switches, stays);
    assert!(gpu.slot_usage(0).expect("a slot").executing >= busy);
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
fn what_cannot_be_done_is_refused() {
    let gpu = hosted(2, true);
    let [context, other] = contexts(&gpu);
    let nobody = || listener().0;
    let no_such = context.bind(2, nobody());
    assert!(matches!(no_such, Err(GpuError::NoSuchSlot { slot: 2 })));
    let (answer, told) = listener();
    context.vacate(answer).expect("taken");
    let not_bound = told::next(&told);
    assert!(matches!(
        not_bound,
        told::Told::Vacated(Err(GpuError::NotBound))
    ));
    told::over(&told);

    let _stays = bind(&context, 1);
    assert!(matches!(
        refused(&other, 1),
        GpuError::SlotTaken { slot: 1 }
    ));
    let again = refused(&context, 0);
    assert!(matches!(again, GpuError::AlreadyBound { slot: 1 }));
    assert_eq!(gpu.stats().slot_switches, 1);

    // One request at a time.
    let armed = ringfence_softgpu::Injection::StuckPreemption;
    let armed = context.inject(armed, ringfence_softgpu::When::Now);
    let armed = armed.expect("possible");
    let (answer, told) = listener();
    context.vacate(answer).expect("taken");
    let second = context.vacate(nobody());
    assert!(matches!(second, Err(GpuError::SlotRequestPending)));
    let second = context.bind(0, nobody());
    assert!(matches!(second, Err(GpuError::SlotRequestPending)));
    a_round(&gpu);
    assert!(armed.fired() && told.try_recv().is_err());
    drop(context);
    let dropped = told::next(&told);
    assert!(matches!(
        dropped,
        told::Told::Vacated(Err(GpuError::SlotLost))
    ));

    // And nothing of it where the firmware schedules.
    let scheduled = common::gpu(1);
    let [context] = contexts(&scheduled);
    for refused in [context.bind(0, nobody()), context.vacate(nobody())] {
        assert!(matches!(refused, Err(GpuError::NotHostScheduled)));
    }
    let of_kind = scheduled.create_context_for(SlotKind::Compute, 64);
    assert!(matches!(of_kind, Err(GpuError::NotHostScheduled)));
}

#[test]
fn kinds_decide_who_may_be_bound() {
    let kinds = vec![SlotKind::Compute, SlotKind::Copy, SlotKind::Render];
    let start = |config: GpuConfig, slot_kinds: &[SlotKind]| {
        Gpu::start(GpuConfig {
            slot_kinds: slot_kinds.to_vec(),
            ..config
        })
    };
    for wrong in [
        start(hosted_config(2, true), &kinds),
        start(common::config(3), &kinds),
        Gpu::start(GpuConfig {
            switch_cost: Duration::from_micros(1),
            ..common::config(3)
        }),
    ] {
        assert!(matches!(wrong, Err(GpuError::Invalid(_))));
    }
    let gpu = start(hosted_config(3, true), &kinds).expect("the device starts");
    assert_eq!(gpu.slot_kind(1), Some(SlotKind::Copy));
    assert_eq!((gpu.slot_kind(3), gpu.slots()), (None, 3));
    let copying = gpu.create_context_for(SlotKind::Copy, 64).expect("memory");
    assert_eq!(copying.kind(), Some(SlotKind::Copy));
    for slot in [0, 2] {
        let wrong = copying.bind(slot, listener().0);
        assert!(matches!(wrong, Err(GpuError::WrongSlotKind { .. })));
    }
    let _stays = bind(&copying, 1);
    submit(&copying, &[Command::Fence { value: 1 }]);
    reached(&copying, 1);
    let any = gpu.create_context(64).expect("memory");
    for slot in [0, 2] {
        let _stays = bind(&any, slot);
        vacate(&any);
    }
    let all_alike = gpu_kinds(&hosted(2, true));
    assert_eq!(all_alike, [Some(SlotKind::Compute); 2]);
}

fn gpu_kinds(gpu: &Gpu) -> [Option<SlotKind>; 2] {
    [0, 1].map(|slot| gpu.slot_kind(slot))
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
fn a_switch_costs_the_slot_its_time_unless_the_context_was_there_last() {
    let cost = Duration::from_millis(3);
    let gpu = Gpu::start(GpuConfig {
        switch_cost: cost,
        ..hosted_config(2, true)
    });
    let gpu = gpu.expect("the device starts");
    let [context, other] = contexts(&gpu);
    let spent = |slot| gpu.slot_usage(slot).expect("a slot").switching;
    let mut paid = 0;
    let mut come_and_go = |context: &Context, slot, pays: bool| {
        let before = spent(slot);
        submit(context, &[Command::Fence { value: 1 }]);
        let _stays = bind(context, slot);
        paid += u32::from(pays);
        let now = spent(slot);
        assert_eq!(now != before, pays, "{before:?} {now:?}");
        assert!(!pays || now - before >= cost);
        // It is the slot's time and nobody's work.
        let stay = vacate(context);
        assert!(stay.busy < cost, "{stay:?}");
    };
    come_and_go(&context, 0, true);
    come_and_go(&context, 0, false);
    come_and_go(&context, 0, false);
    come_and_go(&other, 0, true);
    come_and_go(&context, 0, true);
    // What it left on the slot is stale when it has been elsewhere, though nobody was there.
    come_and_go(&context, 1, true);
    come_and_go(&context, 0, true);
    // A reset leaves nothing behind.
    context.reset().expect("the firmware answers");
    come_and_go(&context, 0, true);
    gpu.reset().expect("the firmware answers");
    context.reset().expect("the firmware answers");
    come_and_go(&context, 0, true);
    assert!(spent(0) + spent(1) >= cost * paid);
    assert_eq!(gpu.stats().slot_switches, 9);
}

#[test]
fn while_a_slot_switches_the_context_waits_and_the_others_run() {
    let gpu = Gpu::start(GpuConfig {
        switch_cost: told::LONG,
        ..hosted_config(1, true)
    });
    let gpu = gpu.expect("the device starts");
    let [context, other] = contexts(&gpu);
    submit(&context, &[Command::Fence { value: 1 }]);
    let (answer, told) = listener();
    context.bind(0, answer).expect("taken");
    a_round(&gpu);
    assert_eq!(context.state(), ContextState::Waiting);
    assert!(context.waits_for_slot());
    assert!(matches!(
        refused(&other, 0),
        GpuError::SlotTaken { slot: 0 }
    ));
    // A reset ends it, and the slot is free for the next.
    context.reset().expect("the firmware answers");
    let answer = told::next(&told);
    assert!(matches!(answer, told::Told::Bound(Err(GpuError::SlotLost))));
    told::over(&told);
    assert_eq!((context.stays(), gpu.stats().slot_switches), (0, 0));
    assert!(gpu.slot_usage(0).expect("a slot").switching > Duration::ZERO);
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
    submit(&context, &[Command::BeginJob { value: 1 }]);
    submit(&context, &spin(2_000_000, 1));
    submit(&other, &[Command::Fault { address: 0x1000 }]);
    let lost = bind(&other, 1);
    told::lost(&lost);
    let _stays = bind(&context, 0);
    until("the job to begin", || context.busy() > Duration::ZERO);
    vacate(&context);
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
