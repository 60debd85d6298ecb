// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A ring begins with 4 entries and doubles, where a job is prepared with `GFP_KERNEL` and finds no
//! room. Jobs in every state move to the longer ring.

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Atomic, Relaxed};

use ringfence::{Cancelled, Errno, Fence, PrepareError, Prepared, Queue, Timeline};
use ringfence_core::PrepareError as Refused;

use super::refusal;
use crate::rig::channel::Channel;
use crate::rig::hooks::in_hard_irq;
use crate::rig::thread::Meeting;
use crate::rig::{done, eventually, many, on_signal, submit, thread, Mock, Rig, What, Work};

/// How often two threads try to do something at once. A kernel that watches them is slow.
const ROUNDS: u64 = if cfg!(CONFIG_PROVE_LOCKING) {
    100
} else {
    1000
};

/// Prepares until the queue says that it is full, and gives those up again. With `GFP_ATOMIC` that
/// is as many as there are entries without a job.
fn room(rig: &Rig, queue: &Queue<Mock>) -> Result<usize> {
    let mut held = KVec::new();
    loop {
        match queue.prepare(rig.gpu.done(u64::MAX), 1, GFP_ATOMIC) {
            Ok(job) => held.push(job, GFP_KERNEL)?,
            Err(failed) if failed.error == PrepareError::Refused(Refused::Full) => {
                return Ok(held.len());
            }
            Err(failed) => return Err(failed.to_error()),
        }
    }
}

/// What a scenario of growth knows.
struct Growing {
    queue: Queue<Mock>,
    /// The tags and sequence numbers of jobs, in the order in which they ran.
    ran: Channel<(u64, u64)>,
    /// The tags of jobs, in the order in which they signalled.
    signalled: Channel<u64>,
    fences: KVec<ARef<Fence>>,
    watches: KVec<crate::rig::Watch>,
    // Last: its device waits for the queue.
    rig: Rig,
}

/// A job that notes who it was.
fn job(rig: &Rig, ran: &Channel<(u64, u64)>, tag: u64) -> Result<Work> {
    let ran = ran.clone();
    rig.gpu.calls(tag, move |mut submission| {
        ran.send((submission.payload().tag, submission.seqno()));
        submission.done()
    })
}

impl Growing {
    fn new(first: u64) -> Result<Self> {
        let rig = Rig::new()?;
        let builder = Queue::<Mock>::builder(c"q")
            .capacity(64)
            .credits(64)
            .first_seqno(first);
        Ok(Self {
            queue: rig.build(builder)?,
            ran: Channel::new(64)?,
            signalled: Channel::new(64)?,
            fences: KVec::new(),
            watches: KVec::new(),
            rig,
        })
    }

    fn job(&self, tag: u64) -> Result<Work> {
        job(&self.rig, &self.ran, tag)
    }

    /// The next in line, whose tag is its place.
    fn submitted(&mut self, fence: ARef<Fence>) -> Result {
        let (signalled, tag) = (self.signalled.clone(), self.fences.len() as u64);
        let watch = on_signal(&fence, move |_| signalled.send(tag))?;
        self.watches.push(watch, GFP_KERNEL)?;
        Ok(self.fences.push(fence, GFP_KERNEL)?)
    }

    fn submit(&mut self, work: Work, after: &[&Fence]) -> Result {
        let fence = submit(&self.queue, work, after)?;
        self.submitted(fence)
    }

    /// Another thread grows the ring while this one holds a job that is armed, which therefore may
    /// not allocate. Then this one submits, and then that one the jobs that it has prepared.
    fn grow_under_an_armed_job(&mut self, count: u64) -> Result {
        let tag = self.fences.len() as u64;
        let armed = self.queue.prepare(self.job(tag)?, 1, GFP_KERNEL)?;
        let (grown, submitted) = (Atomic::new(0), Atomic::new(0));
        let (rig, queue, ran) = (&self.rig, &self.queue, &self.ran);
        let theirs = || {
            let prepare = |at| Ok(queue.prepare(job(rig, ran, tag + 1 + at)?, 1, GFP_KERNEL)?);
            let jobs = many(count, prepare);
            let free = room(rig, queue);
            grown.store(1, Relaxed);
            eventually("the armed one is in line", || submitted.load(Relaxed) != 0)?;
            let mut fences = KVec::new();
            for job in jobs? {
                fences.push(job.submit(), GFP_KERNEL)?;
            }
            Ok((free?, fences))
        };
        let mut guard = queue.submission_guard()?;
        let ((free, fences), fence) = thread::beside(theirs, || {
            let armed = guard.arm(armed).map_err(|_| EINVAL)?;
            let fence = armed.finished();
            let waited = eventually("it has grown", || grown.load(Relaxed) != 0);
            armed.submit();
            submitted.store(1, Relaxed);
            waited.map(|()| fence)
        })?;
        drop(guard);
        // 32 entries: 7 in line, 1 kept, the armed one, and theirs.
        ensure_eq!(free as u64, 32 - 9 - count);
        self.submitted(fence)?;
        for fence in fences {
            self.submitted(fence)?;
        }
        Ok(())
    }

    /// All have signalled in order, and those ran that should, as who they are.
    fn end(self, cancelled: u64) -> Result {
        let count = self.fences.len() as u64;
        for (tag, fence) in self.fences.iter().enumerate() {
            let result = if tag as u64 == cancelled {
                Err(Errno::EIO)
            } else {
                Ok(())
            };
            ensure_eq!((tag, done(fence)?), (tag, result));
            // Nothing of it is left, and nothing is left twice.
            self.rig.gpu.wait_for(tag as u64, What::Dropped)?;
            ensure_eq!(self.rig.gpu.count(tag as u64, What::Dropped), 1);
        }
        ensure!(self.signalled.drain()?.iter().copied().eq(0..count));
        for (tag, seqno) in self.ran.drain()? {
            ensure_eq!((tag, seqno), (tag, self.fences[tag as usize].seqno()));
        }
        let wanted = (0..count).filter(|tag| *tag != cancelled);
        ensure!(self
            .rig
            .gpu
            .tags(What::RunBegins)?
            .iter()
            .copied()
            .eq(wanted));
        ensure_eq!(self.queue.check_invariants(), Ok(()));
        eventually("all are gone", || self.queue.is_empty())?;
        ensure_eq!(room(&self.rig, &self.queue)?, 64);
        drop((self.watches, self.queue));
        self.rig.finish()
    }
}

/// One round, from 4 entries to 64.
fn grows_from(first: u64) -> Result {
    let mut growing = Growing::new(first)?;
    let (signaller, open) = Timeline::new(c"test", c"t", GFP_KERNEL)?.signaller(GFP_KERNEL)?;
    // Three on the hardware, one of which has completed out of its turn, and one that waits.
    for tag in 0..3 {
        growing.submit(growing.rig.gpu.waits(tag), &[])?;
    }
    growing.submit(growing.job(3)?, &[&open])?;
    growing.rig.gpu.wait_running(2)?;
    growing.rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(room(&growing.rig, &growing.queue)?, 0);
    // To 8: by one that is prepared, and kept.
    let kept = growing.rig.gpu.done(1000);
    let kept = growing.queue.prepare(kept, 1, GFP_KERNEL)?.detach();
    ensure_eq!(room(&growing.rig, &growing.queue)?, 3);
    for tag in 4..7 {
        growing.submit(growing.job(tag)?, &[])?;
    }
    let victim = growing.fences[5].seqno();
    ensure_eq!(growing.queue.cancel(victim, Errno::EIO), Ok(Cancelled::Yes));
    // To 16, and to 32 with one that is armed.
    growing.grow_under_an_armed_job(8)?;
    ensure_eq!(room(&growing.rig, &growing.queue)?, 32 - 17);
    // What was cancelled before is still.
    let too_late = growing.queue.cancel(growing.fences[0].seqno(), Errno::EIO);
    ensure_eq!(too_late, Ok(Cancelled::TooLate));
    // To 64, and no further.
    while growing.fences.len() < 63 {
        let work = growing.job(growing.fences.len() as u64)?;
        growing.submit(work, &[])?;
    }
    let late = growing
        .queue
        .prepare(growing.rig.gpu.done(1001), 1, GFP_KERNEL);
    ensure_eq!(refusal(late), Some(Refused::Full));
    drop(kept);
    growing.submit(growing.job(63)?, &[])?;
    ensure_eq!(growing.queue.len(), 64);
    ensure_eq!(growing.queue.check_invariants(), Ok(()));
    ensure!(growing.fences.iter().all(|fence| !fence.is_signaled()));
    // The dependency's callback finds its job, the tokens find theirs.
    in_hard_irq(move || signaller.signal(Ok(())))?;
    growing.rig.gpu.complete(2, Ok(()))?;
    ensure!(!growing.fences[1].is_signaled());
    let completion = growing.rig.gpu.take(0)?;
    in_hard_irq(move || completion.complete(Ok(())))?;
    growing.end(5)
}

pub(crate) fn ring_grows_with_jobs_in_flight() -> Result {
    // And where the numbers of the jobs that move wrap meanwhile.
    for first in [1, 2, 3, u64::MAX - 2, u64::MAX - 6, u64::MAX - 40] {
        grows_from(first)?;
    }
    Ok(())
}

/// Nor in an interrupt. What there is of it is used.
pub(crate) fn ring_does_not_grow_for_atomic_memory() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").capacity(8))?;
    queue.suspend();
    ensure_eq!(room(&rig, &queue)?, 4);
    let mut fences = many(3, |tag| submit(&queue, rig.gpu.done(tag), &[]))?;
    for (tag, fits) in [(3, true), (4, false)] {
        let work = rig.gpu.done(tag);
        let submit = || queue.prepare(work, 1, GFP_ATOMIC).map(Prepared::submit);
        match (in_hard_irq(submit)?, fits) {
            (Ok(fence), true) => fences.push(fence, GFP_KERNEL)?,
            (Err(failed), false) => {
                ensure_eq!(failed.error, PrepareError::Refused(Refused::Full));
                // The payload comes back.
                ensure_eq!(failed.payload.tag, tag);
            }
            _ => return Err(EINVAL),
        }
    }
    let atomic = queue.prepare(rig.gpu.done(4), 1, GFP_ATOMIC);
    ensure_eq!(refusal(atomic), Some(Refused::Full));
    let nowait = queue.prepare(rig.gpu.done(4), 1, GFP_NOWAIT);
    ensure_eq!(refusal(nowait), Some(Refused::Full));
    // Who may sleep makes room for all.
    fences.push(submit(&queue, rig.gpu.done(4), &[])?, GFP_KERNEL)?;
    ensure_eq!(room(&rig, &queue)?, 3);
    for tag in 5..8 {
        let job = queue.prepare(rig.gpu.done(tag), 1, GFP_ATOMIC)?;
        fences.push(job.submit(), GFP_KERNEL)?;
    }
    let ninth = queue.prepare(rig.gpu.done(8), 1, GFP_KERNEL);
    ensure_eq!(refusal(ninth), Some(Refused::Full));
    ensure!(queue.resume());
    for fence in &fences {
        ensure_eq!(done(fence)?, Ok(()));
    }
    ensure!(rig.gpu.tags(What::RunBegins)?.iter().copied().eq(0..8));
    drop(queue);
    rig.finish()
}

/// No growth is lost, and none is done twice.
pub(crate) fn ring_is_grown_by_several_at_once() -> Result {
    let rig = Rig::new()?;
    for round in 0..5 {
        let queue = rig.build(Queue::<Mock>::builder(c"q").capacity(128))?;
        queue.suspend();
        let fences = Channel::new(128)?;
        thread::all(4, |number| {
            for job in 0..32 {
                let tag = 100 * number as u64 + job;
                fences.send(submit(&queue, rig.gpu.done(tag), &[])?);
            }
            Ok(())
        })?;
        ensure_eq!(queue.len(), 128);
        let late = queue.prepare(rig.gpu.done(1000), 1, GFP_KERNEL);
        ensure_eq!(refusal(late), Some(Refused::Full));
        ensure!(queue.resume());
        let mut fences = fences.drain()?;
        fences.sort_unstable_by_key(|fence| fence.seqno());
        for (number, fence) in fences.iter().enumerate() {
            ensure_eq!((round, fence.seqno()), (round, number as u64 + 1));
            ensure_eq!(done(fence)?, Ok(()));
        }
        let tags = rig.gpu.tags(What::RunBegins)?;
        ensure_eq!(tags.len(), 128);
        for thread in 0..4 {
            let own = tags.iter().copied().filter(|tag| tag / 100 == thread);
            ensure!(own.eq(thread * 100..thread * 100 + 32));
        }
        eventually("all are gone", || queue.is_empty())?;
        ensure_eq!(queue.check_invariants(), Ok(()));
        rig.gpu.forget_seen();
    }
    rig.finish()
}

/// Who finds no room while somebody else grows the ring for the last time has room then.
pub(crate) fn last_growth_is_for_all() -> Result {
    let rig = Rig::new()?;
    let queues = many(ROUNDS, |_| {
        let queue = rig.build(Queue::<Mock>::builder(c"q").capacity(8))?;
        queue.suspend();
        Ok(queue)
    })?;
    let meeting = Meeting::of(2);
    thread::all(2, |number| {
        let mut result = Ok(());
        for queue in &queues {
            // Four each: there are 4 entries, and then 8.
            let works = many(4, |job| Ok(rig.gpu.done(10 * job + number as u64)))?;
            meeting.meet()?;
            for work in works {
                // Goes on where it has failed: the other waits for it.
                result = result.and(submit(queue, work, &[]).map(drop));
            }
        }
        result
    })?;
    for queue in &queues {
        ensure_eq!(queue.len(), 8);
        ensure!(queue.resume());
        eventually("all are gone", || queue.is_empty())?;
        ensure_eq!(queue.check_invariants(), Ok(()));
        let tags = rig.gpu.tags(What::RunBegins)?;
        for thread in 0..2 {
            let own = tags.iter().copied().filter(|tag| tag % 10 == thread);
            ensure!(own.eq([0, 10, 20, 30].map(|job| job + thread)));
        }
        rig.gpu.forget_seen();
    }
    drop(queues);
    rig.finish()
}

/// Two who ask at once for the last two rooms both get one.
pub(crate) fn last_rooms_are_for_all() -> Result {
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").capacity(2))?;
    let meeting = Meeting::of(2);
    let refused = Atomic::new(0);
    thread::all(2, |number| {
        for _ in 0..ROUNDS {
            let work = rig.gpu.done(number as u64);
            meeting.meet()?;
            let prepared = queue.prepare(work, 1, GFP_KERNEL);
            refused.add(i32::from(prepared.is_err()), Relaxed);
            meeting.meet()?;
            drop(prepared);
        }
        Ok(())
    })?;
    ensure_eq!(refused.load(Relaxed), 0);
    ensure_eq!(queue.check_invariants(), Ok(()));
    drop(queue);
    rig.finish()
}

/// A room that was taken for a job that costs too much does not come back into a closed queue.
pub(crate) fn closed_while_a_cost_is_refused() -> Result {
    let rig = Rig::new()?;
    for _ in 0..ROUNDS {
        let queue = rig.queue(c"q")?;
        let first = queue.prepare(rig.gpu.done(1), 1, GFP_KERNEL)?;
        let (meeting, tries, over) = (Meeting::of(2), Atomic::new(0), Atomic::new(0));
        let theirs = || {
            meeting.meet()?;
            let mut work = rig.gpu.done(1);
            while over.load(Relaxed) == 0 {
                let Err(failed) = queue.prepare(work, 1000, GFP_KERNEL) else {
                    return Err(EINVAL);
                };
                tries.add(1, Relaxed);
                work = failed.payload;
            }
            Ok(())
        };
        thread::beside(theirs, || {
            meeting.meet()?;
            eventually("it tries", || tries.load(Relaxed) > 8)?;
            queue.close();
            over.store(1, Relaxed);
            Ok(())
        })?;
        let late = queue.prepare(rig.gpu.done(2), 1, GFP_KERNEL);
        ensure_eq!(refusal(late), Some(Refused::Closed));
        drop(first);
        drop(queue);
        rig.gpu.forget_seen();
    }
    rig.finish()
}
