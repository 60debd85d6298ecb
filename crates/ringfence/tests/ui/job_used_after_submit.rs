// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A job belongs to its queue from submit on.
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

fn misuse(queue: &Queue<Null>) {
    let mut job = queue.prepare(vec![], 1).unwrap();
    let _fence = job.submit();
    job.payload().push(1);
}

fn main() {}
