// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Interrupt handlers, their removal above all.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{gpu, reached, submit, until, PATIENCE};
use ringfence_softgpu::{Command, GpuError, HandlerGuard, Interrupt};

#[test]
fn no_handler_runs_after_its_removal_returned() {
    let gpu = gpu(1);
    let context = gpu.create_context(1024).expect("a context");
    let mut value = 0;
    for _ in 0..300 {
        let removed = Arc::new(AtomicBool::new(false));
        let late = Arc::new(AtomicBool::new(false));
        let calls = Arc::new(AtomicU64::new(0));
        let handler = {
            let (removed, late, calls) = (removed.clone(), late.clone(), calls.clone());
            context.on_interrupt(move |_| {
                calls.fetch_add(1, Ordering::SeqCst);
                std::thread::yield_now();
                late.fetch_or(removed.load(Ordering::SeqCst), Ordering::SeqCst);
            })
        };
        let handler = handler.expect("the place is free");
        for _ in 0..20 {
            value += 1;
            submit(&context, &[Command::Fence { value }]);
        }
        until("a call", || calls.load(Ordering::SeqCst) > 0);
        handler.remove();
        removed.store(true, Ordering::SeqCst);
        reached(&context, value);
        assert!(!late.load(Ordering::SeqCst));
    }
}

#[test]
fn removal_waits_for_the_call_in_progress() {
    let gpu = gpu(1);
    let context = gpu.create_context(64).expect("a context");
    let (entered, has_entered) = channel();
    let (go, may_go) = channel::<()>();
    let may_go = Mutex::new(may_go);
    let finished = Arc::new(AtomicBool::new(false));
    let mark = Arc::clone(&finished);
    let handler = context
        .on_interrupt(move |_| {
            entered.send(()).expect("the test listens");
            may_go
                .lock()
                .expect("no panic")
                .recv()
                .expect("the test speaks");
            mark.store(true, Ordering::SeqCst);
        })
        .expect("the place is free");
    submit(&context, &[Command::Fence { value: 1 }]);
    has_entered.recv_timeout(PATIENCE).expect("a call");
    let (begun, has_begun) = channel();
    let remover = std::thread::spawn(move || {
        begun.send(()).expect("the test listens");
        drop(handler);
        finished.load(Ordering::SeqCst)
    });
    has_begun.recv_timeout(PATIENCE).expect("the remover runs");
    // A removal that did not wait would be through in no time.
    std::thread::sleep(Duration::from_millis(50));
    assert!(!remover.is_finished(), "removed while it ran");
    go.send(()).expect("the handler waits");
    assert!(remover.join().expect("no panic"), "removed while it ran");
}

#[test]
fn a_handler_may_remove_itself() {
    let gpu = gpu(1);
    let context = gpu.create_context(64).expect("a context");
    let own: Arc<Mutex<Option<HandlerGuard>>> = Arc::default();
    let calls = Arc::new(AtomicU64::new(0));
    let (place, count) = (Arc::clone(&own), Arc::clone(&calls));
    let mut locked = own.lock().expect("no panic");
    let handler = context.on_interrupt(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        drop(place.lock().expect("no panic").take());
    });
    *locked = Some(handler.expect("the place is free"));
    drop(locked);
    submit(&context, &[Command::Fence { value: 1 }]);
    until("the removal", || own.lock().expect("no panic").is_none());
    submit(&context, &[Command::Fence { value: 2 }]);
    reached(&context, 2);
    until("two interrupts", || gpu.stats().interrupts >= 2);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    // The place is free again.
    let _again = context.on_interrupt(|_| {}).expect("the place is free");
}

#[test]
fn a_context_has_one_handler_at_most() {
    let gpu = gpu(1);
    let context = gpu.create_context(64).expect("a context");
    let first = context.on_interrupt(|_| {}).expect("the place is free");
    assert!(matches!(
        context.on_interrupt(|_| {}),
        Err(GpuError::HandlerInstalled)
    ));
    drop(first);
    let _second = context
        .on_interrupt(|_| {})
        .expect("the place is free again");
}

#[test]
fn fences_are_told_in_order_and_the_last_is_always_told() {
    let gpu = gpu(2);
    let context = gpu.create_context(4096).expect("a context");
    let (sender, told) = channel();
    let _handler = context
        .on_interrupt(move |interrupt| {
            if let Interrupt::FenceReached { value, .. } = interrupt {
                sender.send(*value).expect("the test listens");
            }
        })
        .expect("the place is free");
    for burst in 1..200_u64 {
        let fences: Vec<_> = (0..50)
            .map(|i| Command::Fence {
                value: burst * 50 + i,
            })
            .collect();
        submit(&context, &fences);
        let mut last = 0;
        while last < burst * 50 + 49 {
            let value = told.recv_timeout(PATIENCE).expect("an interrupt");
            assert!(value >= last && value <= context.fence_value());
            last = value;
        }
    }
}

#[test]
fn a_panicking_handler_is_counted_and_others_go_on() {
    let gpu = gpu(1);
    let (context, other) = (
        gpu.create_context(64).expect("a context"),
        gpu.create_context(64).expect("a context"),
    );
    let handler = context
        .on_interrupt(|_| panic!("on purpose"))
        .expect("the place is free");
    submit(&context, &[Command::Fence { value: 1 }]);
    until("the panic", || gpu.stats().handler_panics == 1);
    handler.remove();
    let (sender, told) = channel();
    let _handler = other.on_interrupt(move |_| sender.send(()).unwrap_or(()));
    submit(&other, &[Command::Fence { value: 1 }]);
    told.recv_timeout(PATIENCE).expect("an interrupt");
}

#[test]
fn a_handler_may_reset_submit_and_stop() {
    let gpu = Arc::new(gpu(1));
    let context = Arc::new(gpu.create_context(64).expect("a context"));
    let (sender, told) = channel();
    let (own, device) = (Arc::clone(&context), Arc::downgrade(&gpu));
    let handler = context
        .on_interrupt(move |interrupt| match interrupt {
            Interrupt::Fault { .. } => {
                own.reset().expect("the firmware answers");
                submit(&own, &[Command::Fence { value: 2 }]);
            }
            _ => {
                device.upgrade().expect("the test holds it").stop();
                sender.send(own.fence_value()).expect("the test listens");
            }
        })
        .expect("the place is free");
    submit(
        &context,
        &[Command::Fault { address: 4 }, Command::Fence { value: 1 }],
    );
    assert_eq!(told.recv_timeout(PATIENCE), Ok(2));
    handler.remove();
}
