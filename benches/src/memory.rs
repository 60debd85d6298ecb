// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What things take in memory, and whether a job allocates after prepare.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use ringfence::{Device, Pool, Queue};

use crate::jobs::{complete_parked, AtOnce, Parking};

/// The system's allocator, counting on all threads while asked to. Otherwise it costs one load, so
/// that it does not show in what is timed.
pub(crate) struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicI64 = AtomicI64::new(0);

fn note(allocations: u64, bytes: i64) {
    if ON.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(allocations, Ordering::Relaxed);
        BYTES.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Layouts are at most `isize::MAX` bytes.
fn signed(size: usize) -> i64 {
    size as i64
}

// SAFETY: Every call is passed on to the system's allocator with the caller's promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, signed(layout.size()));
        // SAFETY: The caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, signed(size) - signed(layout.size()));
        // SAFETY: The caller's promise is passed on.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note(0, -signed(layout.size()));
        // SAFETY: The caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Allocations made and bytes kept, by all threads, while `f` ran.
fn count<R>(f: impl FnOnce() -> R) -> (R, u64, i64) {
    ALLOCATIONS.store(0, Ordering::Relaxed);
    BYTES.store(0, Ordering::Relaxed);
    ON.store(true, Ordering::SeqCst);
    let kept = f();
    ON.store(false, Ordering::SeqCst);
    let allocations = ALLOCATIONS.load(Ordering::Relaxed);
    (kept, allocations, BYTES.load(Ordering::Relaxed))
}

/// Bytes of a queue with the builder's default capacity and nothing in it, its share of the
/// executor and the device included.
pub(crate) fn bytes_per_idle_queue() -> f64 {
    const QUEUES: u32 = 1000;
    let device = Device::new("memory");
    let pool = Pool::new(1).expect("a thread");
    let executor = pool.executor();
    let mut queues = Vec::with_capacity(QUEUES as usize);
    let ((), _, bytes) = count(|| {
        for _ in 0..QUEUES {
            let builder = Queue::<AtOnce>::builder("idle");
            let queue = builder.build(&device, executor.clone(), AtOnce);
            queues.push(queue.expect("a queue"));
        }
    });
    bytes as f64 / f64::from(QUEUES)
}

/// Bytes of a job in flight with an 8-byte payload, and of its fence, which is the same memory.
pub(crate) fn bytes_per_job() -> f64 {
    const JOBS: u32 = 64;
    let device = Device::new("memory");
    let pool = Pool::new(1).expect("a thread");
    let queue = Queue::<AtOnce>::builder("jobs").build(&device, &pool, AtOnce);
    let queue = queue.expect("a queue");
    queue.suspend();
    let mut fences = Vec::with_capacity(JOBS as usize);
    let ((), _, bytes) = count(|| {
        for number in 0..JOBS {
            let job = queue.prepare(u64::from(number), 1).expect("room");
            fences.push(job.submit());
        }
    });
    bytes as f64 / f64::from(JOBS)
}

/// Allocations on all threads from the return of prepare to the end of the jobs: on bypass, through
/// the worker, and from one queue to another by a dependency.
pub(crate) fn allocations_after_prepare() -> u64 {
    let device = Device::new("allocations");
    let pool = Pool::new(1).expect("a thread");
    let bypass = Queue::<Parking>::builder("bypass").bypass(true);
    let bypass = bypass.build(&device, &pool, Parking).expect("a queue");
    let first = Queue::<AtOnce>::builder("first").build(&device, &pool, AtOnce);
    let first = first.expect("a queue");
    let second = Queue::<AtOnce>::builder("second").build(&device, &pool, AtOnce);
    let second = second.expect("a queue");

    // A thread that starts allocates: not before the worker has done something.
    first
        .prepare(0, 1)
        .expect("room")
        .submit()
        .wait()
        .expect("done");

    let prepared: Vec<_> = (0..64)
        .map(|number| bypass.prepare(number, 1).expect("room"))
        .collect();
    let ((), by_bypass, _) = count(|| {
        for job in prepared {
            let fence = job.submit();
            complete_parked();
            assert!(fence.is_signaled());
        }
    });

    first.suspend();
    let prepare = |number| first.prepare(number, 1).expect("room");
    let prepared: Vec<_> = (0..64).map(prepare).collect();
    let mut fences = Vec::with_capacity(prepared.len());
    let ((), at_submit, _) = count(|| {
        fences.extend(prepared.into_iter().map(|job| job.submit()));
    });
    let dependent: Vec<_> = fences
        .iter()
        .map(|fence| {
            let mut job = second.prepare(0, 1).expect("room");
            job.depends_on(fence).expect("memory");
            job
        })
        .collect();
    drop(fences);
    let ((), by_worker, _) = count(|| {
        for job in dependent {
            drop(job.submit());
        }
        first.resume();
        // Waiting for a fence would allocate: that is the waiter's affair, not the job's.
        while !(first.is_empty() && second.is_empty()) {
            std::thread::yield_now();
        }
    });
    by_bypass + at_submit + by_worker
}
