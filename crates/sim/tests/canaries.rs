// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Planted bugs: each is found within a stated number of seeds, its plan is made short, and the
//! story of each known defect goes wrong with its bug and goes well without.
//!
//! `docs/reliability.md` has the table of bugs, stories and seeds; it is checked here.

#[path = "canaries/stories.rs"]
mod stories;
#[path = "canaries/table.rs"]
mod table;

use std::time::Duration;

use ringfence_sim::{shrink_plan, Canary, Options, SimPlan, Simulator, Violation};
use stories::{Story, STORIES};

/// Within how many seeds each bug must be found: at least ten times what it takes on the average, so
/// that a change of what seeds draw does not matter.
#[rustfmt::skip]
const WITHIN: [(Canary, u64); 59] = [
    (Canary::JobsLeakAtTeardown, 100),
    (Canary::CloseBoundIgnored, 100),
    (Canary::CancelledOutOfOrder, 100),
    (Canary::PayloadDroppedInRun, 10000),
    (Canary::FenceNeedsItsQueue, 100),
    (Canary::PayloadDroppedByDriver, 100),
    (Canary::UnbindEndsEarly, 10000),
    (Canary::UnbindNotTold, 100),
    (Canary::PayloadDroppedTwice, 100),
    (Canary::ClosedEarly, 10000),
    (Canary::ClosedTwice, 100),
    (Canary::DrainIsCancel, 100),
    (Canary::CancelIsDrain, 100),
    (Canary::WorkInFenceCallback, 100),
    (Canary::WaitAddedInFenceCallback, 100),
    (Canary::FlagBeforeCallbacks, 100),
    (Canary::DropInInterrupt, 100),
    (Canary::RunOnSubmitter, 100),
    (Canary::KickLost, 100),
    (Canary::IdleWithoutALook, 1000),
    (Canary::WorkerNeverRests, 100),
    (Canary::UsedAfterPush, 100),
    (Canary::ResourceOfAnotherQueue, 100),
    (Canary::DependencySkipped, 100),
    (Canary::DependencyErrorLost, 100),
    (Canary::ErrorLost, 100),
    (Canary::DroppedJobForgotten, 1000),
    (Canary::CancelForgotten, 100),
    (Canary::SignalTwice, 100),
    (Canary::CreditsLeak, 100),
    (Canary::NumbersDoNotWrap, 1000),
    (Canary::CompletionLost, 1000),
    (Canary::SpuriousCompletes, 100),
    (Canary::PayloadDroppedInTimeout, 10000),
    (Canary::FinishedJobTimesOut, 100),
    (Canary::JobWithoutHangLost, 100),
    (Canary::TimerForFinishedJob, 100),
    (Canary::ExtensionsUnbounded, 100),
    (Canary::TimerLost, 100),
    (Canary::FinishedJobStrikes, 1000),
    (Canary::SuspendedTimeCounts, 10000),
    (Canary::TwoResetsAtOnce, 1000),
    (Canary::RunAgain, 100),
    (Canary::WalkWithoutStop, 10000),
    (Canary::StopDoesNotWait, 1000),
    (Canary::StopForgotten, 100),
    (Canary::WalkOutOfOrder, 100),
    (Canary::StaleCompletionAccepted, 10000),
    (Canary::ReplayGetsANewFence, 100),
    (Canary::InnocentPunished, 100),
    (Canary::GuiltyReplayed, 1000),
    (Canary::RecoveryNotTold, 1000),
    (Canary::RestartForgotten, 100),
    (Canary::BanIgnored, 100),
    (Canary::MovedJobForgotten, 100),
    (Canary::RoomPutBackTwice, 1000),
    (Canary::ReportLost, 100),
    (Canary::YieldForgotten, 100),
    (Canary::ShutTimeCounts, 10000),
];

fn with(canary: Canary) -> Options {
    Options {
        canary: Some(canary),
        ..Options::default()
    }
}

fn within(canary: Canary) -> u64 {
    let found = WITHIN.iter().find(|(other, _)| *other == canary);
    found.expect("every bug has its number").1
}

/// Looks for a bug from `from` on: how many seeds that took, and what was found.
fn find(canary: Canary, from: u64, most: u64) -> Option<(u64, Violation)> {
    let mut simulator = Simulator::new(with(canary));
    (0..most).find_map(|nth| {
        let found = simulator.run_seed(from + nth).err()?;
        Some((nth + 1, found))
    })
}

/// Does `each` for all bugs, on two threads.
fn for_all(each: impl Fn(Canary) + Sync) {
    let half = |parity| {
        let all = Canary::ALL.iter().enumerate();
        for (_, canary) in all.filter(|(at, _)| at % 2 == parity) {
            each(*canary);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| half(1));
        half(0);
    });
}

#[test]
fn every_bug_is_found_within_its_number_of_seeds_and_its_short_plan_shows_it() {
    for_all(|canary| {
        let most = within(canary);
        let (needed, violation) = find(canary, 0, most)
            .unwrap_or_else(|| panic!("{canary} was not found within {most} seeds"));
        println!(
            "{canary}: found by seed {} of {most}: {violation}",
            needed - 1
        );
        let plan = SimPlan::from_seed(violation.seed, None);
        let shrunk = shrink_plan(&plan, &with(canary), Duration::from_secs(1));
        let (short, found) = shrunk.expect("the plan still fails");
        assert!(short.ops.len() <= plan.ops.len());
        let again = Simulator::new(with(canary)).run(&short);
        assert_eq!(
            again.expect_err("the short plan fails, too"),
            found,
            "{canary}"
        );
        let sound = Simulator::new(Options::default()).run(&short);
        sound.unwrap_or_else(|found| panic!("{canary}: without the bug, too: {found}\n{short}"));
    });
}

#[test]
fn nothing_is_found_in_the_same_seeds_without_a_bug() {
    let most = WITHIN.iter().map(|(_, within)| *within).max();
    let mut simulator = Simulator::new(Options::default());
    for seed in 0..most.expect("there are bugs") {
        simulator.run_seed(seed).expect("no bug, no violation");
    }
}

#[test]
fn names_name_bugs() {
    let mut names: Vec<_> = Canary::ALL.iter().map(|canary| canary.name()).collect();
    for name in &names {
        let found: Canary = name.parse().expect("a name is a name");
        assert_eq!(found.name(), *name);
        assert!(WITHIN.iter().any(|(canary, _)| *canary == found), "{name}");
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Canary::ALL.len());
    assert!("no-such-bug".parse::<Canary>().is_err());
}

/// A story goes well, and its bug is noticed in it, for what it is.
fn tell(name: &str) {
    let story = STORIES.iter().find(|story| story.name == name);
    let Story {
        canary, says, plan, ..
    } = story.expect("it is in the list");
    let plan = plan();
    let done = Simulator::new(Options::default()).run(&plan);
    done.unwrap_or_else(|found| panic!("{name} without a bug: {found}"));
    let found = Simulator::new(with(*canary)).run(&plan);
    let found = found.expect_err("the bug is noticed");
    assert!(found.what.contains(says), "{name} with {canary}: {found}");
}

/// For whoever changes what seeds draw: how many seeds each bug takes, in five ranges.
#[test]
#[ignore = "prints what the table is made of"]
fn measure() {
    for canary in Canary::ALL {
        let needs = [0, 1, 2, 3, 4].map(|range| {
            let found = find(*canary, range * 1_000_000, 30_000);
            found.expect("the number allows for it").0
        });
        let average = needs.iter().sum::<u64>().div_ceil(5);
        println!("{canary}: {average} {needs:?}");
    }
}
