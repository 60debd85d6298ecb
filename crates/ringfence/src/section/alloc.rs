// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A global allocator that counts, and that refuses to allocate in signalling sections.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::marker::PhantomData;

// Plain cells with constant values, from `std` whatever the features: an allocator must not
// allocate, and a model checker must not see it.
std::thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static VIOLATIONS: Cell<u64> = const { Cell::new(0) };
    static COUNTING: Cell<u32> = const { Cell::new(0) };
}

/// A [`GlobalAlloc`] that counts each thread's allocations and, in builds that check
/// ([`CHECKED`](super::CHECKED)), aborts the process when a thread allocates in a signalling
/// section.
///
/// It aborts rather than panics because an allocator must not unwind; the message on standard
/// error says where the section began. A thread that is panicking is let through, so that its own
/// message gets out. In interrupt handlers freeing is refused as well
/// ([`Violations`](crate::irq::Violations)).
///
/// ```
/// use ringfence::section::CheckedAllocator;
///
/// #[global_allocator]
/// static ALLOCATOR: CheckedAllocator = CheckedAllocator::system();
/// # fn main() {}
/// ```
#[derive(Debug, Default)]
pub struct CheckedAllocator<A = System> {
    inner: A,
}

impl CheckedAllocator {
    /// Wraps the system's allocator.
    pub const fn system() -> Self {
        Self::new(System)
    }
}

impl<A> CheckedAllocator<A> {
    /// Wraps `inner`.
    pub const fn new(inner: A) -> Self {
        Self { inner }
    }
}

/// Counts one allocation of this thread and complains about one in a section.
#[inline]
fn note_allocation() {
    // A thread whose locals are gone is ending: nothing to count for.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
    crate::irq::audit::allocating();
    #[cfg(all(debug_assertions, not(any(feature = "loom", feature = "shuttle"))))]
    refuse_in_section();
}

#[cfg(all(debug_assertions, not(any(feature = "loom", feature = "shuttle"))))]
fn refuse_in_section() {
    let Some(began) = super::began() else { return };
    if std::thread::panicking() {
        return;
    }
    if COUNTING.with(Cell::get) > 0 {
        VIOLATIONS.with(|count| count.set(count.get() + 1));
        return;
    }
    complain(began);
    std::process::abort();
}

/// Writes the message with bare system calls, since anything else may allocate.
#[cfg(all(debug_assertions, not(any(feature = "loom", feature = "shuttle"))))]
fn complain(began: &std::panic::Location<'_>) {
    let mut digits = [0u8; 10];
    let mut at = digits.len();
    let mut line = began.line();
    loop {
        at -= 1;
        digits[at] = b'0' + (line % 10) as u8;
        line /= 10;
        if line == 0 {
            break;
        }
    }
    let parts: [&[u8]; 5] = [
        b"ringfence: allocation in the signalling section that began at ",
        began.file().as_bytes(),
        b":",
        &digits[at..],
        b"\n",
    ];
    // SAFETY: Descriptor 2 is only borrowed for the writes; if it is closed they fail, no more.
    let stderr = unsafe { std::os::fd::BorrowedFd::borrow_raw(2) };
    for part in parts {
        // The process is about to abort; there is nobody to tell of a failed write.
        let _ = rustix::io::write(stderr, part);
    }
}

// SAFETY: Every call is passed on to `inner`, which keeps the contract; what is added neither
// allocates nor unwinds.
unsafe impl<A: GlobalAlloc> GlobalAlloc for CheckedAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note_allocation();
        // SAFETY: The caller's promise is passed on.
        unsafe { self.inner.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note_allocation();
        // SAFETY: The caller's promise is passed on.
        unsafe { self.inner.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note_allocation();
        crate::irq::audit::freeing();
        // SAFETY: The caller's promise is passed on.
        unsafe { self.inner.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        crate::irq::audit::freeing();
        // SAFETY: The caller's promise is passed on.
        unsafe { self.inner.dealloc(ptr, layout) }
    }
}

/// How many allocations the current thread has made since a moment; in every build.
///
/// Always 0 unless the program's global allocator is a [`CheckedAllocator`].
#[derive(Debug)]
pub struct AllocationCount {
    start: u64,
    _not_send: PhantomData<*const ()>,
}

impl AllocationCount {
    /// Starts to count.
    pub fn start() -> Self {
        Self {
            start: ALLOCATIONS.with(Cell::get),
            _not_send: PhantomData,
        }
    }

    /// Allocations and reallocations of this thread since [`start`](Self::start).
    pub fn get(&self) -> u64 {
        ALLOCATIONS.with(Cell::get) - self.start
    }
}

/// While it lives, allocations in the current thread's signalling sections are counted, not fatal.
///
/// Counts nothing unless [`CHECKED`](super::CHECKED).
#[derive(Debug)]
pub struct ViolationCount {
    start: u64,
    _not_send: PhantomData<*const ()>,
}

impl ViolationCount {
    /// Starts to count.
    pub fn start() -> Self {
        COUNTING.with(|depth| depth.set(depth.get() + 1));
        Self {
            start: VIOLATIONS.with(Cell::get),
            _not_send: PhantomData,
        }
    }

    /// Allocations of this thread inside signalling sections since [`start`](Self::start).
    pub fn get(&self) -> u64 {
        VIOLATIONS.with(Cell::get) - self.start
    }
}

impl Drop for ViolationCount {
    fn drop(&mut self) {
        COUNTING.with(|depth| depth.set(depth.get() - 1));
    }
}
