// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Figures from the times of jobs: how long a job waited, how long a ring idled while it had work.
//!
//! The same functions serve a recording of the kernel's scheduler and our own run of the same jobs,
//! so that the two can be compared. Two words are meant precisely:
//!
//! * A ring is **idle** while no job of it is between its run and its done.
//! * A job is **runnable** from the moment when it has been queued, all its dependencies have
//!   signalled and the job before it in its context has become runnable (or has run), until it runs.
//!   A job that was done without having run (cancelled) was runnable until it was done.
//!
//! A dependency that never signalled keeps its job from being runnable until the job runs. The
//! kernel's scheduler runs a job before its dependency has signalled where both are on one ring; such
//! a job was never runnable for any time, and its ring was busy with the dependency meanwhile.

use std::collections::HashMap;

/// The times of one job, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimedJob {
    /// The ring it ran on, counted from 0.
    pub ring: usize,
    /// The context it belongs to.
    pub context: u64,
    /// When it was queued.
    pub queued: u64,
    /// When it was handed to the hardware, if it was.
    pub run: Option<u64>,
    /// When its finished fence signalled, if it did.
    pub done: Option<u64>,
    /// The jobs it depends on, as indices into the same list.
    pub dependencies: Vec<usize>,
}

/// What one ring did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingFigures {
    /// Jobs queued for it.
    pub jobs: u64,
    /// Nanoseconds during which at least one of its jobs was between run and done.
    pub busy_ns: u64,
    /// Nanoseconds during which it was idle although a job of it was runnable.
    pub idle_while_runnable_ns: u64,
    /// How many separate times that happened.
    pub idle_gaps: u64,
}

/// How values are spread; the percentiles are values that occurred (nearest rank).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// How many values.
    pub count: u64,
    /// Half of them are no larger.
    pub p50: u64,
    /// 99 of 100 of them are no larger.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

/// The spread of `values`, which are sorted by this. `None` if there are none.
pub fn spread(values: &mut [u64]) -> Option<Spread> {
    values.sort_unstable();
    let rank = |percent: usize| {
        values
            .get((values.len() * percent).div_ceil(100).max(1) - 1)
            .copied()
    };
    Some(Spread {
        count: values.len() as u64,
        p50: rank(50)?,
        p99: rank(99)?,
        max: *values.last()?,
    })
}

/// When each job became runnable; `None` for a job that did not before the end.
///
/// `jobs` stand in the order in which they were queued. Indices of dependencies that are out of range
/// are ignored.
pub fn runnable(jobs: &[TimedJob]) -> Vec<Option<u64>> {
    let mut head: HashMap<u64, Option<u64>> = HashMap::new();
    let mut times = Vec::with_capacity(jobs.len());
    for job in jobs {
        let mut time = Some(job.queued);
        if let Some(&before) = head.get(&job.context) {
            time = time.max_if_both(before);
        }
        for on in job.dependencies.iter().filter_map(|&index| jobs.get(index)) {
            time = time.max_if_both(on.done);
        }
        // Whatever the definition says, it had become runnable when it ran.
        let time = match (time, job.run) {
            (Some(time), Some(run)) => Some(time.min(run)),
            (time, run) => time.or(run),
        };
        head.insert(job.context, time);
        times.push(time);
    }
    times
}

trait MaxIfBoth {
    /// The later of two times, if both ever come.
    fn max_if_both(self, other: Self) -> Self;
}

impl MaxIfBoth for Option<u64> {
    fn max_if_both(self, other: Self) -> Self {
        Some(self?.max(other?))
    }
}

/// A change in what a ring has: runnable jobs or jobs on the hardware.
#[derive(Clone, Copy)]
struct Change {
    time: u64,
    runnable: i64,
    running: i64,
}

/// The figures of `rings` rings. `jobs` as for [`runnable`]; jobs of further rings are left out.
///
/// What did not end is taken to last until the last time that occurs in `jobs`.
pub fn rings(jobs: &[TimedJob], rings: usize) -> Vec<RingFigures> {
    let end = jobs
        .iter()
        .flat_map(|job| [Some(job.queued), job.run, job.done])
        .flatten()
        .max();
    let end = end.unwrap_or(0);
    let mut figures = vec![RingFigures::default(); rings];
    let mut changes: Vec<Vec<Change>> = vec![Vec::new(); rings];
    for (job, runnable) in jobs.iter().zip(runnable(jobs)) {
        let (Some(figures), Some(changes)) = (figures.get_mut(job.ring), changes.get_mut(job.ring))
        else {
            continue;
        };
        figures.jobs += 1;
        let until = job.run.or(job.done).unwrap_or(end);
        if let Some(from) = runnable.filter(|&from| from < until) {
            changes.push(Change {
                time: from,
                runnable: 1,
                running: 0,
            });
            changes.push(Change {
                time: until,
                runnable: -1,
                running: 0,
            });
        }
        if let Some(run) = job.run {
            let done = job.done.unwrap_or(end).max(run);
            changes.push(Change {
                time: run,
                runnable: 0,
                running: 1,
            });
            changes.push(Change {
                time: done,
                runnable: 0,
                running: -1,
            });
        }
    }
    for (figures, changes) in figures.iter_mut().zip(&mut changes) {
        sweep(figures, changes);
    }
    figures
}

fn sweep(figures: &mut RingFigures, changes: &mut [Change]) {
    changes.sort_by_key(|change| change.time);
    let (mut runnable, mut running) = (0, 0);
    let mut in_gap = false;
    let mut last = 0;
    for group in changes.chunk_by(|a, b| a.time == b.time) {
        let span = group[0].time - last;
        last = group[0].time;
        if running > 0 {
            figures.busy_ns += span;
        } else if runnable > 0 {
            figures.idle_while_runnable_ns += span;
        }
        runnable += group.iter().map(|change| change.runnable).sum::<i64>();
        running += group.iter().map(|change| change.running).sum::<i64>();
        let gap = running == 0 && runnable > 0;
        figures.idle_gaps += u64::from(gap && !in_gap);
        in_gap = gap;
    }
}

#[cfg(test)]
mod tests;
