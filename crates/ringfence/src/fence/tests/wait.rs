// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Waiting: threads, tasks, descriptors.

use super::*;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use std::future::{Future, IntoFuture};
use std::os::fd::AsFd;
use std::pin::{pin, Pin};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

#[test]
fn waiting_ends_with_the_signal() {
    let (signaller, fence) = Timeline::new("t").signaller();
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| fence.wait())).collect();
        let patient = scope.spawn(|| fence.wait_timeout(Duration::MAX));
        signaller.signal(Err(Errno::EIO));
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Err(Errno::EIO));
        }
        assert_eq!(patient.join().unwrap(), Ok(Err(Errno::EIO)));
    });
    assert_eq!(fence.wait(), Err(Errno::EIO));
    assert_eq!(fence.wait_timeout(Duration::ZERO), Ok(Err(Errno::EIO)));
}

#[test]
fn a_wait_that_times_out_leaves_nothing_behind() {
    let (signaller, fence) = Timeline::new("t").signaller();
    let start = Instant::now();
    let timeout = Duration::from_millis(5);
    assert_eq!(fence.wait_timeout(timeout), Err(TimedOut));
    assert!(start.elapsed() >= timeout);
    assert_eq!(fence.wait_timeout(Duration::ZERO), Err(TimedOut));
    assert!(!has_listeners(&fence));
    signaller.signal(Ok(()));
}

#[test]
fn waiters_wake_after_all_callbacks() {
    let (signaller, fence) = Timeline::new("t").signaller();
    let counter = Counter::default();
    let entered = Arc::new(Mutex::new(None));
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let result = fence.wait();
            assert_eq!(counter.get(), 2);
            result
        });
        // The waiter registers before the callbacks do; it must wake after them all the same.
        while !has_listeners(&fence) {
            thread::yield_now();
        }
        let at = entered.clone();
        let _first = fence
            .add_callback(Callback::new(move |_| {
                *at.lock() = Some(());
                receiver.recv().unwrap();
            }))
            .unwrap();
        let _both = [(); 2].map(|()| fence.add_callback(counter.callback()).unwrap());
        let signal = scope.spawn(|| signaller.signal(Ok(())));
        while entered.lock().is_none() {
            thread::yield_now();
        }
        assert!(!fence.is_signaled(), "a callback is running");
        sender.send(()).unwrap();
        assert_eq!(waiter.join().unwrap(), Ok(()));
        signal.join().unwrap();
    });
}

#[test]
fn waiting_for_any_names_the_one() {
    let timeline = Timeline::new("t");
    let (a, first) = timeline.signaller();
    let (b, second) = timeline.signaller();
    let fences = [first, second];
    let short = Duration::from_millis(1);
    assert_eq!(Fence::wait_any_timeout(&fences, short), Err(TimedOut));
    assert!(!fences.iter().any(has_listeners));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| Fence::wait_any(&fences));
        while !has_listeners(&fences[1]) {
            thread::yield_now();
        }
        b.signal(Err(Errno::EIO));
        assert_eq!(waiter.join().unwrap(), Some((1, Err(Errno::EIO))));
    });
    assert!(!has_listeners(&fences[0]));
    assert_eq!(
        Fence::wait_any_timeout(&fences, short),
        Ok((1, Err(Errno::EIO)))
    );
    a.signal(Ok(()));
    assert_eq!(Fence::wait_any(&fences), Some((0, Ok(()))));
    assert_eq!(Fence::wait_any(&[]), None);
    assert_eq!(Fence::wait_any_timeout(&[], Duration::MAX), Err(TimedOut));
}

#[test]
fn late_listeners_come_after_callbacks_registered_before_and_after_them() {
    for waiters_at in [[0, 1], [0, 3], [1, 2], [2, 3]] {
        let (signaller, fence) = Timeline::new("t").signaller();
        let counter = Counter::default();
        let mut registrations = Vec::new();
        let mut futures = Vec::new();
        let at_wake = Arc::new(AtWake {
            counter: counter.clone(),
            seen: Mutex::new(Vec::new()),
        });
        for place in 0..4 {
            if waiters_at.contains(&place) {
                let mut future = (&fence).into_future();
                let waker = Waker::from(at_wake.clone());
                let poll = Pin::new(&mut future).poll(&mut Context::from_waker(&waker));
                assert!(poll.is_pending());
                futures.push(future);
            } else {
                registrations.push(fence.add_callback(counter.callback()).unwrap());
            }
        }
        signaller.signal(Ok(()));
        assert_eq!(*at_wake.seen.lock(), [2, 2], "waiters at {waiters_at:?}");
    }
}

/// Notes what a counter says whenever it is woken.
struct AtWake {
    counter: Counter,
    seen: Mutex<Vec<u32>>,
}

impl Wake for AtWake {
    fn wake(self: Arc<Self>) {
        self.seen.lock().push(self.counter.get());
    }
}

/// Unparks a thread, and counts.
struct Unpark {
    thread: Thread,
    wakes: AtomicU32,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::AcqRel);
        self.thread.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let unpark = Arc::new(Unpark {
        thread: thread::current(),
        wakes: AtomicU32::new(0),
    });
    let waker = Waker::from(unpark);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

fn unpark() -> (Arc<Unpark>, Waker) {
    let unpark = Arc::new(Unpark {
        thread: thread::current(),
        wakes: AtomicU32::new(0),
    });
    (unpark.clone(), Waker::from(unpark))
}

#[test]
fn fences_can_be_awaited() {
    let timeline = Timeline::new("t");
    for _ in 0..100 {
        let (a, first) = timeline.signaller();
        let (b, second) = timeline.signaller();
        thread::scope(|scope| {
            let task = async { ((&first).await, second.await) };
            let task = scope.spawn(|| block_on(task));
            b.signal(Ok(()));
            a.signal(Err(Errno::EIO));
            assert_eq!(task.join().unwrap(), (Err(Errno::EIO), Ok(())));
        });
    }
}

#[test]
fn only_the_last_waker_is_woken_and_a_dropped_future_wakes_nobody() {
    let (signaller, fence) = Timeline::new("t").signaller();
    let ((old, old_waker), (new, new_waker)) = (unpark(), unpark());
    let mut kept = (&fence).into_future();
    let mut dropped = (&fence).into_future();
    for future in [&mut kept, &mut dropped] {
        let mut future = Pin::new(future);
        assert!(future
            .as_mut()
            .poll(&mut Context::from_waker(&old_waker))
            .is_pending());
        assert!(future
            .as_mut()
            .poll(&mut Context::from_waker(&new_waker))
            .is_pending());
    }
    drop((old_waker, new_waker));
    drop(dropped);
    signaller.signal(Ok(()));
    assert_eq!(old.wakes.load(Ordering::Acquire), 0);
    assert_eq!(new.wakes.load(Ordering::Acquire), 1);
    assert_eq!((Arc::strong_count(&old), Arc::strong_count(&new)), (1, 2));
    drop(kept);
    assert_eq!(
        Arc::strong_count(&new),
        1,
        "the waker goes with the future, not with the signal"
    );
}

#[test]
fn a_future_may_be_polled_by_its_own_wake_up() {
    struct Polling(Mutex<Option<FenceFuture>>, AtomicU32);

    impl Wake for Polling {
        fn wake(self: Arc<Self>) {
            let mut future = self.0.lock().take().unwrap();
            let waker = Waker::from(self.clone());
            let poll = Pin::new(&mut future).poll(&mut Context::from_waker(&waker));
            assert_eq!(poll, Poll::Ready(Ok(())));
            self.1.fetch_add(1, Ordering::AcqRel);
        }
    }

    let (signaller, fence) = Timeline::new("t").signaller();
    let polling = Arc::new(Polling(Mutex::new(None), AtomicU32::new(0)));
    let mut future = fence.into_future();
    let waker = Waker::from(polling.clone());
    assert!(Pin::new(&mut future)
        .poll(&mut Context::from_waker(&waker))
        .is_pending());
    *polling.0.lock() = Some(future);
    signaller.signal(Ok(()));
    assert_eq!(polling.1.load(Ordering::Acquire), 1);
}

fn readable(descriptor: impl AsFd, patience: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: patience.as_secs() as i64,
        tv_nsec: 0,
    };
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    poll(&mut polled, Some(&timeout)).unwrap() == 1
}

#[test]
fn an_event_descriptor_becomes_readable() {
    let (signaller, fence) = Timeline::new("t").signaller();
    let event = fence.eventfd().unwrap();
    assert!(!readable(&event, Duration::ZERO));
    let watching = fence.clone();
    thread::scope(|scope| {
        let poller = scope.spawn(|| {
            assert!(readable(&event, Duration::from_secs(30)));
            assert!(watching.is_signaled(), "readable means signalled");
        });
        signaller.signal(Ok(()));
        poller.join().unwrap();
    });
    assert!(readable(&event, Duration::ZERO), "until somebody reads");
    let mut value = [0; 8];
    assert_eq!(rustix::io::read(&event, &mut value), Ok(8));
    assert_eq!(u64::from_ne_bytes(value), 1);
    assert!(!readable(&event, Duration::ZERO));
    assert!(
        readable(fence.eventfd().unwrap(), Duration::ZERO),
        "signalled before"
    );
}

#[test]
fn a_closed_event_descriptor_leaves_nothing_behind() {
    let (signaller, fence) = Timeline::new("t").signaller();
    drop(fence.eventfd().unwrap());
    assert!(!has_listeners(&fence));
    let duplicate = fence
        .eventfd()
        .unwrap()
        .as_fd()
        .try_clone_to_owned()
        .unwrap();
    signaller.signal(Ok(()));
    assert!(
        !readable(duplicate, Duration::ZERO),
        "the link went with the handle"
    );
}
