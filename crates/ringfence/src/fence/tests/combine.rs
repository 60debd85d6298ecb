// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Fences made of fences.

use super::super::combine::{Combined, Rule};
use super::*;
use std::sync::atomic::AtomicUsize;

fn pairs(count: usize) -> (Vec<Option<Signaller>>, Vec<Fence>) {
    let timeline = Timeline::new("inputs");
    (0..count)
        .map(|_| timeline.signaller())
        .map(|(s, f)| (Some(s), f))
        .unzip()
}

fn signal(signallers: &mut [Option<Signaller>], index: usize, result: Status) {
    signallers[index].take().unwrap().signal(result);
}

#[test]
fn all_waits_for_every_input_and_keeps_the_first_error() {
    let (mut signallers, fences) = pairs(4);
    signal(&mut signallers, 3, Ok(()));
    let all = Fence::all(&fences);
    signal(&mut signallers, 1, Err(Errno::EIO));
    signal(&mut signallers, 0, Err(Errno::ETIME));
    assert_eq!(all.status(), None, "an error does not end the wait");
    signal(&mut signallers, 2, Ok(()));
    assert_eq!(all.status(), Some(Err(Errno::EIO)));
}

#[test]
fn all_of_signalled_fences_has_signalled() {
    let done = Fence::already_signalled(Ok(()));
    assert_eq!(Fence::all(&[]).status(), Some(Ok(())));
    assert_eq!(
        Fence::all(&[done.clone(), done.clone()]).status(),
        Some(Ok(()))
    );
    let failed = Fence::already_signalled(Err(Errno::EIO));
    assert_eq!(Fence::all(&[done, failed]).status(), Some(Err(Errno::EIO)));
}

#[test]
fn any_takes_the_first_result() {
    let (mut signallers, fences) = pairs(3);
    let any = Fence::any(&fences);
    signal(&mut signallers, 1, Err(Errno::EIO));
    assert_eq!(any.status(), Some(Err(Errno::EIO)));
    signal(&mut signallers, 0, Ok(()));
    assert_eq!(any.status(), Some(Err(Errno::EIO)));
    signal(&mut signallers, 2, Ok(()));

    assert_eq!(Fence::any(&[]).status(), Some(Err(Errno::ENOENT)));
    let (mut signallers, mut fences) = pairs(1);
    fences.push(Fence::already_signalled(Ok(())));
    assert_eq!(Fence::any(&fences).status(), Some(Ok(())));
    assert!(!has_listeners(&fences[0]));
    signal(&mut signallers, 0, Ok(()));
}

#[test]
fn any_leaves_nothing_on_an_input_that_lives_on() {
    let (mut signallers, mut fences) = pairs(1);
    let long_lived = fences.pop().unwrap();
    for _ in 0..100 {
        let (mut short, fences) = pairs(1);
        let any = Fence::any(&[long_lived.clone(), fences[0].clone()]);
        assert!(has_listeners(&long_lived));
        signal(&mut short, 0, Ok(()));
        assert!(any.is_signaled());
        assert!(!has_listeners(&long_lived));
    }
    assert_eq!(long_lived.0.count(), 2, "the signaller's and ours");
    signal(&mut signallers, 0, Ok(()));
}

#[test]
fn an_input_may_appear_twice() {
    let (mut signallers, fences) = pairs(1);
    let twice = [fences[0].clone(), fences[0].clone()];
    let (all, any) = (Fence::all(&twice), Fence::any(&twice));
    signal(&mut signallers, 0, Ok(()));
    assert!(all.is_signaled() && any.is_signaled());
}

#[test]
fn chains_of_combined_fences_of_any_length_signal_on_a_small_stack() {
    const LENGTH: usize = 10_000;
    let (mut signallers, mut fences) = pairs(1);
    let mut fence = fences.pop().unwrap();
    let mut chain = Vec::new();
    for i in 0..LENGTH {
        let inputs = [fence];
        fence = if i % 2 == 0 {
            Fence::all(&inputs)
        } else {
            Fence::any(&inputs)
        };
        chain.push(fence.clone());
    }
    // The hint takes stack, but boundedly.
    let small = std::thread::Builder::new().stack_size(64 * 1024);
    let small = small.spawn(move || {
        fence.set_deadline(5);
        drop(chain);
        signal(&mut signallers, 0, Err(Errno::EIO));
        assert_eq!(fence.status(), Some(Err(Errno::EIO)));
    });
    small.unwrap().join().unwrap();
}

#[test]
fn a_wide_fan_out_and_fan_in_signals() {
    let (mut signallers, fences) = pairs(1);
    let middle: Vec<_> = (0..1000).map(|_| Fence::all(&fences)).collect();
    let all = Fence::all(&middle);
    signal(&mut signallers, 0, Ok(()));
    assert!(middle.iter().all(Fence::is_signaled));
    assert_eq!(all.status(), Some(Ok(())));
}

#[test]
fn deadlines_reach_the_inputs() {
    let (mut signallers, fences) = pairs(2);
    let inner = Fence::any(&fences[1..]);
    let outer = Fence::all(&[fences[0].clone(), inner.clone()]);
    outer.set_deadline(77);
    for fence in [&fences[0], &fences[1], &inner, &outer] {
        assert_eq!(fence.deadline(), Some(77));
    }
    signal(&mut signallers, 0, Ok(()));
    outer.set_deadline(66);
    assert_eq!(
        (fences[0].deadline(), fences[1].deadline()),
        (None, Some(66))
    );
    signal(&mut signallers, 1, Ok(()));
    assert!(outer.is_signaled());
}

#[test]
fn combined_fences_free_their_inputs_and_themselves() {
    let (mut signallers, fences) = pairs(2);
    let alive = Arc::new(());
    let rule = Last {
        remaining: AtomicUsize::new(3),
        _canary: Arc::clone(&alive),
    };
    let all = Combined::make(&fences, rule);
    drop(all);
    assert_eq!(Arc::strong_count(&alive), 2, "the inputs keep it");
    signal(&mut signallers, 0, Ok(()));
    signal(&mut signallers, 1, Ok(()));
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(fences[0].0.count(), 1);
}

/// Signals with the last input, and shows whether its fence is still there.
struct Last {
    remaining: AtomicUsize,
    _canary: Arc<()>,
}

impl Rule for Last {
    fn input(&self, _result: Status) -> Option<Status> {
        self.complete()
    }

    fn complete(&self) -> Option<Status> {
        (self.remaining.fetch_sub(1, Ordering::AcqRel) == 1).then_some(Ok(()))
    }

    fn is_decided(&self) -> bool {
        self.remaining.load(Ordering::Acquire) == 0
    }
}
