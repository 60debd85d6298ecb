// SPDX-License-Identifier: GPL-2.0 OR MIT

use ringfence::Errno;
use ringfence_trace::ftrace;

use super::Verdict;
use crate::args::Speed;
use crate::replay::perform::{perform, Performance};
use crate::replay::script::Script;
use crate::replay::watch::Ended;
use crate::signals::Signals;

const TEXT: &str = "\
  t-1 [000] ..... 1.000001: drm_sched_job_queue: dev=d, fence=1:1, ring=r, job count:0, hw job count:0, client_id:1
  t-1 [000] ..... 1.000002: drm_sched_job_queue: dev=d, fence=1:2, ring=r, job count:0, hw job count:0, client_id:1
  t-1 [000] ..... 1.000003: drm_sched_job_queue: dev=d, fence=2:1, ring=r, job count:0, hw job count:0, client_id:1
  t-1 [000] ..... 1.000004: drm_sched_job_add_dep: fence=2:1 depends on fence=1:2
";

/// Performs three jobs, changes what came of it, and judges that.
fn judged(change: impl FnOnce(&mut Performance)) -> Vec<String> {
    let script = Script::new(&ftrace::parse(TEXT.as_bytes()), Speed::Max).expect("three jobs");
    let mut performance = perform(&script, None, Signals::default()).expect("a device");
    change(&mut performance);
    Verdict::new(&script, &performance).violations
}

fn finds(what: &str, change: impl FnOnce(&mut Performance)) {
    let violations = judged(change);
    let found = violations.iter().any(|violation| violation.contains(what));
    assert!(found, "{what}: {violations:?}");
}

#[test]
fn finds_nothing_where_everything_held() {
    assert_eq!(judged(|_| {}), Vec::<String>::new());
}

#[test]
fn finds_jobs_that_ended_wrongly() {
    let what = "a job did not end as it should";
    finds(what, |seen| seen.lives[0].ended = Ended::Failed);
    finds(what, |seen| seen.lives[0].ended = Ended::Cancelled);
    finds(what, |seen| seen.lives[0].ended = Ended::Not);
    finds(what, |seen| seen.lives[1].dones = 2);
    finds(what, |seen| seen.lives[1].runs = 2);
    finds(what, |seen| seen.lives[1].runs = 0);
    finds(what, |seen| seen.lives[2].queued = None);
    finds(what, |seen| {
        if let Some(fence) = &mut seen.fences[0] {
            fence.status = Some(Err(Errno::EIO));
        }
    });
}

#[test]
fn finds_fences_out_of_order() {
    finds("a fence out of order", |seen| {
        if let Some(fence) = &mut seen.fences[1] {
            fence.timestamp = Some(1);
        }
    });
    finds("a fence out of order", |seen| seen.fences.swap(0, 1));
}

#[test]
fn finds_jobs_that_did_not_wait() {
    finds("did not wait for job 1", |seen| seen.lives[2].run = Some(1));
    finds("did not wait for job 1", |seen| seen.lives[1].done = None);
    finds("of 1 dependencies 0", |seen| seen.dependencies = 0);
}

#[test]
fn finds_lost_jobs_and_leaks() {
    finds("of 3 jobs 2 were submitted", |seen| seen.fences[0] = None);
    finds("2 ended; 3 fences armed", |seen| {
        seen.lives[0].ended = Ended::Not;
    });
    finds("do not add up", |seen| seen.stats[0].released = 1);
    finds("do not add up", |seen| seen.stats[1].late_completions = 1);
    finds("something is left", |seen| seen.leaks.jobs = 1);
    finds("something is left", |seen| seen.leaks.bytes = 4096);
    finds("broken", |seen| seen.mishaps.push("broken".into()));
}

#[test]
fn tells_few_of_many() {
    let mut verdict = Verdict::default();
    let many: Vec<String> = (0..100).map(|number| format!("{number}")).collect();
    verdict.accuse("wrong", &many);
    assert_eq!(verdict.violations.len(), 6);
    assert_eq!(verdict.violations[5], "wrong: 95 more");
}
