// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The slices and instants of a trace in the order of the file, and their Perfetto form.

use std::collections::{BTreeMap, HashMap};

use super::jobs::{Job, Jobs, Key};
use super::lanes::Lanes;
use super::proto::{DebugAnnotation, TrackEvent, INSTANT, SLICE_BEGIN, SLICE_END};
use super::tracks::{Lane, TrackTable};
use crate::event::{EventKind, FenceId, InstantKind, Place, SlotId};

/// What an item is. Jobs are indices into [`Jobs::jobs`].
#[derive(Debug)]
pub(super) enum Part {
    QueuedBegin(usize),
    QueuedEnd,
    RunningBegin(usize),
    RunningEnd,
    NeverRan(usize),
    SlotBegin {
        name: String,
        context: u64,
        seqno: Option<u64>,
        unfinished: bool,
    },
    SlotEnd,
    Instant {
        what: InstantKind,
        job: Option<FenceId>,
    },
    OtherFence {
        fence: FenceId,
    },
}

/// A begin, an end or an instant on a track.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) key: Key,
    pub(super) part: Part,
    track: u64,
}

/// The flows that touch an item.
#[derive(Debug, Default)]
struct Flows {
    out: Vec<u64>,
    terminating: Vec<u64>,
    /// The item's job ran before a job it depends on had begun.
    early: bool,
}

/// All items, sorted, and the flows between them.
#[derive(Debug)]
pub(super) struct Items {
    pub(super) list: Vec<Item>,
    flows: HashMap<Key, Flows>,
}

impl Items {
    pub(super) fn collect(jobs: &Jobs, tracks: &mut TrackTable) -> Self {
        let mut items = Self {
            list: Vec::new(),
            flows: HashMap::new(),
        };
        items.add_jobs(jobs, tracks);
        items.add_device(jobs, tracks);
        items.add_flows(jobs, tracks);
        // Keys are unique but for slots that end with the trace; a stable sort keeps those fixed.
        items.list.sort_by_key(|item| item.key);
        items
    }

    fn push(&mut self, key: Key, track: u64, part: Part) {
        self.list.push(Item { key, part, track });
    }

    fn add_jobs(&mut self, jobs: &Jobs, tracks: &mut TrackTable) {
        let mut queued = Vec::new();
        let mut running = Vec::new();
        for (index, job) in jobs.jobs.iter().enumerate() {
            let life = Life::of(job);
            let queue = tracks.queue(job.fence.context);
            queued.extend(life.queued.map(|(begin, end)| (begin, end, queue, index)));
            running.extend(life.running.map(|(begin, end)| (begin, end, queue, index)));
            if let Some(key) = life.never_ran {
                self.push(key, tracks.queue_track(queue), Part::NeverRan(index));
            }
        }
        for (mut slices, kind) in [(queued, Lane::Queued), (running, Lane::Running)] {
            slices.sort();
            let mut lanes: HashMap<usize, Lanes> = HashMap::new();
            for (begin, end, queue, job) in slices {
                let lane = lanes.entry(queue).or_default().assign(begin, end);
                let track = tracks.lane(queue, kind, lane);
                let (first, last) = match kind {
                    Lane::Queued => (Part::QueuedBegin(job), Part::QueuedEnd),
                    Lane::Running => (Part::RunningBegin(job), Part::RunningEnd),
                };
                self.push(begin, track, first);
                self.push(end, track, last);
            }
        }
    }

    /// Slices of hardware slots, and instants.
    fn add_device(&mut self, jobs: &Jobs, tracks: &mut TrackTable) {
        // Index of the open slice of each slot.
        let mut open: BTreeMap<SlotId, usize> = BTreeMap::new();
        for (index, event) in jobs.events.iter().enumerate() {
            let key = Key {
                time: event.timestamp,
                event: index,
                part: 0,
            };
            match event.kind {
                EventKind::SliceBegin {
                    slot,
                    context,
                    seqno,
                } => {
                    let track = tracks.slot(slot);
                    // A slot executes one thing: a new slice ends the one before.
                    if open.insert(slot, 0).is_some() {
                        self.push(key, track, Part::SlotEnd);
                    }
                    let name = slice_name(tracks, context, seqno);
                    open.insert(slot, self.list.len());
                    let part = Part::SlotBegin {
                        name,
                        context,
                        seqno,
                        unfinished: false,
                    };
                    self.push(Key { part: 1, ..key }, track, part);
                }
                EventKind::SliceEnd { slot } => {
                    let ended = open.remove(&slot);
                    if ended.is_some() {
                        self.push(key, tracks.slot(slot), Part::SlotEnd);
                    }
                }
                EventKind::Instant { place, what, job } => {
                    let track = match place {
                        Place::Queue(context) => {
                            let queue = tracks.queue(context);
                            tracks.queue_track(queue)
                        }
                        Place::Slot(slot) => tracks.slot(slot),
                    };
                    self.push(key, track, Part::Instant { what, job });
                }
                _ => {}
            }
        }
        for (slot, begin) in open {
            if let Part::SlotBegin { unfinished, .. } = &mut self.list[begin].part {
                *unfinished = true;
            }
            self.push(jobs.end, tracks.slot(slot), Part::SlotEnd);
        }
    }

    fn add_flows(&mut self, jobs: &Jobs, tracks: &mut TrackTable) {
        for (index, dependency) in jobs.dependencies.iter().enumerate() {
            let flow = index as u64 + 1;
            let added = dependency.key;
            let from = self.anchor(jobs, tracks, dependency.on, added);
            let to = self.anchor(jobs, tracks, dependency.job, Key { part: 1, ..added });
            // A flow goes forward in time. One that would go back is turned, and the job marked.
            let (first, last) = if from <= to { (from, to) } else { (to, from) };
            self.flows.entry(first).or_default().out.push(flow);
            self.flows.entry(last).or_default().terminating.push(flow);
            if from > to {
                self.flows.entry(to).or_default().early = true;
            }
        }
    }

    /// The item that stands for a fence in flows.
    fn anchor(&mut self, jobs: &Jobs, tracks: &mut TrackTable, fence: FenceId, at: Key) -> Key {
        let known = jobs.by_fence.get(&fence).and_then(|&index| {
            let life = Life::of(&jobs.jobs[index]);
            life.running.map(|(begin, _)| begin).or(life.never_ran)
        });
        known.unwrap_or_else(|| {
            self.push(at, tracks.other_fences(), Part::OtherFence { fence });
            at
        })
    }

    pub(super) fn is_unfinished(&self, item: &Item, jobs: &Jobs) -> bool {
        match item.part {
            Part::QueuedBegin(job) => jobs.jobs[job].run.is_none() && jobs.jobs[job].done.is_none(),
            Part::RunningBegin(job) => jobs.jobs[job].done.is_none(),
            Part::SlotBegin { unfinished, .. } => unfinished,
            _ => false,
        }
    }

    pub(super) fn event(&self, item: &Item, jobs: &Jobs) -> TrackEvent {
        let mut event = TrackEvent {
            track_uuid: Some(item.track),
            ..TrackEvent::default()
        };
        let (kind, category, name) = match &item.part {
            Part::QueuedBegin(job) => (SLICE_BEGIN, "queued", job_name(&jobs.jobs[*job])),
            Part::RunningBegin(job) => (SLICE_BEGIN, "running", job_name(&jobs.jobs[*job])),
            Part::QueuedEnd | Part::RunningEnd | Part::SlotEnd => {
                event.r#type = Some(SLICE_END);
                return event;
            }
            Part::NeverRan(_) => (INSTANT, "never_ran", "never ran".into()),
            Part::SlotBegin { name, .. } => (SLICE_BEGIN, "slot", name.clone()),
            Part::Instant { what, .. } => (INSTANT, "instant", what.name().into()),
            Part::OtherFence { fence } => (INSTANT, "fence", format!("fence {fence}")),
        };
        event.r#type = Some(kind);
        event.categories.push(category.into());
        event.name = Some(name);
        event.debug_annotations = annotations(item, jobs);
        if self.is_unfinished(item, jobs) {
            event
                .debug_annotations
                .push(DebugAnnotation::flag("unfinished", true));
        }
        if !matches!(item.part, Part::QueuedBegin(_)) {
            self.attach_flows(item, &mut event);
        }
        event
    }

    fn attach_flows(&self, item: &Item, event: &mut TrackEvent) {
        if let Some(flows) = self.flows.get(&item.key) {
            event.flow_ids.clone_from(&flows.out);
            event.terminating_flow_ids.clone_from(&flows.terminating);
            if flows.early {
                let early = DebugAnnotation::flag("began_before_dependency", true);
                event.debug_annotations.push(early);
            }
        }
    }
}

/// When a job's slices begin and end.
struct Life {
    queued: Option<(Key, Key)>,
    running: Option<(Key, Key)>,
    never_ran: Option<Key>,
}

impl Life {
    /// A life goes forward, whatever the recording says: threads read the clock before they record,
    /// so a job that bypasses its queue may seem to run before it was queued.
    fn of(job: &Job) -> Self {
        let done = job.done.unwrap_or(job.end);
        let queued = job
            .queued
            .map(|begin| (begin, job.run.unwrap_or(done).after(begin)));
        let behind = |key: Key| queued.map_or(key, |(_, end)| key.after(end));
        let running = job.run.map(|run| {
            let begin = behind(run);
            (begin, done.after(begin))
        });
        let never_ran = if job.run.is_none() {
            Some(behind(done))
        } else {
            None
        };
        Self {
            queued,
            running,
            never_ran,
        }
    }
}

fn job_name(job: &Job) -> String {
    format!("job {}", job.fence.seqno)
}

fn slice_name(tracks: &TrackTable, context: u64, seqno: Option<u64>) -> String {
    let name = match tracks.queue_name(context) {
        Some(name) => name.to_owned(),
        None => format!("context {context}"),
    };
    match seqno {
        Some(seqno) => format!("{name} job {seqno}"),
        None => name,
    }
}

fn annotations(item: &Item, jobs: &Jobs) -> Vec<DebugAnnotation> {
    let fence = |context: u64, seqno: Option<u64>| {
        let mut list = vec![DebugAnnotation::uint("context", context)];
        list.extend(seqno.map(|seqno| DebugAnnotation::uint("seqno", seqno)));
        list
    };
    match &item.part {
        Part::QueuedBegin(job) => {
            let job = &jobs.jobs[*job];
            let mut list = fence(job.fence.context, Some(job.fence.seqno));
            list.push(DebugAnnotation::uint("cost", job.cost.into()));
            list.push(DebugAnnotation::uint("waiting", job.waiting.into()));
            list.push(DebugAnnotation::uint("on_hardware", job.on_hardware.into()));
            list
        }
        Part::RunningBegin(job) | Part::NeverRan(job) => {
            let job = &jobs.jobs[*job];
            let mut list = fence(job.fence.context, Some(job.fence.seqno));
            list.push(DebugAnnotation::uint("cost", job.cost.into()));
            list.push(DebugAnnotation::int("error", job.error.into()));
            list
        }
        Part::SlotBegin { context, seqno, .. } => fence(*context, *seqno),
        Part::Instant { job: Some(job), .. } => fence(job.context, Some(job.seqno)),
        Part::OtherFence { fence: id } => fence(id.context, Some(id.seqno)),
        _ => Vec::new(),
    }
}
