// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Random operation sequences on core, judged by the model and by the history's checkers.
//!
//! `RINGFENCE_SEQUENCES` says how many (100 000 if unset), `RINGFENCE_SEED` plays one alone.

mod common;

use std::time::Instant;

use common::{number, play_all};
use ringfence_sim::{run, shrink, Coverage, Failure, Judges, Mutant, Plan};

const SEQUENCES: u64 = 100_000;

/// Seeds that once failed, and why.
const REGRESSIONS: &str = include_str!("seeds.txt");

fn regressions() -> Vec<u64> {
    let lines = REGRESSIONS
        .lines()
        .map(|line| line.split('#').next().unwrap_or("").trim());
    lines
        .filter(|seed| !seed.is_empty())
        .map(|seed| seed.parse().expect("seeds.txt holds whole numbers"))
        .collect()
}

/// All a person needs to look into it.
fn report(seed: u64, failure: &Failure) -> String {
    let plan = Plan::from_seed(seed);
    let mut text = format!(
        "seed {seed} fails {failure}\n\
         replay: RINGFENCE_SEED={seed} cargo test -p ringfence-sim --test property sequences\n"
    );
    match shrink(&plan, None, Judges::Both) {
        Some((plan, failure)) => {
            text += &format!(
                "made shorter, it fails {failure}\nentries: {}, reap_in_irq: {}, {:?}\n",
                plan.entries, plan.reap_in_irq, plan.config
            );
            for (step, op) in plan.ops.iter().enumerate() {
                text += &format!("{step:4}  {op:?}\n");
            }
        }
        None => text += "it does not fail again\n",
    }
    text
}

/// Plays `seeds`: what was seen, and how many operations that took.
fn play(seeds: std::ops::Range<u64>) -> (Coverage, u64) {
    let one = |seed, (seen, ops): &mut (Coverage, u64)| {
        let plan = Plan::from_seed(seed);
        seen.merge(&run(&plan, None, Judges::Both)?);
        *ops += plan.ops.len() as u64;
        Ok(())
    };
    let merge = |all: &mut (Coverage, u64), more: &(Coverage, u64)| {
        all.0.merge(&more.0);
        all.1 += more.1;
    };
    play_all(seeds, one, merge)
        .unwrap_or_else(|(seed, failure)| panic!("{}", report(seed, &failure)))
}

#[test]
fn random_sequences_do_what_the_model_says() {
    if let Some(seed) = number("RINGFENCE_SEED") {
        play(seed..seed + 1);
        return;
    }
    for seed in regressions() {
        play(seed..seed + 1);
    }
    let sequences = number("RINGFENCE_SEQUENCES").unwrap_or(SEQUENCES);
    let begun = Instant::now();
    let (coverage, ops) = play(0..sequences);
    let took = begun.elapsed();
    println!(
        "{sequences} sequences, {ops} operations in {took:.1?}: {:.0} sequences/s",
        sequences as f64 / took.as_secs_f64()
    );
    // A short run need not come by everything.
    if sequences >= 10_000 {
        let gaps = coverage.gaps();
        assert!(gaps.is_empty(), "never came by: {gaps:#?}");
    }
}

/// The first seed that finds `mutant`.
fn found_by(mutant: Mutant, judges: Judges, most: u64) -> Option<u64> {
    (0..most).find(|seed| run(&Plan::from_seed(*seed), Some(mutant), judges).is_err())
}

#[test]
fn every_bug_on_purpose_is_found_by_each_judge_alone() {
    // Most are found within a handful; the bound is the worst of them, rounded up.
    const MOST: u64 = 500;
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        for judges in [Judges::Model, Judges::History] {
            match found_by(mutant, judges, MOST) {
                Some(seed) => println!("{mutant:?} is found by {judges:?} at seed {seed}"),
                None => missed.push((mutant, judges)),
            }
        }
    }
    assert!(missed.is_empty(), "not found in {MOST} seeds: {missed:?}");
}

#[test]
fn a_failing_sequence_becomes_short_and_still_fails() {
    let mutant = Some(Mutant::ReapTwice);
    let seed = found_by(Mutant::ReapTwice, Judges::Both, 100).expect("a seed that fails");
    let plan = Plan::from_seed(seed);
    let (short, failure) = shrink(&plan, mutant, Judges::Both).expect("it still fails");
    assert!(
        short.ops.len() <= 8,
        "{} operations are left: {:?}",
        short.ops.len(),
        short.ops
    );
    let again = run(&short, mutant, Judges::Both).expect_err("the short one fails, too");
    assert_eq!((again.step, again.what), (failure.step, failure.what));
}

#[test]
fn the_same_seed_does_the_same() {
    let (one, two) = (Plan::from_seed(3), Plan::from_seed(3));
    assert_eq!(one.ops, two.ops);
    assert_ne!(one.ops, Plan::from_seed(4).ops);
}
