// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a job waits for is said before it is armed.
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

fn misuse(queue: &Queue<Null>, fence: &Fence) {
    let job = queue.prepare(vec![], 1).unwrap();
    let mut guard = queue.submission_guard();
    let mut armed = guard.arm(job).unwrap();
    armed.depends_on(fence).unwrap();
    armed.submit();
}

fn main() {}
