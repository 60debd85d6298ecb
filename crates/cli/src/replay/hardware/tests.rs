// SPDX-License-Identifier: GPL-2.0 OR MIT

use crate::replay::judge::Verdict;
use crate::replay::perform::perform;
use crate::replay::script::{Action, JobScript, QueueScript, RingScript, Script, Step};
use crate::signals::Signals;

/// `queues` queues that take turns in submitting `jobs` jobs to one ring with room for `room`.
fn script(queues: u32, jobs: u32, room: u32) -> Script {
    let of_queue = |queue| QueueScript {
        jobs: (0..jobs).filter(|job| job % queues == queue).collect(),
        credits: jobs,
    };
    let job = |job: u32| JobScript {
        recorded: job as usize,
        queue: (job % queues) as usize,
        ring: 0,
        busy_ns: 20_000,
        dependencies: Vec::new(),
    };
    let step = |job| Step {
        at: 0,
        job,
        action: Action::Submit,
    };
    Script {
        rings: vec![RingScript {
            room,
            contended: jobs > room,
            users: queues as usize,
        }],
        queues: (0..queues).map(of_queue).collect(),
        jobs: (0..jobs).map(job).collect(),
        steps: (0..jobs).map(step).collect(),
        notices: Vec::new(),
        left_out: 0,
        left_out_dependencies: 0,
        bound: std::time::Duration::from_secs(1),
    }
}

/// The most jobs between run and done at one time.
fn most_at_once(script: &Script) -> (i64, Verdict) {
    let performance = perform(script, None, Signals::default()).expect("a device");
    let mut changes = Vec::new();
    for life in &performance.lives {
        changes.push((life.run.expect("it ran"), 1));
        changes.push((life.done.expect("it is done"), -1));
    }
    changes.sort_unstable();
    let now = |now: &mut i64, (_, change): (u64, i64)| {
        *now += change;
        Some(*now)
    };
    let most = changes.into_iter().scan(0, now).max().unwrap_or(0);
    (most, Verdict::new(script, &performance))
}

#[test]
fn a_ring_never_holds_more_than_it_has_room_for() {
    for room in [1, 3] {
        let (most, verdict) = most_at_once(&script(4, 100, room));
        assert_eq!(verdict.violations, Vec::<String>::new());
        assert_eq!(most, i64::from(room));
    }
}

#[test]
fn a_ring_holds_more_than_the_device_is_told_of() {
    let (most, verdict) = most_at_once(&script(2, 300, 300));
    assert_eq!(verdict.violations, Vec::<String>::new());
    assert!(most > super::AHEAD as i64, "{most}");
}

#[test]
fn jobs_that_are_cancelled_give_up_their_turn() {
    let mut script = script(4, 100, 1);
    let cancels: Vec<Step> = (0..100)
        .filter(|job| job % 3 == 0)
        .map(|job| Step {
            at: 0,
            job,
            action: Action::Cancel,
        })
        .collect();
    script.steps.extend(cancels);
    let performance = perform(&script, None, Signals::default()).expect("a device");
    let verdict = Verdict::new(&script, &performance);
    assert_eq!(verdict.violations, Vec::<String>::new());
    assert!(verdict.cancelled > 0, "{verdict:?}");
    let all = verdict.completed + verdict.cancelled;
    assert_eq!(all, 100, "{verdict:?}");
}
