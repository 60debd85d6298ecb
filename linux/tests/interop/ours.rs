// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Fences of ours, waited for by C code.

use kernel::prelude::*;
use kernel::time::{delay::fsleep, Delta};

use ringfence::{Errno, Timeline};

use super::glue::{array, chain, resv_add_and_wait, resv_waits_for, sync_file_roundtrip, USAGES};
use crate::rig::hooks::in_hard_irq;
use crate::rig::{done, submit, thread, Rig};

/// How long to look whether something happens that must not, in milliseconds.
const LOOK_MS: u32 = 30;

pub(crate) fn interop_sync_file() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let fence = submit(&queue, rig.gpu.waits(1), &[])?;
    ensure!(sync_file_roundtrip(&fence)?);
    ensure_eq!(fence.status(), None);
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(done(&fence)?, Ok(()));
    ensure!(sync_file_roundtrip(&fence)?);
    // It outlives its queue, as those in files do.
    drop(queue);
    ensure!(sync_file_roundtrip(&fence)?);
    ensure_eq!(fence.status(), Some(Ok(())));
    rig.finish()?;
    ensure!(sync_file_roundtrip(&fence)?);
    Ok(())
}

pub(crate) fn interop_sync_file_of_a_failed_job() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let fence = submit(&queue, rig.gpu.waits(1), &[])?;
    rig.gpu.complete(1, Err(Errno::EIO))?;
    ensure_eq!(done(&fence)?, Err(Errno::EIO));
    ensure!(sync_file_roundtrip(&fence)?);
    ensure_eq!(fence.status(), Some(Err(Errno::EIO)));
    drop(queue);
    rig.finish()
}

pub(crate) fn interop_array_of_jobs() -> Result {
    let rig = Rig::new()?;
    let (one, other) = (rig.queue(c"one")?, rig.queue(c"other")?);
    let first = submit(&one, rig.gpu.waits(1), &[])?;
    let second = submit(&one, rig.gpu.waits(2), &[])?;
    let third = submit(&other, rig.gpu.waits(3), &[])?;
    let all = array(&[&first, &second, &third])?;
    ensure_eq!(all.status(), None);
    rig.gpu.complete(3, Ok(()))?;
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(done(&first)?, Ok(()));
    ensure_eq!(all.wait_timeout(LOOK_MS), None);
    rig.gpu.complete(2, Ok(()))?;
    ensure_eq!(done(&all)?, Ok(()));
    // And one of fences that have signalled already.
    let late = array(&[&first, &second, &third])?;
    ensure_eq!(done(&late)?, Ok(()));
    drop((one, other));
    rig.finish()
}

pub(crate) fn interop_array_of_jobs_with_an_error() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let first = submit(&queue, rig.gpu.waits(1), &[])?;
    let second = submit(&queue, rig.gpu.waits(2), &[])?;
    let all = array(&[&first, &second])?;
    // Arrays ask for callbacks when somebody asks for theirs.
    let (result, ()) = thread::beside(
        || done(&all),
        || {
            rig.gpu.complete(1, Err(Errno::EIO))?;
            rig.gpu.complete(2, Ok(()))
        },
    )?;
    ensure_eq!(result, Err(Errno::EIO));
    drop(queue);
    rig.finish()
}

pub(crate) fn interop_array_of_jobs_completed_in_hard_irq() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let first = submit(&queue, rig.gpu.waits(1), &[])?;
    let second = submit(&queue, rig.gpu.waits(2), &[])?;
    let all = array(&[&first, &second])?;
    let tokens = (rig.gpu.take(1)?, rig.gpu.take(2)?);
    ensure_eq!(all.wait_timeout(LOOK_MS), None);
    // Out of order: nothing signals before the first.
    let statuses = in_hard_irq(|| {
        tokens.1.complete_in_irq(Ok(()));
        let open = second.status();
        tokens.0.complete_in_irq(Ok(()));
        (open, first.status(), second.status())
    })?;
    // Right there, unless a thread was at it.
    ensure_eq!(statuses.0, None);
    ensure_eq!(done(&all)?, Ok(()));
    ensure_eq!((done(&first)?, done(&second)?), (Ok(()), Ok(())));
    drop(queue);
    rig.finish()
}

pub(crate) fn interop_chain_of_jobs() -> Result {
    let rig = Rig::new()?;
    let (one, other) = (rig.queue(c"one")?, rig.queue(c"other")?);
    let first = submit(&one, rig.gpu.waits(1), &[])?;
    let second = submit(&other, rig.gpu.waits(2), &[])?;
    let point = chain(None, &first, 1)?;
    let next = chain(Some(&point), &second, 2)?;
    rig.gpu.complete(2, Ok(()))?;
    ensure_eq!(done(&second)?, Ok(()));
    // A point has been reached when those before it have.
    ensure_eq!(next.wait_timeout(LOOK_MS), None);
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(done(&point)?, Ok(()));
    ensure_eq!(done(&next)?, Ok(()));
    drop((one, other));
    rig.finish()
}

pub(crate) fn interop_resv_of_a_job() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    for (tag, usage) in USAGES.into_iter().enumerate() {
        let fence = submit(&queue, rig.gpu.waits(tag as u64), &[])?;
        ensure!(!resv_add_and_wait(&fence, usage, LOOK_MS)?);
        // With whatever result: memory may be used again.
        let result = if tag % 2 == 0 {
            Ok(())
        } else {
            Err(Errno::EIO)
        };
        rig.gpu.complete(tag as u64, result)?;
        ensure_eq!(done(&fence)?, result);
        ensure!(resv_waits_for(&fence, usage)?);
    }
    drop(queue);
    rig.finish()
}

pub(crate) fn interop_resv_waits_for_a_job() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    for (tag, usage) in USAGES.into_iter().enumerate() {
        let fence = submit(&queue, rig.gpu.waits(tag as u64), &[])?;
        let (waited, ()) = thread::beside(
            || resv_waits_for(&fence, usage),
            || {
                fsleep(Delta::from_millis(2));
                rig.gpu.complete(tag as u64, Ok(()))
            },
        )?;
        ensure!(waited);
        ensure_eq!(fence.status(), Some(Ok(())));
    }
    drop(queue);
    rig.finish()
}

pub(crate) fn interop_resv_of_a_job_completed_in_hard_irq() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let fence = submit(&queue, rig.gpu.waits(1), &[])?;
    let token = rig.gpu.take(1)?;
    let (waited, ()) = thread::beside(
        || resv_waits_for(&fence, USAGES[1]),
        || {
            fsleep(Delta::from_millis(2));
            in_hard_irq(|| token.complete_in_irq(Ok(())))
        },
    )?;
    ensure!(waited);
    ensure_eq!(fence.status(), Some(Ok(())));
    drop(queue);
    rig.finish()
}

/// Fences that are no job's, from a timeline of the driver's own.
pub(crate) fn interop_timeline_fence_in_an_array() -> Result {
    let timeline = Timeline::new(c"test", c"interop", GFP_KERNEL)?;
    let (first, one) = timeline.signaller(GFP_KERNEL)?;
    let (second, other) = timeline.signaller(GFP_KERNEL)?;
    let all = array(&[&one, &other])?;
    ensure!(sync_file_roundtrip(&one)?);
    first.signal(Ok(()));
    ensure_eq!(all.wait_timeout(LOOK_MS), None);
    in_hard_irq(|| second.signal(Ok(())))?;
    ensure_eq!(done(&all)?, Ok(()));
    ensure_eq!(timeline.out_of_order(), 0);
    Ok(())
}
