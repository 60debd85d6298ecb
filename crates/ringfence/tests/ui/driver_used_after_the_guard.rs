// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The driver is lent for as long as the queue is stopped.
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

fn misuse(queue: &Queue<Null>) -> RunOutcome {
    let mut stopped = queue.stop().unwrap();
    let driver: &mut Null = stopped.driver();
    drop(stopped);
    called(driver)
}

fn called(_driver: &mut Null) -> RunOutcome {
    unreachable!()
}

fn main() {}
