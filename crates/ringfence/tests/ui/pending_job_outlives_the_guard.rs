// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the walk lent goes before the guard does.
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
    let mut stopped = queue.stop().unwrap();
    let mut walk = stopped.pending();
    let job = walk.next();
    drop(stopped);
    drop(job);
}

fn main() {}
