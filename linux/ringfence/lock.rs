// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The lock of a queue: a spin lock that is taken with interrupts off, from any context.
//!
//! The kernel crate's `SpinLockIrq` counts interrupt-disables of its own; this one saves and
//! restores flags as C code around it does, so that it may be taken inside a fence callback, which
//! runs under a lock that C took with `spin_lock_irqsave`.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use kernel::bindings;
use kernel::ffi::c_ulong;
use kernel::types::Opaque;

use crate::sys;

/// A value that one thread at a time, or one interrupt handler, has.
pub struct Lock<T> {
    lock: Opaque<bindings::spinlock_t>,
    value: UnsafeCell<T>,
}

// SAFETY: One user at a time has the value.
unsafe impl<T: Send> Sync for Lock<T> {}
// SAFETY: As above; a spin lock that nobody holds may be moved, unless lockdep says otherwise,
// which goes by the class and not by the place.
unsafe impl<T: Send> Send for Lock<T> {}

/// The lock is held and interrupts are off.
pub struct Guard<'a, T> {
    lock: &'a Lock<T>,
    flags: c_ulong,
    // Interrupts are off on this processor.
    _not_send: PhantomData<*mut ()>,
}

impl<T> Lock<T> {
    /// Makes one that is free.
    pub fn new(value: T) -> Self {
        let lock = Self {
            lock: Opaque::zeroed(),
            value: UnsafeCell::new(value),
        };
        // SAFETY: The memory is ours. Spin locks do not hold their own address.
        unsafe { sys::ringfence_lock_init(lock.lock.get()) };
        lock
    }

    /// Takes the lock. Any context; must not be nested.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        // SAFETY: It was initialised in `new`.
        let flags = unsafe { sys::ringfence_lock(self.lock.get()) };
        Guard {
            lock: self,
            flags,
            _not_send: PhantomData,
        }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The lock is held.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The lock is held, and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: It was locked by this guard, which gives the flags back that it got.
        unsafe { sys::ringfence_unlock(self.lock.lock.get(), self.flags) };
    }
}

/// After so many effects interrupts are let in.
const BREATH: u32 = 16;

/// Whether interrupts are off on this processor because of us, over a whole visit: turning them off
/// and on again may cost more than a lock, so a visit does it once for a lock hold, the signals
/// that follow from it, and the next.
///
/// Where they were off before, as in an interrupt handler, nothing here turns them on.
pub(crate) struct Irqs {
    flags: c_ulong,
    off: bool,
    /// What was done since they were on.
    done: u32,
    // Interrupts are off on this processor.
    _not_send: PhantomData<*mut ()>,
}

impl Irqs {
    /// They are as they are. The first lock turns them off.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            flags: 0,
            off: false,
            done: 0,
            _not_send: PhantomData,
        }
    }

    /// As they were before.
    #[inline]
    pub(crate) fn restore(&mut self) {
        self.done = 0;
        if core::mem::replace(&mut self.off, false) {
            // SAFETY: The flags are those that were saved, on this processor.
            unsafe { sys::ringfence_irqs_restore(self.flags) };
        }
    }

    /// Turns them off, where they are not.
    #[inline]
    pub(crate) fn turn_off(&mut self) {
        if !self.off {
            // SAFETY: Restored by this.
            self.flags = unsafe { sys::ringfence_irqs_off() };
            self.off = true;
        }
    }

    /// So many effects were acted on. Lets interrupts come that have waited for a batch.
    #[inline]
    pub(crate) fn did(&mut self, effects: u32) {
        self.done += effects;
        if self.done >= BREATH {
            self.restore();
        }
    }

    /// Takes a lock, and turns interrupts off where they are not.
    #[inline]
    pub(crate) fn lock<'a, T>(&'a mut self, lock: &'a Lock<T>) -> Held<'a, T> {
        // SAFETY: It was initialised in `new`. Interrupts are off for as long as `self` is
        // borrowed, and this restores the flags.
        unsafe {
            if self.off {
                sys::ringfence_lock_plain(lock.lock.get());
            } else {
                self.flags = sys::ringfence_lock(lock.lock.get());
                self.off = true;
            }
        }
        Held { lock }
    }
}

impl Drop for Irqs {
    #[inline]
    fn drop(&mut self) {
        self.restore();
    }
}

/// The lock is held by somebody who has turned interrupts off.
pub(crate) struct Held<'a, T> {
    lock: &'a Lock<T>,
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The lock is held.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Held<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The lock is held, and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Held<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: It was locked by this guard.
        unsafe { sys::ringfence_unlock_plain(self.lock.lock.get()) };
    }
}

/// Orders the submissions of one queue against those of other guards: a mutex, of which a guard
/// takes several in one order.
pub(crate) struct Gate(Opaque<bindings::mutex>);

// SAFETY: A mutex is made for many threads.
unsafe impl Sync for Gate {}
// SAFETY: It is only moved before it is initialised.
unsafe impl Send for Gate {}

/// A gate is locked by this thread.
pub(crate) struct GateGuard<'a> {
    gate: &'a Gate,
    _not_send: PhantomData<*mut ()>,
}

impl Gate {
    /// To be initialised where it stays.
    pub(crate) const fn new() -> Self {
        Self(Opaque::uninit())
    }

    /// Makes it usable.
    ///
    /// # Safety
    ///
    /// It does not move from here on. Called once, before anything else.
    pub(crate) unsafe fn init(&self) {
        // SAFETY: It stays, says the caller.
        unsafe { sys::ringfence_gate_init(self.0.get()) };
    }

    /// Locks it, as the `depth`th that this thread holds. Sleeps.
    pub(crate) fn lock(&self, depth: u32) -> GateGuard<'_> {
        // SAFETY: It was initialised when its queue was made.
        unsafe { sys::ringfence_gate_lock(self.0.get(), depth) };
        GateGuard {
            gate: self,
            _not_send: PhantomData,
        }
    }
}

impl Drop for GateGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: This thread has locked it.
        unsafe { sys::ringfence_gate_unlock(self.gate.0.get()) };
    }
}
