// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Groups are resident as a whole.

use ringfence_orchestrator::{Fair, GroupError, Preemption};

use crate::rig::{eventually, submit, wait, Context, Rig};

#[test]
fn a_group_runs_together_or_not_at_all() {
    for preemption in [Preemption::Supported, Preemption::RunToCompletion] {
        let rig = Rig::new(3, preemption, Fair::default());
        let others: Vec<_> = (0..6).map(|n| rig.simple(&format!("q{n}"))).collect();
        let (left, right) = (Context::new(), Context::new());
        let (left_seat, right_seat) = (rig.seat("left", &left), rig.seat("right", &right));
        rig.orchestrator.group(&[&left_seat, &right_seat]).unwrap();
        // Their drivers look whether the other one is there.
        let left_queue = rig.queue(&left_seat, &[&right]);
        let right_queue = rig.queue(&right_seat, &[&left]);
        for _ in 0..40 {
            let mut fences: Vec<_> = others.iter().map(|(_, _, queue)| submit(queue)).collect();
            fences.push(submit(&left_queue));
            fences.push(submit(&right_queue));
            fences.iter().for_each(wait);
        }
        let snapshot = left_seat.snapshot().unwrap();
        assert_eq!(snapshot.group_of, 2);
    }
}

#[test]
fn jobs_of_a_group_can_be_submitted_as_one() {
    let rig = Rig::new(2, Preemption::Supported, Fair::default());
    let others: Vec<_> = (0..3).map(|n| rig.simple(&format!("q{n}"))).collect();
    let (left, right) = (Context::new(), Context::new());
    let (left_seat, right_seat) = (rig.seat("left", &left), rig.seat("right", &right));
    rig.orchestrator.group(&[&left_seat, &right_seat]).unwrap();
    let (one, two) = (
        rig.queue(&left_seat, &[&right]),
        rig.queue(&right_seat, &[&left]),
    );
    for _ in 0..20 {
        let noise: Vec<_> = others.iter().map(|(_, _, queue)| submit(queue)).collect();
        let (a, b) = (one.prepare((), 1).unwrap(), two.prepare((), 1).unwrap());
        let mut guard = ringfence::SubmissionGuard::over(&[&one, &two]);
        let fences = [guard.submit(a).unwrap(), guard.submit(b).unwrap()];
        drop(guard);
        fences.iter().chain(&noise).for_each(wait);
    }
}

#[test]
fn what_cannot_be_a_group_is_refused() {
    let rig = Rig::new(2, Preemption::Supported, Fair::default());
    let other = Rig::new(2, Preemption::Supported, Fair::default());
    let seats: Vec<_> = (0..3)
        .map(|n| rig.seat(&format!("s{n}"), &Context::new()))
        .collect();
    let foreign = other.seat("foreign", &Context::new());
    let refused = |seats: &[&_]| rig.orchestrator.group(seats).unwrap_err();
    assert_eq!(refused(&[&seats[0], &foreign]), GroupError::Unknown);
    assert_eq!(refused(&[&seats[0], &seats[0]]), GroupError::Taken);
    assert_eq!(
        refused(&[&seats[0], &seats[1], &seats[2]]),
        GroupError::TooMany
    );
    rig.orchestrator.group(&[&seats[0], &seats[1]]).unwrap();
    assert_eq!(refused(&[&seats[1], &seats[2]]), GroupError::Taken);
    let queue = rig.queue(&seats[2], &[]);
    wait(&submit(&queue));
    let late = rig.seat("late", &Context::new());
    assert_eq!(refused(&[&seats[2], &late]), GroupError::InUse);
}

/// A group of which one queue has run before the other is made, `meanwhile` something else happens.
fn one_comes_late(meanwhile: impl FnOnce(&Rig, &Context)) {
    let rig = Rig::new(2, Preemption::Supported, Fair::default());
    let (left, right) = (Context::new(), Context::new());
    let (left_seat, right_seat) = (rig.seat("left", &left), rig.seat("right", &right));
    rig.orchestrator.group(&[&left_seat, &right_seat]).unwrap();
    let left_queue = rig.queue(&left_seat, &[&right]);
    wait(&submit(&left_queue));
    meanwhile(&rig, &right);
    let right_queue = rig.queue(&right_seat, &[&left]);
    wait(&submit(&right_queue));
}

#[test]
fn a_queue_may_come_when_its_group_runs_already() {
    one_comes_late(|_, _| {});
}

#[test]
fn a_queue_may_come_when_its_group_has_left_its_slots() {
    one_comes_late(|rig, right| {
        let (_, _, other) = rig.simple("other");
        wait(&submit(&other));
        eventually("the group has left", || !right.is_resident());
    });
}
