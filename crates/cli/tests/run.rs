// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `ringfence run` as a user calls it: what it prints, with what status it ends, and that it finds
//! what is broken on purpose.

#[path = "run/dump.rs"]
mod dump;
#[path = "run/orchestrator.rs"]
mod orchestrator;
#[path = "run/trace.rs"]
mod trace;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ringfence_cli::plan::schema::{EVENTS, FAULTS};
use serde_json::Value;
use tempfile::NamedTempFile;

/// The plans that come with the sources.
const PLANS: [&str; 15] = [
    "campaign",
    "compositor-vs-compute",
    "eight-slots-thousand-queues",
    "fan-in-fan-out",
    "frame-pipeline",
    "gang",
    "hang-storm",
    "inference-batches",
    "many-small-clients",
    "migration",
    "noisy-neighbour",
    "reset-innocents",
    "teardown-races",
    "tour",
    "unplug",
];

/// Two queues, one waiting for the other, with faults that fail and faults that do not.
const SMALL: &str = r#"
name = "small"
[[queue]]
name = "first"
bypass = true
timeout = "300ms"
[[queue]]
name = "second"
credits = 4
[[stream]]
name = "sources"
queue = "first"
jobs = 600
work = ["fill", "copy", "timestamp"]
size = "64B..256B"
[[stream]]
name = "sinks"
queue = "second"
jobs = 600
cost = "0..4"
work = ["checksum", "semaphore"]
size = "128B"
after = ["sources"]
[[fault]]
kind = "double-interrupt"
stream = "sources"
every = 50
[[fault]]
kind = "fault"
stream = "sources"
job = 98
[[fault]]
kind = "hang"
stream = "sources"
job = 300
[[fault]]
kind = "cancel"
stream = "sinks"
job = 400
[expect]
timed_out = 1
failed = 3
"#;

fn ringfence(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .arg("run")
        .args(arguments)
        .output()
        .expect("the program runs")
}

fn plan(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::with_suffix(".toml").expect("a file");
    file.write_all(text.as_bytes()).expect("it can be written");
    file
}

fn name(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn json(output: &Output) -> Value {
    let text = std::str::from_utf8(&output.stdout).expect("JSON is UTF-8");
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}\n{}", errors(output)))
}

fn count(value: &Value, path: &str) -> u64 {
    let found = value.pointer(path).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("no count {path} in {value}"))
}

/// Every count in a run's object that must add up does, and zeros stand where zeros belong.
#[track_caller]
fn adds_up(run: &Value) {
    let jobs = count(run, "/jobs/submitted");
    let ended: u64 = ["completed", "failed", "cancelled", "timed_out"]
        .iter()
        .map(|way| count(run, &format!("/jobs/{way}")))
        .sum();
    assert_eq!(ended, jobs, "{run}");
    for path in ["/fences/armed", "/fences/signalled", "/data/checked"] {
        assert_eq!(count(run, path), jobs, "{path}: {run}");
    }
    for path in [
        "/fences/out_of_order",
        "/data/errors",
        "/leaks/jobs",
        "/leaks/fences",
        "/leaks/entries",
    ] {
        assert_eq!(count(run, path), 0, "{path}: {run}");
    }
    let queues = run["queues"].as_array().expect("a list of queues");
    let of_queues: u64 = queues.iter().map(|queue| count(queue, "/jobs")).sum();
    assert_eq!(of_queues, jobs);
    for queue in queues {
        assert!(count(queue, "/bypassed") <= count(queue, "/jobs"));
        for spread in ["submit_to_run_ns", "run_to_signal_ns"] {
            let [p50, p99, max] =
                ["p50", "p99", "max"].map(|at| count(&queue[spread], &format!("/{at}")));
            assert!(p50 <= p99 && p99 <= max, "{queue}");
        }
    }
}

fn shipped(plan: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../plans/{plan}.toml"))
}

#[test]
fn every_plan_holds_and_adds_up() {
    for plan in PLANS {
        let path = shipped(plan);
        let output = ringfence(&["--json", name(&path)]);
        assert_eq!(output.status.code(), Some(0), "{plan}: {}", errors(&output));
        adds_up(&json(&output));
        assert!(output.stderr.is_empty(), "{plan}: {}", errors(&output));
    }
    let known = std::fs::read_dir(shipped("tour").parent().expect("a folder")).expect("plans");
    assert_eq!(known.count(), PLANS.len(), "a plan that is not run here");
}

#[test]
fn the_campaign_has_ten_thousand_faults_of_every_kind() {
    let output = ringfence(&["--json", "--seed", "77", name(&shipped("campaign"))]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let run = json(&output);
    adds_up(&run);
    let injected = run["faults"]["injected"].as_object().expect("an object");
    let all: u64 = injected.values().filter_map(Value::as_u64).sum();
    assert!(all >= 10_000, "{run}");
    // Each that a plan can have.
    let text = std::fs::read_to_string(shipped("campaign")).expect("a plan");
    // Its firmware gives out the slots, so there is nothing to change.
    let kinds = FAULTS
        .iter()
        .chain(EVENTS)
        .filter(|kind| **kind != "change");
    for kind in kinds {
        assert!(
            text.contains(&format!("\"{kind}\"")),
            "{kind} is not planned"
        );
        assert!(injected.contains_key(*kind), "no {kind} in {run}");
    }
    for outcome in [
        "queue_reset",
        "device_reset",
        "migrated",
        "gone",
        "jobs_replayed",
    ] {
        assert!(count(&run, &format!("/recoveries/{outcome}")) > 0, "{run}");
    }
    assert!(count(&run, "/banned") > 0, "{run}");
}

#[test]
fn no_innocent_job_is_punished_by_a_reset_of_the_whole_device() {
    let output = ringfence(&["--json", name(&shipped("reset-innocents"))]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let run = json(&output);
    assert_eq!(count(&run, "/faults/injected/hang"), 30);
    assert_eq!(count(&run, "/jobs/timed_out"), 30);
    assert_eq!(count(&run, "/recoveries/queue_reset"), 0);
    assert!(count(&run, "/recoveries/device_reset") >= 30, "{run}");
    assert!(count(&run, "/recoveries/jobs_replayed") > 0, "{run}");
}

#[test]
fn what_is_broken_on_purpose_is_found_among_a_thousand_faults() {
    for (sabotage, named) in [
        ("signal-twice", "fences signalled twice"),
        ("out-of-order", "fences out of order"),
        ("leak-entry", "leaks"),
        ("leak-job", "leaks"),
        ("wrong-data", "wrong data"),
        ("lose-job", "jobs lost"),
    ] {
        let path = shipped("teardown-races");
        let output = ringfence(&["--json", "--sabotage", sabotage, name(&path)]);
        assert_eq!(output.status.code(), Some(1), "{sabotage}");
        let text = errors(&output);
        assert!(text.contains(named), "{sabotage}: {text}");
    }
}

#[test]
fn every_seed_holds() {
    for plan in ["tour", "hang-storm", "unplug", "teardown-races"] {
        for seed in ["2", "1234567", "18446744073709551615"] {
            let path = shipped(plan);
            let output = ringfence(&["--json", "--seed", seed, name(&path)]);
            assert_eq!(
                output.status.code(),
                Some(0),
                "{plan} {seed}: {}",
                errors(&output)
            );
            let run = json(&output);
            adds_up(&run);
            assert_eq!(run["seed"].to_string(), seed);
        }
    }
}

#[test]
fn the_object_has_the_keys_that_were_promised() {
    let file = plan(SMALL);
    let output = ringfence(&["--json", name(file.path())]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let run = json(&output);
    adds_up(&run);
    let keys = |value: &Value| {
        let object = value.as_object().expect("an object");
        let mut keys: Vec<String> = object.keys().cloned().collect();
        keys.sort();
        keys.join(" ")
    };
    assert_eq!(
        keys(&run),
        "banned data device elapsed_ms faults fences jobs leaks plan queues recoveries seed"
    );
    assert_eq!(
        keys(&run["jobs"]),
        "cancelled completed failed submitted timed_out"
    );
    assert_eq!(keys(&run["fences"]), "armed out_of_order signalled");
    assert_eq!(keys(&run["data"]), "checked errors");
    assert_eq!(keys(&run["leaks"]), "entries fences jobs");
    assert_eq!(
        keys(&run["queues"][0]),
        "bypassed jobs name run_to_signal_ns submit_to_run_ns"
    );
    assert_eq!(keys(&run["queues"][0]["submit_to_run_ns"]), "max p50 p99");
    assert_eq!(keys(&run["faults"]), "injected");
    assert_eq!(
        keys(&run["recoveries"]),
        "device_reset gone jobs_cancelled jobs_replayed migrated nothing queue_reset"
    );
    let injected = |kind: &str| count(&run, &format!("/faults/injected/{kind}"));
    assert_eq!((injected("hang"), injected("fault")), (1, 1));
    assert_eq!(injected("double-interrupt"), 12);
    assert_eq!(count(&run, "/recoveries/queue_reset"), 2);
    assert_eq!(count(&run, "/banned"), 0);
    assert_eq!(
        (run["plan"].as_str(), run["device"].as_str()),
        (Some("small"), Some("soft"))
    );
    assert!(count(&run, "/queues/0/bypassed") > 0);
    assert_eq!(count(&run, "/queues/1/bypassed"), 0);
}

#[test]
fn without_json_there_is_a_table_and_one_last_line() {
    let file = plan(SMALL);
    let output = ringfence(&[name(file.path())]);
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(text.lines().last(), Some("everything held"), "{text}");
    for queue in ["first", "second"] {
        let line = text
            .lines()
            .find(|line| line.starts_with(queue))
            .expect("a line per queue");
        assert_eq!(line.split_whitespace().nth(1), Some("600"), "{line}");
    }
    // No progress bar where nobody sees it.
    assert!(output.stderr.is_empty(), "{}", errors(&output));
}

#[test]
fn what_is_broken_on_purpose_is_found_and_named() {
    let file = plan(SMALL);
    for (sabotage, named) in [
        ("signal-twice", "fences signalled twice"),
        ("out-of-order", "fences out of order"),
        ("skip-dependency", "dependencies skipped"),
        ("leak-entry", "leaks"),
        ("leak-job", "leaks"),
        ("wrong-data", "wrong data"),
        ("lose-job", "jobs lost"),
    ] {
        let output = ringfence(&["--sabotage", sabotage, name(file.path())]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{sabotage}: {text}");
        let last = text.lines().last().unwrap_or("");
        assert!(
            last.starts_with("VIOLATED: ") && last.contains(named),
            "{sabotage}: {last}"
        );
        let output = ringfence(&["--json", "--sabotage", sabotage, name(file.path())]);
        assert_eq!(output.status.code(), Some(1), "{sabotage}");
        let _ = json(&output);
        assert!(
            errors(&output).contains(named),
            "{sabotage}: {}",
            errors(&output)
        );
    }
}

#[test]
fn a_plan_that_expects_something_else_is_violated() {
    let file = plan(&SMALL.replace("failed = 3", "failed = 4"));
    let output = ringfence(&[name(file.path())]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("3 jobs failed, 4 expected"), "{text}");
}

#[test]
fn what_cannot_be_used_is_refused() {
    let bad = plan("name = \"bad\"\n[[queue]]\nname = 1\n");
    for arguments in [
        &["--device", "hard"] as &[&str],
        &["--seed", "many"],
        &["--no-such-flag"],
        &["--sabotage", "everything"],
        &["no-such-plan.toml"],
        &[name(bad.path())],
    ] {
        let output = ringfence(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
}

#[test]
fn memory_does_not_grow_with_the_number_of_jobs() {
    // `RINGFENCE_TEST_JOBS=1000000` is the whole proof; this many show a leak of 30 bytes a job.
    let jobs = std::env::var("RINGFENCE_TEST_JOBS").unwrap_or_else(|_| "100000".to_owned());
    let jobs: u64 = jobs.parse().expect("RINGFENCE_TEST_JOBS is a number");
    let text = SMALL
        .split("[[fault]]")
        .next()
        .expect("text before the faults");
    let file = plan(&text.replace("jobs = 600", &format!("jobs = {}", jobs / 2)));
    let output = ringfence(&["--memory", name(file.path())]);
    let text = errors(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let kilobytes: Vec<f64> = text
        .lines()
        .filter_map(|line| line.strip_prefix("memory after")?.split_whitespace().nth(3))
        .map(|number| number.parse().expect("kilobytes"))
        .collect();
    let [warm, end] = kilobytes[..] else {
        panic!("no two figures: {text}")
    };
    assert!((end / warm - 1.0).abs() <= 0.05, "{warm} kB, then {end} kB");
}
