// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A whole machine in virtual time: many queues with fences between them, a device that fails in
//! every way, clients, recoveries. No thread, no clock: a seed and a commit name a run for ever.
//!
//! A run has two phases. In the *fault phase* the operations of a [`SimPlan`] happen, one after the
//! other, each a small step of some client, visit, device or recovery, so that anything may come
//! between any two. In the *liveness phase* faults stop, what hangs is recovered as a driver would,
//! and every job must end, every queue close and nothing be left. After every step each queue that
//! was touched is judged.
//!
//! ```
//! use ringfence_sim::{Options, Simulator};
//!
//! let mut simulator = Simulator::new(Options::default());
//! let first = simulator.run_seed(7)?;
//! assert_eq!(first, simulator.run_seed(7)?, "bit for bit the same");
//! # Ok::<(), ringfence_sim::Violation>(())
//! ```

mod canary;
pub(crate) mod coverage;
mod device;
mod fences;
mod log;
mod plan;
mod port;
mod scenario;
mod seat;
mod shrink;
mod world;

use std::any::Any;
use std::fmt;
use std::panic::{catch_unwind, AssertUnwindSafe};

pub use canary::Canary;
pub use coverage::{CoverageRow, SimCoverage};
pub use log::{Detail, Event, LogLine};
pub use plan::{Inside, SimOp, SimPlan};
pub use scenario::{Patience, Rates, Reach, Rest, Scenario, Shape};
pub use shrink::shrink_plan;

use canary::Plant;
use world::World;

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Operations of the fault phase; `None` for as many as the seed draws.
    pub ops: Option<u32>,
    /// Keep the event log, for [`Simulator::log`].
    pub log: bool,
    /// Put the model of the property tests beside each queue: it must say the same as core, down to
    /// the very next effect. Takes several times as long.
    pub oracle: bool,
    /// The bug to plant.
    #[cfg(feature = "canary")]
    pub canary: Option<Canary>,
}

impl Options {
    fn plant(&self) -> Plant {
        #[cfg(feature = "canary")]
        return Plant::new(self.canary);
        #[cfg(not(feature = "canary"))]
        Plant::default()
    }
}

/// What a run came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Events: what core was told, what it asked for, what was done about that, what the device
    /// did.
    pub events: u64,
    /// Operations of the fault phase.
    pub ops: u64,
    /// Jobs armed.
    pub jobs: u64,
    /// Virtual time at the end, in nanoseconds.
    pub virtual_ns: u64,
    /// A hash of the event log.
    pub log_hash: u64,
    /// The longest time from close to closed, in virtual nanoseconds.
    pub longest_teardown_ns: u64,
    /// The longest recovery, in virtual nanoseconds.
    pub longest_recovery_ns: u64,
    /// How often the job that was replayed most was.
    pub most_replays: u64,
}

impl Summary {
    /// Adds the counts of another run and keeps the worse of each worst case. Hashes are combined
    /// so that the order of runs does not matter.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.ops += other.ops;
        self.jobs += other.jobs;
        self.virtual_ns = self.virtual_ns.saturating_add(other.virtual_ns);
        self.log_hash = self.log_hash.wrapping_add(other.log_hash);
        self.longest_teardown_ns = self.longest_teardown_ns.max(other.longest_teardown_ns);
        self.longest_recovery_ns = self.longest_recovery_ns.max(other.longest_recovery_ns);
        self.most_replays = self.most_replays.max(other.most_replays);
    }
}

/// A promise that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The seed of the plan.
    pub seed: u64,
    /// The operation; the number of operations for what came to light in the liveness phase.
    pub step: usize,
    /// What is not as it should be.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, step {}: {}", self.seed, self.step, self.what)
    }
}

impl std::error::Error for Violation {}

/// Runs plans, one after the other, in the same memory. One for each thread.
#[derive(Debug)]
pub struct Simulator {
    options: Options,
    world: World,
    plan: SimPlan,
}

impl Simulator {
    /// Makes one.
    pub fn new(options: Options) -> Self {
        Self {
            world: World::new(options.plant()),
            options,
            plan: SimPlan::default(),
        }
    }

    /// Runs the plan that `seed` names.
    ///
    /// # Errors
    ///
    /// The first promise that is broken.
    pub fn run_seed(&mut self, seed: u64) -> Result<Summary, Violation> {
        let mut plan = std::mem::take(&mut self.plan);
        plan.draw(seed, self.options.ops);
        let done = self.run(&plan);
        self.plan = plan;
        done
    }

    /// Runs a plan.
    ///
    /// # Errors
    ///
    /// The first promise that is broken. That nothing panics is one of them.
    pub fn run(&mut self, plan: &SimPlan) -> Result<Summary, Violation> {
        let mut at = 0;
        let played = catch_unwind(AssertUnwindSafe(|| self.play(plan, &mut at)));
        let played = played.unwrap_or_else(|panic| {
            self.forget_the_world();
            Err(format!("panicked: {}", message(&*panic)))
        });
        played.map_err(|what| Violation {
            seed: plan.seed,
            step: at,
            what,
        })
    }

    /// Plays a plan; `at` says which operation.
    fn play(&mut self, plan: &SimPlan, at: &mut usize) -> Result<Summary, String> {
        let world = &mut self.world;
        world.reset(&plan.scenario, &self.options)?;
        for (step, op) in plan.ops.iter().enumerate() {
            *at = step;
            world.play(step, op)?;
        }
        *at = plan.ops.len();
        world.finish(*at)?;
        world.count_steps();
        Ok(Summary {
            events: world.recorder.events,
            ops: plan.ops.len() as u64,
            virtual_ns: world.now,
            log_hash: world.recorder.hash,
            ..world.summary
        })
    }

    /// Begins with a new one, but for what was seen and written down: a panic may have left
    /// anything behind.
    fn forget_the_world(&mut self) {
        let old = std::mem::replace(&mut self.world, World::new(self.options.plant()));
        self.world.coverage = old.coverage;
        self.world.recorder = old.recorder;
    }

    /// What all runs so far have seen.
    pub fn coverage(&self) -> &SimCoverage {
        &self.world.coverage
    }

    /// What all runs so far have seen; counting begins anew.
    pub fn take_coverage(&mut self) -> SimCoverage {
        std::mem::take(&mut self.world.coverage)
    }

    /// The event log of the last run, as far as it got, where [`Options::log`] says so.
    pub fn log(&self) -> &[LogLine] {
        &self.world.recorder.lines
    }
}

/// What a panic says.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of an unknown kind")
}
