// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The four recordings of the kernel's scheduler: whole, cut, damaged, and as other tools print them.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::PathBuf;

use proptest::prelude::*;
use ringfence_trace::ftrace::{self, DiagnosticKind, EventCounts, Recording};
use ringfence_trace::FenceId;

/// Name, jobs, dependencies, rings, contexts.
const RECORDINGS: [(&str, usize, usize, usize, usize); 4] = [
    ("basic", 501, 297, 6, 15),
    ("concurrent", 2236, 0, 2, 32),
    ("priority", 1100, 0, 2, 8),
    ("overhead", 2002, 1000, 2, 3),
];

fn read(name: &str) -> Vec<u8> {
    let file = format!("../../data/gpu_scheduler/{name}.trace.txt");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What must hold of whatever was read from whatever text.
fn check(recording: &Recording) {
    for (index, job) in recording.jobs.iter().enumerate() {
        assert_eq!(
            recording.index_of(job.fence),
            Some(index),
            "two jobs {}",
            job.fence
        );
        assert!(job.ring < recording.rings.len());
        assert!(job.run_ts.is_none_or(|run| run >= job.queue_ts));
        assert!(job
            .done_ts
            .is_none_or(|done| done >= job.run_ts.unwrap_or(job.queue_ts)));
        assert_eq!(
            job.hardware_ns.is_some(),
            job.run_ts.is_some() && job.done_ts.is_some()
        );
        for &on in &job.dependencies {
            assert!(
                recording.index_of(on).is_some(),
                "{} depends on unknown {on}",
                job.fence
            );
        }
    }
    let counted: usize = recording.contexts.iter().map(|context| context.jobs).sum();
    assert_eq!(counted, recording.jobs.len());
    // Replayed in the order of each context, every job gets its turn.
    let mut queues: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (index, job) in recording.jobs.iter().enumerate().rev() {
        queues.entry(job.fence.context).or_default().push(index);
    }
    let waits_for = recording.timed_jobs();
    let mut ran = vec![false; recording.jobs.len()];
    let mut progress = true;
    while progress {
        progress = false;
        for queue in queues.values_mut() {
            while let Some(&head) = queue.last() {
                if !waits_for[head].dependencies.iter().all(|&on| ran[on]) {
                    break;
                }
                ran[head] = true;
                progress = true;
                queue.pop();
            }
        }
    }
    assert!(
        ran.iter().all(|&ran| ran),
        "jobs wait for each other in a circle"
    );
}

fn messages(recording: &Recording) -> Vec<String> {
    recording
        .diagnostics
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn whole_recordings_are_read_without_a_complaint() {
    for (name, jobs, dependencies, rings, contexts) in RECORDINGS {
        let recording = ftrace::parse(&read(name));
        assert_eq!(messages(&recording), [""; 0], "{name}");
        check(&recording);
        assert_eq!(recording.jobs.len(), jobs, "{name}");
        assert_eq!(recording.dependencies(), dependencies, "{name}");
        assert_eq!(recording.rings.len(), rings, "{name}");
        assert_eq!(recording.contexts.len(), contexts, "{name}");
        let all = jobs as u64;
        let expected = EventCounts {
            queue: all,
            run: all,
            done: all,
            add_dependency: dependencies as u64,
            ..EventCounts::default()
        };
        assert_eq!(recording.events, expected, "{name}");
        assert_eq!(
            (recording.dropped_dependencies, recording.lost_events),
            (0, 0)
        );
        assert!(
            recording.jobs.iter().all(|job| job.hardware_ns.is_some()),
            "{name}"
        );
    }
}

#[test]
fn the_hardware_time_of_a_ring_is_the_time_it_was_busy() {
    // The mock hardware of the recordings works on one job at a time, so what the jobs of a ring
    // took adds up to the time during which any was on it.
    for (name, ..) in RECORDINGS {
        let recording = ftrace::parse(&read(name));
        for (ring, figures) in recording.ring_figures().iter().enumerate() {
            let jobs = recording.jobs.iter().filter(|job| job.ring == ring);
            let worked: u64 = jobs.filter_map(|job| job.hardware_ns).sum();
            assert_eq!(worked, figures.busy_ns, "{name}, ring {ring}");
        }
    }
}

#[test]
fn figures_of_the_recordings() {
    let mut text = String::new();
    for (name, ..) in RECORDINGS {
        let recording = ftrace::parse(&read(name));
        let all = recording.queue_to_run(false);
        let free = recording.queue_to_run(true);
        writeln!(text, "{name}: {all:?}\n  without dependencies {free:?}").unwrap();
        for (ring, figures) in recording.rings.iter().zip(recording.ring_figures()) {
            writeln!(text, "  {}: {figures:?}", ring.device).unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

/// A generator of numbers for places to cut, the same on every run.
fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |limit| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 31)) as usize % limit
    }
}

/// Where the lines that hold `event` end.
fn ends(text: &[u8], event: &str) -> Vec<usize> {
    let mut end = 0;
    let mut ends = Vec::new();
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        end += line.len();
        if line.ends_with(b"\n") && String::from_utf8_lossy(line).contains(event) {
            ends.push(end);
        }
    }
    ends
}

/// A recording cut anywhere loses nothing that stands before the cut.
fn cut_anywhere(name: &str) {
    let text = read(name);
    let whole = ftrace::parse(&text);
    let (queues, added) = (ends(&text, "_queue: "), ends(&text, "_add_dep: "));
    let mut number = numbers(7);
    for _ in 0..220 {
        let cut = number(text.len());
        let recording = ftrace::parse(&text[..cut]);
        check(&recording);
        let queued = queues.partition_point(|&end| end <= cut);
        assert_eq!(recording.jobs.len(), queued, "{name} cut at {cut}");
        let added = added.partition_point(|&end| end <= cut) as u64;
        let kept = recording.dependencies() as u64 + recording.dropped_dependencies;
        assert_eq!(kept, added, "{name} cut at {cut}");
        // Each job is as in the whole recording, as far as the cut lets one know.
        for (job, known) in recording.jobs.iter().zip(&whole.jobs) {
            assert_eq!((job.fence, job.queue_ts), (known.fence, known.queue_ts));
            assert!(job.run_ts.is_none() || job.run_ts == known.run_ts);
            assert!(job.done_ts.is_none() || job.done_ts == known.done_ts);
            assert!(job
                .dependencies
                .iter()
                .all(|on| known.dependencies.contains(on)));
        }
        // Once the header is whole, the cut does not go unnoticed.
        let header = text.windows(4).position(|part| part == b"#P:2").unwrap();
        if cut > header + 4 {
            assert!(!recording.diagnostics.is_empty(), "{name} cut at {cut}");
        }
    }
}

#[test]
fn basic_cut_anywhere_loses_nothing_before_the_cut() {
    cut_anywhere("basic");
}

#[test]
fn concurrent_cut_anywhere_loses_nothing_before_the_cut() {
    cut_anywhere("concurrent");
}

#[test]
fn priority_cut_anywhere_loses_nothing_before_the_cut() {
    cut_anywhere("priority");
}

#[test]
fn overhead_cut_anywhere_loses_nothing_before_the_cut() {
    cut_anywhere("overhead");
}

#[test]
fn a_recording_without_its_beginning_keeps_what_it_can() {
    let text = read("overhead");
    let queues = ends(&text, "_queue: ");
    let mut number = numbers(11);
    for _ in 0..200 {
        let cut = number(text.len());
        let recording = ftrace::parse(&text[cut..]);
        check(&recording);
        // The first line is torn, and may or may not be understood.
        let first = text[cut..].iter().position(|&byte| byte == b'\n').unwrap() + cut + 1;
        let queued = queues.len() - queues.partition_point(|&end| end <= first);
        assert!(
            (queued..=queued + 1).contains(&recording.jobs.len()),
            "cut at {cut}"
        );
    }
}

/// The recording as `trace-cmd report` prints it.
fn as_trace_cmd(text: &str, with_flags: bool) -> String {
    let mut out = String::from("cpus=2\n");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (task, rest) = line.split_once(" [").unwrap();
        let mut parts = rest.split_whitespace();
        let (cpu, flags, time) = (parts.next(), parts.next(), parts.next());
        let event = parts.next().unwrap();
        let fields = &rest[rest.find(event).unwrap() + event.len() + 1..];
        let (cpu, flags, time) = (cpu.unwrap(), flags.unwrap(), time.unwrap());
        let flags = if with_flags { flags } else { "" };
        writeln!(
            out,
            "{} [{cpu} {flags} {time} {event:<21} {fields}",
            task.trim_end()
        )
        .unwrap();
    }
    out
}

#[test]
fn trace_cmd_prints_the_same_recording() {
    for (name, ..) in RECORDINGS {
        let text = String::from_utf8(read(name)).unwrap();
        let expected = ftrace::parse(text.as_bytes());
        for with_flags in [false, true] {
            let mut recording = ftrace::parse(as_trace_cmd(&text, with_flags).as_bytes());
            assert_eq!(messages(&recording), [""; 0], "{name}");
            // The header is shorter by 11 lines.
            recording.jobs.iter_mut().for_each(|job| job.line += 11);
            assert_eq!(recording, expected, "{name}");
        }
    }
}

#[test]
fn what_is_written_reads_the_same() {
    for (name, ..) in RECORDINGS {
        let recording = ftrace::parse(&read(name));
        let mut text = Vec::new();
        let written = ftrace::write(&recording.to_trace(), &mut text).unwrap();
        assert_eq!(written.left_out, 0);
        let mut again = ftrace::parse(&text);
        assert_eq!(messages(&again), [""; 0], "{name}");
        let lines: HashMap<FenceId, usize> = recording
            .jobs
            .iter()
            .map(|job| (job.fence, job.line))
            .collect();
        for job in &mut again.jobs {
            job.line = lines[&job.fence];
        }
        // Events of one microsecond may change places, so the back-to-back times may too.
        let hardware = |recording: &Recording| -> u64 {
            recording
                .jobs
                .iter()
                .filter_map(|job| job.hardware_ns)
                .sum()
        };
        assert_eq!(hardware(&again), hardware(&recording), "{name}");
        for (job, original) in again.jobs.iter_mut().zip(&recording.jobs) {
            job.hardware_ns = original.hardware_ns;
        }
        assert_eq!(again, recording, "{name}");
    }
}

#[test]
fn a_circle_across_contexts_is_opened() {
    let mut text = String::from_utf8(read("overhead")).unwrap();
    // 8:1 waits for 6:2, which waits for 8:1.
    text.push_str("  t-1 [000] ..... 9.0: drm_sched_job_add_dep: fence=8:1 depends on fence=6:2\n");
    let recording = ftrace::parse(text.as_bytes());
    check(&recording);
    assert_eq!(recording.dependencies(), 1000);
    assert_eq!(recording.dropped_dependencies, 1);
    let kinds: Vec<_> = recording
        .diagnostics
        .iter()
        .map(|d| (d.line, d.kind))
        .collect();
    assert_eq!(kinds, [(text.lines().count(), DiagnosticKind::Cycle)]);
}

/// Lines that look like a recording, in any order, with few fences, so that they collide.
fn arbitrary_line() -> impl Strategy<Value = String> {
    let fence = (1_u64..4, 1_u64..5).prop_map(|(context, seqno)| format!("{context}:{seqno}"));
    (0_u64..50, 0..9, fence.clone(), fence, "[ -~]{0,20}").prop_map(
        |(micros, kind, job, on, rubbish)| {
            let fields = format!(
                "dev=gpu{}, fence={job}, ring=r, job count:0, hw job count:0, client_id:0",
                micros % 2
            );
            let event = match kind {
                0..=2 => format!("queue: {fields}"),
                3 => format!("run: {fields}"),
                4 => format!("done: fence={job} signaled"),
                5..=7 => format!("add_dep: fence={job} depends on fence={on}"),
                _ => return rubbish + "\n",
            };
            format!("t-1 [000] ..... 0.{micros:06}: drm_sched_job_{event}\n")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read(text in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&ftrace::parse(&text));
    }

    #[test]
    fn any_lines_of_a_recording_in_any_order_are_read(
        lines in prop::collection::vec(arbitrary_line(), 0..60),
    ) {
        let recording = ftrace::parse(lines.concat().as_bytes());
        check(&recording);
        let added = lines.iter().filter(|line| line.contains("_add_dep: ")).count() as u64;
        prop_assert_eq!(recording.dependencies() as u64 + recording.dropped_dependencies, added);
        // Nothing that is written from it is lost or invented when read again.
        let mut text = Vec::new();
        ftrace::write(&recording.to_trace(), &mut text).unwrap();
        let again = ftrace::parse(&text);
        prop_assert_eq!(again.jobs.len(), recording.jobs.len());
        prop_assert_eq!(again.dependencies(), recording.dependencies());
        prop_assert_eq!(messages(&again), Vec::<String>::new());
    }

    #[test]
    fn damaged_recordings_are_read(
        damage in prop::collection::vec((0_usize..200_000, any::<u8>()), 1..40),
        from in 0_usize..150_000,
    ) {
        let mut text = read("basic");
        for (at, byte) in damage {
            text[at] = byte;
        }
        let end = (from + 40_000).min(text.len());
        check(&ftrace::parse(&text[from..end]));
    }
}
