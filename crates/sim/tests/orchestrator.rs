// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Random operation sequences on an orchestrator, judged by what its documentation promises.
//!
//! `RINGFENCE_SEQUENCES` says how many (20 000 if unset), `RINGFENCE_SEED` plays one alone.

mod common;

use std::time::Instant;

use common::number;
use ringfence_sim::orchestrator::{play, shorten, Coverage, Mutant, Plan};
use ringfence_sim::Failure;

const SEQUENCES: u64 = 20_000;

/// All a person needs to look into it.
fn report(seed: u64, failure: &Failure) -> String {
    let plan = Plan::from_seed(seed);
    let mut text = format!(
        "seed {seed} fails {failure}\n\
         replay: RINGFENCE_SEED={seed} cargo test -p ringfence-sim --test orchestrator sequences\n"
    );
    match shorten(&plan, None) {
        Some((plan, failure)) => {
            text += &format!(
                "made shorter, it fails {failure}\nseats: {}, slots: {:?}, tidy: {}\n{:?}\n{:?}\n",
                plan.seats, plan.slots, plan.tidy, plan.config, plan.rules
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
fn play_all(seeds: std::ops::Range<u64>) -> (Coverage, u64) {
    let one = |seed, (seen, ops): &mut (Coverage, u64)| {
        let plan = Plan::from_seed(seed);
        seen.merge(&play(&plan, None)?);
        *ops += plan.ops.len() as u64;
        Ok(())
    };
    let merge = |all: &mut (Coverage, u64), more: &(Coverage, u64)| {
        all.0.merge(&more.0);
        all.1 += more.1;
    };
    common::play_all(seeds, one, merge)
        .unwrap_or_else(|(seed, failure)| panic!("{}", report(seed, &failure)))
}

#[test]
fn random_sequences_keep_every_promise() {
    if let Some(seed) = number("RINGFENCE_SEED") {
        play_all(seed..seed + 1);
        return;
    }
    let sequences = number("RINGFENCE_SEQUENCES").unwrap_or(SEQUENCES);
    let begun = Instant::now();
    let (coverage, ops) = play_all(0..sequences);
    let took = begun.elapsed();
    println!(
        "{sequences} sequences, {ops} operations in {took:.1?}: {:.0} sequences/s; \
         the longest wait was {} thousandths of the bound",
        sequences as f64 / took.as_secs_f64(),
        coverage.worst_wait,
    );
    // A short run need not come by everything.
    if sequences >= 10_000 {
        let gaps = coverage.gaps();
        assert!(gaps.is_empty(), "never came by: {gaps:#?}");
    }
}

/// The first seed that finds `mutant`.
fn found_by(mutant: Mutant, most: u64) -> Option<u64> {
    (0..most).find(|seed| play(&Plan::from_seed(*seed), Some(mutant)).is_err())
}

#[test]
fn every_bug_on_purpose_is_found() {
    // Most are found within a handful; the bound is the worst of them, rounded up.
    const MOST: u64 = 100;
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        match found_by(mutant, MOST) {
            Some(seed) => println!("{mutant:?} is found at seed {seed}"),
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "not found in {MOST} seeds: {missed:?}");
}

#[test]
fn a_failing_sequence_becomes_short_and_still_fails() {
    let mutant = Mutant::BindTwice;
    let seed = found_by(mutant, 100).expect("a seed that fails");
    let (short, failure) = shorten(&Plan::from_seed(seed), Some(mutant)).expect("it still fails");
    assert!(short.ops.len() <= 6, "{:?} are left", short.ops);
    let again = play(&short, Some(mutant)).expect_err("the short one fails, too");
    assert_eq!((again.step, again.what), (failure.step, failure.what));
}
