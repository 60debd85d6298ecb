// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a queue must do where existing schedulers went wrong, one short story each.
//!
//! The names are the conformance list: other hosts tell the same stories under the same names.

#[path = "scenarios/gate.rs"]
mod gate;
#[path = "scenarios/host.rs"]
mod host;
#[path = "scenarios/line.rs"]
mod line;
#[path = "scenarios/recovery.rs"]
mod recovery;
#[path = "scenarios/rooms.rs"]
mod rooms;
#[path = "scenarios/teardown.rs"]
mod teardown;
#[path = "scenarios/timeouts.rs"]
mod timeouts;

/// A name and the story that goes with it.
pub(crate) type Scenario = (&'static str, fn());

/// Makes each story a test and a line of its module's `SCENARIOS`.
macro_rules! scenarios {
    ($($(#[$doc:meta])* fn $name:ident() $body:block)*) => {
        $($(#[$doc])* #[test] fn $name() $body)*

        /// The stories of this module, by name.
        pub(crate) const SCENARIOS: &[$crate::Scenario] = &[$((stringify!($name), $name)),*];
    };
}
pub(crate) use scenarios;

/// All stories, by name.
const SCENARIOS: [&[Scenario]; 6] = [
    gate::SCENARIOS,
    line::SCENARIOS,
    recovery::SCENARIOS,
    rooms::SCENARIOS,
    teardown::SCENARIOS,
    timeouts::SCENARIOS,
];

#[test]
fn every_scenario_has_a_name_of_its_own_and_can_be_told_from_the_list() {
    let all: Vec<_> = SCENARIOS.into_iter().flatten().collect();
    let mut names: Vec<_> = all.iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all.len());
    for (_, tell) in all {
        tell();
    }
}
