// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Callbacks of fences: memory that the caller prepares, and removal that waits.

use core::cell::UnsafeCell;
use core::marker::PhantomPinned;

use kernel::alloc::Flags;
use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::types::Opaque;
use ringfence_core::Errno;

use super::{Fence, Status};
use crate::sys;

/// Who is told that a fence has signalled.
pub(crate) trait Target: Send {
    /// Called once for each registration, on the signalling thread or in its interrupt, with the
    /// fence's lock held and interrupts off. Must not take another fence's lock, nor free the node.
    fn on_signal(&self, status: Status);
}

/// What links a target to one fence at a time.
///
/// # Invariants
///
/// Where `fence` is set the callback was added to it, and the node neither moves nor goes away
/// before [`Node::remove`] has returned. `done` is set when the callback has returned.
#[repr(C)]
pub(crate) struct Node<T: Target> {
    cb: Opaque<bindings::dma_fence_cb>,
    done: UnsafeCell<bool>,
    fence: Option<ARef<Fence>>,
    pub(crate) target: T,
    _pin: PhantomPinned,
}

// SAFETY: The callback only borrows the target, which is `Send`; all else is used by the owner.
unsafe impl<T: Target> Send for Node<T> {}

impl<T: Target> Node<T> {
    pub(crate) const fn new(target: T) -> Self {
        Self {
            cb: Opaque::uninit(),
            done: UnsafeCell::new(false),
            fence: None,
            target,
            _pin: PhantomPinned,
        }
    }

    /// Has the target told of `fence`. Allocates nothing. Any context but a fence callback.
    ///
    /// # Errors
    ///
    /// How the fence has signalled, if it has: the target is not told.
    ///
    /// # Safety
    ///
    /// The node stays where it is until [`Node::remove`] has returned, which the caller sees to. It
    /// is not registered.
    pub(crate) unsafe fn add(this: *mut Self, fence: ARef<Fence>) -> Result<(), Status> {
        let raw = fence.as_raw();
        // SAFETY: The node is the caller's, and nobody else's before it is added.
        let cb = unsafe {
            *(*this).done.get() = false;
            // Before it is added: the callback may come at once.
            (*this).fence = Some(fence);
            (*this).cb.get()
        };
        // SAFETY: The fence is counted by the node; the node stays, says the caller.
        let error = unsafe { bindings::dma_fence_add_callback(raw, cb, Some(Self::signalled)) };
        if error == 0 {
            return Ok(());
        }
        // SAFETY: It was not added.
        let fence = unsafe { (*this).fence.take() };
        Err(fence.and_then(|fence| fence.status()).unwrap_or(Ok(())))
    }

    /// Takes the target off its fence's list, or waits until it has been told. False in the latter
    /// case, and if it was on none. Spins at most for the length of the fence's callbacks. Any
    /// context but a fence callback.
    ///
    /// # Safety
    ///
    /// The caller owns the node.
    pub(crate) unsafe fn remove(this: *mut Self) -> bool {
        // SAFETY: The owner alone changes it once the callback was added.
        let Some(fence) = (unsafe { (*this).fence.take() }) else {
            return false;
        };
        // SAFETY: The callback was added to this fence, which is counted until the end of this.
        unsafe {
            sys::ringfence_fence_remove_callback(
                fence.as_raw(),
                (*this).cb.get(),
                (*this).done.get(),
            )
        }
    }

    /// # Safety
    ///
    /// Called by the core for a node that was added, under the lock of `fence`.
    unsafe extern "C" fn signalled(
        fence: *mut bindings::dma_fence,
        cb: *mut bindings::dma_fence_cb,
    ) {
        let this = cb.cast::<Self>();
        // SAFETY: The fence is locked and has signalled: its error does not change any more.
        let error = unsafe { (*fence).error };
        let status = match error {
            0 => Ok(()),
            error => Err(Errno::new(error).unwrap_or(Errno::EIO)),
        };
        // SAFETY: The node stays until `done` is set. The target is only borrowed.
        unsafe {
            (*this).target.on_signal(status);
            kernel::sync::atomic::atomic_store(
                (*this).done.get(),
                true,
                kernel::sync::atomic::Release,
            );
        }
    }
}

/// What is called when a fence signals. A closure is one.
pub trait FenceCallback: Send + 'static {
    /// The fence has signalled with `status`. See [`Callback::new`] for what is allowed here.
    fn on_signal(&mut self, status: Status);
}

impl<F: FnMut(Status) + Send + 'static> FenceCallback for F {
    fn on_signal(&mut self, status: Status) {
        self(status);
    }
}

/// A closure in memory of its own, ready to be registered with a fence.
///
/// Made beforehand, so that registering allocates nothing. The closure is only borrowed when it
/// runs: what it owns is dropped where this or its [`Registration`] is dropped, not where the fence
/// signals.
pub struct Callback<F: FenceCallback> {
    node: Pin<KBox<Node<Closure<F>>>>,
}

struct Closure<F>(UnsafeCell<F>);

impl<F: FenceCallback> Target for Closure<F> {
    fn on_signal(&self, status: Status) {
        // SAFETY: A callback runs once a registration, and its owner leaves the closure alone until
        // that is over.
        unsafe { (*self.0.get()).on_signal(status) };
    }
}

impl<F: FenceCallback> Callback<F> {
    /// Puts `function` where a fence can call it.
    ///
    /// It runs on the signalling thread or in its interrupt, with the fence's lock held and
    /// interrupts off: it must not sleep, take any fence's lock (which asking its status does),
    /// signal, or drop its own registration. Waking, queueing work and completing a job by
    /// [`Completion::complete_in_callback`](crate::Completion::complete_in_callback) is what it is
    /// for.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(function: F, flags: Flags) -> Result<Self> {
        let node = Node::new(Closure(UnsafeCell::new(function)));
        Ok(Self {
            node: KBox::pin(node, flags)?,
        })
    }
}

/// Why a callback was not registered; gives the callback back, uncalled.
pub struct RejectedCallback<F: FenceCallback> {
    /// How the fence has signalled.
    pub result: Status,
    /// The callback, unchanged.
    pub callback: Callback<F>,
}

/// A callback that a fence will call, or has called. Dropping it takes it back, or waits until a
/// call that is running has returned.
#[must_use = "dropping it takes the callback back"]
pub struct Registration<F: FenceCallback> {
    node: Pin<KBox<Node<Closure<F>>>>,
}

impl<F: FenceCallback> Registration<F> {
    fn raw(&mut self) -> *mut Node<Closure<F>> {
        // SAFETY: The node is not moved.
        unsafe { core::ptr::from_mut(self.node.as_mut().get_unchecked_mut()) }
    }

    /// Takes the callback back. True if it was not called and will not be.
    pub fn remove(mut self) -> bool {
        // SAFETY: The registration owns the node.
        unsafe { Node::remove(self.raw()) }
    }
}

impl<F: FenceCallback> Drop for Registration<F> {
    fn drop(&mut self) {
        // SAFETY: The registration owns the node.
        unsafe { Node::remove(self.raw()) };
    }
}

impl Fence {
    /// Has `callback` called when the fence signals, unless the registration is dropped before.
    ///
    /// Allocates nothing; any context but a fence callback.
    ///
    /// # Errors
    ///
    /// If the fence has signalled, the callback comes back and is *not* called.
    pub fn add_callback<F: FenceCallback>(
        &self,
        callback: Callback<F>,
    ) -> Result<Registration<F>, RejectedCallback<F>> {
        let mut registration = Registration {
            node: callback.node,
        };
        // SAFETY: The box does not move, and its drop removes.
        match unsafe { Node::add(registration.raw(), ARef::from(self)) } {
            Ok(()) => Ok(registration),
            Err(result) => {
                let this = core::mem::ManuallyDrop::new(registration);
                // SAFETY: Taken once; it is not registered, so there is nothing to remove.
                let node = unsafe { core::ptr::read(&this.node) };
                Err(RejectedCallback {
                    result,
                    callback: Callback { node },
                })
            }
        }
    }
}
