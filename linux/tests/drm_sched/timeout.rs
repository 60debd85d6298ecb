// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Timeouts, and timeouts that find no hang.

use core::time::Duration;

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Full, Relaxed};
use kernel::sync::Arc;

use ringfence::{Errno, Queue};

use super::now_us;
use crate::rig::mock::TimedOut;
use crate::rig::{done, eventually, submit, Mock, Rig, What};

/// How long a job may be on the hardware.
const TIMEOUT_MS: u32 = 200;
const TIMEOUT_US: u64 = 200_000;

/// A job that the hardware does not end: the driver is asked when its time is up, not before, and
/// once.
pub(crate) fn drm_sched_basic_timeout() -> Result {
    let rig = Rig::new()?;
    let timeout = Duration::from_micros(TIMEOUT_US);
    let queue = rig.build(Queue::<Mock>::builder(c"entity").timeout(timeout))?;
    let asked_at = Arc::new(Atomic::new(0u64), GFP_KERNEL)?;
    let asked = asked_at.clone();
    let work = rig.gpu.waits(1).when_timed_out(move |job| {
        asked.store(now_us(), Relaxed);
        job.handled(Errno::ETIMEDOUT)
    })?;
    let submitted_at = now_us();
    let fence = submit(&queue, work, &[])?;
    rig.gpu.wait_running(1)?;
    let half = fence.wait_timeout(TIMEOUT_MS / 2);
    if now_us() < submitted_at + TIMEOUT_US {
        ensure_eq!(half, None);
        ensure_eq!(rig.gpu.count(1, What::TimedOutBegins), 0);
    }
    ensure_eq!(done(&fence)?, Err(Errno::ETIMEDOUT));
    ensure_eq!(rig.gpu.count(1, What::TimedOutBegins), 1);
    ensure!(asked_at.load(Relaxed) >= submitted_at + TIMEOUT_US);
    ensure_eq!(queue.stats().timed_out, 1);
    // What the hardware says of it is late.
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(fence.status(), Some(Err(Errno::ETIMEDOUT)));
    ensure_eq!(queue.stats().late_completions, 1);
    drop(queue);
    rig.finish()
}

/// The driver finds no hang, each time: the job goes on, and ends well.
pub(crate) fn drm_sched_skip_reset() -> Result {
    let rig = Rig::new()?;
    let timeout = Duration::from_micros(TIMEOUT_US);
    let queue = rig.build(Queue::<Mock>::builder(c"entity").timeout(timeout))?;
    let skipped = Arc::new(Atomic::new(0u64), GFP_KERNEL)?;
    let work = rig.gpu.waits(1);
    let count = skipped.clone();
    let work = work.when_timed_out(move |mut job| {
        count.fetch_add(1, Full);
        // The same answer next time, with memory taken as a signalling section may.
        let count = count.clone();
        let again = KBox::new(
            move |job: ringfence::TimedOutJob<'_, Mock>| {
                count.fetch_add(1, Full);
                job.no_hang()
            },
            GFP_NOWAIT,
        );
        if let Ok(again) = again {
            let again: TimedOut = again;
            job.payload().set_timed_out(again);
        }
        job.no_hang()
    })?;
    let fence = submit(&queue, work, &[])?;
    rig.gpu.wait_running(1)?;
    eventually("a reset is skipped", || skipped.load(Relaxed) != 0)?;
    // Its whole time is before it again.
    ensure_eq!(fence.wait_timeout(TIMEOUT_MS / 4), None);
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(done(&fence)?, Ok(()));
    ensure_eq!(queue.stats().timed_out, 0);
    ensure_eq!(queue.stats().timeouts, skipped.load(Relaxed));
    drop(queue);
    rig.finish()
}
