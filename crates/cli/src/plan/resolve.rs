// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From names to indices, and everything that only shows when two tables are looked at together.

use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::graph::{components, find_circle, Edge};
use super::model::{Bounds, DevicePlan, Expect, FaultPlan, FaultRule, RecoveryMode};
use super::names::{Names, Selection};
use super::raw::{RawFault, RawPlan, RawStream, MAX_JOBS, MAX_QUEUES};
use super::reader::At;
use super::Plan;

mod build;
mod check;
mod events;
mod gangs;
mod sharing;

use build::build_queues;
use check::{check_memory, check_pairing, check_reach, circle_problem, never_over};

/// The most jobs one job can wait for.
const MAX_DEPENDENCIES: u64 = 256;
/// The most faults in a plan: each job is compared with those of its stream.
const MAX_FAULTS: usize = 64;
/// The most dependencies and faults that all streams may have together, to bound the memory.
const MAX_LINKS: u64 = 1_000_000;

/// Turns a plan as written into one that can be run; `None` where a problem was noted.
pub(crate) fn resolve(raw: &RawPlan, text: &str, problems: &mut Vec<Diagnostic>) -> Option<Plan> {
    let queue_names = raw.queues.iter().map(|queue| (&queue.name, queue.count));
    let queues = Names::gather("queue", text, queue_names, problems);
    let stream_names = raw
        .streams
        .iter()
        .map(|stream| (&stream.name, stream.count));
    let streams = Names::gather("stream", text, stream_names, problems);
    let mut resolver = Resolver {
        raw,
        queues,
        streams,
        problems,
    };
    resolver.check_totals();
    let targets = resolver.find_queues();
    let links = resolver.find_dependencies();
    resolver.check_order(&links);
    let faults = resolver.find_faults();
    resolver.check_links(&links, &faults);
    resolver.check_expect(&raw.expect);
    let events = resolver.find_events();
    resolver.check_strikes();
    resolver.check_orchestrator();
    let owners = resolver.find_owners();
    resolver.check_gangs_last(&targets);
    let shares = resolver.find_shares(&owners);
    let waits = resolver.find_waits();
    resolver.check_late();
    if !resolver.problems.is_empty() {
        return None;
    }
    let streams = resolver.build_streams(&targets, &links, &faults);
    let mut queues: Vec<_> = raw.queues.iter().flat_map(build_queues).collect();
    sharing::add_dues(&mut queues, &owners);
    let plan = Plan {
        name: raw
            .name
            .as_ref()
            .map_or_else(String::new, |name| name.value.clone()),
        description: raw.description.as_ref().map(|text| text.value.clone()),
        seed: raw.seed,
        device: DevicePlan {
            slots: raw.device.slots as u32,
            slot_kinds: match &raw.device.slot_kinds {
                Some(kinds) => kinds.value.clone(),
                None => Vec::new(),
            },
            orchestrator: raw.device.orchestrator,
            vram: raw.device.vram.value,
            time_slice: Duration::from_nanos(raw.device.time_slice),
            recovery: match raw.device.recovery {
                "device" => RecoveryMode::Device,
                _ => RecoveryMode::Queue,
            },
            standby: raw.device.standby as u32,
            events,
        },
        queues,
        streams,
        gangs: owners.gangs,
        clients: owners.clients,
        expect: Expect {
            completed: value(&raw.expect.completed),
            failed: value(&raw.expect.failed),
            cancelled: value(&raw.expect.cancelled),
            timed_out: value(&raw.expect.timed_out),
            late: value(&raw.expect.late),
            shares,
            waits,
        },
    };
    check_memory(&plan, raw, problems);
    problems.is_empty().then_some(plan)
}

fn value(bounds: &Option<At<Bounds>>) -> Option<Bounds> {
    bounds.as_ref().map(|bounds| bounds.value)
}

/// A dependency with its stream found.
struct Link {
    from: usize,
    to: Selection,
    last: u64,
    lag: u64,
    entry: usize,
}

struct Resolver<'a> {
    raw: &'a RawPlan,
    queues: Names,
    streams: Names,
    problems: &'a mut Vec<Diagnostic>,
}

impl Resolver<'_> {
    fn check_totals(&mut self) {
        let most = MAX_QUEUES as usize;
        let too_many = |noun: &str, total: usize, name: &At<String>| {
            let message = format!("the plan has {total} {noun}s by here");
            Diagnostic::new(name.span.clone(), message)
                .expected(format!("at most {most} in one plan"))
                .note("help", "lower a `count`")
        };
        if let (true, Some(last)) = (self.queues.total() > most, self.raw.queues.last()) {
            self.problems
                .push(too_many("queue", self.queues.total(), &last.name));
        }
        if let (true, Some(last)) = (self.streams.total() > most, self.raw.streams.last()) {
            self.problems
                .push(too_many("stream", self.streams.total(), &last.name));
        }
        let mut total = 0_u64;
        for stream in &self.raw.streams {
            total = total.saturating_add(stream.jobs.value.saturating_mul(stream.count));
            if total > MAX_JOBS {
                let message = format!("the plan has {total} jobs by here");
                let problem = Diagnostic::new(stream.jobs.span.clone(), message)
                    .expected(format!("at most {MAX_JOBS} in one plan"))
                    .note("help", "lower `jobs` or `count`");
                self.problems.push(problem);
                break;
            }
        }
    }

    /// The queues of each stream, and whether its jobs can run there at all.
    fn find_queues(&mut self) -> Vec<Option<Selection>> {
        let mut all = Vec::new();
        for stream in &self.raw.streams {
            let found = stream.queue.as_ref().and_then(|name| {
                self.queues
                    .find(name, "queue")
                    .map_err(|problem| self.problems.push(problem))
                    .ok()
            });
            if let (Some(found), Some(name)) = (found, &stream.queue) {
                self.check_queue(stream, name, found);
            }
            all.push(found);
        }
        all
    }

    fn check_queue(&mut self, stream: &RawStream, name: &At<String>, found: Selection) {
        let queue = &self.raw.queues[found.group];
        if stream.count == 1 && found.count > 1 {
            let message = format!("one stream cannot use {} queues", found.count);
            self.problems.push(
                Diagnostic::new(name.span.clone(), message)
                    .note(
                        "help",
                        format!("or give the stream `count = {}`", found.count),
                    )
                    .write(format!("queue = \"{}-0\"", name.value)),
            );
        }
        let (cost, credits) = (*stream.cost.value.end(), queue.credits.value);
        if cost > credits {
            let message = format!(
                "a job can cost {cost}, but the queue {:?} has {credits} credits",
                queue.name.value
            );
            let low = (*stream.cost.value.start()).min(credits);
            let instead = if low == credits {
                credits.to_string()
            } else {
                format!("\"{low}..{credits}\"")
            };
            let help = format!("or give the queue `credits = {cost}`");
            self.problems.push(
                Diagnostic::new(stream.cost.span.clone(), message)
                    .write(format!("cost = {instead}"))
                    .note("help", help),
            );
        }
    }

    fn find_dependencies(&mut self) -> Vec<Link> {
        let mut links = Vec::new();
        for (from, stream) in self.raw.streams.iter().enumerate() {
            let first = links.len();
            for (entry, after) in stream.after.iter().enumerate() {
                let to = match self.streams.find(&after.stream, "after") {
                    Ok(to) => to,
                    Err(problem) => {
                        self.problems.push(problem);
                        continue;
                    }
                };
                if let Err(problem) = check_pairing(stream, after, to) {
                    self.problems.push(problem);
                    continue;
                }
                if after.lag >= stream.jobs.value && stream.jobs.value > 0 {
                    self.problems.push(never_over(stream, after));
                }
                let twice = links[first..]
                    .iter()
                    .any(|link: &Link| link.to == to && link.lag == after.lag);
                if twice {
                    let message = format!("{:?} is listed twice", after.stream.value);
                    let problem = Diagnostic::new(after.stream.span.clone(), message).note(
                        "help",
                        "keep one of them; `last` and `lag` reach further back",
                    );
                    self.problems.push(problem);
                }
                links.push(Link {
                    from,
                    to,
                    last: after.last,
                    lag: after.lag,
                    entry,
                });
            }
            self.check_width(stream, &links[first..]);
        }
        links
    }

    fn check_width(&mut self, stream: &RawStream, links: &[Link]) {
        let each = |link: &Link| {
            let members = if stream.count == 1 {
                link.to.count as u64
            } else {
                1
            };
            link.last.saturating_mul(members)
        };
        let total: u64 = links
            .iter()
            .map(each)
            .fold(u64::from(stream.after_previous), u64::saturating_add);
        if total > MAX_DEPENDENCIES {
            let name = &stream.name;
            let message = format!("each job of {:?} would wait for {total} others", name.value);
            self.problems.push(
                Diagnostic::new(name.span.clone(), message)
                    .expected(format!("at most {MAX_DEPENDENCIES}"))
                    .note(
                        "help",
                        "lower `last`, or gather in two steps with a stream between",
                    ),
            );
        }
    }

    /// See [`super::graph`] for the two rules.
    fn check_order(&mut self, links: &[Link]) {
        let edges: Vec<Edge> = links
            .iter()
            .map(|link| Edge {
                from: link.from,
                to: link.to.group,
                lag: link.lag,
                entry: link.entry,
            })
            .collect();
        let streams = &self.raw.streams;
        let name = |stream: usize| streams[stream].name.value.as_str();
        if let Some(circle) = find_circle(streams.len(), &edges) {
            // The edge that stands last in the text is the one that closed the circle.
            let place = |edge: &Edge| &streams[edge.from].after[edge.entry].stream;
            if let Some(closing) = circle.iter().max_by_key(|edge| place(edge).span.start) {
                self.problems
                    .push(circle_problem(&circle, closing, place(closing), name));
            }
            return;
        }
        let component = components(streams.len(), &edges);
        for edge in edges
            .iter()
            .filter(|edge| component[edge.from] == component[edge.to])
        {
            let (from, to) = (&streams[edge.from], &streams[edge.to]);
            if from.jobs.value != to.jobs.value && from.jobs.value > 0 && to.jobs.value > 0 {
                let message = format!(
                    "{:?} and {:?} wait for each other but have {} and {} jobs",
                    from.name.value, to.name.value, from.jobs.value, to.jobs.value
                );
                self.problems.push(
                    Diagnostic::new(from.jobs.span.clone(), message)
                        .expected("the same number of jobs on both sides")
                        .write(format!("jobs = {}", to.jobs.value)),
                );
            }
        }
    }

    fn find_faults(&mut self) -> Vec<(Selection, FaultPlan)> {
        let mut all: Vec<(Selection, FaultPlan)> = Vec::new();
        if let Some(RawFault {
            stream: Some(name), ..
        }) = self.raw.faults.get(MAX_FAULTS)
        {
            let message = format!("the plan has {} faults", self.raw.faults.len());
            let problem = Diagnostic::new(name.span.clone(), message)
                .expected(format!("at most {MAX_FAULTS}"))
                .note(
                    "help",
                    "`every` and `probability` make one fault hit many jobs",
                );
            self.problems.push(problem);
            return all;
        }
        for fault in &self.raw.faults {
            let RawFault {
                kinds,
                stream: Some(name),
                rule: Some(rule),
            } = fault
            else {
                continue;
            };
            let found = match self.streams.find(name, "stream") {
                Ok(found) => found,
                Err(problem) => {
                    self.problems.push(problem);
                    continue;
                }
            };
            let jobs = self.raw.streams[found.group].jobs.value;
            if let Some(problem) = check_reach(rule, name, jobs) {
                self.problems.push(problem);
            }
            if kinds.is_empty() {
                continue;
            }
            let overlap = |other: &Selection| {
                other.start < found.start + found.count && found.start < other.start + other.count
            };
            let taken = matches!(rule.value, FaultRule::Job(_))
                && all
                    .iter()
                    .any(|(place, other)| other.rule == rule.value && overlap(place));
            if taken {
                let message = "an earlier fault hits this very job already";
                let problem = Diagnostic::new(rule.span.clone(), message);
                self.problems
                    .push(problem.note("help", "a job has one fault; choose another job"));
            }
            all.push((
                found,
                FaultPlan {
                    kinds: kinds.as_slice().into(),
                    rule: rule.value,
                },
            ));
        }
        all
    }

    fn check_links(&mut self, links: &[Link], faults: &[(Selection, FaultPlan)]) {
        let streams = &self.raw.streams;
        let width = |link: &Link| (link.to.count as u64).max(streams[link.from].count);
        let total = links.iter().map(width).fold(0, u64::saturating_add)
            + faults
                .iter()
                .map(|(place, _)| place.count as u64)
                .sum::<u64>();
        if let (true, Some(last)) = (total > MAX_LINKS, streams.last()) {
            let message = format!("the streams have {total} dependencies and faults together");
            self.problems.push(
                Diagnostic::new(last.name.span.clone(), message)
                    .expected(format!(
                        "at most {MAX_LINKS}, where each member of a group counts"
                    ))
                    .note("help", "lower a `count`"),
            );
        }
    }
}
