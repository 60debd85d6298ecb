// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What excuses a job with which nothing was wrong for having failed: somebody did something to its
//! queue, or to the device. Everything else is a violation.

use std::sync::atomic::Ordering;

use ringfence::Errno;

use super::InFlight;
use crate::plan::{AfterReset, CloseMode, QueuePlan};
use crate::run::machine::KILLED;
use crate::run::watch::Seen;

/// Whether the queue was killed, or the device has gone, before the job ended with this: then it did
/// not wait for what it depends on.
pub(super) fn torn_down(seen: &Seen, job: &InFlight, status: Result<(), Errno>) -> bool {
    let parts = &job.parts;
    let after = |at: Option<u64>| at.is_some_and(|at| at <= seen.done);
    match status {
        Ok(()) => false,
        Err(Errno::ENODEV) if after(parts.device.unplugged_at()) => true,
        Err(error) => error == KILLED && after(parts.killed_at()),
    }
}

/// Whether something was done to its queue that may end a job so.
pub(super) fn excused(
    seen: &Seen,
    job: &InFlight,
    status: Result<(), Errno>,
    plan: &QueuePlan,
) -> bool {
    let Err(error) = status else {
        return false;
    };
    if torn_down(seen, job, status) {
        return true;
    }
    let parts = &job.parts;
    let ran = seen.run != 0;
    let cancelled = error == Errno::ECANCELED;
    if let Some(closed_at) = parts.closed_at().filter(|&at| at <= seen.done) {
        if plan.close == CloseMode::Cancel && cancelled && !ran {
            return true;
        }
        // A queue looks at its clock when it has a reason to: an event may seem a little older.
        let overdue = plan.close_timeout.is_some_and(|span| {
            let span = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
            seen.done >= closed_at.saturating_add(span)
        });
        if overdue && (error == Errno::ETIME || cancelled) {
            return true;
        }
    }
    // The queue was banned: what had not run was cancelled.
    if parts.is_banned() && cancelled && !ran {
        return true;
    }
    // Another job of the queue was guilty while this one was on the hardware.
    let guilty_done = parts.guilty_done.load(Ordering::Relaxed);
    plan.after_reset == AfterReset::Cancel && cancelled && ran && seen.run <= guilty_done
}
