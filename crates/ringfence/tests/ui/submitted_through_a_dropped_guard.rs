// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A guard that is gone gives no right to submit.
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
    let job = queue.prepare(vec![], 1).unwrap();
    let mut guard = queue.submission_guard();
    drop(guard);
    let _fence = guard.submit(job);
}

fn main() {}
