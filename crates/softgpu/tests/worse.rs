// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The worst days: resets that fail, a device that is pulled out, an end before the beginning has
//! returned.

mod common;

use std::sync::mpsc::{channel, Receiver};
use std::sync::Arc;
use std::time::Duration;

use common::{gpu, mapped, reached, submit, until, PATIENCE};
use ringfence_softgpu::{
    Command, Context, ContextState, Gpu, GpuError, HandlerGuard, Injection, InjectionKind,
    Interrupt, When,
};

fn job(value: u64) -> [Command; 2] {
    [Command::BeginJob { value }, Command::Fence { value }]
}

fn of_device(gpu: &Gpu) -> (HandlerGuard, Receiver<Interrupt>) {
    let (sender, interrupts) = channel();
    let handler = gpu
        .on_interrupt(move |interrupt| sender.send(*interrupt).unwrap_or(()))
        .expect("the first handler");
    (handler, interrupts)
}

#[test]
fn a_failed_reset_of_a_context_loses_nothing_and_helps_nothing() {
    let gpu = gpu(1);
    let context = gpu.create_context(256).expect("a context");
    for _ in 0..2 {
        context
            .inject(Injection::FailedReset, When::Now)
            .expect("possible");
    }
    submit(&context, &[Command::Fault { address: 0x1000 }]);
    until("the fault", || context.fault().is_some());
    submit(&context, &job(1));
    let put = context.ring().put();
    for round in 1..=2 {
        assert!(matches!(context.reset(), Err(GpuError::ResetFailed)));
        assert_eq!(context.state(), ContextState::Faulted);
        assert_eq!(context.injected(InjectionKind::FailedReset), round);
        assert_eq!(gpu.stats().failed_resets, round);
    }
    assert!(context.fault().is_some() && context.ring().put() == put);
    assert_eq!(context.fence_value(), 0, "it stands still");
    let report = context.reset().expect("the third succeeds");
    assert!(report.fault.is_some() && report.discarded_words > 0);
    submit(&context, &job(1));
    reached(&context, 1);
    assert_eq!(gpu.stats().context_resets, 1);
}

#[test]
fn a_failed_reset_of_the_device_leaves_it_dead() {
    let gpu = gpu(1);
    let context = gpu.create_context(256).expect("a context");
    gpu.inject(Injection::FailedReset, When::Now)
        .expect("possible");
    assert!(matches!(gpu.reset(), Err(GpuError::ResetFailed)));
    submit(&context, &job(1));
    gpu.set_answer_timeout(Duration::from_millis(50));
    assert!(matches!(gpu.ping(), Err(GpuError::NotResponding)));
    gpu.set_answer_timeout(PATIENCE);
    assert_eq!(context.fence_value(), 0);
    let report = gpu.reset().expect("the second succeeds");
    assert_eq!((report.contexts_lost, report.culprit), (1, None));
    gpu.ping().expect("it lives");
    assert_eq!(gpu.injected(InjectionKind::FailedReset), 1);
}

#[test]
fn a_reset_says_whose_job_killed_the_firmware() {
    let gpu = gpu(2);
    let innocent = gpu.create_context(256).expect("a context");
    let guilty = gpu.create_context(256).expect("a context");
    submit(&innocent, &[Command::Hang]);
    guilty
        .inject(Injection::FirmwareDeath { silent: true }, When::Fence(3))
        .expect("possible");
    for value in 1..=4 {
        submit(&guilty, &job(value));
    }
    reached(&guilty, 2);
    until("the death", || {
        guilty.injected(InjectionKind::FirmwareDeath) == 1
    });
    let report = gpu.reset().expect("it comes back");
    let culprit = report.culprit.expect("somebody");
    assert_eq!((culprit.context, culprit.job), (guilty.id(), Some(3)));
    assert_eq!(report.contexts_lost, 2);
    assert_eq!(gpu.reset().expect("alive").culprit, None, "said once");
}

#[test]
fn a_job_ends_before_its_doorbell_has_returned() {
    let gpu = gpu(1);
    let context: Arc<Context> = Arc::new(gpu.create_context(256).expect("a context"));
    let (sender, told) = channel();
    let _handler = context
        .on_interrupt(move |_| sender.send(()).unwrap_or(()))
        .expect("the first handler");
    let (mut value, mut early) = (0, 0);
    // The machine may be too loaded to keep a doorbell waiting for long enough.
    until("five early ends", || {
        value += 1;
        let armed = context
            .inject(Injection::EarlyCompletion, When::Fence(value))
            .expect("possible");
        submit(&context, &job(value));
        if armed.fired() {
            early += 1;
            assert_eq!(context.fence_value(), value);
            assert!(told.try_iter().count() > 0, "handled before it returned");
        } else {
            armed.disarm();
            reached(&context, value);
        }
        early == 5
    });
    assert_eq!(context.injected(InjectionKind::EarlyCompletion), 5);
    let refused = context.inject(Injection::EarlyCompletion, When::Nth(2));
    assert!(matches!(refused, Err(GpuError::Invalid(_))));
}

#[test]
fn an_early_completion_behind_a_hang_does_not_stall() {
    let gpu = gpu(1);
    let context = gpu.create_context(256).expect("a context");
    submit(&context, &[Command::Hang]);
    let armed = context
        .inject(Injection::EarlyCompletion, When::Fence(1))
        .expect("possible");
    submit(&context, &job(1));
    assert!(!armed.fired() && armed.disarm());
}

#[test]
fn what_is_pulled_out_answers_nothing_and_gives_its_memory_back() {
    for announced in [false, true] {
        let gpu = gpu(2);
        let (_device, of_device) = of_device(&gpu);
        let context = gpu.create_context(256).expect("a context");
        let (sender, of_context) = channel();
        let handler = context
            .on_interrupt(move |interrupt| sender.send(*interrupt).unwrap_or(()))
            .expect("the first handler");
        let (buffer, address) = mapped(&gpu, &context, 64);
        let fill = Command::Fill {
            dst: address,
            words: 64,
            value: 9,
        };
        submit(&context, &[fill, Command::Fence { value: 1 }]);
        reached(&context, 1);
        of_context.recv_timeout(PATIENCE).expect("its interrupt");
        submit(&context, &[Command::Hang]);
        gpu.unplug(announced);
        assert!(gpu.is_gone() && context.state() == ContextState::Gone);
        context.doorbell();
        for refused in [
            gpu.ping(),
            gpu.reset().map(|_| ()),
            context.reset().map(|_| ()),
            gpu.alloc(64).map(|_| ()),
            gpu.create_context(256).map(|_| ()),
            buffer.read_word(0).map(|_| ()),
            buffer.write(0, &[1]),
            gpu.inject(Injection::FirmwareDeath { silent: false }, When::Now)
                .map(|_| ()),
        ] {
            assert!(matches!(refused, Err(GpuError::Gone)), "{refused:?}");
        }
        if announced {
            assert_eq!(of_device.recv_timeout(PATIENCE), Ok(Interrupt::Removed));
        }
        let mut words = [0; 64];
        buffer.post_mortem(0, &mut words).expect("in range");
        assert_eq!(words, [9; 64]);
        drop((handler, context, buffer));
        until("memory to be free", || gpu.memory_in_use() == 0);
        gpu.stop();
        assert_eq!(of_device.try_recv().ok(), None);
        assert_eq!(of_context.try_iter().count(), 0);
    }
}

#[test]
fn a_job_at_which_the_device_goes_does_not_end() {
    let gpu = gpu(2);
    let contexts = [(); 2].map(|()| gpu.create_context(256).expect("a context"));
    let armed = contexts[0]
        .inject(Injection::Unplug { announced: false }, When::Fence(5))
        .expect("possible");
    for value in 1..=8 {
        submit(&contexts[0], &job(value));
    }
    until("the end", || gpu.is_gone());
    until("the note of it", || armed.fired());
    assert_eq!(contexts[0].fence_value(), 4);
    assert_eq!(contexts[0].injected(InjectionKind::Unplug), 1);
    assert_eq!(contexts[1].state(), ContextState::Gone);
}
