// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Which tasks are in a driver callback, of any queue.
//!
//! A task in a callback is in a signalling section: payloads of other queues must not be dropped
//! there, and their callbacks do not nest in it. The kernel's tasks have no room for such a mark,
//! so it is kept here: a few places by the task's address, in one cache line. Callbacks that run
//! with interrupts off need none.

use kernel::ffi::c_void;
use kernel::sync::atomic::{Atomic, Full, Relaxed};

use crate::shared::read;
use crate::sys;

const BUCKETS: usize = 64;
const PLACES: usize = 7;

/// Tasks whose addresses have one hash.
#[repr(align(64))]
struct Bucket {
    places: [Atomic<*mut c_void>; PLACES],
    /// Tasks that found no place. While there are any, all tasks of the bucket count as inside.
    more: Atomic<i32>,
}

static INSIDE: [Bucket; BUCKETS] = [const {
    Bucket {
        places: [const { Atomic::new(core::ptr::null_mut()) }; PLACES],
        more: Atomic::new(0),
    }
}; BUCKETS];

/// This task is in a callback until this is dropped.
pub(crate) struct Inside {
    place: &'static Atomic<*mut c_void>,
    /// No place was free.
    more: Option<&'static Atomic<i32>>,
}

fn current() -> *mut c_void {
    // SAFETY: A task has itself.
    unsafe { sys::ringfence_current() }
}

fn bucket(task: *mut c_void) -> &'static Bucket {
    // Tasks are some kilobytes apart.
    let hash = (task as usize >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
    &INSIDE[hash % BUCKETS]
}

/// Marks this task.
#[inline]
pub(crate) fn enter() -> Inside {
    let task = current();
    let bucket = bucket(task);
    for place in &bucket.places {
        if read(place).is_null() && place.cmpxchg(core::ptr::null_mut(), task, Full).is_ok() {
            return Inside { place, more: None };
        }
    }
    bucket.more.fetch_add(1, Full);
    Inside {
        place: &bucket.places[0],
        more: Some(&bucket.more),
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        match self.more {
            None => self.place.store(core::ptr::null_mut(), Relaxed),
            Some(more) => _ = more.fetch_sub(1, Full),
        }
    }
}

/// A queue whose callbacks mark their task, until this is dropped.
pub(crate) struct Marking(());

impl Marking {
    pub(crate) fn new() -> Self {
        // SAFETY: The C side's, and atomic.
        unsafe { sys::ringfence_rare.marking.add(1, Relaxed) };
        Self(())
    }
}

impl Drop for Marking {
    fn drop(&mut self) {
        // SAFETY: As above.
        unsafe { sys::ringfence_rare.marking.add(-1, Relaxed) };
    }
}

/// True if this task is in a driver callback.
#[inline]
pub(crate) fn is_inside() -> bool {
    // SAFETY: The C side's, and atomic. A task in a callback has a queue that marks.
    if read(unsafe { &sys::ringfence_rare.marking }) == 0 {
        return false;
    }
    is_marked()
}

fn is_marked() -> bool {
    let task = current();
    let bucket = bucket(task);
    read(&bucket.more) != 0 || bucket.places.iter().any(|place| read(place) == task)
}
