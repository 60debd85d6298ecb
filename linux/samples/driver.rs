// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The driver: what a queue calls, and what is done about hangs.

use kernel::prelude::*;
use kernel::sync::Arc;

use ringfence::{
    Driver, DropInIrq, Errno, Guilty, Hang, Reaping, Replay, ReplayOutcome, Rest, RunOutcome,
    Submission, TimedOutJob, TimeoutOutcome,
};

use crate::hardware::{Fault, Look, Ring, Ticking};

/// One job: what goes into the ring.
pub(crate) struct Command {
    duration_ns: u64,
    fault: Fault,
}

// SAFETY: Plain data.
unsafe impl DropInIrq for Command {}

impl Command {
    pub(crate) fn new(duration_ns: u64, fault: Fault) -> Self {
        Self { duration_ns, fault }
    }
}

/// The driver's side of one queue.
pub(crate) struct MockDriver {
    ring: Arc<Ring>,
    ticking: Option<Ticking>,
}

impl MockDriver {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            ring: Ring::new()?,
            ticking: None,
        })
    }
}

impl Drop for MockDriver {
    fn drop(&mut self) {
        // No callback comes any more. The ring may still be at work: stop it, then forget what is
        // on it, whose jobs have ended.
        drop(self.ticking.take());
        self.ring.reset(drop);
        if self.ring.spurious() != 0 {
            pr_info!("{} interrupts meant nothing\n", self.ring.spurious());
        }
    }
}

impl Driver for MockDriver {
    type Payload = Command;
    type ReplayData = ();

    const REAPING: Reaping<Command> = Reaping::IN_IRQ;

    fn run(&mut self, mut submission: Submission<'_, Self>) -> RunOutcome {
        let &mut Command { duration_ns, fault } = submission.payload();
        let (completion, outcome) = submission.pending();
        // No room would be a mistake in the credits: the token that comes back fails the job.
        drop(
            self.ring
                .write(completion, duration_ns, fault, &mut self.ticking),
        );
        outcome
    }

    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        match self.ring.look() {
            (Look::LostInterrupt, Some(completion)) => {
                // The work was done. What is behind it goes on when the next job comes, or is
                // looked at.
                completion.complete(Ok(()));
                job.no_hang()
            }
            (Look::Busy | Look::LostInterrupt, _) => {
                match job.extend(core::time::Duration::from_millis(100)) {
                    Ok(more_time) => more_time,
                    Err(job) => job.handled(Errno::ETIME),
                }
            }
            (Look::Hung, _) => match job.reset() {
                Ok(reset) => reset,
                // Without a recovery there is nobody to reset the ring: the job alone is given up.
                Err(job) => job.handled(Errno::ETIME),
            },
            // It has completed meanwhile.
            (Look::Empty, _) => job.no_hang(),
        }
    }

    fn replay(&mut self, mut replay: Replay<'_, Self>) -> ReplayOutcome {
        let &mut Command { duration_ns, fault } = replay.payload();
        let (completion, outcome) = replay.pending();
        drop(
            self.ring
                .write(completion, duration_ns, fault, &mut self.ticking),
        );
        outcome
    }
}

/// Resets the ring of a queue that hangs: the guilty job fails, those behind it are put on the ring
/// again, each with the fence it has.
pub(crate) fn recover(hang: &Hang<'_>) {
    let Ok(mut stop) = hang.stop_queue() else {
        return;
    };
    let mut queue = stop.queue();
    let Some(mut guard) = queue.typed::<MockDriver>() else {
        return;
    };
    let guilty = guard.wants_recovery().map(|seqno| Guilty {
        seqno,
        error: Errno::ETIME,
    });
    // Late once their jobs are replayed: kept until then.
    let ring = guard.driver().ring.clone();
    let mut tokens = [const { None }; crate::hardware::SLOTS];
    let mut places = tokens.iter_mut();
    ring.reset(|token| {
        if let Some(place) = places.next() {
            *place = Some(token);
        }
    });
    let recovered = guard.recover(guilty, Rest::Replay);
    pr_info!(
        "queue {}: reset because of job {:?}: {} failed, {} replayed\n",
        guard.name(),
        guilty.map(|guilty| guilty.seqno),
        recovered.failed,
        recovered.replayed
    );
    drop(tokens);
}
