// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A payload is lent for as long as the walk has its job.
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
    let Some(mut job) = walk.next() else { return };
    let payload = job.payload();
    job.keep();
    payload.push(1);
}

fn main() {}
