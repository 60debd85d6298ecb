// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Fences: the kernel's `dma_fence`, with one owner that signals.
//!
//! A [`Timeline`] makes fences. Each has one [`Signaller`], which signals it exactly once, and any
//! number of `ARef<Fence>`, which wait, ask and register [`Callback`]s, and cannot signal. The
//! fences of C drivers are [`Fence`]s, too.
//!
//! | rule | why, and where it is said |
//! |---|---|
//! | the fence is first in its allocation | the core frees it by `kfree_rcu(fence)`, `dma_fence_free()` |
//! | its lock is its own | new users must not pass one, `dma_fence_init()` |
//! | no `release` and no `wait` | then the operations are detached when it signals, `dma_fence_signal_timestamp_locked()` |
//! | names live a grace period longer than the fence is open | "Safe external access", `include/linux/dma-fence.h` |
//! | no fence's lock is taken in a fence's callback | all inline locks are one lockdep class |
//! | the error comes before the signal | `dma_fence_set_error()` |

mod callback;
mod timeline;

use core::ptr::NonNull;

use kernel::bindings;
use kernel::sync::aref::{ARef, AlwaysRefCounted};
use kernel::types::Opaque;
use ringfence_core::{Errno, Time};

pub use callback::{Callback, FenceCallback, Registration, RejectedCallback};
pub use timeline::{timelines, Draft, Signaller, Timeline};

pub(crate) use callback::{Node, Target};
pub(crate) use timeline::signal;

use crate::sys;

/// How a fence has signalled.
pub type Status = Result<(), Errno>;

/// A fence, ours or anybody's.
///
/// # Invariants
///
/// An initialised `struct dma_fence` with a reference count.
#[repr(transparent)]
pub struct Fence(Opaque<bindings::dma_fence>);

// SAFETY: `struct dma_fence` is made to be used from any thread.
unsafe impl Send for Fence {}
// SAFETY: As above.
unsafe impl Sync for Fence {}

// SAFETY: The counts are those of `dma_fence_get()` and `dma_fence_put()`.
unsafe impl AlwaysRefCounted for Fence {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: The type's invariant.
        unsafe { sys::ringfence_fence_get(self.as_raw()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller has a count to give.
        unsafe { sys::ringfence_fence_put(obj.as_ptr().cast()) };
    }
}

impl Fence {
    /// The C side's name for it.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::dma_fence {
        self.0.get()
    }

    /// A fence that C code knows, for as long as the caller says.
    ///
    /// # Safety
    ///
    /// `fence` is an initialised fence with a count that lasts for `'a`.
    pub unsafe fn from_raw<'a>(fence: *mut bindings::dma_fence) -> &'a Self {
        // SAFETY: The type is a transparent wrapper, and the caller vouches for the rest.
        unsafe { &*fence.cast() }
    }

    /// Takes over a count that C code has handed out. `None` for a null pointer.
    ///
    /// # Safety
    ///
    /// `fence` is null, or an initialised fence with a count that is the caller's to give.
    pub unsafe fn from_count(fence: *mut bindings::dma_fence) -> Option<ARef<Self>> {
        let fence = NonNull::new(fence.cast::<Self>())?;
        // SAFETY: The caller gives his count.
        Some(unsafe { ARef::from_raw(fence) })
    }

    /// The timeline, as a number.
    pub fn context(&self) -> u64 {
        // SAFETY: The type's invariant; the field does not change.
        unsafe { (*self.as_raw()).context }
    }

    /// The place on the timeline.
    pub fn seqno(&self) -> u64 {
        // SAFETY: The type's invariant; the field does not change.
        unsafe { (*self.as_raw()).seqno }
    }

    /// True once it has signalled and its callbacks have returned or are returning. May signal a
    /// fence whose hardware is found done. Any context but a fence callback.
    pub fn is_signaled(&self) -> bool {
        // SAFETY: The type's invariant.
        unsafe { sys::ringfence_fence_is_signaled(self.as_raw()) }
    }

    /// How it has signalled, `None` while it is open. Takes the fence's lock: any context but a
    /// fence callback.
    pub fn status(&self) -> Option<Status> {
        // SAFETY: The type's invariant.
        match unsafe { sys::ringfence_fence_status(self.as_raw()) } {
            0 => None,
            1.. => Some(Ok(())),
            error => Some(Err(Errno::new(error).unwrap_or(Errno::EIO))),
        }
    }

    /// When it signalled, `None` while it is open.
    pub fn timestamp(&self) -> Option<Time> {
        let _status = self.status()?;
        // SAFETY: The type's invariant; it has signalled, as that function demands.
        let ns = unsafe { sys::ringfence_fence_timestamp(self.as_raw()) };
        Some(Time::from_ns(ns))
    }

    /// True if both are of one timeline and this one is later.
    pub fn is_later_than(&self, other: &Self) -> bool {
        // SAFETY: The type's invariant; the function wants fences of one context.
        self.context() == other.context()
            && unsafe { sys::ringfence_fence_is_later(self.as_raw(), other.as_raw()) }
    }

    /// Waits until it has signalled. Sleeps; not in a signalling section, which lockdep checks.
    pub fn wait(&self) -> Status {
        let forever = kernel::ffi::c_long::MAX;
        // SAFETY: The type's invariant; uninterruptible.
        unsafe { bindings::dma_fence_wait_timeout(self.as_raw(), false, forever) };
        self.status().unwrap_or(Err(Errno::ETIMEDOUT))
    }

    /// As [`Fence::wait`], for so many milliseconds at most. `None` if it is open still.
    pub fn wait_timeout(&self, ms: u32) -> Option<Status> {
        // SAFETY: Computes.
        let jiffies = unsafe { bindings::__msecs_to_jiffies(ms) };
        let jiffies = kernel::ffi::c_long::try_from(jiffies).unwrap_or(kernel::ffi::c_long::MAX);
        // SAFETY: The type's invariant; uninterruptible.
        unsafe { bindings::dma_fence_wait_timeout(self.as_raw(), false, jiffies) };
        self.status()
    }
}

impl core::fmt::Debug for Fence {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Fence({}:{})", self.context(), self.seqno())
    }
}
