// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Collects the life of each job from the events: when it was queued, ran and was done.

use std::collections::HashMap;

use crate::event::{Event, EventKind, FenceId, Trace};

/// A place in the file: time, then the event it comes from, then the part of that event.
///
/// All boundaries are compared by it, so that what happened at one and the same time still has one
/// order, the same on every run: that of the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) time: u64,
    pub(super) event: usize,
    pub(super) part: u8,
}

impl Key {
    /// This key, or the one right behind `floor` where this one is not behind it.
    pub(super) fn after(self, floor: Key) -> Key {
        if self > floor {
            self
        } else {
            Key {
                part: floor.part + 1,
                ..floor
            }
        }
    }
}

/// What is known of one job.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) fence: FenceId,
    pub(super) queued: Option<Key>,
    pub(super) run: Option<Key>,
    pub(super) done: Option<Key>,
    /// Where it ends if it was never done: with the trace, but at a key of its own.
    pub(super) end: Key,
    pub(super) cost: u32,
    pub(super) waiting: u32,
    pub(super) on_hardware: u32,
    pub(super) error: i32,
}

/// A dependency: index of the event, the waiting job and the fence.
#[derive(Debug)]
pub(super) struct Dependency {
    pub(super) key: Key,
    pub(super) job: FenceId,
    pub(super) on: FenceId,
}

/// The jobs of a trace in order of first mention, and what links them.
#[derive(Debug)]
pub(super) struct Jobs {
    /// The events, sorted by time.
    pub(super) events: Vec<Event>,
    pub(super) jobs: Vec<Job>,
    pub(super) by_fence: HashMap<FenceId, usize>,
    pub(super) dependencies: Vec<Dependency>,
    /// Where the trace ends.
    pub(super) end: Key,
}

impl Jobs {
    pub(super) fn collect(trace: &Trace) -> Self {
        let mut events = trace.events.clone();
        events.sort_by_key(|event| event.timestamp);
        let last = events.last().map_or(0, |event| event.timestamp);
        let mut all = Self {
            jobs: Vec::new(),
            by_fence: HashMap::new(),
            dependencies: Vec::new(),
            end: Key {
                time: last,
                event: events.len(),
                part: 0,
            },
            events: Vec::new(),
        };
        for (index, event) in events.iter().enumerate() {
            all.take(
                Key {
                    time: event.timestamp,
                    event: index,
                    part: 0,
                },
                event.kind,
            );
        }
        all.events = events;
        all
    }

    fn job(&mut self, fence: FenceId) -> &mut Job {
        let end = Key {
            event: self.end.event + 1 + self.jobs.len(),
            ..self.end
        };
        let index = *self.by_fence.entry(fence).or_insert_with(|| {
            self.jobs.push(Job {
                fence,
                queued: None,
                run: None,
                done: None,
                end,
                cost: 0,
                waiting: 0,
                on_hardware: 0,
                error: 0,
            });
            self.jobs.len() - 1
        });
        &mut self.jobs[index]
    }

    /// The first event of a kind counts: a job is queued, run and done once.
    fn take(&mut self, key: Key, kind: EventKind) {
        match kind {
            EventKind::Queued {
                job,
                cost,
                waiting,
                on_hardware,
            } => {
                let job = self.job(job);
                if job.queued.is_none() {
                    job.queued = Some(key);
                    job.cost = cost;
                    job.waiting = waiting;
                    job.on_hardware = on_hardware;
                }
            }
            EventKind::Run { job, .. } => {
                self.job(job).run.get_or_insert(key);
            }
            EventKind::Done { job, error } => {
                let job = self.job(job);
                if job.done.is_none() {
                    job.done = Some(key);
                    job.error = error;
                }
            }
            EventKind::DependencyAdded { job, on } => {
                self.dependencies.push(Dependency { key, job, on });
            }
            EventKind::Unschedulable { .. }
            | EventKind::SliceBegin { .. }
            | EventKind::SliceEnd { .. }
            | EventKind::Instant { .. } => {}
        }
    }
}
