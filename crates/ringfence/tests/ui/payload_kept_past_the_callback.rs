// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The payload is lent to a callback, and no longer.
use ringfence::*;

struct Keeps(Option<&'static mut Vec<u8>>);

impl Driver for Keeps {
    type Payload = Vec<u8>;
    type ReplayData = ();

    fn run(&mut self, mut submission: Submission<'_, Self>) -> RunOutcome {
        self.0 = Some(submission.payload());
        submission.done()
    }

    fn timed_out(&mut self, mut job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        self.0 = Some(job.payload());
        job.no_hang()
    }
}

fn main() {}
