// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Bugs that are planted are found, each within its number of seeds.

use ringfence_orchestrator_core::{Preemption, Weight};
use ringfence_sim::slots::{play, run, Broken, Options, Setup, SlotCanary};

/// How many seeds from 0 on may be needed: more than twice as many as are.
#[rustfmt::skip]
const WITHIN: [(SlotCanary, u64); 16] = [
    (SlotCanary::DrainIsFree, 50),
    (SlotCanary::SleeperOwedEverything, 1),
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

/// Two queues on one slot, of which one begins when the other has had it for two seconds.
fn long_sleeper(seed: u64) -> Setup {
    const MS: u64 = 1_000_000;
    let queue = (Weight::DEFAULT, MS);
    let mut setup = play::backlogged(&[queue; 2], 1, Preemption::Supported, 4_000 * MS);
    setup.clients[1].starts_at = 2_000 * MS;
    setup.seed = seed;
    setup
}

/// The world in which to look for a bug: what a long sleeper is owed seldom matters in a random one.
fn world(canary: SlotCanary, seed: u64) -> Setup {
    match canary {
        SlotCanary::SleeperOwedEverything => long_sleeper(seed),
        _ => Setup::from_seed(seed),
    }
}

/// Looks for a bug from `from` on: how many seeds that took, and what was found.
fn find(canary: SlotCanary, from: u64, most: u64) -> Option<(u64, Broken)> {
    (0..most).find_map(|nth| {
        let found = run(&world(canary, from + nth), &with(canary)).err()?;
        Some((nth + 1, found))
    })
}

#[test]
fn every_bug_is_found_within_its_number_of_seeds() {
    for canary in SlotCanary::ALL {
        let most = WITHIN.iter().find(|(other, _)| other == canary);
        let most = most.unwrap_or_else(|| panic!("{canary} has no number")).1;
        let (needed, broken) =
            find(*canary, 0, most).unwrap_or_else(|| panic!("{canary} was not found in {most}"));
        println!("{canary}: found by seed {} of {most}: {broken}", needed - 1);
        let sound = run(&world(*canary, broken.seed), &Options::default());
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
