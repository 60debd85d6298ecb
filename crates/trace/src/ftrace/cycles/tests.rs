// SPDX-License-Identifier: GPL-2.0 OR MIT
use proptest::prelude::*;

use super::find;

/// Whether every job could run, by running all that can until none is left.
fn all_can_run(dependencies: &[Vec<usize>], before: &[Option<usize>]) -> bool {
    let mut ran = vec![false; dependencies.len()];
    loop {
        let next = (0..ran.len()).find(|&job| {
            let ready = |&on: &usize| ran[on];
            !ran[job] && dependencies[job].iter().all(ready) && before[job].iter().all(ready)
        });
        match next {
            Some(job) => ran[job] = true,
            None => return ran.iter().all(|&ran| ran),
        }
    }
}

fn without(dependencies: &[Vec<usize>], dropped: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let keep = |job: usize, list: &[usize]| {
        list.iter()
            .copied()
            .filter(|&on| !dropped.contains(&(job, on)))
            .collect()
    };
    dependencies
        .iter()
        .enumerate()
        .map(|(job, list)| keep(job, list))
        .collect()
}

#[test]
fn a_job_that_waits_for_itself() {
    assert_eq!(find(&[vec![0]], &[None]), [(0, 0)]);
}

#[test]
fn a_queue_that_waits_for_its_own_future() {
    // Job 1 is behind job 0 in its context, and job 0 waits for it.
    assert_eq!(find(&[vec![1], vec![]], &[None, Some(0)]), [(0, 1)]);
}

#[test]
fn waiting_for_a_later_job_is_no_circle_by_itself() {
    assert_eq!(find(&[vec![1], vec![2], vec![]], &[None; 3]), []);
}

#[test]
fn what_only_hangs_on_a_circle_is_kept() {
    // 1 and 2 wait for each other; 0 waits for 3, which waits for the circle.
    let dependencies = [vec![3], vec![2], vec![1], vec![2]];
    assert_eq!(find(&dependencies, &[None; 4]), [(1, 2)]);
}

#[test]
fn a_very_long_chain_does_not_overflow_the_stack() {
    let jobs = 300_000;
    let chain: Vec<Vec<usize>> = (0..jobs).map(|job| vec![(job + 1) % jobs]).collect();
    // All in one circle: each waits for a later one but the last.
    assert_eq!(find(&chain, &vec![None; jobs]).len(), jobs - 1);
}

proptest! {
    #[test]
    fn afterwards_every_job_can_run_and_nothing_was_dropped_for_nothing(
        contexts in prop::collection::vec(0_usize..4, 1..12),
        edges in prop::collection::vec((0_usize..12, 0_usize..12), 0..20),
    ) {
        let jobs = contexts.len();
        let before: Vec<Option<usize>> = (0..jobs)
            .map(|job| (0..job).rev().find(|&other| contexts[other] == contexts[job]))
            .collect();
        let mut dependencies = vec![Vec::new(); jobs];
        for (job, on) in edges {
            if job < jobs && on < jobs && !dependencies[job].contains(&on) {
                dependencies[job].push(on);
            }
        }
        let dropped = find(&dependencies, &before);
        prop_assert!(all_can_run(&without(&dependencies, &dropped), &before));
        if all_can_run(&dependencies, &before) {
            prop_assert!(dropped.is_empty());
        }
    }
}
