// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The lock of a queue: a spin lock that is taken with interrupts off, from any context.
//!
//! The kernel crate's `SpinLockIrq` counts interrupt-disables of its own; this one saves and restores
//! flags as C code around it does, so that it may be taken inside a fence callback, which runs under a
//! lock that C took with `spin_lock_irqsave`.

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
// SAFETY: As above; a spin lock that nobody holds may be moved, unless lockdep says otherwise, which
// goes by the class and not by the place.
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
