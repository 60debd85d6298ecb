// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The mock GPU's driver.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use ringfence::{
    Driver, Errno, Replay, ReplayOutcome, RunOutcome, Submission, TimedOutJob, TimeoutOutcome,
};

use super::{Does, Gpu, What, Work};

/// The mock GPU's driver. Complains where callbacks of one queue overlap.
pub struct Mock {
    pub(super) gpu: Arc<Gpu>,
    pub(super) inside: AtomicBool,
    pub(super) lane: u64,
    /// Which hardware it drives, for tests that move it.
    pub hardware: u32,
}

/// The span of one callback.
struct Inside<'a>(&'a AtomicBool);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Mock {
    fn enter<'a>(inside: &'a AtomicBool, gpu: &Gpu, tag: u64) -> Inside<'a> {
        if inside.swap(true, Ordering::SeqCst) {
            gpu.complain(format!("callbacks overlap at job {tag}"));
        }
        if !ringfence::section::in_section() && ringfence::section::CHECKED {
            gpu.complain(format!(
                "callback of job {tag} outside a signalling section"
            ));
        }
        Inside(inside)
    }

    fn act(&self, mut submission: Submission<'_, Self>, does: Option<Does>) -> RunOutcome {
        let tag = submission.payload().tag;
        match does {
            None => {
                self.gpu.complain(format!("job {tag} was run twice"));
                submission.failed(Errno::EINVAL)
            }
            Some(Does::Done) => submission.done(),
            Some(Does::Fails(error)) => submission.failed(error),
            Some(Does::Waits) => {
                let (completion, outcome) = submission.pending_with(Vec::with_capacity(8));
                self.gpu.put(tag, None, completion);
                outcome
            }
            Some(Does::Takes(ticks)) => {
                let at = self.gpu.schedule(self.lane, ticks);
                let (completion, outcome) = submission.pending();
                self.gpu.put(tag, Some(at), completion);
                outcome
            }
            Some(Does::Follows(fence)) => submission.follow(fence),
            Some(Does::NoRoom(fence, then)) => {
                submission.payload().does = Some(*then);
                submission.no_resources(fence)
            }
            Some(Does::Calls(mut run)) => run(submission),
        }
    }
}

impl Driver for Mock {
    type Payload = Work;
    /// The tags under which the job was put on the hardware, first to last.
    type ReplayData = Vec<u64>;

    const NAMES_FENCES: bool = true;

    fn run(&mut self, mut submission: Submission<'_, Self>) -> RunOutcome {
        let tag = submission.payload().tag;
        let _inside = Self::enter(&self.inside, &self.gpu, tag);
        self.gpu.note(tag, What::RunBegins);
        let does = submission.payload().does.take();
        let outcome = self.act(submission, does);
        self.gpu.note(tag, What::RunEnds);
        outcome
    }

    fn timed_out(&mut self, mut job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        let tag = job.payload().tag;
        let _inside = Self::enter(&self.inside, &self.gpu, tag);
        self.gpu.note(tag, What::TimedOutBegins);
        let outcome = match job.payload().timed_out.take() {
            Some(mut timed_out) => timed_out(job),
            None => job.handled(Errno::ETIME),
        };
        self.gpu.note(tag, What::TimedOutEnds);
        outcome
    }

    fn replay(&mut self, mut replay: Replay<'_, Self>) -> ReplayOutcome {
        let (work, data) = replay.parts();
        let (tag, again) = (work.tag, work.replay.take());
        data.push(tag);
        let _inside = Self::enter(&self.inside, &self.gpu, tag);
        // The reset took it off the hardware: what is left of the attempt before says nothing. First:
        // who waits for the replay takes the token that he finds.
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
        self.gpu.drivers.fetch_sub(1, Ordering::SeqCst);
    }
}
