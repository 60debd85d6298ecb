// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Many queues, few hardware slots: the orchestrator, real queues behind their gates, clients, and a
//! device whose contexts execute only while they are on a slot, all in virtual time.
//!
//! A [`Setup`] says what there is. [`Setup::from_seed`] draws one in which everything goes wrong that
//! can; [`cases`] has the fairness scenarios of the kernel's own scheduler, and [`play`](mod@play) plays
//! them. [`run`] lives through a setup until everything has come to rest, and judges it: no slot has two
//! contexts, no group is half resident, no run callback begins while its gate is not open or its context
//! is off its slot, no time counts for who has no slot, every job ends exactly once, what executes is
//! charged for, nobody waits longer than [`FairConfig::longest_wait`] says, and in the end everything
//! can be taken down.
//!
//! ```
//! use ringfence_sim::slots::{run, Options, Setup};
//!
//! let first = run(&Setup::from_seed(7), &Options::default())?;
//! let again = run(&Setup::from_seed(7), &Options::default())?;
//! assert_eq!(first.summary.hash, again.summary.hash, "the same to the last event");
//! # Ok::<(), ringfence_sim::slots::Broken>(())
//! ```
//!
//! [`FairConfig::longest_wait`]: ringfence_orchestrator_core::FairConfig::longest_wait

mod canary;
pub mod cases;
mod clients;
mod device;
mod draw;
pub mod fluid;
mod host;
mod judge;
mod line;
pub mod play;
mod rescue;
mod rule;
mod seen;
mod setup;
mod visits;
mod world;

use std::fmt;
use std::panic::{catch_unwind, AssertUnwindSafe};

pub use canary::SlotCanary;
pub use clients::ClientReport;
pub use seen::Seen;
pub use setup::{Act, ClientSetup, Load, QueueSetup, Rates, Rule, Setup};

use canary::Plant;
use world::World;

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Keep the events, for [`Outcome::log`].
    pub log: bool,
    /// The bug to plant.
    #[cfg(feature = "canary")]
    pub canary: Option<SlotCanary>,
}

/// What a run came to, in few numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Events.
    pub events: u64,
    /// Jobs that were submitted.
    pub jobs: u64,
    /// Virtual time at the end, in nanoseconds.
    pub virtual_ns: u64,
    /// Slot time that contexts have executed, in nanoseconds.
    pub executed_ns: u64,
    /// The longest time that anybody waited for a slot, in nanoseconds.
    pub longest_wait_ns: u64,
    /// A hash of all events.
    pub hash: u64,
}

impl Summary {
    /// Adds another run. Hashes are combined so that the order of runs does not matter.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.jobs += other.jobs;
        self.virtual_ns = self.virtual_ns.saturating_add(other.virtual_ns);
        self.executed_ns = self.executed_ns.saturating_add(other.executed_ns);
        self.longest_wait_ns = self.longest_wait_ns.max(other.longest_wait_ns);
        self.hash = self.hash.wrapping_add(other.hash);
    }
}

/// What came of one queue. Times are in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueReport {
    /// How long it has executed.
    pub executed_ns: u64,
    /// Of that, until [`Setup::quiet_at`].
    pub executed_then_ns: u64,
    /// How long it was charged for.
    pub busy_ns: u64,
    /// The longest time that it has waited for a slot.
    pub longest_wait_ns: u64,
    /// Jobs that have ended.
    pub jobs: u64,
    /// When the last of them did.
    pub last_end: u64,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// In few numbers.
    pub summary: Summary,
    /// Of each queue, in the setup's order.
    pub queues: Vec<QueueReport>,
    /// Of each client.
    pub clients: Vec<ClientReport>,
    /// How many cycles one was before another at the most, while both were at it.
    pub apart: u64,
    /// What was seen.
    pub seen: Seen,
    /// The events, where [`Options::log`] says so.
    pub log: Vec<String>,
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The seed of the setup.
    pub seed: u64,
    /// When, in virtual nanoseconds.
    pub at: u64,
    /// What is not as it should be.
    pub what: String,
    /// The events up to there, where [`Options::log`] says so.
    pub log: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, at {} ns: {}", self.seed, self.at, self.what)
    }
}

impl std::error::Error for Broken {}

/// Lives through a setup until nothing is left to happen, and judges it.
///
/// # Errors
///
/// The first promise that is broken. That nothing panics is one of them.
pub fn run(setup: &Setup, options: &Options) -> Result<Outcome, Broken> {
    let plant = Plant {
        #[cfg(feature = "canary")]
        planted: options.canary,
    };
    let broken = |at, what, log| Broken {
        seed: setup.seed,
        at,
        what,
        log,
    };
    let mut world = World::new(setup.clone(), plant, options.log)
        .map_err(|what| broken(0, what, Vec::new()))?;
    let lived = catch_unwind(AssertUnwindSafe(|| world.live()));
    let lived = lived.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!(
            "panicked: {}",
            text.unwrap_or("of an unknown kind")
        ))
    });
    let log = world.log.take().unwrap_or_default();
    match lived {
        Ok(()) => Ok(world.outcome(log)),
        Err(what) => Err(broken(world.now, what, log)),
    }
}

impl World {
    /// From the beginning until all has been taken down.
    fn live(&mut self) -> world::Verdict {
        self.run()?;
        self.finish()
    }

    fn outcome(self, log: Vec<String>) -> Outcome {
        let now = self.now;
        let queues = self
            .lines
            .iter()
            .enumerate()
            .map(|(queue, line)| QueueReport {
                executed_ns: self.device.executed(queue, now),
                executed_then_ns: line.executed_then,
                busy_ns: line.busy,
                longest_wait_ns: line.longest_wait,
                jobs: line.ended,
                last_end: line.last_end,
            });
        let queues: Vec<QueueReport> = queues.collect();
        Outcome {
            summary: Summary {
                events: self.events,
                jobs: self.lines.iter().map(|line| line.submitted).sum(),
                virtual_ns: now,
                executed_ns: queues.iter().map(|queue| queue.executed_ns).sum(),
                longest_wait_ns: queues.iter().map(|q| q.longest_wait_ns).max().unwrap_or(0),
                hash: self.hash,
            },
            queues,
            clients: self.clients.iter().map(|client| client.report).collect(),
            apart: self.apart,
            seen: self.seen,
            log,
        }
    }
}
