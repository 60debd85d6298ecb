// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Timelines, the fences they make, and who signals them.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use kernel::alloc::Flags;
use kernel::bindings;
use kernel::ffi::c_char;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Refcount;
use kernel::types::Opaque;
use ringfence_core::{Errno, Time};

use super::{Fence, Status};
use crate::clock::monotonic;
use crate::sys;

/// How long a name may be, less a terminator. Longer ones are cut.
const NAME_MAX: usize = 31;

/// A name that C reads.
pub(crate) struct Name([u8; NAME_MAX + 1]);

impl Name {
    pub(crate) fn new(name: &CStr) -> Self {
        let mut bytes = [0; NAME_MAX + 1];
        for (to, from) in bytes.iter_mut().take(NAME_MAX).zip(name.to_bytes()) {
            *to = *from;
        }
        Self(bytes)
    }

    pub(crate) fn as_char_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }

    pub(crate) fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0);
        let bytes = self.0.get(..end.unwrap_or(NAME_MAX)).unwrap_or(&[]);
        core::str::from_utf8(bytes).unwrap_or("?")
    }
}

/// Timelines that exist: held by a handle, or by a fence that is open.
static TIMELINES: Atomic<i32> = Atomic::new(0);

/// How many timelines there are, those of queues included: each is kept by its owner and by its
/// open fences. For tests that look for leaks.
pub fn timelines() -> i32 {
    TIMELINES.load(Relaxed)
}

/// What the fences of a timeline share.
///
/// Freed a grace period after its last count, for those who read names of fences meanwhile.
struct Inner {
    refs: Refcount,
    rcu: Opaque<bindings::kvfree_rcu_head>,
    context: u64,
    next: Atomic<u64>,
    /// Fences that have signalled, to notice those that do so out of order.
    signalled: Atomic<u64>,
    strays: Atomic<u64>,
    driver: Name,
    name: Name,
}

/// An ordered series of fences with names.
///
/// Its fences must signal in order: whoever waits for a fence relies on those before it. One that
/// comes too early is signalled all the same, since somebody waits for it, but it is counted, and
/// the first of a timeline is a warning.
pub struct Timeline {
    inner: NonNull<Inner>,
}

// SAFETY: The inside is shared by count; what changes in it is atomic.
unsafe impl Send for Timeline {}
// SAFETY: As above.
unsafe impl Sync for Timeline {}

impl Clone for Timeline {
    fn clone(&self) -> Self {
        self.inner().refs.inc();
        Self { inner: self.inner }
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        if !self.inner().refs.dec_and_test() {
            return;
        }
        TIMELINES.add(-1, Relaxed);
        let rcu = self.inner().rcu.get();
        // SAFETY: Nobody but readers of names has it any more. It is one allocation of kmalloc's
        // with nothing to drop; `rcu` lies in it and is used for nothing else.
        unsafe { bindings::kvfree_call_rcu(rcu, self.inner.as_ptr().cast()) };
        // SAFETY: The timeline had one. Nobody can be reading names by our operations after a fence
        // has signalled, as all have, but in a read side section, for which the module's exit
        // waits.
        unsafe { sys::ringfence_module_put() };
    }
}

impl Timeline {
    /// Makes a timeline whose first fence has seqno 1. `driver` and `name` are cut after 31 bytes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(driver: &CStr, name: &CStr, flags: Flags) -> Result<Self> {
        Self::starting_at(driver, name, 1, flags)
    }

    /// As [`Timeline::new`], with another first seqno.
    pub(crate) fn starting_at(
        driver: &CStr,
        name: &CStr,
        first: u64,
        flags: Flags,
    ) -> Result<Self> {
        let inner = Inner {
            refs: Refcount::new(1),
            rcu: Opaque::zeroed(),
            // SAFETY: Takes a number.
            context: unsafe { bindings::dma_fence_context_alloc(1) },
            next: Atomic::new(first),
            signalled: Atomic::new(first),
            strays: Atomic::new(0),
            driver: Name::new(driver),
            name: Name::new(name),
        };
        let inner = KBox::into_raw(KBox::new(inner, flags)?);
        // SAFETY: Whoever calls this is linked to the module, which therefore is there.
        unsafe { sys::ringfence_module_get() };
        TIMELINES.add(1, Relaxed);
        // SAFETY: A box is never null.
        let inner = unsafe { NonNull::new_unchecked(inner) };
        Ok(Self { inner })
    }

    fn inner(&self) -> &Inner {
        // SAFETY: The handle has a count.
        unsafe { self.inner.as_ref() }
    }

    /// The number that its fences carry.
    pub fn context(&self) -> u64 {
        self.inner().context
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.inner().name.as_str()
    }

    pub(crate) fn c_name(&self) -> &CStr {
        // SAFETY: A name is terminated, and lives as long as the timeline.
        unsafe { CStr::from_char_ptr(self.name_ptr()) }
    }

    pub(crate) fn name_ptr(&self) -> *const c_char {
        self.inner().name.as_char_ptr()
    }

    /// How many of its fences have signalled while an older one was open.
    pub fn out_of_order(&self) -> u64 {
        self.inner().strays.load(Relaxed)
    }

    /// Makes a fence and the right to signal it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn signaller(&self, flags: Flags) -> Result<(Signaller, ARef<Fence>)> {
        Ok(Draft::new(flags)?.publish(self))
    }

    /// Notes a signal in order to see whether it comes too early: as many have signalled as are
    /// older, or else one of those is open.
    fn note(&self, seqno: u64) {
        let inner = self.inner();
        let signalled = inner.signalled.fetch_add(1, Relaxed);
        let ahead = seqno.wrapping_sub(signalled);
        if ahead != 0 && ahead < u64::MAX / 2 && inner.strays.fetch_add(1, Relaxed) == 0 {
            pr_err!(
                "fence {} of timeline {} signals before an older one\n",
                seqno,
                self.name()
            );
            kernel::warn_on!(true);
        }
    }
}

/// A fence of ours: what the core knows first, then what we do.
#[repr(C)]
struct Issued {
    base: Opaque<bindings::dma_fence>,
    /// Read by the names' operations in a read side section; freed a grace period after the last
    /// open fence.
    timeline: *const Inner,
}

/// Memory for a fence that nobody knows of yet. Dropped, it is freed, and no number was taken.
pub struct Draft {
    memory: KBox<core::mem::MaybeUninit<Issued>>,
}

// SAFETY: It is memory, in which nothing has been written yet.
unsafe impl Send for Draft {}

impl Draft {
    /// Takes the memory.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(flags: Flags) -> Result<Self> {
        Ok(Self {
            memory: KBox::new_uninit(flags)?,
        })
    }

    /// Gives it the timeline's next number and lets people know of it. Neither allocates nor fails.
    ///
    /// From here on somebody may wait for it: it must be signalled soon, without allocating or
    /// waiting. Numbers are in the order of signals only where their takers see to it.
    pub fn publish(self, timeline: &Timeline) -> (Signaller, ARef<Fence>) {
        let seqno = timeline.inner().next.fetch_add(1, Relaxed);
        let fence = self.init(timeline, seqno);
        let signaller = Signaller {
            fence: fence.clone(),
            timeline: timeline.clone(),
        };
        (signaller, fence)
    }

    /// Initialises the fence with a number that its queue has taken. The caller keeps the timeline
    /// until it has signalled.
    #[inline]
    pub(crate) fn init(self, timeline: &Timeline, seqno: u64) -> ARef<Fence> {
        let issued = KBox::into_raw(self.memory).cast::<Issued>();
        // SAFETY: The memory is ours. A null lock means one of the fence's own; the operations are
        // static. It is a kmalloc block with the fence at its beginning, as `dma_fence_free` needs.
        unsafe {
            (&raw mut (*issued).timeline).write(timeline.inner.as_ptr());
            bindings::dma_fence_init64(
                issued.cast(),
                &OPERATIONS,
                core::ptr::null_mut(),
                timeline.context(),
                seqno,
            );
            ARef::from_raw(NonNull::new_unchecked(issued.cast::<Fence>()))
        }
    }
}

static OPERATIONS: bindings::dma_fence_ops = bindings::dma_fence_ops {
    get_driver_name: Some(driver_name),
    get_timeline_name: Some(timeline_name),
    enable_signaling: None,
    signaled: None,
    wait: None,
    release: None,
    set_deadline: None,
};

/// # Safety
///
/// `fence` was made here and is open, or was when the caller's read side section began.
unsafe extern "C" fn driver_name(fence: *mut bindings::dma_fence) -> *const c_char {
    // SAFETY: It lies first in an `Issued`, whose timeline is there for the section's length.
    unsafe { (*(*fence.cast::<Issued>()).timeline).driver.as_char_ptr() }
}

/// # Safety
///
/// As for `driver_name`.
unsafe extern "C" fn timeline_name(fence: *mut bindings::dma_fence) -> *const c_char {
    // SAFETY: As in `driver_name`.
    unsafe { (*(*fence.cast::<Issued>()).timeline).name.as_char_ptr() }
}

/// Signals a fence whose one signaller the caller is.
#[inline]
pub(crate) fn signal(fence: &Fence, result: Status, time: Time) {
    let error = result.err().map_or(0, Errno::get);
    // SAFETY: An initialised fence; the error is in the range that fences take.
    unsafe { sys::ringfence_fence_signal(fence.as_raw(), error, time.as_ns()) };
}

/// The right, and the duty, to signal one fence.
///
/// Dropped unsignalled, it signals `ECANCELED` and says so in the log: somebody may be waiting.
#[must_use = "dropped, it signals ECANCELED"]
pub struct Signaller {
    fence: ARef<Fence>,
    timeline: Timeline,
}

impl Signaller {
    /// The fence.
    pub fn fence(&self) -> &ARef<Fence> {
        &self.fence
    }

    /// Signals it. Calls its callbacks, under its lock. Any context but a fence callback; takes no
    /// other lock.
    pub fn signal(self, result: Status) {
        let this = ManuallyDrop::new(self);
        this.signal_now(result);
        // SAFETY: Taken once: `this` is not used or dropped after.
        drop(unsafe { core::ptr::read(&this.fence) });
        // SAFETY: As above.
        drop(unsafe { core::ptr::read(&this.timeline) });
    }

    fn signal_now(&self, result: Status) {
        self.timeline.note(self.fence.seqno());
        signal(&self.fence, result, monotonic());
    }
}

impl Drop for Signaller {
    fn drop(&mut self) {
        pr_err!(
            "signaller of fence {} of timeline {} dropped unsignalled, signalling ECANCELED\n",
            self.fence.seqno(),
            self.timeline.name()
        );
        self.signal_now(Err(Errno::ECANCELED));
    }
}
