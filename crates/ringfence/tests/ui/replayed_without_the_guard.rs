// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Only who has stopped the queue replays a job.
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

fn misuse(driver: &mut Null, mut job: Submission<'_, Null>) -> ReplayOutcome {
    let payload = job.payload();
    driver.replay(Replay { payload })
}

fn main() {}
