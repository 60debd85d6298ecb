// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What has an end: patience with guilty queues, with teardown, with replays; and unbind during all
//! of it.
//!
//! `inspected_in_a_callback_and_while_stopped` looks from another thread: here a snapshot
//! allocates, which a callback must not.

use core::time::Duration;

use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Release};
use kernel::sync::Arc;

use ringfence::{
    Ban, Builder, ClosePolicy, Device, Errno, Guilty, Hang, Queue, Replayed, Rest, Standing,
    StopError, Timeout, UnbindError,
};

use super::recovery::{on_hardware, refused, stopped};
use crate::drm_timeout::{blocks, submit_with, time_is_up, AGES, AT_ONCE};
use crate::rig::channel::Channel;
use crate::rig::mock::TimedOut;
use crate::rig::thread::beside;
use crate::rig::{done, eventually, many, says, submit, Mock, Rig, What};

const BAN: Ban = Ban {
    strikes: 2,
    within: None,
};

pub(crate) fn ban_after_strikes() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").timeout(AT_ONCE).ban(BAN))?;
    ensure_eq!(queue.standing(), Standing::Good { strikes: 0 });
    let first = submit(&queue, rig.gpu.waits(1), &[])?;
    ensure_eq!(done(&first)?, Err(Errno::ETIME));
    eventually("a strike", || {
        queue.standing() == Standing::Good { strikes: 1 }
    })?;
    queue.suspend();
    let second = submit(&queue, rig.gpu.waits(2), &[])?;
    let third = submit(&queue, rig.gpu.done(3), &[&second])?;
    queue.resume();
    ensure_eq!(done(&second)?, Err(Errno::ETIME));
    // What has not run ends.
    ensure!(done(&third)?.is_err());
    eventually("banned", || queue.standing() == Standing::Banned)?;
    let refused = queue
        .prepare(rig.gpu.done(4), 1, GFP_KERNEL)
        .err()
        .ok_or(EINVAL)?;
    ensure_eq!(refused.error.errno(), Errno::EIO);
    drop(refused);
    ensure!(says(&queue, "banned"));
    ensure_eq!(done(&*queue.closed(GFP_KERNEL)?)?, Ok(()));
    drop(queue);
    rig.finish()
}

/// Strikes by whoever recovers; what is on the hardware of a banned queue goes on.
pub(crate) fn ban_by_who_stopped_the_queue() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").ban(BAN))?;
    let fences = on_hardware(&rig, &queue, 2)?;
    let mut stopped = stopped(queue.stop())?;
    let guilty = Guilty {
        seqno: 1,
        error: Errno::EFAULT,
    };
    stopped.recover(Some(guilty), Rest::Replay);
    let behind = submit(&queue, rig.gpu.done(3), &[])?;
    ensure_eq!(stopped.strike(), Standing::Banned);
    drop(stopped);
    ensure_eq!(done(&fences[0])?, Err(Errno::EFAULT));
    rig.gpu.complete(2, Ok(()))?;
    ensure_eq!(done(&fences[1])?, Ok(()));
    ensure_eq!(done(&behind)?, Err(Errno::ECANCELED));
    drop(queue);
    rig.finish()
}

/// The job's own word counts before its queue's, that before its device's.
pub(crate) fn timeouts_from_narrow_to_wide() -> Result {
    let rig = Rig::on(Device::builder(c"patient").timeout(AGES).build()?)?;
    let inherits = rig.queue(c"inherits")?;
    let hasty = rig.build(Queue::<Mock>::builder(c"hasty").timeout(AT_ONCE))?;
    let never = rig.build(Queue::<Mock>::builder(c"never").timeout(Timeout::Never))?;
    let by_device = submit_with(&inherits, rig.gpu.waits(1), Timeout::Inherit)?;
    let by_queue = submit_with(&hasty, rig.gpu.waits(2), Timeout::Inherit)?;
    let by_job = submit_with(&never, rig.gpu.waits(3), Timeout::After(AT_ONCE))?;
    ensure_eq!(done(&by_queue)?, Err(Errno::ETIME));
    ensure_eq!(done(&by_job)?, Err(Errno::ETIME));
    eventually("the device's is counting", || {
        says(&inherits, "times out in")
    })?;
    let forever = submit_with(&never, rig.gpu.waits(4), Timeout::Inherit)?;
    eventually("it is on the hardware", || says(&never, "#2      pending"))?;
    ensure!(!says(&never, "times out in"));
    rig.gpu.complete(1, Ok(()))?;
    rig.gpu.complete(4, Ok(()))?;
    ensure_eq!((done(&by_device)?, done(&forever)?), (Ok(()), Ok(())));
    drop((inherits, hasty, never));
    rig.finish()
}

/// Finds no hang, whatever happens. Without captures, so without memory.
fn blind() -> Result<TimedOut> {
    Ok(KBox::new(
        |mut job: ringfence::TimedOutJob<'_, Mock>| match blind() {
            Ok(again) => {
                job.payload().set_timed_out(again);
                job.no_hang()
            }
            Err(_) => job.handled(Errno::ENOMEM),
        },
        GFP_ATOMIC,
    )?)
}

/// A driver that never gives up must not keep a process from being killed.
pub(crate) fn drm_4_2_hung_device_does_not_hold_teardown() -> Result {
    for policy in [ClosePolicy::Cancel, ClosePolicy::Drain] {
        let rig = Rig::new()?;
        let builder = Queue::<Mock>::builder(c"q")
            .credits(2)
            .timeout(AGES)
            .close_timeout(Duration::from_millis(5));
        let queue = rig.build(builder)?;
        let fences = many(3, |tag| {
            let mut work = rig.gpu.waits(tag + 1);
            work.set_timed_out(blind()?);
            submit(&queue, work, &[])
        })?;
        rig.gpu.wait_running(2)?;
        let closed = queue.closed(GFP_KERNEL)?;
        queue.close_with(policy);
        ensure_eq!(done(&closed)?, Ok(()));
        for hung in &fences[..2] {
            ensure_eq!(hung.status(), Some(Err(Errno::ETIME)));
        }
        ensure_eq!(fences[2].status(), Some(Err(Errno::ECANCELED)));
        drop(queue);
        rig.finish()?;
    }
    Ok(())
}

/// Where nothing is begun any more, a replay ends the job instead of leaving it in between.
pub(crate) fn replay_after_the_time_for_closing() -> Result {
    let rig = Rig::new()?;
    let builder: Builder<'_> = Queue::<Mock>::builder(c"q").close_timeout(AT_ONCE);
    let queue = rig.build(builder)?;
    let fences = on_hardware(&rig, &queue, 2)?;
    let mut stopped = stopped(queue.stop())?;
    queue.close();
    eventually("overdue", || says(&queue, "overdue"))?;
    let mut walk = stopped.pending();
    let replayed = walk.next().ok_or(ENODATA)?.replay();
    ensure_eq!(replayed, Replayed::Failed(Errno::ETIME));
    let recovered = stopped.recover(None, Rest::Replay);
    ensure_eq!((recovered.failed, recovered.replayed), (1, 0));
    drop(stopped);
    for fence in &fences {
        ensure_eq!(done(fence)?, Err(Errno::ETIME));
    }
    ensure_eq!(rig.gpu.count_all(What::Replay), 0);
    drop(queue);
    rig.finish()
}

pub(crate) fn replayed_too_often() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let fences = on_hardware(&rig, &queue, 1)?;
    let mut stopped = stopped(queue.stop())?;
    for _ in 0..255 {
        ensure_eq!(stopped.recover(None, Rest::Replay).replayed, 1);
    }
    ensure_eq!(stopped.recover(None, Rest::Replay).failed, 1);
    drop(stopped);
    ensure_eq!(done(&fences[0])?, Err(Errno::ECANCELED));
    drop(queue);
    rig.finish()
}

/// Fences do not wait for whoever has stopped the queue; unbind does.
pub(crate) fn unbind_waits_for_the_guard() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let fences = on_hardware(&rig, &queue, 2)?;
    let mut stop = stopped(queue.stop())?;
    let over = Atomic::new(0);
    let unbinds = || {
        let unbound = rig.device.unbind();
        over.store(1, Release);
        Ok(unbound)
    };
    let (unbound, ()) = beside(unbinds, || {
        for fence in &fences {
            ensure_eq!(done(fence)?, Err(Errno::ENODEV));
        }
        ensure_eq!(over.load(Acquire), 0);
        stop.driver().hardware += 1;
        ensure!(stop.pending().next().is_none());
        ensure_eq!(stop.recover(None, Rest::Replay).replayed, 0);
        ensure_eq!(rig.gpu.leftovers().1, 1);
        drop(stop);
        Ok(())
    })?;
    ensure_eq!(unbound, Ok(()));
    ensure_eq!(rig.gpu.leftovers().1, 0);
    ensure_eq!(refused(queue.stop()), Some(StopError::Unbound));
    ensure_eq!(refused(rig.device.stop_all()), Some(StopError::Unbound));
    drop(queue);
    rig.finish()
}

/// What the recovery is in the middle of, it ends; what it has not begun, it does not begin.
pub(crate) fn unbind_during_recovery() -> Result {
    for whole in [false, true] {
        let (said, stops) = (Channel::new(4)?, Channel::new(4)?);
        let (go, devices) = (Channel::<()>::new(1)?, Channel::<Arc<Device>>::new(1)?);
        let (say, tell, wait, handed) = (said.clone(), stops.clone(), go.clone(), devices.clone());
        let closer = go.closer();
        let rig = Rig::with_recovery(move |hang: &Hang<'_>| {
            // The test's is the last.
            if let Some(device) = handed.try_receive() {
                say.send(device.unbind());
            }
            let _closed = wait.receive();
            // Unbind has begun, and waits for this.
            tell.send(match whole {
                true => refused(hang.stop_all()),
                false => refused(hang.stop_queue()),
            });
        })?;
        devices.send(rig.device.clone());
        let queues = [rig.queue(c"q")?, rig.queue(c"r")?];
        let fences = many(2, |at| {
            let work = rig
                .gpu
                .waits(at + 1)
                .when_timed_out(|job| match job.reset() {
                    Ok(outcome) => outcome,
                    Err(job) => job.handled(Errno::ENODATA),
                })?;
            let fence = submit(&queues[at as usize], work, &[])?;
            time_is_up(&queues[at as usize])?;
            Ok(fence)
        })?;
        ensure_eq!(said.receive()?, Some(Err(UnbindError::InCallback)));
        let over = Atomic::new(0);
        let unbinds = || {
            let unbound = rig.device.unbind();
            over.store(1, Release);
            Ok(unbound)
        };
        let (unbound, ()) = beside(unbinds, || {
            for fence in &fences {
                ensure_eq!(done(fence)?, Err(Errno::ENODEV));
            }
            ensure_eq!(over.load(Acquire), 0);
            drop(closer);
            Ok(())
        })?;
        ensure_eq!(unbound, Ok(()));
        // Called once.
        ensure_eq!(&stops.drain()?[..], &[Some(StopError::Unbound)]);
        drop(queues);
        rig.finish()?;
    }
    Ok(())
}

/// Says when it is dropped.
struct Alive(Arc<Atomic<i32>>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.store(1, Release);
    }
}

/// Nobody has to unbind: a device that is let go of takes its recovery along.
pub(crate) fn recovery_ends_with_its_device() -> Result {
    let gone = Arc::new(Atomic::new(0), GFP_KERNEL)?;
    let held = Alive(gone.clone());
    let device = Device::builder(c"short-lived").recovery(move |_: &Hang<'_>| {
        let _held = &held;
    })?;
    ensure_eq!(gone.load(Acquire), 0);
    drop(device);
    ensure_eq!(gone.load(Acquire), 1);
    Ok(())
}

/// Looked at while it works: in a callback, while stopped.
pub(crate) fn inspected_in_a_callback_and_while_stopped() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").capacity(16))?;
    let (work, go) = blocks(&rig, 100)?;
    let fence = submit(&queue, work, &[])?;
    rig.gpu.wait_for(100, What::RunBegins)?;
    ensure!(says(&queue, "in the run callback"));
    drop(go);
    ensure_eq!(done(&fence)?, Ok(()));
    let fences = on_hardware(&rig, &queue, 2)?;
    let mut stopped = stopped(queue.stop())?;
    stopped.recover(None, Rest::Replay);
    for what in ["stopped", "replayed 1 time", "#2      submitted"] {
        ensure!(says(&queue, what));
    }
    drop(stopped);
    for (fence, tag) in fences.iter().zip(1..) {
        rig.gpu.complete(tag, Ok(()))?;
        ensure_eq!(done(fence)?, Ok(()));
    }
    drop(queue);
    rig.finish()
}

suite! { ringfence_bounds of bounds {
    ban_after_strikes,
    ban_by_who_stopped_the_queue,
    timeouts_from_narrow_to_wide,
    drm_4_2_hung_device_does_not_hold_teardown,
    replay_after_the_time_for_closing,
    replayed_too_often,
    unbind_waits_for_the_guard,
    unbind_during_recovery,
    recovery_ends_with_its_device,
    inspected_in_a_callback_and_while_stopped,
} }
