// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The allocator, which counts, and waiting without allocating.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringfence::section::CheckedAllocator;

/// Counts the allocations of all threads together.
struct Everywhere(CheckedAllocator);

static COUNTING: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);

fn note() {
    if COUNTING.load(Ordering::SeqCst) {
        COUNT.fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: Every call is passed on to an allocator that keeps the contract.
unsafe impl GlobalAlloc for Everywhere {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: The caller's promise is passed on.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: The caller's promise is passed on.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note();
        // SAFETY: The caller's promise is passed on.
        unsafe { self.0.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: The caller's promise is passed on.
        unsafe { self.0.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Everywhere = Everywhere(CheckedAllocator::system());

/// The allocations of all threads while `body` runs, which must leave no job behind.
pub(crate) fn allocations(body: impl FnOnce()) -> u64 {
    COUNT.store(0, Ordering::SeqCst);
    COUNTING.store(true, Ordering::SeqCst);
    body();
    COUNTING.store(false, Ordering::SeqCst);
    COUNT.load(Ordering::SeqCst)
}

/// Waits without allocating.
#[track_caller]
pub(crate) fn spin_until(holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        if Instant::now() > end {
            COUNTING.store(false, Ordering::SeqCst);
            panic!("it does not come to an end");
        }
        thread::yield_now();
    }
}
