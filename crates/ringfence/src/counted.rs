// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Counted references to what jobs and fences live in.
//!
//! As `std::sync::Arc`, without weak references. That spares three of the four atomic operations on the count in
//! a job's life: an owner who sees that he is the only one needs none, neither to make a second
//! reference nor to drop the last, since nobody can come by another behind his back.

use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
// Not a model checker's, as `Arc`'s are not.
#[cfg(feature = "watched")]
use crate::sync::atomic::{fence, AtomicUsize, Ordering};
#[cfg(not(feature = "watched"))]
use std::sync::atomic::{fence, AtomicUsize, Ordering};

/// Something counted references may point to.
pub(crate) trait Bury {
    /// The last reference goes away in an interrupt handler: keeps it for a thread to drop
    /// ([`crate::irq::later`]). Interrupt-safe.
    fn bury(this: Counted<Self>);
}

/// A reference that keeps its value alive.
///
/// # Invariants
///
/// It points to a live allocation made by [`Counted::new`], and is one of the `count` references
/// there are, which are all there are.
pub(crate) struct Counted<T: ?Sized + Bury> {
    inner: NonNull<Inner<T>>,
    _owns: PhantomData<Inner<T>>,
}

/// The allocation.
pub(crate) struct Inner<T: ?Sized> {
    count: AtomicUsize,
    value: T,
}

/// More references than memory could hold, if none were forgotten.
const COUNT_MAX: usize = isize::MAX as usize;

// SAFETY: As for `Arc`: references on several threads share the value, and the last drops it.
unsafe impl<T: ?Sized + Bury + Send + Sync> Send for Counted<T> {}
// SAFETY: As above.
unsafe impl<T: ?Sized + Bury + Send + Sync> Sync for Counted<T> {}

impl<T: ?Sized + Bury> Unpin for Counted<T> {}

impl<T: Bury> Counted<T> {
    /// Allocates.
    #[inline]
    pub(crate) fn new(value: T) -> Self {
        let inner = Box::new(Inner {
            count: AtomicUsize::new(1),
            value,
        });
        Self::from_raw_parts(NonNull::from(Box::leak(inner)))
    }

    /// The value, if this was the only reference.
    pub(crate) fn into_inner(mut this: Self) -> Option<T> {
        this.get_mut()?;
        // SAFETY: The only reference, to a box's allocation; it is forgotten.
        let inner = unsafe { Box::from_raw(this.inner.as_ptr()) };
        std::mem::forget(this);
        Some(inner.value)
    }

    /// Where the value is, for as long as somebody has a reference.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *const T {
        std::ptr::from_ref(&**self)
    }
}

impl<T: ?Sized + Bury> Counted<T> {
    /// The same reference as a plain pointer, to be made one again by [`Counted::from_raw`].
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<Inner<T>> {
        let inner = self.inner;
        std::mem::forget(self);
        inner
    }

    /// # Safety
    ///
    /// `raw` is from [`Counted::into_raw`], once for each time.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<Inner<T>>) -> Self {
        Self::from_raw_parts(raw)
    }

    /// The value behind a plain pointer.
    ///
    /// # Safety
    ///
    /// Somebody keeps a reference for as long as the borrow lives.
    #[inline]
    pub(crate) unsafe fn peek<'a>(raw: NonNull<Inner<T>>) -> &'a T {
        // SAFETY: Alive, says the caller.
        unsafe { &raw.as_ref().value }
    }

    /// As [`Counted::into_raw`], but keeps the reference: a pointer to look at, or to make one
    /// from that is given up otherwise.
    #[inline]
    pub(crate) fn as_raw(&self) -> NonNull<Inner<T>> {
        self.inner
    }

    /// Gives away the reference as one to something else the value is, such as a trait object.
    #[inline]
    pub(crate) fn map_raw<U: ?Sized + Bury>(
        self,
        unsize: impl FnOnce(NonNull<Inner<T>>) -> NonNull<Inner<U>>,
    ) -> Counted<U> {
        let mapped = unsize(self.inner);
        debug_assert_eq!(mapped.cast::<u8>(), self.inner.cast::<u8>());
        std::mem::forget(self);
        Counted::from_raw_parts(mapped)
    }

    #[inline]
    fn from_raw_parts(inner: NonNull<Inner<T>>) -> Self {
        Self {
            inner,
            _owns: PhantomData,
        }
    }

    #[inline]
    fn inner(&self) -> &Inner<T> {
        // SAFETY: The type's invariant: alive while there is a reference.
        unsafe { self.inner.as_ref() }
    }

    /// As `clone`, cheaper for a reference that is the only one.
    #[inline]
    pub(crate) fn second(&mut self) -> Self {
        let count = &self.inner().count;
        if count.load(Ordering::Relaxed) != 1 {
            return self.clone();
        }
        // Nobody else could add to the count: that takes a reference, and this one is borrowed.
        count.store(2, Ordering::Relaxed);
        Self::from_raw_parts(self.inner)
    }

    /// The value, if this is the only reference.
    #[inline]
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        // Acquire: what others did before they dropped theirs is done.
        if self.inner().count.load(Ordering::Acquire) != 1 {
            return None;
        }
        // SAFETY: The only reference is borrowed exclusively.
        Some(unsafe { &mut self.inner.as_mut().value })
    }

    /// How many references there are.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(crate) fn count(&self) -> usize {
        self.inner().count.load(Ordering::Relaxed)
    }
}

impl<T: ?Sized + Bury> Clone for Counted<T> {
    #[inline]
    fn clone(&self) -> Self {
        // Relaxed: whoever gets the new one gets it by a hand-over that orders this.
        if self.inner().count.fetch_add(1, Ordering::Relaxed) > COUNT_MAX {
            // Somebody forgets references in a loop; the count must not wrap.
            std::process::abort();
        }
        Self::from_raw_parts(self.inner)
    }
}

impl<T: ?Sized + Bury> Deref for Counted<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T: ?Sized + Bury> Drop for Counted<T> {
    #[inline]
    fn drop(&mut self) {
        let count = &self.inner().count;
        // Release: the last one sees what this one did. Acquire: it is so for the last.
        if count.load(Ordering::Acquire) != 1 {
            if count.fetch_sub(1, Ordering::Release) != 1 {
                return;
            }
            fence(Ordering::Acquire);
        }
        if crate::irq::in_handler() {
            // Nobody else has one, so the count is this one's to give again.
            count.store(1, Ordering::Relaxed);
            T::bury(Self::from_raw_parts(self.inner));
            return;
        }
        // SAFETY: That was the last reference, and the allocation is a box's.
        drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
    }
}

#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::sync::Arc;

    /// Counts its drops.
    struct Canary(Arc<AtomicU32>);

    impl Bury for Canary {
        fn bury(_this: Counted<Self>) {
            unreachable!("no interrupts here");
        }
    }

    impl Bury for i32 {
        fn bury(_this: Counted<Self>) {
            unreachable!("no interrupts here");
        }
    }

    impl Drop for Canary {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_last_of_many_threads_drops_the_value_once() {
        for _ in 0..200 {
            let drops = Arc::new(AtomicU32::new(0));
            let mut first = Counted::new(Canary(Arc::clone(&drops)));
            let second = first.second();
            std::thread::scope(|scope| {
                for reference in [first, second] {
                    scope.spawn(move || {
                        for _ in 0..100 {
                            let third = reference.clone();
                            assert_eq!(third.0.load(Ordering::Relaxed), 0);
                        }
                    });
                }
            });
            assert_eq!(drops.load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn only_a_sole_owner_gets_at_the_value() {
        let mut first = Counted::new(5);
        let mut second = first.second();
        assert_eq!((first.count(), second.get_mut()), (2, None));
        let third = second.second();
        assert_eq!(third.count(), 3);
        drop(first);
        // SAFETY: Just made raw.
        let third = unsafe { Counted::from_raw(third.into_raw()) };
        assert_eq!((third.count(), *third), (2, 5));
        drop(third);
        assert_eq!(second.get_mut(), Some(&mut 5));
    }
}
