// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Many short jobs one at a time: how much longer it takes than the jobs alone.

use kernel::prelude::*;
use kernel::sync::aref::ARef;

use ringfence::{Fence, Queue};

use super::{now_us, run_clock};
use crate::rig::{done, many, submit, Does, Mock, Rig, What};

const JOB_US: u64 = 1000;
const JOBS: u64 = 1000;

/// A thousand jobs of one queue with a single credit.
pub(crate) fn drm_sched_scheduler_queue_overhead() -> Result {
    one_at_a_time(1)
}

/// A thousand jobs of two queues with a single credit each, every job after the one before, which
/// is the other queue's.
pub(crate) fn drm_sched_scheduler_ping_pong() -> Result {
    one_at_a_time(2)
}

fn one_at_a_time(entities: u64) -> Result {
    let rig = Rig::new()?;
    let builder = Queue::<Mock>::builder(c"entity").capacity(2048).credits(1);
    let queues = many(entities, |_| rig.build(builder.clone()))?;
    let mut fences: KVVec<ARef<Fence>> = KVVec::new();
    // The first one blocks the others.
    for tag in 0..=JOBS {
        let queue = &queues[tag as usize % queues.len()];
        let does = if tag == 0 {
            Does::Waits
        } else {
            Does::Takes(JOB_US)
        };
        let fence = match fences.last() {
            Some(before) if entities > 1 => submit(queue, rig.gpu.work(tag, does), &[before])?,
            _ => submit(queue, rig.gpu.work(tag, does), &[])?,
        };
        fences.push(fence, GFP_KERNEL)?;
    }
    rig.gpu.wait_running(0)?;
    let start = now_us();
    rig.gpu.complete(0, Ok(()))?;
    let last = fences.last().ok_or(EINVAL)?;
    run_clock(&rig, "all have signalled", || last.is_signaled())?;
    let took = now_us() - start;
    pr_info!("expected {} us, took {} us\n", JOBS * JOB_US, took);
    for fence in &fences {
        ensure_eq!(done(fence)?, Ok(()));
    }
    // One at a time: it cannot have been quicker.
    ensure!(took >= JOBS * JOB_US);
    ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq(0..=JOBS));
    drop(queues);
    rig.finish()
}
