// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Bugs of the existing scheduler around callbacks.
//!
//! Left out: what a panic in a callback does. In the kernel it is a `BUG()`, and nothing goes on.

use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Relaxed, Release};
use kernel::sync::Arc;
use kernel::time::{delay::fsleep, delay::udelay, Delta};

use ringfence::{monotonic, Errno, Executor, Fence, Queue, Timeline};

use crate::rig::channel::Channel;
use crate::rig::thread::{all, beside, spawn};
use crate::rig::{
    done, eventually, many, on_signal, outcome, submit, Does, Mock, Order, Rig, What,
};

/// A fence that has signalled.
fn signalled() -> Result<kernel::sync::aref::ARef<Fence>> {
    let (signaller, fence) = Timeline::new(c"test", c"over", GFP_KERNEL)?.signaller(GFP_KERNEL)?;
    signaller.signal(Ok(()));
    Ok(fence)
}

/// Killing an entity inside a fence callback took locks that others hold around that fence's. Here
/// it is not allowed there: the callback says so to a thread, which kills while the signaller goes
/// on.
pub(crate) fn drm_4_4_kill_in_a_fence_callback() -> Result {
    for _ in 0..20 {
        let rig = Rig::new()?;
        let queue = Arc::new(rig.queue(c"q")?, GFP_KERNEL)?;
        let timeline = Timeline::new(c"test", c"shared", GFP_KERNEL)?;
        let (first, dependency) = timeline.signaller(GFP_KERNEL)?;
        let (second, later) = timeline.signaller(GFP_KERNEL)?;
        let other = Timeline::new(c"test", c"other", GFP_KERNEL)?;
        let (third, other) = other.signaller(GFP_KERNEL)?;
        let order = Order::new(8)?;
        // Each waits for both; `later` alone would do on one timeline, so another one as well.
        let fences = many(8, |tag| {
            let one = if tag % 2 == 0 { &dependency } else { &later };
            submit(&queue, rig.gpu.done(tag), &[one, &other])
        })?;
        let watches = order.watch_all(&fences)?;
        let told = Channel::new(1)?;
        let (says, killed) = (told.clone(), queue.clone());
        let kills = spawn(move || {
            let told = told.receive();
            killed.kill(Errno::EIO);
            told
        })?;
        let tells = on_signal(&dependency, move |_| says.send(()))?;
        first.signal(Ok(()));
        second.signal(Ok(()));
        for fence in &fences {
            ensure_eq!(done(fence)?, Err(Errno::EIO));
        }
        order.ensure_in_order(8)?;
        ensure_eq!(kills.join()??, Some(()));
        third.signal(Err(Errno::EIO));
        ensure_eq!(rig.gpu.count_all(What::RunBegins), 0);
        drop((watches, queue, tells, timeline));
        rig.finish()?;
    }
    Ok(())
}

/// What may be done in a callback of a fence of the queue: completing other jobs of it, and of
/// others, whoever signals.
pub(crate) fn completed_in_a_fence_callback() -> Result {
    for by_kill in [false, true] {
        let rig = Rig::new()?;
        let (queue, other) = (rig.queue(c"q")?, rig.queue(c"other")?);
        let first = submit(&queue, rig.gpu.waits(1), &[])?;
        let rest = [
            submit(&queue, rig.gpu.waits(2), &[])?,
            submit(&other, rig.gpu.waits(3), &[])?,
        ];
        let mut tokens = many(2, |tag| rig.gpu.take(tag + 2))?;
        rig.gpu.wait_running(1)?;
        let completes = on_signal(&first, move |status| {
            // Nothing is left of what they own but the list.
            while let Some(token) = tokens.pop() {
                token.complete_in_callback(status);
            }
        })?;
        let expected = match by_kill {
            false => Ok(()),
            true => Err(Errno::EIO),
        };
        match by_kill {
            false => rig.gpu.complete(1, Ok(()))?,
            true => queue.kill(Errno::EIO),
        }
        for fence in [&first, &rest[0], &rest[1]] {
            ensure_eq!(done(fence)?, expected);
        }
        drop((completes, queue, other));
        rig.finish()?;
    }
    Ok(())
}

/// The submitter looked at the job after it had given it away, when it may have been freed.
pub(crate) fn drm_4_7_job_used_after_free_at_push() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").capacity(4))?;
    let over = signalled()?;
    all(4, |thread| {
        for job in 0..500 {
            let tag = thread as u64 * 1000 + job;
            let Ok(mut prepared) = queue.prepare(rig.gpu.done(tag), 1, GFP_KERNEL) else {
                continue;
            };
            prepared.depends_on(&over, GFP_KERNEL)?;
            // A worker runs, completes and frees it while `submit` returns.
            let fence = prepared.submit();
            if job % 8 == 0 {
                ensure_eq!(done(&fence)?, Ok(()));
                ensure_eq!(fence.context(), queue.context());
            }
        }
        Ok(())
    })?;
    ensure_eq!(queue.check_invariants(), Ok(()));
    drop(queue);
    rig.finish()
}

/// Whether anything was left was read without a lock.
pub(crate) fn drm_4_8_idle_without_a_lock() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let stop = Atomic::new(0);
    let looks = || {
        while stop.load(Relaxed) == 0 {
            let (len, stats) = (queue.len(), queue.stats());
            ensure!(len <= 512);
            ensure!(stats.reaped <= stats.signalled && stats.signalled <= stats.armed);
            fsleep(Delta::from_micros(20));
        }
        Ok(())
    };
    let submits = || {
        for tag in 0..2000 {
            let fence = submit(&queue, rig.gpu.done(tag), &[])?;
            if tag % 50 == 0 {
                ensure_eq!(done(&fence)?, Ok(()));
                eventually("idle", || queue.is_empty())?;
                let stats = queue.stats();
                ensure_eq!((stats.reaped, stats.armed), (tag + 1, tag + 1));
            } else if tag % 10 == 0 {
                ensure_eq!(done(&fence)?, Ok(()));
            }
        }
        Ok(())
    };
    beside(looks, || {
        let submitted = submits();
        // Whatever has happened: the other one waits for it.
        stop.store(1, Relaxed);
        submitted
    })?;
    drop(queue);
    rig.finish()
}

/// The check for resources ran on a job of another queue.
pub(crate) fn drm_4_19_resources_of_the_wrong_queue() -> Result {
    let rig = Rig::new()?;
    let (left, right) = (rig.queue(c"left")?, rig.queue(c"right")?);
    let timelines = many(2, |_| Timeline::new(c"test", c"room", GFP_KERNEL))?;
    let (for_left, left_room) = timelines[0].signaller(GFP_KERNEL)?;
    let (for_right, right_room) = timelines[1].signaller(GFP_KERNEL)?;
    let done_box = || KBox::new(Does::Done, GFP_KERNEL);
    let on_left = rig.gpu.work(1, Does::NoRoom(left_room, done_box()?));
    let on_left = submit(&left, on_left, &[])?;
    let on_right = rig.gpu.work(2, Does::NoRoom(right_room, done_box()?));
    let on_right = submit(&right, on_right, &[])?;
    rig.gpu.wait_for(1, What::RunEnds)?;
    rig.gpu.wait_for(2, What::RunEnds)?;
    for_right.signal(Ok(()));
    ensure_eq!(done(&on_right)?, Ok(()));
    // Room for the one says nothing about the other.
    ensure_eq!(rig.gpu.count(1, What::RunBegins), 1);
    ensure_eq!(on_left.status(), None);
    for_left.signal(Ok(()));
    ensure_eq!(done(&on_left)?, Ok(()));
    ensure_eq!(rig.gpu.count(2, What::RunBegins), 2);
    drop((left, right));
    rig.finish()
}

/// The flag was visible before the callbacks had run, so that trusting it freed too early. It still
/// is; what the status says comes after.
pub(crate) fn drm_4_21_signalled_before_its_callbacks() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    for tag in 0..200 {
        let fence = submit(&queue, rig.gpu.waits(tag), &[])?;
        let ran = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let noted = ran.clone();
        let watch = on_signal(&fence, move |_| {
            // Long enough for somebody to look meanwhile.
            udelay(Delta::from_micros(20));
            noted.store(1, Release);
        })?;
        let token = rig.gpu.take(tag)?;
        let completes = || {
            token.complete(Ok(()));
            Ok(())
        };
        beside(completes, || {
            let mut looks = 0;
            while fence.status().is_none() {
                looks += 1;
                if looks % 1000 == 0 {
                    fsleep(Delta::from_micros(20));
                }
            }
            // It has signalled, and its callback has returned.
            ensure_eq!(ran.load(Acquire), 1);
            Ok(())
        })?;
        drop(watch);
    }
    drop(queue);
    rig.finish()
}

/// Who takes a callback back, or drops what it uses, waits until it has returned.
pub(crate) fn callback_is_not_running_when_its_registration_is_gone() -> Result {
    let timeline = Timeline::new(c"test", c"t", GFP_KERNEL)?;
    for round in 0..200 {
        let (signaller, fence) = timeline.signaller(GFP_KERNEL)?;
        let marks = Arc::new((Atomic::new(0), Atomic::new(0)), GFP_KERNEL)?;
        let theirs = marks.clone();
        let watch = on_signal(&fence, move |_| {
            theirs.0.store(1, Release);
            // Until it is being taken back, where that can be while this processor is busy.
            for _ in 0..200 {
                udelay(Delta::from_micros(10));
                if theirs.1.load(Acquire) != 0 {
                    break;
                }
            }
            udelay(Delta::from_micros(50));
            theirs.0.store(2, Release);
        })?;
        let signals = || {
            signaller.signal(Ok(()));
            Ok(())
        };
        beside(signals, || {
            if round % 4 != 0 {
                // Without sleep at first: another processor is to be in the callback then.
                let end = monotonic().as_ns() + 3_000_000;
                while marks.0.load(Acquire) == 0 && monotonic().as_ns() < end {}
                eventually("it is being called", || marks.0.load(Acquire) != 0)?;
            }
            marks.1.store(1, Release);
            let removed = watch.remove();
            // Never in between, and never after.
            ensure_eq!(marks.0.load(Acquire), if removed { 0 } else { 2 });
            Ok(())
        })?;
        ensure_eq!(done(&fence)?, Ok(()));
    }
    Ok(())
}

/// Nothing happened inside the callback of `tag`, on its thread.
fn ensure_alone(rig: &Rig, tag: u64) -> Result {
    let seen = rig.gpu.seen()?;
    let at = |what| {
        seen.iter()
            .position(|seen| (seen.tag, seen.what) == (tag, what))
            .ok_or(ENODATA)
    };
    let (begins, ends) = (at(What::RunBegins)?, at(What::RunEnds)?);
    for inside in &seen[begins + 1..ends] {
        if inside.task == seen[begins].task {
            pr_err!(
                "{:?} of {} in the callback of {}\n",
                inside.what,
                inside.tag,
                tag
            );
            return Err(EINVAL);
        }
    }
    Ok(())
}

/// A job of `queue` whose run callback completes job 1 of `other`, and submits job 3 there.
fn enters(rig: &Rig, queue: &Queue<Mock>, other: &Queue<Mock>) -> Result {
    let dropped = Arc::new(Atomic::new(0), GFP_KERNEL)?;
    let noted = dropped.clone();
    let before = rig.gpu.waits(1).when_dropped(move || {
        // Lockdep would say if this were in a signalling section.
        let memory = KBox::new([0_u8; 64], GFP_KERNEL);
        noted.store(1 + i32::from(memory.is_err()), Release);
    })?;
    let before = submit(other, before, &[])?;
    rig.gpu.wait_running(1)?;
    let mut more = Some(other.prepare(rig.gpu.done(3), 1, GFP_KERNEL)?.detach());
    let gpu = rig.gpu.clone();
    let work = rig.gpu.calls(2, move |submission| {
        if let Some(token) = gpu.try_take(1) {
            token.complete(Ok(()));
        }
        if let Some(more) = more.take() {
            drop(more.submit());
        }
        submission.done()
    })?;
    ensure_eq!(outcome(queue, work)?, Ok(()));
    ensure_eq!(before.status(), Some(Ok(())));
    rig.gpu.wait_for(3, What::Dropped)?;
    eventually("the payload is gone", || dropped.load(Acquire) == 1)?;
    ensure_alone(rig, 2)
}

/// What a callback sets off is done when it has returned: callbacks of one queue do not nest, and
/// no payload of its jobs is dropped in their signalling section.
pub(crate) fn callbacks_do_not_nest() -> Result {
    for bypass in [false, true] {
        let mut rig = Rig::new()?;
        rig.executor = Executor::real_time(c"one-thread")?;
        let queue = rig.build(Queue::<Mock>::builder(c"q").bypass(bypass))?;
        enters(&rig, &queue, &queue)?;
        drop(queue);
        rig.finish()?;
    }
    Ok(())
}

/// As above, for what a callback does to another queue.
pub(crate) fn callbacks_of_two_queues_do_not_nest() -> Result {
    for bypass in [false, true] {
        let mut rig = Rig::new()?;
        rig.executor = Executor::real_time(c"one-thread")?;
        let queue = rig.build(Queue::<Mock>::builder(c"q").bypass(bypass))?;
        let other = rig.build(Queue::<Mock>::builder(c"other").bypass(true))?;
        enters(&rig, &queue, &other)?;
        drop((queue, other));
        rig.finish()?;
    }
    Ok(())
}

suite! { ringfence_drm_callbacks of drm_callbacks {
    drm_4_4_kill_in_a_fence_callback,
    completed_in_a_fence_callback,
    drm_4_7_job_used_after_free_at_push,
    drm_4_8_idle_without_a_lock,
    drm_4_19_resources_of_the_wrong_queue,
    drm_4_21_signalled_before_its_callbacks,
    callback_is_not_running_when_its_registration_is_gone,
    callbacks_do_not_nest,
    callbacks_of_two_queues_do_not_nest,
} }
