// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Fences of an issuer that goes as soon as it may: a grace period after the signal, with its lock
//! ("Safe external access", `include/linux/dma-fence.h`). What touches the lock after that is for
//! KASAN to see.

use core::ptr::NonNull;

use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::aref::ARef;

use ringfence::{Errno, Fence};

use crate::rig::{done, on_signal, submit, Does, Rig, What};

/// Memory for a fence.
type Memory = core::mem::MaybeUninit<bindings::dma_fence>;

static OPERATIONS: bindings::dma_fence_ops = bindings::dma_fence_ops {
    get_driver_name: Some(name),
    get_timeline_name: Some(name),
    enable_signaling: None,
    signaled: None,
    wait: None,
    release: None,
    set_deadline: None,
};

/// # Safety
///
/// None: it only returns a name.
unsafe extern "C" fn name(_fence: *mut bindings::dma_fence) -> *const kernel::ffi::c_char {
    c"foreign".as_char_ptr()
}

/// Who has the lock of one fence.
struct Issuer {
    fence: ARef<Fence>,
    /// A fence that nobody ever sees: a lock that C has initialised lies in it.
    lock: KBox<Memory>,
}

impl Issuer {
    fn new() -> Result<Self> {
        let mut lock: KBox<Memory> = KBox::new_uninit(GFP_KERNEL)?;
        let memory = KBox::into_raw(KBox::<bindings::dma_fence>::new_uninit(GFP_KERNEL)?);
        // SAFETY: The memory is ours; a block of its own for the fence, which frees itself with its
        // last count. The lock stays until the fence has signalled.
        let fence = unsafe {
            let context = bindings::dma_fence_context_alloc(2);
            let donor = lock.as_mut_ptr();
            bindings::dma_fence_init64(donor, &OPERATIONS, core::ptr::null_mut(), context, 1);
            let lock = (&raw mut (*donor).__bindgen_anon_1).cast();
            bindings::dma_fence_init64(memory.cast(), &OPERATIONS, lock, context + 1, 1);
            ARef::from_raw(NonNull::new_unchecked(memory.cast::<Fence>()))
        };
        Ok(Self { fence, lock })
    }

    fn signal(&self, error: i32) {
        // SAFETY: Nobody else signals it.
        unsafe {
            if error != 0 {
                (*self.fence.as_raw()).error = error;
            }
            bindings::dma_fence_signal(self.fence.as_raw());
        }
    }

    /// Goes, as early as it may. The fence has signalled.
    fn go(self) -> ARef<Fence> {
        // SAFETY: May sleep.
        unsafe { bindings::synchronize_rcu() };
        drop(self.lock);
        self.fence
    }
}

/// What was registered with such a fence is taken off after its issuer has gone.
pub(crate) fn issuer_of_a_dependency_is_gone() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let (dependency, hardware) = (Issuer::new()?, Issuer::new()?);
    let first = submit(&queue, rig.gpu.waits(1), &[&dependency.fence])?;
    let follows = rig.gpu.work(2, Does::Follows(hardware.fence.clone()));
    let second = submit(&queue, follows, &[])?;
    let watch = on_signal(&dependency.fence, |_| {})?;
    ensure_eq!(rig.gpu.count_all(What::RunBegins), 0);
    dependency.signal(0);
    rig.gpu.wait_for(2, What::RunEnds)?;
    hardware.signal(Errno::EIO.get());
    rig.gpu.wait_running(1)?;
    let gone = [dependency.go(), hardware.go()];
    // Both are reaped only now: the second waits for the first.
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!((done(&first)?, done(&second)?), (Ok(()), Err(Errno::EIO)));
    rig.gpu.wait_for(2, What::Dropped)?;
    drop(watch);
    ensure!(gone.iter().all(|fence| fence.is_signaled()));
    drop((queue, gone));
    rig.finish()
}

/// A fence is used whose issuer has gone: asked, depended on, followed, watched.
pub(crate) fn fence_whose_issuer_is_gone_is_used() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let issuer = Issuer::new()?;
    issuer.signal(0);
    let fence = issuer.go();
    ensure!(fence.is_signaled());
    let depends = submit(&queue, rig.gpu.done(1), &[&fence])?;
    ensure_eq!(done(&depends)?, Ok(()));
    let follows = rig.gpu.work(2, Does::Follows(fence.clone()));
    ensure_eq!(done(&*submit(&queue, follows, &[])?)?, Ok(()));
    ensure!(on_signal(&fence, |_| {}).is_err());
    ensure_eq!(fence.status(), Some(Ok(())));
    ensure!(fence.timestamp().is_some());
    drop((queue, fence));
    rig.finish()
}
