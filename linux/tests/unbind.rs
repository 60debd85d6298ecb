// SPDX-License-Identifier: GPL-2.0 OR MIT
//! After `Device::unbind` returns no driver callback runs, and fences go on meaning what they say
//! (`crates/ringfence/tests/unbind.rs`); and whatever is called out to enters the queue again
//! (`reentrancy.rs` there).
//!
//! By what drivers of the kernel are unbound is in `drm_teardown`.

mod reentrancy;

use core::time::Duration;

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Atomic, Full, Relaxed};
use kernel::sync::Arc;
use kernel::time::{delay::fsleep, Delta};

use ringfence::{
    Completion, Device, Driver, Errno, Executor, Fence, Queue, RunOutcome, Submission, TimedOutJob,
    Timeline, TimeoutOutcome, UnbindError,
};

pub(crate) use reentrancy::*;

use crate::drm_timeout::{blocks, time_is_up};
use crate::rig::channel::Channel;
use crate::rig::thread::{all, beside};
use crate::rig::{done, eventually, many, outcome, submit, Does, Mock, Order, Rig, What};

/// What the drivers of one race share.
struct Marks {
    over: Atomic<i32>,
    broken: Atomic<i32>,
    calls: Atomic<i32>,
    alive: Atomic<i32>,
}

/// A driver that notes when it is called after the end.
struct Guarded {
    marks: Arc<Marks>,
    hardware: Channel<Completion<Guarded>>,
}

impl Guarded {
    fn called(&self) {
        self.marks.calls.fetch_add(1, Full);
        // A span, so that unbind finds callbacks that are running.
        for _ in 0..4 {
            if self.marks.over.load(Relaxed) != 0 {
                self.marks.broken.store(1, Relaxed);
            }
            fsleep(Delta::from_micros(20));
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.called();
        self.marks.alive.fetch_add(-1, Full);
    }
}

impl Driver for Guarded {
    type Payload = u64;
    type ReplayData = ();

    fn run(&mut self, mut submission: Submission<'_, Self>) -> RunOutcome {
        self.called();
        match *submission.payload() % 3 {
            0 => submission.done(),
            1 => submission.failed(Errno::EIO),
            _ => {
                let (completion, outcome) = submission.pending();
                self.hardware.send(completion);
                outcome
            }
        }
    }

    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        self.called();
        match job.seqno() % 2 {
            0 => job.no_hang(),
            _ => job.handled(Errno::ETIME),
        }
    }
}

/// Submits until told to stop.
fn submits(queue: &Queue<Guarded>, fences: &Channel<ARef<Fence>>, stop: &Atomic<i32>) -> Result {
    let mut number = 0;
    while stop.load(Relaxed) == 0 {
        number += 1;
        match queue.prepare(number, 1, GFP_KERNEL) {
            Ok(job) => fences.send(job.submit()),
            Err(_) => fsleep(Delta::from_micros(20)),
        }
    }
    Ok(())
}

/// Submitters, completions, timeouts, suspends and kills race with unbind, after so many callbacks.
fn race(round: i32) -> Result {
    let device = Device::new(c"racing")?;
    let executor = Executor::new(c"ringfence-race")?;
    let marks = Marks {
        over: Atomic::new(0),
        broken: Atomic::new(0),
        calls: Atomic::new(0),
        alive: Atomic::new(3),
    };
    let (marks, hardware) = (Arc::new(marks, GFP_KERNEL)?, Channel::new(4096)?);
    let queues = many(3, |number| {
        let driver = Guarded {
            marks: marks.clone(),
            hardware: hardware.clone(),
        };
        let builder = Queue::<Guarded>::builder(c"q")
            .capacity(16)
            .bypass(number == 0);
        let builder = builder.timeout(Duration::from_nanos(1));
        Ok(builder.build(&device, &executor, driver, GFP_KERNEL)?)
    })?;
    let (fences, stop) = (Channel::new(1 << 14)?, Atomic::new(0));
    all(5, |thread| match thread {
        0..3 => submits(&queues[thread], &fences, &stop),
        3 => {
            while stop.load(Relaxed) == 0 {
                for queue in &queues {
                    queue.trigger_timeout();
                    queue.suspend();
                    queue.resume();
                }
                while let Some(token) = hardware.try_receive() {
                    token.complete(Ok(()));
                }
                fsleep(Delta::from_micros(20));
            }
            Ok(())
        }
        _ => {
            let unbound = unbinds(&device, &marks, round);
            stop.store(1, Relaxed);
            unbound
        }
    })?;
    // A callback that ran after unbind had returned.
    ensure_eq!(marks.broken.load(Relaxed), 0);
    for queue in &queues {
        ensure_eq!(queue.check_invariants(), Ok(()));
        ensure!(queue.prepare(0, 1, GFP_KERNEL).is_err());
        ensure_eq!(done(&*queue.closed(GFP_KERNEL)?)?, Ok(()));
    }
    while let Some(fence) = fences.try_receive() {
        // Whichever: it has signalled.
        let _any = done(&fence)?;
    }
    // Tokens keep their queues, for which the device waits.
    while hardware.try_receive().is_some() {}
    drop((queues, device));
    Ok(())
}

fn unbinds(device: &Device, marks: &Marks, round: i32) -> Result {
    // At another point in each round.
    eventually("so many callbacks", || marks.calls.load(Relaxed) >= round)?;
    ensure_eq!(device.unbind(), Ok(()));
    let calls = marks.calls.load(Relaxed);
    marks.over.store(1, Relaxed);
    // The drivers have been dropped.
    ensure_eq!(marks.alive.load(Relaxed), 0);
    // The others go on for a while, and the executor's threads with them.
    for _ in 0..50 {
        fsleep(Delta::from_micros(20));
    }
    ensure_eq!(marks.calls.load(Relaxed), calls);
    Ok(())
}

pub(crate) fn nothing_runs_after_unbind_whatever_races_with_it() -> Result {
    for round in 1..30 {
        race(round)?;
    }
    Ok(())
}

pub(crate) fn unbind_waits_for_a_callback_that_runs() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let (work, go) = blocks(&rig, 1)?;
    let fence = submit(&queue, work, &[])?;
    rig.gpu.wait_for(1, What::RunBegins)?;
    let over = Atomic::new(0);
    let unbinds = || {
        let unbound = rig.device.unbind();
        over.store(1, Relaxed);
        Ok(unbound)
    };
    let (unbound, ()) = beside(unbinds, || {
        // Fences do not wait for the callback.
        ensure_eq!(done(&fence)?, Err(Errno::ENODEV));
        ensure!(rig.device.is_unbound());
        // Unbind does.
        ensure_eq!(over.load(Relaxed), 0);
        ensure_eq!(rig.gpu.count(1, What::RunEnds), 0);
        drop(go);
        Ok(())
    })?;
    ensure_eq!(unbound, Ok(()));
    ensure_eq!(rig.gpu.count(1, What::RunEnds), 1);
    // The driver has been dropped.
    ensure_eq!(rig.gpu.leftovers().1, 0);
    drop(queue);
    rig.finish()
}

pub(crate) fn fences_signal_in_order_and_with_enodev() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").credits(3))?;
    let order = Order::new(8)?;
    let (never, open) = Timeline::new(c"test", c"t", GFP_KERNEL)?.signaller(GFP_KERNEL)?;
    let fences = many(8, |tag| match tag {
        0..3 => submit(&queue, rig.gpu.waits(tag), &[]),
        3 => {
            let room = Does::NoRoom(open.clone(), KBox::new(Does::Done, GFP_KERNEL)?);
            submit(&queue, rig.gpu.work(3, room), &[])
        }
        _ => submit(&queue, rig.gpu.done(tag), &[&open]),
    })?;
    let watches = order.watch_all(&fences)?;
    rig.gpu.wait_running(2)?;
    ensure_eq!(rig.device.unbind(), Ok(()));
    for fence in &fences {
        ensure_eq!(fence.status(), Some(Err(Errno::ENODEV)));
        ensure!(fence.timestamp().is_some());
        ensure_eq!(fence.wait(), Err(Errno::ENODEV));
    }
    order.ensure_in_order(8)?;
    // What they waited for signals later, into nothing.
    never.signal(Ok(()));
    drop((watches, queue));
    rig.finish()
}

pub(crate) fn unbind_in_a_callback_is_refused_and_does_nothing() -> Result {
    for bypass in [false, true] {
        let rig = Rig::new()?;
        let other_device = Device::new(c"other")?;
        let queue = rig.build(Queue::<Mock>::builder(c"q").bypass(bypass))?;
        let heard = Channel::new(2)?;
        let (device, said) = (rig.device.clone(), heard.clone());
        let work = rig.gpu.calls(1, move |submission| {
            said.send(device.unbind());
            submission.done()
        })?;
        ensure_eq!(outcome(&queue, work)?, Ok(()));
        let (device, said) = (rig.device.clone(), heard.clone());
        let work = rig.gpu.waits(2).when_timed_out(move |job| {
            said.send(device.unbind());
            job.handled(Errno::ETIME)
        })?;
        let fence = submit(&queue, work, &[])?;
        time_is_up(&queue)?;
        ensure_eq!(done(&fence)?, Err(Errno::ETIME));
        ensure_eq!(&heard.drain()?[..], &[Err(UnbindError::InCallback); 2]);
        ensure!(!rig.device.is_unbound());
        // The queue goes on.
        ensure_eq!(outcome(&queue, rig.gpu.done(3))?, Ok(()));
        ensure_eq!(other_device.unbind(), Ok(()));
        drop(queue);
        rig.finish()?;
    }
    Ok(())
}

pub(crate) fn unbinding_twice_and_from_several_threads_waits_for_all() -> Result {
    let rig = Rig::new()?;
    let queues = many(4, |_| rig.queue(c"q"))?;
    for (tag, queue) in queues.iter().enumerate() {
        submit(queue, rig.gpu.waits(tag as u64), &[])?;
    }
    all(4, |_| {
        ensure_eq!(rig.device.unbind(), Ok(()));
        // Every one of them waits.
        ensure_eq!(rig.gpu.leftovers().1, 0);
        Ok(())
    })?;
    ensure_eq!(rig.device.unbind(), Ok(()));
    drop(queues);
    rig.finish()
}

suite! { ringfence_unbind of unbind {
    nothing_runs_after_unbind_whatever_races_with_it,
    unbind_waits_for_a_callback_that_runs,
    fences_signal_in_order_and_with_enodev,
    unbind_in_a_callback_is_refused_and_does_nothing,
    unbinding_twice_and_from_several_threads_waits_for_all,
    run_on_a_worker,
    run_on_the_submitter,
    timed_out,
    payload_dropped_on_a_worker,
    payload_dropped_on_the_submitter,
    payload_dropped_on_the_completer,
    stop_and_unbind_in_a_payload_drop,
} }
