// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Makes a failing sequence of operations shorter.

use crate::mutant::Mutant;
use crate::swarm::Plan;
use crate::world::{run, Failure, Judges};

/// A plan that still fails (in whatever way) and cannot be made shorter by taking out any one
/// operation, with its failure; `None` where `plan` does not fail.
pub fn shrink(plan: &Plan, mutant: Option<Mutant>, judges: Judges) -> Option<(Plan, Failure)> {
    let fails = |plan: &Plan| run(plan, mutant, judges).err();
    let mut failure = fails(plan)?;
    let mut best = plan.clone();
    best.ops.truncate(failure.step.saturating_add(1));
    let mut chunk = best.ops.len().max(1);
    loop {
        let mut at = 0;
        let mut shorter = false;
        while at < best.ops.len() {
            let mut trial = best.clone();
            trial.ops.drain(at..(at + chunk).min(best.ops.len()));
            match fails(&trial) {
                Some(found) => {
                    (best, failure) = (trial, found);
                    shorter = true;
                }
                None => at += chunk,
            }
        }
        if chunk > 1 {
            chunk = chunk.div_ceil(2);
        } else if !shorter {
            return Some((best, failure));
        }
    }
}
