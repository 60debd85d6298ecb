// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How many jobs each ring of a recording has room for.
//!
//! A recording does not say. It shows how many jobs a ring held at most; whether it could have held
//! more shows in what else waited. Where a runnable job waited for at least half of the time during
//! which the ring held that many, that was its room. Else the ring was never full.

use ringfence_trace::figures::{self, TimedJob};

/// A change on a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    time: u64,
    /// Jobs on the ring; of one time, what ends makes room for what begins.
    held: i64,
    /// Runnable jobs that have not run.
    waiting: i64,
}

/// The room of each of `rings` rings: `None` where none was seen to be full.
pub(super) fn of_rings(jobs: &[TimedJob], rings: usize) -> Vec<Option<u32>> {
    let mut changes: Vec<Vec<Change>> = vec![Vec::new(); rings];
    for (job, runnable) in jobs.iter().zip(figures::runnable(jobs)) {
        let (Some(changes), Some(run)) = (changes.get_mut(job.ring), job.run) else {
            continue;
        };
        let mut change = |time, held, waiting| {
            changes.push(Change {
                time,
                held,
                waiting,
            });
        };
        if let Some(runnable) = runnable.filter(|&runnable| runnable < run) {
            change(runnable, 0, 1);
            change(run, 0, -1);
        }
        change(run, 1, 0);
        if let Some(done) = job.done {
            change(done.max(run), -1, 0);
        }
    }
    changes.iter_mut().map(|changes| of_ring(changes)).collect()
}

fn of_ring(changes: &mut [Change]) -> Option<u32> {
    changes.sort_unstable();
    let (mut held, mut waiting) = (0_i64, 0_i64);
    let (mut most, mut at_most, mut wanted, mut last) = (0_i64, 0_u64, 0_u64, 0_u64);
    for group in changes.chunk_by(|a, b| a.time == b.time) {
        let span = group[0].time - last;
        last = group[0].time;
        if held == most {
            at_most += span;
            wanted += if waiting > 0 { span } else { 0 };
        }
        held += group.iter().map(|change| change.held).sum::<i64>();
        waiting += group.iter().map(|change| change.waiting).sum::<i64>();
        if held > most {
            (most, at_most, wanted) = (held, 0, 0);
        }
    }
    let full = most > 0 && at_most > 0 && wanted >= at_most / 2;
    full.then(|| u32::try_from(most).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use ringfence_trace::figures::TimedJob;

    use super::of_rings;

    fn job(queued: u64, run: u64, done: u64) -> TimedJob {
        TimedJob {
            ring: 0,
            context: queued,
            queued,
            run: Some(run),
            done: Some(done),
            dependencies: Vec::new(),
        }
    }

    #[test]
    fn a_ring_on_which_jobs_waited_was_full() {
        let jobs = [job(1, 10, 110), job(2, 10, 210), job(3, 110, 310)];
        assert_eq!(of_rings(&jobs, 1), [Some(2)]);
    }

    #[test]
    fn a_ring_on_which_jobs_hardly_waited_was_not() {
        let jobs = [job(1, 10, 110), job(2, 10, 210), job(90, 110, 310)];
        assert_eq!(of_rings(&jobs, 1), [None]);
    }

    #[test]
    fn nothing_is_known_of_an_idle_ring() {
        assert_eq!(of_rings(&[], 2), [None, None]);
    }
}
