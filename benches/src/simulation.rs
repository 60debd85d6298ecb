// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The simulator, and the plain model's runs of one queue, as two sides of a ratio.

use ringfence_sim::{run, Judges, Options, Plan, Simulator};

/// Seeds that are played in turn: enough that a batch of them is like any other.
pub(crate) const SEEDS: u64 = 2_000;

/// The next of the seeds.
fn next(seed: &mut u64) -> u64 {
    *seed = (*seed + 1) % SEEDS;
    *seed
}

/// A machine after the other in virtual time.
pub(crate) struct Simulated {
    simulator: Simulator,
    seed: u64,
}

impl Simulated {
    pub(crate) fn new() -> Self {
        Self {
            simulator: Simulator::new(Options::default()),
            seed: 0,
        }
    }

    /// Runs the next `seeds`.
    pub(crate) fn run(&mut self, seeds: u32) {
        for _ in 0..seeds {
            let seed = next(&mut self.seed);
            let ran = self.simulator.run_seed(seed);
            assert!(ran.is_ok(), "{ran:?}");
        }
    }

    /// Operations and events of a seed, on average.
    pub(crate) fn per_seed() -> (f64, f64) {
        let mut simulator = Simulator::new(Options::default());
        let (mut operations, mut events) = (0, 0);
        for seed in 0..SEEDS {
            if let Ok(one) = simulator.run_seed(seed) {
                operations += one.ops;
                events += one.events;
            }
        }
        (
            operations as f64 / SEEDS as f64,
            events as f64 / SEEDS as f64,
        )
    }
}

/// A queue after the other beside the plain model.
pub(crate) struct Modelled {
    seed: u64,
}

impl Modelled {
    pub(crate) fn new() -> Self {
        Self { seed: 0 }
    }

    /// Runs the next `seeds`.
    pub(crate) fn run(&mut self, seeds: u32) {
        for _ in 0..seeds {
            let plan = Plan::from_seed(next(&mut self.seed));
            let ran = run(&plan, None, Judges::Both);
            assert!(ran.is_ok(), "{:?}", ran.err());
        }
    }

    /// Operations of a seed, on average.
    pub(crate) fn per_seed() -> f64 {
        let operations = (0..SEEDS).map(|seed| Plan::from_seed(seed).ops.len());
        operations.sum::<usize>() as f64 / SEEDS as f64
    }
}
