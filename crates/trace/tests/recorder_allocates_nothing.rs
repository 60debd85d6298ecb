// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Recording allocates nothing, neither while there is room nor afterwards.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ringfence_trace::{EventKind, FenceId, Recorder};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: Every call goes to the system's allocator unchanged; the counter beside it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: The caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: The caller keeps the promises of `dealloc`, and the memory came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

#[test]
fn recording_allocates_nothing() {
    let before = allocations();
    let recorder = Recorder::new(1000);
    assert!(allocations() > before, "the counter does not count");
    let before = allocations();
    for seqno in 0..2000 {
        let job = FenceId::new(1, seqno);
        recorder.record_at(seqno, EventKind::Done { job, error: 0 });
    }
    assert_eq!(allocations(), before);
    assert_eq!((recorder.len(), recorder.dropped()), (1000, 1000));
}
