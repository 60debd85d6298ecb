// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A picture of a schedule: who was on which slot, in a span of a run. Drawn from the same events as
//! a trace.

mod svg;
#[cfg(test)]
mod tests;
mod text;

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use ringfence_orchestrator::Priority;
use ringfence_trace::event::{EventKind, InstantKind, Place};
use ringfence_trace::Event;

use super::tracing;
use crate::plan::units::Kind;
use crate::plan::Plan;

/// How much is drawn where nothing is said.
const SPAN_NS: u64 = 50_000_000;

/// The part of a run that is drawn, from its first event on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span(Range<Duration>);

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let range = Kind::Duration.parse_range(text);
        let range = range.map_err(|misread| misread.message)?;
        let [from, to] = [range.start(), range.end()].map(|&ns| Duration::from_nanos(ns));
        match from < to {
            true => Ok(Self(from..to)),
            false => Err("write where it begins and where it ends, as \"200..250ms\"".to_owned()),
        }
    }
}

/// A context on a slot. Times are in nanoseconds from the beginning of the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stay {
    slot: usize,
    /// The plan's queue.
    queue: usize,
    from: u64,
    to: u64,
    /// When it was in jobs.
    jobs: Vec<Range<u64>>,
    /// It had to leave in the middle of a job.
    cut: bool,
}

/// Who owns queues, as the picture calls them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    name: String,
    priority: Priority,
    queues: usize,
}

/// All that is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Picture {
    title: String,
    /// How long it is, in nanoseconds, and when it begins, from the run's first event.
    span: u64,
    begin: u64,
    slots: Vec<String>,
    stays: Vec<Stay>,
    /// When jobs with a deadline were submitted, and to which queue.
    marks: Vec<(u64, usize)>,
    owners: Vec<Owner>,
    /// For each queue of the plan: its owner, which of the owner's it is, and its name.
    queues: Vec<(usize, usize, String)>,
}

/// A stay that has not ended.
struct Open {
    context: u64,
    from: u64,
    since: u64,
    job: bool,
    jobs: Vec<Range<u64>>,
}

impl Open {
    /// It has stopped working on what it was at.
    fn pause(&mut self, at: u64) {
        if std::mem::take(&mut self.job) {
            self.jobs.push(self.since..at);
        }
    }
}

/// From events to stays, slot by slot.
#[derive(Default)]
struct Gathering {
    open: HashMap<usize, Open>,
    /// Stays that have ended, with their contexts.
    stays: Vec<(u64, Stay)>,
}

impl Gathering {
    fn begin(&mut self, slot: usize, context: u64, job: bool, at: u64) {
        let open = self.open.entry(slot).or_insert(Open {
            context,
            from: at,
            since: at,
            job: false,
            jobs: Vec::new(),
        });
        open.since = at;
        open.job = job;
    }

    fn pause(&mut self, slot: usize, at: u64) {
        if let Some(open) = self.open.get_mut(&slot) {
            open.pause(at);
            open.since = at;
        }
    }

    fn end(&mut self, slot: usize, at: u64) {
        let Some(mut open) = self.open.remove(&slot) else {
            return;
        };
        open.pause(at);
        let stay = Stay {
            slot,
            queue: 0,
            from: open.from,
            to: open.since.max(open.from),
            jobs: open.jobs,
            cut: false,
        };
        self.stays.push((open.context, stay));
    }
}

/// The stays in `events`, which are in the order of time: on a slot, an end that no beginning of the
/// same context follows at once is the end of a stay.
fn gather(events: &[Event]) -> Vec<(u64, Stay)> {
    let mut gathering = Gathering::default();
    let mut last = 0;
    let mut cuts = Vec::new();
    for event in events {
        let at = event.timestamp;
        last = at;
        match event.kind {
            EventKind::SliceBegin {
                slot,
                context,
                seqno,
            } => {
                let slot = slot.0 as usize;
                let same = |open: &Open| open.context == context && open.since == at;
                if !gathering.open.get(&slot).is_some_and(same) {
                    // One that was at work still was so until now.
                    let since = |open: &Open| if open.job { at } else { open.since };
                    let ended = gathering.open.get(&slot).map_or(at, since);
                    gathering.end(slot, ended);
                }
                gathering.begin(slot, context, seqno.is_some(), at);
            }
            EventKind::SliceEnd { slot } => gathering.pause(slot.0 as usize, at),
            EventKind::Instant {
                place: Place::Slot(slot),
                what: InstantKind::Preempt,
                ..
            } => cuts.push((slot.0 as usize, at)),
            _ => {}
        }
    }
    let slots: Vec<usize> = gathering.open.keys().copied().collect();
    for slot in slots {
        let busy = gathering.open.get(&slot).is_some_and(|open| open.job);
        if busy {
            gathering.pause(slot, last);
        }
        gathering.end(slot, last);
    }
    let cuts: std::collections::HashSet<(usize, u64)> = cuts.into_iter().collect();
    for (_, stay) in &mut gathering.stays {
        stay.cut = cuts.contains(&(stay.slot, stay.to));
    }
    gathering
        .stays
        .sort_by_key(|(_, stay)| (stay.slot, stay.from));
    gathering.stays
}

impl Picture {
    /// What is to be drawn of the part `span` of a run, or of 50 ms in its middle.
    fn new(
        plan: &Plan,
        mut events: Vec<Event>,
        contexts: &[(usize, u64)],
        span: Option<&Span>,
    ) -> Self {
        events.sort_by_key(|event| event.timestamp);
        let first = events.first().map_or(0, |event| event.timestamp);
        let last = events.last().map_or(0, |event| event.timestamp);
        let window = window(first, last, span);
        let queue_of: HashMap<u64, usize> = contexts.iter().map(|&(q, c)| (c, q)).collect();
        let relative = |at: u64| at.clamp(window.start, window.end) - window.start;
        let stays = gather(&events).into_iter().filter_map(|(context, stay)| {
            let queue = *queue_of.get(&context)?;
            let seen = stay.from < window.end && stay.to > window.start;
            let jobs = stay
                .jobs
                .iter()
                .map(|job| relative(job.start)..relative(job.end));
            seen.then(|| Stay {
                queue,
                from: relative(stay.from),
                to: relative(stay.to),
                jobs: jobs.filter(|job| job.start < job.end).collect(),
                cut: stay.cut && stay.to <= window.end,
                ..stay
            })
        });
        let stays = stays.collect();
        let timed = |queue: usize| {
            let mut streams = plan.streams().iter();
            streams.any(|stream| stream.queue.0 == queue && stream.deadline.is_some())
        };
        let marks = events.iter().filter_map(|event| match event.kind {
            EventKind::Queued { job, .. } if window.contains(&event.timestamp) => {
                let queue = *queue_of.get(&job.context)?;
                timed(queue).then(|| (relative(event.timestamp), queue))
            }
            _ => None,
        });
        Self {
            title: plan.name().to_owned(),
            span: window.end - window.start,
            begin: window.start - first,
            slots: (0..plan.device().slots)
                .map(|slot| tracing::slot_name(plan, slot))
                .collect(),
            stays,
            marks: marks.collect(),
            owners: owners(plan),
            queues: queues(plan),
        }
    }

    /// The number of a queue among its owner's, where there are several.
    fn label(&self, queue: usize) -> Option<String> {
        let (owner, member, _) = self.queues.get(queue)?;
        let several = self.owners.get(*owner)?.queues > 1;
        several.then(|| member.to_string())
    }

    /// The owners that are seen.
    fn seen(&self) -> Vec<usize> {
        let on_slots = self.stays.iter().map(|stay| stay.queue);
        let all = on_slots.chain(self.marks.iter().map(|(_, queue)| *queue));
        let mut owners: Vec<usize> = all.filter_map(|q| Some(self.queues.get(q)?.0)).collect();
        owners.sort_by_key(|owner| (self.owners[*owner].priority, *owner));
        owners.dedup();
        owners
    }
}

fn window(first: u64, last: u64, span: Option<&Span>) -> Range<u64> {
    let ns = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    match span {
        Some(Span(span)) => {
            let from = first.saturating_add(ns(span.start));
            from..first.saturating_add(ns(span.end))
        }
        None => {
            let length = SPAN_NS.min(last - first).max(1);
            let from = first + (last - first - length.min(last - first)) / 2;
            from..from + length
        }
    }
}

fn owners(plan: &Plan) -> Vec<Owner> {
    let of = |number: usize| {
        plan.queues()
            .iter()
            .filter(move |queue| queue.due.client == number)
    };
    let names = plan.clients().iter().enumerate();
    let owner = |(number, name): (usize, &String)| Owner {
        name: name.clone(),
        priority: of(number)
            .map(|queue| queue.due.priority)
            .min()
            .unwrap_or_default(),
        queues: of(number).count(),
    };
    names.map(owner).collect()
}

fn queues(plan: &Plan) -> Vec<(usize, usize, String)> {
    let mut counts = vec![0; plan.clients().len()];
    let queues = plan.queues().iter();
    let place = |queue: &crate::plan::QueuePlan| {
        let member = counts[queue.due.client];
        counts[queue.due.client] += 1;
        (queue.due.client, member, queue.name.clone())
    };
    queues.map(place).collect()
}

/// Draws a part of a run to `path`: as text where that ends in `.txt`, else as SVG.
///
/// # Errors
///
/// What the file system says.
pub(super) fn write(
    path: &Path,
    plan: &Plan,
    events: Vec<Event>,
    contexts: &[(usize, u64)],
    span: Option<&Span>,
) -> io::Result<()> {
    let picture = Picture::new(plan, events, contexts, span);
    let drawn = match path.extension().is_some_and(|extension| extension == "txt") {
        true => text::draw(&picture),
        false => svg::draw(&picture),
    };
    std::fs::write(path, drawn)
}
