// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Names tracks with numbers, in the order in which they are asked for.

use std::collections::{BTreeMap, HashMap};

use super::proto::{ProcessDescriptor, TrackDescriptor, CHILDREN_BY_RANK};
use crate::event::{SlotId, Trace};

/// The track of the process, parent of all others.
pub(super) const PROCESS: u64 = 1;

/// The tracks of one queue.
#[derive(Debug)]
struct Queue {
    name: String,
    uuid: u64,
    queued: Vec<u64>,
    running: Vec<u64>,
}

/// All tracks of a trace.
#[derive(Debug)]
pub(super) struct TrackTable {
    process: String,
    pid: u32,
    queues: Vec<Queue>,
    by_context: HashMap<u64, usize>,
    slots: BTreeMap<u32, (String, u64)>,
    other_fences: Option<u64>,
    next: u64,
}

/// Which of a queue's two groups of lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Queued,
    Running,
}

impl TrackTable {
    pub(super) fn new(trace: &Trace) -> Self {
        let mut table = Self {
            process: trace.tracks.process.clone(),
            pid: trace.tracks.pid,
            queues: Vec::new(),
            by_context: HashMap::new(),
            slots: BTreeMap::new(),
            other_fences: None,
            next: PROCESS + 1,
        };
        for queue in &trace.tracks.queues {
            if !table.by_context.contains_key(&queue.context) {
                table.add_queue(queue.context, queue.name.clone());
            }
        }
        for (index, slot) in trace.tracks.slots.iter().enumerate() {
            let uuid = table.number();
            table.slots.insert(index as u32, (slot.name.clone(), uuid));
        }
        table
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn add_queue(&mut self, context: u64, name: String) -> usize {
        let uuid = self.number();
        self.queues.push(Queue {
            name,
            uuid,
            queued: Vec::new(),
            running: Vec::new(),
        });
        self.by_context.insert(context, self.queues.len() - 1);
        self.queues.len() - 1
    }

    /// The index of the queue with this context; made up where the recording does not name it.
    pub(super) fn queue(&mut self, context: u64) -> usize {
        match self.by_context.get(&context) {
            Some(&index) => index,
            None => self.add_queue(context, format!("context {context}")),
        }
    }

    /// The queue's own track.
    pub(super) fn queue_track(&self, queue: usize) -> u64 {
        self.queues[queue].uuid
    }

    /// The name of the queue with this context, if it has a track.
    pub(super) fn queue_name(&self, context: u64) -> Option<&str> {
        self.by_context
            .get(&context)
            .map(|&index| self.queues[index].name.as_str())
    }

    /// A lane of a queue. Lanes come into being in the order of their numbers, without holes.
    pub(super) fn lane(&mut self, queue: usize, kind: Lane, lane: usize) -> u64 {
        let next = self.next;
        let queue = &mut self.queues[queue];
        let lanes = if kind == Lane::Queued {
            &mut queue.queued
        } else {
            &mut queue.running
        };
        if let Some(&uuid) = lanes.get(lane) {
            return uuid;
        }
        debug_assert_eq!(lane, lanes.len(), "a lane was left out");
        lanes.push(next);
        self.next += 1;
        next
    }

    /// The track of a slot; made up where the recording does not name it.
    pub(super) fn slot(&mut self, slot: SlotId) -> u64 {
        if let Some((_, uuid)) = self.slots.get(&slot.0) {
            return *uuid;
        }
        let uuid = self.number();
        self.slots
            .insert(slot.0, (format!("slot {}", slot.0), uuid));
        uuid
    }

    /// The track for fences that belong to no job of the recording.
    pub(super) fn other_fences(&mut self) -> u64 {
        if let Some(uuid) = self.other_fences {
            return uuid;
        }
        let uuid = self.number();
        self.other_fences = Some(uuid);
        uuid
    }

    /// The descriptors of all tracks, parents first.
    pub(super) fn descriptors(&self) -> Vec<TrackDescriptor> {
        let mut all = vec![TrackDescriptor {
            uuid: Some(PROCESS),
            name: Some(self.process.clone()),
            process: Some(ProcessDescriptor {
                pid: Some(i32::try_from(self.pid).unwrap_or(i32::MAX)),
                process_name: Some(self.process.clone()),
            }),
            child_ordering: Some(CHILDREN_BY_RANK),
            ..TrackDescriptor::default()
        }];
        let mut rank = 0;
        let mut child = |parent: u64, uuid: u64, name: &str, ranked: bool| {
            rank += i32::from(ranked);
            TrackDescriptor {
                uuid: Some(uuid),
                parent_uuid: Some(parent),
                name: Some(name.into()),
                child_ordering: ranked.then_some(CHILDREN_BY_RANK),
                sibling_order_rank: Some(if ranked {
                    rank
                } else {
                    i32::from(name == "running")
                }),
                ..TrackDescriptor::default()
            }
        };
        for queue in &self.queues {
            all.push(child(PROCESS, queue.uuid, &queue.name, true));
            all.extend(
                queue
                    .queued
                    .iter()
                    .map(|&u| child(queue.uuid, u, "queued", false)),
            );
            all.extend(
                queue
                    .running
                    .iter()
                    .map(|&u| child(queue.uuid, u, "running", false)),
            );
        }
        for (name, uuid) in self.slots.values() {
            all.push(child(PROCESS, *uuid, name, true));
        }
        if let Some(uuid) = self.other_fences {
            all.push(child(PROCESS, uuid, "other fences", true));
        }
        all
    }
}
