// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A lock that every tool knows.
//!
//! The standard library's is a futex: valgrind does not see it at all, and the thread sanitizer
//! not where it is compiled into the library, without instrumentation. This is POSIX's.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};

/// A mutex. Not poisoned by panics. It has no memory of its own, so nothing is to be done at its end.
pub(crate) struct Mutex<T> {
    raw: UnsafeCell<libc::pthread_mutex_t>,
    value: UnsafeCell<T>,
}

// SAFETY: The lock lets one thread at a time at the value.
unsafe impl<T: Send> Sync for Mutex<T> {}
// SAFETY: It is not locked when it is moved.
unsafe impl<T: Send> Send for Mutex<T> {}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            raw: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
            value: UnsafeCell::new(value),
        }
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        // SAFETY: Initialised, and not locked by this thread: holds are short and call nobody.
        let locked = unsafe { libc::pthread_mutex_lock(self.raw.get()) };
        debug_assert_eq!(locked, 0);
        Guard { mutex: self }
    }
}

pub(crate) struct Guard<'a, T> {
    mutex: &'a Mutex<T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: This thread holds the lock.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: This thread holds the lock.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: This thread holds the lock.
        unsafe { libc::pthread_mutex_unlock(self.mutex.raw.get()) };
    }
}
