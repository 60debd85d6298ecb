// SPDX-License-Identifier: GPL-2.0 OR MIT
use super::*;
use crate::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

mod callbacks;
mod combine;
mod stress;
mod wait;

/// Counts calls.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicU32>);

impl Counter {
    fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    fn callback(&self) -> Callback<impl FnMut(Status) + Send + 'static> {
        let counter = self.clone();
        Callback::new(move |_| {
            counter.0.fetch_add(1, Ordering::AcqRel);
        })
    }
}

/// Whether anything is registered with the fence.
fn has_listeners(fence: &Fence) -> bool {
    fence.core().list().fence().is_some()
}

#[test]
fn the_core_takes_one_cache_line() {
    assert_eq!(std::mem::size_of::<FenceCore>(), 64);
}

#[test]
fn a_fence_signals_once_with_result_and_timestamp() {
    let timeline = Timeline::new("t");
    let (signaller, fence) = timeline.signaller();
    let watching = signaller.fence();
    assert!(watching.same(&fence) && !fence.is_signaled());
    assert_eq!(
        (fence.status(), fence.error(), fence.timestamp()),
        (None, None, None)
    );
    signaller.signal_at(Err(Errno::ETIME), 12345);
    assert_eq!(watching.status(), Some(Err(Errno::ETIME)));
    assert_eq!(
        (watching.error(), watching.timestamp()),
        (Some(Errno::ETIME), Some(12345))
    );

    let (signaller, fence) = timeline.signaller();
    signaller.signal(Ok(()));
    assert_eq!((fence.status(), fence.error()), (Some(Ok(())), None));
}

#[test]
fn every_error_number_survives() {
    for value in [-1, -125, -4095] {
        let error = Errno::new(value).unwrap();
        assert_eq!(
            Fence::already_signalled(Err(error)).status(),
            Some(Err(error))
        );
    }
}

#[test]
fn timestamps_follow_the_clock_in_order() {
    let timeline = Timeline::new("t");
    let before = monotonic_ns();
    let fences: Vec<_> = (0..100)
        .map(|_| {
            let (signaller, fence) = timeline.signaller();
            signaller.signal(Ok(()));
            fence
        })
        .collect();
    let after = monotonic_ns();
    let stamps: Vec<_> = fences
        .iter()
        .map(|fence| fence.timestamp().unwrap())
        .collect();
    assert!(stamps.is_sorted());
    assert!(before <= stamps[0] && stamps[99] <= after);
}

#[test]
fn a_timeline_notices_a_signal_before_an_older_one() {
    let timeline = Timeline::with_first_seqno("out of order on purpose", u64::MAX - 1);
    let mut open: Vec<_> = (0..6).map(|_| timeline.signaller().0).collect();
    open.remove(0).signal(Ok(()));
    open.remove(0).signal(Ok(()));
    assert_eq!(timeline.out_of_order(), 0, "in order, around the wrap");
    let late = open.remove(0);
    let early = open.remove(0).fence();
    assert_eq!(early.status(), Some(Err(Errno::ECANCELED)), "it signals");
    assert_eq!(timeline.out_of_order(), 1, "dropping is signalling");
    late.signal(Ok(()));
    open.remove(0).signal(Ok(()));
    assert_eq!(
        timeline.out_of_order(),
        1,
        "the older one was late, not early"
    );
    // From a callback of the fence before it: in order.
    let (next, last) = (timeline.signaller().0, open.remove(0));
    let mut next = Some(next);
    let chained = last.fence().add_callback(Callback::new(move |_| {
        next.take().unwrap().signal(Ok(()));
    }));
    last.signal(Ok(()));
    assert_eq!(timeline.out_of_order(), 1);
    drop(chained);
}

#[test]
fn seqnos_count_from_one_without_gaps_and_wrap() {
    let timeline = Timeline::new("t");
    drop(timeline.prepare());
    let (a, first) = timeline.signaller();
    let (b, second) = timeline.prepare().publish();
    assert_eq!((first.seqno(), second.seqno()), (1, 2));
    assert_eq!(first.context(), timeline.context());
    assert!(second.is_later_than(&first));
    assert!(!first.is_later_than(&second) && !first.is_later_than(&first));

    let wrapping = Timeline::with_first_seqno("w", u64::MAX);
    let (c, last) = wrapping.signaller();
    let (d, wrapped) = wrapping.signaller();
    assert_eq!((last.seqno(), wrapped.seqno()), (u64::MAX, 0));
    assert!(wrapped.is_later_than(&last) && !last.is_later_than(&wrapped));
    assert_ne!(wrapping.context(), timeline.context());
    assert!(
        !second.is_later_than(&last) && !last.is_later_than(&second),
        "no common timeline"
    );
    for signaller in [a, b, c, d] {
        signaller.signal(Ok(()));
    }
}

#[test]
fn a_fence_outlives_its_timeline() {
    let timeline = Timeline::new("render");
    let (signaller, fence) = timeline.signaller();
    assert_eq!(fence.timeline_name(), "render");
    drop(timeline);
    assert_eq!(fence.timeline_name(), "gone-timeline");
    signaller.signal(Ok(()));
    assert_eq!(fence.timeline_name(), "signaled-timeline");
    assert_eq!(
        Fence::already_signalled(Ok(())).timeline_name(),
        "signaled-timeline"
    );
}

#[test]
fn dropping_the_signaller_cancels() {
    let (signaller, fence) = Timeline::new("dropped-on-purpose").signaller();
    let counter = Counter::default();
    let _registration = fence.add_callback(counter.callback()).unwrap();
    drop(signaller);
    assert_eq!(fence.status(), Some(Err(Errno::ECANCELED)));
    assert_eq!(counter.get(), 1);
}

#[test]
fn the_earliest_deadline_is_kept_and_observed() {
    let timeline = Timeline::new("t");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let prepared = timeline
        .prepare()
        .observe_deadline(move |deadline| log.lock().push(deadline));
    let (signaller, fence) = prepared.publish();
    assert_eq!(fence.deadline(), None);
    for deadline in [u64::MAX, 100, 200, 50, 50] {
        fence.set_deadline(deadline);
    }
    assert_eq!(fence.deadline(), Some(50));
    signaller.signal_at(Ok(()), 70);
    assert_eq!(fence.deadline(), None);
    fence.set_deadline(1);
    assert_eq!((fence.deadline(), fence.timestamp()), (None, Some(70)));
    assert_eq!(*seen.lock(), [100, 50]);
}

#[test]
fn quiet_signalling_refuses_only_what_is_listened_to() {
    let timeline = Timeline::new("t");
    let unobserved = FenceCore::new(timeline.context());
    unobserved.publish(1);
    assert!(unobserved.try_signal_quietly(Err(Errno::EIO), 5));
    assert_eq!(
        (unobserved.status(), unobserved.timestamp()),
        (Some(Err(Errno::EIO)), Some(5))
    );
    assert!(!unobserved.try_signal_quietly(Ok(()), 6), "once only");
    assert_eq!(unobserved.status(), Some(Err(Errno::EIO)));

    let (signaller, fence) = timeline.signaller();
    let counter = Counter::default();
    let _registration = fence.add_callback(counter.callback()).unwrap();
    fence.set_deadline(9);
    assert!(!fence.core().try_signal_quietly(Err(Errno::EIO), 5));
    assert_eq!(
        (fence.status(), fence.timestamp(), fence.deadline()),
        (None, None, Some(9))
    );
    assert_eq!(counter.get(), 0);
    signaller.signal(Ok(()));
    assert_eq!((fence.status(), counter.get()), (Some(Ok(())), 1));
}

#[test]
#[cfg_attr(debug_assertions, should_panic(expected = "signalled twice"))]
fn signalling_twice_is_asserted_and_else_ignored() {
    let core = FenceCore::new(1);
    core.publish(1);
    assert!(core.signal(Err(Errno::EIO), 1));
    assert!(!core.signal(Ok(()), 2));
    assert_eq!(
        (core.status(), core.timestamp()),
        (Some(Err(Errno::EIO)), Some(1))
    );
}
