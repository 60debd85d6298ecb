// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Bugs that are planted are found, each within its number of seeds.

use ringfence_sim::slots::{run, Broken, Options, Setup, SlotCanary};

/// How many seeds from 0 on may be needed: more than twice as many as are. What a long sleeper is owed
/// seldom matters in a random world, so that bug is looked for where it was found; random operations
/// (`tests/orchestrator.rs`) find it in a hundred.
#[rustfmt::skip]
const WITHIN: [(SlotCanary, u64); 16] = [
    (SlotCanary::DrainIsFree, 50),
    (SlotCanary::SleeperOwedEverything, 50),
    (SlotCanary::GroupOpenedOneByOne, 50),
    (SlotCanary::NoGuarantee, 100),
    (SlotCanary::VacatedTooEarly, 50),
    (SlotCanary::YieldNotWaitedFor, 50),
    (SlotCanary::GateNotShut, 50),
    (SlotCanary::GateOpensEarly, 50),
    (SlotCanary::ReportLost, 50),
    (SlotCanary::OldReportBelieved, 100),
    (SlotCanary::LossNotTold, 50),
    (SlotCanary::TimerLost, 400),
    (SlotCanary::ReadyNotTold, 50),
    (SlotCanary::StuckIgnored, 100),
    (SlotCanary::RepairNotTold, 100),
    (SlotCanary::ReplayForgetsOne, 50),
];

fn with(canary: SlotCanary) -> Options {
    Options {
        canary: Some(canary),
        ..Options::default()
    }
}

/// The first seed to look at.
fn first(canary: SlotCanary) -> u64 {
    match canary {
        SlotCanary::SleeperOwedEverything => 1_560,
        _ => 0,
    }
}

/// Looks for a bug from `from` on: how many seeds that took, and what was found.
fn find(canary: SlotCanary, from: u64, most: u64) -> Option<(u64, Broken)> {
    (0..most).find_map(|nth| {
        let found = run(&Setup::from_seed(from + nth), &with(canary)).err()?;
        Some((nth + 1, found))
    })
}

#[test]
fn every_bug_is_found_within_its_number_of_seeds() {
    for canary in SlotCanary::ALL {
        let most = WITHIN.iter().find(|(other, _)| other == canary);
        let most = most.unwrap_or_else(|| panic!("{canary} has no number")).1;
        let (needed, broken) = find(*canary, first(*canary), most)
            .unwrap_or_else(|| panic!("{canary} was not found in {most}"));
        println!("{canary}: found by seed {} of {most}: {broken}", needed - 1);
        let sound = run(&Setup::from_seed(broken.seed), &Options::default());
        sound.unwrap_or_else(|broken| panic!("{canary}: without the bug, too: {broken}"));
    }
}

#[test]
fn names_name_bugs() {
    for canary in SlotCanary::ALL {
        assert_eq!(canary.name().parse(), Ok(*canary));
    }
    assert!("no-such-bug".parse::<SlotCanary>().is_err());
}

/// For whoever changes what seeds draw: how many seeds each bug takes, in five ranges.
#[test]
#[ignore = "prints what the table is made of"]
fn measure() {
    for canary in SlotCanary::ALL {
        let needs = [0, 1, 2, 3, 4].map(|range| {
            let found = find(*canary, range * 1_000_000, 400);
            found.map(|(needed, broken)| (needed, broken.what))
        });
        println!("{canary}: {needs:?}");
    }
}
