// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Random operations on an orchestrator, judged by what its documentation promises.
//!
//! A seed names a [`Plan`]: a device, a policy and a sequence of [`Op`]s. [`play`] plays it and looks after every
//! step at the effects, the views and the slots (`oracle`); then faults stop, and everybody who
//! wants a slot must get one (`live`); then everybody is removed and must go.

mod choice;
mod drive;
mod live;
mod mutant;
mod op;
mod oracle;
mod plan;
mod port;
mod seen;

pub use mutant::Mutant;
pub use op::{Op, Question, Reply, Who};
pub use plan::{Plan, Rules};
pub use seen::Coverage;

use crate::world::Failure;
use drive::World;

/// Plays `plan`, then brings everything to its end.
///
/// # Errors
///
/// The first thing that is not as it should be.
pub fn play(plan: &Plan, mutant: Option<Mutant>) -> Result<Coverage, Failure> {
    let fail = |step, what| Failure { step, what };
    let mut world = World::new(plan, mutant).map_err(|what| fail(0, what))?;
    for (step, op) in plan.ops.iter().enumerate() {
        world.play(op).map_err(|what| fail(step, what))?;
    }
    let end = |what| fail(plan.ops.len(), what);
    world.live().map_err(end)?;
    world.end().map_err(end)?;
    Ok(world.oracle.coverage)
}

/// A plan that still fails, in whatever way, and from which no operation can be taken out, with its
/// failure; `None` where `plan` does not fail.
pub fn shorten(plan: &Plan, mutant: Option<Mutant>) -> Option<(Plan, Failure)> {
    let mut failure = play(plan, mutant).err()?;
    let mut best = plan.clone();
    best.ops.truncate(failure.step.saturating_add(1));
    let mut chunk = best.ops.len().max(1);
    loop {
        let (mut at, mut shorter) = (0, false);
        while at < best.ops.len() {
            let mut trial = best.clone();
            trial.ops.drain(at..(at + chunk).min(best.ops.len()));
            match play(&trial, mutant) {
                Err(found) => {
                    trial.ops.truncate(found.step.saturating_add(1));
                    (best, failure, shorter) = (trial, found, true);
                }
                Ok(_) => at += chunk,
            }
        }
        if chunk > 1 {
            chunk = chunk.div_ceil(2);
        } else if !shorter {
            return Some((best, failure));
        }
    }
}
