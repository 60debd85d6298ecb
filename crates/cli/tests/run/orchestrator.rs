// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Runs on devices whose slots an orchestrator gives out: what is judged, and what is printed.

use serde_json::Value;
use tempfile::TempDir;

use super::{adds_up, count, errors, json, name, plan, ringfence, shipped};

/// Queues of all priorities, a pair, kinds of slots, a change, hangs, and a queue that is killed.
const BUSY: &str = r#"
name = "busy"
[device]
kinds = { render = 1, compute = 2, copy = 1 }
timeout = "200ms"
[orchestrator]
slice = "1ms"
switch_cost = "20us"
[[queue]]
name = "ui"
priority = "high"
kinds = ["render"]
client = "desktop"
[[queue]]
name = "left"
group = "pair"
kinds = ["compute"]
[[queue]]
name = "right"
group = "pair"
kinds = ["compute", "copy"]
[[queue]]
name = "hog"
count = 3
priority = "low"
weight = 50
client = "batch"
[[queue]]
name = "copy"
kinds = ["copy"]
bypass = true
client = "batch"
[[stream]]
name = "frames"
queue = "ui"
jobs = 60
every = "2ms"
deadline = "10s"
work = ["fill", "copy"]
size = "256B"
[[stream]]
name = "lefts"
queue = "left"
jobs = 100
work = ["spin", "fill"]
duration = "200us"
size = "64B"
[[stream]]
name = "rights"
queue = "right"
jobs = 100
work = ["spin", "fill"]
duration = "200us"
size = "64B"
after = ["lefts"]
[[stream]]
name = "hogs"
count = 3
queue = "hog"
jobs = 40
work = ["spin", "checksum"]
duration = "1..3ms"
size = "64B"
[[stream]]
name = "copies"
queue = "copy"
jobs = 100
work = "copy"
size = "256B"
[[event]]
kind = "change"
queue = "hog"
priority = "normal"
weight = 200
after = 200
[expect]
completed = 480
late = 0
longest_wait = { high = "20s", hog = "20s" }
"#;

/// What goes wrong in some of the runs.
const FAULTS: &str = r#"
[[fault]]
kind = "hang"
stream = "lefts"
job = 50
[[fault]]
kind = "fault"
stream = "frames"
job = 20
[[fault]]
kind = "kill"
stream = "copies"
every = 30
[[event]]
kind = "reset"
after = 300
"#;

/// The numbers that are counted of a seat.
const COUNTED: [&str; 8] = [
    "busy_ns",
    "evictions",
    "longest_wait_ns",
    "measured_ns",
    "preemptions",
    "stays",
    "waited_ns",
    "warm",
];

fn list<'a>(run: &'a Value, path: &str) -> &'a Vec<Value> {
    let found = run.pointer(path).and_then(Value::as_array);
    found.unwrap_or_else(|| panic!("no list {path} in {run}"))
}

fn keys(value: &Value) -> Vec<&str> {
    let object = value.as_object().expect("an object");
    let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_busy_device_holds_and_tells_everything() {
    let file = plan(BUSY);
    let output = ringfence(&["--json", name(file.path())]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let run = json(&output);
    adds_up(&run);
    let seen = &run["orchestrator"];
    assert_eq!(
        keys(seen),
        ["clients", "groups", "policy", "queues", "shares", "slots"]
    );
    assert_eq!(seen["policy"], "fair");
    let with = |more: &[&'static str]| {
        let mut all = [&COUNTED[..], more].concat();
        all.sort_unstable();
        all
    };
    let queues = list(seen, "/queues");
    assert_eq!(queues.len(), 7);
    for queue in queues {
        assert_eq!(keys(queue), with(&["client", "name", "priority", "weight"]));
        assert!(count(queue, "/stays") > 0, "{queue}");
        assert!(count(queue, "/warm") <= count(queue, "/stays"), "{queue}");
        let longest = count(queue, "/longest_wait_ns");
        assert!(longest <= count(queue, "/waited_ns"), "{queue}");
    }
    // As they are since the change.
    assert_eq!(queues[3]["name"], "hog-0");
    assert_eq!(
        (&queues[3]["priority"], &queues[3]["weight"]),
        (&"normal".into(), &200.into())
    );
    assert_eq!(count(&run, "/faults/injected/change"), 1);
    // What clients have used is what their queues have.
    let clients = list(seen, "/clients");
    let named = |client: &Value| client["name"].as_str().expect("a name").to_owned();
    assert_eq!(
        clients.iter().map(named).collect::<Vec<_>>(),
        ["desktop", "pair", "batch"]
    );
    for client in clients {
        assert_eq!(keys(client), with(&["name"]));
        let own = queues
            .iter()
            .filter(|queue| queue["client"] == client["name"]);
        let stays: u64 = own.map(|queue| count(queue, "/stays")).sum();
        assert_eq!(stays, count(client, "/stays"), "{client}");
    }
    let slots = list(seen, "/slots");
    let engines: Vec<_> = slots.iter().map(|slot| slot["engine"].as_str()).collect();
    assert_eq!(engines, ["compute", "compute", "copy", "render"].map(Some));
    let binds: u64 = slots.iter().map(|slot| count(slot, "/binds")).sum();
    let stays: u64 = queues.iter().map(|queue| count(queue, "/stays")).sum();
    assert!(binds >= stays, "{binds} binds for {stays} stays");
    let groups = list(seen, "/groups");
    assert_eq!(groups[0]["name"], "pair");
    assert!(count(&groups[0], "/stays") > 0);
    assert_eq!(seen["shares"], Value::Null);
    let deadlines = &run["jobs"]["deadlines"];
    assert_eq!(
        (count(deadlines, "/jobs"), count(deadlines, "/late")),
        (60, 0)
    );
    assert!(count(deadlines, "/longest_ns") > 0);
}

#[test]
fn a_busy_device_survives_hangs_resets_and_kills_without_preemption_too() {
    for preemption in ["true", "false"] {
        let text = BUSY
            .replace(
                "slice = \"1ms\"",
                &format!("slice = \"1ms\"\npreemption = {preemption}"),
            )
            .replace("completed = 480", "completed = \"400..478\"\ntimed_out = 1");
        let (before, expect) = text.split_once("[expect]").expect("expectations");
        let file = plan(&format!("{before}{FAULTS}[expect]{expect}"));
        let output = ringfence(&["--json", name(file.path())]);
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        let run = json(&output);
        adds_up(&run);
        assert!(count(&run, "/recoveries/queue_reset") > 0, "{run}");
        assert_eq!(count(&run, "/faults/injected/kill"), 3, "{run}");
    }
}

#[test]
fn a_device_can_be_pulled_out_and_another_has_an_orchestrator_too() {
    let text = BUSY
        .replace("group = \"pair\"\n", "client = \"pair\"\n")
        .replace("completed = 480", "completed = \"1..\"");
    let (before, expect) = text.split_once("[expect]").expect("expectations");
    let unplug = "[[event]]\nkind = \"surprise-unplug\"\nafter = 250\n";
    let file = plan(&format!("{before}{unplug}[expect]{expect}"));
    let folder = TempDir::new().expect("a folder");
    let output = ringfence(&["--json", "--fdinfo", name(folder.path()), name(file.path())]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let run = json(&output);
    adds_up(&run);
    let mut files: Vec<_> = std::fs::read_dir(folder.path())
        .expect("the folder")
        .map(|file| {
            file.expect("a file")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    files.sort();
    assert_eq!(
        files,
        ["batch", "batch.2", "desktop", "desktop.2", "pair", "pair.2"]
    );
}

#[test]
fn unfairness_and_split_groups_are_found() {
    for (plan, sabotage, named) in [
        ("compositor-vs-compute", "unfair", "expectations"),
        ("eight-slots-thousand-queues", "unfair", "expectations"),
        ("gang", "unfair", "expectations"),
        ("gang", "split-groups", "groups in parts"),
        ("noisy-neighbour", "unfair", "expectations"),
    ] {
        let path = shipped(plan);
        let output = ringfence(&["--json", "--sabotage", sabotage, name(&path)]);
        let text = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{plan} {sabotage}: {text}");
        assert!(text.contains(named), "{plan} {sabotage}: {text}");
    }
}

/// First come, first served is not fair to weights: the plan with a change of weights shows it.
#[test]
fn fifo_does_not_do_for_weights() {
    let text = std::fs::read_to_string(shipped("noisy-neighbour")).expect("the plan");
    let fifo = text
        .replace("[orchestrator]\n", "[orchestrator]\npolicy = \"fifo\"\n")
        .replace("after = 700", "after = 300");
    assert_ne!(fifo, text);
    let file = plan(&fifo);
    let output = ringfence(&["--json", name(file.path())]);
    let told = errors(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("the share of"), "{told}");
}

#[test]
fn the_table_is_readable() {
    let file = plan(BUSY);
    let output = ringfence(&[name(file.path())]);
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{text}");
    for line in [
        "slot  kind",
        "group pair: ",
        "60 jobs with a deadline, 0 late; ",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
    let widest = text
        .lines()
        .map(|line| line.trim_end().chars().count())
        .max();
    assert!(
        widest.is_some_and(|widest| widest <= 110),
        "{widest:?}: {text}"
    );
}

#[test]
fn a_plan_without_an_orchestrator_says_nothing_of_one() {
    let file = plan(super::SMALL);
    let output = ringfence(&[name(file.path())]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        !text.contains("slot  kind") && !text.contains("priority"),
        "{text}"
    );
}

/// What `Documentation/gpu/drm-usage-stats.rst` demands of each line that we write.
#[track_caller]
fn check_fdinfo(text: &str, client: &str) {
    let mut seen = std::collections::HashMap::new();
    assert!(text.ends_with('\n'), "{text:?}");
    for line in text.lines() {
        // Mandatory white space is one tab behind the colon.
        let (key, value) = line.split_once(":\t").unwrap_or_else(|| panic!("{line:?}"));
        assert!(
            key.starts_with("drm-") && !key.contains(char::is_whitespace),
            "{line:?}"
        );
        assert!(!value.is_empty() && value == value.trim(), "{line:?}");
        let before = seen.insert(key.to_owned(), value.to_owned());
        assert_eq!(before, None, "{key} stands twice");
    }
    // Mandatory, and unique.
    assert_eq!(seen["drm-driver"], "soft");
    assert!(seen["drm-client-id"].parse::<u64>().expect("a number") > 0);
    assert_eq!(seen["drm-client-name"], client);
    for (key, value) in &seen {
        let Some(engine) = key.strip_prefix("drm-engine-") else {
            continue;
        };
        if let Some(engine) = engine.strip_prefix("capacity-") {
            let capacity: u64 = value.parse().expect("a number without a unit");
            // The default is one, and need not be said.
            assert!(capacity > 1, "{key}");
            assert!(seen.contains_key(&format!("drm-engine-{engine}")), "{key}");
            continue;
        }
        assert!(engine.chars().all(|c| c.is_ascii_lowercase()), "{key}");
        let ns = value
            .strip_suffix(" ns")
            .unwrap_or_else(|| panic!("{key}: {value}"));
        let _ns: u64 = ns.parse().expect("nanoseconds");
    }
    for engine in ["compute", "copy", "render"] {
        assert!(
            seen.contains_key(&format!("drm-engine-{engine}")),
            "{engine}: {text}"
        );
    }
    assert_eq!(
        seen.get("drm-engine-capacity-compute").map(String::as_str),
        Some("2")
    );
}

#[test]
fn fdinfo_is_as_the_kernel_s_tools_read_it() {
    let folder = TempDir::new().expect("a folder");
    let into = folder.path().join("fdinfo");
    let file = plan(BUSY);
    let output = ringfence(&["--json", "--fdinfo", name(&into), name(file.path())]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let run = json(&output);
    let mut ids = std::collections::HashSet::new();
    for client in list(&run, "/orchestrator/clients") {
        let client_name = client["name"].as_str().expect("a name");
        let text = std::fs::read_to_string(into.join(client_name)).expect("a file each");
        check_fdinfo(&text, client_name);
        let id = text.lines().find(|line| line.starts_with("drm-client-id"));
        assert!(
            ids.insert(id.map(str::to_owned)),
            "two clients with one id: {text}"
        );
        let busy: u64 = text
            .lines()
            .filter_map(|line| line.strip_prefix("drm-engine-")?.strip_suffix(" ns"))
            .filter_map(|line| line.split_once('\t')?.1.parse::<u64>().ok())
            .sum();
        // Each kind by itself, rounded down; and seats hold slots a little longer yet.
        let reported = count(client, "/busy_ns");
        assert!(
            busy >= reported.saturating_sub(10),
            "{busy} after {reported}"
        );
    }
}

#[test]
fn dumps_show_slots_seats_and_clients() {
    let file = plan(BUSY);
    let output = ringfence(&["--dump", name(file.path())]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{text}");
    let dump = text
        .split_once("\norchestrator soft\n")
        .expect("an orchestrator")
        .1;
    for part in [
        "  slot 3   render",
        "  hog-2 ",
        "  drm-client-name:\tbatch\n",
    ] {
        assert!(dump.contains(part), "no {part:?} in {dump}");
    }
    let texts = dump.split("fdinfo\n").skip(1);
    let mut clients = 0;
    for text in texts {
        let own = text.lines().take_while(|line| line.starts_with("  drm-"));
        let own: String = own.map(|line| format!("{}\n", line.trim_start())).collect();
        let client = ["desktop", "pair", "batch"][clients];
        check_fdinfo(&own, client);
        clients += 1;
    }
    assert_eq!(clients, 3);
}

#[test]
fn schedules_are_drawn() {
    let folder = TempDir::new().expect("a folder");
    let file = plan(BUSY);
    let svg = folder.path().join("schedule.svg");
    let span = ["--schedule-span", "0..5s"];
    let output = ringfence(&[
        "--json",
        "--schedule",
        name(&svg),
        span[0],
        span[1],
        name(file.path()),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let drawn = std::fs::read_to_string(&svg).expect("a drawing");
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"));
    for part in [
        "slot 3 render",
        "batch (normal, 4 queues)",
        "<title>hog-1: ",
        "prefers-color-scheme",
    ] {
        assert!(drawn.contains(part), "no {part:?} in {drawn}");
    }
    let letters = folder.path().join("schedule.txt");
    let output = ringfence(&["--json", "--schedule", name(&letters), name(file.path())]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let drawn = std::fs::read_to_string(&letters).expect("letters");
    let rows: Vec<&str> = drawn
        .lines()
        .filter(|line| line.starts_with("slot "))
        .collect();
    assert_eq!(rows.len(), 4, "{drawn}");
    for row in rows {
        let row = row.split('|').nth(1).expect("a row");
        assert_eq!(row.len(), 100, "{drawn}");
    }
    // A span belongs to a drawing.
    let output = ringfence(&[span[0], span[1], name(file.path())]);
    assert_eq!(output.status.code(), Some(2));
}

/// A run may have taken long: who mistypes the name of a file gets the report all the same.
#[test]
fn what_cannot_be_written_is_told_beside_the_report() {
    let file = plan(BUSY);
    let taken = tempfile::NamedTempFile::new().expect("a file");
    let below = taken.path().join("below");
    for option in ["--fdinfo", "--schedule", "--trace"] {
        let output = ringfence(&["--json", option, name(&below), name(file.path())]);
        assert_eq!(output.status.code(), Some(2), "{option}");
        adds_up(&json(&output));
        let told = errors(&output);
        assert!(told.contains("cannot write"), "{option}: {told}");
        assert!(told.contains(name(&below)), "{option}: {told}");
    }
}

#[test]
fn what_there_is_nothing_to_say_of_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let into = folder.path().join("fdinfo");
    let file = plan(super::SMALL);
    let recording = shipped("tour").with_file_name("../data/gpu_scheduler/basic.trace.txt");
    for (input, options) in [
        (file.path(), &["--fdinfo"][..]),
        (&recording, &["--speed", "max", "--fdinfo"]),
        (&recording, &["--speed", "max", "--schedule"]),
    ] {
        let output = ringfence(&[options, &[name(&into), name(input)]].concat());
        let told = errors(&output);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {told}");
        assert!(told.contains("--fdinfo"), "{options:?}: {told}");
        assert!(!into.exists(), "{options:?}");
    }
}

/// Where `--dump` says so: also what only the orchestrator has to answer for.
#[test]
fn broken_expectations_of_slots_are_followed_by_a_dump() {
    let text = BUSY.replace("hog = \"20s\"", "hog = \"1us\"");
    let file = plan(&text);
    let output = ringfence(&["--dump", name(file.path())]);
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("(something was violated)"), "{told}");
}
