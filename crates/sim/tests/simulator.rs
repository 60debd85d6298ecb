// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The simulator: thousands of seeds, the same each time, having seen everything there is to see;
//! and a planted bug is found and its plan made short.
//!
//! `RINGFENCE_SIM_SEEDS` says how many seeds (20 000 if unset), `RINGFENCE_SIM_SEED` plays one
//! alone and prints its event log.

mod common;

use std::time::{Duration, Instant};

use common::number;
use ringfence_sim::{
    shrink_plan, Canary, LogLine, Options, SimCoverage, SimOp, SimPlan, Simulator, Summary,
    Violation,
};

const SEEDS: u64 = 20_000;

/// All a person needs to look into it.
fn report(violation: &Violation, options: &Options) -> String {
    let seed = violation.seed;
    let mut text = format!(
        "{violation}\nreplay: RINGFENCE_SIM_SEED={seed} cargo test -p ringfence-sim --test simulator seeds\n"
    );
    let plan = SimPlan::from_seed(seed, options.ops);
    if let Some((short, found)) = shrink_plan(&plan, options, Duration::from_secs(20)) {
        text += &format!("made shorter: {found}\n{short}");
    }
    text
}

/// Plays `seeds` on two threads.
fn play(seeds: std::ops::Range<u64>) -> (SimCoverage, Summary) {
    let options = Options::default();
    let half = |parity: u64| {
        let mut simulator = Simulator::new(options.clone());
        let mut all = Summary::default();
        for seed in seeds.clone().filter(|seed| seed % 2 == parity) {
            match simulator.run_seed(seed) {
                Ok(summary) => all.add(&summary),
                Err(violation) => panic!("{}", report(&violation, &options)),
            }
        }
        (simulator.take_coverage(), all)
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        let (mut coverage, mut all) = half(0);
        let (seen, done) = other.join().unwrap_or_else(|panic| {
            std::panic::resume_unwind(panic);
        });
        coverage.merge(&seen);
        all.add(&done);
        (coverage, all)
    })
}

#[test]
fn seeds_end_well_and_see_everything() {
    if let Some(seed) = number("RINGFENCE_SIM_SEED") {
        let mut simulator = Simulator::new(Options {
            log: true,
            ..Options::default()
        });
        let done = simulator.run_seed(seed);
        println!("{}", LogLine::COLUMNS);
        for line in simulator.log() {
            println!("{line}");
        }
        if let Err(violation) = done {
            panic!("{}", report(&violation, &Options::default()));
        }
        return;
    }
    let seeds = number("RINGFENCE_SIM_SEEDS").unwrap_or(SEEDS);
    let begun = Instant::now();
    let (coverage, all) = play(0..seeds);
    let took = begun.elapsed();
    println!(
        "{seeds} seeds, {} operations, {} events, {} jobs in {took:.1?}: {:.2} million events/s",
        all.ops,
        all.events,
        all.jobs,
        all.events as f64 / took.as_secs_f64() / 1e6
    );
    // A short run need not come by everything.
    if seeds >= SEEDS {
        let gaps = coverage.gaps();
        assert!(gaps.is_empty(), "never came by: {gaps:#?}");
    }
}

#[test]
fn the_same_seed_is_bit_for_bit_the_same() {
    let (mut one, mut two) = (
        Simulator::new(Options::default()),
        Simulator::new(Options {
            log: true,
            ..Options::default()
        }),
    );
    let mut hashes = std::collections::HashSet::new();
    for seed in 0..300 {
        // What ran before in the same memory makes no difference.
        let first = one.run_seed(seed).expect("it ends well");
        one.run_seed(seed + 1_000_000).expect("it ends well");
        let again = one.run_seed(seed).expect("it ends well");
        let elsewhere = two.run_seed(seed).expect("it ends well");
        assert_eq!(first, again);
        assert_eq!(first, elsewhere);
        assert_eq!(two.log().len() as u64, first.events, "one line each");
        hashes.insert(first.log_hash);
    }
    assert!(hashes.len() > 290, "seeds differ: {}", hashes.len());
}

/// The first seed that finds `canary`.
fn found_by(canary: Canary, most: u64) -> Option<(Options, Violation)> {
    let options = Options {
        canary: Some(canary),
        ..Options::default()
    };
    let mut simulator = Simulator::new(options.clone());
    let found = (0..most).find_map(|seed| simulator.run_seed(seed).err());
    found.map(|violation| (options, violation))
}

#[test]
fn a_planted_bug_is_found_and_its_plan_becomes_short_and_still_fails() {
    let (options, violation) = found_by(Canary::RunAgain, 1000).expect("a seed that finds it");
    let plan = SimPlan::from_seed(violation.seed, None);
    let shrunk = shrink_plan(&plan, &options, Duration::from_secs(60));
    let (short, found) = shrunk.expect("it still fails");
    assert!(
        short.ops.len() <= 12 && short.ops.len() < plan.ops.len(),
        "{} of {} operations are left:\n{short}",
        short.ops.len(),
        plan.ops.len()
    );
    let again = Simulator::new(options).run(&short);
    assert_eq!(again.expect_err("the short one fails, too"), found);
    // Without the bug it ends well.
    let sound = Simulator::new(Options::default()).run(&short);
    sound.expect("no bug, no violation");
}

#[test]
fn the_number_of_operations_can_be_given() {
    let options = Options {
        ops: Some(3),
        ..Options::default()
    };
    let mut simulator = Simulator::new(options);
    let done = simulator.run_seed(5).expect("it ends well");
    assert_eq!(done.ops, 3);
    assert_eq!(SimPlan::from_seed(5, Some(3)).ops.len(), 3);
}

#[test]
fn the_model_of_the_property_tests_agrees_down_to_the_next_effect() {
    let options = Options {
        oracle: true,
        ..Options::default()
    };
    let (mut with, mut without) = (
        Simulator::new(options.clone()),
        Simulator::new(Options::default()),
    );
    for seed in 0..2000 {
        let done = with.run_seed(seed);
        let done = done.unwrap_or_else(|violation| panic!("{}", report(&violation, &options)));
        assert_eq!(Ok(done), without.run_seed(seed), "it only listens");
    }
    // A kick that is lost is noticed at once, and not only when nobody comes.
    let mut simulator = Simulator::new(Options {
        canary: Some(Canary::KickLost),
        ..options
    });
    let found = (0..100).find_map(|seed| simulator.run_seed(seed).err());
    let what = found.expect("it is found").what;
    assert!(
        what.contains("core says None, the model Some(Kick)"),
        "{what}"
    );
}

#[test]
fn a_panic_is_a_violation_and_the_next_run_is_sound() {
    let mut simulator = Simulator::new(Options {
        log: true,
        ..Options::default()
    });
    let before = simulator.run_seed(3).expect("it holds");
    // A machine without a queue: nobody can be the one that an operation chooses.
    let plan = SimPlan {
        seed: 9,
        ops: vec![SimOp::Pass(1), SimOp::Interrupt { queue: 0 }],
        ..SimPlan::default()
    };
    let found = simulator.run(&plan).expect_err("it panics");
    assert_eq!((found.seed, found.step), (9, 1), "{found}");
    assert!(found.what.starts_with("panicked: "), "{found}");
    assert_eq!(simulator.run_seed(3), Ok(before));
    let (short, again) =
        shrink_plan(&plan, &Options::default(), Duration::from_secs(60)).expect("it panics again");
    assert_eq!(short.ops.len(), 1);
    assert_eq!(again.what, found.what);
}
