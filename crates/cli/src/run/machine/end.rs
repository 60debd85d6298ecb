// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The end of queues, one by one while the run lasts and all at its end, and what they leave.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{lock, Machine, PoisonError, QueueParts};
use crate::dump::{Dumper, Why};
use crate::run::figures::QueueFigures;
use crate::run::output::slots_text;
use crate::run::report::Leaks;
use crate::run::Violations;

/// How long a queue may take to close, once all its jobs are over.
const CLOSING: Duration = Duration::from_secs(30);

/// How long threads may take to let go of the last things, once everything has ended.
const LETTING_GO: Duration = Duration::from_secs(2);

/// What was counted of queues that are no more.
#[derive(Default)]
pub(in crate::run) struct Totals {
    pub(in crate::run) armed: u64,
    pub(in crate::run) signalled: u64,
    pub(in crate::run) out_of_order: u64,
    pub(in crate::run) banned: u64,
    /// Jobs that were run while their context was on no slot, or one of their group's was not, and
    /// stays on slots of a wrong kind.
    pub(in crate::run) off: u64,
    pub(in crate::run) parted: u64,
    pub(in crate::run) astray: u64,
    /// Room taken, and neither given back nor used for a job that is over.
    entries: u64,
    /// What every payload of a queue holds.
    held: Vec<Arc<()>>,
    /// The fence context of every queue there was, and which of the plan's it was.
    pub(in crate::run) contexts: Vec<(usize, u64)>,
}

impl Machine<'_> {
    /// Whether a queue that was replaced has let go of everything.
    pub(in crate::run) fn is_over(parts: &QueueParts) -> bool {
        parts.queue.closed().is_signaled()
    }

    /// Lets go of a queue that is [over](Self::is_over), of which nobody looks at a job any more.
    pub(in crate::run) fn retire(&self, parts: Arc<QueueParts>, violations: &mut Violations) {
        let mut note = |rule, how: String| violations.entry(rule).or_insert((0, how)).0 += 1;
        let name = parts.queue.name().to_owned();
        // What it has on the hardware still, of a queue that was killed.
        if let Err(error) = parts.context.clear() {
            note("the device", format!("{name}: its context stays: {error}"));
        }
        let stats = parts.queue.stats();
        if let Err(violation) = parts.queue.check_invariants() {
            note("invariants", format!("{name}: {violation:?}"));
        }
        let stray = parts.watch.stray.load(Ordering::Relaxed);
        if stray > 0 {
            let how = format!("{name}: {stray} events of no job in flight");
            note("jobs lost", how);
        }
        let mut totals = lock(&self.totals);
        totals.armed += stats.armed;
        totals.signalled += parts.watch.signalled.load(Ordering::Relaxed);
        totals.out_of_order += parts.watch.out_of_order.load(Ordering::Relaxed);
        if let Some(residence) = &parts.watch.residence {
            totals.off += residence.off.load(Ordering::Relaxed);
            totals.parted += residence.parted.load(Ordering::Relaxed);
            totals.astray += residence.astray.load(Ordering::Relaxed);
        }
        totals.banned += u64::from(parts.is_banned());
        totals.entries += stats.prepared.saturating_sub(stats.released + stats.reaped);
        totals.held.retain(|held| Arc::strong_count(held) > 1);
        totals.held.push(Arc::clone(&parts.held));
        drop(totals);
        let mut watches = parts
            .device
            .watches
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        watches.retain(|_, watch| !Arc::ptr_eq(watch, &parts.watch));
        drop(watches);
        drop(parts);
    }

    /// Closes the queues, stops everything, and looks for what is left.
    pub(in crate::run) fn tear_down(
        mut self,
        violations: &mut Violations,
        dumper: &Dumper,
    ) -> (Leaks, Totals) {
        let mut note = |rule, how: String| violations.entry(rule).or_insert((0, how)).0 += 1;
        let queues: Vec<Arc<QueueParts>> = std::mem::take(&mut self.queues)
            .into_iter()
            .map(|queue| queue.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect();
        for parts in &queues {
            parts.queue.close();
        }
        for parts in &queues {
            if parts.queue.closed().wait_timeout(CLOSING).is_err() {
                let name = parts.queue.name();
                note("leaks", format!("{name} does not close"));
                let slots = slots_text(&self);
                let queues = queues.iter().map(|parts| &parts.queue);
                dumper.dump(Why::Stuck, format!("{name} does not close"), queues, &slots);
                // Nothing that comes will be faster.
                break;
            }
        }
        let devices = std::mem::take(&mut *lock(&self.devices));
        // If a queue did not close, this ends it all the same.
        for device in &devices {
            if let Err(error) = device.soft.stop() {
                note("leaks", error.to_string());
            }
        }
        for parts in queues {
            self.retire(parts, violations);
        }
        let totals = std::mem::take(&mut *lock(&self.totals));
        let jobs = || -> u64 {
            let held = totals.held.iter();
            held.map(|held| Arc::strong_count(held) as u64 - 1).sum()
        };
        let memory = || -> u64 {
            let gpus = devices.iter().flat_map(|device| device.soft.gpus());
            gpus.map(ringfence_softgpu::Gpu::memory_in_use).sum()
        };
        // A worker may be dropping its last payload, and recovery its last context.
        let patience = Instant::now() + LETTING_GO;
        while (jobs() > 0 || memory() > 0) && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        let left = memory();
        if left > 0 {
            let how = format!("{left} bytes of video memory");
            violations.entry("leaks").or_insert((0, how)).0 += 1;
        }
        let leaks = Leaks {
            jobs: jobs(),
            fences: totals.armed.saturating_sub(totals.signalled),
            entries: totals.entries,
        };
        (leaks, totals)
    }
}

/// What the clients saw, in the order of the plan's queues.
pub(in crate::run) fn in_order_of_queues(
    queues: usize,
    clients: usize,
    seen: Vec<Vec<QueueFigures>>,
) -> Vec<Option<QueueFigures>> {
    let mut figures: Vec<_> = (0..queues).map(|_| None).collect();
    for (client, own) in seen.into_iter().enumerate() {
        for (place, queue) in own.into_iter().enumerate() {
            if let Some(slot) = figures.get_mut(client + place * clients) {
                *slot = Some(queue);
            }
        }
    }
    figures
}
