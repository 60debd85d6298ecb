// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Makes a failing plan shorter and its scenario simpler.

use std::time::{Duration, Instant};

use super::scenario::Rates;
use super::{Options, SimOp, SimPlan, Simulator, Violation};

/// A plan that still fails, in whatever way, with its failure: no operation can be taken out of
/// it, and no fault rate, unless `patience` was over before. `None` where `plan` does not fail.
pub fn shrink_plan(
    plan: &SimPlan,
    options: &Options,
    patience: Duration,
) -> Option<(SimPlan, Violation)> {
    let mut shrinker = Shrinker {
        simulator: Simulator::new(Options {
            log: false,
            ..options.clone()
        }),
        best: plan.clone(),
        found: None,
        until: Instant::now() + patience,
    };
    shrinker.found = shrinker.simulator.run(plan).err();
    let step = shrinker.found.as_ref()?.step;
    shrinker.best.ops.truncate(step.saturating_add(1));
    while shrinker.ops() | shrinker.scenario() | shrinker.steps() {}
    let found = shrinker.found?;
    Some((shrinker.best, found))
}

struct Shrinker {
    simulator: Simulator,
    best: SimPlan,
    found: Option<Violation>,
    until: Instant,
}

impl Shrinker {
    /// Keeps `trial` if it fails, too.
    fn keep(&mut self, mut trial: SimPlan) -> bool {
        match self.simulator.run(&trial) {
            Ok(_) => false,
            Err(found) => {
                trial.ops.truncate(found.step.saturating_add(1));
                self.best = trial;
                self.found = Some(found);
                true
            }
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Takes operations out, in ever smaller pieces.
    fn ops(&mut self) -> bool {
        let mut shorter = false;
        let mut chunk = self.best.ops.len().max(1);
        loop {
            let mut at = 0;
            while at < self.best.ops.len() && !self.is_over() {
                let mut trial = self.best.clone();
                trial.ops.drain(at..(at + chunk).min(self.best.ops.len()));
                match self.keep(trial) {
                    true => shorter = true,
                    false => at += chunk,
                }
            }
            if chunk == 1 || self.is_over() {
                return shorter;
            }
            chunk = chunk.div_ceil(2);
        }
    }

    /// Takes faults and queues out of the scenario.
    fn scenario(&mut self) -> bool {
        let simpler: [fn(&mut SimPlan); 17] = [
            |plan| plan.scenario.rates = Rates::default(),
            |plan| plan.scenario.rates.hang = 0,
            |plan| plan.scenario.rates.fault = 0,
            |plan| plan.scenario.rates.early = 0,
            |plan| plan.scenario.rates.lost = 0,
            |plan| plan.scenario.rates.double = 0,
            |plan| plan.scenario.rates.run_fails = 0,
            |plan| plan.scenario.rates.at_once = 0,
            |plan| plan.scenario.rates.busy = 0,
            |plan| plan.scenario.rates.blind = 0,
            |plan| plan.scenario.rates.replay_fails = 0,
            |plan| plan.scenario.rates.reset_fails = 0,
            |plan| plan.scenario.rates.reset_slow = 0,
            |plan| plan.scenario.rates.foreign = 0,
            |plan| plan.scenario.close_first = false,
            |plan| {
                for shape in &mut plan.scenario.queues {
                    shape.config.gated = false;
                }
            },
            |plan| {
                if plan.scenario.queues.len() > 1 {
                    plan.scenario.queues.pop();
                }
            },
        ];
        let mut simplified = false;
        for change in simpler {
            let mut trial = self.best.clone();
            change(&mut trial);
            let same = format!("{}", trial.scenario) == format!("{}", self.best.scenario);
            if !same && !self.is_over() {
                simplified |= self.keep(trial);
            }
        }
        simplified
    }

    /// Makes single operations smaller.
    fn steps(&mut self) -> bool {
        let mut smaller = false;
        for at in 0..self.best.ops.len() {
            if self.is_over() || at >= self.best.ops.len() {
                break;
            }
            let op = match self.best.ops[at] {
                SimOp::Step {
                    visit,
                    steps,
                    inside,
                } if steps > 1 => SimOp::Step {
                    visit,
                    steps: steps / 2,
                    inside,
                },
                SimOp::Recovery { steps } if steps > 1 => SimOp::Recovery { steps: steps / 2 },
                SimOp::Next { late } if late > 0 => SimOp::Next { late: 0 },
                SimOp::Pass(by) if by > 1 => SimOp::Pass(by / 2),
                _ => continue,
            };
            let mut trial = self.best.clone();
            trial.ops[at] = op;
            smaller |= self.keep(trial);
        }
        smaller
    }
}
