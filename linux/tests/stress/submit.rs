// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Ways to submit.

use core::time::Duration;

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::Relaxed;
use kernel::sync::Arc;

use ringfence::{
    Fence, Guarded, OnDependencyError, PrepareError, Prepared, Request, SubmissionGuard, Timeout,
};

use ringfence_core::PrepareError as Refused;

use crate::client::Client;
use crate::driver::Chaos;
use crate::hardware::Parcel;
use crate::tally::{count, Kind};
use crate::watch::Draft;
use crate::work::Work;
use crate::world::Line;

impl<const I: bool> Client<I> {
    /// Makes a job, if its queue takes one. A queue that takes no more is replaced in its place.
    fn prepare<'line>(
        &mut self,
        index: Option<usize>,
        line: &'line Line<I>,
    ) -> Result<Option<Prepared<'line, Chaos<I>>>> {
        let random = &mut self.random;
        let request = Request {
            // Rarely more than there is.
            cost: random.below(u64::from(line.credits) + 1) as u32 + u32::from(random.one_in(64)),
            timeout: match random.below(6) {
                0 => Timeout::Never,
                1 => Timeout::After(Duration::from_millis(random.below(15))),
                _ => Timeout::Inherit,
            },
            on_dependency_error: random.among(&[
                None,
                None,
                Some(OnDependencyError::Fail),
                Some(OnDependencyError::Run),
            ]),
        };
        let flags = if random.one_in(16) {
            GFP_NOWAIT
        } else {
            GFP_KERNEL
        };
        let failed = match line.queue.prepare_with(Work::new(random)?, request, flags) {
            Ok(job) => return Ok(Some(job)),
            Err(failed) => failed,
        };
        let error = failed.error;
        drop(failed);
        match error {
            PrepareError::Refused(Refused::Full) => {
                count(Kind::full);
                self.finish_some()?;
            }
            PrepareError::Refused(Refused::CostAboveLimit { .. }) | PrepareError::NoMemory => {
                count(Kind::refused);
            }
            // The queue is closed, or worse.
            PrepareError::Refused(_) => {
                count(Kind::refused);
                if let Some(index) = index {
                    self.world.new_line(index, &mut self.random)?;
                }
            }
        }
        Ok(None)
    }

    /// Has a job depend on what others have shared.
    fn depend(&mut self, job: &mut Prepared<'_, Chaos<I>>) -> Result {
        for _ in 0..self.random.below(4) {
            if let Some(fence) = self.world.shared(&mut self.random) {
                count(Kind::with_dependencies);
                job.depends_on(&fence, GFP_KERNEL)?;
                job.payload().depends.push(fence, GFP_KERNEL)?;
            }
        }
        Ok(())
    }

    /// Submits one job, and watches it.
    fn submit(&mut self, index: Option<usize>, line: &Line<I>) -> Result {
        if !self.has_room() {
            return self.finish_some();
        }
        let watch = Draft::new(&line.order)?;
        let Some(mut job) = self.prepare(index, line)? else {
            return Ok(());
        };
        if self.random.one_in(3) {
            self.depend(&mut job)?;
        }
        if self.random.one_in(32) {
            count(Kind::released);
            return Ok(());
        }
        count(Kind::submitted);
        let fence = job.submit();
        line.newest.store(fence.seqno(), Relaxed);
        self.window.push(watch.watch(fence.clone()));
        if self.random.one_in(4) {
            self.world.share(fence, &mut self.random);
        }
        Ok(())
    }

    pub(crate) fn submit_some(&mut self) -> Result {
        let Some((index, line)) = self.world.line(&mut self.random) else {
            return Ok(());
        };
        for _ in 0..1 + self.random.below(4) {
            self.submit(Some(index), &line)?;
        }
        Ok(())
    }

    /// Submits one job to a queue that this thread has stopped.
    pub(crate) fn submit_to(&mut self, line: &Line<I>) -> Result {
        // Not replaced, dead or alive: that may end the device, which this thread has stopped.
        self.submit(None, line)
    }

    /// Leaves a job for an interrupt to submit.
    pub(crate) fn post(&mut self) -> Result {
        let Some((index, line)) = self.world.line(&mut self.random) else {
            return Ok(());
        };
        let watch = Draft::new(&line.order)?;
        let Some(mut job) = self.prepare(Some(index), &line)? else {
            return Ok(());
        };
        if self.random.one_in(3) {
            self.depend(&mut job)?;
        }
        let job = job.detach();
        let scope = line.scope.bound.number;
        self.world.hardware.post(Parcel { scope, job, watch });
        Ok(())
    }

    /// A gang of jobs under one guard, each after the one before.
    pub(crate) fn submit_with_guard(&mut self) -> Result {
        let mut lines: [Option<(usize, Arc<Line<I>>)>; 3] = [None, None, None];
        for place in &mut lines {
            *place = self.world.line(&mut self.random);
        }
        let [Some(a), Some(b), Some(c)] = &lines else {
            return Ok(());
        };
        let lines = [a, b, c];
        let mut jobs = [None, None, None];
        for (place, (index, line)) in jobs.iter_mut().zip(lines) {
            // Two jobs of one thread must fit into the window.
            if !self.has_room() {
                return self.finish_some();
            }
            let watch = Draft::new(&line.order)?;
            if let Some(job) = self.prepare(Some(*index), line)? {
                *place = Some((job, watch));
            }
        }
        let covered: [&dyn Guarded; 3] = lines.map(|(_, line)| -> &dyn Guarded { &line.queue });
        let mut guard = SubmissionGuard::over(&covered)?;
        let mut before: Option<ARef<Fence>> = None;
        for ((job, watch), (_, line)) in jobs.into_iter().zip(lines).filter_map(present) {
            let mut job = job;
            if let Some(before) = before.take() {
                job.depends_on(&before, GFP_KERNEL)?;
                job.payload().depends.push(before, GFP_KERNEL)?;
            }
            let Ok(armed) = guard.arm(job) else {
                broken!("a guard does not cover its queue");
                return Ok(());
            };
            let fence = armed.finished();
            line.newest.store(fence.seqno(), Relaxed);
            let watched = watch.watch(fence.clone());
            if fence.is_signaled() {
                broken!("{:?} has signalled before it was submitted", &*fence);
            }
            if self.random.one_in(8) {
                count(Kind::abandoned);
                drop(armed);
            } else {
                count(Kind::in_guards);
                armed.submit();
            }
            // Memory is only taken outside the section that ends here.
            self.window.push(watched);
            before = Some(fence);
        }
        Ok(())
    }
}

fn present<A, B>((a, b): (Option<A>, B)) -> Option<(A, B)> {
    a.map(|a| (a, b))
}
