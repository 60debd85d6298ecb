// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A job outside its queue: prepared, armed, submitted.
//!
//! # Who may touch a job when
//!
//! A [`Job`] is one allocation: the finished fence, which anybody may hold, and the cargo
//! (payload, waits, replay data), which has exactly one user at a time:
//!
//! | while | the cargo belongs to |
//! |---|---|
//! | prepared, armed | the handle ([`Prepared`], [`Armed`]) |
//! | submitted | nobody, except as follows |
//! | lent by core (`Run`, `TimedOut`, not answered) | the visit it was handed to |
//! | lent by core to a walk or a replay | who has stopped the queue |
//! | handed out by `Reap` | the visit it was handed to, which drops it |

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;

use ringfence_core::{JobId, PrepareError, Reservation};

use crate::counted::{Bury, Counted};
use crate::dependency::{Dependencies, HardwareWait};
use crate::driver::Driver;
use crate::fence::{Fence, FenceCore, FenceNode};
use crate::queue::{Mode, Normal};
use crate::section::SignallingSection;
use crate::shared::Shared;
use crate::sync::{SleepingMutex, SleepingMutexGuard};
use crate::Errno;

/// A job: its finished fence and, until it is reaped, its cargo.
pub(crate) struct Job<D: Driver> {
    fence: FenceCore,
    pub(crate) cost: u32,
    /// Beside the cost, where `()` costs nothing. Belongs to who has the cargo; set by run.
    replay_data: UnsafeCell<Option<D::ReplayData>>,
    cargo: UnsafeCell<Option<Cargo<D>>>,
}

/// What a job carries until it is reaped.
pub(crate) struct Cargo<D: Driver> {
    pub(crate) payload: D::Payload,
    pub(crate) dependencies: Option<Counted<Dependencies<D>>>,
    pub(crate) hardware: Option<Counted<HardwareWait<D>>>,
}

// SAFETY: The fence is `Sync`; the cargo and the replay data, which are `Send`, have one user at a time (module docs).
unsafe impl<D: Driver> Sync for Job<D> {}
// SAFETY: As above.
unsafe impl<D: Driver> Send for Job<D> {}

impl<D: Driver> FenceNode for Job<D> {
    fn fence(&self) -> &FenceCore {
        &self.fence
    }

    fn exhume(&self) {
        crate::shared::reap_rest(self);
    }
}

impl<D: Driver> Bury for Job<D> {
    fn bury(this: Counted<Self>) {
        Bury::bury(Fence::from_node(this).into_inner());
    }
}

impl<D: Driver> Job<D> {
    #[inline]
    pub(crate) fn fence(&self) -> &FenceCore {
        &self.fence
    }

    /// The cargo, for its one user.
    ///
    /// # Safety
    ///
    /// The caller is that user, by the table in the module docs, and lets go of the borrow while
    /// it still is.
    #[allow(clippy::mut_from_ref)]
    #[inline]
    pub(crate) unsafe fn cargo(&self) -> &mut Option<Cargo<D>> {
        // SAFETY: One user at a time, says the caller.
        unsafe { &mut *self.cargo.get() }
    }

    /// What a replay needs, for the one user of the cargo. `None` before run has left it.
    ///
    /// # Safety
    ///
    /// As for [`Job::cargo`].
    #[allow(clippy::mut_from_ref)]
    #[inline]
    pub(crate) unsafe fn replay_data(&self) -> &mut Option<D::ReplayData> {
        // SAFETY: One user at a time, says the caller.
        unsafe { &mut *self.replay_data.get() }
    }
}

/// A job with all its memory, that nobody waits for yet: everything that can fail has succeeded.
///
/// Borrows the queue's handle, which costs nothing; one that must outlive it is
/// [detached](Prepared::detach). Dropped, it gives its room back and its payload is dropped; no
/// fence was published.
#[must_use = "a job that is not submitted does not run"]
pub struct Prepared<'queue, D: Driver, M: Mode = Normal> {
    inner: ManuallyDrop<Parts<'queue, D>>,
    _mode: PhantomData<fn() -> M>,
}

/// What a prepared job is made of.
pub(crate) struct Parts<'queue, D: Driver> {
    pub(crate) queue: Hold<'queue, D>,
    pub(crate) job: Counted<Job<D>>,
    pub(crate) reservation: Reservation,
}

/// What keeps the queue while a job is not submitted: its handle, or a count.
pub(crate) enum Hold<'queue, D: Driver> {
    Borrowed(&'queue Arc<Shared<D>>),
    Owned(Arc<Shared<D>>),
}

impl<D: Driver> Deref for Hold<'_, D> {
    type Target = Arc<Shared<D>>;

    #[inline]
    fn deref(&self) -> &Arc<Shared<D>> {
        match self {
            Self::Borrowed(queue) => queue,
            Self::Owned(queue) => queue,
        }
    }
}

impl<D: Driver, M: Mode> fmt::Debug for Prepared<'_, D, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("queue", &self.inner.queue.name())
            .finish_non_exhaustive()
    }
}

/// Why a job could not be prepared; gives the payload back.
pub struct PrepareFailed<P> {
    /// The payload.
    pub payload: P,
    /// The reason.
    pub error: PrepareError,
}

impl<P> fmt::Debug for PrepareFailed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrepareFailed").field(&self.error).finish()
    }
}

impl<P> fmt::Display for PrepareFailed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<P> std::error::Error for PrepareFailed<P> {}

impl<'queue, D: Driver, M: Mode> Prepared<'queue, D, M> {
    pub(crate) fn new(
        queue: &'queue Arc<Shared<D>>,
        payload: D::Payload,
        reservation: Reservation,
    ) -> Self {
        let hardware = D::NAMES_FENCES.then(|| Counted::new(HardwareWait::new(Arc::clone(queue))));
        let job = Counted::new(Job {
            fence: FenceCore::new(queue.context()),
            cost: reservation.cost(),
            replay_data: UnsafeCell::new(None),
            cargo: UnsafeCell::new(Some(Cargo {
                payload,
                dependencies: None,
                hardware,
            })),
        });
        let parts = Parts {
            queue: Hold::Borrowed(queue),
            job,
            reservation,
        };
        Self {
            inner: ManuallyDrop::new(parts),
            _mode: PhantomData,
        }
    }

    /// Has the job wait for `fence` before it runs. Of several fences of one timeline only the
    /// latest counts; one that has signalled without error costs nothing.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, where the system says so.
    pub fn depends_on(&mut self, fence: &Fence) -> Result<(), Errno> {
        if fence.status() == Some(Ok(())) {
            return Ok(());
        }
        let Parts { queue, job, .. } = &mut *self.inner;
        // SAFETY: The job is prepared: the cargo is this handle's.
        let Some(cargo) = (unsafe { job.cargo() }) else {
            return Ok(());
        };
        let dependencies = cargo
            .dependencies
            .get_or_insert_with(|| Counted::new(Dependencies::new(Arc::clone(queue))));
        // Not shared before submit.
        let dependencies = dependencies.get_mut().ok_or(Errno::EBUSY)?;
        dependencies.add(fence.clone())
    }

    /// The job's data.
    pub fn payload(&mut self) -> &mut D::Payload {
        // SAFETY: The job is prepared: the cargo is this handle's, and full until reaped.
        match unsafe { self.inner.job.cargo() } {
            Some(cargo) => &mut cargo.payload,
            None => unreachable!("a prepared job has its cargo"),
        }
    }

    /// The same job with a count of the queue's own, so that it may outlive the handle.
    pub fn detach(self) -> Prepared<'static, D, M> {
        let Parts {
            queue,
            job,
            reservation,
        } = self.into_parts();
        let queue = Hold::Owned(Arc::clone(&queue));
        let parts = Parts {
            queue,
            job,
            reservation,
        };
        Prepared {
            inner: ManuallyDrop::new(parts),
            _mode: PhantomData,
        }
    }

    /// Arms and submits the job at once. Cannot fail. The queue owns the job from here on.
    ///
    /// Neither sleeps nor allocates. Where the queue has bypass and nothing is in the way, the
    /// driver's run callback is called before this returns.
    #[inline]
    pub fn submit(self) -> M::OutFence {
        let parts = self.into_parts();
        M::out_fence(Shared::submit(parts))
    }

    #[inline]
    pub(crate) fn into_parts(mut self) -> Parts<'queue, D> {
        // SAFETY: Taken once: `self` is forgotten at once.
        let parts = unsafe { ManuallyDrop::take(&mut self.inner) };
        std::mem::forget(self);
        parts
    }
}

impl<D: Driver, M: Mode> Drop for Prepared<'_, D, M> {
    fn drop(&mut self) {
        // SAFETY: Taken once: `into_parts` forgets `self`.
        let Parts {
            queue,
            job,
            reservation,
        } = unsafe { ManuallyDrop::take(&mut self.inner) };
        queue.release(reservation);
        drop(job);
    }
}

/// A job with its sequence number and a published fence, on its way into its queue.
///
/// Exists inside a [`SubmissionGuard`] only. While it does, its thread is in a
/// [signalling section](crate::section). Dropped without submit, it does not run, and its fence
/// signals `ECANCELED` in its turn.
#[must_use = "an armed job that is not submitted ends with ECANCELED"]
pub struct Armed<'guard, D: Driver, M: Mode = Normal> {
    queue: Hold<'guard, D>,
    id: JobId,
    job: Counted<Job<D>>,
    /// From arm to submit.
    section: Option<SignallingSection>,
    _mode: PhantomData<fn() -> M>,
}

impl<D: Driver, M: Mode> fmt::Debug for Armed<'_, D, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Armed({:?})", self.id)
    }
}

impl<D: Driver, M: Mode> Armed<'_, D, M> {
    /// The job's sequence number.
    pub fn seqno(&self) -> u64 {
        self.id.seqno()
    }

    /// Hands the job to its queue, which owns it from here on. Cannot fail; neither sleeps nor
    /// allocates.
    pub fn submit(mut self) {
        self.hand_over(false);
    }

    fn hand_over(&mut self, abandoned: bool) {
        let Some(section) = self.section.take() else {
            return;
        };
        self.queue
            .submit_armed(self.id, &self.job, abandoned, section);
    }
}

impl<D: Driver> Armed<'_, D, Normal> {
    /// The finished fence. Long-running queues have none to give.
    pub fn finished(&self) -> Fence {
        Fence::from_node(self.job.clone())
    }
}

impl<D: Driver, M: Mode> Drop for Armed<'_, D, M> {
    fn drop(&mut self) {
        self.hand_over(true);
    }
}

/// The lock that orders the submissions of one queue against those of other guards.
pub(crate) struct SubmitLock {
    pub(crate) id: u64,
    pub(crate) lock: SleepingMutex<()>,
}

/// A queue as a guard sees it.
pub trait Guarded: sealed::HasSubmitLock {}

pub(crate) mod sealed {
    /// Has a submission lock.
    pub trait HasSubmitLock {
        /// It.
        #[doc(hidden)]
        #[allow(private_interfaces)]
        fn submit_lock(&self) -> &super::SubmitLock;
    }
}

/// The right to submit to one or several queues, to the exclusion of other guards.
///
/// Jobs armed under one guard stand in the same order in all its queues as those of any other
/// guard: two gangs of jobs cannot end up waiting for each other. A plain
/// [`Prepared::submit`] needs no guard and does not wait for one.
pub struct SubmissionGuard<'queues> {
    held: Vec<(u64, SleepingMutexGuard<'queues, ()>)>,
}

/// The guard does not cover the job's queue; gives the job back.
pub struct NotCovered<'queue, D: Driver, M: Mode>(
    /// The job, as it was.
    pub Prepared<'queue, D, M>,
);

// By hand: derived ones would want the driver to be `Debug`.
impl<D: Driver, M: Mode> fmt::Debug for NotCovered<'_, D, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NotCovered").field(&self.0).finish()
    }
}

impl<D: Driver, M: Mode> fmt::Display for NotCovered<'_, D, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the submission guard does not cover the job's queue")
    }
}

impl<D: Driver, M: Mode> std::error::Error for NotCovered<'_, D, M> {}

impl fmt::Debug for SubmissionGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmissionGuard")
            .field("queues", &self.held.len())
            .finish()
    }
}

impl<'queues> SubmissionGuard<'queues> {
    /// Waits until no other guard covers any of `queues`, in an order that cannot deadlock. A
    /// queue may be named twice. Sleeps; a thread must not hold two guards over one queue.
    pub fn over(queues: &[&'queues dyn Guarded]) -> Self {
        let mut locks: Vec<&'queues SubmitLock> =
            queues.iter().map(|queue| queue.submit_lock()).collect();
        locks.sort_by_key(|lock| lock.id);
        locks.dedup_by_key(|lock| lock.id);
        Self {
            held: locks
                .into_iter()
                .map(|lock| (lock.id, lock.lock.lock()))
                .collect(),
        }
    }

    /// Takes the job's sequence number and publishes its fence. Neither sleeps nor allocates.
    ///
    /// # Errors
    ///
    /// Gives the job back if its queue is not covered.
    pub fn arm<'guard, 'queue: 'guard, D: Driver, M: Mode>(
        &'guard mut self,
        job: Prepared<'queue, D, M>,
    ) -> Result<Armed<'guard, D, M>, NotCovered<'queue, D, M>> {
        let wanted = job.inner.queue.submit_lock().id;
        if !self.held.iter().any(|(id, _)| *id == wanted) {
            return Err(NotCovered(job));
        }
        let section = SignallingSection::enter();
        let Parts {
            queue,
            job,
            reservation,
        } = job.into_parts();
        let id = queue.arm(&job, reservation);
        Ok(Armed {
            queue,
            id,
            job,
            section: Some(section),
            _mode: PhantomData,
        })
    }

    /// Arms and submits at once.
    ///
    /// # Errors
    ///
    /// Gives the job back if its queue is not covered.
    pub fn submit<'queue, D: Driver, M: Mode>(
        &mut self,
        job: Prepared<'queue, D, M>,
    ) -> Result<M::OutFence, NotCovered<'queue, D, M>> {
        let armed = self.arm(job)?;
        let fence = Fence::from_node(armed.job.clone());
        armed.submit();
        Ok(M::out_fence(fence))
    }
}
