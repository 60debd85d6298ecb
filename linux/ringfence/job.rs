// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A job outside its queue: prepared, armed, submitted.
//!
//! # Who may touch a job when
//!
//! | while | the job belongs to |
//! |---|---|
//! | prepared, armed | the handle ([`Prepared`], [`Armed`]) |
//! | submitted | nobody, except as follows |
//! | lent by core (`Run`, `TimedOut`, not answered) | the visit it was handed to |
//! | lent by core to a walk or a replay | who has stopped the queue |
//! | handed out by `Reap` | the visit it was handed to, which drops it |
//!
//! Its fence has a life of its own, as long as anybody counts it.

use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use kernel::alloc::Flags;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use ringfence_core::{Errno, JobId, Reservation};

use crate::dependency::{Dependencies, HardwareWait};
use crate::driver::Driver;
use crate::fence::{Draft, Fence};
use crate::lock::{Gate, GateGuard};
use crate::queue::{Mode, Normal};
use crate::section::SignallingSection;
use crate::shared::Ref;

/// A job and all its memory.
pub(crate) struct Job<D: Driver> {
    pub(crate) fence: JobFence,
    pub(crate) cost: u32,
    pub(crate) payload: D::Payload,
    /// Set by run.
    pub(crate) replay_data: Option<D::ReplayData>,
    pub(crate) dependencies: Option<KBox<Dependencies<D>>>,
    pub(crate) hardware: Option<KBox<HardwareWait<D>>>,
    /// A job that is in its queue keeps it.
    pub(crate) queue: Ref<D>,
}

/// A job's finished fence.
pub(crate) enum JobFence {
    /// Before arm: memory.
    Draft(Draft),
    /// From arm on.
    Published(ARef<Fence>),
    /// In between.
    Nothing,
}

impl JobFence {
    #[inline]
    pub(crate) fn get(&self) -> Option<&ARef<Fence>> {
        match self {
            Self::Published(fence) => Some(fence),
            Self::Draft(_) | Self::Nothing => None,
        }
    }
}

/// A job with all its memory, that nobody waits for yet: everything that can fail has succeeded.
///
/// Borrows the queue's handle; one that must outlive it is [detached](Prepared::detach). Dropped,
/// it gives its room back and its payload is dropped; no fence was published.
#[must_use = "a job that is not submitted does not run"]
pub struct Prepared<'queue, D: Driver, M: Mode = Normal> {
    inner: ManuallyDrop<Parts<D>>,
    _queue: Of<'queue, M>,
}

/// What a handle borrows, and how its queue gives out fences.
type Of<'a, M> = PhantomData<(&'a (), fn() -> M)>;

/// What a prepared job is made of.
pub(crate) struct Parts<D: Driver> {
    pub(crate) job: KBox<Job<D>>,
    pub(crate) reservation: Reservation,
}

/// Why a job could not be prepared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrepareError {
    /// The queue has refused it.
    Refused(ringfence_core::PrepareError),
    /// There is no memory for it.
    NoMemory,
}

impl PrepareError {
    /// The error number to give to a caller that wants one.
    pub const fn errno(self) -> Errno {
        match self {
            Self::Refused(refused) => refused.errno(),
            Self::NoMemory => Errno::ENOMEM,
        }
    }
}

/// Why a job could not be prepared; gives the payload back.
pub struct PrepareFailed<P> {
    /// The payload.
    pub payload: P,
    /// The reason.
    pub error: PrepareError,
}

impl<P> PrepareFailed<P> {
    /// As the kernel's functions return it.
    pub fn to_error(&self) -> kernel::error::Error {
        crate::to_error(self.error.errno())
    }
}

impl<P> core::fmt::Debug for PrepareFailed<P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("PrepareFailed").field(&self.error).finish()
    }
}

impl<P> From<PrepareFailed<P>> for kernel::error::Error {
    fn from(failed: PrepareFailed<P>) -> Self {
        failed.to_error()
    }
}

impl<'queue, D: Driver, M: Mode> Prepared<'queue, D, M> {
    pub(crate) fn new(parts: Parts<D>) -> Self {
        Self {
            inner: ManuallyDrop::new(parts),
            _queue: PhantomData,
        }
    }

    /// Has the job wait for `fence` before it runs. Of several fences of one timeline only the
    /// latest counts; one that has signalled without error costs nothing. Not in a fence callback.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn depends_on(&mut self, fence: &Fence, flags: Flags) -> Result {
        if fence.status() == Some(Ok(())) {
            return Ok(());
        }
        let job = &mut *self.inner.job;
        if job.dependencies.is_none() {
            job.dependencies = Some(KBox::new(Dependencies::new(), flags)?);
        }
        match &mut job.dependencies {
            Some(dependencies) => dependencies.add(ARef::from(fence), flags),
            None => Err(ENOMEM),
        }
    }

    /// The job's data.
    pub fn payload(&mut self) -> &mut D::Payload {
        &mut self.inner.job.payload
    }

    /// The same job, free to outlive the handle.
    pub fn detach(self) -> Prepared<'static, D, M> {
        Prepared::new(self.into_parts())
    }

    /// Arms and submits the job at once. Cannot fail. The queue owns the job from here on.
    ///
    /// Neither sleeps nor allocates; any context but a fence callback. Where the queue has bypass
    /// and nothing is in the way, and the caller may sleep, the driver's run callback is called
    /// before this returns.
    #[inline]
    pub fn submit(self) -> M::OutFence {
        M::out_fence(Ref::submit(self.into_parts(), Clone::clone))
    }

    /// As [`Prepared::submit`], where nobody wants the fence: saves counting it.
    #[inline]
    pub fn submit_and_forget(self) {
        Ref::submit(self.into_parts(), |_| ());
    }

    #[inline]
    pub(crate) fn into_parts(mut self) -> Parts<D> {
        // SAFETY: Taken once: `self` is forgotten at once.
        let parts = unsafe { ManuallyDrop::take(&mut self.inner) };
        core::mem::forget(self);
        parts
    }
}

impl<D: Driver, M: Mode> Drop for Prepared<'_, D, M> {
    fn drop(&mut self) {
        // SAFETY: Taken once: `into_parts` forgets `self`.
        let Parts { job, reservation } = unsafe { ManuallyDrop::take(&mut self.inner) };
        job.queue.release(reservation);
        drop(job);
    }
}

/// A job with its sequence number and a published fence, on its way into its queue.
///
/// Exists inside a [`SubmissionGuard`] only. While it does, its thread is in a
/// [signalling section](SignallingSection). Dropped without submit, it does not run, and its fence
/// signals `ECANCELED` in its turn.
#[must_use = "an armed job that is not submitted ends with ECANCELED"]
pub struct Armed<'guard, D: Driver, M: Mode = Normal> {
    job: NonNull<Job<D>>,
    id: JobId,
    fence: ARef<Fence>,
    /// From arm to submit.
    section: Option<SignallingSection>,
    _guard: Of<'guard, M>,
    // A guard belongs to a thread.
    _not_send: PhantomData<*mut ()>,
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
        // SAFETY: The job was armed and not submitted: it is this handle's, and is not reaped.
        unsafe { Ref::submit_armed(self.id, self.job, abandoned, section) };
    }
}

impl<D: Driver> Armed<'_, D, Normal> {
    /// The finished fence. Long-running queues have none to give.
    pub fn finished(&self) -> ARef<Fence> {
        self.fence.clone()
    }
}

impl<D: Driver, M: Mode> Drop for Armed<'_, D, M> {
    fn drop(&mut self) {
        self.hand_over(true);
    }
}

/// A queue as a guard sees it.
pub trait Guarded: sealed::Gated {}

pub(crate) mod sealed {
    /// Has a submission lock.
    pub trait Gated {
        /// It.
        #[doc(hidden)]
        #[allow(private_interfaces)]
        fn gate(&self) -> &crate::lock::Gate;
    }
}

/// How many queues one guard may cover.
pub const GUARD_MAX: usize = 8;

/// The right to submit to one or several queues, to the exclusion of other guards.
///
/// Jobs armed under one guard stand in the same order in all its queues as those of any other
/// guard: two gangs of jobs cannot end up waiting for each other. A plain [`Prepared::submit`]
/// needs no guard and does not wait for one.
pub struct SubmissionGuard<'queues> {
    gates: [Option<&'queues Gate>; GUARD_MAX],
    _held: [Option<GateGuard<'queues>>; GUARD_MAX],
}

/// The guard does not cover the job's queue; gives the job back.
pub struct NotCovered<'queue, D: Driver, M: Mode>(
    /// The job, as it was.
    pub Prepared<'queue, D, M>,
);

impl<'queues> SubmissionGuard<'queues> {
    /// Waits until no other guard covers any of `queues`, in an order that cannot deadlock. A queue
    /// may be named twice. Sleeps; a thread must not hold two guards over one queue.
    ///
    /// # Errors
    ///
    /// `E2BIG` for more than [`GUARD_MAX`] queues.
    pub fn over(queues: &[&'queues dyn Guarded]) -> Result<Self> {
        let mut gates = [None; GUARD_MAX];
        if queues.len() > GUARD_MAX {
            return Err(E2BIG);
        }
        for (place, queue) in gates.iter_mut().zip(queues) {
            *place = Some(queue.gate());
        }
        // By address, which is the same for everybody. `None` is a null pointer and comes first.
        gates
            .sort_unstable_by_key(|gate| gate.map_or(0, |gate| core::ptr::from_ref(gate) as usize));
        let mut held = [const { None }; GUARD_MAX];
        let mut last: Option<&Gate> = None;
        for (depth, (held, gate)) in (0..).zip(held.iter_mut().zip(&gates)) {
            let Some(gate) = gate else { continue };
            if !last.is_some_and(|last| core::ptr::eq(last, *gate)) {
                *held = Some(gate.lock(depth));
            }
            last = Some(gate);
        }
        Ok(Self { gates, _held: held })
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
        let gate: *const Gate = job.inner.job.queue.gate();
        let is_it =
            |covered: &Option<&Gate>| covered.is_some_and(|covered| core::ptr::eq(covered, gate));
        if !self.gates.iter().any(is_it) {
            return Err(NotCovered(job));
        }
        let section = SignallingSection::enter();
        let (id, job, fence) = Ref::arm(job.into_parts(), Clone::clone);
        Ok(Armed {
            job,
            id,
            fence,
            section: Some(section),
            _guard: PhantomData,
            _not_send: PhantomData,
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
        let fence = armed.fence.clone();
        armed.submit();
        Ok(M::out_fence(fence))
    }
}

/// The reason that says that memory was short.
pub(crate) fn no_memory<P>(payload: P) -> PrepareFailed<P> {
    PrepareFailed {
        payload,
        error: PrepareError::NoMemory,
    }
}
