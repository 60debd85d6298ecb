// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Drives core with random operations, beside a naive model and checkers of its history.
//!
//! A seed names a [`Plan`]: a queue of some shape and a sequence of [`Op`]s. [`run`] plays it on
//! core and, after every step, compares core with the model (every job's state, credits,
//! statistics, the very next effect) and with the promises a host relies on; then it lets
//! everything come to an end and looks whether it did. The same seed always does the same.
//!
//! A [`Simulator`] goes further: many queues with fences between them, a device that fails, virtual
//! time, recoveries. Its plans are [`SimPlan`]s, of which [`Op`] is a part.
//!
//! The decisions of an orchestrator are judged likewise, in [`orchestrator`].
//!
//! [`slots`] has many queues share few hardware slots.
//!
//! ```
//! use ringfence_sim::{run, Judges, Plan};
//!
//! let coverage = run(&Plan::from_seed(1), None, Judges::Both)?;
//! // One run sees little of what there is to see.
//! assert!(!coverage.gaps().is_empty());
//! # Ok::<(), ringfence_sim::Failure>(())
//! ```

mod canary;
mod coverage;
mod element;
mod judge;
mod mutant;
mod op;
mod oracle;
pub mod orchestrator;
mod prng;
mod shrink;
mod simulator;
pub mod slots;
mod swarm;
mod world;

pub use coverage::Coverage;
pub use mutant::Mutant;
pub use op::{Foul, Op, Pick, ReplayAnswer, RunAnswer, Storage, Verdict, WalkAnswer};
pub use prng::Prng;
pub use shrink::shrink;
pub use simulator::{
    shrink_plan, Canary, CoverageRow, Detail, Event, Inside, LogLine, Options, Patience, Rates,
    Reach, Rest, Scenario, Shape, SimCoverage, SimOp, SimPlan, Simulator, Summary, Violation,
};
pub use swarm::Plan;
pub use world::{run, Failure, Judges};
