// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Signalling sections under a checking allocator: what may be done in them, and what is caught.
#![cfg(not(any(feature = "loom", feature = "shuttle")))]

use ringfence::fence::{Callback, Registration, Status};
use ringfence::section::{
    AllocationCount, CheckedAllocator, SignallingSection, ViolationCount, CHECKED,
};
use ringfence::{Errno, Fence, SleepingMutex, Timeline};
use std::future::{Future, IntoFuture};
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

#[global_allocator]
static ALLOCATOR: CheckedAllocator = CheckedAllocator::system();

const IN_CHILD: &str = "RINGFENCE_TEST_CHILD";

/// Runs `body` in a process of its own, which is this test again; `None` inside that.
fn in_child(test: &str, body: impl FnOnce()) -> Option<Output> {
    if std::env::var_os(IN_CHILD).is_some() {
        body();
        return None;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(IN_CHILD, "1")
        .output()
        .unwrap();
    Some(output)
}

/// Checks that the child was stopped with a message, in builds that check.
fn assert_stopped(output: Option<Output>, line: u32) {
    let Some(output) = output else { return };
    let stderr = String::from_utf8_lossy(&output.stderr);
    if CHECKED {
        // SIGABRT.
        assert_eq!(output.status.signal(), Some(6), "{stderr}");
        let expected = format!(
            "ringfence: allocation in the signalling section that began at {}:{line}\n",
            file!()
        );
        assert!(stderr.contains(&expected), "{stderr}");
    } else {
        assert!(output.status.success(), "{stderr}");
    }
}

#[test]
fn allocating_in_a_section_aborts() {
    let output = in_child("allocating_in_a_section_aborts", || {
        let _section = SignallingSection::enter();
        black_box(Box::new(1));
    });
    assert_stopped(output, line!() - 3);
}

#[test]
fn growing_in_a_section_aborts() {
    let output = in_child("growing_in_a_section_aborts", || {
        let mut numbers = black_box(vec![1u64]);
        let _section = SignallingSection::enter();
        numbers.reserve_exact(1000);
        black_box(numbers);
    });
    assert_stopped(output, line!() - 4);
}

#[test]
fn allocating_in_a_callback_aborts() {
    let output = in_child("allocating_in_a_callback_aborts", || {
        let (signaller, fence) = Timeline::new("t").signaller();
        let callback = Callback::new(|_| drop(black_box(Box::new(1))));
        let _registration = fence.add_callback(callback).unwrap();
        signaller.signal(Ok(()));
    });
    let Some(output) = output else { return };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), CHECKED.then_some(6), "{stderr}");
    assert_eq!(
        stderr.contains("allocation in the signalling section"),
        CHECKED,
        "{stderr}"
    );
}

#[test]
fn freeing_in_a_section_is_allowed() {
    let numbers = black_box(vec![1u64; 100]);
    let _section = SignallingSection::enter();
    drop(numbers);
}

#[test]
fn counting_mode_counts_and_goes_on() {
    let outer = ViolationCount::start();
    let outside = black_box(Box::new(1));
    {
        let _section = SignallingSection::enter();
        black_box(Box::new(2));
        let inner = ViolationCount::start();
        black_box(Box::new(3));
        assert_eq!(inner.get(), u64::from(CHECKED));
    }
    drop(outside);
    assert_eq!(outer.get(), if CHECKED { 2 } else { 0 });
}

#[test]
fn allocations_are_counted_in_every_build_and_per_thread() {
    let count = AllocationCount::start();
    assert_eq!(count.get(), 0);
    let mut numbers = black_box(Vec::<u64>::with_capacity(1));
    assert_eq!(count.get(), 1);
    numbers.reserve_exact(100);
    drop(black_box(numbers));
    assert_eq!(count.get(), 2);
    let zeroed = black_box(vec![0u8; 64]);
    assert_eq!(count.get(), 3);
    drop(zeroed);
    let theirs = std::thread::spawn(|| {
        let count = AllocationCount::start();
        black_box(Box::new(1));
        count.get()
    });
    assert_eq!(theirs.join().unwrap(), 1);
}

#[test]
fn a_panic_gets_its_message_out_of_a_section() {
    let output = in_child("a_panic_gets_its_message_out_of_a_section", || {
        let mutex = SleepingMutex::new(1);
        let _section = SignallingSection::enter();
        drop(mutex.lock());
        if !CHECKED {
            panic!("SleepingMutex::lock may sleep, in the signalling section that began at");
        }
    });
    let Some(output) = output else { return };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(101), "{stderr}");
    let expected = "SleepingMutex::lock may sleep, in the signalling section that began at";
    assert!(stderr.contains(expected), "{stderr}");
    assert!(!stderr.contains("allocation in"), "{stderr}");
}

#[test]
fn a_dropped_signaller_says_so_without_allocating() {
    let output = in_child("a_dropped_signaller_says_so_without_allocating", || {
        let timeline = Timeline::new("forgetful");
        let (outer, fence) = timeline.signaller();
        let (inner, cancelled) = timeline.signaller();
        let mut inner = Some(inner);
        let callback = Callback::new(move |_| drop(inner.take()));
        let _registration = fence.add_callback(callback).unwrap();
        outer.signal(Ok(()));
        assert_eq!(cancelled.error(), Some(Errno::ECANCELED));
    });
    let Some(output) = output else { return };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(
        stderr.contains("signaller of fence 2 on timeline forgetful"),
        "{stderr}"
    );
    assert!(
        stderr.contains("dropped unsignalled, signalling ECANCELED"),
        "{stderr}"
    );
}

/// Counts wake-ups.
struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

#[test]
fn nothing_allocates_once_it_is_prepared() {
    let timeline = Timeline::new("t");
    let calls = Arc::new(AtomicU32::new(0));
    let mut callbacks: Vec<_> = (0..10)
        .map(|_| {
            let calls = calls.clone();
            Callback::new(move |_: Status| {
                calls.fetch_add(1, Ordering::AcqRel);
            })
        })
        .collect();
    let mut registrations: Vec<Registration<_>> = Vec::with_capacity(10);
    let prepared = timeline.prepare().observe_deadline(|_| {});
    let (first, second) = (timeline.prepare(), timeline.prepare());
    let wakes = Arc::new(Wakes(AtomicU32::new(0)));
    let waker = Waker::from(wakes.clone());

    // Everything from publishing on happens as if inside a section.
    let count = AllocationCount::start();
    let section = SignallingSection::enter();
    let (signaller, fence) = prepared.publish();
    let ((a, input_a), (b, input_b)) = (first.publish(), second.publish());
    drop(section);
    assert_eq!(count.get(), 0, "publishing");

    let (all, any) = (
        Fence::all(&[input_a.clone(), input_b]),
        Fence::any(&[input_a]),
    );
    let (chained, event) = (Fence::all(&[all.clone(), any]), all.eventfd().unwrap());
    let mut future = (&chained).into_future();

    let count = AllocationCount::start();
    let section = SignallingSection::enter();
    assert!(Pin::new(&mut future)
        .poll(&mut Context::from_waker(&waker))
        .is_pending());
    while let Some(callback) = callbacks.pop() {
        registrations.push(fence.add_callback(callback).unwrap());
    }
    assert!(registrations.pop().unwrap().into_callback().is_some());
    fence.set_deadline(1);
    chained.set_deadline(1);
    signaller.signal(Err(Errno::EIO));
    a.signal(Ok(()));
    b.signal(Ok(()));
    drop((registrations, future, event, section));
    assert_eq!(count.get(), 0, "registering and signalling");
    assert_eq!(calls.load(Ordering::Acquire), 9);
    assert_eq!(wakes.0.load(Ordering::Acquire), 1);
    assert_eq!(chained.status(), Some(Ok(())));
}
