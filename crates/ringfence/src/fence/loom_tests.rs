// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Every interleaving of the fence's races, small ones.
//!
//! `cargo test -p ringfence --features loom --lib --release loom_`

use super::*;
use crate::counted::Bury;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::thread;
use crate::sync::UnsafeCell;
use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// Runs a model with three preemptions at most, which is known to find nearly all bugs.
///
/// Panics if there was little to explore: then something hides the race from loom (a load before a
/// change of the same atomic by the same thread does) and the test would mean nothing.
fn model(f: impl Fn() + Send + Sync + 'static) {
    const FEW: u32 = 5;
    // Not loom's: counts across all executions.
    let executions = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counter = executions.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        f();
    });
    let executions = executions.load(Ordering::Relaxed);
    eprintln!("{executions} executions");
    assert!(executions > FEW, "only {executions} executions");
}

/// Unsynchronised memory: loom complains unless the fence orders its uses.
struct Plain(UnsafeCell<u32>);

// SAFETY: Not so: that is what the models check.
unsafe impl Sync for Plain {}
// SAFETY: As above.
unsafe impl Send for Plain {}

impl Plain {
    fn new() -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(0)))
    }

    fn set(&self, value: u32) {
        // SAFETY: Loom panics if it is not.
        self.0.with_mut(|at| unsafe { *at = value });
    }

    fn get(&self) -> u32 {
        // SAFETY: Loom panics if it is not.
        self.0.with(|at| unsafe { *at })
    }
}

#[test]
fn loom_quiet_signal_publishes_error_and_timestamp() {
    model(|| {
        let (signaller, fence) = Timeline::new("t").signaller();
        let plain = Plain::new();
        let written = plain.clone();
        let thread = thread::spawn(move || {
            written.set(7);
            signaller.signal_at(Err(Errno::EIO), 42);
        });
        if let Some(status) = fence.status() {
            assert_eq!((status, fence.timestamp()), (Err(Errno::EIO), Some(42)));
            assert_eq!(plain.get(), 7);
        }
        thread.join().unwrap();
        assert_eq!(
            (fence.error(), fence.timestamp()),
            (Some(Errno::EIO), Some(42))
        );
    });
}

#[test]
fn loom_callback_is_called_once_or_refused() {
    model(|| {
        let (signaller, fence) = Timeline::new("t").signaller();
        let plain = Plain::new();
        let written = plain.clone();
        let thread = thread::spawn(move || {
            written.set(7);
            signaller.signal_at(Ok(()), 42);
        });
        let called = Arc::new(AtomicU32::new(0));
        let (counter, read) = (called.clone(), plain.clone());
        let callback = Callback::new(move |_| {
            assert_eq!(read.get(), 7);
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let registered = match fence.add_callback(callback) {
            Ok(registration) => Some(registration),
            Err(rejected) => {
                assert_eq!(rejected.result, Ok(()));
                assert_eq!(plain.get(), 7);
                None
            }
        };
        thread.join().unwrap();
        assert!(fence.is_signaled());
        assert_eq!(
            called.load(Ordering::Relaxed),
            u32::from(registered.is_some())
        );
    });
}

#[test]
fn loom_refusal_means_that_the_signallers_work_is_done() {
    model(|| {
        let (signaller, fence) = Timeline::new("t").signaller();
        let plain = Plain::new();
        let written = plain.clone();
        // Somebody listens, so that there is a time between decided and signalled.
        let listening = fence.add_callback(Callback::new(|_| {})).unwrap();
        let thread = thread::spawn(move || {
            written.set(7);
            signaller.signal_at(Err(Errno::EIO), 42);
        });
        let read = plain.clone();
        let callback = Callback::new(move |_| assert_eq!(read.get(), 7));
        match fence.add_callback(callback) {
            Ok(registration) => {
                thread.join().unwrap();
                drop(registration);
            }
            Err(rejected) => {
                assert_eq!(rejected.result, Err(Errno::EIO));
                assert_eq!(plain.get(), 7);
                thread.join().unwrap();
            }
        }
        drop(listening);
    });
}

#[test]
fn loom_removal_decides_whether_the_callback_runs() {
    model(|| {
        let (signaller, fence) = Timeline::new("t").signaller();
        let plain = Plain::new();
        let written = plain.clone();
        let callback = Callback::new(move |_| written.set(7));
        let mut registration = fence.add_callback(callback).unwrap();
        let thread = thread::spawn(move || signaller.signal_at(Ok(()), 42));
        // Either way the callback does not run now: unsynchronised reading is fine.
        let removed = registration.remove();
        assert_eq!(plain.get(), if removed { 0 } else { 7 });
        thread.join().unwrap();
        assert_eq!(plain.get(), if removed { 0 } else { 7 });
    });
}

#[test]
fn loom_dropping_neighbours_leaves_the_list_whole() {
    model(|| {
        let (signaller, fence) = Timeline::new("t").signaller();
        let middle = Plain::new();
        let last = Arc::new(AtomicU32::new(0));
        let (written, counter) = (middle.clone(), last.clone());
        let first = fence.add_callback(Callback::new(|_| {})).unwrap();
        let second = fence
            .add_callback(Callback::new(move |_| written.set(7)))
            .unwrap();
        let third = fence
            .add_callback(Callback::new(move |_| {
                counter.fetch_add(1, Ordering::Relaxed);
            }))
            .unwrap();
        let signal = thread::spawn(move || signaller.signal_at(Ok(()), 42));
        let remove = thread::spawn(move || drop(first));
        drop(second);
        middle.set(9);
        signal.join().unwrap();
        remove.join().unwrap();
        assert_eq!(last.load(Ordering::Relaxed), 1);
        assert!(third.into_callback().is_some());
    });
}

#[test]
fn loom_signaled_means_that_callbacks_have_returned() {
    model(|| {
        let (signaller, fence) = Timeline::new("t").signaller();
        let plain = Plain::new();
        let written = plain.clone();
        let registration = fence
            .add_callback(Callback::new(move |_| written.set(7)))
            .unwrap();
        let thread = thread::spawn(move || signaller.signal_at(Ok(()), 42));
        if fence.is_signaled() {
            assert_eq!(plain.get(), 7);
        }
        assert_eq!(fence.wait(), Ok(()));
        assert_eq!(plain.get(), 7);
        thread.join().unwrap();
        drop(registration);
    });
}

#[test]
fn loom_two_waiters_wake() {
    model(|| {
        let (signaller, fence) = Timeline::new("t").signaller();
        let other = fence.clone();
        let waiter = thread::spawn(move || other.wait());
        let signal = thread::spawn(move || signaller.signal_at(Err(Errno::EIO), 42));
        assert_eq!(fence.wait(), Err(Errno::EIO));
        assert_eq!(waiter.join().unwrap(), Err(Errno::EIO));
        signal.join().unwrap();
    });
}

#[test]
fn loom_wait_any_takes_back_its_nodes() {
    model(|| {
        let timeline = Timeline::new("t");
        let (a, first) = timeline.signaller();
        let (b, second) = timeline.signaller();
        let threads = [
            thread::spawn(move || a.signal_at(Ok(()), 1)),
            thread::spawn(move || b.signal_at(Err(Errno::EIO), 2)),
        ];
        let fences = [first, second];
        let (index, status) = Fence::wait_any(&fences).unwrap();
        assert_eq!(status, [Ok(()), Err(Errno::EIO)][index]);
        assert!(fences[index].is_signaled());
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn loom_any_of_two_signals_once() {
    model(|| {
        let timeline = Timeline::new("t");
        let (a, first) = timeline.signaller();
        let (b, second) = timeline.signaller();
        let thread = thread::spawn(move || a.signal_at(Err(Errno::EIO), 1));
        let inputs = [first, second];
        let any = Fence::any(&inputs);
        if any.is_signaled() {
            assert!(
                inputs[1].core().list().fence().is_none(),
                "it holds nothing of the other"
            );
        }
        b.signal_at(Ok(()), 2);
        thread.join().unwrap();
        assert!(any.is_signaled());
    });
}

#[test]
fn loom_all_of_two_waits_for_both_and_keeps_the_error() {
    model(|| {
        let timeline = Timeline::new("t");
        let (a, first) = timeline.signaller();
        let (b, second) = timeline.signaller();
        let plain = Plain::new();
        let written = plain.clone();
        let thread = thread::spawn(move || {
            written.set(7);
            a.signal_at(Err(Errno::EIO), 1);
        });
        let all = Fence::all(&[first, second]);
        b.signal_at(Ok(()), 2);
        if let Some(status) = all.status() {
            assert_eq!(status, Err(Errno::EIO));
            assert_eq!(plain.get(), 7);
        }
        thread.join().unwrap();
        assert_eq!(all.status(), Some(Err(Errno::EIO)));
    });
}

#[test]
fn loom_a_fence_signalled_in_a_callback_survives_its_last_handle() {
    model(|| {
        let timeline = Timeline::new("t");
        let (outer, fence) = timeline.signaller();
        let (inner, deferred) = timeline.signaller();
        let plain = Plain::new();
        let written = plain.clone();
        let removed = deferred
            .add_callback(Callback::new(move |_| written.set(7)))
            .unwrap();
        drop(deferred);
        let mut inner = Some(inner);
        let callback = Callback::new(move |_| inner.take().unwrap().signal_at(Ok(()), 2));
        let _outer = fence.add_callback(callback).unwrap();
        let thread = thread::spawn(move || outer.signal_at(Ok(()), 1));
        drop(removed);
        plain.get();
        thread.join().unwrap();
        assert_eq!(fence.status(), Some(Ok(())));
    });
}

/// Notes that it has been woken.
struct Flag(AtomicU32);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(1, Ordering::Release);
    }
}

#[test]
fn loom_future_is_woken_or_ready() {
    model(|| {
        let (signaller, fence) = Timeline::new("t").signaller();
        let thread = thread::spawn(move || signaller.signal_at(Ok(()), 42));
        let flag = Arc::new(Flag(AtomicU32::new(0)));
        let waker = Waker::from(flag.clone());
        let mut future = std::pin::pin!(fence.into_future());
        let mut context = Context::from_waker(&waker);
        let first = future.as_mut().poll(&mut context);
        // A new waker, as when the task has moved.
        let moved = Arc::new(Flag(AtomicU32::new(0)));
        let waker = Waker::from(moved.clone());
        let mut context = Context::from_waker(&waker);
        let second = future.as_mut().poll(&mut context);
        thread.join().unwrap();
        if first.is_pending() && second.is_pending() {
            assert_eq!(moved.0.load(Ordering::Acquire), 1, "the last waker counts");
        }
        assert_eq!(future.as_mut().poll(&mut context), Poll::Ready(Ok(())));
    });
}

/// The queue's form: nodes in the allocation of their owner.
struct Owner {
    nodes: [Node; 2],
    signalled: AtomicU32,
}

impl Bury for Owner {
    fn bury(this: Counted<Self>) {
        Bury::bury(<dyn FenceCallback>::erase(this));
    }
}

impl FenceCallback for Owner {
    fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    fn on_signal(&self, _index: usize, _result: Status) {
        self.signalled.fetch_add(1, Ordering::AcqRel);
    }
}

#[test]
fn loom_embedded_nodes_are_counted_by_run_or_removal() {
    model(|| {
        let timeline = Timeline::new("t");
        let (a, first) = timeline.signaller();
        let (b, second) = timeline.signaller();
        let owner = Counted::new(Owner {
            nodes: [Node::new(), Node::new()],
            signalled: AtomicU32::new(0),
        });
        first.register(owner.clone(), 0).unwrap();
        second.register(owner.clone(), 1).unwrap();
        assert_eq!(second.register(owner.clone(), 1), Err(Refused::Busy));
        let thread = thread::spawn(move || {
            a.signal_at(Ok(()), 1);
            b.signal_at(Ok(()), 2);
        });
        let removed = u32::from(owner.nodes[1].remove()) + u32::from(owner.nodes[0].remove());
        assert_eq!(owner.signalled.load(Ordering::Relaxed), 2 - removed);
        thread.join().unwrap();
        assert_eq!(owner.count(), 1);
    });
}

#[test]
fn loom_embedded_node_is_reused_while_its_last_run_ends() {
    model(|| {
        let timeline = Timeline::new("t");
        let (a, first) = timeline.signaller();
        let (b, second) = timeline.signaller();
        let owner = Counted::new(Owner {
            nodes: [Node::new(), Node::new()],
            signalled: AtomicU32::new(0),
        });
        first.register(owner.clone(), 0).unwrap();
        let thread = thread::spawn(move || a.signal_at(Ok(()), 1));
        if owner.signalled.load(Ordering::Acquire) == 1 {
            second.register(owner.clone(), 0).unwrap();
            b.signal_at(Ok(()), 2);
            assert_eq!(owner.signalled.load(Ordering::Relaxed), 2);
        } else {
            b.signal_at(Ok(()), 2);
        }
        thread.join().unwrap();
    });
}
