// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A job is replayed once by each walk that comes to it.
use ringfence::*;

struct Null;

impl Driver for Null {
    type Payload = Vec<u8>;
    type ReplayData = u64;

    fn run(&mut self, submission: Submission<'_, Self>) -> RunOutcome {
        submission.done()
    }

    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        job.no_hang()
    }
}

fn misuse(job: PendingJob<'_, Null>) -> (Replayed, Replayed) {
    (job.replay(), job.replay())
}

fn main() {}
