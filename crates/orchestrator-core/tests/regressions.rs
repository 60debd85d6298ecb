// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the simulator once found, each in small.

use std::time::Duration;

use ringfence_core::Time;
use ringfence_orchestrator_core::{
    Answer, Config, Effect, Fair, GateReport, Orchestrator, Out, Policy, Seat, SeatConfig, SeatId,
    Slot, SlotKind,
};

const MS: u64 = 1_000_000;

/// A host that does everything at once, and whose queues have nothing out when they yield.
struct Host<P: Policy> {
    orchestrator: Orchestrator<Vec<Seat>, Vec<Slot>, P>,
    now: Time,
    timer: Option<Time>,
    version: u64,
}

impl<P: Policy> Host<P> {
    fn new(policy: P, slots: usize) -> Self {
        let seats = vec![Seat::FREE; 8];
        let slots = vec![Slot::new(SlotKind::default()); slots];
        Self {
            orchestrator: Orchestrator::new(Config::default(), policy, seats, slots).unwrap(),
            now: Time::ZERO,
            timer: None,
            version: 0,
        }
    }

    fn add(&mut self, config: SeatConfig) -> SeatId {
        self.orchestrator.add(config).unwrap()
    }

    fn says(&mut self, wants: bool, out: Out) -> GateReport {
        self.version += 1;
        let version = self.version;
        GateReport {
            version,
            wants,
            out,
        }
    }

    fn wants(&mut self, seat: SeatId, wants: bool) {
        let report = self.says(wants, Out::Nothing);
        self.orchestrator.report(seat, report, self.now).unwrap();
        self.act();
    }

    fn act(&mut self) {
        while let Some(effect) = self.orchestrator.next(self.now) {
            let now = self.now;
            match effect {
                Effect::Bind { seat, .. } => {
                    self.orchestrator.bound(seat, Answer::Done, now).unwrap();
                }
                Effect::Yield { seat } => {
                    let wants = self.orchestrator.view(seat, now).unwrap().wants;
                    let report = self.says(wants, Out::Nothing);
                    self.orchestrator.yielded(seat, report, now).unwrap();
                }
                Effect::Vacate { seat, .. } => {
                    let left = self.orchestrator.vacated(seat, Answer::Done, None, now);
                    left.unwrap();
                }
                Effect::ArmTimer { at } => self.timer = Some(at),
                Effect::Run { .. } | Effect::Gone { .. } => {}
                other => panic!("{other:?}"),
            }
            self.orchestrator.check_invariants().unwrap();
        }
    }

    fn pass(&mut self, ns: u64) {
        let end = self.now.after(Duration::from_nanos(ns));
        while let Some(at) = self.timer.filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.timer = None;
            self.orchestrator.timer_fired();
            self.act();
        }
        self.now = end;
    }

    fn busy(&self, seat: SeatId) -> Duration {
        self.orchestrator.view(seat, self.now).unwrap().stats.busy
    }
}

/// Nobody decides anything while one seat has the only slot and nobody waits, so nobody looked how far
/// it had come when another woke: that one was owed all of the time that it had slept.
#[test]
fn who_sleeps_while_nothing_is_decided_is_not_owed_that_time() {
    let mut host = Host::new(Fair::default(), 1);
    let (first, second) = (
        host.add(SeatConfig::default()),
        host.add(SeatConfig::default()),
    );
    host.wants(first, true);
    host.pass(10_000 * MS);
    let before = host.busy(first);
    host.wants(second, true);
    host.pass(100 * MS);
    let (first, second) = (host.busy(first) - before, host.busy(second));
    let apart = first.abs_diff(second);
    assert!(apart <= Duration::from_millis(4), "{first:?} and {second:?}");
}
