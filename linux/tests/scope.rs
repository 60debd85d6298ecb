// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a device knows of its queues: those that are refused, made while all are stopped, or
//! dropped then.

use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Release};

use crate::rig::{done, eventually, submit, thread, Rig};

/// A queue that is refused was never counted: the device does not wait for it.
pub(crate) fn refused_queue_leaves_its_device_free() -> Result {
    let rig = Rig::new()?;
    ensure_eq!(rig.device.unbind(), Ok(()));
    let before = ringfence::fence::timelines();
    ensure!(rig.queue(c"q").is_err());
    // Its end is work for a thread.
    eventually("the refused queue has gone", || {
        ringfence::fence::timelines() == before
    })?;
    rig.finish()
}

/// Stopped before anybody finds it, and started by whoever ends the stop.
pub(crate) fn queue_made_while_all_are_stopped_runs_again() -> Result {
    const QUEUES: u64 = 500;
    let rig = Rig::new()?;
    let running = Atomic::new(1);
    let ((), ()) = thread::beside(
        || {
            while running.load(Acquire) != 0 {
                drop(rig.device.stop_all().map_err(|_| EINVAL)?);
            }
            Ok(())
        },
        || {
            let mut result = Ok(());
            for number in 0..QUEUES {
                let one = || {
                    let queue = rig.queue(c"q")?;
                    let fence = submit(&queue, rig.gpu.done(number), &[])?;
                    rig.gpu.forget_seen();
                    ensure_eq!(done(&fence)?, Ok(()));
                    Ok(())
                };
                result = result.and(one());
                if result.is_err() {
                    break;
                }
            }
            running.store(0, Release);
            result
        },
    )?;
    rig.finish()
}

/// While it is stopped a queue is not told that it is closed; nobody may wait for that for ever.
pub(crate) fn closed_fence_of_a_queue_dropped_while_all_are_stopped() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let closed = queue.closed(GFP_KERNEL)?;
    let stop = rig.device.stop_all().map_err(|_| EINVAL)?;
    drop(queue);
    drop(stop);
    ensure_eq!(done(&closed)?, Ok(()));
    rig.finish()
}

suite! { ringfence_scope of scope {
    refused_queue_leaves_its_device_free,
    queue_made_while_all_are_stopped_runs_again,
    closed_fence_of_a_queue_dropped_while_all_are_stopped,
} }
