// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The one place that says where locks, atomics and threads come from.
//!
//! Ordinary builds take them from `std`; the test-only features `loom` and `shuttle` swap in a model
//! checker's, and `watched` what race detectors can follow. `std::sync::Arc` is used everywhere, because only it turns into `Arc<dyn Trait>`.
//!
//! [`SpinLock`] is for what interrupt handlers touch: it masks them on its thread while it is held.
//! [`Mutex`] is for short, leaf-like holds elsewhere: its `lock` may be taken inside a signalling
//! section, but not in a handler. A lock that is held across real work is a [`SleepingMutex`].
//! [`Event`] is how a thread sleeps that a handler may have to wake.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
use rustix::thread::futex;

#[cfg(not(any(feature = "loom", feature = "shuttle", feature = "watched")))]
use std as host;

#[cfg(all(feature = "watched", not(any(feature = "loom", feature = "shuttle"))))]
pub(crate) mod watched;
#[cfg(all(feature = "watched", not(any(feature = "loom", feature = "shuttle"))))]
use watched as host;
#[cfg(all(feature = "watched", not(any(feature = "loom", feature = "shuttle"))))]
use watched::futex_call;

/// Calls `futex(2)`.
#[cfg(not(any(feature = "loom", feature = "shuttle", feature = "watched")))]
#[inline(always)]
fn futex_call<R>(call: impl FnOnce() -> R) -> R {
    call()
}

#[cfg(feature = "loom")]
use loom as host;

#[cfg(all(feature = "shuttle", not(feature = "loom")))]
use shuttle as host;

mod backoff;

pub(crate) use backoff::Backoff;
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
        crate::irq::audit::sleeping("a lock that may sleep");
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The lock of a queue: held for a few dozen instructions, never across a call out.
///
/// Interrupts of the thread that holds it are masked ([`irq`](crate::irq)), so a signal handler may
/// take it too: it never waits for its own thread. Unlocking is a plain store, where a futex mutex needs a second atomic exchange; a job's life
/// has four holds, so that shows. Waiters spin, then yield, then nap, and those of real-time priority
/// nap at once ([`Backoff`]), so that a holder that was preempted gets the processor back. Not
/// poisoned by panics: nothing that can panic runs under it.
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
            crate::irq::raise_mask();
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
            // The lock may be gone from here on.
            crate::irq::unmask();
        }
    }
}

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(crate) use spin::SpinGuard;

#[cfg(any(feature = "loom", feature = "shuttle"))]
pub(crate) use self::{Mutex as SpinLock, MutexGuard as SpinGuard};

/// A place to sleep: a futex. Waking takes no lock, so a signal handler may do it.
///
/// A sleeper takes [`current`](Event::current), looks at whether it has to sleep, and waits with what
/// it took: a notification in between is not lost. It looks again after, since it may wake for
/// nothing.
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
#[derive(Debug, Default)]
pub(crate) struct Event {
    count: atomic::AtomicU32,
}

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
impl Event {
    pub(crate) const fn new() -> Self {
        Self {
            count: atomic::AtomicU32::new(0),
        }
    }

    /// How often it was notified so far.
    #[inline]
    pub(crate) fn current(&self) -> u32 {
        self.count.load(atomic::Ordering::Acquire)
    }

    /// Sleeps, for at most `timeout`, unless it was notified after `seen` was taken.
    pub(crate) fn wait(&self, seen: u32, timeout: Option<Duration>) {
        crate::irq::audit::sleeping("a wait for an event");
        // One that is too long to say is as good as for ever.
        let timeout = timeout.and_then(|timeout| rustix::time::Timespec::try_from(timeout).ok());
        // Whatever the reason for which it returns, the caller looks.
        let timeout = timeout.as_ref();
        let _ = futex_call(|| futex::wait(&self.count, futex::Flags::PRIVATE, seen, timeout));
    }

    /// Wakes one of those that sleep. Interrupt-safe.
    pub(crate) fn notify_one(&self) {
        self.announce();
        self.wake_one();
    }

    /// Wakes all that sleep. Interrupt-safe.
    pub(crate) fn notify_all(&self) {
        self.announce();
        // It fails for addresses that are not there, which this one is.
        let _ = futex_call(|| futex::wake(&self.count, futex::Flags::PRIVATE, i32::MAX as u32));
    }

    /// The first half of `notify_one`: who has not fallen asleep will not.
    #[inline]
    pub(crate) fn announce(&self) {
        self.count.fetch_add(1, atomic::Ordering::Release);
    }

    /// The other half: wakes one of those that did.
    pub(crate) fn wake_one(&self) {
        let _ = futex_call(|| futex::wake(&self.count, futex::Flags::PRIVATE, 1));
    }
}

/// The same for a model checker.
#[cfg(any(feature = "loom", feature = "shuttle"))]
#[derive(Debug)]
pub(crate) struct Event {
    count: Mutex<u32>,
    changed: Condvar,
}

#[cfg(any(feature = "loom", feature = "shuttle"))]
impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(any(feature = "loom", feature = "shuttle"))]
impl Event {
    pub(crate) fn new() -> Self {
        Self {
            count: Mutex::new(0),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn current(&self) -> u32 {
        *self.count.lock()
    }

    pub(crate) fn wait(&self, seen: u32, timeout: Option<Duration>) {
        let count = self.count.lock();
        if *count != seen {
            return;
        }
        match timeout {
            // Not in a loop: a futex may wake for nothing, and so may this.
            None => drop(self.changed.wait(count)),
            Some(timeout) => drop(self.changed.wait_timeout(count, timeout)),
        }
    }

    pub(crate) fn notify_one(&self) {
        self.announce();
        self.wake_one();
    }

    pub(crate) fn notify_all(&self) {
        self.announce();
        self.changed.notify_all();
    }

    pub(crate) fn announce(&self) {
        *self.count.lock() += 1;
    }

    pub(crate) fn wake_one(&self) {
        self.changed.notify_one();
    }
}

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
    #[cfg(any(feature = "loom", feature = "shuttle"))]
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
