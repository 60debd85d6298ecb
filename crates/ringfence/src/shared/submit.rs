// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Handing jobs to a queue.

use std::sync::Arc;

use ringfence_core::{Context, JobId, Reservation, Visit};

use super::Shared;
use crate::clock::{monotonic, CoarseNow};
use crate::counted::Counted;
use crate::dependency::Dependencies;
use crate::driver::Driver;
use crate::fence::Fence;
use crate::job::{Job, Parts};
use crate::observe::EventKind;
use crate::section::SignallingSection;

impl<D: Driver> Shared<D> {
    /// Arms and submits in one lock hold.
    #[inline]
    pub(crate) fn submit(parts: Parts<'_, D>) -> Fence {
        let section = SignallingSection::enter();
        let Parts {
            queue,
            mut job,
            reservation,
        } = parts;
        let fence = Fence::from_node(job.second());
        // SAFETY: Until `arm` the cargo is this thread's; the waits are shared by count.
        let waits = unsafe { job.cargo() }
            .as_ref()
            .and_then(|cargo| cargo.dependencies.clone());
        if waits.is_some() || queue.observer.is_some() {
            let id = queue.arm(&job, reservation);
            queue.submit_armed(id, &job, false, section);
            return fence;
        }
        let mut state = queue.lock();
        let id = state.arm(job, reservation);
        let submitted = state.core.submit(id, 0, false, CoarseNow);
        debug_assert_eq!(submitted, Ok(()));
        // From here on the queue has the job; its actions are in sections of their own.
        drop(section);
        let mut visit = Visit::new(queue.context_here(Context::Submit));
        queue.visit(state, &mut visit);
        fence
    }

    pub(crate) fn arm(&self, job: &Counted<Job<D>>, reservation: Reservation) -> JobId {
        self.lock().arm(job.clone(), reservation)
    }

    /// Ends `section`, the one that began at arm, once the queue has the job.
    pub(crate) fn submit_armed(
        self: &Arc<Self>,
        id: JobId,
        job: &Job<D>,
        abandoned: bool,
        section: SignallingSection,
    ) {
        // SAFETY: Until `submit` the cargo is the submitter's; the waits are shared by count.
        let waits = unsafe { job.cargo() }
            .as_ref()
            .and_then(|cargo| cargo.dependencies.clone());
        let (failed, open) = waits.as_ref().map_or((None, 0), |waits| {
            waits.set_job(id);
            waits.settle()
        });
        let queued_at = self.observer.as_ref().map(|_| monotonic());
        if let (Some(waits), true) = (&waits, self.observer.is_some()) {
            waits.for_each(|fence| {
                let (context, seqno) = (fence.context(), fence.seqno());
                self.observe(id, EventKind::Dependency { context, seqno }, queued_at);
            });
        }
        let mut state = self.lock();
        let depth = state.core.queued().saturating_sub(1);
        let total = open + u32::from(failed.is_some());
        let submitted = state.core.submit(id, total, abandoned, CoarseNow);
        debug_assert_eq!(submitted, Ok(()));
        if let Some(error) = failed {
            // A killed queue has ended the job already, and may ignore what it waited for.
            let _ = state.core.dependency_signalled(id, Err(error));
        }
        if self.observer.is_some() {
            drop(state);
            self.observe(
                id,
                EventKind::Queued {
                    cost: job.cost,
                    depth,
                },
                queued_at,
            );
            state = self.lock();
        }
        // From here on the queue has the job; what follows is in sections of its own.
        drop(section);
        if let (Some(waits), true) = (waits, open != 0) {
            drop(state);
            Dependencies::register(&waits);
            state = self.lock();
        }
        let mut visit = Visit::new(self.context_here(Context::Submit));
        self.visit(state, &mut visit);
    }
}
