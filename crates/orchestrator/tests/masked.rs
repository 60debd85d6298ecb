// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Nothing is allocated or freed with the orchestrator's lock held: a handler may wait for that, on
//! the thread that is in the allocator.
#![cfg(not(feature = "shuttle"))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

use ringfence::irq::{raise, InterruptLine, LineNumber};
use ringfence::Pool;
use ringfence_orchestrator::{
    Binding, Orchestrator, Preemption, SeatConfig, SlotDevice, SlotId, SlotKind, Vacating,
};

/// Raises an interrupt whenever memory is asked for or given back, and sees whether it comes.
struct Allocator;

static LINE: OnceLock<LineNumber> = OnceLock::new();
static MASKED: AtomicU64 = AtomicU64::new(0);
static HEARD: AtomicU64 = AtomicU64::new(0);

std::thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static HANDLED: Cell<u64> = const { Cell::new(0) };
}

fn look() {
    let Some(line) = LINE.get().filter(|_| WATCHED.get()) else {
        return;
    };
    let before = HANDLED.get();
    raise(*line);
    let masked = HANDLED.get() == before;
    MASKED.fetch_add(u64::from(masked), Ordering::Relaxed);
    HEARD.fetch_add(u64::from(!masked), Ordering::Relaxed);
}

// SAFETY: It is the system's.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        look();
        // SAFETY: The caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        look();
        // SAFETY: The caller's.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

struct Idle;

impl SlotDevice for Idle {
    type Context = ();

    fn slots(&self) -> Vec<SlotKind> {
        vec![SlotKind::default(); 4]
    }

    fn preemption(&self) -> Preemption {
        Preemption::Supported
    }

    fn bind(&self, _slot: SlotId, _context: &(), binding: Binding) {
        binding.done();
    }

    fn vacate(&self, _slot: SlotId, _context: &(), vacating: Vacating) {
        vacating.done(None);
    }

    fn stuck(&self, _slot: SlotId, _context: &()) {}
}

#[test]
fn memory_is_asked_for_and_given_back_without_the_lock() {
    let line = InterruptLine::new(|| HANDLED.set(HANDLED.get() + 1)).unwrap();
    LINE.set(line.number()).unwrap();
    let pool = Pool::new(1).unwrap();
    let orchestrator = Orchestrator::builder("idle", Idle).build(&pool).unwrap();
    WATCHED.set(true);
    let client = orchestrator.client("client");
    // More than there is room for at first.
    let seats: Vec<_> = (0..40)
        .map(|_| {
            let config = SeatConfig::default();
            orchestrator.seat("seat", config, &client, ()).unwrap()
        })
        .collect();
    orchestrator.group(&[&seats[0], &seats[1]]).unwrap();
    assert_eq!(MASKED.swap(0, Ordering::Relaxed), 0, "seats");
    drop(orchestrator.usage(&client));
    assert_eq!(MASKED.swap(0, Ordering::Relaxed), 0, "usage");
    drop(orchestrator.snapshot());
    assert_eq!(MASKED.swap(0, Ordering::Relaxed), 0, "snapshot");
    drop(seats);
    drop((orchestrator, client));
    WATCHED.set(false);
    assert_eq!(MASKED.swap(0, Ordering::Relaxed), 0, "the end");
    assert_ne!(HEARD.load(Ordering::Relaxed), 0);
}
