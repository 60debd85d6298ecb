// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The payload is not the driver's any more once it has answered.
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

fn misuse(mut submission: Submission<'_, Null>) -> RunOutcome {
    let payload = submission.payload();
    let outcome = submission.done();
    payload.push(1);
    outcome
}

fn main() {}
