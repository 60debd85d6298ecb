// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a trace holds, and what it has to hold.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost::Message;
use ringfence_trace::perfetto::proto::{self, TrackDescriptor};
use ringfence_trace::{EventKind, Trace};
use serde_json::{json, Value};

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueCount {
    pub(crate) queued: u64,
    pub(crate) running: u64,
    pub(crate) never_ran: u64,
}

/// What a decoded trace holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) queues: BTreeMap<String, QueueCount>,
    pub(crate) slots: BTreeMap<String, u64>,
    pub(crate) instants: BTreeMap<String, u64>,
    pub(crate) flows: u64,
    pub(crate) slices: u64,
    pub(crate) unfinished: u64,
}

/// Decodes a trace and counts. Panics where the trace is not sound.
pub(crate) fn count(bytes: &[u8]) -> Counted {
    let trace = proto::Trace::decode(bytes).expect("the trace does not decode");
    let mut tracks: HashMap<u64, TrackDescriptor> = HashMap::new();
    let mut counted = Counted::default();
    let mut open: HashMap<u64, u64> = HashMap::new();
    let (mut started, mut ended) = (HashSet::new(), HashSet::new());
    let mut last = 0;
    for packet in trace.packet {
        assert_eq!(packet.trusted_packet_sequence_id, Some(1));
        if let Some(track) = packet.track_descriptor {
            assert!(track
                .parent_uuid
                .is_none_or(|parent| tracks.contains_key(&parent)));
            assert!(
                tracks.insert(track.uuid.unwrap(), track).is_none(),
                "a track twice"
            );
            continue;
        }
        let event = packet.track_event.expect("a packet that is nothing");
        let time = packet.timestamp.unwrap();
        assert!(time >= last, "time goes back");
        last = time;
        let uuid = event.track_uuid.unwrap();
        let track = &tracks[&uuid];
        let category = event.categories.first().map_or("", String::as_str);
        let queue = match track.name.as_deref() {
            Some("queued" | "running") => tracks[&track.parent_uuid.unwrap()].name.clone(),
            _ => track.name.clone(),
        };
        let queue = queue.unwrap();
        match event.r#type.unwrap() {
            proto::SLICE_BEGIN => {
                counted.slices += 1;
                let open = open.entry(uuid).or_default();
                *open += 1;
                assert_eq!(*open, 1, "slices overlap on a track");
                match category {
                    "queued" => counted.queues.entry(queue).or_default().queued += 1,
                    "running" => counted.queues.entry(queue).or_default().running += 1,
                    "slot" => *counted.slots.entry(queue).or_default() += 1,
                    other => panic!("a slice of category {other}"),
                }
            }
            proto::SLICE_END => {
                let open = open.get_mut(&uuid).expect("an end without a begin");
                *open = open.checked_sub(1).expect("an end without a begin");
            }
            proto::INSTANT if category == "never_ran" => {
                counted.queues.entry(queue).or_default().never_ran += 1;
            }
            proto::INSTANT => *counted.instants.entry(event.name.unwrap()).or_default() += 1,
            other => panic!("an event of type {other}"),
        }
        let unfinished = |note: &proto::DebugAnnotation| note.name.as_deref() == Some("unfinished");
        counted.unfinished += u64::from(event.debug_annotations.iter().any(unfinished));
        for flow in event.flow_ids {
            assert!(started.insert(flow), "a flow starts twice");
        }
        for flow in event.terminating_flow_ids {
            assert!(started.contains(&flow), "a flow ends before it starts");
            assert!(ended.insert(flow), "a flow ends twice");
        }
    }
    assert!(open.values().all(|&open| open == 0), "a slice does not end");
    assert_eq!(started, ended, "a flow does not end");
    counted.flows = started.len() as u64;
    counted
}

/// What a trace must count to, told from the events alone.
pub(crate) fn expected(trace: &Trace) -> Value {
    let mut queues: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    let mut ran = HashSet::new();
    let mut jobs = HashSet::new();
    let name = |context: u64| {
        let known = trace
            .tracks
            .queues
            .iter()
            .find(|queue| queue.context == context);
        known.map_or_else(|| format!("context {context}"), |queue| queue.name.clone())
    };
    let mut flows = 0;
    for event in &trace.events {
        match event.kind {
            EventKind::Queued { job, .. } => {
                queues.entry(name(job.context)).or_default()[0] += 1;
                jobs.insert(job);
            }
            EventKind::Run { job, .. } => {
                queues.entry(name(job.context)).or_default()[1] += 1;
                ran.insert(job);
            }
            EventKind::DependencyAdded { .. } => flows += 1,
            _ => {}
        }
    }
    for job in jobs.difference(&ran) {
        queues.entry(name(job.context)).or_default()[2] += 1;
    }
    let queues: serde_json::Map<String, Value> = queues
        .into_iter()
        .map(|(name, [q, r, n])| (name, json!({ "queued": q, "running": r, "never_ran": n })))
        .collect();
    json!({ "queues": queues, "flows": flows })
}
