// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The driver's recoveries: of one queue, of the whole device, to another device, and none at all.

mod common;
#[path = "driver/rig.rs"]
mod rig;

use std::time::Duration;

use common::{config, until, PATIENCE};
use rig::{all_well, ended, Lane, Rig};
use ringfence::section::CheckedAllocator;
use ringfence::{Errno, Fence, PrepareError, Queue, Rest, Standing};
use ringfence_softgpu::driver::{Batch, Reset, SoftDriver};
use ringfence_softgpu::{Command, GpuConfig, Injection, InjectionKind, When};

// Debug builds abort when a callback allocates.
#[global_allocator]
static ALLOCATOR: CheckedAllocator = CheckedAllocator::system();

/// A time after which only what hangs is asked about.
const SHORT: Duration = Duration::from_millis(200);

/// Jobs `from..to` of which one hangs, with their fences.
fn with_a_hang(lane: &Lane, hang: u32, to: u32) -> Vec<Fence> {
    (0..to)
        .map(|place| match place {
            _ if place == hang => lane.submit(&[Command::Hang]),
            _ => lane.submit(&[lane.fill(place)]),
        })
        .collect()
}

#[test]
fn the_rest_of_a_guilty_queue_is_cancelled_if_its_driver_says_so() {
    let rig = Rig::new(2);
    let builder = Queue::<SoftDriver>::builder("strict").timeout(SHORT);
    let lane = rig.lane_of(builder, SHORT, Rest::Cancel);
    let other = rig.lane(PATIENCE, 0, false);
    // All are on the hardware before anybody is asked about the first.
    lane.queue.suspend();
    let jobs = with_a_hang(&lane, 5, 12);
    let innocent = other.fills(0..20);
    lane.queue.resume();
    for (place, job) in jobs.iter().enumerate() {
        let wanted = match place {
            0..5 => Ok(()),
            5 => Err(Errno::ETIME),
            _ => Err(Errno::ECANCELED),
        };
        assert_eq!(ended(job), wanted, "job {place}");
    }
    all_well(&innocent);
    all_well(&lane.fills(5..12));
    lane.check(0..12);
    let recoveries = rig.soft.recoveries();
    assert_eq!((recoveries.queue_resets, recoveries.device_resets), (1, 0));
    assert_eq!((recoveries.guilty, recoveries.cancelled), (1, 6));
    assert_eq!(other.queue.stats().replays, 0, "it did not notice");
    rig.end(vec![lane, other]);
}

#[test]
fn a_reset_of_the_device_punishes_the_guilty_and_replays_the_innocent() {
    let rig = Rig::standing_by(config(3), 0, Reset::Device);
    let guilty = rig.lane_with_ban(SHORT, 2);
    let innocent = [(); 2].map(|()| rig.lane(PATIENCE * 2, 0, false));
    let mut jobs = Vec::new();
    for lane in &innocent {
        jobs.push(lane.submit(&[lane.gate(1)]));
        jobs.extend(lane.fills(0..20));
    }
    until("all to be on the hardware", || {
        innocent.iter().all(|lane| lane.queue.stats().runs == 21)
    });
    let punished = with_a_hang(&guilty, 3, 8);
    assert_eq!(ended(&punished[3]), Err(Errno::ETIME));
    innocent.iter().for_each(|lane| lane.open(1));
    all_well(&punished[..3]);
    all_well(&punished[4..]);
    all_well(&jobs);
    for lane in &innocent {
        lane.check(0..20);
        assert!(
            lane.queue.stats().replays >= 20,
            "{}",
            lane.queue.snapshot()
        );
        assert_eq!(lane.queue.standing(), Standing::Good { strikes: 0 });
    }
    let recoveries = rig.soft.recoveries();
    assert_eq!((recoveries.device_resets, recoveries.queue_resets), (1, 0));
    assert_eq!(guilty.queue.standing(), Standing::Good { strikes: 1 });
    // The second time it is out.
    assert_eq!(ended(&guilty.submit(&[Command::Hang])), Err(Errno::ETIME));
    assert_eq!(guilty.queue.standing(), Standing::Banned);
    let refused = guilty.queue.prepare(Batch::new(&[]), 1);
    let refused = refused.map(|_| ()).map_err(|failed| failed.error);
    assert_eq!(refused, Err(PrepareError::Banned));
    let [one, other] = innocent;
    rig.end(vec![guilty, one, other]);
}

#[test]
fn resets_that_fail_are_repeated_and_then_larger_ones_are_tried() {
    for failures in [2, 20] {
        let rig = Rig::new(2);
        let (lane, other) = (rig.lane(SHORT, 0, false), rig.lane(PATIENCE, 0, false));
        for _ in 0..failures {
            lane.inject(Injection::FailedReset, When::Now);
        }
        let jobs = with_a_hang(&lane, 2, 10);
        let innocent = other.fills(0..20);
        assert_eq!(ended(&jobs[2]), Err(Errno::ETIME));
        all_well(&jobs[..2]);
        all_well(&jobs[3..]);
        all_well(&innocent);
        lane.check(3..10);
        other.check(0..20);
        let recoveries = rig.soft.recoveries();
        let resets = (recoveries.queue_resets, recoveries.device_resets);
        assert_eq!(resets, if failures == 2 { (1, 0) } else { (0, 1) });
        let injected = lane.context.now().injected(InjectionKind::FailedReset);
        assert_eq!(injected, failures);
        rig.end(vec![lane, other]);
    }
}

#[test]
fn everything_moves_to_a_fresh_device_with_its_fences_and_its_data() {
    let rig = Rig::standing_by(config(2), 2, Reset::Queue);
    let lanes = [(); 3].map(|()| rig.lane(PATIENCE * 2, 0, false));
    for round in 1..=2_u64 {
        let mut jobs = Vec::new();
        for lane in &lanes {
            all_well(&lane.fills(0..5));
            jobs.push(lane.submit(&[lane.gate(round as u32)]));
            jobs.extend(lane.fills(5..40));
        }
        rig.soft.request_migration();
        until("the move", || rig.soft.recoveries().migrations == round);
        lanes.iter().for_each(|lane| lane.open(round as u32));
        all_well(&jobs);
        // Data of jobs that had ended before the move has come along.
        lanes.iter().for_each(|lane| lane.check(0..40));
        assert!(std::ptr::eq(
            rig.soft.gpu(),
            &rig.soft.gpus()[round as usize]
        ));
    }
    let replays: u64 = lanes.iter().map(|lane| lane.queue.stats().replays).sum();
    assert!(replays > 0, "what was on the hardware was put there again");
    rig.end(lanes.into());
}

#[test]
fn a_device_that_cannot_be_reset_is_left_for_one_on_standby_or_given_up() {
    for standby in [0, 1] {
        let rig = Rig::standing_by(config(2), standby, Reset::Device);
        let (lane, other) = (rig.lane(SHORT, 0, false), rig.lane(PATIENCE * 2, 0, false));
        for _ in 0..200 {
            rig.soft
                .gpu()
                .inject(Injection::FailedReset, When::Now)
                .expect("possible");
        }
        let jobs = [lane.fills(0..3), other.fills(0..10)].concat();
        let hung = lane.submit(&[Command::Hang]);
        if standby == 1 {
            all_well(&jobs);
            // It hangs there too, and is found guilty where a reset helps.
            assert_eq!(ended(&hung), Err(Errno::ETIME));
            assert_eq!(rig.soft.recoveries().migrations, 1);
        } else {
            assert_eq!(ended(&hung), Err(Errno::ENODEV));
            assert_eq!(rig.soft.recoveries().gone, 1);
            // Its queue may come second.
            until("its turn", || {
                other.queue.prepare(Batch::new(&[]), 1).is_err()
            });
        }
        rig.end(vec![lane, other]);
    }
}

#[test]
fn when_the_device_goes_every_fence_says_so_in_order() {
    for announced in [false, true] {
        let rig = Rig::new(1);
        // No hang may be found before the device goes.
        let lanes = [(); 3].map(|()| rig.lane(PATIENCE * 2, 0, false));
        let mut all = Vec::new();
        for lane in &lanes {
            let mut own = lane.fills(0..5);
            own.iter().for_each(|job| assert_eq!(ended(job), Ok(())));
            own.push(lane.submit(&[Command::Hang]));
            own.extend(lane.fills(5..30));
            all.push(own);
        }
        rig.soft.gpu().unplug(announced);
        if !announced {
            // As a timeout would: somebody has to look.
            let last = all[0].last().expect("a job");
            until("a look at it", || {
                lanes[0].queue.trigger_timeout() || last.is_signaled()
            });
        }
        for own in &all {
            let results: Vec<_> = own.iter().map(ended).collect();
            assert!(results[..5].iter().all(Result::is_ok));
            let gone = Err(Errno::ENODEV);
            assert!(
                results[5..].iter().all(|result| *result == gone),
                "{results:?}"
            );
            let times: Vec<_> = own.iter().map(Fence::timestamp).collect();
            assert!(times.is_sorted(), "out of order");
        }
        for lane in &lanes {
            lane.check(0..5);
            assert!(lane.queue.prepare(Batch::new(&[]), 1).is_err());
        }
        rig.end(lanes.into());
    }
}

#[test]
fn a_device_that_goes_at_a_job_is_found_by_who_submits() {
    let rig = Rig::new(1);
    let lane = rig.lane(PATIENCE * 2, 0, false);
    lane.inject(Injection::Unplug { announced: false }, When::Fence(3));
    let first = lane.fills(0..3);
    until("the device to go", || rig.soft.gpu().is_gone());
    // No timeout is due for long, and no interrupt comes any more.
    let next = lane.submit(&[lane.fill(3)]);
    assert_eq!(ended(&next), Err(Errno::ENODEV));
    assert_eq!(ended(&first[2]), Err(Errno::ENODEV));
    rig.end(vec![lane]);
}

#[test]
fn a_job_may_end_before_its_submission_has_returned() {
    for bypass in [false, true] {
        let rig = Rig::new(1);
        let lane = rig.lane(PATIENCE, 0, bypass);
        for value in 1..=40 {
            lane.inject(Injection::EarlyCompletion, When::Fence(value));
            assert_eq!(ended(&lane.submit(&[lane.fill(value as u32)])), Ok(()));
        }
        lane.check(1..41);
        assert_eq!(lane.queue.stats().completed, 40);
        rig.end(vec![lane]);
    }
}

#[test]
fn a_device_reset_by_request_costs_no_job() {
    let rig = Rig::with(GpuConfig {
        slots: 2,
        ..config(2)
    });
    let lanes = [(); 3].map(|()| rig.lane(PATIENCE * 2, 0, false));
    for round in 1..=10 {
        let jobs: Vec<_> = lanes.iter().flat_map(|lane| lane.fills(0..40)).collect();
        rig.soft.request_reset();
        all_well(&jobs);
        until("the reset", || rig.soft.recoveries().device_resets == round);
    }
    lanes.iter().for_each(|lane| lane.check(0..40));
    assert_eq!(rig.soft.recoveries().guilty, 0);
    rig.end(lanes.into());
}
