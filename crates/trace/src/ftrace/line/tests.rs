// SPDX-License-Identifier: GPL-2.0 OR MIT
use super::{read, scheduler_event, Line, SchedulerEvent};
use crate::event::FenceId;

fn event(time: u64, name: &'static str, fields: &'static str) -> Line<'static> {
    Line::Event { time, name, fields }
}

#[test]
fn columns_of_every_tool_are_read() {
    let done = "fence=3:1 signaled";
    for line in [
        // tracefs, with and without irq-info, and with record-tgid.
        "          <idle>-0       [000] d.h..     1.200011: drm_sched_job_done: fence=3:1 signaled",
        "          <idle>-0       [000]     1.200011: drm_sched_job_done: fence=3:1 signaled",
        "  kworker-12  (     12) [000] d.h.. 1.200011: drm_sched_job_done: fence=3:1 signaled",
        // trace-cmd report, with and without flags, padded names, nanoseconds (-t).
        "     <idle>-0     [000]     1.200011: drm_sched_job_done:   fence=3:1 signaled",
        "     <idle>-0     [000] d.h1.     1.200011: drm_sched_job_done:   fence=3:1 signaled",
        "     <idle>-0     [000]     1.200011000: drm_sched_job_done:   fence=3:1 signaled",
        // perf script.
        "swapper     0 [000]     1.200011: gpu_scheduler:drm_sched_job_done: fence=3:1 signaled",
        // Task names are free text.
        " a b: 1.5: [x] [1] -7 [012] ..... 1.200011: drm_sched_job_done: fence=3:1 signaled\r",
    ] {
        assert_eq!(
            read(line),
            Ok(event(1_200_011_000, "drm_sched_job_done", done)),
            "{line}"
        );
    }
}

#[test]
fn times_of_any_precision_are_nanoseconds() {
    for (text, expected) in [
        ("0.5", 500_000_000),
        ("12.000001", 12_000_001_000),
        ("3.000000007", 3_000_000_007),
    ] {
        let line = format!(" t-1 [0] {text}: e: f");
        let time = match read(&line) {
            Ok(Line::Event { time, .. }) => time,
            other => panic!("{other:?}"),
        };
        assert_eq!(time, expected);
    }
    for bad in [
        "1",
        "1.",
        ".5",
        "1.0000000001",
        "-1.0",
        "1.5x",
        "18446744074.0",
        "1e3.0",
    ] {
        let line = format!(" t-1 [0] {bad}: e: f");
        assert!(read(&line).is_err(), "{bad} was taken for a time");
    }
}

#[test]
fn notes_around_events_say_nothing() {
    for line in [
        "",
        "   ",
        "# tracer: nop",
        "##### CPU 1 buffer started ####",
        "cpus=2",
        "version = 7",
        "CPU 1 is empty",
        "CPU:0 [SUBBUFFER START]",
        " => drm_sched_entity_push_job",
    ] {
        assert_eq!(read(line), Ok(Line::Nothing), "{line}");
    }
}

#[test]
fn losses_are_read() {
    assert_eq!(read("CPU:1 [LOST 7 EVENTS]"), Ok(Line::Lost(Some(7))));
    assert_eq!(read("CPU:0 [12 EVENTS DROPPED]"), Ok(Line::Lost(Some(12))));
    assert_eq!(read("CPU:0 [EVENTS DROPPED]"), Ok(Line::Lost(None)));
    let header = "# entries-in-buffer/entries-written: 10/25   #P:2";
    assert_eq!(
        read(header),
        Ok(Line::Entries {
            in_buffer: 10,
            written: 25
        })
    );
}

#[test]
fn fields_are_read_whatever_their_order() {
    let fields = "dev=0000:03:00.0, fence=18446744073709551615:2, ring=gfx_0.0.0, job count:0, \
                  hw job count:-1, client_id:4";
    match scheduler_event("drm_sched_job_run", fields) {
        Some(Ok(SchedulerEvent::Run(run))) => {
            assert_eq!((run.device, run.ring), ("0000:03:00.0", "gfx_0.0.0"));
            assert_eq!((run.job, run.client_id), (FenceId::new(u64::MAX, 2), 4));
        }
        other => panic!("{other:?}"),
    }
    assert!(scheduler_event("sched_switch", "prev_comm=x").is_none());
    let waits = "fence=1:2 depends on unsignalled fence=3:4";
    let read = scheduler_event("drm_sched_job_unschedulable", waits);
    assert_eq!(read, Some(Ok(SchedulerEvent::Unschedulable)));
}
