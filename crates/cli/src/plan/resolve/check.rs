// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The checks of a plan that need no more than their arguments, and their messages.

use super::{Resolver, Selection};
use crate::plan::diagnostic::Diagnostic;
use crate::plan::graph::Edge;
use crate::plan::model::FaultRule;
use crate::plan::raw::{RawAfter, RawExpect, RawPlan, RawStream};
use crate::plan::reader::At;
use crate::plan::units::Kind;
use crate::plan::Plan;

impl Resolver<'_> {
    /// Whether the expectations can be met by so many jobs as there are.
    pub(super) fn check_expect(&mut self, expect: &RawExpect) {
        let total: u64 = self
            .raw
            .streams
            .iter()
            .map(|s| s.jobs.value.saturating_mul(s.count))
            .sum();
        let keys = [
            ("completed", &expect.completed),
            ("failed", &expect.failed),
            ("cancelled", &expect.cancelled),
            ("timed_out", &expect.timed_out),
        ];
        let unreadable = self.raw.streams.iter().any(|stream| stream.jobs.value == 0);
        if unreadable || keys.iter().all(|(_, bounds)| bounds.is_none()) {
            return;
        }
        let mut alone = false;
        for (key, bounds) in keys {
            if let Some(bounds) = bounds.as_ref().filter(|bounds| bounds.value.min > total) {
                let message = format!("`{key}` cannot reach {}", bounds.value.min);
                let problem = Diagnostic::new(bounds.span.clone(), message)
                    .expected(format!("at most {total}, which is all the plan's jobs"));
                self.problems
                    .push(problem.write(format!("{key} = \"..{total}\"")));
                alone = true;
            }
        }
        if alone {
            return;
        }
        let least: u64 = keys
            .iter()
            .filter_map(|(_, b)| b.as_ref())
            .map(|b| b.value.min)
            .sum();
        let most = keys
            .iter()
            .map(|(_, b)| b.as_ref().and_then(|b| b.value.max));
        let most = most.sum::<Option<u64>>();
        let message = if least > total {
            format!("these need {least} jobs at least, and the plan has {total}")
        } else if let Some(most) = most.filter(|&most| most < total) {
            format!("these allow {most} jobs at most, and the plan has {total}")
        } else {
            return;
        };
        self.problems.push(
            Diagnostic::new(expect.span.clone(), message)
                .expected("bounds whose sum can be the number of jobs: each job ends in one way")
                .write(format!("completed = \"..{total}\"")),
        );
    }
}

/// Whether the members of two groups can be paired.
pub(super) fn check_pairing(
    stream: &RawStream,
    after: &RawAfter,
    to: Selection,
) -> Result<(), Diagnostic> {
    let name = &after.stream;
    if stream.count == 1 || to.count == 1 || stream.count == to.count as u64 {
        return Ok(());
    }
    let message = format!(
        "{} streams cannot each wait for their own of the {} called {:?}",
        stream.count, to.count, name.value
    );
    Err(Diagnostic::new(name.span.clone(), message)
        .expected("the same `count` on both sides, or 1 on one side")
        .write(format!("\"{}-0\"", name.value)))
}

pub(super) fn never_over(stream: &RawStream, after: &RawAfter) -> Diagnostic {
    let jobs = stream.jobs.value;
    let message = format!(
        "with `lag = {}` none of the {jobs} jobs waits for anything",
        after.lag
    );
    let problem = Diagnostic::new(after.stream.span.clone(), message);
    problem
        .expected(format!("a lag of at most {}", jobs - 1))
        .write("lag = 1")
}

/// Whether a fault hits any job of a stream that has so many.
pub(super) fn check_reach(
    rule: &At<FaultRule>,
    stream: &At<String>,
    jobs: u64,
) -> Option<Diagnostic> {
    let (reached, word) = match rule.value {
        FaultRule::Job(job) => (job < jobs, "job"),
        FaultRule::Every(every) => (every <= jobs, "every"),
        FaultRule::Chance(_) => return None,
    };
    // No job at all: the number of jobs could not be read.
    if reached || jobs == 0 {
        return None;
    }
    let last = if word == "job" { jobs - 1 } else { jobs };
    let message = format!("this fault hits no job: {:?} has {jobs} jobs", stream.value);
    Some(
        Diagnostic::new(rule.span.clone(), message)
            .expected(format!("at most {last}"))
            .write(format!("{word} = {last}")),
    )
}

pub(super) fn circle_problem<'a>(
    circle: &[Edge],
    closing: &Edge,
    place: &At<String>,
    name: impl Fn(usize) -> &'a str,
) -> Diagnostic {
    if circle.len() == 1 {
        let message = format!("a job of {:?} cannot wait for itself", name(closing.from));
        return Diagnostic::new(place.span.clone(), message)
            .note("help", "to wait for the job before it")
            .write("after_previous = true");
    }
    let start = circle.iter().position(|edge| edge == closing).unwrap_or(0);
    let mut walk: Vec<&str> = circle[start..]
        .iter()
        .chain(&circle[..start])
        .map(|edge| name(edge.from))
        .collect();
    walk.push(name(closing.from));
    let shown = if walk.len() > 9 {
        format!(
            "{} -> ... -> {}",
            walk[..7].join(" -> "),
            name(closing.from)
        )
    } else {
        walk.join(" -> ")
    };
    Diagnostic::new(
        place.span.clone(),
        format!("these streams wait for each other: {shown}"),
    )
    .note(
        "help",
        "no job of them could ever start; to wait for an earlier job",
    )
    .write(format!("{{ stream = \"{}\", lag = 1 }}", place.value))
}

/// Whether the rings and the jobs in flight fit into video memory.
pub(super) fn check_memory(plan: &Plan, raw: &RawPlan, problems: &mut Vec<Diagnostic>) {
    let needed = plan.memory();
    if needed <= raw.device.vram.value {
        return;
    }
    let megabytes = needed.div_ceil(1 << 20);
    let message = format!(
        "rings and jobs in flight need {megabytes}MiB, but the device has {}",
        Kind::Size.show(raw.device.vram.value)
    );
    let problem = Diagnostic::new(raw.device.vram.span.clone(), message);
    problems.push(if megabytes <= 4096 {
        problem.write(format!("[device] vram = \"{megabytes}MiB\""))
    } else {
        problem.note("help", "lower `ring`, `in_flight`, `size` or `count`")
    });
}
