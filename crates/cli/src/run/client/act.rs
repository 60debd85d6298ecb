// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a client does to its queue, and how it goes on with another one.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ringfence::{Errno, PrepareError, StopError};

use super::{Client, QueueState, NAP, SOON};
use crate::plan::FaultKind;
use crate::run::machine::{Machine, QueueParts};
use crate::run::{Run, Violations};

impl Client<'_> {
    /// Ends suspensions that are over, replaces a queue that takes no more jobs, and lets go of
    /// those that have ended. Returns how long until something is to be done again.
    pub(super) fn tend(&mut self, index: usize) -> Duration {
        let queue = &mut self.queues[index];
        let mut nap = NAP;
        let now = Instant::now();
        let parts = &queue.parts;
        queue.suspended.retain(|&until| {
            if until > now {
                nap = nap.min(until - now);
                return true;
            }
            parts.queue.resume();
            false
        });
        if queue.spent {
            self.replace(index);
        }
        let queue = &mut self.queues[index];
        let line = &queue.line;
        let over = |parts: &Arc<QueueParts>| {
            Machine::is_over(parts) && !line.iter().any(|job| Arc::ptr_eq(&job.parts, parts))
        };
        let (over, left): (Vec<_>, Vec<_>) = queue.replaced.drain(..).partition(over);
        queue.replaced = left;
        if !queue.replaced.is_empty() || queue.spent {
            nap = nap.min(SOON);
        }
        for parts in over {
            let mut violations = Violations::new();
            self.run.machine.retire(parts, &mut violations);
            for (rule, (_, how)) in violations {
                self.run.violation(rule, || how);
            }
        }
        nap
    }

    /// Makes a new queue in the place of one that takes no more jobs, if there is room for it.
    fn replace(&mut self, index: usize) {
        let queue = &mut self.queues[index];
        let Some(parts) = self.run.machine.replace(queue.index) else {
            return;
        };
        parts.watch.set_client(thread::current());
        let old = std::mem::replace(&mut queue.parts, parts);
        for _ in queue.suspended.drain(..) {
            old.queue.resume();
        }
        // Also of one that was killed or banned: it is to end, in the time it may take.
        old.close();
        queue.replaced.push(old);
        queue.spent = false;
        queue.last_seqno = 0;
        for stream in self.streams.iter_mut().filter(|s| s.queue == index) {
            stream.free_all();
        }
    }
}

/// Prepare has failed: whether it had a reason to, and whether the queue is of no use any more.
pub(super) fn refused(run: &Run<'_>, queue: &mut QueueState<'_>, error: PrepareError) {
    let parts = &queue.parts;
    let right = match error {
        PrepareError::Full => return,
        PrepareError::Closed => parts.closed_at().is_some(),
        PrepareError::Killed(Errno::ENODEV) => parts.device.unplugged_at().is_some(),
        PrepareError::Killed(_) => parts.killed_at().is_some(),
        // So many jobs at least have been to blame.
        PrepareError::Banned => {
            parts.is_banned()
                && error.errno() == Errno::EIO
                && parts.guilty.load(Ordering::Relaxed) >= u64::from(queue.plan.strikes)
        }
        PrepareError::CostAboveLimit { .. } => false,
    };
    if !right {
        let name = parts.queue.name();
        run.violation("jobs refused", || format!("{name}: {error}"));
    }
    queue.spent = true;
}

/// Does what the client is planned to do after it has submitted job `seqno`.
pub(super) fn act(run: &Run<'_>, queue: &mut QueueState<'_>, fault: FaultKind, seqno: u64) {
    let parts = &queue.parts;
    match fault {
        // Gone already: it was too late, which the plan allows.
        FaultKind::Cancel => _ = parts.queue.cancel(seqno, Errno::ECANCELED),
        FaultKind::Suspend { delay } => {
            parts.queue.suspend();
            queue.suspended.push(Instant::now() + delay);
        }
        FaultKind::Stop { delay } => stop(run, parts, delay),
        FaultKind::Close => {
            parts.close();
            queue.spent = true;
        }
        FaultKind::Kill => {
            parts.kill();
            queue.spent = true;
        }
        _ => return,
    }
    run.count_fault(fault, 1);
}

/// Stops the queue, looks at what is on the hardware, and starts it again after `delay`.
fn stop(run: &Run<'_>, parts: &QueueParts, delay: Duration) {
    let name = parts.queue.name();
    let mut guard = match parts.queue.stop() {
        Ok(guard) => guard,
        // Its device has gone, or its driver has.
        Err(StopError::Closed | StopError::Unbound) => return,
        Err(error) => {
            return run.violation("stops refused", || format!("{name}: {error}"));
        }
    };
    let mut last = 0;
    let mut walk = guard.pending();
    while let Some(job) = walk.next() {
        let seqno = job.seqno();
        if seqno <= last {
            run.violation("walks out of order", || {
                format!("{name}: job {seqno} after job {last}")
            });
        }
        last = seqno;
        job.keep();
    }
    let runs = parts.queue.stats().runs;
    thread::sleep(delay);
    // It is quiet for as long as it is stopped.
    let now = parts.queue.stats().runs;
    if now != runs {
        run.violation("stopped queues run", || {
            format!("{name}: {} jobs were run", now - runs)
        });
    }
}
