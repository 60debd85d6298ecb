// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Handing jobs to a queue.

use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use ringfence_core::{Context, JobId, Reservation};

use super::{Ref, State};
use crate::clock::CoarseNow;
use crate::dependency::Dependencies;
use crate::driver::Driver;
use crate::fence::{Fence, Timeline};
use crate::job::{Job, JobFence, Parts};
use crate::section::SignallingSection;
use crate::trace;

impl<D: Driver> Ref<D> {
    /// Arms and submits in one lock hold. `keep` sees the job's fence once it is published.
    #[inline]
    pub(crate) fn submit<R>(parts: Parts<D>, keep: impl FnOnce(&ARef<Fence>) -> R) -> R {
        let section = SignallingSection::enter();
        let traced = trace::is_on();
        let plain = parts.job.dependencies.is_none() && !traced;
        if !plain {
            let (id, job, kept) = Self::arm(parts, keep);
            // SAFETY: It was armed just now and not submitted.
            unsafe { Self::submit_armed(id, job, false, section) };
            return kept;
        }
        let Parts { job, reservation } = parts;
        // The job has one, but may be reaped by another visit before this one is over.
        let queue = job.queue.clone();
        queue.change(queue.context_here(Context::Submit), |state| {
            let (id, _, kept) = state.arm(job, reservation, &queue.timeline, keep);
            let submitted = state.core.submit(id, 0, false, CoarseNow);
            debug_assert!(submitted.is_ok());
            // From here on the queue has the job; its actions are in sections of their own.
            drop(section);
            kept
        })
    }

    /// Takes the job's number and publishes its fence.
    pub(crate) fn arm<R>(
        parts: Parts<D>,
        keep: impl FnOnce(&ARef<Fence>) -> R,
    ) -> (JobId, NonNull<Job<D>>, R) {
        let Parts { job, reservation } = parts;
        let queue = job.queue.as_ptr();
        // SAFETY: The job keeps its queue, and is not reaped before it is submitted.
        let queue = unsafe { queue.as_ref() };
        let mut state = queue.lock();
        state.arm(job, reservation, &queue.timeline, keep)
    }

    /// Hands an armed job to its queue. Ends `section`, the one that began at arm, once the queue
    /// has it.
    ///
    /// # Safety
    ///
    /// `job` was armed as `id`, and this is called once.
    pub(crate) unsafe fn submit_armed(
        id: JobId,
        job: NonNull<Job<D>>,
        abandoned: bool,
        section: SignallingSection,
    ) {
        let job = job.as_ptr();
        // SAFETY: A job that is not submitted is its submitter's.
        let (queue, dependencies) = unsafe { ((*job).queue.clone(), &mut (*job).dependencies) };
        let dependencies = dependencies.as_mut().map(|found| &raw mut **found);
        let traced = trace::is_on();
        if let (Some(dependencies), true) = (dependencies, traced) {
            // SAFETY: As above.
            unsafe { &*dependencies }.each(|context, seqno| {
                trace::waits(queue.context(), id.seqno(), (context, seqno));
            });
        }
        // Before core knows of them: until then nobody can reap the job.
        let (all, over, failed) = match dependencies {
            // SAFETY: The memory stays until the job is reaped, which forgets them first.
            Some(dependencies) => unsafe {
                Dependencies::register(dependencies, id, queue.as_ptr())
            },
            None => (0, 0, None),
        };
        queue.change(queue.context_here(Context::Submit), |state| {
            let (early, failed_early) = match dependencies {
                // SAFETY: Under the queue's lock.
                Some(dependencies) => unsafe { (*dependencies).tell_from_now_on() },
                None => (0, None),
            };
            let error = failed.or(failed_early);
            let open = all - over - early;
            let (queued, on_hardware) = (state.core.queued(), state.core.credits_used());
            let total = open + u32::from(error.is_some());
            let submitted = state.core.submit(id, total, abandoned, CoarseNow);
            debug_assert!(submitted.is_ok());
            if let Some(error) = error {
                // A killed queue has ended the job already, and may ignore what it waited for.
                let _ = state.core.dependency_signalled(id, Err(error));
            }
            if traced {
                let queued = u32::try_from(queued.saturating_sub(1)).unwrap_or(u32::MAX);
                // Under the lock, where the ring buffer's is a leaf: later, the job may have run.
                trace::queued(
                    &queue.trace_ring(),
                    id.seqno(),
                    queued,
                    on_hardware,
                    queue.client,
                );
            }
            // From here on the queue has the job; what follows is in sections of its own.
            drop(section);
        });
    }
}

impl<D: Driver> State<D> {
    #[inline]
    fn arm<R>(
        &mut self,
        mut job: KBox<Job<D>>,
        reservation: Reservation,
        timeline: &Timeline,
        keep: impl FnOnce(&ARef<Fence>) -> R,
    ) -> (JobId, NonNull<Job<D>>, R) {
        let id = match self.core.arm(reservation) {
            Ok(id) => id,
            // A reservation is a promise of room, and cannot be taken to another queue.
            Err(_) => unreachable!(),
        };
        let fence = match core::mem::replace(&mut job.fence, JobFence::Nothing) {
            JobFence::Draft(draft) => draft.init(timeline, id.seqno()),
            JobFence::Published(_) | JobFence::Nothing => unreachable!(),
        };
        let kept = keep(&fence);
        job.fence = JobFence::Published(fence);
        // SAFETY: A box is never null.
        let job = unsafe { NonNull::new_unchecked(KBox::into_raw(job)) };
        self.keep(id, job);
        (id, job, kept)
    }
}
