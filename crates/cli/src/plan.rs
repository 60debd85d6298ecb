// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Plans: what is to be run, read from TOML.
//!
//! A text becomes a [`Plan`] in three steps: the `toml` crate parses it, every value is checked by
//! itself (`raw`), then names are looked up and the whole is checked (`resolve`). All problems
//! that can be seen at once are reported at once. Whoever holds a `Plan` holds one that can be run:
//! nothing of it is checked again later. `docs/plans.md` explains every key.

use std::time::Duration;

use toml::de::DeTable;

pub mod diagnostic;
pub mod expand;
mod graph;
pub mod model;
mod names;
mod prng;
mod raw;
mod reader;
mod resolve;
pub mod schema;
pub(crate) mod units;

pub use diagnostic::{Diagnostic, PlanErrors};
pub use expand::{Dependency, JobPlan, StreamPlan};
pub use model::{
    AfterReset, Bounds, CloseMode, Command, DevicePlan, DuePlan, EventKind, EventPlan, Expect,
    FaultKind, FaultPlan, FaultRule, GangPlan, JobIndex, OnDependencyError, OrchestratorPlan,
    PolicyPlan, QueueIndex, QueuePlan, RecoveryMode, ShareExpect, Spread, StreamIndex, WaitExpect,
};
pub use prng::Prng;

/// The name the built-in plan goes by in messages.
pub const TOUR_FILE: &str = "plans/tour.toml";
/// The text of the built-in plan.
pub const TOUR: &str = include_str!("../../../plans/tour.toml");

/// A plan that can be run.
///
/// # Invariants
///
/// Every index points into this plan; every cost is at most the credits of its queue; an order of
/// all jobs exists in which each job comes after those it waits for; rings and jobs in flight fit
/// into video memory. There is at least one queue, one stream and one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    name: String,
    description: Option<String>,
    seed: u64,
    device: DevicePlan,
    queues: Vec<QueuePlan>,
    streams: Vec<StreamPlan>,
    gangs: Vec<GangPlan>,
    clients: Vec<String>,
    expect: Expect,
}

impl Plan {
    /// Reads a plan. `file` is what messages call it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the text, with positions.
    pub fn parse(file: &str, text: &str) -> Result<Self, PlanErrors> {
        let mut problems = Vec::new();
        let plan = Self::parse_into(text, &mut problems);
        match (plan, PlanErrors::new(file, text, problems)) {
            (Some(plan), None) => Ok(plan),
            (_, Some(errors)) => Err(errors),
            (None, None) => {
                let unknown = Diagnostic::new(0..0, "this plan cannot be used");
                Err(PlanErrors::one(file, text, unknown))
            }
        }
    }

    fn parse_into(text: &str, problems: &mut Vec<Diagnostic>) -> Option<Self> {
        if text.trim().is_empty() {
            let problem = Diagnostic::new(0..0, "the plan is empty");
            let example = "`ringfence check` without a file checks the built-in tour";
            problems.push(
                problem
                    .expected("a name, a [[queue]] and a [[stream]]")
                    .note("help", example),
            );
            return None;
        }
        let (root, errors) = DeTable::parse_recoverable(text);
        // What the parser made up to go on is not worth a message of ours.
        if !errors.is_empty() {
            problems.extend(errors.iter().map(syntax_problem));
            return None;
        }
        let raw = raw::read(root.get_ref(), problems);
        resolve::resolve(&raw, text, problems)
    }

    /// The built-in plan.
    ///
    /// # Errors
    ///
    /// None in a released program: a test reads the tour.
    pub fn tour() -> Result<Self, PlanErrors> {
        Self::parse(TOUR_FILE, TOUR)
    }

    /// What the plan is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it shows.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// The seed to use where the command line gives none.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The device.
    pub fn device(&self) -> &DevicePlan {
        &self.device
    }

    /// The queues; [`QueueIndex`] is the place here.
    pub fn queues(&self) -> &[QueuePlan] {
        &self.queues
    }

    /// The streams; [`StreamIndex`] is the place here.
    pub fn streams(&self) -> &[StreamPlan] {
        &self.streams
    }

    /// Queues that have their slots together.
    pub fn gangs(&self) -> &[GangPlan] {
        &self.gangs
    }

    /// The names of those who own the queues.
    pub fn clients(&self) -> &[String] {
        &self.clients
    }

    /// What a run must end with.
    pub fn expect(&self) -> &Expect {
        &self.expect
    }

    /// How many jobs there are in all.
    pub fn jobs(&self) -> u64 {
        self.streams.iter().map(|stream| stream.jobs).sum()
    }

    /// How many dependencies there are in all: pairs of jobs of which one waits for the other.
    pub fn dependencies(&self) -> u64 {
        self.streams
            .iter()
            .flat_map(|stream| &stream.dependencies)
            .map(Dependency::total)
            .sum()
    }

    /// Video memory for all rings, and for the data of all jobs that can be in flight, in bytes.
    pub fn memory(&self) -> u64 {
        let rings: u64 = self.queues.iter().map(|queue| queue.ring).sum();
        let data: u64 = self.streams.iter().map(StreamPlan::memory).sum();
        rings + data
    }

    /// The least time that the pace of the streams allows the run to take.
    pub fn least_time(&self) -> Duration {
        let paced = |stream: &StreamPlan| {
            let gaps = u32::try_from(stream.jobs.saturating_sub(1)).unwrap_or(u32::MAX);
            stream
                .every
                .map_or(Duration::ZERO, |every| every.saturating_mul(gaps))
        };
        self.streams.iter().map(paced).max().unwrap_or_default()
    }
}

/// Says in the parser's words what is no TOML, and in ours what to do.
fn syntax_problem(error: &toml::de::Error) -> Diagnostic {
    let message = error.message();
    let (first, rest) = message.split_once('\n').unwrap_or((message, ""));
    let mut problem = Diagnostic::new(
        error.span().unwrap_or(0..0),
        format!("not valid TOML: {first}"),
    );
    let rest = rest.trim().replace('\n', "; ");
    match rest.strip_prefix("expected ") {
        Some(expected) => problem = problem.expected(expected),
        None if rest.is_empty() => {}
        None => problem = problem.note("help", rest),
    }
    if first.contains("duplicate key") {
        problem.note(
            "help",
            "a key stands once in each table; remove one of the two",
        )
    } else {
        let forms = "a line is `key = value`, `[table]` or `[[table]]`; texts stand in quotes";
        problem.note("help", forms)
    }
}

#[cfg(test)]
mod tests;
