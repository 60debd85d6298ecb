// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The C side, as declared in `linux/bench/peer.h`: drm_sched, and what both sides are measured
//! with.

use core::ops::Deref;
use core::ptr::NonNull;

use kernel::ffi::{c_int, c_void};
use kernel::prelude::*;

pub(crate) const BACKEND_NONE: u32 = 0;
pub(crate) const BACKEND_IRQ: u32 = 1;
const WAIT_IDLE: u32 = 1;

/// `struct peer_stamps`, in cycles.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Stamp {
    pub(crate) alloc: u64,
    pub(crate) init: u64,
    pub(crate) push: u64,
    pub(crate) pushed: u64,
    pub(crate) signal: u64,
    pub(crate) run: u64,
    pub(crate) finished: u64,
}

#[repr(C)]
struct Peer {
    _opaque: [u8; 0],
}

#[repr(C)]
struct PeerWindow {
    _opaque: [u8; 0],
}

extern "C" {
    fn peer_cycles() -> u64;
    fn peer_cycles_per_ms() -> u64;
    fn peer_settle();
    fn peer_call_in_irq(f: unsafe extern "C" fn(*mut c_void), arg: *mut c_void) -> bool;
    fn peer_window_create(limit: u32) -> *mut PeerWindow;
    fn peer_window_destroy(window: *mut PeerWindow);
    fn peer_window_enter(window: *mut PeerWindow);
    fn peer_window_leave(window: *mut PeerWindow);
    fn peer_window_drain(window: *mut PeerWindow);
    fn peer_free_bytes() -> u64;
    fn peer_create(credit_limit: u32, backend: u32) -> *mut Peer;
    fn peer_destroy(peer: *mut Peer);
    fn peer_push_to_run(peer: *mut Peer, jobs: u32, wait: u32, samples: *mut Stamp) -> c_int;
    fn peer_dependency_to_run(
        peer: *mut Peer,
        jobs: u32,
        settle: bool,
        samples: *mut Stamp,
    ) -> c_int;
    fn peer_completion_to_finished(peer: *mut Peer, jobs: u32, samples: *mut Stamp) -> c_int;
    fn peer_throughput(peers: *const *mut Peer, queues: u32, jobs: u32, outstanding: u32) -> u64;
    fn peer_bytes_per_queue(queues: u32, slab_bytes: *mut u64) -> u64;
    fn peer_bytes_per_job(jobs: u32, slab_bytes: *mut u64, object_bytes: *mut u64) -> u64;
}

/// Now, in cycles.
#[inline]
pub(crate) fn cycles() -> u64 {
    // SAFETY: Reads a counter.
    unsafe { peer_cycles() }
}

pub(crate) fn cycles_per_ms() -> u64 {
    // SAFETY: May sleep.
    unsafe { peer_cycles_per_ms() }
}

/// Lets workers on this CPU finish and go to sleep.
pub(crate) fn settle() {
    // SAFETY: May sleep.
    unsafe { peer_settle() };
}

pub(crate) fn free_bytes() -> u64 {
    // SAFETY: May sleep.
    unsafe { peer_free_bytes() }
}

/// Calls `f` once in a hard interrupt.
pub(crate) fn call_in_irq<F: FnMut()>(mut f: F) -> Result {
    /// # Safety
    ///
    /// `arg` points to an `F` that nobody else uses.
    unsafe extern "C" fn call<F: FnMut()>(arg: *mut c_void) {
        // SAFETY: It is the closure below, which waits for the call.
        unsafe { (*arg.cast::<F>())() };
    }
    // SAFETY: Returns when the call has.
    let in_irq = unsafe { peer_call_in_irq(call::<F>, (&raw mut f).cast()) };
    in_irq.then_some(()).ok_or(EIO)
}

/// Room for stamps.
pub(crate) struct Stamps(KVVec<Stamp>);

impl Stamps {
    pub(crate) fn new(steps: u32) -> Result<Self> {
        let mut stamps = KVVec::with_capacity(steps as usize, GFP_KERNEL)?;
        for _ in 0..steps {
            stamps.push(Stamp::default(), GFP_KERNEL)?;
        }
        Ok(Self(stamps))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stamp> {
        self.0.iter_mut()
    }
}

impl Deref for Stamps {
    type Target = [Stamp];

    fn deref(&self) -> &[Stamp] {
        &self.0
    }
}

/// At most so many jobs between submit and free.
pub(crate) struct Window(NonNull<PeerWindow>);

// SAFETY: Made to be left in any context.
unsafe impl Send for Window {}
// SAFETY: As above.
unsafe impl Sync for Window {}

/// One job's place in a window, until it is dropped.
pub(crate) struct Seat(NonNull<PeerWindow>);

// SAFETY: May be left in any context.
unsafe impl Send for Seat {}

// SAFETY: As above: it wakes, at most.
unsafe impl ringfence::DropInIrq for Seat {}

impl Window {
    pub(crate) fn new(limit: u32) -> Result<Self> {
        // SAFETY: May sleep.
        let window = NonNull::new(unsafe { peer_window_create(limit) });
        Ok(Self(window.ok_or(ENOMEM)?))
    }

    #[inline]
    pub(crate) fn enter(&self) -> Seat {
        // SAFETY: One task submits.
        unsafe { peer_window_enter(self.0.as_ptr()) };
        Seat(self.0)
    }

    /// Waits until all seats are empty.
    pub(crate) fn drain(&self) {
        // SAFETY: May sleep.
        unsafe { peer_window_drain(self.0.as_ptr()) };
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.drain();
        // SAFETY: Nobody is in.
        unsafe { peer_window_destroy(self.0.as_ptr()) };
    }
}

impl Drop for Seat {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: A window waits for its seats before it goes.
        unsafe { peer_window_leave(self.0.as_ptr()) };
    }
}

/// A scheduler with its workqueue, and an entity.
pub(crate) struct Scheduler(NonNull<Peer>);

fn steps(stamps: &Stamps) -> u32 {
    u32::try_from(stamps.len()).unwrap_or(u32::MAX)
}

impl Scheduler {
    pub(crate) fn new(credits: u32, backend: u32) -> Result<Self> {
        // SAFETY: May sleep.
        let peer = NonNull::new(unsafe { peer_create(credits, backend) });
        Ok(Self(peer.ok_or(ENOMEM)?))
    }

    pub(crate) fn push_to_run(&self, stamps: &mut Stamps) -> Result {
        let (peer, jobs, room) = (self.0.as_ptr(), steps(stamps), stamps.0.as_mut_ptr());
        // SAFETY: There is room for so many.
        kernel::error::to_result(unsafe { peer_push_to_run(peer, jobs, WAIT_IDLE, room) })
    }

    pub(crate) fn dependency_to_run(&self, stamps: &mut Stamps) -> Result {
        let (peer, jobs, room) = (self.0.as_ptr(), steps(stamps), stamps.0.as_mut_ptr());
        // SAFETY: There is room for so many.
        kernel::error::to_result(unsafe { peer_dependency_to_run(peer, jobs, true, room) })
    }

    pub(crate) fn completion_to_finished(&self, stamps: &mut Stamps) -> Result {
        let (peer, jobs, room) = (self.0.as_ptr(), steps(stamps), stamps.0.as_mut_ptr());
        // SAFETY: There is room for so many.
        kernel::error::to_result(unsafe { peer_completion_to_finished(peer, jobs, room) })
    }

    /// In cycles.
    pub(crate) fn throughput(&self, jobs: u32, outstanding: u32) -> Result<u64> {
        throughput(core::slice::from_ref(self), jobs, outstanding)
    }
}

/// In cycles, over so many schedulers in turn.
pub(crate) fn throughput_of_queues(queues: u32, jobs: u32, outstanding: u32) -> Result<u64> {
    let mut schedulers = KVVec::with_capacity(queues as usize, GFP_KERNEL)?;
    for _ in 0..queues {
        schedulers.push(Scheduler::new(64, BACKEND_NONE)?, GFP_KERNEL)?;
    }
    throughput(&schedulers, jobs, outstanding)
}

fn throughput(schedulers: &[Scheduler], jobs: u32, outstanding: u32) -> Result<u64> {
    let queues = u32::try_from(schedulers.len()).map_err(|_| EINVAL)?;
    // SAFETY: A scheduler is a pointer, so they are an array of pointers.
    match unsafe { peer_throughput(schedulers.as_ptr().cast(), queues, jobs, outstanding) } {
        0 => Err(ENOMEM),
        cycles => Ok(cycles),
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // SAFETY: No job is left: every function waits for its own.
        unsafe { peer_destroy(self.0.as_ptr()) };
    }
}

pub(crate) fn bytes_per_queue(queues: u32) -> Result<u64> {
    let mut slab = 0;
    // SAFETY: May sleep.
    match unsafe { peer_bytes_per_queue(queues, &mut slab) } {
        0 => Err(ENOMEM),
        bytes => Ok(bytes),
    }
}

pub(crate) fn bytes_per_job(jobs: u32) -> Result<u64> {
    let (mut slab, mut object) = (0, 0);
    // SAFETY: May sleep.
    match unsafe { peer_bytes_per_job(jobs, &mut slab, &mut object) } {
        0 => Err(ENOMEM),
        bytes => Ok(bytes),
    }
}
