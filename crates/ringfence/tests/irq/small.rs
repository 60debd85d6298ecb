// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Single rules of interrupt context, one at a time.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Arc;

use ringfence::irq::{self, CountViolations, InterruptLine};
use ringfence::section::CHECKED;
use ringfence::{SleepingMutex, Timeline};

use crate::rig::alone;

#[test]
fn violations_are_seen() {
    let _alone = alone();
    let counting = CountViolations::start();
    let before = irq::violations();
    let mutex = SleepingMutex::new(0);
    let done = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&done);
    let (signaller, fence) = Timeline::new("t").signaller();
    signaller.signal(Ok(()));
    let line = InterruptLine::new(move || {
        drop(Box::new(std::hint::black_box(1_u64)));
        *mutex.lock() += 1;
        assert_eq!(fence.wait(), Ok(()));
        seen.store(true, Ordering::Relaxed);
    })
    .unwrap();
    line.raise();
    assert!(done.load(Ordering::Relaxed));
    let after = irq::violations();
    assert_eq!(after.allocations - before.allocations, 1);
    assert_eq!(after.frees - before.frees, 1);
    // The mutex says that it may sleep, and is one that may; a wait says so.
    assert_eq!(after.sleeps - before.sleeps, 3);
    // The same on a thread is nobody's business.
    let mutex = SleepingMutex::new(Box::new(1));
    **mutex.lock() += 1;
    assert_eq!(irq::violations(), after);
    // A sleeping lock under a spin lock is wrong anywhere.
    let lock = irq::IrqLock::new(());
    let held = lock.lock();
    drop(mutex.lock());
    drop(held);
    assert_eq!(irq::violations().sleeps - after.sleeps, 2);
    drop(counting);
    assert!(CHECKED == cfg!(debug_assertions));
}

/// Runs the test of this name again in a process of its own, to see how that ends.
fn dies(test: &str, message: &str) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env("RINGFENCE_DIE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains(message), "{said}");
}

#[test]
fn without_counting_a_violation_is_fatal() {
    let _alone = alone();
    if !CHECKED {
        return;
    }
    if std::env::var_os("RINGFENCE_DIE").is_none() {
        return dies("small::without_counting_a_violation_is_fatal", "allocation");
    }
    let line = InterruptLine::new(|| drop(Box::new(std::hint::black_box(1)))).unwrap();
    line.raise();
}

#[test]
fn a_handler_that_panics_ends_the_process() {
    let _alone = alone();
    if std::env::var_os("RINGFENCE_DIE").is_none() {
        return dies(
            "small::a_handler_that_panics_ends_the_process",
            "has panicked",
        );
    }
    // Its message takes memory.
    let _counting = CountViolations::start();
    let line = InterruptLine::new(|| panic!("on purpose")).unwrap();
    line.raise();
}

#[test]
fn a_line_is_there_for_as_long_as_it_is_held() {
    let _alone = alone();
    let calls = Arc::new(AtomicU32::new(0));
    let make = || {
        let calls = Arc::clone(&calls);
        InterruptLine::new(move || _ = calls.fetch_add(1, Ordering::Relaxed))
    };
    let mut lines: Vec<_> = std::iter::from_fn(|| make().ok()).collect();
    assert_eq!(lines.len(), 64);
    for line in &lines {
        line.raise();
    }
    assert_eq!(calls.load(Ordering::Relaxed), 64);
    let number = lines.pop().unwrap().number();
    irq::raise(number);
    assert_eq!(calls.load(Ordering::Relaxed), 64, "nobody's any more");
    let again = make().unwrap();
    assert_eq!((again.number(), again.stats().raised), (number, 0));
    irq::raise(irq::LineNumber::new(1000));
}
