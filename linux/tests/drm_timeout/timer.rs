// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who keeps the time, and who is busy meanwhile.

use core::time::Duration;

use kernel::prelude::*;

use ringfence::{monotonic, Errno, Queue};

use super::{blocks, hasty};
use crate::rig::thread::beside;
use crate::rig::{done, eventually, many, outcome, says, submit, Mock, Rig, What};

/// Finish workers that came out of order armed the timer for a job that had finished.
pub(crate) fn drm_4_20_timer_armed_for_a_finished_job() -> Result {
    const TIME: Duration = Duration::from_millis(500);
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").timeout(TIME))?;
    let fences = many(3, |tag| submit(&queue, rig.gpu.waits(tag + 1), &[]))?;
    rig.gpu.wait_running(3)?;
    eventually("for the head of the line", || says(&queue, "times out in"))?;
    for tag in [3, 2, 1] {
        rig.gpu.complete(tag, Ok(()))?;
    }
    for fence in &fences {
        ensure_eq!(done(fence)?, Ok(()));
    }
    let up = monotonic().as_ns() + TIME.as_nanos() as u64;
    // Not for those that have finished.
    ensure!(!says(&queue, "times out in") && !says(&queue, "is past its time"));
    // What is left of the timer finds nobody.
    eventually("the time is up", || monotonic().as_ns() > up)?;
    ensure_eq!(outcome(&queue, rig.gpu.done(4))?, Ok(()));
    ensure_eq!(rig.gpu.count_all(What::TimedOutBegins), 0);
    ensure_eq!(queue.stats().timeouts, 0);
    drop(queue);
    rig.finish()
}

/// One worker sits in a callback; the other one keeps the time.
pub(crate) fn timeout_while_a_worker_is_busy() -> Result {
    for round in 0..20 {
        let rig = Rig::new()?;
        let (busy, timed) = (rig.queue(c"busy")?, rig.build(hasty(c"timed"))?);
        let (work, go) = blocks(&rig, 1)?;
        let blocking = submit(&busy, work, &[])?;
        if round % 2 == 0 {
            rig.gpu.wait_for(1, What::RunBegins)?;
        }
        let fence = submit(&timed, rig.gpu.waits(2), &[])?;
        ensure_eq!(done(&fence)?, Err(Errno::ETIME));
        drop(go);
        ensure_eq!(done(&blocking)?, Ok(()));
        drop((busy, timed));
        rig.finish()?;
    }
    Ok(())
}

/// The worker that would have woken for a timer is woken for a job instead, and sits in it.
pub(crate) fn timeout_while_its_watch_is_busy() -> Result {
    for _ in 0..20 {
        let rig = Rig::new()?;
        let busy = rig.queue(c"busy")?;
        let builder = Queue::<Mock>::builder(c"timed");
        let timed = rig.build(builder.timeout(Duration::from_millis(20)))?;
        let fence = submit(&timed, rig.gpu.waits(1), &[])?;
        rig.gpu.wait_for(1, What::RunEnds)?;
        let (work, go) = blocks(&rig, 2)?;
        let blocking = submit(&busy, work, &[])?;
        ensure_eq!(done(&fence)?, Err(Errno::ETIME));
        drop(go);
        ensure_eq!(done(&blocking)?, Ok(()));
        drop((busy, timed));
        rig.finish()?;
    }
    Ok(())
}

/// The timer fires while a callback of the same queue runs, on its worker or on a submitter: the
/// driver is asked after that, unless the job has completed meanwhile.
pub(crate) fn timer_fires_while_a_callback_runs() -> Result {
    for (bypass, completes) in [(false, false), (false, true), (true, false), (true, true)] {
        // Where this thread is too slow, the job times out before the callback begins.
        let mut rounds = 0;
        while !timer_fires(bypass, completes)? {
            rounds += 1;
            ensure!(rounds < 100);
        }
    }
    Ok(())
}

fn timer_fires(bypass: bool, completes: bool) -> Result<bool> {
    const TIME: Duration = Duration::from_millis(50);
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").bypass(bypass).timeout(TIME))?;
    let (work, go) = blocks(&rig, 2)?;
    let hangs = submit(&queue, rig.gpu.waits(1), &[])?;
    eventually("its clock runs, or has run", || {
        hangs.is_signaled() || says(&queue, "times out in")
    })?;
    let (behind, in_time) = beside(
        || submit(&queue, work, &[]),
        || {
            rig.gpu.wait_for(2, What::RunBegins)?;
            let begun = monotonic().as_ns();
            let in_time = rig.gpu.count_all(What::TimedOutBegins) == 0;
            eventually("the timer has fired", || {
                monotonic().as_ns() > begun + 2 * TIME.as_nanos() as u64
            })?;
            if in_time {
                ensure_eq!(rig.gpu.count_all(What::TimedOutBegins), 0);
            }
            if completes && in_time {
                rig.gpu.complete(1, Ok(()))?;
            }
            drop(go);
            Ok(in_time)
        },
    )?;
    ensure_eq!(done(&behind)?, Ok(()));
    let expected = match completes && in_time {
        true => Ok(()),
        false => Err(Errno::ETIME),
    };
    ensure_eq!(done(&hangs)?, expected);
    if in_time {
        let seen = rig.gpu.seen()?;
        let at = |what, tag| {
            seen.iter()
                .position(|seen| (seen.what, seen.tag) == (what, tag))
        };
        ensure_eq!(at(What::TimedOutBegins, 1).is_none(), completes);
        ensure!(completes || at(What::RunEnds, 2) < at(What::TimedOutBegins, 1));
    }
    drop(queue);
    rig.finish()?;
    Ok(in_time)
}
