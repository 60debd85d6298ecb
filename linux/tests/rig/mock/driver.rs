// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The mock GPU's driver.

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Full, Relaxed};
use kernel::sync::Arc;

use ringfence::{
    Driver, Errno, Replay, ReplayOutcome, RunOutcome, Submission, TimedOutJob, TimeoutOutcome,
};

use super::{Does, Gpu, What, Work};

/// The mock GPU's driver. Complains where callbacks of one queue overlap.
pub(crate) struct Mock {
    pub(super) gpu: Arc<Gpu>,
    inside: Atomic<i32>,
    lane: u64,
    /// Which hardware it drives, for tests that move it.
    pub(crate) hardware: u32,
}

/// The span of one callback.
struct Inside<'a>(&'a Atomic<i32>);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.store(0, Relaxed);
    }
}

impl Mock {
    pub(super) fn new(gpu: Arc<Gpu>, lane: u64) -> Self {
        Self {
            gpu,
            inside: Atomic::new(0),
            lane,
            hardware: 0,
        }
    }

    fn enter<'a>(inside: &'a Atomic<i32>, gpu: &Gpu) -> Inside<'a> {
        if inside.xchg(1, Full) != 0 {
            gpu.complain("callbacks overlap");
        }
        Inside(inside)
    }

    fn act(
        gpu: &Gpu,
        lane: u64,
        mut submission: Submission<'_, Self>,
        does: Option<Does>,
    ) -> RunOutcome {
        let tag = submission.payload().tag;
        match does {
            None => {
                gpu.complain("a job was run twice");
                submission.failed(Errno::EINVAL)
            }
            Some(Does::Done) => submission.done(),
            Some(Does::Fails(error)) => submission.failed(error),
            Some(Does::Waits) => {
                let (completion, outcome) = submission.pending();
                gpu.put(tag, None, completion);
                outcome
            }
            Some(Does::Takes(ticks)) => {
                let at = gpu.schedule(lane, ticks);
                let (completion, outcome) = submission.pending();
                gpu.put(tag, Some(at), completion);
                outcome
            }
            Some(Does::Follows(fence)) => submission.follow(fence),
            Some(Does::NoRoom(fence, then)) => {
                submission.payload().does = Some(KBox::into_inner(then));
                submission.no_resources(fence)
            }
            Some(Does::Calls(mut run)) => run(submission),
        }
    }
}

impl Driver for Mock {
    type Payload = Work;
    /// How often the job was put on the hardware again.
    type ReplayData = u64;

    const NAMES_FENCES: bool = true;

    fn run(&mut self, mut submission: Submission<'_, Self>) -> RunOutcome {
        let tag = submission.payload().tag;
        let _inside = Self::enter(&self.inside, &self.gpu);
        self.gpu.note(tag, What::RunBegins);
        let does = submission.payload().does.take();
        let outcome = Self::act(&self.gpu, self.lane, submission, does);
        self.gpu.note(tag, What::RunEnds);
        outcome
    }

    fn timed_out(&mut self, mut job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        let tag = job.payload().tag;
        let _inside = Self::enter(&self.inside, &self.gpu);
        self.gpu.note(tag, What::TimedOutBegins);
        let outcome = match job.payload().timed_out.take() {
            Some(mut timed_out) => timed_out(job),
            None => job.handled(Errno::ETIME),
        };
        self.gpu.note(tag, What::TimedOutEnds);
        outcome
    }

    fn replay(&mut self, mut replay: Replay<'_, Self>) -> ReplayOutcome {
        let (work, times) = replay.parts();
        let (tag, again) = (work.tag, work.replay.take());
        *times += 1;
        let _inside = Self::enter(&self.inside, &self.gpu);
        // The reset took it off the hardware: what is left of the attempt before says nothing.
        // First: who waits for the replay takes the token that he finds.
        drop(self.gpu.try_take(tag));
        self.gpu.note(tag, What::Replay);
        match again {
            Some(mut again) => again(replay),
            None => {
                let (completion, outcome) = replay.pending();
                self.gpu.put(tag, None, completion);
                outcome
            }
        }
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.gpu.drivers.fetch_sub(1, Relaxed);
    }
}
