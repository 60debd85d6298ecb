// SPDX-License-Identifier: GPL-2.0 OR MIT
use super::parse;
use crate::event::FenceId;
use crate::ftrace::{DiagnosticKind, Diagnostics, Recording};

/// A line as tracefs prints it, at `micros` microseconds.
fn line(micros: u64, event: &str) -> String {
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    format!(
        "            task-7       [001] ..... {seconds:>5}.{micros:06}: drm_sched_job_{event}\n"
    )
}

fn job(fence: &str) -> String {
    format!("dev=gpu, fence={fence}, ring=gfx, job count:0, hw job count:0, client_id:1")
}

fn queue(micros: u64, fence: &str) -> String {
    line(micros, &format!("queue: {}", job(fence)))
}

fn run(micros: u64, fence: &str) -> String {
    line(micros, &format!("run: {}", job(fence)))
}

fn done(micros: u64, fence: &str) -> String {
    line(micros, &format!("done: fence={fence} signaled"))
}

fn depends(micros: u64, fence: &str, on: &str) -> String {
    line(
        micros,
        &format!("add_dep: fence={fence} depends on fence={on}"),
    )
}

fn read(lines: &[String]) -> Recording {
    parse(lines.concat().as_bytes())
}

fn messages(recording: &Recording) -> String {
    recording
        .diagnostics
        .iter()
        .map(|d| format!("{d}\n"))
        .collect()
}

#[test]
fn a_dependency_may_come_before_its_job() {
    let recording = read(&[
        queue(10, "3:1"),
        depends(20, "5:1", "3:1"),
        depends(20, "5:1", "3:2"),
        queue(20, "5:1"),
        queue(30, "3:2"),
    ]);
    assert!(recording.diagnostics.is_empty(), "{}", messages(&recording));
    let waits = &recording.jobs[1];
    assert_eq!(waits.fence, FenceId::new(5, 1));
    assert_eq!(waits.dependencies, [FenceId::new(3, 1), FenceId::new(3, 2)]);
    assert_eq!(waits.line, 4);
    assert_eq!(recording.dependencies(), 2);
}

#[test]
fn the_hardware_works_on_one_job_at_a_time() {
    let recording = read(&[
        queue(0, "3:1"),
        queue(1, "3:2"),
        run(10, "3:1"),
        run(12, "3:2"),
        done(40, "3:1"),
        done(90, "3:2"),
        queue(95, "3:3"),
        run(100, "3:3"),
        done(103, "3:3"),
    ]);
    let worked: Vec<_> = recording.jobs.iter().map(|job| job.hardware_ns).collect();
    // 10..40; 40..90, since the ring was busy until 40; 100..103.
    assert_eq!(worked, [Some(30_000), Some(50_000), Some(3_000)]);
    let waited: Vec<_> = recording
        .jobs
        .iter()
        .map(|job| job.queue_to_run_ns())
        .collect();
    assert_eq!(waited, [Some(10_000), Some(11_000), Some(5_000)]);
    let figures = recording.ring_figures();
    assert_eq!(figures[0].busy_ns, 83_000);
    assert_eq!(
        (figures[0].idle_while_runnable_ns, figures[0].idle_gaps),
        (15_000, 2)
    );
}

#[test]
fn cancelled_and_unfinished_jobs_are_told_apart() {
    let recording = read(&[
        queue(0, "3:1"),
        queue(0, "3:2"),
        queue(0, "3:3"),
        run(1, "3:3"),
        done(2, "3:1"),
    ]);
    let states: Vec<_> = recording
        .jobs
        .iter()
        .map(|job| (job.was_cancelled(), job.is_unfinished()))
        .collect();
    assert_eq!(states, [(true, false), (false, true), (false, true)]);
    assert_eq!(recording.jobs[0].hardware_ns, None);
    assert!(recording.diagnostics.is_empty());
}

#[test]
fn a_context_may_move_to_another_ring() {
    let other = line(
        5,
        "queue: dev=gpu, fence=3:2, ring=compute, job count:0, hw job count:0, \
                         client_id:1",
    );
    let recording = read(&[queue(0, "3:1"), other]);
    assert_eq!(recording.rings.len(), 2);
    assert_eq!(recording.contexts.len(), 1);
    assert_eq!(
        (recording.contexts[0].jobs, recording.contexts[0].ring),
        (2, 0)
    );
    assert_eq!((recording.jobs[0].ring, recording.jobs[1].ring), (0, 1));
    assert!(recording.diagnostics.is_empty());
}

#[test]
fn every_inconsistency_is_told_with_its_line() {
    let elsewhere = line(
        60,
        "run: dev=gpu, fence=3:3, ring=copy, job count:0, hw job count:0, \
                              client_id:1",
    );
    let recording = read(&[
        "# entries-in-buffer/entries-written: 40/45   #P:2\n".into(),
        queue(10, "3:1"),
        queue(11, "3:1"),
        run(12, "3:1"),
        run(13, "3:1"),
        "CPU:1 [LOST 4 EVENTS]\n".into(),
        done(20, "3:1"),
        done(21, "3:1"),
        done(22, "4:9"),
        run(23, "4:9"),
        depends(24, "3:2", "99:1"),
        depends(24, "3:2", "3:1"),
        depends(24, "3:2", "3:1"),
        depends(24, "8:8", "3:1"),
        queue(25, "3:2"),
        done(26, "3:2"),
        run(27, "3:2"),
        queue(19, "3:3"),
        elsewhere,
        depends(61, "3:3", "6:1"),
        depends(61, "6:1", "3:3"),
        queue(62, "6:1"),
        "something else\n".into(),
        "  task-7 [000] ..... 12: drm_sched_job_done: fence=3:1 signaled\n".into(),
    ]);
    insta::assert_snapshot!(messages(&recording));
    assert_eq!(recording.jobs.len(), 4);
    assert_eq!(recording.dependencies(), 2, "3:2 on 3:1, and 6:1 on 3:3");
    assert_eq!(recording.dropped_dependencies, 4);
    assert_eq!(recording.lost_events, 9);
    // Time went back to 19; it is taken for the 27 before it.
    assert_eq!(recording.jobs[2].queue_ts, 27_000);
}

#[test]
fn bad_fields_are_told_with_their_column() {
    let bad = [
        "queue: dev=gpu, fence=3:1, ring=gfx, job count:0, hw job count:0",
        "queue: dev=gpu, fence=3:1, ring=gfx, job count:x, hw job count:0, client_id:1",
        "queue: dev=gpu, fence=3:1, ring=gfx, job count:0, hw job count:0, client_id:-1",
        "queue: dev=, fence=3:1, ring=gfx, job count:0, hw job count:0, client_id:1",
        "run: dev=gpu, fence=3, ring=gfx, job count:0, hw job count:0, client_id:1",
        "run: dev=gpu, fence=3:99999999999999999999, ring=gfx, job count:0, hw job count:0, \
         client_id:1",
        "run: drm_sched_job_run: dev=gpu",
        "done: fence=3:1",
        "done: fence=3:one signaled",
        "done: job=3:1 signaled",
        "add_dep: fence=3:2 depends on fence=",
        "add_dep: fence=3:2",
        "unschedulable: fence=3:2 depends on fence=3:1",
    ];
    let recording = read(&bad.map(|event| line(1, event)));
    insta::assert_snapshot!(messages(&recording));
    assert!(recording.jobs.is_empty());
    let kinds: Vec<_> = recording.diagnostics.iter().map(|d| d.kind).collect();
    assert_eq!(kinds, vec![DiagnosticKind::BadEvent; bad.len()]);
}

#[test]
fn columns_are_counted_in_characters() {
    let recording = parse("  übung-7 [000] 5: e: f\n".as_bytes());
    let diagnostic = recording.diagnostics.iter().next().unwrap();
    assert_eq!(diagnostic.column, Some(17));
}

#[test]
fn a_last_line_is_trusted_only_if_it_cannot_go_on() {
    let whole = [queue(1, "3:1"), queue(1, "3:2"), run(2, "3:1")].concat();
    for event in ["queue: ", "run: "] {
        let torn = format!(
            "{whole}{}",
            line(5, &format!("{event}{}", job("3:2"))).trim_end()
        );
        let recording = parse(torn.as_bytes());
        assert_eq!(
            messages(&recording),
            "line 4: the last line is not whole and was left out; \
                                          the recording was cut here\n"
        );
    }
    let torn = format!("{whole}{}", depends(5, "3:2", "3:1").trim_end());
    assert_eq!(parse(torn.as_bytes()).diagnostics.count(), 1);
    let whole = format!("{whole}{}", done(5, "3:1").trim_end());
    let recording = parse(whole.as_bytes());
    assert!(recording.diagnostics.is_empty());
    assert_eq!(recording.jobs[0].done_ts, Some(5_000));
}

#[test]
fn unknown_events_are_counted_and_old_ones_explained_once() {
    let text = "\
  a-1 [000] ..... 1.000000: sched_switch: prev_comm=x ==> next_comm=y
  a-1 [000] ..... 1.000001: drm_run_job: entity=0, id=1, fence=0, ring=gfx, job count:1
  a-1 [000] ..... 1.000002: drm_sched_process_job: fence=0 signaled
  a-1 [000] ..... 1.000003: tracing_mark_write: hello
";
    let recording = parse(text.as_bytes());
    assert_eq!(recording.events.unknown, 4);
    assert_eq!(
        messages(&recording),
        "line 2: `drm_run_job` is an event of kernels before 6.16 and is skipped, like others of \
         its kind; record with 6.16 or later\n"
    );
}

#[test]
fn a_file_that_is_no_recording_does_not_fill_memory_with_complaints() {
    let recording = parse("rubbish\n".repeat(5000).as_bytes());
    assert_eq!(recording.diagnostics.iter().count(), Diagnostics::LIMIT);
    assert_eq!(recording.diagnostics.count(), 5000);
    assert_eq!(recording.diagnostics.left_out(), 4000);
}
