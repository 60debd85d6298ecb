// SPDX-License-Identifier: GPL-2.0 OR MIT
use std::collections::BTreeSet;
use std::time::Duration;

use super::{
    Bounds, CloseMode, FaultKind, JobIndex, OnDependencyError, Plan, QueueIndex, StreamIndex, TOUR,
};

const SMALL: &str = r#"
name = "small"
[[queue]]
name = "q"
"#;

fn stream(rest: &str) -> String {
    format!("{SMALL}[[stream]]\nname = \"s\"\nqueue = \"q\"\njobs = 10\nwork = \"copy\"\n{rest}")
}

fn parse(text: &str) -> Plan {
    Plan::parse("test.toml", text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn first_message(text: &str) -> String {
    let errors = Plan::parse("test.toml", text).expect_err("a bad plan");
    errors.list()[0].message().to_owned()
}

#[test]
fn what_is_left_out_has_its_documented_default() {
    let plan = parse(&stream(""));
    assert_eq!(plan.seed(), 1);
    assert_eq!(plan.device().slots, 4);
    assert_eq!(plan.device().vram, 64 << 20);
    assert_eq!(plan.device().time_slice, Duration::from_millis(2));
    let queue = &plan.queues()[0];
    assert_eq!(
        (queue.bypass, queue.credits, queue.capacity),
        (false, 64, 64)
    );
    assert_eq!(
        (queue.timeout, queue.extensions),
        (Duration::from_millis(500), 0)
    );
    assert_eq!(queue.on_dependency_error, OnDependencyError::Cancel);
    assert_eq!((queue.close, queue.ring), (CloseMode::Drain, 16 << 10));
    let stream = &plan.streams()[0];
    assert_eq!(
        (stream.in_flight, stream.every, stream.max_cost()),
        (16, None, 1)
    );
    assert!(stream.dependencies.is_empty() && stream.faults.is_empty());
    assert_eq!(plan.expect().completed, None);
}

#[test]
fn what_is_written_is_what_is_read() {
    let text = r#"
name = "full"
description = "All of it."
seed = 99
[device]
slots = 2
vram = "8MiB"
time_slice = "1ms"
[[queue]]
name = "q"
bypass = true
credits = 9
capacity = 128
timeout = "2s"
extensions = 3
on_dependency_error = "run"
close = "cancel"
ring = 8192
[[stream]]
name = "s"
queue = "q"
jobs = 10
in_flight = 5
every = "3ms"
cost = 9
work = "spin"
duration = "1us"
[[fault]]
kind = "dependency-error"
error = "ETIME"
stream = "s"
job = 4
[expect]
failed = "1..2"
completed = "8.."
"#;
    let plan = parse(text);
    assert_eq!(
        (plan.name(), plan.description()),
        ("full", Some("All of it."))
    );
    assert_eq!(
        (plan.seed(), plan.device().slots, plan.device().vram),
        (99, 2, 8 << 20)
    );
    assert_eq!(plan.device().time_slice, Duration::from_millis(1));
    let queue = &plan.queues()[0];
    assert_eq!(
        (queue.bypass, queue.credits, queue.capacity),
        (true, 9, 128)
    );
    assert_eq!(
        (queue.timeout, queue.extensions),
        (Duration::from_secs(2), 3)
    );
    assert_eq!(queue.on_dependency_error, OnDependencyError::Run);
    assert_eq!((queue.close, queue.ring), (CloseMode::Cancel, 8192));
    let stream = &plan.streams()[0];
    assert_eq!((stream.in_flight, stream.max_cost()), (5, 9));
    assert_eq!(plan.least_time(), Duration::from_millis(27));
    assert_eq!(
        stream.fault(4, 0),
        Some(FaultKind::DependencyError { errno: -62 })
    );
    assert_eq!(stream.fault(5, 0), None);
    assert_eq!(
        plan.expect().failed,
        Some(Bounds {
            min: 1,
            max: Some(2)
        })
    );
    assert_eq!(plan.expect().completed, Some(Bounds { min: 8, max: None }));
}

#[test]
fn groups_pair_gather_and_share() {
    let text = r#"
name = "groups"
[[queue]]
name = "q"
count = 3
[[stream]]
name = "one"
queue = "q-1"
jobs = 4
work = "copy"
[[stream]]
name = "many"
count = 6
queue = "q"
jobs = 4
work = "copy"
after = ["one"]
[[stream]]
name = "pairs"
count = 6
queue = "q"
jobs = 4
work = "copy"
after = ["many"]
[[stream]]
name = "all"
queue = "q-2"
jobs = 4
work = "copy"
after = ["many", "pairs-5"]
after_previous = true
"#;
    let plan = parse(text);
    let streams = plan.streams();
    assert_eq!(plan.queues()[2].name, "q-2");
    assert_eq!(
        (streams[0].queue, streams[6].queue),
        (QueueIndex(1), QueueIndex(2))
    );
    let waits = |stream: usize, job| -> Vec<(usize, u64)> {
        let all = streams[stream].waits_for(job);
        all.map(
            |JobIndex {
                 stream: StreamIndex(stream),
                 job,
             }| (stream, job),
        )
        .collect()
    };
    assert_eq!(waits(6, 2), [(0, 2)]);
    assert_eq!(waits(12, 3), [(6, 3)]);
    assert_eq!(
        (streams[12].name.as_str(), streams[13].name.as_str()),
        ("pairs-5", "all")
    );
    let gathered = [
        (1, 2),
        (2, 2),
        (3, 2),
        (4, 2),
        (5, 2),
        (6, 2),
        (12, 2),
        (13, 1),
    ];
    assert_eq!(waits(13, 2), gathered);
    assert_eq!(plan.jobs(), 14 * 4);
    assert_eq!(plan.dependencies(), 6 * 4 + 6 * 4 + 6 * 4 + 4 + 3);
}

/// Submits by the only rule a runner has (each stream in order, each job after those it waits
/// for) and sees every job come through.
fn submit_all(plan: &Plan) {
    let streams = plan.streams();
    let mut next = vec![0_u64; streams.len()];
    loop {
        let mut moved = false;
        for stream in streams {
            let at = stream.index.0;
            while next[at] < stream.jobs
                && stream
                    .waits_for(next[at])
                    .all(|wait| wait.job < next[wait.stream.0])
            {
                next[at] += 1;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    let submitted: u64 = next.iter().sum();
    assert_eq!(
        submitted,
        plan.jobs(),
        "{}: some jobs can never be submitted",
        plan.name()
    );
}

#[test]
fn every_job_of_every_shipped_plan_can_be_submitted() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plans");
    let mut plans = 0;
    for entry in std::fs::read_dir(folder).expect("the plans") {
        let path = entry.expect("an entry").path();
        submit_all(&parse(&std::fs::read_to_string(&path).expect("a text")));
        plans += 1;
    }
    assert!(plans >= 6, "{plans}");
}

#[test]
fn circles_with_lag_can_be_submitted_too() {
    let text = format!(
        "{SMALL}
[[stream]]
name = \"a\"
queue = \"q\"
jobs = 9
work = \"copy\"
after = [{{ stream = \"b\", lag = 2, last = 3 }}]
[[stream]]
name = \"b\"
queue = \"q\"
jobs = 9
work = \"copy\"
after = [\"a\", {{ stream = \"b\", lag = 4 }}]
"
    );
    submit_all(&parse(&text));
}

#[test]
fn the_tour_shows_what_it_promises() {
    let plan = parse(TOUR);
    assert!(plan.jobs() >= 20_000);
    let names: BTreeSet<&str> = plan
        .queues()
        .iter()
        .map(|queue| queue.name.as_str())
        .collect();
    for context in ["render", "compute", "copy", "video"] {
        assert!(names.contains(context), "{context}");
    }
    assert_eq!(plan.queues().iter().filter(|queue| queue.bypass).count(), 1);
    let starved = |queue: &super::QueuePlan| queue.credits <= 2;
    assert_eq!(
        plan.queues().iter().filter(|queue| starved(queue)).count(),
        1
    );
    let mut faults = Vec::new();
    let (mut inside, mut across) = (0, 0);
    for stream in plan.streams() {
        faults.extend((0..stream.jobs).filter_map(|i| stream.fault(i, plan.seed())));
        for dependency in &stream.dependencies {
            if plan.streams()[dependency.stream.0].queue == stream.queue {
                inside += dependency.total();
            } else {
                across += dependency.total();
            }
        }
    }
    faults.sort_unstable();
    assert_eq!(
        faults,
        [FaultKind::Hang, FaultKind::DependencyError { errno: -5 }]
    );
    assert!(inside > 1_000 && across > 1_000, "{inside} {across}");
    assert_eq!(plan.dependencies(), inside + across);
    // The job whose dependency fails has another waiting for it: the failure propagates.
    let (failing, job) = (
        JobIndex {
            stream: StreamIndex(5),
            job: 1_499,
        },
        99,
    );
    assert_eq!(plan.streams()[5].name, "camera");
    assert!(plan.streams()[6].waits_for(job).any(|wait| wait == failing));
}

#[test]
fn all_problems_are_found_at_once() {
    let text = stream("size = \"1Kb\"\ncolour = 1\ncost = 65\nafter = [\"t\"]\n");
    let errors = Plan::parse("test.toml", &text).expect_err("four slips");
    let messages: Vec<&str> = errors
        .list()
        .iter()
        .map(super::Diagnostic::message)
        .collect();
    assert_eq!(messages.len(), 4, "{messages:?}");
}

#[test]
fn nothing_can_be_made_larger_than_the_limits() {
    let big = stream("").replace("jobs = 10", "jobs = 10_000_000\ncount = 2");
    assert!(first_message(&big).contains("20000000 jobs"));
    let many = SMALL.replace("name = \"q\"", "name = \"q\"\ncount = 20_000");
    let many = format!("{many}[[queue]]\nname = \"r\"\n");
    let many = stream("")
        .replace(SMALL, &many)
        .replace("queue = \"q\"", "queue = \"q-0\"");
    assert!(first_message(&many).contains("20001 queues"));
    let wide = stream("count = 20_000\nafter_previous = true\n").replace("jobs = 10", "jobs = 1");
    let faults = "[[fault]]\nstream = \"s\"\nkind = \"hang\"\nprobability = \"1ppm\"\n";
    let wide = format!("{wide}{}", faults.repeat(64));
    assert!(
        first_message(&wide).contains("1280000 dependencies"),
        "{}",
        first_message(&wide)
    );
    let worse = format!("{wide}{faults}");
    assert!(
        first_message(&worse).contains("65 faults"),
        "{}",
        first_message(&worse)
    );
}
