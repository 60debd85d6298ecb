// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Two workloads, measured alternately.

use std::time::Instant;

use rustix::time::{clock_gettime, ClockId};

/// Batches of each side in a round.
const BATCHES: usize = 31;

/// A figure, how far it strayed over the rounds, and what its two sides cost.
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Nanoseconds a job, median over the rounds.
    pub(crate) ours: f64,
    /// As `ours`, for the other side.
    pub(crate) theirs: f64,
}

impl Ratio {
    /// Where a batch's jobs are of so many parts each: as a ratio of those.
    pub(crate) fn each_of(self, ours: f64, theirs: f64) -> Self {
        let scale = theirs / ours;
        Self {
            median: self.median * scale,
            min: self.min * scale,
            max: self.max * scale,
            ours: self.ours / ours,
            theirs: self.theirs / theirs,
        }
    }
}

/// Nanoseconds of this thread's processor time a job: the median of some batches of `jobs`. Other
/// than time on the wall it says something on a machine that is busy.
pub(crate) fn cpu_ns(jobs: u32, mut run: impl FnMut(u32)) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
    };
    let batches = (0..BATCHES).map(|_| {
        let begin = now();
        run(jobs);
        (now() - begin) / f64::from(jobs)
    });
    median(&mut batches.collect::<Vec<_>>())
}

/// Runs both sides in short batches of `jobs`, now one, now the other, so that whatever else the
/// machine does hits both. A round is worth the median batch of the one over that of the other.
pub(crate) fn compare(
    rounds: usize,
    jobs: u32,
    mut ours: impl FnMut(u32),
    mut theirs: impl FnMut(u32),
) -> Ratio {
    ours(jobs);
    theirs(jobs);
    let mut ratios = Vec::with_capacity(rounds);
    let (mut all_ours, mut all_theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..BATCHES {
            a.push(ns_per_job(jobs, &mut ours));
            b.push(ns_per_job(jobs, &mut theirs));
        }
        let (a, b) = (median(&mut a), median(&mut b));
        ratios.push(a / b);
        all_ours.push(a);
        all_theirs.push(b);
    }
    Ratio {
        median: median(&mut ratios),
        min: ratios.iter().copied().fold(f64::INFINITY, f64::min),
        max: ratios.iter().copied().fold(0.0, f64::max),
        ours: median(&mut all_ours),
        theirs: median(&mut all_theirs),
    }
}

fn ns_per_job(jobs: u32, run: &mut impl FnMut(u32)) -> f64 {
    let begin = Instant::now();
    run(jobs);
    begin.elapsed().as_nanos() as f64 / f64::from(jobs)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
