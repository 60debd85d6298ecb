// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Fences of C's, waited for by jobs of ours.

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Atomic, Full, Relaxed};
use kernel::sync::Arc;

use ringfence::fence::Status;
use ringfence::{Errno, Fence, OnDependencyError, Queue};

use super::glue::{array, chain, none_is_left, Foreign};
use crate::rig::{done, eventually, on_signal, submit, Does, Mock, Rig, What};

/// How long to look whether something happens that must not, in milliseconds.
const LOOK_MS: u32 = 30;

/// When and where the foreign fence signals.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    BeforeInIrq,
    After,
    AfterInIrq,
}

impl When {
    fn is_before(self) -> bool {
        matches!(self, Self::Before | Self::BeforeInIrq)
    }

    fn signal(self, foreign: &Foreign, seqno: u64, result: Status) -> Result {
        match self {
            Self::Before | Self::After => foreign.advance(seqno, result),
            Self::BeforeInIrq | Self::AfterInIrq => foreign.advance_in_irq(seqno, result)?,
        }
        Ok(())
    }
}

/// A job that depends on a foreign fence: it does not run before, and ends as that says, unless its
/// queue does not care.
fn dependency(when: When, result: Status, on_error: OnDependencyError) -> Result {
    let rig = Rig::new()?;
    let builder = Queue::<Mock>::builder(c"q").on_dependency_error(on_error);
    let queue = rig.build(builder)?;
    let foreign = Foreign::new()?;
    let fence = foreign.fence()?;
    if when.is_before() {
        when.signal(&foreign, 1, result)?;
    }
    let job = submit(&queue, rig.gpu.done(1), &[&fence])?;
    if !when.is_before() {
        ensure_eq!(job.wait_timeout(LOOK_MS), None);
        ensure_eq!(rig.gpu.count(1, What::RunBegins), 0);
        when.signal(&foreign, 1, result)?;
    }
    let runs = result.is_ok() || on_error == OnDependencyError::Run;
    let expected = if runs { Ok(()) } else { result };
    ensure_eq!(done(&job)?, expected);
    ensure_eq!(fence.status(), Some(result));
    ensure_eq!(rig.gpu.count(1, What::RunBegins), usize::from(runs));
    drop((fence, foreign, queue));
    rig.finish()?;
    none_is_left()
}

pub(crate) fn interop_foreign_dependency_after_submit() -> Result {
    dependency(When::After, Ok(()), OnDependencyError::Fail)
}

pub(crate) fn interop_foreign_dependency_before_submit() -> Result {
    dependency(When::Before, Ok(()), OnDependencyError::Fail)
}

pub(crate) fn interop_foreign_dependency_fails_after_submit() -> Result {
    dependency(When::After, Err(Errno::EIO), OnDependencyError::Fail)
}

pub(crate) fn interop_foreign_dependency_failed_before_submit() -> Result {
    dependency(When::Before, Err(Errno::EIO), OnDependencyError::Fail)
}

pub(crate) fn interop_foreign_dependency_fails_and_the_job_runs() -> Result {
    dependency(When::After, Err(Errno::EIO), OnDependencyError::Run)?;
    dependency(When::Before, Err(Errno::EIO), OnDependencyError::Run)?;
    dependency(When::AfterInIrq, Err(Errno::EIO), OnDependencyError::Run)
}

pub(crate) fn interop_foreign_dependency_in_hard_irq() -> Result {
    dependency(When::AfterInIrq, Ok(()), OnDependencyError::Fail)
}

pub(crate) fn interop_foreign_dependency_fails_in_hard_irq() -> Result {
    dependency(When::AfterInIrq, Err(Errno::EIO), OnDependencyError::Fail)
}

pub(crate) fn interop_foreign_dependency_signalled_in_hard_irq_before_submit() -> Result {
    dependency(When::BeforeInIrq, Ok(()), OnDependencyError::Fail)?;
    dependency(When::BeforeInIrq, Err(Errno::EIO), OnDependencyError::Fail)
}

/// Of several fences of one foreign timeline the latest alone is waited for, in whatever order they
/// are named.
pub(crate) fn interop_foreign_timeline_counts_by_its_latest() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let (foreign, other) = (Foreign::new()?, Foreign::new()?);
    let fences = [foreign.fence()?, foreign.fence()?, foreign.fence()?];
    let apart = other.fence()?;
    let after: [&Fence; 4] = [&fences[1], &apart, &fences[2], &fences[0]];
    let job = submit(&queue, rig.gpu.done(1), &after)?;
    ensure_eq!(queue.stats().dependencies, 2);
    foreign.advance(2, Ok(()));
    other.advance(1, Ok(()));
    ensure_eq!(job.wait_timeout(LOOK_MS), None);
    foreign.advance(3, Ok(()));
    ensure_eq!(done(&job)?, Ok(()));
    drop((fences, apart, foreign, other, queue));
    rig.finish()?;
    none_is_left()
}

pub(crate) fn interop_foreign_array_as_dependency() -> Result {
    for result in [Ok(()), Err(Errno::EIO)] {
        let rig = Rig::new()?;
        let queue = rig.queue(c"q")?;
        let (foreign, other) = (Foreign::new()?, Foreign::new()?);
        let all = array(&[&*foreign.fence()?, &*other.fence()?])?;
        let job = submit(&queue, rig.gpu.done(1), &[&all])?;
        foreign.advance_in_irq(1, result)?;
        ensure_eq!(job.wait_timeout(LOOK_MS), None);
        other.advance(1, Ok(()));
        ensure_eq!(done(&job)?, result);
        ensure_eq!(
            rig.gpu.count(1, What::RunBegins),
            usize::from(result.is_ok())
        );
        // And one that has signalled before.
        let late = submit(&queue, rig.gpu.done(2), &[&all])?;
        ensure_eq!(done(&late)?, result);
        drop((all, foreign, other, queue));
        rig.finish()?;
        none_is_left()?;
    }
    Ok(())
}

/// There and back again: our fences in C's array, for which a job of ours waits.
pub(crate) fn interop_foreign_array_of_jobs_as_dependency() -> Result {
    let rig = Rig::new()?;
    let (one, other) = (rig.queue(c"one")?, rig.queue(c"other")?);
    let foreign = Foreign::new()?;
    let first = submit(&one, rig.gpu.waits(1), &[])?;
    let all = array(&[&*first, &*foreign.fence()?])?;
    let second = submit(&other, rig.gpu.done(2), &[&all])?;
    // The same queue, too: a job that waits for one before it.
    let third = submit(&one, rig.gpu.done(3), &[&all])?;
    foreign.advance(1, Ok(()));
    ensure_eq!(second.wait_timeout(LOOK_MS), None);
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(done(&second)?, Ok(()));
    ensure_eq!(done(&third)?, Ok(()));
    drop((all, foreign, one, other));
    rig.finish()?;
    none_is_left()
}

pub(crate) fn interop_foreign_chain_as_dependency() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let (foreign, other) = (Foreign::new()?, Foreign::new()?);
    let point = chain(None, &*foreign.fence()?, 1)?;
    let next = chain(Some(&point), &*other.fence()?, 2)?;
    let job = submit(&queue, rig.gpu.done(1), &[&next])?;
    other.advance(1, Ok(()));
    ensure_eq!(job.wait_timeout(LOOK_MS), None);
    foreign.advance_in_irq(1, Ok(()))?;
    ensure_eq!(done(&job)?, Ok(()));
    drop((point, next, foreign, other, queue));
    rig.finish()?;
    none_is_left()
}

/// A job whose hardware has a fence of its own kind.
fn hardware(when: When, result: Status) -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let foreign = Foreign::new()?;
    let fence = foreign.fence()?;
    if when.is_before() {
        when.signal(&foreign, 1, result)?;
    }
    let job = submit(&queue, rig.gpu.work(1, Does::Follows(fence)), &[])?;
    if !when.is_before() {
        rig.gpu.wait_for(1, What::RunEnds)?;
        ensure_eq!(job.wait_timeout(LOOK_MS), None);
        when.signal(&foreign, 1, result)?;
    }
    ensure_eq!(done(&job)?, result);
    drop((foreign, queue));
    rig.finish()?;
    none_is_left()
}

pub(crate) fn interop_foreign_hardware_fence() -> Result {
    hardware(When::After, Ok(()))?;
    hardware(When::After, Err(Errno::EIO))
}

pub(crate) fn interop_foreign_hardware_fence_signalled_before() -> Result {
    hardware(When::Before, Ok(()))?;
    hardware(When::Before, Err(Errno::EIO))?;
    hardware(When::BeforeInIrq, Ok(()))
}

pub(crate) fn interop_foreign_hardware_fence_in_hard_irq() -> Result {
    hardware(When::AfterInIrq, Ok(()))?;
    hardware(When::AfterInIrq, Err(Errno::EIO))
}

/// A foreign fence says that there is room, with whatever result.
pub(crate) fn interop_foreign_room() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let foreign = Foreign::new()?;
    let fences = [foreign.fence()?, foreign.fence()?, foreign.fence()?];
    // The first one has signalled when it is named.
    foreign.advance(1, Ok(()));
    let mut does = Does::Done;
    for fence in fences.iter().rev() {
        does = Does::NoRoom(fence.clone(), KBox::new(does, GFP_KERNEL)?);
    }
    let job = submit(&queue, rig.gpu.work(1, does), &[])?;
    eventually("a second try", || rig.gpu.count(1, What::RunEnds) == 2)?;
    ensure_eq!(job.wait_timeout(LOOK_MS), None);
    foreign.advance_in_irq(2, Err(Errno::EIO))?;
    eventually("a third try", || rig.gpu.count(1, What::RunEnds) == 3)?;
    ensure_eq!(job.wait_timeout(LOOK_MS), None);
    foreign.advance(3, Ok(()));
    ensure_eq!(done(&job)?, Ok(()));
    ensure_eq!(queue.stats().no_resources, 3);
    drop((fences, foreign, queue));
    rig.finish()?;
    none_is_left()
}

/// The foreign driver goes, with fences open and with fences signalled that jobs still hold: their
/// lock was its.
pub(crate) fn interop_foreign_timeline_is_destroyed() -> Result {
    let rig = Rig::new()?;
    let queue = rig.queue(c"q")?;
    let foreign = Foreign::new()?;
    let (first, second) = (foreign.fence()?, foreign.fence()?);
    // On the hardware: it keeps its dependency until it is reaped.
    let ran = submit(&queue, rig.gpu.waits(1), &[&first])?;
    let waits = submit(&queue, rig.gpu.done(2), &[&second])?;
    drop((first, second));
    foreign.advance(1, Ok(()));
    rig.gpu.wait_running(1)?;
    drop(foreign);
    ensure_eq!(waits.wait_timeout(LOOK_MS), None);
    rig.gpu.complete(1, Ok(()))?;
    ensure_eq!(done(&ran)?, Ok(()));
    ensure_eq!(done(&waits)?, Err(Errno::ECANCELED));
    ensure_eq!(rig.gpu.count(2, What::RunBegins), 0);
    drop(queue);
    rig.finish()?;
    none_is_left()
}

/// A killed job waits for nothing any more; the fence that it waited for signals later, or never.
pub(crate) fn interop_foreign_fence_outlives_a_killed_job() -> Result {
    for in_irq in [false, true] {
        let rig = Rig::new()?;
        let (queue, following) = (rig.queue(c"q")?, rig.queue(c"following")?);
        let foreign = Foreign::new()?;
        let (first, second) = (foreign.fence()?, foreign.fence()?);
        let job = submit(&queue, rig.gpu.done(1), &[&first])?;
        let follows = Does::Follows(second.clone());
        let hardware = submit(&following, rig.gpu.work(2, follows), &[])?;
        rig.gpu.wait_for(2, What::RunEnds)?;
        queue.kill(Errno::EIO);
        following.kill(Errno::EIO);
        ensure_eq!(done(&job)?, Err(Errno::EIO));
        ensure_eq!(done(&hardware)?, Err(Errno::EIO));
        eventually("both are reaped", || {
            queue.is_empty() && following.is_empty()
        })?;
        ensure_eq!((first.status(), second.status()), (None, None));
        drop((queue, following));
        match in_irq {
            true => foreign.advance_in_irq(2, Ok(()))?,
            false => foreign.advance(2, Ok(())),
        }
        ensure_eq!(job.status(), Some(Err(Errno::EIO)));
        drop((first, second, foreign));
        rig.finish()?;
        none_is_left()?;
    }
    Ok(())
}

/// A callback on a foreign fence: called once, or taken back and not called.
pub(crate) fn interop_foreign_callback_taken_back() -> Result {
    let foreign = Foreign::new()?;
    let (calls, fence) = (Arc::new(Atomic::new(0), GFP_KERNEL)?, foreign.fence()?);
    let register = |fence: &ARef<Fence>| {
        let calls = calls.clone();
        on_signal(fence, move |_| {
            calls.fetch_add(1, Full);
        })
    };
    ensure!(register(&fence)?.remove());
    let kept = register(&fence)?;
    let dropped = register(&fence)?;
    drop(dropped);
    foreign.advance_in_irq(1, Ok(()))?;
    ensure_eq!(calls.load(Relaxed), 1);
    ensure!(!kept.remove());
    ensure_eq!(calls.load(Relaxed), 1);
    drop((fence, foreign));
    none_is_left()
}
