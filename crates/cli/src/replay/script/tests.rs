// SPDX-License-Identifier: GPL-2.0 OR MIT

use std::fmt::Write as _;

use ringfence_trace::ftrace;

use super::{Action, Script, Step};
use crate::args::Speed;

/// Text of events: `(microseconds, event)`.
fn script(events: &[(u64, String)], speed: Speed) -> Option<Script> {
    let mut text = String::new();
    for (us, event) in events {
        let (seconds, us) = (us / 1_000_000, us % 1_000_000);
        let _ = writeln!(
            text,
            "  t-1 [000] ..... {seconds}.{us:06}: drm_sched_job_{event}"
        );
    }
    let recording = ftrace::parse(text.as_bytes());
    assert!(
        recording.diagnostics.is_empty(),
        "{:?}",
        recording.diagnostics
    );
    Script::new(&recording, speed)
}

fn fields(fence: &str, ring: &str) -> String {
    format!("dev=d, fence={fence}, ring={ring}, job count:0, hw job count:0, client_id:1")
}

fn queue(us: u64, fence: &str, ring: &str) -> (u64, String) {
    (us, format!("queue: {}", fields(fence, ring)))
}

fn run(us: u64, fence: &str, ring: &str) -> (u64, String) {
    (us, format!("run: {}", fields(fence, ring)))
}

fn done(us: u64, fence: &str) -> (u64, String) {
    (us, format!("done: fence={fence} signaled"))
}

fn depends(us: u64, fence: &str, on: &str) -> (u64, String) {
    (us, format!("add_dep: fence={fence} depends on fence={on}"))
}

fn step(at: u64, job: u32, action: Action) -> Step {
    Step { at, job, action }
}

const ONCE: Speed = Speed::Times(1.0);

#[test]
fn jobs_keep_their_times_and_durations() {
    let events = [
        queue(100, "1:1", "r"),
        run(110, "1:1", "r"),
        queue(150, "2:1", "r"),
        done(310, "1:1"),
        run(320, "2:1", "r"),
        done(350, "2:1"),
    ];
    let script_1x = script(&events, ONCE).expect("two jobs");
    let busy: Vec<u64> = script_1x.jobs.iter().map(|job| job.busy_ns).collect();
    assert_eq!(busy, [200_000, 30_000]);
    let steps = [step(0, 0, Action::Submit), step(50_000, 1, Action::Submit)];
    assert_eq!(script_1x.steps, steps);
    assert!(script_1x.notices.is_empty(), "{:?}", script_1x.notices);
    let fast = script(&events, Speed::Times(10.0)).expect("two jobs");
    assert_eq!((fast.jobs[0].busy_ns, fast.steps[1].at), (20_000, 5_000));
    let max = script(&events, Speed::Max).expect("two jobs");
    assert_eq!((max.jobs[0].busy_ns, max.steps[1].at), (0, 0));
}

#[test]
fn a_full_ring_is_contended_and_an_empty_one_is_not() {
    let events = [
        queue(0, "1:1", "r"),
        queue(0, "2:1", "r"),
        run(1, "1:1", "r"),
        done(100, "1:1"),
        run(101, "2:1", "r"),
        queue(102, "3:1", "s"),
        queue(102, "4:1", "s"),
        run(103, "3:1", "s"),
        run(104, "4:1", "s"),
        done(200, "2:1"),
        done(200, "3:1"),
        done(300, "4:1"),
    ];
    let script = script(&events, ONCE).expect("four jobs");
    let rings: Vec<_> = script
        .rings
        .iter()
        .map(|ring| (ring.room, ring.contended))
        .collect();
    assert_eq!(rings, [(1, true), (2, false)]);
}

#[test]
fn unknown_durations_are_the_rings_median() {
    let mut events = Vec::new();
    for (number, busy) in [10, 20, 90].into_iter().enumerate() {
        let (at, fence) = (1000 * number as u64, format!("1:{}", number + 1));
        events.extend([
            queue(at, &fence, "r"),
            run(at, &fence, "r"),
            done(at + busy, &fence),
        ]);
    }
    events.push(queue(3000, "1:4", "r"));
    events.push(run(3000, "1:4", "r"));
    events.push(queue(3001, "9:1", "never"));
    let script = script(&events, ONCE).expect("five jobs");
    assert_eq!(
        (script.jobs[3].busy_ns, script.jobs[4].busy_ns),
        (20_000, 20_000)
    );
}

#[test]
fn jobs_done_without_run_are_cancelled() {
    let events = [
        queue(5, "1:1", "r"),
        queue(6, "1:2", "r"),
        done(8, "1:1"),
        done(9, "1:2"),
    ];
    let script = script(&events, ONCE).expect("two jobs");
    let steps = [
        step(0, 0, Action::Submit),
        step(1_000, 1, Action::Submit),
        step(3_000, 0, Action::Cancel),
        step(4_000, 1, Action::Cancel),
    ];
    assert_eq!(script.steps, steps);
}

#[test]
fn years_are_cut_to_seconds_and_told() {
    let year = 365 * 86_400 * 1_000_000;
    let events = [
        queue(0, "1:1", "r"),
        run(0, "1:1", "r"),
        done(2 * year, "1:1"),
        queue(3 * year, "1:2", "r"),
    ];
    let script = script(&events, ONCE).expect("two jobs");
    assert_eq!(script.steps[1].at, 10_000_000_000);
    assert_eq!(script.jobs[0].busy_ns, 10_000_000_000);
    assert_eq!(script.notices.len(), 2, "{:?}", script.notices);
    assert_eq!(script.bound.as_secs(), 30);
}

#[test]
fn no_replay_takes_more_than_an_hour() {
    let events: Vec<_> = (0..1000)
        .map(|number| queue(number * 60_000_000, &format!("1:{}", number + 1), "r"))
        .collect();
    let script = script(&events, ONCE).expect("a thousand jobs");
    assert_eq!(script.bound.as_secs(), 3600);
    assert!(
        script.notices[1].contains("more than an hour"),
        "{:?}",
        script.notices
    );
}

#[test]
fn what_does_not_fit_is_counted() {
    let mut events: Vec<_> = (0..1025)
        .map(|number| queue(number, &format!("{number}:1"), &format!("r{number}")))
        .collect();
    events.push(depends(2000, "1:1", "1024:1"));
    events.push(depends(2000, "1024:1", "2:1"));
    let script = script(&events, ONCE).expect("jobs");
    assert_eq!((script.jobs.len(), script.left_out), (1024, 1));
    assert_eq!(script.left_out_dependencies, 2);
    assert!(
        script.notices[0].starts_with("line 1025: "),
        "{:?}",
        script.notices
    );
}

#[test]
fn dependencies_may_point_forward() {
    let events = [
        queue(0, "1:1", "r"),
        depends(1, "1:1", "2:1"),
        queue(2, "2:1", "r"),
    ];
    let script = script(&events, ONCE).expect("two jobs");
    assert_eq!(script.jobs[0].dependencies, [1]);
}

#[test]
fn nothing_is_no_script() {
    assert!(script(&[], ONCE).is_none());
}
