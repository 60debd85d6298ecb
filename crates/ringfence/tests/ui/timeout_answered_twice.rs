// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A timeout callback answers once.
use ringfence::*;

struct Null;

impl Driver for Null {
    type Payload = Vec<u8>;
    type ReplayData = ();

    fn run(&mut self, submission: Submission<'_, Self>) -> RunOutcome {
        submission.done()
    }

    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        job.no_hang()
    }
}

fn misuse(job: TimedOutJob<'_, Null>) -> TimeoutOutcome {
    let _outcome = job.no_hang();
    job.handled(Errno::ETIME)
}

fn main() {}
