// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Teardown bugs of the existing scheduler.
//!
//! The kernel's own: who waits in the drop of a device, and a driver that is unbound from its
//! hardware.

mod foreign;

use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Release};
use kernel::sync::{rcu, Arc};
use kernel::{bindings, faux};

use ringfence::{monotonic, BuildError, ClosePolicy, Errno, Fence, Queue, Timeline};

pub(crate) use foreign::{fence_whose_issuer_is_gone_is_used, issuer_of_a_dependency_is_gone};

use crate::drm_timeout::blocks;
use crate::rig::thread::{all, beside, spawn};
use crate::rig::{done, eventually, many, says, submit, Mock, Order, Rig, What};

/// Jobs that were pending when the scheduler was torn down were never freed.
pub(crate) fn drm_4_1_pending_jobs_leak_at_teardown() -> Result {
    for kill in [false, true] {
        let rig = Rig::new()?;
        let queue = rig.build(Queue::<Mock>::builder(c"q").credits(4))?;
        let fences = many(8, |tag| submit(&queue, rig.gpu.waits(tag), &[]))?;
        rig.gpu.wait_running(3)?;
        match kill {
            true => queue.kill(Errno::EIO),
            false => ensure_eq!(rig.device.unbind(), Ok(())),
        }
        let error = if kill { Errno::EIO } else { Errno::ENODEV };
        for fence in &fences {
            ensure_eq!(fence.status(), Some(Err(error)));
        }
        eventually(
            "all are freed, though the hardware still has tokens",
            || rig.gpu.leftovers().0 == 0,
        )?;
        ensure_eq!(rig.gpu.running(), 4);
        drop(queue);
        rig.finish()?;
    }
    Ok(())
}

/// Teardown that waits until all is over keeps a process from dying.
pub(crate) fn drm_4_2_teardown_blocks_until_empty() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").close_policy(ClosePolicy::Drain))?;
    let fences = many(4, |tag| submit(&queue, rig.gpu.waits(tag), &[]))?;
    let closed = queue.closed(GFP_KERNEL)?;
    // Returns while the hardware is busy, and what must be drained is drained in order.
    drop(queue);
    ensure_eq!(closed.status(), None);
    for tag in 0..4 {
        rig.gpu.complete(tag, Ok(()))?;
    }
    ensure_eq!(done(&closed)?, Ok(()));
    for fence in &fences {
        ensure_eq!(fence.status(), Some(Ok(())));
    }
    rig.finish()
}

/// Cancelling walked the list backwards, and left out jobs in the queue.
pub(crate) fn drm_4_3_cancelled_out_of_order() -> Result {
    let rig = Rig::new()?;
    for how in 0..4 {
        let queue = rig.build(Queue::<Mock>::builder(c"q").credits(3))?;
        let order = Order::new(9)?;
        let (signaller, open) = Timeline::new(c"test", c"t", GFP_KERNEL)?.signaller(GFP_KERNEL)?;
        let base = how * 100;
        let fences = many(9, |job| {
            let after: &[&Fence] = if job < 6 { &[] } else { &[&open] };
            submit(&queue, rig.gpu.waits(base + job), after)
        })?;
        let watches = order.watch_all(&fences)?;
        rig.gpu.wait_running(base + 2)?;
        match how {
            0 => queue.kill(Errno::ECANCELED),
            1 => queue.close(),
            2 => {
                for seqno in (1..=9).rev() {
                    // Those on the hardware are too late for it.
                    let _cancelled = queue.cancel(seqno, Errno::ECANCELED);
                }
            }
            _ => {}
        }
        // Some go on with their handle, some without.
        let queue = (how != 3).then_some(queue);
        for job in [2, 0, 1] {
            rig.gpu.complete(base + job, Err(Errno::ECANCELED))?;
        }
        signaller.signal(Ok(()));
        for fence in &fences {
            ensure_eq!(done(fence)?, Err(Errno::ECANCELED));
        }
        order.ensure_in_order(9)?;
        ensure_eq!(rig.gpu.count_all(What::RunBegins), 3 * (how as usize + 1));
        drop((watches, queue));
    }
    rig.finish()
}

/// An entity could be killed while the work item still ran.
pub(crate) fn drm_4_9_kill_while_the_worker_runs() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let (work, go) = blocks(&rig, 1)?;
    let fence = submit(&queue, work, &[])?;
    let behind = submit(&queue, rig.gpu.done(2), &[])?;
    rig.gpu.wait_for(1, What::RunBegins)?;
    queue.kill(Errno::EIO);
    // At once, while the driver has it.
    ensure_eq!(fence.status(), Some(Err(Errno::EIO)));
    ensure_eq!(behind.status(), Some(Err(Errno::EIO)));
    // The driver has the payload.
    ensure_eq!(rig.gpu.count(1, What::Dropped), 0);
    drop(queue);
    drop(go);
    // Freed when run has returned.
    rig.gpu.wait_for(1, What::Dropped)?;
    let seen = rig.gpu.seen()?;
    let whats = seen
        .iter()
        .filter(|seen| seen.tag == 1)
        .map(|seen| seen.what);
    ensure!(whats.eq([What::RunBegins, What::RunEnds, What::Dropped]));
    rig.finish()
}

/// True if the fence's timeline has that name now.
fn is_named(fence: &Fence, name: &CStr) -> bool {
    let _reading = rcu::read_lock();
    // SAFETY: An initialised fence; what is returned is a name for the length of this section.
    let found = unsafe { CStr::from_char_ptr(bindings::dma_fence_timeline_name(fence.as_raw())) };
    found == name
}

/// The name of an exported fence's timeline was read from a scheduler that was gone.
pub(crate) fn drm_4_11_name_of_a_fence_after_teardown() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"renderer").close_policy(ClosePolicy::Drain))?;
    let fence = submit(&queue, rig.gpu.waits(1), &[])?;
    ensure!(is_named(&fence, c"renderer"));
    rig.gpu.wait_running(1)?;
    drop(queue);
    ensure!(is_named(&fence, c"renderer"));
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(done(&fence)?, Ok(()));
    ensure!(is_named(&fence, c"signaled-timeline"));
    rig.finish()?;
    ensure!(is_named(&fence, c"signaled-timeline"));
    ensure_eq!(fence.status(), Some(Ok(())));
    ensure!(fence.timestamp().is_some());
    Ok(())
}

/// Who reads names while they go: none is freed under a reader.
pub(crate) fn names_read_during_teardown() -> Result {
    for _ in 0..50 {
        let rig = Rig::new()?;
        let queue = rig.queue(c"renderer")?;
        let fence = submit(&queue, rig.gpu.waits(1), &[])?;
        rig.gpu.wait_running(1)?;
        beside(
            || {
                eventually("its timeline has gone", || {
                    let open = is_named(&fence, c"renderer");
                    !open && is_named(&fence, c"signaled-timeline")
                })
            },
            || {
                ensure_eq!(rig.device.unbind(), Ok(()));
                drop(queue);
                rig.gpu.drop_hardware();
                Ok(())
            },
        )?;
        rig.finish()?;
    }
    Ok(())
}

/// Drivers kept lists of jobs of their own, in order to survive teardown.
pub(crate) fn drm_4_14_driver_outlives_its_jobs() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let fences = many(4, |tag| submit(&queue, rig.gpu.waits(tag), &[]))?;
    let tokens = many(4, |tag| rig.gpu.take(tag))?;
    ensure_eq!(rig.device.unbind(), Ok(()));
    // The driver is gone when unbind returns, and the jobs are, or a worker is about to drop them:
    // whatever tokens there are.
    ensure_eq!(rig.gpu.leftovers().1, 0);
    eventually("jobs are gone", || rig.gpu.leftovers().0 == 0)?;
    // The hardware's side, which is later: its tokens are valid, and mean nothing any more.
    for (number, token) in tokens.into_iter().enumerate() {
        match number % 2 {
            0 => token.complete(Ok(())),
            _ => drop(token),
        }
    }
    for fence in &fences {
        ensure_eq!(fence.status(), Some(Err(Errno::ENODEV)));
    }
    ensure_eq!(queue.stats().late_completions, 4);
    drop(queue);
    rig.finish()
}

/// A barrier before a wait, instead of a condition that is looked at again.
pub(crate) fn drm_4_15_wait_for_teardown() -> Result {
    let rig = Rig::new()?;
    for round in 0..50 {
        let queue = rig.queue(c"q")?;
        let fence = submit(&queue, rig.gpu.waits(round), &[])?;
        let token = Atomic::new(0);
        // Three wait; the last completion races with close and with them.
        all(5, |number| {
            match number {
                0 | 1 => ensure_eq!(done(&*queue.closed(GFP_KERNEL)?)?, Ok(())),
                2 => queue.wait_closed(),
                3 => rig.gpu.complete(round, Ok(()))?,
                _ => {
                    // Closing cancels what has not run.
                    rig.gpu.wait_for(round, What::RunEnds)?;
                    token.store(1, Release);
                    queue.close();
                }
            }
            Ok(())
        })?;
        ensure_eq!(token.load(Acquire), 1);
        // Closed means that nothing is left.
        ensure_eq!(fence.status(), Some(Ok(())));
        ensure_eq!(queue.len(), 0);
    }
    rig.finish()
}

/// Entities may be used after their scheduler has gone.
pub(crate) fn drm_4_16_queue_outlives_its_device() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").bypass(true))?;
    let prepared = queue.prepare(rig.gpu.done(1), 1, GFP_KERNEL)?;
    let held = queue.prepare(rig.gpu.done(2), 1, GFP_KERNEL)?;
    let mut guard = queue.submission_guard()?;
    let go = Atomic::new(0);
    let unbinds = || {
        eventually("it is armed", || go.load(Acquire) != 0)?;
        ensure_eq!(rig.device.unbind(), Ok(()));
        Ok(())
    };
    // Unbind waits, so it is for another thread: this one is between arm and submit.
    let ((), first) = beside(unbinds, || {
        let armed = guard.arm(held).map_err(|_| EINVAL)?;
        let first = armed.finished();
        go.store(1, Release);
        eventually("it is unbound", || rig.device.is_unbound())?;
        ensure_eq!(first.status(), None);
        armed.submit();
        Ok(first)
    })?;
    drop(guard);
    let second = prepared.submit();
    ensure_eq!(done(&first)?, Err(Errno::ENODEV));
    ensure_eq!(done(&second)?, Err(Errno::ENODEV));
    let refused = queue
        .prepare(rig.gpu.done(3), 1, GFP_KERNEL)
        .err()
        .ok_or(EINVAL)?;
    ensure_eq!(refused.error.errno(), Errno::ENODEV);
    drop(refused);
    queue.suspend();
    ensure!(queue.resume());
    ensure!(!queue.trigger_timeout());
    queue.kill(Errno::EIO);
    ensure!(queue.cancel(1, Errno::EIO).is_err());
    ensure!(says(&queue, "queue q"));
    ensure_eq!(done(&*queue.closed(GFP_KERNEL)?)?, Ok(()));
    ensure_eq!(queue.check_invariants(), Ok(()));
    ensure_eq!(rig.gpu.count_all(What::RunBegins), 0);
    drop(queue);
    rig.finish()
}

/// No queue is made where the device has gone, and none that was refused is waited for.
pub(crate) fn late_queue_is_refused() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    ensure_eq!(rig.device.unbind(), Ok(()));
    for _ in 0..3 {
        let late = Queue::<Mock>::builder(c"late");
        let refused = late.build(&rig.device, &rig.executor, rig.gpu.driver(), GFP_KERNEL);
        ensure_eq!(refused.err(), Some(BuildError::Device(Errno::ENODEV)));
    }
    drop(queue);
    rig.finish()
}

/// Long enough for a thread that should not go on to do so.
fn a_while() -> Result {
    let end = monotonic().as_ns() + 50_000_000;
    eventually("a while has passed", || monotonic().as_ns() > end)
}

/// A device's drop returns when no code of a driver can run any more for any of its queues.
pub(crate) fn drop_of_a_device_waits_for_handles_and_tokens() -> Result {
    for who in ["a token", "a prepared job", "a handle"] {
        let rig = Rig::new()?;
        let queue = rig.queue(c"q")?;
        let running = submit(&queue, rig.gpu.waits(1), &[])?;
        let token = rig.gpu.take(1)?;
        let prepared = queue.prepare(rig.gpu.done(2), 1, GFP_KERNEL)?.detach();
        let gone = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let (noted, gpu) = (gone.clone(), rig.gpu.clone());
        let drops = spawn(move || {
            let finished = rig.finish();
            noted.store(1, Release);
            finished
        })?;
        ensure_eq!(done(&running)?, Err(Errno::ENODEV));
        // All but one go; then that, wherever it is.
        let (mut token, mut prepared, mut queue) = (Some(token), Some(prepared), Some(queue));
        let mut last = None;
        match who {
            "a token" => drop((prepared.take(), queue.take())),
            "a prepared job" => {
                drop((token.take(), queue.take()));
                last = prepared.take();
            }
            _ => drop((token.take(), prepared.take())),
        }
        a_while()?;
        ensure_eq!(gone.load(Acquire), 0);
        let left = (i64::from(last.is_some()), 0);
        eventually("all else is gone", || gpu.leftovers() == left)?;
        drop((token, last, queue));
        drops.join().flatten()?;
    }
    Ok(())
}

/// The driver is unbound from its device: the scope goes first, and waits for the callback that
/// runs.
pub(crate) fn unbound_with_its_driver() -> Result {
    let rig = Rig::new()?;
    let bound = faux::Registration::new(c"ringfence-kunit", None)?;
    rig.device
        .bind_to(AsRef::<faux::Device<_>>::as_ref(&bound).as_ref())?;
    let queue = rig.queue(c"q")?;
    let on_hardware = submit(&queue, rig.gpu.waits(1), &[])?;
    let (work, go) = blocks(&rig, 2)?;
    let runs = submit(&queue, work, &[])?;
    let behind = submit(&queue, rig.gpu.done(3), &[])?;
    rig.gpu.wait_for(2, What::RunBegins)?;
    let unbound = Atomic::new(0);
    let unbinds = || {
        drop(bound);
        unbound.store(1, Release);
        Ok(())
    };
    beside(unbinds, || {
        for fence in [&on_hardware, &runs, &behind] {
            ensure_eq!(done(fence)?, Err(Errno::ENODEV));
        }
        ensure!(rig.device.is_unbound());
        a_while()?;
        ensure_eq!(unbound.load(Acquire), 0);
        ensure_eq!(rig.gpu.leftovers().1, 1);
        drop(go);
        Ok(())
    })?;
    ensure_eq!(rig.gpu.leftovers().1, 0);
    // The worker drops them, which comes out of the callback.
    eventually("jobs are gone", || rig.gpu.leftovers().0 == 0)?;
    ensure!(queue.prepare(rig.gpu.done(4), 1, GFP_KERNEL).is_err());
    ensure_eq!(&rig.gpu.tags(What::RunBegins)?[..], &[1, 2]);
    // Once more, and from the other side.
    ensure_eq!(rig.device.unbind(), Ok(()));
    drop(queue);
    rig.finish()
}

/// The scope has gone before the driver is unbound.
pub(crate) fn unbound_with_its_driver_after_its_end() -> Result {
    let bound = faux::Registration::new(c"ringfence-kunit", None)?;
    for _ in 0..3 {
        let rig = Rig::new()?;
        rig.device
            .bind_to(AsRef::<faux::Device<_>>::as_ref(&bound).as_ref())?;
        let queue = rig.queue(c"q")?;
        let fence = submit(&queue, rig.gpu.waits(1), &[])?;
        drop(queue);
        rig.finish()?;
        ensure!(fence.is_signaled());
    }
    Ok(())
}

suite! { ringfence_drm_teardown of drm_teardown {
    drm_4_1_pending_jobs_leak_at_teardown,
    drm_4_2_teardown_blocks_until_empty,
    drm_4_3_cancelled_out_of_order,
    drm_4_9_kill_while_the_worker_runs,
    drm_4_11_name_of_a_fence_after_teardown,
    names_read_during_teardown,
    drm_4_14_driver_outlives_its_jobs,
    drm_4_15_wait_for_teardown,
    drm_4_16_queue_outlives_its_device,
    late_queue_is_refused,
    drop_of_a_device_waits_for_handles_and_tokens,
    unbound_with_its_driver,
    unbound_with_its_driver_after_its_end,
    issuer_of_a_dependency_is_gone,
    fence_whose_issuer_is_gone_is_used,
} }
