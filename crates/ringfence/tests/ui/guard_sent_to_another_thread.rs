// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The right to stop belongs to a thread.
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

fn misuse(queue: &Queue<Null>) {
    let stopped = queue.stop().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || drop(stopped));
    });
}

fn main() {}
