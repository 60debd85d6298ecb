// SPDX-License-Identifier: GPL-2.0 OR MIT
//! An armed job is submitted once.
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
    let mut guard = queue.submission_guard();
    let armed = guard.arm(queue.prepare(vec![], 1).unwrap()).unwrap();
    armed.submit();
    let _fence = armed.finished();
}

fn main() {}
