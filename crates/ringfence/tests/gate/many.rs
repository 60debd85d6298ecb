// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Many threads at one gate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ringfence::Out;

use crate::builder;
use crate::common::mock::Does;
use crate::common::{done, eventually, without_deadlock, Rig};
use crate::porter::Porter;

/// Submitters against threads that open, yield and shut, against completions.
fn toggled(bypass: bool, round: u64) {
    let (rig, porter) = (Rig::new(), Porter::new());
    let queue = rig.build(builder(&porter).bypass(bypass).capacity(64).credits(4));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let togglers: Vec<_> = (0..2_u64)
            .map(|seed| {
                let (over, control) = (&over, porter.control());
                scope.spawn(move || {
                    let mut state = seed + 2 * round + 1;
                    while !over.load(Ordering::Relaxed) {
                        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                        match state >> 62 {
                            0 | 1 => control.open(),
                            2 => control.yield_now(),
                            _ => control.shut(),
                        };
                        thread::yield_now();
                    }
                    control.open();
                })
            })
            .collect();
        let clock = rig.gpu.start_clock();
        let submitters: Vec<_> = (0..3)
            .map(|thread| {
                let (rig, queue) = (&rig, &queue);
                scope.spawn(move || {
                    let jobs = (0..200).map(|job| {
                        let takes = Does::Takes(job % 3);
                        let mut work = rig.gpu.work(thread * 1000 + job, takes);
                        loop {
                            match queue.prepare(work, 1) {
                                Ok(job) => break job.submit(),
                                Err(full) => work = full.payload,
                            }
                            thread::yield_now();
                        }
                    });
                    jobs.collect::<Vec<_>>()
                })
            })
            .collect();
        let fences: Vec<_> = submitters.into_iter().map(|t| t.join().unwrap()).collect();
        over.store(true, Ordering::Relaxed);
        for toggler in togglers {
            toggler.join().unwrap();
        }
        for fence in fences.iter().flatten() {
            assert_eq!(done(fence), Ok(()));
        }
        drop(clock);
    });
    eventually("the last report is true", || {
        porter
            .last()
            .is_some_and(|last| !last.wants && last.out == Out::Open)
    });
    assert_eq!(porter.last(), queue.gate_report());
    queue.check_invariants().unwrap();
    drop(queue);
    eventually("it is detached", || porter.detached() == 1);
    rig.finish();
    porter.assert_kept_the_rules();
}

#[test]
fn no_job_is_lost_while_threads_open_and_shut() {
    for round in 0..8 {
        without_deadlock("toggling", move || toggled(round % 2 == 0, round));
    }
}
