// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Recovery of a device: who asks for it, who is served, and what ends it.
//!
//! Left out: a recovery that panics, which is a `BUG()` here; a stop inside a fence callback, which
//! no function but [`ringfence::Completion::complete_in_callback`] is for.

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Full, Relaxed};
use kernel::sync::Arc;

use ringfence::{
    BuildError, Errno, Guilty, Hang, Queue, RequestError, Rest, StopError, UnbindError,
};

use super::recovery::{on_hardware, refused, stopped};
use crate::drm_timeout::time_is_up;
use crate::rig::channel::Channel;
use crate::rig::thread::all;
use crate::rig::{done, eventually, many, outcome, says, submit, Mock, Order, Rig, What, Work};

/// Jobs whose timeout callback asks for a recovery. Where there is none, they say so by `ENOSYS`.
fn hangs(rig: &Rig, tag: u64) -> Result<Work> {
    rig.gpu.waits(tag).when_timed_out(|job| match job.reset() {
        Ok(outcome) => outcome,
        Err(job) => job.handled(Errno::ENODATA),
    })
}

fn guilty(hang: &Hang<'_>) -> Option<Guilty> {
    let error = Errno::ETIME;
    hang.seqno().map(|seqno| Guilty { seqno, error })
}

pub(crate) fn recovery_of_one_queue() -> Result {
    let calls = Channel::new(4)?;
    let seen = calls.clone();
    let rig = Rig::with_recovery(move |hang: &Hang<'_>| {
        let Ok(mut stop) = hang.stop_queue() else {
            return;
        };
        let wanted = stop.queue().wants_recovery();
        let mut queue = stop.queue();
        let Some(mut stopped) = queue.typed::<Mock>() else {
            return;
        };
        stopped.driver().hardware += 1;
        let recovered = stopped.recover(guilty(hang), Rest::Replay);
        seen.send((hang.context(), hang.seqno(), wanted, recovered.replayed));
    })?;
    let (queue, other) = (rig.queue(c"q")?, rig.queue(c"other")?);
    let apart = submit(&other, rig.gpu.waits(100), &[])?;
    let hung = submit(&queue, hangs(&rig, 1)?, &[])?;
    let behind = submit(&queue, rig.gpu.waits(2), &[])?;
    let queued = submit(&queue, rig.gpu.done(3), &[&behind])?;
    rig.gpu.wait_running(2)?;
    time_is_up(&queue)?;
    ensure_eq!(done(&hung)?, Err(Errno::ETIME));
    rig.gpu.wait_for(2, What::Replay)?;
    rig.gpu.complete(2, Ok(()))?;
    ensure_eq!((done(&behind)?, done(&queued)?), (Ok(()), Ok(())));
    ensure_eq!(
        &calls.drain()?[..],
        &[(queue.context(), Some(1), Some(1), 1)]
    );
    // Innocent of it all.
    ensure_eq!(rig.gpu.count(100, What::Replay), 0);
    rig.gpu.complete(100, Ok(()))?;
    ensure_eq!(done(&apart)?, Ok(()));
    ensure_eq!(queue.stats().recoveries, 1);
    drop((queue, other));
    rig.finish()
}

/// Several queues hang; whoever deals with all of them spares the others a recovery each.
pub(crate) fn many_ask_and_one_reset_serves_all() -> Result {
    let (calls, go) = (Channel::new(8)?, Channel::<()>::new(1)?);
    let (seen, wait, closer) = (calls.clone(), go.clone(), go.closer());
    let rig = Rig::with_recovery(move |hang: &Hang<'_>| {
        let _closed = wait.receive();
        let Ok(mut all) = hang.stop_all() else { return };
        let mut guilty = [(0, 0, Errno::ETIME); 4];
        let mut count = 0;
        all.for_each(|queue| {
            if let Some(seqno) = queue.wants_recovery() {
                guilty[count] = (queue.context(), seqno, Errno::ETIME);
                count += 1;
            }
        });
        let recovered = all.recover(&guilty[..count], Rest::Replay);
        seen.send((recovered.failed, recovered.replayed));
    })?;
    let queues = many(4, |_| rig.queue(c"q"))?;
    let fences = many(8, |tag| {
        let work = match tag {
            0..3 => hangs(&rig, tag)?,
            3 => rig.gpu.done(3),
            _ => rig.gpu.waits(tag),
        };
        submit(&queues[tag as usize % 4], work, &[])
    })?;
    for tag in 4..8 {
        rig.gpu.wait_running(tag)?;
    }
    for queue in &queues[..3] {
        time_is_up(queue)?;
        eventually("it asks", || says(queue, "wants a recovery"))?;
    }
    drop(closer);
    for fence in &fences[..3] {
        ensure_eq!(done(fence)?, Err(Errno::ETIME));
    }
    for tag in 4..8 {
        rig.gpu.wait_for(tag, What::Replay)?;
        rig.gpu.complete(tag, Ok(()))?;
        ensure_eq!(done(&fences[tag as usize])?, Ok(()));
    }
    // The work is through with the round: unbind waits for it.
    ensure_eq!(rig.device.unbind(), Ok(()));
    ensure_eq!(&calls.drain()?[..], &[(3, 4)]);
    drop(queues);
    rig.finish()
}

/// An interrupt reports a fault before any time is up.
pub(crate) fn recovery_requested_by_an_interrupt() -> Result {
    let said = Channel::new(64)?;
    let say = said.clone();
    let rig = Rig::with_recovery(move |hang: &Hang<'_>| {
        // It may have been closed since.
        let Ok(mut stop) = hang.stop_queue() else {
            return;
        };
        let recovered = stop.recover(None, Rest::Cancel);
        if recovered.cancelled != 0 {
            say.send((hang.context(), hang.seqno(), recovered.cancelled));
        }
    })?;
    let queues = many(40, |_| rig.queue(c"q"))?;
    for queue in queues.iter().rev() {
        let context = queue.context();
        let fence = submit(queue, rig.gpu.waits(context), &[])?;
        rig.gpu.wait_for(context, What::RunEnds)?;
        let asked = crate::rig::hooks::in_hard_irq(|| rig.device.request_recovery(context))?;
        ensure_eq!(asked, Ok(()));
        ensure_eq!(done(&fence)?, Err(Errno::ECANCELED));
        ensure_eq!(said.receive()?, Some((context, None, 1)));
    }
    let gone = queues[7].context();
    drop(queues);
    // Tokens keep their queue.
    rig.gpu.drop_hardware();
    let no_queue = Err(RequestError::NoSuchQueue);
    eventually("it is gone", || {
        rig.device.request_recovery(gone) == no_queue
    })?;
    ensure_eq!(rig.device.request_recovery(0), no_queue);
    ensure_eq!(rig.device.unbind(), Ok(()));
    ensure_eq!(
        rig.device.request_recovery(gone),
        Err(RequestError::NoRecovery)
    );
    rig.finish()
}

pub(crate) fn reset_without_a_recovery_is_refused() -> Result {
    let rig = Rig::new()?;
    ensure!(!rig.device.has_recovery());
    let queue = rig.queue(c"q")?;
    let fence = submit(&queue, hangs(&rig, 1)?, &[])?;
    time_is_up(&queue)?;
    // Nobody would do it.
    ensure_eq!(done(&fence)?, Err(Errno::ENODATA));
    let asked = rig.device.request_recovery(queue.context());
    ensure_eq!(asked, Err(RequestError::NoRecovery));
    drop(queue);
    rig.finish()
}

pub(crate) fn recovery_that_does_nothing() -> Result {
    let rig = Rig::with_recovery(|_: &Hang<'_>| {})?;
    let queue = rig.queue(c"q")?;
    let hung = submit(&queue, hangs(&rig, 1)?, &[])?;
    let behind = submit(&queue, rig.gpu.waits(2), &[])?;
    rig.gpu.wait_running(2)?;
    time_is_up(&queue)?;
    // Not left in limbo.
    ensure_eq!(done(&hung)?, Err(Errno::ETIME));
    rig.gpu.complete(2, Ok(()))?;
    ensure_eq!(done(&behind)?, Ok(()));
    // And the queue goes on.
    ensure_eq!(outcome(&queue, rig.gpu.done(3))?, Ok(()));
    drop(queue);
    rig.finish()
}

/// A span in which nobody else may be.
fn alone(inside: &Atomic<i32>, overlaps: &Atomic<i32>) {
    if inside.xchg(1, Full) != 0 {
        overlaps.store(1, Relaxed);
    }
    kernel::time::delay::fsleep(kernel::time::Delta::from_micros(20));
    inside.store(0, Relaxed);
}

/// Two resets of one device at a time: each undoes the other.
pub(crate) fn drm_4_17_resets_of_one_device_overlap() -> Result {
    let marks = Arc::new((Atomic::new(0), Atomic::new(0)), GFP_KERNEL)?;
    let own = marks.clone();
    let rig = Rig::with_recovery(move |hang: &Hang<'_>| {
        if let Ok(mut stop) = hang.stop_queue() {
            alone(&own.0, &own.1);
            stop.recover(guilty(hang), Rest::Keep);
        }
    })?;
    let queues = many(3, |_| rig.queue(c"q"))?;
    all(4, |number| {
        if let Some(queue) = queues.get(number) {
            for tag in 0..20 {
                let fence = submit(queue, hangs(&rig, 100 * number as u64 + tag)?, &[])?;
                time_is_up(queue)?;
                ensure_eq!(done(&fence)?, Err(Errno::ETIME));
            }
            return Ok(());
        }
        for round in 0..60 {
            if round % 2 == 0 {
                let _all = stopped(rig.device.stop_all())?;
                alone(&marks.0, &marks.1);
            } else {
                let _one = stopped(queues[0].stop())?;
                alone(&marks.0, &marks.1);
            }
        }
        Ok(())
    })?;
    ensure_eq!(marks.1.load(Relaxed), 0);
    drop(queues);
    rig.finish()
}

/// Recovery inside the timeout callback is what freed jobs under it.
pub(crate) fn drm_4_5_stop_in_a_callback() -> Result {
    let rig = Rig::new()?;
    let queue = Arc::new(rig.queue(c"q")?, GFP_KERNEL)?;
    let said = Channel::new(4)?;
    let stops = || {
        let (queue, device, say) = (queue.clone(), rig.device.clone(), said.clone());
        move || say.send((refused(queue.stop()), refused(device.stop_all())))
    };
    let (in_run, in_timeout) = (stops(), stops());
    let work = rig.gpu.calls(1, move |submission| {
        in_run();
        submission.done()
    })?;
    ensure_eq!(outcome(&queue, work)?, Ok(()));
    let work = rig.gpu.waits(2).when_timed_out(move |job| {
        in_timeout();
        job.handled(Errno::ETIME)
    })?;
    let second = submit(&queue, work, &[])?;
    time_is_up(&queue)?;
    ensure_eq!(done(&second)?, Err(Errno::ETIME));
    let in_callback = Some(StopError::InCallback);
    ensure_eq!(&said.drain()?[..], &[(in_callback, in_callback); 2]);

    let stop = stopped(queue.stop())?;
    ensure_eq!(refused(queue.stop()), Some(StopError::Nested));
    ensure_eq!(refused(rig.device.stop_all()), Some(StopError::Nested));
    ensure_eq!(rig.device.unbind(), Err(UnbindError::Stopped));
    let elsewhere = Rig::new()?;
    let other = elsewhere.queue(c"q")?;
    drop(stopped(other.stop())?);
    drop(other);
    elsewhere.finish()?;
    drop(stop);
    drop(queue);
    rig.finish()
}

/// Everything ends at once, and each timeline in order.
pub(crate) fn drm_4_3_device_gone_ends_fences_in_order() -> Result {
    let rig = Rig::new()?;
    let queues = many(3, |_| rig.queue(c"q"))?;
    let order = many(3, |_| Order::new(8))?;
    let mut kept = KVec::new();
    for (number, (queue, order)) in queues.iter().zip(&order).enumerate() {
        let first = 100 * number as u64;
        queue.suspend();
        let fences = many(8, |tag| submit(queue, rig.gpu.waits(first + tag), &[]))?;
        kept.push(order.watch_all(&fences)?, GFP_KERNEL)?;
        queue.resume();
        rig.gpu.wait_running(first)?;
    }
    let all = stopped(rig.device.stop_all())?;
    ensure_eq!(all.len(), 3);
    all.device_gone();
    for (queue, order) in queues.iter().zip(&order) {
        eventually("all have signalled", || {
            order.seen().is_ok_and(|seen| seen.len() == 8)
        })?;
        order.ensure_in_order(8)?;
        ensure!(order
            .seen()?
            .iter()
            .all(|(_, status)| *status == Err(Errno::ENODEV)));
        ensure_eq!(done(&*queue.closed(GFP_KERNEL)?)?, Ok(()));
    }
    drop((queues, kept));
    rig.finish()
}

/// No queue is made on a device that is gone.
pub(crate) fn late_queue_is_refused_by_a_device_that_is_gone() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    stopped(rig.device.stop_all())?.device_gone();
    let late = Queue::<Mock>::builder(c"late");
    let refused = late.build(&rig.device, &rig.executor, rig.gpu.driver(), GFP_KERNEL);
    ensure_eq!(refused.err(), Some(BuildError::Device(Errno::ENODEV)));
    drop(queue);
    rig.finish()
}

/// All pending jobs go to fresh hardware, with what they need for that.
pub(crate) fn migration() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let order = Order::new(5)?;
    let fences = on_hardware(&rig, &queue, 5)?;
    let watches = order.watch_all(&fences)?;
    for hardware in 1..4 {
        let mut stopped = stopped(queue.stop())?;
        stopped.driver().hardware = hardware;
        let recovered = stopped.recover(None, Rest::Replay);
        ensure_eq!(recovered.replayed, 5);
        let mut walk = stopped.pending();
        while let Some(mut job) = walk.next() {
            ensure_eq!(u32::from(job.attempt().replays()), hardware);
            let (driver, _work, times) = job.parts();
            ensure_eq!((driver.hardware, *times), (hardware, u64::from(hardware)));
        }
    }
    for tag in 1..=5 {
        rig.gpu.complete(tag, Ok(()))?;
    }
    for fence in &fences {
        ensure_eq!(done(fence)?, Ok(()));
    }
    order.ensure_in_order(5)?;
    let replays = rig.gpu.tags(What::Replay)?;
    ensure!(replays
        .iter()
        .copied()
        .eq([1, 2, 3, 4, 5].into_iter().cycle().take(15)));
    ensure_eq!(queue.stats().replays, 15);
    drop((watches, queue));
    rig.finish()
}

pub(crate) fn queue_made_while_all_are_stopped() -> Result {
    let rig = Rig::new()?;
    let old = rig.queue(c"old")?;
    let mut all = stopped(rig.device.stop_all())?;
    let young = rig.queue(c"young")?;
    let fences = [
        submit(&old, rig.gpu.done(1), &[])?,
        submit(&young, rig.gpu.done(2), &[])?,
    ];
    ensure!(says(&old, "stopped") && says(&young, "stopped"));
    ensure_eq!(rig.gpu.count_all(What::RunBegins), 0);
    let mut found = 0;
    all.for_each(|queue| found += i32::from(queue.context() == old.context()));
    ensure_eq!(found, 1);
    drop(all);
    for fence in &fences {
        ensure_eq!(done(fence)?, Ok(()));
    }
    // There is room for both in the next stop.
    ensure_eq!(stopped(rig.device.stop_all())?.len(), 2);
    drop((old, young));
    rig.finish()
}

/// Queues are made and let go of while others stop all of them.
pub(crate) fn queues_come_and_go_while_all_are_stopped() -> Result {
    let rig = Rig::new()?;
    all(3, |number| {
        for round in 0..40 {
            if number == 0 {
                let mut all = stopped(rig.device.stop_all())?;
                all.recover(&[], Rest::Replay);
                drop(all);
                continue;
            }
            let queue = rig.queue(c"q")?;
            let tag = 1000 * number as u64 + round;
            let fence = submit(&queue, rig.gpu.waits(tag), &[])?;
            rig.gpu.complete(tag, Ok(()))?;
            // It may have been replayed in between: then the token was the one before.
            if !fence.is_signaled() {
                queue.kill(Errno::EIO);
            }
            ensure!(matches!(done(&fence)?, Ok(()) | Err(Errno::EIO)));
        }
        Ok(())
    })?;
    // Those that have ended are not stopped; the last may be at it still.
    eventually("none is stopped", || {
        rig.device.stop_all().is_ok_and(|all| all.is_empty())
    })?;
    rig.finish()
}

suite! { ringfence_resets of resets {
    recovery_of_one_queue,
    many_ask_and_one_reset_serves_all,
    recovery_requested_by_an_interrupt,
    reset_without_a_recovery_is_refused,
    recovery_that_does_nothing,
    drm_4_17_resets_of_one_device_overlap,
    drm_4_5_stop_in_a_callback,
    drm_4_3_device_gone_ends_fences_in_order,
    late_queue_is_refused_by_a_device_that_is_gone,
    migration,
    queue_made_while_all_are_stopped,
    queues_come_and_go_while_all_are_stopped,
} }
