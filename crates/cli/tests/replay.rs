// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Recordings through the program itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ringfence_trace::ftrace;
use serde_json::Value;

/// The recordings, with their jobs and dependencies as `data/gpu_scheduler/README.md` has them.
const RECORDINGS: [(&str, u64, u64); 4] = [
    ("basic", 501, 297),
    ("concurrent", 2236, 0),
    ("priority", 1100, 0),
    ("overhead", 2002, 1000),
];

fn recording(name: &str) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/gpu_scheduler");
    data.join(format!("{name}.trace.txt"))
}

fn replay(file: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .arg("run")
        .arg(file)
        .args(args)
        .output()
        .expect("the program starts")
}

/// Replays `file` and returns the object that `--json` prints.
fn object(file: &Path, args: &[&str]) -> Value {
    let output = replay(file, &[args, &["--json"]].concat());
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{}: {told}", file.display());
    serde_json::from_slice(&output.stdout).expect("one object")
}

fn replay_text(text: &str, args: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("made.trace.txt");
    fs::write(&file, text).expect("it is writable");
    replay(&file, args)
}

fn assert_held(object: &Value, jobs: u64, dependencies: u64) {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_u64);
    for key in ["recorded", "replayed", "submitted", "completed"] {
        assert_eq!(
            number(&format!("/jobs/{key}")),
            Some(jobs),
            "{key}: {object}"
        );
    }
    for key in [
        "left_out",
        "failed",
        "cancelled",
        "timed_out",
        "cancelled_too_late",
    ] {
        assert_eq!(number(&format!("/jobs/{key}")), Some(0), "{key}: {object}");
    }
    for key in ["armed", "signalled"] {
        assert_eq!(
            number(&format!("/fences/{key}")),
            Some(jobs),
            "{key}: {object}"
        );
    }
    for key in ["recorded", "replayed"] {
        let pointer = format!("/dependencies/{key}");
        assert_eq!(number(&pointer), Some(dependencies), "{key}: {object}");
    }
    let zeros = [
        "/fences/out_of_order",
        "/dependencies/not_waited_for",
        "/diagnostics",
    ];
    let leaks = [
        "/leaks/jobs",
        "/leaks/fences",
        "/leaks/entries",
        "/leaks/bytes",
    ];
    for key in zeros.into_iter().chain(leaks) {
        assert_eq!(number(key), Some(0), "{key}: {object}");
    }
    assert_eq!(object["held"], true, "{object}");
    let rings = object["rings"].as_array().expect("rings");
    let of_rings: u64 = rings.iter().filter_map(|ring| ring["jobs"].as_u64()).sum();
    assert_eq!(of_rings, jobs);
    for side in ["recorded", "ours"] {
        let count = number(&format!("/queue_to_run_ns/{side}/count"));
        assert_eq!(count, Some(jobs), "{side}: {object}");
        let idle: u64 = rings
            .iter()
            .filter_map(|ring| ring[side]["idle_ns"].as_u64())
            .sum();
        assert_eq!(number(&format!("/ring_idle_ns/{side}")), Some(idle));
    }
}

#[test]
fn recordings_replay_at_full_speed_with_everything_held() {
    for (name, jobs, dependencies) in RECORDINGS {
        let object = object(&recording(name), &["--speed", "max"]);
        assert_held(&object, jobs, dependencies);
    }
}

#[test]
fn recordings_replay_at_their_own_pace_with_everything_held() {
    for (name, jobs, dependencies) in RECORDINGS {
        let object = object(&recording(name), &[]);
        assert_held(&object, jobs, dependencies);
        // The last is submitted when it was, and jobs take their time.
        assert!(
            object["elapsed_ms"].as_f64() >= Some(900.0),
            "{name}: {object}"
        );
    }
}

#[test]
fn the_table_stands_beside_the_recorded_figures() {
    let output = replay(&recording("basic"), &["--speed", "100x"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).expect("text");
    for part in [
        "basic.trace.txt at 100x: 501 of 501 jobs, 297 of 297 dependencies, 15 contexts, 6 rings",
        "  all jobs                        353.0 us    539.0 us    549.0 us |",
        "  jobs without dependencies       384.0 us    542.0 us    549.0 us |",
        "  together                                             501    1.517 ms",
        "everything held: 501 jobs submitted, 501 completed, 0 cancelled",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn our_own_trace_replays_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = folder.path().join("ours.trace.txt");
    let path = ours.to_str().expect("a path");
    object(&recording("basic"), &["--speed", "max", "--trace", path]);
    let theirs = ftrace::parse(&fs::read(recording("basic")).expect("it is there"));
    let text = fs::read(&ours).expect("it was written");
    let parsed = ftrace::parse(&text);
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    assert_eq!(parsed.jobs.len(), theirs.jobs.len());
    assert_eq!(parsed.dependencies(), theirs.dependencies());
    assert!(parsed
        .jobs
        .iter()
        .all(|job| job.run_ts.is_some() && job.done_ts.is_some()));
    assert_held(&object(&ours, &["--speed", "max"]), 501, 297);
    let perfetto = folder.path().join("ours.perfetto");
    let path = perfetto.to_str().expect("a path");
    object(&recording("basic"), &["--speed", "max", "--trace", path]);
    let bytes = fs::metadata(&perfetto).expect("it was written").len();
    assert!(bytes > 10_000, "{bytes}");
}

fn line(us: u64, event: &str) -> String {
    let (seconds, us) = (us / 1_000_000, us % 1_000_000);
    format!("  t-1 [000] ..... {seconds}.{us:06}: drm_sched_job_{event}\n")
}

fn queue(us: u64, fence: &str, ring: &str) -> String {
    let counts = "job count:0, hw job count:0, client_id:1";
    line(
        us,
        &format!("queue: dev=d, fence={fence}, ring={ring}, {counts}"),
    )
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_the_rest_is_replayed() {
    let text = [
        queue(10, "1:1", "r"),
        line(
            11,
            "run: dev=d, fence=7:7, ring=r, job count:0, hw job count:0, client_id:1",
        ),
        line(12, "add_dep: fence=1:1 depends on fence=9:9"),
        queue(5, "1:2", "r"),
        "  t-1 [000] ..... 0.000020: sched_switch: something else\n".into(),
        line(21, "queue: dev=d, fence="),
        queue(22, "1:3", "r").trim_end().into(),
    ]
    .concat();
    let output = replay_text(&text, &["--speed", "max", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(object["jobs"]["replayed"], 2, "{object}");
    assert_eq!(object["diagnostics"], 5, "{object}");
    assert_eq!(object["unknown_events"], 1, "{object}");
    let told = String::from_utf8_lossy(&output.stderr);
    for number in [2, 3, 4, 6, 7] {
        assert!(
            told.contains(&format!("made.trace.txt:{number}:")),
            "{number}: {told}"
        );
    }
}

#[test]
fn few_of_many_diagnostics_are_told() {
    let text = queue(1, "1:1", "r") + &"what?\n".repeat(1000);
    let output = replay_text(&text, &["--speed", "max"]);
    assert_eq!(output.status.code(), Some(0));
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(told.lines().count(), 21, "{told}");
    assert!(told.ends_with(": 980 more of that sort\n"), "{told}");
}

#[test]
fn a_file_without_jobs_is_refused() {
    for text in ["", "# tracer: nop\n", "nothing of that sort\n"] {
        let output = replay_text(text, &[]);
        assert_eq!(output.status.code(), Some(2), "{text:?}");
        assert!(output.stdout.is_empty());
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("there is no job to replay"), "{told}");
    }
}

#[test]
fn what_is_for_plans_only_is_not_ignored() {
    let text = queue(1, "1:1", "r");
    let output = replay_text(&text, &["--sabotage", "lose-job"]);
    assert_eq!(output.status.code(), Some(2));
    let output = replay_text(&text, &["--speed", "max", "--seed", "7"]);
    assert_eq!(output.status.code(), Some(0));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("--seed changes nothing"), "{told}");
}

#[test]
fn dependencies_that_point_forward_are_waited_for() {
    let text = [
        queue(0, "1:1", "r"),
        line(1, "add_dep: fence=1:1 depends on fence=2:2"),
        line(1, "add_dep: fence=1:1 depends on fence=3:1"),
        queue(2, "2:1", "s"),
        queue(3, "2:2", "s"),
        queue(4, "3:1", "r"),
    ]
    .concat();
    for speed in ["1x", "max"] {
        let output = replay_text(&text, &["--speed", speed, "--json"]);
        let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
        assert_eq!(output.status.code(), Some(0), "{object}");
        assert_eq!(object["dependencies"]["replayed"], 2, "{object}");
        assert_eq!(object["dependencies"]["not_waited_for"], 0, "{object}");
    }
}

#[test]
fn cancelled_jobs_are_cancelled_or_have_run() {
    let mut text = String::new();
    // Each waits for one that takes 20 ms, so that the cancel finds it waiting.
    text += &queue(0, "1:1", "r");
    text += &line(
        1,
        "run: dev=d, fence=1:1, ring=r, job count:0, hw job count:0, client_id:1",
    );
    for number in 1..=20 {
        text += &queue(10, &format!("2:{number}"), "s");
        text += &line(
            11,
            &format!("add_dep: fence=2:{number} depends on fence=1:1"),
        );
    }
    for number in 1..=20 {
        text += &line(10_000, &format!("done: fence=2:{number} signaled"));
    }
    text += &line(20_000, "done: fence=1:1 signaled");
    let output = replay_text(&text, &["--json"]);
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(output.status.code(), Some(0), "{object}");
    let count = |key: &str| object["jobs"][key].as_u64().unwrap_or(u64::MAX);
    assert_eq!(
        count("cancelled") + count("cancelled_too_late"),
        20,
        "{object}"
    );
    assert_eq!(count("cancelled") + count("completed"), 21, "{object}");
}

#[test]
fn a_context_may_have_more_jobs_than_a_queue_holds() {
    let mut text = queue(0, "2:1", "s") + &line(0, "add_dep: fence=2:1 depends on fence=1:40000");
    for number in 1..=40_000 {
        text += &queue(number, &format!("1:{number}"), "r");
    }
    let output = replay_text(&text, &["--speed", "max", "--json"]);
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(output.status.code(), Some(0), "{object}");
    assert_eq!(object["jobs"]["completed"], 40_001, "{object}");
    // What is submitted later might never be, if the queue were full of jobs that wait for it.
    assert_eq!(object["dependencies"]["left_out"], 1, "{object}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("1 dependencies on jobs that are queued later"),
        "{told}"
    );
}

#[test]
fn times_far_apart_are_cut_and_told() {
    let centuries = 9_000_000_000_000_000;
    let text = queue(0, "1:1", "r") + &queue(centuries, "1:2", "r");
    let output = replay_text(&text, &["--speed", "1000x", "--json"]);
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(output.status.code(), Some(0), "{object}");
    assert_eq!(object["jobs"]["replayed"], 2);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("nothing was submitted for more than 10 s"),
        "{told}"
    );
}
