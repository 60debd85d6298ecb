// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The fairness scenarios of Linux's own GPU scheduler, on threads: real clients, queues, workers and a
//! device in software. The table is the simulator's, which asks for exact numbers in virtual time.
//!
//! Here a machine may be loaded, so no time is asked for: by when all must be done, and how late who may
//! be, is asked of virtual time. Here every job must be done, and in the end those that always have work
//! must come to parts as the table says, however long that takes on such a machine.

mod common;
#[path = "driver/hosted.rs"]
mod hosted;
#[path = "driver/rig.rs"]
mod rig;

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use common::told::hosted_config;
use common::{until, PATIENCE};
use hosted::{Hosted, Place};
use rig::{ended, Lane};
use ringfence::Fence;
use ringfence_orchestrator::{Fair, Kinds, Priority, SeatConfig, Weight};
use ringfence_sim::slots::cases::{
    Flood, ManyClients, Stir, TwoClients, Workload, CHANGE_PRIORITY, DURATION_US, MANY_CLIENTS,
    MODIFY_SCHED, PING_PONG, PRIORITIES, QUEUE_OVERHEAD, TWO_CLIENTS,
};
use ringfence_softgpu::driver::Reset;
use ringfence_softgpu::{Command, GpuConfig, SlotKind};

/// Of the kernel's second, so much is played: the table has more than thirty cases.
const PART: u64 = 4;

fn stage(config: GpuConfig) -> Hosted {
    Hosted::new(config, 0, Reset::Queue, Fair::default())
}

fn place(hosted: &Hosted, priority: Priority, credits: u32, kinds: Kinds) -> Place {
    let config = SeatConfig {
        priority,
        kinds,
        ..SeatConfig::default()
    };
    hosted.place_with(PATIENCE, config, |builder| builder.credits(credits))
}

fn busy(place: &Place) -> u64 {
    place.seat.snapshot().expect("its queue is alive").busy_ns
}

fn spin(lane: &Lane, us: u64) -> Fence {
    lane.submit(&[Command::Spin { ns: us * 1_000 }])
}

/// A client's cycles. Returns when all its jobs are done.
fn play(lane: &Lane, workload: &Workload, cycles: u64) {
    let mut last = None;
    for _ in 0..cycles {
        for _ in 0..workload.jobs {
            last = Some(spin(lane, workload.job_us));
        }
        if workload.sync {
            done(last.as_ref());
        }
        // It is what such a client does.
        thread::sleep(Duration::from_micros(workload.wait_us));
    }
    done(last.as_ref());
}

fn done(last: Option<&Fence>) {
    if let Some(last) = last {
        assert_eq!(ended(last), Ok(()));
    }
}

/// Jobs of a queue that always has work: enough for a time in which this thread does not run.
const BACKLOG: usize = 16;

/// Keeps each queue in work until both have had so much, in nanoseconds, that `enough` says so.
fn keep_at_work(case: &TwoClients, places: &[Place], enough: impl Fn(u64, u64) -> bool) {
    let mut lines = [VecDeque::new(), VecDeque::new()];
    until(case.name, || {
        for ((place, client), line) in places.iter().zip(&case.clients).zip(&mut lines) {
            while line.front().is_some_and(Fence::is_signaled) {
                done(line.pop_front().as_ref());
            }
            while line.len() < BACKLOG {
                line.push_back(spin(&place.lane, client.job_us));
            }
        }
        enough(busy(&places[0]), busy(&places[1]))
    });
    for fence in lines.iter().flatten() {
        done(Some(fence));
    }
}

/// Time in which parts show, in nanoseconds: many slices, and jobs.
const SHOWS: u64 = 100_000_000;

fn two_clients(case: &TwoClients, credits: u32) {
    for preemption in [true, false] {
        let hosted = stage(hosted_config(1, preemption));
        let places: Vec<_> = case
            .clients
            .iter()
            .map(|client| place(&hosted, client.priority, credits, Kinds::ALL))
            .collect();
        match case.parts {
            Some([a, b]) if a == b => keep_at_work(case, &places, |one, other| {
                one + other > SHOWS && one.max(other) < 2 * one.min(other)
            }),
            // The first is the more important one, and the other does not starve.
            Some(_) => keep_at_work(case, &places, |one, other| {
                one > SHOWS && one > 4 * other && other > 0
            }),
            None => thread::scope(|scope| {
                for (place, client) in places.iter().zip(&case.clients) {
                    scope.spawn(move || {
                        play(&place.lane, client, client.cycles(DURATION_US / PART))
                    });
                }
            }),
        }
        hosted.end(places);
    }
}

fn each_two_clients(credits: u32) {
    for case in &TWO_CLIENTS {
        two_clients(case, credits);
    }
}

#[test]
fn two_clients_one_credit() {
    each_two_clients(1);
}

#[test]
fn two_clients_two_credits() {
    each_two_clients(2);
}

#[test]
fn many_clients() {
    for ManyClients {
        name,
        clients,
        workload,
        ..
    } in &MANY_CLIENTS
    {
        let hosted = stage(hosted_config(1, true));
        let places: Vec<_> = (0..*clients)
            .map(|_| place(&hosted, workload.priority, 2, Kinds::ALL))
            .collect();
        // They share the time.
        let cycles = workload
            .cycles(DURATION_US / PART)
            .div_ceil(*clients)
            .max(1);
        thread::scope(|scope| {
            for place in &places {
                scope.spawn(move || play(&place.lane, workload, cycles));
            }
        });
        let work = cycles * workload.work_us() * 1_000;
        for place in &places {
            // It was on its slot for at least what its jobs take.
            assert!(busy(place) >= work, "{name}: {} of {work}", busy(place));
        }
        hosted.end(places);
    }
}

/// All jobs are submitted before the first is done, then stirred.
fn flood(case: &Flood) {
    let kinds = [SlotKind::Compute, SlotKind::Copy, SlotKind::Render];
    let config = GpuConfig {
        slot_kinds: kinds[..usize::from(case.kinds)].to_vec(),
        ..hosted_config(case.kinds.into(), true)
    };
    let hosted = stage(config);
    let on = |number: usize| Kinds::from(kinds[number % usize::from(case.kinds)]);
    let places: Vec<_> = case
        .queues
        .iter()
        .enumerate()
        .map(|(number, priority)| place(&hosted, *priority, case.credits.unwrap_or(64), on(number)))
        .collect();
    let jobs = u64::from(case.jobs) / PART;
    let mut fences: Vec<Fence> = Vec::new();
    for job in 0..jobs {
        let place = &places[job as usize % places.len()];
        let command = Command::Spin {
            ns: case.job_us * 1_000,
        };
        let after: Vec<_> = fences.last().filter(|_| case.chained).into_iter().collect();
        fences.push(place.lane.submit_after(&[command], &after));
        if let Some(Stir::Priority) = case.stir {
            let priority = Priority::ALL[(job as usize / 3) % Priority::COUNT];
            let changed = place.seat.change(priority, Weight::DEFAULT);
            assert_eq!(changed, Ok(()));
        }
    }
    for fence in &fences {
        assert_eq!(ended(fence), Ok(()));
    }
    hosted.end(places);
}

#[test]
fn queue_overhead() {
    flood(&QUEUE_OVERHEAD);
}

#[test]
fn ping_pong() {
    flood(&PING_PONG);
}

#[test]
fn priorities() {
    flood(&PRIORITIES);
}

#[test]
fn change_priority() {
    flood(&CHANGE_PRIORITY);
}

/// Queues do not move between kinds of slots here: they begin spread over three, as there.
#[test]
fn modify_sched() {
    flood(&MODIFY_SCHED);
}
