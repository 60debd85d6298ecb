// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A lock that handlers may take.

use crate::sync::{SpinGuard, SpinLock};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// A spin lock for what an interrupt handler shares with threads. Interrupt-safe.
///
/// While it is held, handlers of the same thread wait. Hold it for a few dozen instructions and call
/// nothing that is not yours with it held; in particular complete no job, submit none, and drop
/// nothing that belongs to somebody else. Whoever waits spins and yields.
pub struct IrqLock<T>(SpinLock<T>);

/// Access to what an [`IrqLock`] holds; unlocks when dropped.
pub struct IrqLockGuard<'a, T>(SpinGuard<'a, T>);

impl<T> fmt::Debug for IrqLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IrqLock").finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for IrqLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Default> Default for IrqLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> IrqLock<T> {
    /// Makes an unlocked lock.
    pub fn new(value: T) -> Self {
        Self(SpinLock::new(value))
    }

    /// Waits for the lock, and masks interrupts.
    #[inline]
    pub fn lock(&self) -> IrqLockGuard<'_, T> {
        IrqLockGuard(self.0.lock())
    }
}

impl<T> Deref for IrqLockGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for IrqLockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
