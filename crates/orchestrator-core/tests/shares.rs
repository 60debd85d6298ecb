// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Shares on a device that does everything at once.

use std::collections::BTreeMap;
use std::time::Duration;

use ringfence_core::{GateReport, Out, Time};
use ringfence_orchestrator_core::{
    Answer, Config, Effect, Fair, Orchestrator, Policy, Preemption, Priority, Seat, SeatConfig,
    SeatId, Slot, SlotKind, Weight,
};

const MS: u64 = 1_000_000;

struct World<P: Policy> {
    orchestrator: Orchestrator<Vec<Seat>, Vec<Slot>, P>,
    now: Time,
    timer: Option<Time>,
    version: u64,
    /// How long a job of the seat takes, and when the present one ends.
    jobs: BTreeMap<SeatId, (u64, Option<Time>)>,
    leaving: Vec<SeatId>,
}

impl<P: Policy> World<P> {
    fn new(config: Config, policy: P, slots: usize) -> Self {
        let seats = vec![Seat::FREE; 256];
        let slots = vec![Slot::new(SlotKind::default()); slots];
        Self {
            orchestrator: Orchestrator::new(config, policy, seats, slots).unwrap(),
            now: Time::ZERO,
            timer: None,
            version: 0,
            jobs: BTreeMap::new(),
            leaving: Vec::new(),
        }
    }

    fn add(&mut self, priority: Priority, weight: u16, job_ns: u64) -> SeatId {
        let seat = self.add_quietly(priority, weight, job_ns);
        self.say(seat, true, Out::Nothing);
        seat
    }

    /// A seat whose queue has no work yet.
    fn add_quietly(&mut self, priority: Priority, weight: u16, job_ns: u64) -> SeatId {
        let weight = Weight::new(weight).unwrap();
        let config = SeatConfig {
            priority,
            weight,
            ..SeatConfig::default()
        };
        let seat = self.orchestrator.add(config).unwrap();
        self.jobs.insert(seat, (job_ns, None));
        seat
    }

    fn report(&mut self, wants: bool, out: Out) -> GateReport {
        self.version += 1;
        GateReport {
            version: self.version,
            wants,
            out,
        }
    }

    fn say(&mut self, seat: SeatId, wants: bool, out: Out) {
        let report = self.report(wants, out);
        self.orchestrator.report(seat, report, self.now).unwrap();
    }

    fn act(&mut self) {
        while let Some(effect) = self.orchestrator.next(self.now) {
            let now = self.now;
            match effect {
                Effect::Bind { seat, .. } => {
                    self.orchestrator.bound(seat, Answer::Done, now).unwrap();
                }
                Effect::Run { seat } => {
                    let (span, end) = self.jobs.get_mut(&seat).unwrap();
                    *end = Some(now.after(Duration::from_nanos(*span)));
                }
                Effect::Yield { seat } => {
                    self.leaving.push(seat);
                    let report = self.report(true, Out::OnHardware);
                    self.orchestrator.yielded(seat, report, now).unwrap();
                }
                Effect::Vacate { seat, .. } => {
                    self.jobs.get_mut(&seat).unwrap().1 = None;
                    self.leaving.retain(|other| *other != seat);
                    self.orchestrator
                        .vacated(seat, Answer::Done, None, now)
                        .unwrap();
                }
                Effect::ArmTimer { at } => self.timer = Some(at),
                other => panic!("{other:?}"),
            }
            self.orchestrator.check_invariants().unwrap();
        }
    }

    fn run_until(&mut self, end: Time) {
        loop {
            self.act();
            let job = self.jobs.values().filter_map(|(_, end)| *end).min();
            let next = [job, self.timer].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if self.timer.is_some_and(|at| at <= self.now) {
                self.timer = None;
                self.orchestrator.timer_fired();
            }
            let ended: Vec<SeatId> = self
                .jobs
                .iter()
                .filter(|(_, (_, end))| end.is_some_and(|end| end <= self.now))
                .map(|(seat, _)| *seat)
                .collect();
            for seat in ended {
                let now = self.now;
                let leaves = self.leaving.contains(&seat);
                let (span, end) = self.jobs.get_mut(&seat).unwrap();
                *end = (!leaves).then(|| now.after(Duration::from_nanos(*span)));
                if leaves {
                    self.say(seat, true, Out::Nothing);
                }
            }
        }
    }

    fn busy(&self, seat: SeatId) -> f64 {
        let view = self.orchestrator.view(seat, self.now).unwrap();
        view.stats.busy.as_secs_f64()
    }
}

/// A hundred queues, with jobs of 0.1 to 5 ms: the worst share error, in parts of the share.
fn worst_share(preemption: Preemption, slots: usize) -> f64 {
    let config = Config {
        preemption,
        ..Config::default()
    };
    let mut world = World::new(config, Fair::default(), slots);
    let seats: Vec<(SeatId, u64)> = (0..100)
        .map(|n| (n * 37 % 50 + 1) * 100_000)
        .map(|job_ns| (world.add(Priority::Normal, 100, job_ns), job_ns))
        .collect();
    world.run_until(Time::from_ns(10_000 * MS));
    let ideal = 10.0 * slots as f64 / 100.0;
    let mut worst: f64 = 0.0;
    for (seat, job_ns) in seats {
        let error = (world.busy(seat) - ideal).abs();
        // Nobody can be served in smaller pieces: a slice, and what cannot be preempted.
        let piece = 0.002 + job_ns as f64 / 1e9;
        assert!(error <= piece, "{error} s, with jobs of {job_ns} ns");
        worst = worst.max(error / ideal);
    }
    worst
}

#[test]
fn a_hundred_backlogged_queues_have_equal_shares() {
    for slots in [1, 8] {
        assert!(worst_share(Preemption::Supported, slots) < 0.001);
    }
}

#[test]
fn jobs_that_cannot_be_preempted_do_not_spoil_shares() {
    assert!(worst_share(Preemption::RunToCompletion, 8) < 0.02);
    let _only_by_pieces = worst_share(Preemption::RunToCompletion, 1);
}

#[test]
fn weights_are_shares() {
    let mut world = World::new(Config::default(), Fair::default(), 2);
    let heavy: Vec<SeatId> = (0..4)
        .map(|_| world.add(Priority::Normal, 300, 900_000))
        .collect();
    let light: Vec<SeatId> = (0..12)
        .map(|_| world.add(Priority::Normal, 100, 700_000))
        .collect();
    world.run_until(Time::from_ns(10_000 * MS));
    let unit = 20.0 / (4.0 * 3.0 + 12.0);
    for seat in heavy {
        assert!((world.busy(seat) / (3.0 * unit) - 1.0).abs() < 0.02);
    }
    for seat in light {
        assert!((world.busy(seat) / unit - 1.0).abs() < 0.02);
    }
}

#[test]
fn lower_priorities_get_what_is_guaranteed() {
    for slots in [1, 2, 4, 8] {
        let mut world = World::new(Config::default(), Fair::default(), slots);
        let mut some = |priority| -> Vec<SeatId> {
            (0..2 * slots)
                .map(|_| world.add(priority, 100, 500_000))
                .collect()
        };
        let (high, low) = (some(Priority::High), some(Priority::Low));
        world.run_until(Time::from_ns(10_000 * MS));
        let sum = |seats: &[SeatId]| seats.iter().map(|seat| world.busy(*seat)).sum::<f64>();
        let all = 10.0 * slots as f64;
        assert!((sum(&high) + sum(&low) - all).abs() < 0.01 * all);
        // One part in 16 of what the higher one has.
        let part = sum(&low) / all;
        println!("{slots}: {part}");
        assert!((part - 1.0 / 17.0).abs() < 0.005, "{part} on {slots} slots");
    }
}

/// What three backlogged queues of low priority get beside as many of high priority on each slot.
fn part_of_the_low(preemption: Preemption, slots: usize, job_ns: u64) -> f64 {
    let config = Config {
        preemption,
        ..Config::default()
    };
    let mut world = World::new(config, Fair::default(), slots);
    let mut add = |priority| -> Vec<SeatId> {
        let seats = 0..3 * slots;
        seats.map(|_| world.add(priority, 100, job_ns)).collect()
    };
    let (_high, low) = (add(Priority::High), add(Priority::Low));
    world.run_until(Time::from_ns(10_000 * MS));
    let sum: f64 = low.iter().map(|seat| world.busy(*seat)).sum();
    sum / 10.0 / slots as f64
}

#[test]
fn a_guarantee_is_no_more_than_its_part_on_any_number_of_slots() {
    for slots in [1, 2, 8] {
        let part = part_of_the_low(Preemption::Supported, slots, 500_000);
        assert!((part - 1.0 / 17.0).abs() < 0.005, "{part} of {slots} slots");
    }
}

#[test]
fn jobs_that_cannot_be_preempted_are_paid_for_by_who_was_guaranteed() {
    for job_ns in [2 * MS, 8 * MS, 50 * MS] {
        let part = part_of_the_low(Preemption::RunToCompletion, 1, job_ns);
        assert!((part - 1.0 / 17.0).abs() < 0.02, "{part} with {job_ns} ns");
    }
}

#[test]
fn a_group_has_the_share_of_one() {
    let mut world = World::new(Config::default(), Fair::default(), 4);
    let mut units: Vec<Vec<SeatId>> = Vec::new();
    for members in [1, 1, 1, 2, 2, 3] {
        let seats: Vec<SeatId> = (0..members)
            .map(|_| world.add_quietly(Priority::Normal, 100, 1_500_000))
            .collect();
        world.orchestrator.group(&seats).unwrap();
        units.push(seats);
    }
    for seat in units.iter().flatten() {
        world.say(*seat, true, Out::Nothing);
    }
    world.run_until(Time::from_ns(3_000 * MS));
    let shares = units
        .iter()
        .map(|seats| seats.iter().map(|seat| world.busy(*seat)).sum::<f64>());
    let shares: Vec<f64> = shares.collect();
    println!("{shares:?}");
    let all: f64 = shares.iter().sum();
    for share in &shares {
        assert!((share / (all / 6.0) - 1.0).abs() < 0.05, "{shares:?}");
    }
    // Slots that are kept for a group stand idle for a while.
    assert!(all > 0.75 * 4.0 * 3.0, "{all}");
}
