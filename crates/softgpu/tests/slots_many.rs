// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Slots that the host manages, with many contexts, many threads, and without memory.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use common::told::{a_round, bind, hosted, hosted_config, listener, next, vacate, Told};
use common::{mapped, submit, until};
use ringfence::section::{AllocationCount, CheckedAllocator};
use ringfence_softgpu::{
    Command, Context, Gpu, GpuConfig, GpuError, Loss, SlotAnswer, SlotEvent, Stay,
};

#[global_allocator]
static ALLOCATOR: CheckedAllocator = CheckedAllocator::system();

#[test]
fn asking_for_slots_does_not_allocate() {
    const CONTEXTS: u32 = 64;
    // The firmware is held up, so that what is asked piles up.
    let held = Arc::new(Mutex::new(()));
    let holds = Arc::clone(&held);
    let gpu = Gpu::start(GpuConfig {
        observer: Some(Arc::new(move |_: &SlotEvent| {
            drop(holds.lock());
        })),
        ..hosted_config(CONTEXTS + 1, true)
    });
    let gpu = gpu.expect("the device starts");
    let first = gpu.create_context(64).expect("a context");
    let contexts: Vec<_> = (0..CONTEXTS)
        .map(|_| gpu.create_context(64).expect("a context"))
        .collect();
    for round in 0..3 {
        let listeners: Vec<_> = contexts.iter().map(|_| listener()).collect();
        let hold = held.lock().expect("no panic");
        first.bind(CONTEXTS, listener().0).expect("taken");
        let own: Vec<_> = listeners.iter().map(|(it, _)| Arc::clone(it)).collect();
        let count = AllocationCount::start();
        for ((context, answer), slot) in contexts.iter().zip(own).zip(0..) {
            context.bind(slot, answer).expect("taken");
            assert!(context.bind(slot, Arc::clone(&listeners[0].0)).is_err());
            context.doorbell();
        }
        assert_eq!(count.get(), 0, "binds of round {round}");
        drop(hold);
        for (_, told) in &listeners {
            assert!(matches!(next(told), Told::Bound(Ok(()))));
        }
        let hold = held.lock().expect("no panic");
        let own: Vec<_> = listeners.iter().map(|(it, _)| Arc::clone(it)).collect();
        let count = AllocationCount::start();
        for (context, answer) in contexts.iter().zip(own) {
            context.vacate(answer).expect("taken");
        }
        assert_eq!(count.get(), 0, "vacates of round {round}");
        drop(hold);
        for (_, told) in &listeners {
            assert!(matches!(next(told), Told::Vacated(Ok(_))));
        }
        vacate(&first);
    }
}

#[test]
fn many_contexts_share_few_slots_by_the_hands_of_many_threads() {
    const SLOTS: u32 = 3;
    const WORDS: u32 = 512;
    const JOBS: u64 = 20;
    let gpu = hosted(SLOTS, true);
    let contexts: Vec<_> = (0..40)
        .map(|_| gpu.create_context(1024).expect("a context"))
        .collect();
    let buffers: Vec<_> = contexts
        .iter()
        .map(|context| mapped(&gpu, context, WORDS as usize))
        .collect();
    for (seed, (context, (_, dst))) in contexts.iter().zip(&buffers).enumerate() {
        for value in 1..=JOBS {
            let half = u64::from(WORDS / 2) * 4;
            // Each job needs what the one before has left.
            submit(
                context,
                &[
                    Command::Fill {
                        dst: *dst,
                        words: WORDS / 2,
                        value: seed as u32 + 1,
                    },
                    Command::Add {
                        dst: dst + half,
                        a: dst + half,
                        b: *dst,
                        words: WORDS / 2,
                    },
                    Command::Spin { ns: 20_000 },
                    Command::Fence { value },
                ],
            );
        }
    }
    let waiting = Mutex::new((0..contexts.len()).collect::<std::collections::VecDeque<_>>());
    let stays = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for slot in 0..SLOTS {
            let (contexts, waiting, stays) = (&contexts, &waiting, &stays);
            scope.spawn(move || loop {
                let Some(turn) = waiting.lock().expect("no panic").pop_front() else {
                    return;
                };
                let context = &contexts[turn];
                let _stays = bind(context, slot);
                stays.fetch_add(1, Ordering::Relaxed);
                let before = context.busy();
                until("some work", || {
                    context.busy() > before + Duration::from_micros(100)
                        || context.fence_value() == JOBS
                });
                if vacate(context).work_left {
                    waiting.lock().expect("no panic").push_back(turn);
                }
            });
        }
    });
    for (seed, (context, (buffer, _))) in contexts.iter().zip(&buffers).enumerate() {
        assert_eq!(context.fence_value(), JOBS);
        let words = buffer.to_vec();
        let (filled, added) = words.split_at(WORDS as usize / 2);
        let value = seed as u32 + 1;
        assert!(filled.iter().all(|&word| word == value), "context {seed}");
        let sum = value * JOBS as u32;
        assert!(added.iter().all(|&word| word == sum), "context {seed}");
    }
    let stays = stays.into_inner();
    assert!(stays > contexts.len() as u64, "{stays}");
    assert_eq!(gpu.stats().slot_switches, stays);
    assert_eq!(gpu.stats().jobs, 40 * JOBS);
}

/// What many were told, and what they asked.
#[derive(Debug, Default)]
struct Sums {
    asked: AtomicU64,
    answered: AtomicU64,
    begun: AtomicU64,
    ended: AtomicU64,
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::SeqCst);
}

fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::SeqCst)
}

/// Asks for a slot as soon as it has left one, and the other way round, from where it is told.
struct Restless {
    context: Context,
    slots: u32,
    turn: AtomicU64,
    sums: Arc<Sums>,
    own: Weak<Self>,
}

impl Restless {
    fn new(context: Context, slots: u32, sums: &Arc<Sums>) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            context,
            slots,
            turn: AtomicU64::new(0),
            sums: Arc::clone(sums),
            own: Weak::clone(own),
        })
    }

    fn own(&self) -> Arc<dyn SlotAnswer> {
        self.own.upgrade().expect("it is alive while it is called")
    }

    fn come(&self) {
        let turn = self.turn.fetch_add(1, Ordering::SeqCst) + self.context.id().0;
        // Counted first: the answer may be faster.
        add(&self.sums.asked);
        let slot = (turn % u64::from(self.slots)) as u32;
        if self.context.bind(slot, self.own()).is_err() {
            add(&self.sums.answered);
        }
    }

    fn go(&self) {
        add(&self.sums.asked);
        if self.context.vacate(self.own()).is_err() {
            add(&self.sums.answered);
        }
    }
}

impl SlotAnswer for Restless {
    fn bound(&self, result: Result<(), GpuError>) {
        add(&self.sums.answered);
        match result {
            Ok(()) => {
                add(&self.sums.begun);
                self.go();
            }
            Err(GpuError::SlotTaken { .. }) => self.come(),
            Err(_) => {}
        }
    }

    fn vacated(&self, result: Result<Stay, GpuError>) {
        add(&self.sums.answered);
        if result.is_ok() {
            add(&self.sums.ended);
            self.come();
        }
    }

    fn lost(&self, _loss: Loss) {
        add(&self.sums.ended);
    }
}

#[test]
fn answers_and_stays_balance_whenever_the_device_ends() {
    for round in 0..40_u64 {
        let gpu = hosted(3, true);
        let sums = Arc::new(Sums::default());
        let all: Vec<_> = (0..8)
            .map(|_| {
                let context = gpu.create_context(64).expect("a context");
                Restless::new(context, 3, &sums)
            })
            .collect();
        all.iter().for_each(|restless| restless.come());
        let turns = round * 10;
        until("some turns", || get(&sums.answered) >= turns);
        match round % 4 {
            0 => gpu.stop(),
            1 => drop(gpu),
            2 => gpu.unplug(true),
            _ => {
                // Those that lost something ask no more.
                gpu.reset().expect("it comes back");
                gpu.unplug(false);
            }
        }
        let balance =
            || get(&sums.asked) == get(&sums.answered) && get(&sums.begun) == get(&sums.ended);
        if round % 4 < 2 {
            assert!(
                balance(),
                "all is said when the device has stopped: {sums:?}"
            );
        }
        until("balance", balance);
        for restless in &all {
            until("the device to let go", || Arc::strong_count(restless) == 1);
        }
        // From then on nothing changes.
        assert_eq!(get(&sums.asked), get(&sums.answered), "{sums:?}");
        assert_eq!(get(&sums.begun), get(&sums.ended), "{sums:?}");
    }
}

/// Panics at every word.
struct Panicking;

impl SlotAnswer for Panicking {
    fn bound(&self, _result: Result<(), GpuError>) {
        panic!("on purpose");
    }

    fn vacated(&self, _result: Result<Stay, GpuError>) {
        panic!("on purpose");
    }

    fn lost(&self, _loss: Loss) {
        panic!("on purpose");
    }
}

#[test]
fn a_listener_that_panics_is_counted_and_holds_up_nobody() {
    let gpu = hosted(2, true);
    let context = gpu.create_context(64).expect("a context");
    context.bind(0, Arc::new(Panicking)).expect("taken");
    until("the panic", || gpu.stats().handler_panics == 1);
    vacate(&context);
    context.bind(1, Arc::new(Panicking)).expect("taken");
    a_round(&gpu);
    gpu.stop();
    assert_eq!(gpu.stats().handler_panics, 3, "bound, bound, lost");
}
