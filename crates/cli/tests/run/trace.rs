// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What `--trace` writes, counted.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost::Message as _;
use ringfence_trace::{ftrace, perfetto::proto};
use tempfile::TempDir;

use super::{adds_up, count, json, name, plan, ringfence, SMALL};

/// What a Perfetto trace holds.
#[derive(Default)]
struct Counted {
    /// Slices by track and category.
    slices: BTreeMap<(String, String), u64>,
    instants: BTreeMap<String, u64>,
    flows: u64,
}

fn counted(bytes: &[u8]) -> Counted {
    let trace = proto::Trace::decode(bytes).expect("a trace that Perfetto can read");
    let mut tracks: HashMap<u64, (String, Option<u64>)> = HashMap::new();
    let mut open: HashMap<u64, u64> = HashMap::new();
    let (mut counted, mut last) = (Counted::default(), 0);
    let (mut begun, mut ended) = (HashSet::new(), HashSet::new());
    for packet in trace.packet {
        if let Some(track) = packet.track_descriptor {
            let name = track.name.unwrap_or_default();
            tracks.insert(track.uuid.expect("a number"), (name, track.parent_uuid));
            continue;
        }
        let Some(event) = packet.track_event else {
            continue;
        };
        let time = packet.timestamp.expect("a time");
        assert!(time >= last, "time goes back");
        last = time;
        let uuid = event.track_uuid.expect("a track");
        let category = event.categories.first().cloned().unwrap_or_default();
        match event.r#type {
            Some(proto::SLICE_BEGIN) => {
                *open.entry(uuid).or_default() += 1;
                // The jobs of a queue are on child tracks of it.
                let (mut track, parent) = tracks[&uuid].clone();
                if track == "queued" || track == "running" {
                    track = tracks[&parent.expect("a queue")].0.clone();
                }
                *counted.slices.entry((track, category)).or_default() += 1;
            }
            Some(proto::SLICE_END) => {
                let open = open.get_mut(&uuid).expect("an end of something");
                *open = open.checked_sub(1).expect("an end of something");
            }
            Some(proto::INSTANT) => {
                *counted
                    .instants
                    .entry(event.name.unwrap_or_default())
                    .or_default() += 1;
            }
            other => panic!("an event of type {other:?}"),
        }
        begun.extend(event.flow_ids);
        for flow in event.terminating_flow_ids {
            assert!(
                begun.contains(&flow) && ended.insert(flow),
                "a flow without a start"
            );
        }
    }
    assert!(open.values().all(|&left| left == 0), "a slice does not end");
    assert_eq!(begun, ended, "a flow does not end");
    counted.flows = begun.len() as u64;
    counted
}

#[test]
fn a_perfetto_trace_holds_every_job_and_every_dependency() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("run.pftrace");
    let file = plan(SMALL);
    let output = ringfence(&["--json", "--trace", name(&path), name(file.path())]);
    let run = json(&output);
    assert_eq!(output.status.code(), Some(0));
    adds_up(&run);
    let counted = counted(&std::fs::read(&path).expect("the trace was written"));
    let slices = |track: &str, category: &str| {
        let key = (track.to_owned(), category.to_owned());
        counted.slices.get(&key).copied().unwrap_or(0)
    };
    for queue in ["first", "second"] {
        assert_eq!(slices(queue, "queued"), 600, "{queue}");
        let never_ran = 600 - slices(queue, "running");
        // The two sinks behind the failed sources did not run, and perhaps the cancelled one.
        let most = if queue == "second" { 2..=3 } else { 0..=0 };
        assert!(most.contains(&never_ran), "{queue}: {never_ran} never ran");
    }
    let on_slots: u64 = counted
        .slices
        .iter()
        .filter(|((_, category), _)| category == "slot")
        .map(|(_, count)| count)
        .sum();
    assert!(on_slots >= 600, "{on_slots} slices on slots");
    let dependencies = flows_in_the_text();
    assert_eq!((counted.flows, dependencies), (600, 600));
    let instant = |name: &str| counted.instants.get(name).copied().unwrap_or(0);
    assert!(instant("timeout") >= count(&run, "/jobs/timed_out"));
    assert_eq!(instant("fault"), 1);
}

/// Runs once more for the kernel's text, and counts the same there.
fn flows_in_the_text() -> u64 {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("run.trace.txt");
    let file = plan(SMALL);
    let output = ringfence(&["--json", "--trace", name(&path), name(file.path())]);
    assert_eq!(output.status.code(), Some(0));
    let recording = ftrace::parse(&std::fs::read(&path).expect("the trace was written"));
    assert_eq!(
        recording.diagnostics.count(),
        0,
        "{:?}",
        recording.diagnostics
    );
    assert_eq!(recording.jobs.len(), 1200);
    recording
        .jobs
        .iter()
        .map(|job| job.dependencies.len() as u64)
        .sum()
}
