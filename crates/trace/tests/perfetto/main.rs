// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Counts what is in Perfetto traces: once with our own message structs, and once, where there is a
//! Python with the package `perfetto`, with Perfetto's own descriptors.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use prost::Message;
use ringfence_trace::perfetto::proto;
use ringfence_trace::perfetto::{self, Written};
use ringfence_trace::{Event, EventKind, FenceId, Trace};
use serde_json::{json, Value};

mod counted;
mod samples;

use counted::{count, expected, Counted, QueueCount};
use samples::{arbitrary_event, everything, recording, tracks};

fn write(trace: &Trace) -> (Vec<u8>, Written) {
    let mut bytes = Vec::new();
    let written = perfetto::write(trace, &mut bytes).unwrap();
    assert_eq!(written.bytes, bytes.len() as u64);
    (bytes, written)
}

#[test]
fn a_bit_of_everything_is_counted_right() {
    let (bytes, written) = write(&everything());
    let counted = count(&bytes);
    let queue = |queued, running, never_ran| QueueCount {
        queued,
        running,
        never_ran,
    };
    let expected = Counted {
        queues: BTreeMap::from([
            ("render".into(), queue(3, 3, 0)),
            ("copy".into(), queue(3, 1, 2)),
            ("context 9".into(), queue(1, 1, 0)),
        ]),
        slots: BTreeMap::from([("slot 0".into(), 3)]),
        instants: BTreeMap::from([
            ("timeout".into(), 1),
            ("hang".into(), 1),
            ("fault".into(), 1),
            ("fence 77:5".into(), 1),
        ]),
        flows: 4,
        slices: 7 + 5 + 3,
        // copy(1) runs, copy(3) waits, 9:1 runs, and slot 0 works.
        unfinished: 4,
    };
    assert_eq!(counted, expected);
    assert_eq!(
        (written.queued, written.running, written.never_ran),
        (7, 5, 2)
    );
    assert_eq!(
        (written.slot_slices, written.flows, written.instants),
        (3, 4, 3)
    );
    assert_eq!(written.unfinished, 4);
}

#[test]
fn what_is_written_is_read_as_text() {
    let (bytes, _) = write(&everything());
    let trace = proto::Trace::decode(&bytes[..]).unwrap();
    let mut text = String::new();
    let mut names: HashMap<u64, String> = HashMap::new();
    for packet in &trace.packet {
        if let Some(track) = &packet.track_descriptor {
            let parent = track
                .parent_uuid
                .map_or("", |parent| names[&parent].as_str());
            let name = format!("{parent}/{}", track.name.as_deref().unwrap());
            text += &format!("track {} {name}\n", track.uuid.unwrap());
            names.insert(track.uuid.unwrap(), name);
        }
        if let Some(event) = &packet.track_event {
            let kind = ["", "begin", "end", "instant"][event.r#type.unwrap() as usize];
            let name = event.name.as_deref().unwrap_or("");
            text += &format!(
                "{} {kind} {} {name}",
                packet.timestamp.unwrap(),
                event.track_uuid()
            );
            for note in &event.debug_annotations {
                let value = note.uint_value.map(|value| value.to_string());
                let value = value.or(note.int_value.map(|value| value.to_string()));
                let value = value.or(note.bool_value.map(|value| value.to_string()));
                text += &format!(" {}={}", note.name(), value.unwrap());
            }
            if !event.flow_ids.is_empty() || !event.terminating_flow_ids.is_empty() {
                text += &format!(" {:?}->{:?}", event.terminating_flow_ids, event.flow_ids);
            }
            text += "\n";
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_same_events_give_the_same_bytes() {
    assert_eq!(write(&everything()).0, write(&everything()).0);
}

#[test]
fn an_empty_recording_is_a_trace() {
    let (bytes, written) = write(&Trace::default());
    assert_eq!(count(&bytes), Counted::default());
    assert_eq!(written.packets, 1);
}

#[test]
fn dropped_events_are_told() {
    let trace = Trace {
        dropped: 12,
        ..everything()
    };
    let counted = count(&write(&trace).0);
    assert_eq!(counted.instants.get("events dropped"), Some(&1));
}

#[test]
fn a_dependency_that_was_not_waited_for_is_marked() {
    let (early, late) = (FenceId::new(1, 1), FenceId::new(2, 1));
    let kinds = [
        (
            1,
            EventKind::DependencyAdded {
                job: early,
                on: late,
            },
        ),
        (
            2,
            EventKind::Run {
                job: early,
                waiting: 0,
                on_hardware: 1,
            },
        ),
        (
            3,
            EventKind::Run {
                job: late,
                waiting: 0,
                on_hardware: 2,
            },
        ),
    ];
    let events = kinds
        .map(|(timestamp, kind)| Event { timestamp, kind })
        .to_vec();
    let (bytes, _) = write(&Trace {
        tracks: tracks(),
        events,
        dropped: 0,
    });
    assert_eq!(count(&bytes).flows, 1);
    let trace = proto::Trace::decode(&bytes[..]).unwrap();
    let marked: Vec<u64> = trace
        .packet
        .iter()
        .filter(|packet| {
            let event = packet.track_event.as_ref();
            event.is_some_and(|event| {
                event
                    .debug_annotations
                    .iter()
                    .any(|note| note.name() == "began_before_dependency")
            })
        })
        .map(|packet| packet.timestamp())
        .collect();
    assert_eq!(marked, [2]);
}

#[test]
fn recordings_of_the_kernel_become_sound_traces() {
    for name in ["basic", "concurrent", "priority", "overhead"] {
        let trace = recording(name);
        let counted = count(&write(&trace).0);
        let queues: serde_json::Map<String, Value> = counted
            .queues
            .iter()
            .map(|(name, q)| {
                let QueueCount {
                    queued,
                    running,
                    never_ran,
                } = q;
                let count = json!({
                    "queued": queued, "running": running, "never_ran": never_ran,
                });
                (name.clone(), count)
            })
            .collect();
        assert_eq!(
            json!({ "queues": queues, "flows": counted.flows }),
            expected(&trace),
            "{name}"
        );
        assert_eq!(counted.unfinished, 0);
    }
}

/// Runs the checker with Perfetto's own descriptors. The interpreter is named by the environment, as
/// the package `perfetto` is not everywhere; CI names one.
#[test]
fn perfettos_own_descriptors_count_the_same() {
    let Some(python) = std::env::var_os("RINGFENCE_PERFETTO_PYTHON") else {
        // Not `eprintln!`, which the test harness would swallow.
        let note = "skipped: RINGFENCE_PERFETTO_PYTHON names no Python with the package `perfetto`";
        writeln!(std::io::stderr(), "{note}").unwrap();
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check_perfetto.py");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trace.perfetto-trace");
    let run = |bytes: &[u8], expected: &Value| {
        std::fs::write(&file, bytes).unwrap();
        let expected_file = directory.path().join("expected.json");
        std::fs::write(&expected_file, expected.to_string()).unwrap();
        let expected = format!("@{}", expected_file.display());
        let output = Command::new(&python)
            .arg(&script)
            .arg(&file)
            .arg(expected)
            .output();
        let output = output.expect("the interpreter does not start");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (
            output.status.code(),
            text + &String::from_utf8_lossy(&output.stderr),
        )
    };
    for (name, trace) in [
        ("everything", everything()),
        ("basic", recording("basic")),
        ("overhead", recording("overhead")),
    ] {
        let (bytes, written) = write(&trace);
        let (status, text) = run(&bytes, &expected(&trace));
        assert_eq!(status, Some(0), "{name}: {text}");
        let counted: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(counted["packets"], json!(written.packets), "{name}");
        assert_eq!(counted["unfinished"], json!(written.unfinished), "{name}");
    }
    // The checker does see what is wrong: a wrong count, and a trace that lost its last packet.
    let (bytes, _) = write(&everything());
    assert_eq!(run(&bytes, &json!({ "flows": 5 })).0, Some(1));
    let mut trace = proto::Trace::decode(&bytes[..]).unwrap();
    trace.packet.pop();
    assert_eq!(run(&trace.encode_to_vec(), &json!({})).0, Some(1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_events_make_a_sound_trace(events in prop::collection::vec(arbitrary_event(), 0..60)) {
        let dependencies = events
            .iter()
            .filter(|event| matches!(event.kind, EventKind::DependencyAdded { .. }))
            .count() as u64;
        let of = |wanted: fn(&EventKind) -> Option<FenceId>| -> HashSet<FenceId> {
            events.iter().filter_map(|event| wanted(&event.kind)).collect()
        };
        let queued = of(|kind| match kind {
            EventKind::Queued { job, .. } => Some(*job),
            _ => None,
        });
        let ran = of(|kind| match kind {
            EventKind::Run { job, .. } => Some(*job),
            _ => None,
        });
        let (bytes, written) = write(&Trace { tracks: tracks(), events, dropped: 0 });
        let counted = count(&bytes);
        prop_assert_eq!(counted.flows, dependencies);
        prop_assert_eq!(written.queued, queued.len() as u64);
        prop_assert_eq!(written.running, ran.len() as u64);
        prop_assert_eq!(counted.slices, written.queued + written.running + written.slot_slices);
        prop_assert_eq!(counted.unfinished, written.unfinished);
    }
}
