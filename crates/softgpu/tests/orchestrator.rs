// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The driver on a device whose slots an orchestrator gives away.

mod common;
#[path = "driver/hosted.rs"]
mod hosted;
#[path = "driver/rig.rs"]
mod rig;

use std::time::Duration;

use common::told::hosted_config;
use common::{until, PATIENCE};
use hosted::{Hosted, Place};
use rig::{all_well, ended, Rig};
use ringfence::section::CheckedAllocator;
use ringfence::Errno;
use ringfence_orchestrator::{Fair, FairConfig, Kinds, Priority, SeatConfig};
use ringfence_softgpu::driver::Reset;
use ringfence_softgpu::{Command, GpuConfig, Injection, Scheduling, SlotKind, When};

// Debug builds abort when a callback allocates.
#[global_allocator]
static ALLOCATOR: CheckedAllocator = CheckedAllocator::system();

/// A time after which only what hangs is asked about.
const SHORT: Duration = Duration::from_millis(200);

fn new(config: GpuConfig, standby: usize, reset: Reset) -> Hosted {
    let policy = Fair::new(FairConfig {
        slice: Duration::from_millis(1),
        ..FairConfig::default()
    });
    Hosted::new(config, standby, reset, policy)
}

fn seated(hosted: &Hosted, timeout: Duration, config: SeatConfig) -> Place {
    hosted.place_with(timeout, config, |builder| builder.bypass(true))
}

fn places(hosted: &Hosted, count: usize, timeout: Duration) -> Vec<Place> {
    let one = |_| seated(hosted, timeout, SeatConfig::default());
    (0..count).map(one).collect()
}

fn rounds(places: &[Place], rounds: u32) {
    for _ in 0..rounds {
        let jobs: Vec<_> = places
            .iter()
            .flat_map(|place| place.lane.fills(0..20))
            .collect();
        all_well(&jobs);
    }
    places.iter().for_each(|place| place.lane.check(0..20));
}

#[test]
fn many_queues_do_their_work_on_few_slots() {
    for preemption in [true, false] {
        let hosted = new(hosted_config(2, preemption), 0, Reset::Queue);
        let places = places(&hosted, 10, PATIENCE);
        rounds(&places, 5);
        let usage = hosted.orchestrator.usage(&hosted.client);
        assert!(usage.stats.stays >= 10);
        assert!(!usage.stats.measured.is_zero());
        hosted.end(places);
    }
}

#[test]
fn long_jobs_are_preempted_and_still_right() {
    let hosted = new(hosted_config(1, true), 0, Reset::Queue);
    let places = places(&hosted, 3, PATIENCE);
    let spin = Command::Spin { ns: 20_000_000 };
    // None of them ends before all have been taken off the slot in the middle of it.
    let long = |place: &Place| {
        let lane = &place.lane;
        lane.submit(&[spin, lane.fill(0), spin, lane.gate(1)])
    };
    let mut jobs: Vec<_> = places.iter().map(long).collect();
    jobs.extend(places.iter().flat_map(|place| place.lane.fills(1..10)));
    for place in &places {
        until("everybody to be preempted", || {
            let seat = place.seat.snapshot().expect("its queue is alive");
            seat.preemptions > 0
        });
    }
    places.iter().for_each(|place| place.lane.open(1));
    all_well(&jobs);
    places.iter().for_each(|place| place.lane.check(0..10));
    hosted.end(places);
}

#[test]
fn queues_stay_on_slots_of_their_kinds() {
    let config = GpuConfig {
        slots: 3,
        slot_kinds: vec![SlotKind::Compute, SlotKind::Copy, SlotKind::Render],
        ..hosted_config(3, true)
    };
    let hosted = new(config, 0, Reset::Queue);
    let place = |kinds| {
        let config = SeatConfig {
            kinds,
            ..SeatConfig::default()
        };
        seated(&hosted, PATIENCE, config)
    };
    let copy = Kinds::from(SlotKind::Copy);
    let render = Kinds::from(SlotKind::Render);
    let places = vec![
        place(copy),
        place(copy),
        place(render),
        place(copy.union(render)),
    ];
    rounds(&places, 3);
    let snapshot = hosted.orchestrator.snapshot();
    assert_eq!(snapshot.slots[0].binds, 0, "{snapshot}");
    assert_eq!(snapshot.slots[0].engine, "compute");
    let usage = hosted.orchestrator.usage(&hosted.client).to_string();
    assert!(usage.contains("drm-engine-copy:\t"), "{usage}");
    hosted.end(places);
}

#[test]
fn groups_are_resident_together() {
    let hosted = new(hosted_config(3, true), 0, Reset::Queue);
    let others = places(&hosted, 4, PATIENCE);
    let pair = places(&hosted, 2, PATIENCE);
    hosted
        .orchestrator
        .group(&[&pair[0].seat, &pair[1].seat])
        .expect("three slots");
    let noise: Vec<_> = (0..10)
        .flat_map(|_| others.iter().flat_map(|place| place.lane.fills(0..5)))
        .collect();
    // The second waits, on the hardware, for what the first does after: without the second beside it
    // the first would never get there, nor the other way round.
    for round in 1..20 {
        let (one, two) = (&pair[0].lane, &pair[1].lane);
        let first = one.submit(&[one.gate(round), one.fill(0)]);
        let second = two.submit(&[Command::Spin { ns: 100_000 }, two.fill(0)]);
        assert_eq!(ended(&second), Ok(()));
        one.open(round);
        assert_eq!(ended(&first), Ok(()));
    }
    all_well(&noise);
    let mut places = others;
    places.extend(pair);
    hosted.end(places);
}

#[test]
fn a_hang_costs_its_own_queue_only() {
    for stuck in [false, true] {
        for reset in [Reset::Queue, Reset::Device] {
            let hosted = new(hosted_config(2, true), 0, reset);
            let hanging = seated(&hosted, SHORT, SeatConfig::default());
            let others = places(&hosted, 4, PATIENCE);
            if stuck {
                hanging
                    .lane
                    .inject(Injection::StuckPreemption, When::Nth(2));
            }
            let before = hanging.lane.fills(0..3);
            let guilty = hanging.lane.submit(&[Command::Hang]);
            let after = hanging.lane.fills(4..10);
            let innocent: Vec<_> = others
                .iter()
                .flat_map(|place| place.lane.fills(0..20))
                .collect();
            all_well(&before);
            assert_eq!(ended(&guilty), Err(Errno::ETIME));
            all_well(&after);
            all_well(&innocent);
            hanging.lane.check(4..10);
            others.iter().for_each(|place| place.lane.check(0..20));
            let mut places = others;
            places.push(hanging);
            hosted.end(places);
        }
    }
}

#[test]
fn everybody_comes_back_after_resets_deaths_and_a_move() {
    let hosted = new(hosted_config(2, true), 1, Reset::Queue);
    let places = places(&hosted, 6, PATIENCE * 2);
    for round in 0..4 {
        let jobs: Vec<_> = places
            .iter()
            .flat_map(|place| place.lane.fills(0..20))
            .collect();
        match round {
            0 => hosted.rig.soft.request_reset(),
            1 => {
                let death = Injection::FirmwareDeath { silent: false };
                let gpu = hosted.rig.soft.gpu();
                gpu.inject(death, When::Now).expect("possible");
            }
            2 => hosted.rig.soft.request_migration(),
            _ => hosted.rig.soft.request_reset(),
        }
        all_well(&jobs);
    }
    rounds(&places, 2);
    hosted.end(places);
}

#[test]
fn a_device_that_is_pulled_out_ends_everything() {
    let hosted = new(hosted_config(2, true), 0, Reset::Queue);
    let places = places(&hosted, 6, PATIENCE * 2);
    let jobs: Vec<_> = places
        .iter()
        .flat_map(|place| place.lane.fills(0..20))
        .collect();
    hosted.rig.soft.gpu().unplug(true);
    for job in &jobs {
        let _well_or_not = ended(job);
    }
    hosted.end(places);
}

/// A device that goes without a word is found out by whoever wants to come to a slot: queues that have
/// nothing on the hardware are not asked about any job.
#[test]
fn a_device_that_goes_silently_is_found_out_by_who_waits_for_a_slot() {
    let hosted = new(hosted_config(1, true), 0, Reset::Queue);
    let places = places(&hosted, 2, PATIENCE);
    rounds(&places, 1);
    let away = |place: &&Place| {
        let seat = place.seat.snapshot().expect("its queue is alive");
        seat.slot.is_none()
    };
    let place = places.iter().find(away).expect("two on one slot");
    hosted.rig.soft.gpu().unplug(false);
    let job = place.lane.submit(&[place.lane.fill(0)]);
    assert_eq!(ended(&job), Err(Errno::ENODEV));
    hosted.end(places);
}

#[test]
fn a_queue_that_is_killed_on_its_slot_leaves_nothing() {
    let hosted = new(hosted_config(1, true), 0, Reset::Queue);
    let place = seated(&hosted, PATIENCE, SeatConfig::default());
    let jobs = [
        place.lane.submit(&[Command::Hang]),
        place.lane.submit(&[place.lane.fill(0)]),
    ];
    until("both to be on the hardware", || {
        place.lane.queue.stats().runs == 2
    });
    place.lane.queue.kill(Errno::EIO);
    for job in &jobs {
        assert_eq!(ended(job), Err(Errno::EIO));
    }
    // Nobody has the queue any more, and its context is off the hardware.
    place.lane.queue.close();
    let closed = place.lane.queue.closed();
    assert!(closed.wait_timeout(PATIENCE).is_ok(), "it does not close");
    place.lane.context.clear().expect("the device is well");
    drop(place);
    until("its memory to be free", || {
        hosted.rig.soft.gpu().memory_in_use() == 0
    });
    let other = seated(&hosted, PATIENCE, SeatConfig::default());
    all_well(&other.lane.fills(0..10));
    hosted.end(vec![other]);
}

#[test]
fn a_compositor_is_prompt_beside_hogs() {
    let hosted = new(hosted_config(1, true), 0, Reset::Queue);
    let hogs = places(&hosted, 4, PATIENCE);
    let high = SeatConfig {
        priority: Priority::High,
        ..SeatConfig::default()
    };
    let compositor = seated(&hosted, PATIENCE, high);
    // None of the hogs ends by itself: who waits for that waits for ever.
    let spin = Command::Spin { ns: 10_000_000 };
    let hog = |place: &Place| place.lane.submit(&[spin, place.lane.gate(1), spin]);
    let noise: Vec<_> = hogs.iter().map(hog).collect();
    for place in 0..10 {
        let frame = compositor.lane.submit(&[compositor.lane.fill(place)]);
        assert_eq!(ended(&frame), Ok(()));
    }
    hogs.iter().for_each(|place| place.lane.open(1));
    compositor.lane.check(0..10);
    all_well(&noise);
    let mut places = hogs;
    places.push(compositor);
    hosted.end(places);
}

#[test]
fn firmware_that_schedules_has_no_slots_to_give() {
    let rig = Rig::new(2);
    assert_eq!(rig.soft.gpu().scheduling(), Scheduling::Firmware);
    assert!(rig.soft.slots().is_none());
    rig.end(Vec::new());
}
