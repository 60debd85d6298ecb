// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A job of a stopped queue is lent by the walk, one at a time.
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

fn misuse(stopped: &mut StopGuard<'_, Null>) {
    let mut walk = stopped.pending();
    let first = walk.next();
    let second = walk.next();
    drop(first);
    drop(second);
}

fn main() {}
