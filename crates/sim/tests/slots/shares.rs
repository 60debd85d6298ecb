// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Shares of queues that always have work, against what they would be if slots could be cut into pieces
//! of any size.

use ringfence_orchestrator_core::{Preemption, Weight};
use ringfence_sim::slots::{play, run, Options};

const MS: u64 = 1_000_000;
const TEN_SECONDS: u64 = 10_000 * MS;
const SLICE: u64 = 2 * MS;
const LONGEST: u64 = 5 * MS;

/// A hundred lengths from 1 us to 5 ms, most of them long: they are the hard ones, and cheap.
fn lengths() -> impl Iterator<Item = u64> {
    (0..100u64).map(|at| match at {
        0 => 1_000,
        1..=4 => 10_000 * at,
        5..=24 => 20_000 * at,
        _ => at * 50_000 + 50_000,
    })
}

fn weight(at: usize, mixed: bool) -> Weight {
    let weight = match mixed {
        true => [50, 100, 200, 400][at * 7 % 4],
        false => 100,
    };
    Weight::new(weight).expect("a weight")
}

/// The worst error of a share, in nanoseconds over ten seconds and in parts of the share.
fn worst(preemption: Preemption, slots: usize, mixed: bool) -> (u64, f64) {
    let queues = lengths().enumerate();
    let queues: Vec<_> = queues.map(|(at, job)| (weight(at, mixed), job)).collect();
    let setup = play::backlogged(&queues, slots, preemption, TEN_SECONDS);
    let outcome = run(&setup, &Options::default()).unwrap_or_else(|broken| panic!("{broken}"));
    let shares = play::shares(&setup, &outcome);
    let errors = shares
        .iter()
        .map(|(got, ideal)| (got.abs_diff(*ideal), *ideal));
    errors.fold((0, 0.0), |(most, worst), (error, ideal)| {
        (error.max(most), worst.max(error as f64 / ideal as f64))
    })
}

#[test]
fn shares_are_within_two_percent_where_jobs_can_be_preempted() {
    for (slots, mixed) in [(1, false), (8, false), (8, true), (3, true)] {
        let (ns, part) = worst(Preemption::Supported, slots, mixed);
        println!("{slots} slots, mixed {mixed}: {ns} ns, {part}");
        assert!(ns <= 2 * SLICE, "{slots} slots, mixed {mixed}: {ns} ns");
        assert!(
            slots == 1 || part < 0.02,
            "{slots} slots, mixed {mixed}: {part}"
        );
    }
}

#[test]
fn shares_are_within_a_slice_and_the_longest_job_where_they_cannot() {
    for (slots, mixed) in [(1, false), (8, false), (8, true), (3, true)] {
        let (ns, part) = worst(Preemption::RunToCompletion, slots, mixed);
        println!("{slots} slots, mixed {mixed}: {ns} ns, {part}");
        // Two jobs of a queue can be on the hardware.
        assert!(
            ns <= SLICE + 2 * LONGEST,
            "{slots} slots, mixed {mixed}: {ns} ns"
        );
        assert!(slots == 1 || mixed || part < 0.02, "{slots} slots: {part}");
    }
}
