// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Each injected fault happens, once, where it was asked for, and is counted.

mod common;

use std::fmt::Debug;
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use common::{gpu, reached, settled, submit, until, PATIENCE};
use ringfence_softgpu::{
    Command, Context, ContextState, FaultKind, Gpu, GpuError, HandlerGuard, Injection,
    InjectionKind, Interrupt, When,
};

/// A context whose interrupts come out of a channel.
fn heard(gpu: &Gpu) -> (Context, HandlerGuard, Receiver<Interrupt>) {
    let context = gpu.create_context(256).expect("a context");
    let (sender, interrupts) = channel();
    let handler = context
        .on_interrupt(move |interrupt| sender.send(*interrupt).unwrap_or(()))
        .expect("the first handler");
    (context, handler, interrupts)
}

fn job(context: &Context, value: u64) {
    let commands = [
        Command::BeginJob { value },
        Command::Nop { padding: 1 },
        Command::Fence { value },
    ];
    submit(context, &commands);
}

fn next(interrupts: &Receiver<Interrupt>) -> Interrupt {
    interrupts.recv_timeout(PATIENCE).expect("an interrupt")
}

fn fence(context: &Context, value: u64) -> Interrupt {
    Interrupt::FenceReached {
        context: context.id(),
        value,
    }
}

#[test]
fn hang_at_a_fence_value() {
    for begin in [true, false] {
        let gpu = gpu(1);
        let (context, _handler, interrupts) = heard(&gpu);
        let armed = context
            .inject(Injection::Hang, When::Fence(2))
            .expect("possible");
        for value in 1..=3 {
            if begin {
                job(&context, value);
            } else {
                submit(&context, &[Command::Fence { value }]);
            }
        }
        until("the hang", || armed.fired());
        assert_eq!(next(&interrupts), fence(&context, 1));
        gpu.ping().expect("the firmware lives");
        assert_eq!(context.fence_value(), 1);
        assert_eq!(context.injected(InjectionKind::Hang), 1);
        let report = context.reset().expect("the firmware answers");
        assert_eq!((report.fence_value, report.fault), (1, None));
        job(&context, 2);
        assert_eq!(next(&interrupts), fence(&context, 2));
    }
}

#[test]
fn fault_at_the_nth_job_of_the_context_and_of_the_device() {
    let gpu = gpu(2);
    let (first, _one, of_first) = heard(&gpu);
    let (second, _two, of_second) = heard(&gpu);
    let armed = first
        .inject(Injection::FaultAddress(0x1230), When::Nth(3))
        .expect("possible");
    for value in 1..=3 {
        job(&first, value);
    }
    assert_eq!(settled(&first), ContextState::Faulted);
    assert!(armed.fired() && !armed.disarm());
    assert_eq!(first.fence_value(), 2);
    let fault = first.fault().expect("a fault");
    assert_eq!((fault.kind, fault.address), (FaultKind::Unmapped, 0x1230));
    let told = std::iter::repeat_with(|| next(&of_first))
        .find(|interrupt| matches!(interrupt, Interrupt::Fault { .. }));
    assert_eq!(
        told,
        Some(Interrupt::Fault {
            context: first.id(),
            fault
        })
    );

    let armed = gpu
        .inject(Injection::FaultAddress(0x40), When::Nth(2))
        .expect("possible");
    job(&second, 1);
    assert_eq!(next(&of_second), fence(&second, 1));
    job(&second, 2);
    assert!(matches!(next(&of_second), Interrupt::Fault { .. }));
    assert!(armed.fired());
    assert_eq!(gpu.injected(InjectionKind::FaultAddress), 1);
}

#[test]
fn lost_interrupt() {
    let gpu = gpu(1);
    let (context, _handler, interrupts) = heard(&gpu);
    context
        .inject(Injection::LostInterrupt, When::Fence(1))
        .expect("possible");
    job(&context, 1);
    reached(&context, 1);
    assert_eq!(context.injected(InjectionKind::LostInterrupt), 1);
    job(&context, 2);
    // The interrupt of the second is the first that comes.
    assert_eq!(next(&interrupts), fence(&context, 2));
}

#[test]
fn late_interrupt() {
    let gpu = gpu(1);
    let (context, _handler, interrupts) = heard(&gpu);
    let mut value = 1;
    // The next interrupt is in time only if the machine is not away for the whole delay.
    for delay in (4..).map(|doublings| Duration::from_millis(1 << doublings)) {
        context
            .inject(Injection::LateInterrupt(delay), When::Now)
            .expect("possible");
        let start = Instant::now();
        job(&context, value);
        reached(&context, value);
        job(&context, value + 1);
        let told = [next(&interrupts), next(&interrupts)];
        assert!(start.elapsed() >= delay);
        let (late, in_time) = (fence(&context, value), fence(&context, value + 1));
        value += 2;
        if told == [in_time, late] {
            break;
        }
        assert_eq!(told, [late, in_time]);
        assert!(delay < PATIENCE, "never late");
    }
    assert_eq!(context.injected(InjectionKind::LateInterrupt), value / 2);
}

#[test]
fn double_and_spurious_interrupts() {
    let gpu = gpu(1);
    let (context, _handler, interrupts) = heard(&gpu);
    context
        .inject(Injection::DoubleInterrupt, When::Fence(1))
        .expect("possible");
    job(&context, 1);
    assert_eq!(next(&interrupts), fence(&context, 1));
    assert_eq!(next(&interrupts), fence(&context, 1));

    context
        .inject(Injection::SpuriousInterrupt(99), When::Now)
        .expect("possible");
    assert_eq!(next(&interrupts), fence(&context, 99));
    assert_eq!(context.fence_value(), 1, "it was a lie");

    context
        .inject(Injection::SpuriousInterrupt(3), When::Fence(3))
        .expect("possible");
    context
        .inject(Injection::Hang, When::Fence(3))
        .expect("possible");
    job(&context, 3);
    assert_eq!(next(&interrupts), fence(&context, 3));
    assert_eq!(context.injected(InjectionKind::SpuriousInterrupt), 2);
    assert_eq!(context.injected(InjectionKind::DoubleInterrupt), 1);
}

#[test]
fn firmware_death_stops_everything_until_the_device_is_reset() {
    for silent in [false, true] {
        let gpu = gpu(2);
        let (context, _one, interrupts) = heard(&gpu);
        let (other, _two, of_other) = heard(&gpu);
        let (sender, of_device) = channel();
        let _device = gpu.on_interrupt(move |interrupt| sender.send(*interrupt).unwrap_or(()));
        let death = Injection::FirmwareDeath { silent };
        let armed = context.inject(death, When::Fence(2)).expect("possible");
        job(&context, 1);
        assert_eq!(next(&interrupts), fence(&context, 1));
        job(&context, 2);
        until("the death", || armed.fired());
        job(&other, 1);
        gpu.set_answer_timeout(Duration::from_millis(50));
        assert!(matches!(gpu.ping(), Err(GpuError::NotResponding)));
        assert!(matches!(context.reset(), Err(GpuError::NotResponding)));
        gpu.set_answer_timeout(PATIENCE);
        assert_eq!((context.fence_value(), other.fence_value()), (1, 0));
        if !silent {
            for told in [&interrupts, &of_other, &of_device] {
                assert_eq!(next(told), Interrupt::FirmwareDied);
            }
        }

        let report = gpu.reset().expect("the reset line works");
        assert_eq!(report.contexts_lost, 2);
        // Nothing was said before, if it was silent.
        assert_eq!(
            next(&interrupts),
            Interrupt::ContextLost {
                context: context.id()
            }
        );
        assert_eq!(
            next(&of_other),
            Interrupt::ContextLost {
                context: other.id()
            }
        );
        gpu.ping().expect("the firmware lives");
        for (context, interrupts) in [(&context, &interrupts), (&other, &of_other)] {
            // What is pushed now must not overtake what was lost.
            assert_eq!(context.state(), ContextState::Faulted);
            job(context, 4);
            gpu.ping().expect("the firmware has seen the doorbell");
            assert!(context.fence_value() < 4);
            context.reset().expect("the firmware answers");
            assert_eq!(context.state(), ContextState::Idle);
            job(context, 5);
            assert_eq!(next(interrupts), fence(context, 5));
        }
        assert!(of_device.try_recv().is_err());
    }
}

#[test]
fn death_now_and_death_while_contexts_are_dropped() {
    let gpu = gpu(1);
    let (context, _handler, _interrupts) = heard(&gpu);
    submit(&context, &[Command::Hang]);
    gpu.inject(Injection::FirmwareDeath { silent: true }, When::Now)
        .expect("possible");
    assert_eq!(gpu.injected(InjectionKind::FirmwareDeath), 1);
    drop(context);
    assert_eq!(
        gpu.memory_in_use(),
        0,
        "the host gets its memory back from the dead"
    );
    let fresh = gpu.create_context(64).expect("a context");
    submit(&fresh, &[Command::Fence { value: 1 }]);
    gpu.reset().expect("the reset line works");
    fresh.reset().expect("the firmware lives");
    submit(&fresh, &[Command::Fence { value: 1 }]);
    reached(&fresh, 1);
}

/// That nobody answered, or that a loaded machine did not look for so long that it took `delay`.
#[track_caller]
fn assert_slow<R: Debug>(delay: Duration, ask: impl FnOnce() -> Result<R, GpuError>) {
    let start = Instant::now();
    let answer = ask();
    let slow = matches!(answer, Err(GpuError::NotResponding));
    assert!(slow || start.elapsed() >= delay, "{answer:?}");
}

#[test]
fn slow_resets() {
    let (short, delay) = (Duration::from_millis(20), Duration::from_millis(300));
    let gpu = gpu(1);
    let (context, _one, _) = heard(&gpu);
    let (other, _two, of_other) = heard(&gpu);
    submit(&context, &[Command::Hang]);
    let slow = Injection::SlowReset(delay);
    let armed = context.inject(slow, When::Now).expect("possible");
    gpu.set_answer_timeout(short);
    assert_slow(delay, || context.reset());
    until("the reset", || armed.fired());
    // The others go on in the meantime.
    job(&other, 1);
    assert_eq!(next(&of_other), fence(&other, 1));
    assert_eq!(settled(&context), ContextState::Idle);
    assert_eq!(gpu.stats().context_resets, 1);

    gpu.inject(slow, When::Now).expect("possible");
    job(&other, 2);
    assert_eq!(next(&of_other), fence(&other, 2));
    assert_slow(delay, || gpu.reset());
    // The counter is ahead of the reset's end; an answer is not. Asking again joins the reset.
    gpu.set_answer_timeout(PATIENCE);
    gpu.reset().expect("it ends");
    assert!(gpu.stats().device_resets >= 1);
    job(&other, 3);
    assert_eq!(next(&of_other), fence(&other, 3));
    assert_eq!(gpu.injected(InjectionKind::SlowReset), 1);
}

#[test]
fn what_cannot_happen_cannot_be_armed_and_what_was_disarmed_does_not_happen() {
    let gpu = gpu(1);
    let (context, _handler, interrupts) = heard(&gpu);
    let slow = Injection::SlowReset(Duration::ZERO);
    assert!(matches!(
        context.inject(slow, When::Fence(1)),
        Err(GpuError::Invalid(_))
    ));
    assert!(matches!(
        gpu.inject(Injection::Hang, When::Nth(0)),
        Err(GpuError::Invalid(_))
    ));
    let armed = context
        .inject(Injection::Hang, When::Nth(1))
        .expect("possible");
    assert!(armed.disarm() && !armed.disarm());
    job(&context, 1);
    assert_eq!(next(&interrupts), fence(&context, 1));
    assert!(!armed.fired());
    assert_eq!(context.injected(InjectionKind::Hang), 0);
    assert!(matches!(
        interrupts.recv_timeout(Duration::ZERO),
        Err(RecvTimeoutError::Timeout)
    ));
}
