// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Locks and atomics that race detectors can follow: the test-only feature `watched`.
//!
//! valgrind's DRD knows POSIX locks and nothing of atomic operations, so each of these tells it, by
//! client requests, what order it makes; outside valgrind those are a few instructions that do
//! nothing. The thread sanitizer knows atomic operations, but neither fences nor the locks that the
//! standard library was compiled with; here both are what it knows.
//!
//! What DRD is told is at times more order than there is, never less: the release is said before the
//! operation, and the acquire of a value after it, whichever value that was. So a race that hangs on
//! such an ordering is left to loom, and what DRD says is true.

pub(crate) use std::thread;

/// What `std::sync` has.
pub(crate) mod sync {
    pub(crate) use super::atomic;
    pub(crate) use super::posix::{Condvar, Mutex, MutexGuard};
}

/// Calls `futex(2)`, which valgrind takes for a store to the futex.
pub(crate) use drd::unrecorded as futex_call;

/// Client requests to DRD (`valgrind/drd.h`).
mod drd {
    use std::cell::Cell;

    /// Of tools whose name begins with "HG", and with "DR".
    const HG: usize = 0x4847_0000;
    const DR: usize = 0x4452_0000;
    const HAPPENS_BEFORE: usize = HG + 256 + 33;
    const HAPPENS_AFTER: usize = HG + 256 + 34;
    const RECORD_STORES: usize = DR + 7;

    fn request(code: usize, argument: usize) {
        let arguments = [code, argument, 0, 0, 0, 0];
        // SAFETY: valgrind sees the rotations, which leave `rdi` as it was, and reads the
        // arguments. The processor sees nothing else, and an exchange that does nothing.
        unsafe {
            std::arch::asm!(
                "rol rdi, 3",
                "rol rdi, 13",
                "rol rdi, 61",
                "rol rdi, 51",
                "xchg rbx, rbx",
                in("rax") arguments.as_ptr(),
                inout("rdx") 0_usize => _,
            );
        }
    }

    /// What this thread has done is seen by whoever says `after` of the same address later.
    pub(super) fn before<T>(what: &T) {
        request(HAPPENS_BEFORE, std::ptr::from_ref(what) as usize);
    }

    pub(super) fn after<T>(what: &T) {
        request(HAPPENS_AFTER, std::ptr::from_ref(what) as usize);
    }

    std::thread_local! {
        /// Stores of this thread that are not to be recorded: a signal handler may come in between.
        static UNRECORDED: Cell<u32> = const { Cell::new(0) };
    }

    /// A store that is no race: a plain one is all that a release is here.
    pub(crate) fn unrecorded<R>(store: impl FnOnce() -> R) -> R {
        UNRECORDED.with(|depth| depth.set(depth.get() + 1));
        request(RECORD_STORES, 0);
        let answer = store();
        let left = UNRECORDED.with(|depth| depth.get() - 1);
        if left == 0 {
            request(RECORD_STORES, 1);
        }
        UNRECORDED.with(|depth| depth.set(left));
        answer
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("the feature `watched` is for x86-64 Linux");

/// What `std::sync::atomic` has, as far as it is used.
pub(crate) mod atomic {
    use super::drd::{after, before, unrecorded};
    use std::ops::Deref;
    use std::sync::atomic as bare;
    pub(crate) use std::sync::atomic::Ordering;

    fn releases(order: Ordering) -> bool {
        !matches!(order, Ordering::Relaxed | Ordering::Acquire)
    }

    fn acquires(order: Ordering) -> bool {
        !matches!(order, Ordering::Relaxed | Ordering::Release)
    }

    /// As a fence after it would have it, which no tool knows.
    fn both(order: Ordering) -> Ordering {
        match order {
            Ordering::Release => Ordering::AcqRel,
            order => order,
        }
    }

    /// Does nothing: see [`both`].
    pub(crate) fn fence(_order: Ordering) {}

    macro_rules! watched {
        ($($name:ident: $value:ty { $($operation:ident)* })*) => {$(
            #[derive(Debug, Default)]
            #[repr(transparent)]
            pub(crate) struct $name(bare::$name);

            #[allow(dead_code)]
            impl $name {
                pub(crate) const fn new(value: $value) -> Self {
                    Self(bare::$name::new(value))
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    let value = self.0.load(order);
                    if acquires(order) {
                        after(self);
                    }
                    value
                }

                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    if releases(order) {
                        before(self);
                    }
                    unrecorded(|| self.0.store(value, order));
                }

                fn modify<R>(&self, order: Ordering, f: impl FnOnce(Ordering) -> R) -> R {
                    if releases(order) {
                        before(self);
                    }
                    let answer = f(both(order));
                    if order != Ordering::Relaxed {
                        after(self);
                    }
                    answer
                }

                pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.modify(order, |order| self.0.swap(value, order))
                }

                pub(crate) fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    if releases(success) {
                        before(self);
                    }
                    let answer = self.0.compare_exchange(current, new, both(success), failure);
                    if acquires(if answer.is_ok() { success } else { failure }) {
                        after(self);
                    }
                    answer
                }

                pub(crate) fn compare_exchange_weak(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.compare_exchange(current, new, success, failure)
                }

                $(
                    pub(crate) fn $operation(&self, value: $value, order: Ordering) -> $value {
                        self.modify(order, |order| self.0.$operation(value, order))
                    }
                )*
            }

            // For the system, which knows where it is and not what.
            impl Deref for $name {
                type Target = bare::$name;

                fn deref(&self) -> &bare::$name {
                    &self.0
                }
            }
        )*};
    }

    watched! {
        AtomicBool: bool { fetch_or fetch_and }
        AtomicI32: i32 { fetch_add fetch_sub }
        AtomicU32: u32 { fetch_add fetch_sub fetch_or fetch_and }
        AtomicU64: u64 { fetch_add fetch_sub fetch_or fetch_and }
        AtomicUsize: usize { fetch_add fetch_sub fetch_or fetch_and }
    }
}

/// POSIX's locks, with the faces of the standard library's. They have no memory of their own, so
/// nothing is to be done at their end.
pub(crate) mod posix {
    use std::cell::UnsafeCell;
    use std::fmt;
    use std::marker::PhantomData;
    use std::ops::{Deref, DerefMut};
    use std::sync::LockResult;

    pub(crate) struct Mutex<T> {
        // Not in a box, so that it can be a constant: one that is moved is not in use.
        raw: UnsafeCell<libc::pthread_mutex_t>,
        value: UnsafeCell<T>,
    }

    // SAFETY: The lock lets one thread at a time at the value.
    unsafe impl<T: Send> Sync for Mutex<T> {}
    // SAFETY: It is not locked when it is moved.
    unsafe impl<T: Send> Send for Mutex<T> {}

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self {
                raw: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
                value: UnsafeCell::new(value),
            }
        }

        /// Never fails.
        pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            // SAFETY: Initialised. Who takes it twice hangs, as with any lock.
            unsafe { libc::pthread_mutex_lock(self.raw.get()) };
            Ok(MutexGuard {
                mutex: self,
                _not_send: PhantomData,
            })
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }

    impl<T> fmt::Debug for Mutex<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Mutex")
        }
    }

    #[derive(Debug)]
    pub(crate) struct MutexGuard<'a, T> {
        mutex: &'a Mutex<T>,
        _not_send: PhantomData<*const ()>,
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            // SAFETY: This thread holds the lock.
            unsafe { &*self.mutex.value.get() }
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: This thread holds the lock.
            unsafe { &mut *self.mutex.value.get() }
        }
    }

    impl<T> Drop for MutexGuard<'_, T> {
        fn drop(&mut self) {
            // SAFETY: This thread holds the lock.
            unsafe { libc::pthread_mutex_unlock(self.mutex.raw.get()) };
        }
    }

    pub(crate) struct Condvar(UnsafeCell<libc::pthread_cond_t>);

    // SAFETY: That is what it is for.
    unsafe impl Sync for Condvar {}
    // SAFETY: Nobody waits when it is moved.
    unsafe impl Send for Condvar {}

    impl Condvar {
        pub(crate) const fn new() -> Self {
            Self(UnsafeCell::new(libc::PTHREAD_COND_INITIALIZER))
        }

        /// Never fails.
        pub(crate) fn wait<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
        ) -> LockResult<MutexGuard<'a, T>> {
            // SAFETY: The guard's thread holds the lock, and does again when this returns.
            unsafe { libc::pthread_cond_wait(self.0.get(), guard.mutex.raw.get()) };
            Ok(guard)
        }

        pub(crate) fn notify_one(&self) {
            // SAFETY: Initialised.
            unsafe { libc::pthread_cond_signal(self.0.get()) };
        }

        pub(crate) fn notify_all(&self) {
            // SAFETY: Initialised.
            unsafe { libc::pthread_cond_broadcast(self.0.get()) };
        }
    }

    impl Default for Condvar {
        fn default() -> Self {
            Self::new()
        }
    }

    impl fmt::Debug for Condvar {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Condvar")
        }
    }
}
