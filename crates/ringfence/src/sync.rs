// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The one place that says where locks, atomics and threads come from.
//!
//! Ordinary builds take them from `std`; the test-only features `loom` and `shuttle` swap in a model
//! checker's. `std::sync::Arc` is used everywhere, because only it turns into `Arc<dyn Trait>`.
//!
//! [`Mutex`] is for short, leaf-like holds: its `lock` never counts as sleeping, so it may be taken
//! inside a signalling section. A lock that is held across real work is a [`SleepingMutex`].

use std::ops::{Deref, DerefMut};
use std::time::Duration;

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
use std as host;

#[cfg(feature = "loom")]
use loom as host;

#[cfg(all(feature = "shuttle", not(feature = "loom")))]
use shuttle as host;

pub(crate) use host::sync::MutexGuard;
pub(crate) use host::{sync::atomic, thread};

/// Declares a thread-local that needs no destructor. In ordinary builds its value is a constant, so
/// that using it never allocates.
macro_rules! thread_cell {
    (static $name:ident: $type:ty = $value:expr;) => {
        #[cfg(not(any(feature = "loom", feature = "shuttle")))]
        std::thread_local! {
            static $name: $type = const { $value };
        }

        #[cfg(feature = "loom")]
        loom::thread_local! {
            static $name: $type = $value;
        }

        #[cfg(all(feature = "shuttle", not(feature = "loom")))]
        shuttle::thread_local! {
            static $name: $type = $value;
        }
    };
}
pub(crate) use thread_cell;

#[cfg(feature = "loom")]
pub(crate) use loom::cell::UnsafeCell;

/// A cell whose accesses a model checker can watch.
#[cfg(not(feature = "loom"))]
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(feature = "loom"))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Calls `f` with a pointer for reading. The caller keeps the aliasing rules.
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Calls `f` with a pointer for writing. The caller keeps the aliasing rules.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

/// A mutex for short holds; a panic while it is held does not poison it.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct Mutex<T>(host::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(host::sync::Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The lock of a queue: held for a few dozen instructions, never across a call out.
///
/// Unlocking is a plain store, where a futex mutex needs a second atomic exchange; a job's life
/// has four holds, so that shows. Waiters spin, then yield, then nap, so that a holder that was
/// preempted gets the processor back even from waiters of real-time priority. Not poisoned by
/// panics: nothing that can panic runs under it.
///
/// Under a model checker it is that checker's mutex.
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
#[repr(C)]
pub(crate) struct SpinLock<T> {
    locked: atomic::AtomicBool,
    value: std::cell::UnsafeCell<T>,
}

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
mod spin {
    use super::atomic::{AtomicBool, Ordering};
    use super::{Backoff, SpinLock};
    use std::cell::UnsafeCell;
    use std::marker::PhantomData;
    use std::ops::{Deref, DerefMut};

    // SAFETY: The lock lets one thread at a time at the value.
    unsafe impl<T: Send> Sync for SpinLock<T> {}

    impl<T> SpinLock<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self {
                locked: AtomicBool::new(false),
                value: UnsafeCell::new(value),
            }
        }

        #[inline]
        pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
            if self
                .locked
                .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
            {
                self.lock_contended();
            }
            SpinGuard {
                lock: self,
                _not_send: PhantomData,
            }
        }

        #[cold]
        fn lock_contended(&self) {
            let mut backoff = Backoff::default();
            loop {
                while self.locked.load(Ordering::Relaxed) {
                    backoff.snooze();
                }
                if self
                    .locked
                    .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
                {
                    return;
                }
            }
        }
    }

    /// Access to what a [`SpinLock`] holds; unlocks when dropped.
    pub(crate) struct SpinGuard<'a, T> {
        lock: &'a SpinLock<T>,
        _not_send: PhantomData<*const ()>,
    }

    impl<T> Deref for SpinGuard<'_, T> {
        type Target = T;

        #[inline]
        fn deref(&self) -> &T {
            // SAFETY: The guard's thread holds the lock.
            unsafe { &*self.lock.value.get() }
        }
    }

    impl<T> DerefMut for SpinGuard<'_, T> {
        #[inline]
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: The guard's thread holds the lock.
            unsafe { &mut *self.lock.value.get() }
        }
    }

    impl<T> Drop for SpinGuard<'_, T> {
        #[inline]
        fn drop(&mut self) {
            self.lock.locked.store(false, Ordering::Release);
        }
    }
}

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(crate) use spin::SpinGuard;

#[cfg(any(feature = "loom", feature = "shuttle"))]
pub(crate) use self::{Mutex as SpinLock, MutexGuard as SpinGuard};

/// A condition variable for [`Mutex`].
#[derive(Debug, Default)]
pub(crate) struct Condvar(host::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(host::sync::Condvar::new())
    }

    /// Sleeps until notified; may wake for no reason.
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0
            .wait(guard)
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// As `wait`, for at most `timeout`. The flag says that the time ran out. A model checker's
    /// condition variable has no clock and never says so.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> (MutexGuard<'a, T>, bool) {
        let (guard, result) = self
            .0
            .wait_timeout(guard, timeout)
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        (guard, result.timed_out())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Waiting for another thread to leave a few instructions: spins, then yields, then naps, so that
/// a preempted or slower thread gets the processor.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    rounds: u32,
}

impl Backoff {
    #[cfg(not(any(feature = "loom", feature = "shuttle")))]
    pub(crate) fn snooze(&mut self) {
        const SPINS: u32 = 6;
        const YIELDS: u32 = 64;
        if self.rounds < SPINS {
            for _ in 0..1 << self.rounds {
                std::hint::spin_loop();
            }
        } else if self.rounds < YIELDS {
            thread::yield_now();
        } else {
            thread::sleep(Duration::from_micros(50));
        }
        self.rounds = self.rounds.saturating_add(1);
    }

    #[cfg(any(feature = "loom", feature = "shuttle"))]
    pub(crate) fn snooze(&mut self) {
        self.rounds = self.rounds.saturating_add(1);
        thread::yield_now();
    }
}

/// A lock that may be held across real work, and so must not be taken in a signalling section.
///
/// Taking it inside a section fails loudly where
/// [`might_sleep`](crate::section::might_sleep) does. Unlike `std::sync::Mutex` it is not
/// poisoned when its holder panics.
#[derive(Debug, Default)]
pub struct SleepingMutex<T>(Mutex<T>);

impl<T> SleepingMutex<T> {
    /// Makes an unlocked mutex that owns `value`.
    pub fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Waits for the lock. Sleeps; never inside a signalling section.
    #[track_caller]
    pub fn lock(&self) -> SleepingMutexGuard<'_, T> {
        crate::section::might_sleep("SleepingMutex::lock");
        SleepingMutexGuard(self.0.lock())
    }
}

/// Access to what a [`SleepingMutex`] owns; unlocks when dropped.
#[derive(Debug)]
pub struct SleepingMutexGuard<'a, T>(MutexGuard<'a, T>);

impl<T> Deref for SleepingMutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for SleepingMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
