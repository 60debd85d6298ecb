// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Submitting one job: its memory, its commands, what it waits for, and what goes wrong with it.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use ringfence::fence::{Callback, Registration};
use ringfence::{Errno, Fence, Prepared, Request, Signaller, Timeline, Timeout};
use ringfence_softgpu::driver::{Batch, SoftDriver};
use ringfence_softgpu::{Armed, Context, Injection, When};

use super::{act, Client, Held, InFlight, OnSignal};
use crate::args::Sabotage;
use crate::plan::FaultKind;
use crate::run::machine::QueueParts;
use crate::run::work::Work;
use crate::run::{tracing, Run};

impl Client<'_> {
    /// Submits a job. Returns whether it is in flight, as it is unless that was sabotaged.
    pub(super) fn submit(&mut self, index: usize, job: u64) -> Result<bool, Held> {
        let run = self.run;
        let stream = &mut self.streams[index];
        let queue = &mut self.queues[stream.queue];
        if queue.spent {
            return Err(Held::Soon);
        }
        let planned = stream.plan.job(job, run.seed);
        let Some(&place) = stream.free.last() else {
            return Err(Held::Waits);
        };
        let first = stream.first_word(place);
        let parts = Arc::clone(&queue.parts);
        let memory = &parts.memories[stream.slot];
        let work = Work::new(&planned, memory.address + first as u64 * 4);
        let held = Arc::clone(&parts.held) as Arc<dyn Send + Sync>;
        let batch = work.batch.holding(held);
        let request = Request {
            cost: planned.cost,
            timeout: stream.plan.timeout.map_or(Timeout::Inherit, Timeout::After),
            on_dependency_error: None,
        };
        let mut prepared = match parts.queue.prepare_with(batch, request) {
            Ok(prepared) => prepared,
            Err(failed) => {
                act::refused(run, queue, failed.error);
                return Err(Held::Soon);
            }
        };
        run.count_submitted();
        if is_lost(run, &parts, job) {
            let over = Fence::already_signalled(Ok(()));
            run.board.publish(stream.plan.index.0, &over);
            return Ok(false);
        }
        let _ = stream.free.pop();
        let written = memory.buffer.write(first, &work.image);
        if let Some(error) = written.as_ref().err() {
            // The device is gone, and the job with it.
            if parts.device.unplugged_at().is_none() {
                run.violation("the device", || error.to_string());
            }
        }
        let seqno = queue.last_seqno + 1;
        let dependencies = run.board.fences(&stream.plan.dependencies, job);
        let outside = outside_fence(planned.fault);
        let outer = outside.as_ref().map(|(_, fence)| fence);
        add_dependencies(run, &parts, &mut prepared, seqno, &dependencies, outer);
        let injected = inject(parts.context.now(), planned.fault, seqno);
        let guilty = planned.fault.is_some_and(|fault| fault.is_guilt());
        parts.guilty.fetch_add(u64::from(guilty), Ordering::Relaxed);
        let submitted_at = ringfence::monotonic().as_ns();
        let drops = planned.fault == Some(FaultKind::Drop);
        let (fence, registration) = arm_and_submit(&parts, prepared, seqno, drops, run);
        queue.last_seqno = seqno;
        run.board.publish(stream.plan.index.0, &fence);
        if let (Some((signaller, _)), Some(FaultKind::DependencyError { errno })) =
            (outside, planned.fault)
        {
            signaller.signal(Err(Errno::new(errno).unwrap_or(Errno::EIO)));
        }
        if let Some(fault) = planned.fault {
            act::act(run, queue, fault, seqno);
        }
        queue.line.push_back(InFlight {
            memory: memory.buffer.clone(),
            parts,
            stream: index,
            place,
            job,
            seqno,
            fence,
            _registration: registration,
            dependencies,
            fault: planned.fault,
            injected,
            image: work.image,
            written: written.is_ok(),
            expected: work.expected,
            stamps: work.stamps,
            submitted_at,
        });
        Ok(true)
    }
}

/// Breaks what was asked to be broken; returns whether the job itself is to be lost.
fn is_lost(run: &Run<'_>, queue: &QueueParts, job: u64) -> bool {
    match run.sabotage {
        Some(Sabotage::LeakEntry) if job == 7 => {
            if let Ok(extra) = queue.queue.prepare(Batch::new(&[]), 0) {
                std::mem::forget(extra);
            }
            false
        }
        Some(Sabotage::LeakJob) if job == 7 => {
            std::mem::forget(Arc::clone(&queue.held));
            false
        }
        Some(Sabotage::LoseJob) => job % 512 == 7,
        _ => false,
    }
}

/// Has the job wait for what it depends on, and notes that in the trace.
fn add_dependencies(
    run: &Run<'_>,
    queue: &QueueParts,
    prepared: &mut Prepared<'_, SoftDriver>,
    seqno: u64,
    dependencies: &[Fence],
    outside: Option<&Fence>,
) {
    let skip = run.sabotage == Some(Sabotage::SkipDependency);
    let at = ringfence::monotonic().as_ns();
    for fence in dependencies.iter().filter(|_| !skip).chain(outside) {
        if let Err(error) = prepared.depends_on(fence) {
            run.violation("jobs refused", || format!("depends_on: {error}"));
        }
        if let Some(recorder) = &run.recorder {
            tracing::record_dependency(recorder, at, (queue.queue.context(), seqno), fence);
        }
    }
}

/// Submits with the callback registered in between, so that it sees every signal in its place; or
/// drops what was armed.
fn arm_and_submit(
    queue: &QueueParts,
    prepared: Prepared<'_, SoftDriver>,
    seqno: u64,
    drops: bool,
    run: &Run<'_>,
) -> (Fence, Option<Registration<OnSignal>>) {
    let watch = Arc::clone(&queue.watch);
    let on_signal: OnSignal = Box::new(move |_| watch.signal(seqno));
    let callback = Callback::new(on_signal);
    queue.watch.expect(seqno);
    let mut guard = queue.queue.submission_guard();
    let armed = match guard.arm(prepared) {
        Ok(armed) => armed,
        Err(refused) => {
            run.violation("jobs refused", || refused.to_string());
            return (Fence::already_signalled(Err(Errno::EINVAL)), None);
        }
    };
    let fence = armed.finished();
    let registration = fence.add_callback(callback).ok();
    let numbered = armed.seqno() == seqno;
    if drops {
        drop(armed);
    } else {
        armed.submit();
    }
    drop(guard);
    if !numbered || registration.is_none() {
        run.violation("fences out of order", || {
            format!("{}: job {seqno} was armed out of turn", queue.queue.name())
        });
    }
    (fence, registration)
}

/// A fence of nobody's that the job depends on, if that is what goes wrong with it.
fn outside_fence(fault: Option<FaultKind>) -> Option<(Signaller, Fence)> {
    matches!(fault, Some(FaultKind::DependencyError { .. }))
        .then(|| Timeline::new("outside").signaller())
}

/// Arms what goes wrong on the device.
fn inject(context: &Context, fault: Option<FaultKind>, value: u64) -> Vec<Armed> {
    let Some(fault) = fault else {
        return Vec::new();
    };
    let at = When::Fence(value);
    let (injection, when, times) = match fault {
        FaultKind::LostInterrupt => (Injection::LostInterrupt, at, 1),
        FaultKind::LateInterrupt { delay } => (Injection::LateInterrupt(delay), at, 1),
        FaultKind::DoubleInterrupt => (Injection::DoubleInterrupt, at, 1),
        FaultKind::SpuriousInterrupt => (Injection::SpuriousInterrupt(value), at, 1),
        FaultKind::EarlyCompletion => (Injection::EarlyCompletion, at, 1),
        FaultKind::FirmwareDeath => (Injection::FirmwareDeath { silent: false }, at, 1),
        FaultKind::SilentDeath => (Injection::FirmwareDeath { silent: true }, at, 1),
        FaultKind::SlowReset { delay } => (Injection::SlowReset(delay), When::Now, 1),
        FaultKind::FailingReset { times } => (Injection::FailedReset, When::Now, times),
        _ => return Vec::new(),
    };
    let arm = |_| context.inject(injection, when).ok();
    (0..times).filter_map(arm).collect()
}
