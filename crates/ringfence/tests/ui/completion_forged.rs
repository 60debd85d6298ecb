// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Only a run callback gets a token.
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

fn misuse(token: Completion<Null>) -> Completion<Null> {
    Completion {
        queue: None,
        ..token
    }
}

fn main() {}
