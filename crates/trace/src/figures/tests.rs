// SPDX-License-Identifier: GPL-2.0 OR MIT
use super::{rings, runnable, spread, RingFigures, Spread, TimedJob};

fn job(context: u64, queued: u64, run: u64, done: u64, dependencies: &[usize]) -> TimedJob {
    TimedJob {
        ring: 0,
        context,
        queued,
        run: Some(run),
        done: Some(done),
        dependencies: dependencies.to_vec(),
    }
}

#[test]
fn percentiles_are_values_that_occurred() {
    assert_eq!(spread(&mut []), None);
    assert_eq!(
        spread(&mut [9]),
        Some(Spread {
            count: 1,
            p50: 9,
            p99: 9,
            max: 9
        })
    );
    let mut hundred: Vec<u64> = (1..=100).rev().collect();
    assert_eq!(
        spread(&mut hundred),
        Some(Spread {
            count: 100,
            p50: 50,
            p99: 99,
            max: 100
        })
    );
    assert_eq!(
        spread(&mut [4, 1]),
        Some(Spread {
            count: 2,
            p50: 1,
            p99: 4,
            max: 4
        })
    );
}

#[test]
fn idle_counts_only_while_work_is_runnable() {
    // Idle 10..12 with the first job, busy 12..20, idle 20..25 with the second (queued at 15),
    // busy 25..30, then nothing to do until 40, idle 40..41, busy 41..50.
    let jobs = [
        job(1, 10, 12, 20, &[]),
        job(1, 15, 25, 30, &[]),
        job(1, 40, 41, 50, &[]),
    ];
    let expected = RingFigures {
        jobs: 3,
        busy_ns: 8 + 5 + 9,
        idle_while_runnable_ns: 2 + 5 + 1,
        idle_gaps: 3,
    };
    assert_eq!(rings(&jobs, 1), [expected]);
}

#[test]
fn a_dependency_and_a_blocked_head_keep_jobs_from_being_runnable() {
    // Ring 0 works 0..100. On ring 1, a job waits for that one, and one behind it in its context.
    let first = job(1, 0, 0, 100, &[]);
    let waits = TimedJob {
        ring: 1,
        ..job(2, 10, 107, 110, &[0])
    };
    let behind = TimedJob {
        ring: 1,
        ..job(2, 20, 115, 120, &[])
    };
    let jobs = [first, waits, behind];
    assert_eq!(runnable(&jobs), [Some(0), Some(100), Some(100)]);
    let figures = rings(&jobs, 2);
    assert_eq!(
        (figures[0].idle_while_runnable_ns, figures[0].idle_gaps),
        (0, 0)
    );
    assert_eq!(
        (figures[1].idle_while_runnable_ns, figures[1].idle_gaps),
        (7 + 5, 2)
    );
}

#[test]
fn a_job_that_ran_before_its_dependency_signalled_was_never_runnable() {
    let jobs = [job(1, 0, 0, 50, &[]), job(1, 1, 2, 90, &[0])];
    assert_eq!(runnable(&jobs), [Some(0), Some(2)]);
    assert_eq!(rings(&jobs, 1)[0].idle_while_runnable_ns, 0);
}

#[test]
fn what_did_not_end_lasts_until_the_end() {
    let cancelled = TimedJob {
        run: None,
        ..job(1, 0, 0, 30, &[])
    };
    let waiting = TimedJob {
        run: None,
        done: None,
        ..job(2, 40, 0, 0, &[])
    };
    let stuck = TimedJob {
        ring: 1,
        done: None,
        ..job(3, 0, 10, 0, &[])
    };
    // Queued at 50, which is the end, for a ring that is not asked for.
    let elsewhere = TimedJob {
        ring: 9,
        ..job(4, 50, 50, 50, &[77])
    };
    let figures = rings(&[cancelled, waiting, stuck, elsewhere], 2);
    assert_eq!(figures[0].idle_while_runnable_ns, 30 + 10);
    assert_eq!(
        (figures[1].busy_ns, figures[1].idle_while_runnable_ns),
        (40, 10)
    );
    assert_eq!(figures.len(), 2);
}

#[test]
fn a_dependency_that_never_signals_is_never_runnable() {
    let stuck = TimedJob {
        done: None,
        ..job(1, 0, 1, 0, &[])
    };
    let waits = TimedJob {
        run: None,
        done: None,
        ..job(2, 0, 0, 0, &[0])
    };
    assert_eq!(runnable(&[stuck, waits]), [Some(0), None]);
}
