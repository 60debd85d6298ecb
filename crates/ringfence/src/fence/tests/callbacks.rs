// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Callbacks: order, removal, re-entry.

use super::*;
use crate::counted::{Bury, Counted};
use std::panic::{catch_unwind, AssertUnwindSafe};

type Boxed = Box<dyn FnMut(Status) + Send>;
type Slot = Arc<Mutex<Option<Registration<Boxed>>>>;

#[test]
fn callbacks_run_in_order_before_the_fence_is_signaled_elsewhere() {
    let timeline = Timeline::new("order");
    let (signaller, fence) = timeline.signaller();
    let count = Arc::new(AtomicU32::new(0));
    let registrations: Vec<_> = (0..5)
        .map(|i| {
            let (count, inside) = (count.clone(), fence.clone());
            let callback = Callback::new(move |result| {
                assert_eq!(result, Err(Errno::EIO));
                assert_eq!(count.fetch_add(1, Ordering::Relaxed), i);
                assert_eq!(
                    inside.status(),
                    Some(Err(Errno::EIO)),
                    "inside, it has signalled"
                );
                let outside = inside.clone();
                std::thread::spawn(move || assert_eq!(outside.status(), None))
                    .join()
                    .unwrap();
            });
            fence.add_callback(callback).unwrap()
        })
        .collect();
    assert!(!fence.is_signaled());
    signaller.signal(Err(Errno::EIO));
    assert_eq!(count.load(Ordering::Relaxed), 5);
    assert_eq!(fence.status(), Some(Err(Errno::EIO)));
    for mut registration in registrations {
        assert!(!registration.remove());
    }
}

#[test]
fn a_signalled_fence_gives_the_callback_back_uncalled() {
    let counter = Counter::default();
    let fence = Fence::already_signalled(Err(Errno::ENODATA));
    let rejected = fence.add_callback(counter.callback()).unwrap_err();
    assert_eq!(rejected.result, Err(Errno::ENODATA));
    assert_eq!(counter.get(), 0);
    // It is as good as new.
    let (signaller, fence) = Timeline::new("t").signaller();
    let _registration = fence.add_callback(rejected.callback).unwrap();
    signaller.signal(Ok(()));
    assert_eq!(counter.get(), 1);
}

#[test]
fn a_removed_callback_is_not_called_and_can_be_used_again() {
    let timeline = Timeline::new("t");
    let (first, fence) = timeline.signaller();
    let counter = Counter::default();
    let mut registration = fence.add_callback(counter.callback()).unwrap();
    assert!(registration.remove());
    assert!(!registration.remove());
    let callback = registration.into_callback().unwrap();
    first.signal(Ok(()));
    assert_eq!(counter.get(), 0);
    let (second, fence) = timeline.signaller();
    let registration = fence.add_callback(callback).unwrap();
    second.signal(Ok(()));
    assert_eq!(counter.get(), 1);
    drop(registration.into_callback().unwrap().into_inner());
    assert_eq!(Arc::strong_count(&counter.0), 1);
}

#[test]
fn dropping_a_registration_removes_it_wherever_it_is_in_the_list() {
    for dropped in 0..4 {
        let (signaller, fence) = Timeline::new("t").signaller();
        let counters: Vec<_> = (0..4).map(|_| Counter::default()).collect();
        let mut registrations: Vec<_> = counters
            .iter()
            .map(|counter| Some(fence.add_callback(counter.callback()).unwrap()))
            .collect();
        registrations[dropped] = None;
        signaller.signal(Ok(()));
        for (index, counter) in counters.iter().enumerate() {
            assert_eq!(counter.get(), u32::from(index != dropped));
        }
    }
}

/// Registers `function` with a way to its own registration.
fn register_with_slot(fence: &Fence, slot: &Slot, function: Boxed) {
    *slot.lock() = Some(fence.add_callback(Callback::new(function)).unwrap());
}

#[test]
fn a_callback_may_remove_and_drop_itself() {
    let (signaller, fence) = Timeline::new("t").signaller();
    let slot = Slot::default();
    let alive = Arc::new(());
    let (own, canary) = (slot.clone(), alive.clone());
    register_with_slot(
        &fence,
        &slot,
        Box::new(move |_| {
            let mut registration = own.lock().take().unwrap();
            assert!(!registration.remove(), "it runs");
            drop(registration);
            assert_eq!(Arc::strong_count(&canary), 2, "its memory must outlast it");
        }),
    );
    signaller.signal(Ok(()));
    assert_eq!(Arc::strong_count(&alive), 1, "freed when it has returned");
}

#[test]
fn a_callback_cannot_get_its_own_memory_back() {
    let (signaller, fence) = Timeline::new("t").signaller();
    let slot = Slot::default();
    let counter = Counter::default();
    let (own, count) = (slot.clone(), counter.clone());
    register_with_slot(
        &fence,
        &slot,
        Box::new(move |_| {
            assert!(own.lock().take().unwrap().into_callback().is_none());
            count.0.fetch_add(1, Ordering::Relaxed);
        }),
    );
    signaller.signal(Ok(()));
    assert_eq!(counter.get(), 1);
    assert_eq!(Arc::strong_count(&counter.0), 1);
}

#[test]
fn a_callback_may_remove_a_later_one() {
    let (signaller, fence) = Timeline::new("t").signaller();
    let slot = Slot::default();
    let counter = Counter::default();
    let victim = slot.clone();
    let _first = fence
        .add_callback(Callback::new(move |_| {
            assert!(victim.lock().take().unwrap().remove())
        }))
        .unwrap();
    let count = counter.clone();
    register_with_slot(
        &fence,
        &slot,
        Box::new(move |_| {
            count.0.fetch_add(1, Ordering::Relaxed);
        }),
    );
    signaller.signal(Ok(()));
    assert_eq!(counter.get(), 0);
}

#[test]
fn a_callback_may_use_fences_in_every_way() {
    let timeline = Timeline::new("t");
    let (signaller, fence) = timeline.signaller();
    let (other_signaller, other) = timeline.signaller();
    let (late_signaller, late) = timeline.signaller();
    let log = Arc::new(Mutex::new(Vec::new()));
    let after = log.clone();
    let _other = other
        .add_callback(Callback::new(move |_| {
            after.lock().push("other's callback")
        }))
        .unwrap();
    let counter = Counter::default();
    let (mut other_signaller, mut own, mut last) =
        (Some(other_signaller), Some(fence.clone()), None);
    let (mut spare, mut own_spare) = (Some(counter.callback()), Some(counter.callback()));
    let (watched, target, inside) = (other.clone(), late.clone(), log.clone());
    let _registration = fence
        .add_callback(Callback::new(move |_| {
            other_signaller.take().unwrap().signal(Ok(()));
            assert!(!watched.is_signaled(), "its callbacks come later");
            inside.lock().push("first callback");
            let registration = target.add_callback(spare.take().unwrap()).unwrap();
            assert!(last.replace(registration).is_none());
            let fence = own.take().unwrap();
            assert!(fence.is_signaled() && fence.timestamp().is_some());
            assert!(fence.add_callback(own_spare.take().unwrap()).is_err());
            drop(fence);
        }))
        .unwrap();
    let inside = log.clone();
    let _second = fence
        .add_callback(Callback::new(move |_| {
            inside.lock().push("second callback")
        }))
        .unwrap();
    drop(fence);
    signaller.signal(Ok(()));
    assert_eq!(
        *log.lock(),
        ["first callback", "second callback", "other's callback"]
    );
    assert!(other.is_signaled());
    late_signaller.signal(Ok(()));
    assert_eq!(counter.get(), 1);
}

#[test]
fn a_panicking_callback_stops_neither_the_others_nor_later_signals() {
    let timeline = Timeline::new("t");
    let (signaller, fence) = timeline.signaller();
    let counter = Counter::default();
    let _first = fence
        .add_callback(Callback::new(|_| panic!("on purpose")))
        .unwrap();
    let _second = fence.add_callback(counter.callback()).unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| signaller.signal(Ok(())))).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
    assert!(fence.is_signaled());
    assert_eq!(counter.get(), 1);
    let (signaller, fence) = timeline.signaller();
    let _third = fence.add_callback(counter.callback()).unwrap();
    signaller.signal(Ok(()));
    assert_eq!(counter.get(), 2);
}

#[test]
fn callbacks_that_signal_the_next_fence_form_chains_of_any_length() {
    const LENGTH: usize = 10_000;
    let timeline = Timeline::new("t");
    let (first, mut fence) = timeline.signaller();
    let mut registrations = Vec::new();
    for _ in 0..LENGTH {
        let (next, next_fence) = timeline.signaller();
        let mut next = Some(next);
        let callback = Callback::new(move |result| next.take().unwrap().signal(result));
        registrations.push(fence.add_callback(callback).unwrap());
        fence = next_fence;
    }
    let small = std::thread::Builder::new().stack_size(64 * 1024);
    small
        .spawn(move || first.signal(Err(Errno::EIO)))
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(fence.status(), Some(Err(Errno::EIO)));
}

/// The queue's form: nodes embedded in their owner.
struct Owner {
    nodes: [Node; 2],
    results: Mutex<Vec<(usize, Status)>>,
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

    fn on_signal(&self, index: usize, result: Status) {
        assert!(!self.nodes[index].remove(), "its own removal must not wait");
        self.results.lock().push((index, result));
    }
}

#[test]
fn embedded_nodes_hold_their_owner_only_while_registered() {
    let timeline = Timeline::new("t");
    let (a, first) = timeline.signaller();
    let (b, second) = timeline.signaller();
    let owner = Counted::new(Owner {
        nodes: [Node::new(), Node::new()],
        results: Mutex::new(Vec::new()),
    });
    first.register(owner.clone(), 0).unwrap();
    second.register(owner.clone(), 1).unwrap();
    assert_eq!(first.register(owner.clone(), 1), Err(Refused::Busy));
    assert_eq!(owner.count(), 3);
    assert!(owner.nodes[0].remove());
    assert_eq!(owner.count(), 2);
    b.signal(Err(Errno::EIO));
    assert_eq!(owner.count(), 1);
    assert_eq!(*owner.results.lock(), [(1, Err(Errno::EIO))]);
    let refused = Refused::AlreadySignaled(AlreadySignaled {
        result: Err(Errno::EIO),
    });
    assert_eq!(second.register(owner.clone(), 1), Err(refused));
    // Both nodes are free again.
    first.register(owner.clone(), 1).unwrap();
    first.register(owner.clone(), 0).unwrap();
    a.signal(Ok(()));
    assert_eq!(
        *owner.results.lock(),
        [(1, Err(Errno::EIO)), (1, Ok(())), (0, Ok(()))]
    );
}
