// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Many jobs, many threads, many queues.

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Arc;

use ringfence::fence::{Callback, FenceCallback, Registration, Status};
use ringfence::{Completion, Errno, Fence, Queue, Timeline};

use crate::rig::channel::Channel;
use crate::rig::hooks::in_hard_irq;
use crate::rig::{done, eventually, many, on_signal, prepare_when_room, submit, thread};
use crate::rig::{Does, Mock, Rig, What, Work};

/// A kernel that watches its locks and its memory is a hundred times slower; there are fewer of
/// those things then of which there are thousands.
const FEWER: u64 = if cfg!(CONFIG_PROVE_LOCKING) { 10 } else { 1 };

/// Submits, waiting for room where there is none.
fn push(queue: &Queue<Mock>, work: Work) -> Result<ARef<Fence>> {
    Ok(prepare_when_room(queue, work)?.submit())
}

/// The numbers from `first` to `last` are all there, in whatever order.
fn ensure_all(mut numbers: KVVec<u64>, first: u64, last: u64) -> Result {
    numbers.sort_unstable();
    ensure!(numbers.iter().copied().eq(first..=last));
    Ok(())
}

pub(crate) fn parallel_submission() -> Result {
    for bypass in [false, true] {
        let rig = Rig::new()?;
        let queue = rig.build(Queue::<Mock>::builder(c"q").capacity(32).bypass(bypass))?;
        let seqnos = Channel::new(800)?;
        thread::all(8, |thread| {
            let thread = thread as u64;
            let fences = many(100, |job| push(&queue, rig.gpu.done(thread * 100 + job)))?;
            for fence in &fences {
                ensure_eq!(done(fence)?, Ok(()));
                seqnos.send(fence.seqno());
            }
            ensure!(fences
                .windows(2)
                .all(|pair| pair[1].is_later_than(&pair[0])));
            Ok(())
        })?;
        ensure_all(seqnos.drain()?, 1, 800)?;
        let tags = rig.gpu.tags(What::RunBegins)?;
        for thread in 0..8 {
            // Each thread's jobs run in the order in which it submitted them.
            let own = tags.iter().copied().filter(|tag| tag / 100 == thread);
            ensure!(own.eq(thread * 100..thread * 100 + 100));
        }
        ensure_all(tags, 0, 799)?;
        ensure_eq!(queue.check_invariants(), Ok(()));
        drop(queue);
        rig.finish()?;
    }
    Ok(())
}

pub(crate) fn parallel_submission_through_guards() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").capacity(64).bypass(true))?;
    let sent = Channel::new(200)?;
    thread::all(4, |thread| {
        for job in 0..50 {
            let job = prepare_when_room(&queue, rig.gpu.done(thread as u64 * 100 + job))?;
            let mut guard = queue.submission_guard()?;
            let armed = guard.arm(job).map_err(|_| EINVAL)?;
            let fence = armed.finished();
            armed.submit();
            // Under the guard: what one thread sends is in the queue's order.
            sent.send(fence);
        }
        Ok(())
    })?;
    let fences: KVVec<ARef<Fence>> = sent.drain()?;
    ensure_eq!(fences.len(), 200);
    // Arm order is submission order under a guard.
    ensure!(fences
        .windows(2)
        .all(|pair| pair[1].seqno() == pair[0].seqno() + 1));
    for fence in &fences {
        ensure_eq!(done(fence)?, Ok(()));
    }
    drop(queue);
    rig.finish()
}

pub(crate) fn interleaved_durations() -> Result {
    let rig = Rig::new()?;
    let (slow, fast) = (rig.queue(c"slow")?, rig.queue(c"fast")?);
    let slow_jobs = many(8, |tag| {
        submit(&slow, rig.gpu.work(tag, Does::Takes(10)), &[])
    })?;
    let fast_jobs = many(40, |at| {
        submit(&fast, rig.gpu.work(100 + at, Does::Takes(1)), &[])
    })?;
    for tag in Iterator::chain(0..8, 100..140) {
        rig.gpu.wait_running(tag)?;
    }
    for tick in 1..=80 {
        rig.gpu.advance(1);
        // By the ticks: the GPU's clock is the only one there is.
        for (number, fence) in slow_jobs.iter().enumerate() {
            ensure_eq!(
                (number, fence.is_signaled()),
                (number, tick >= 10 * (number + 1))
            );
        }
        for (number, fence) in fast_jobs.iter().enumerate() {
            ensure_eq!((number, fence.is_signaled()), (number, tick > number));
        }
    }
    drop((slow, fast));
    rig.finish()
}

/// Completes what it receives: one on a thread, one as an interrupt handler would, one in an
/// interrupt.
fn complete_received(number: u64, channel: &Channel<Completion<Mock>>) -> Result {
    while let Some(completion) = channel.receive()? {
        match number {
            0 => completion.complete(Err(Errno::EIO)),
            1 => completion.complete_in_irq(Ok(())),
            _ => in_hard_irq(move || completion.complete(Ok(())))?,
        }
    }
    Ok(())
}

/// Notes when `fence` signals, unless it has.
fn note(fence: &Fence, seen: &Channel<u64>) -> Result<Option<Registration<impl FenceCallback>>> {
    let (seen, seqno) = (seen.clone(), fence.seqno());
    let callback = Callback::new(move |_: Status| seen.send(seqno), GFP_KERNEL)?;
    Ok(fence.add_callback(callback).ok())
}

pub(crate) fn completion_from_many_threads() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").capacity(64).credits(64))?;
    let (channel, seen) = (Channel::new(64)?, Channel::new(600)?);
    let hardware = many(3, |number| {
        let channel = channel.clone();
        thread::spawn(move || complete_received(number, &channel))
    })?;
    let close = channel.closer();
    let (mut fences, mut watches) = (KVVec::new(), KVVec::new());
    for tag in 0..600 {
        let channel = channel.clone();
        let work = rig.gpu.calls(tag, move |submission| {
            let (completion, outcome) = submission.pending();
            channel.send(completion);
            outcome
        })?;
        let fence = push(&queue, work)?;
        watches.push(note(&fence, &seen)?, GFP_KERNEL)?;
        fences.push(fence, GFP_KERNEL)?;
    }
    for (number, fence) in fences.iter().enumerate() {
        let result = done(fence)?;
        ensure!(result == Ok(()) || result == Err(Errno::EIO));
        // In order: whoever sees one sees all before it.
        ensure!(fences[..number]
            .iter()
            .rev()
            .take(20)
            .all(|fence| fence.is_signaled()));
    }
    drop(close);
    for thread in hardware {
        thread.join().flatten()?;
    }
    let watched = watches.iter().flatten().count();
    drop(watches);
    let seen = seen.drain()?;
    ensure_eq!(seen.len(), watched);
    ensure!(seen.windows(2).all(|pair| pair[0] < pair[1]));
    ensure_eq!(queue.check_invariants(), Ok(()));
    drop(queue);
    rig.finish()
}

/// Interrupts complete jobs while the ring grows: none is lost, and all keep their order.
pub(crate) fn ring_grows_while_jobs_complete() -> Result {
    let rig = Rig::new()?;
    let channel = Channel::new(256)?;
    let hardware = many(2, |number| {
        let channel = channel.clone();
        thread::spawn(move || complete_received(2 * number + 1, &channel))
    })?;
    let close = channel.closer();
    for round in 0..10 {
        // From 4 entries to 256.
        let builder = Queue::<Mock>::builder(c"q").capacity(256).credits(256);
        let queue = rig.build(builder)?;
        let seen = Channel::new(256)?;
        let fences = many(256, |at| {
            let channel = channel.clone();
            let work = rig.gpu.calls(1000 * round + at, move |submission| {
                let (completion, outcome) = submission.pending();
                channel.send(completion);
                outcome
            })?;
            let fence = push(&queue, work)?;
            ensure_eq!(fence.seqno(), at + 1);
            Ok((note(&fence, &seen)?, fence))
        })?;
        for (_, fence) in &fences {
            ensure_eq!(done(fence)?, Ok(()));
        }
        let seen = seen.drain()?;
        ensure!(seen.windows(2).all(|pair| pair[0] < pair[1]));
        eventually("all are gone", || queue.is_empty())?;
        ensure_eq!(queue.check_invariants(), Ok(()));
        let tags = rig.gpu.tags(What::RunBegins)?;
        ensure!(tags.iter().copied().eq(1000 * round..1000 * round + 256));
        rig.gpu.forget_seen();
    }
    drop(close);
    for thread in hardware {
        thread.join().flatten()?;
    }
    rig.finish()
}

pub(crate) fn overhead() -> Result {
    // Jobs without work, far more than there is room for: the queue keeps up, and counts.
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").capacity(256).bypass(true))?;
    let mut last = None;
    let jobs = 20_000 / FEWER;
    for tag in 0..jobs {
        last = Some(push(&queue, rig.gpu.done(tag))?);
        if tag % 1000 == 0 {
            rig.gpu.forget_seen();
        }
    }
    let last = last.ok_or(EINVAL)?;
    ensure_eq!(done(&last)?, Ok(()));
    let stats = queue.stats();
    ensure_eq!((stats.armed, stats.completed), (jobs, jobs));
    ensure!(stats.bypassed > 0);
    drop(queue);
    rig.finish()
}

pub(crate) fn two_clients() -> Result {
    let rig = Rig::new()?;
    let queues = [rig.queue(c"one")?, rig.queue(c"two")?];
    let ended = Atomic::new(0);
    thread::beside(
        || {
            let clients = thread::all(2, |number| {
                let result = many(50, |job| {
                    let does = Does::Takes(1 + job % 3);
                    let fence = push(
                        &queues[number],
                        rig.gpu.work(1000 * number as u64 + job, does),
                    )?;
                    ensure_eq!(done(&fence)?, Ok(()));
                    Ok(())
                });
                result.map(drop)
            });
            ended.store(1, Relaxed);
            clients
        },
        || {
            eventually("both have ended", || {
                rig.gpu.advance(1);
                ended.load(Relaxed) != 0
            })
        },
    )?;
    ensure_eq!(rig.gpu.count_all(What::RunEnds), 100);
    drop(queues);
    rig.finish()
}

pub(crate) fn many_clients() -> Result {
    let rig = Rig::new()?;
    let queues = many(64, |_| rig.queue(c"client"))?;
    let signalled = Arc::new(Atomic::new(0), GFP_KERNEL)?;
    let well = Arc::new(Atomic::new(0), GFP_KERNEL)?;
    let (start, started) = Timeline::new(c"test", c"start", GFP_KERNEL)?.signaller(GFP_KERNEL)?;
    let mut watches = KVVec::new();
    for job in 0..10 {
        for (number, queue) in queues.iter().enumerate() {
            let fence = submit(queue, rig.gpu.done(number as u64 * 100 + job), &[&started])?;
            let (signalled, well) = (signalled.clone(), well.clone());
            let watch = on_signal(&fence, move |result| {
                well.add(i32::from(result == Ok(())), Relaxed);
                signalled.add(1, Relaxed);
            })?;
            watches.push(watch, GFP_KERNEL)?;
        }
    }
    ensure_eq!(signalled.load(Relaxed), 0);
    start.signal(Ok(()));
    eventually("all jobs of all clients", || signalled.load(Relaxed) == 640)?;
    ensure_eq!(well.load(Relaxed), 640);
    drop((watches, queues));
    rig.finish()
}

pub(crate) fn ten_thousand_queues() -> Result {
    let rig = Rig::new()?;
    let queues = many(10_000 / FEWER, |_| {
        rig.build(Queue::<Mock>::builder(c"q").capacity(2))
    })?;
    let mut fences = KVVec::new();
    for (number, queue) in queues.iter().enumerate() {
        fences.push(submit(queue, rig.gpu.done(number as u64), &[])?, GFP_KERNEL)?;
        if number % 1000 == 999 {
            // The GPU does not remember so many.
            for fence in &fences {
                ensure_eq!(done(fence)?, Ok(()));
            }
            rig.gpu.forget_seen();
        }
    }
    let closed = many(queues.len() as u64, |at| {
        queues[at as usize].closed(GFP_KERNEL)
    })?;
    queues.iter().for_each(Queue::close);
    for fence in &closed {
        ensure_eq!(done(fence)?, Ok(()));
    }
    drop(queues);
    rig.finish()
}

suite! { ringfence_load of load {
    parallel_submission,
    parallel_submission_through_guards,
    interleaved_durations,
    completion_from_many_threads,
    ring_grows_while_jobs_complete,
    overhead,
    two_clients,
    many_clients,
    ten_thousand_queues,
} }
