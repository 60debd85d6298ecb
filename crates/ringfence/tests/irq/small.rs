// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Single rules of interrupt context, one at a time.

use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use ringfence::fence::Callback;
use ringfence::irq::{self, CountViolations, InterruptLine, IrqLock};
use ringfence::section::{in_section, CHECKED};
use ringfence::{Device, Errno, Pool, Queue, Signaller, SleepingMutex, Timeline};

use crate::rig::{alone, Drops, Mock, Payload, Ring};

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

/// A line whose handler signals what it is given, once.
fn signals(signaller: Signaller) -> InterruptLine {
    let signaller = IrqLock::new(Some(signaller));
    InterruptLine::new(move || {
        assert!(!in_section(), "whatever was interrupted");
        let signaller = signaller.lock().take();
        if let Some(signaller) = signaller {
            signaller.signal(Ok(()));
        }
    })
    .unwrap()
}

#[test]
fn interrupts_wait_for_masks_and_for_handlers() {
    let _alone = alone();
    let calls = Arc::new(AtomicU32::new(0));
    let inner = {
        let calls = Arc::clone(&calls);
        InterruptLine::new(move || {
            assert!(irq::in_handler());
            calls.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap()
    };
    let number = inner.number();
    let seen = Arc::clone(&calls);
    let outer = InterruptLine::new(move || {
        let before = seen.load(Ordering::Relaxed);
        irq::raise(number);
        irq::raise(number);
        assert_eq!(seen.load(Ordering::Relaxed), before, "handlers do not nest");
    })
    .unwrap();
    outer.raise();
    assert_eq!(calls.load(Ordering::Relaxed), 1, "once for both");
    let (first, second) = (irq::mask(), irq::mask());
    outer.raise();
    drop(first);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    // SAFETY: The location is this thread's.
    unsafe { *libc::__errno_location() = libc::EXDEV };
    drop(second);
    assert_eq!(
        std::io::Error::last_os_error().raw_os_error(),
        Some(libc::EXDEV)
    );
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    let stats = inner.stats();
    assert_eq!((stats.raised, stats.put_off, stats.handled), (4, 4, 2));
    assert!(!irq::in_handler());
}

#[test]
fn a_handler_signals_at_once_in_the_middle_of_a_callback() {
    let _alone = alone();
    let log = Arc::new(IrqLock::new(Vec::with_capacity(8)));
    let say = |what: &'static str| {
        let log = Arc::clone(&log);
        Callback::new(move |_| log.lock().push(what))
    };
    let timeline = Timeline::new("t");
    let (first, outer) = timeline.signaller();
    let (second, inner) = timeline.signaller();
    let _in_handler = inner.add_callback(say("the handler's")).unwrap();
    let line = signals(second);
    let (log2, watched) = (Arc::clone(&log), inner.clone());
    let _interrupted = outer.add_callback(Callback::new(move |_| {
        log2.lock().push("before");
        line.raise();
        assert_eq!(watched.status(), Some(Ok(())), "not put off");
        assert_eq!(in_section(), CHECKED, "as before");
        log2.lock().push("after");
    }));
    let _last = outer.add_callback(say("the next"));
    first.signal(Ok(()));
    assert_eq!(
        *log.lock(),
        ["before", "the handler's", "after", "the next"]
    );
}

/// Remembers which thread it was woken on.
struct WokenOn(Mutex<Option<std::thread::ThreadId>>, std::thread::Thread);

impl Wake for WokenOn {
    fn wake(self: Arc<Self>) {
        assert!(!irq::in_handler());
        *self.0.lock().unwrap() = Some(std::thread::current().id());
        self.1.unpark();
    }
}

#[test]
fn a_waker_is_called_by_the_bottom_half() {
    let _alone = alone();
    let (signaller, fence) = Timeline::new("t").signaller();
    let line = signals(signaller);
    let here = std::thread::current();
    let woken = Arc::new(WokenOn(Mutex::new(None), here.clone()));
    let waker = Waker::from(Arc::clone(&woken));
    let mut future = pin!(fence.into_future());
    let mut context = Context::from_waker(&waker);
    assert!(future.as_mut().poll(&mut context).is_pending());
    line.raise();
    assert_eq!(future.as_mut().poll(&mut context), Poll::Ready(Ok(())));
    while woken.0.lock().unwrap().is_none() {
        std::thread::park();
    }
    assert_ne!(*woken.0.lock().unwrap(), Some(here.id()));
}

/// Says so when it is dropped, which must not be in a handler.
struct Canary(Arc<AtomicBool>);

impl Drop for Canary {
    fn drop(&mut self) {
        assert!(!irq::in_handler());
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn last_references_are_dropped_by_the_bottom_half() {
    let _alone = alone();
    let before = irq::violations();
    let gone = Arc::new(AtomicBool::new(false));
    let timeline = Timeline::new("t");
    let canary = Canary(Arc::clone(&gone));
    let prepared = timeline.prepare().observe_deadline(move |_| _ = &canary);
    let (signaller, fence) = prepared.publish();
    // A combination holds its input, and is held by its node alone from here on.
    drop(ringfence::Fence::all(std::slice::from_ref(&fence)));
    drop(fence);
    let line = signals(signaller);
    line.raise();
    assert_eq!(irq::violations(), before);
    irq::flush();
    assert!(gone.load(Ordering::Acquire));
}

/// A queue's last count goes in a handler, and then two of another: there is one list for both, with
/// one place for each.
#[test]
fn late_completions_of_two_queues_are_left_to_a_thread() {
    static DROPS: Drops = Drops::new();
    let _alone = alone();
    let before = irq::violations();
    let device = Device::new("d");
    let pool = Pool::new(1).unwrap();
    // The bottom half may come in between.
    for _ in 0..100 {
        let ring = Ring::<false>::new(3, 1);
        let make = |jobs| {
            let builder = Queue::<Mock<false>>::builder("q").bypass(true);
            let queue = builder
                .build(&device, &pool, Mock(Arc::clone(&ring)))
                .unwrap();
            for _ in 0..jobs {
                drop(queue.prepare(Payload(&DROPS), 1).unwrap().submit());
            }
            queue.kill(Errno::EIO);
            queue.closed().wait().unwrap();
            queue
        };
        drop(make(1));
        let two = make(2);
        let hardware = Arc::clone(&ring);
        let line = InterruptLine::new(move || (0..3).for_each(|_| hardware.interrupt())).unwrap();
        line.raise();
        drop(line);
        assert_eq!((ring.len(), two.stats().late_completions), (0, 2));
        drop(two);
        irq::flush();
    }
    assert_eq!(irq::violations(), before);
}
