// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Effects on their way from the lock to their action.

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use ringfence_core::{JobId, Outcome, Time};

use crate::driver::Driver;
use crate::job::Job;

/// Effects that one lock hold can hand out: a stack frame of half a kilobyte.
pub(super) const BATCH: usize = 16;

/// An effect. Plain data, so that a batch is walked and forgotten without a thought for what it
/// owns.
pub(super) enum Action<D: Driver> {
    Signal {
        id: JobId,
        job: NonNull<Job<D>>,
        outcome: Outcome,
        time: Time,
    },
    Run {
        id: JobId,
        job: NonNull<Job<D>>,
    },
    TimedOut {
        id: JobId,
        job: NonNull<Job<D>>,
        extensions_left: u8,
    },
    /// Carries the job.
    Reap(NonNull<Job<D>>),
    ArmTimer(Time),
    Recover,
    Kick,
    Closed,
}

impl<D: Driver> Clone for Action<D> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Driver> Copy for Action<D> {}

/// A few of `T`, on the stack.
///
/// # Invariants
///
/// The first `len` items are there.
pub(super) struct Few<T: Copy> {
    len: usize,
    items: [MaybeUninit<T>; BATCH],
}

pub(super) type Batch<D> = Few<Action<D>>;

impl<T: Copy> Few<T> {
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            len: 0,
            items: [const { MaybeUninit::uninit() }; BATCH],
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.len == BATCH
    }

    #[inline]
    pub(super) fn push(&mut self, item: T) {
        match self.items.get_mut(self.len) {
            Some(place) => {
                place.write(item);
                self.len += 1;
            }
            None => debug_assert!(false, "looked at before"),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> u32 {
        // At most `BATCH`.
        self.len as u32
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        // SAFETY: The type's invariant.
        self.items
            .iter()
            .take(self.len)
            .map(|item| unsafe { item.assume_init() })
    }
}
