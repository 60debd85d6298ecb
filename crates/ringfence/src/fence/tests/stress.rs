// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Many threads on the same fences, for the sanitizers and for luck.

use super::*;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

const ROUNDS: u32 = 2000;

/// A small generator of numbers (xorshift), so that a round can be repeated.
struct Random(u32);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % bound
    }
}

/// What one thread does with one fence, by dice.
fn use_fence(fence: &Fence, random: &mut Random) {
    let counter = Counter::default();
    match random.below(6) {
        0 => {
            assert_eq!(fence.wait(), Err(Errno::EIO));
        }
        1 => {
            if let Ok(status) = fence.wait_timeout(Duration::from_micros(random.below(20).into())) {
                assert_eq!(status, Err(Errno::EIO));
            }
        }
        2 => {
            if let Ok(mut registration) = fence.add_callback(counter.callback()) {
                let removed = registration.remove();
                assert_eq!(counter.get(), u32::from(!removed));
            }
        }
        3 => {
            if let Ok(registration) = fence.add_callback(counter.callback()) {
                fence.wait().unwrap_err();
                assert_eq!(counter.get(), 1);
                drop(registration);
            }
        }
        4 => {
            let other = Fence::already_signalled(Ok(()));
            let all = Fence::all(&[fence.clone(), other.clone(), fence.clone()]);
            let any = Fence::any(&[fence.clone(), all.clone()]);
            assert_eq!(any.wait(), Err(Errno::EIO));
            assert_eq!(all.wait(), Err(Errno::EIO));
            assert_eq!(Fence::any(&[other, any]).status(), Some(Ok(())));
        }
        _ => {
            let slot = Arc::new(Mutex::new(None));
            let own = slot.clone();
            let callback = Callback::new(Box::new(move |_| drop(own.lock().take())) as Box<_>);
            if let Ok(registration) = fence.add_callback::<Box<dyn FnMut(Status) + Send>>(callback)
            {
                *slot.lock() = Some(registration);
                fence.wait().unwrap_err();
                // Not taken by the callback if that came first.
                let registration = slot.lock().take();
                drop(registration);
            }
        }
    }
}

#[test]
fn many_threads_agree_about_each_fence() {
    const THREADS: u32 = 4;
    let timeline = Timeline::new("stress");
    let (mut signallers, fences): (Vec<_>, Vec<_>) =
        (0..ROUNDS).map(|_| timeline.signaller()).unzip();
    signallers.reverse();
    let barrier = Barrier::new(THREADS as usize + 1);
    thread::scope(|scope| {
        for seed in 1..=THREADS {
            let (fences, barrier) = (&fences, &barrier);
            scope.spawn(move || {
                let mut random = Random(seed.wrapping_mul(0x9e37_79b9));
                for fence in fences {
                    barrier.wait();
                    use_fence(fence, &mut random);
                }
            });
        }
        let mut random = Random(7);
        while let Some(signaller) = signallers.pop() {
            barrier.wait();
            for _ in 0..random.below(2000) {
                std::hint::spin_loop();
            }
            signaller.signal(Err(Errno::EIO));
        }
    });
    for fence in fences {
        assert_eq!(fence.status(), Some(Err(Errno::EIO)));
        assert!(!has_listeners(&fence));
        assert_eq!(fence.0.count(), 1);
    }
}

#[test]
fn inputs_that_signal_at_once_decide_once() {
    let timeline = Timeline::new("stress");
    for _ in 0..ROUNDS / 4 {
        let (a, first) = timeline.signaller();
        let (b, second) = timeline.signaller();
        let inputs = [first, second];
        let (any, all) = (Fence::any(&inputs), Fence::all(&inputs));
        let barrier = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                a.signal(Ok(()));
            });
            barrier.wait();
            b.signal(Err(Errno::EIO));
        });
        assert!(any.is_signaled());
        assert_eq!(all.status(), Some(Err(Errno::EIO)));
        assert!(!inputs.iter().any(has_listeners));
        assert!(inputs.iter().all(|input| input.0.count() == 1));
    }
}
