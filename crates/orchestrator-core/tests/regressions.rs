// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the simulator once found, each in small.

use std::time::Duration;

use ringfence_core::{GateReport, Out, Time};
use ringfence_orchestrator_core::{
    Answer, Config, Effect, Fair, FairConfig, Kinds, Orchestrator, Policy, Priority, Seat,
    SeatConfig, SeatId, Slot, SlotKind, Weight,
};

const MS: u64 = 1_000_000;

/// A host that does everything at once, and whose queues have nothing out when they yield.
struct Host<P: Policy> {
    orchestrator: Orchestrator<Vec<Seat>, Vec<Slot>, P>,
    now: Time,
    timer: Option<Time>,
    version: u64,
    timers: u32,
    /// How the next bind ends.
    bind: Answer,
    /// How long each takes.
    bind_ns: u64,
    /// While the first of them is bound, the second wakes.
    wakes: Option<(SeatId, SeatId)>,
}

impl<P: Policy> Host<P> {
    fn new(policy: P, slots: usize) -> Self {
        Self::with(policy, vec![Slot::new(SlotKind::default()); slots])
    }

    fn with(policy: P, slots: Vec<Slot>) -> Self {
        let seats = vec![Seat::FREE; 8];
        Self {
            orchestrator: Orchestrator::new(Config::default(), policy, seats, slots).unwrap(),
            now: Time::ZERO,
            timer: None,
            version: 0,
            timers: 0,
            bind: Answer::Done,
            bind_ns: 0,
            wakes: None,
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
                    if let Some((_, wakes)) = self.wakes.take_if(|(bound, _)| *bound == seat) {
                        let report = self.says(true, Out::Nothing);
                        self.orchestrator.report(wakes, report, now).unwrap();
                    }
                    self.now = now.after(Duration::from_nanos(self.bind_ns));
                    let now = self.now;
                    let answer = std::mem::replace(&mut self.bind, Answer::Done);
                    self.orchestrator.bound(seat, answer, now).unwrap();
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
            self.timers += 1;
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
    assert!(
        apart <= Duration::from_millis(4),
        "{first:?} and {second:?}"
    );
}

fn of(priority: Priority) -> SeatConfig {
    SeatConfig {
        priority,
        ..SeatConfig::default()
    }
}

/// Where not all slots are held by higher priorities, the time at which a lower one is owed a slice was
/// taken for earlier than it is, again and again, the more often the nearer it came; and what was owed
/// for a few nanoseconds was rounded down to nothing, so that it never came.
#[test]
fn the_timer_does_not_fire_ever_more_often() {
    let mut host = Host::new(Fair::default(), 2);
    let broken = host.add(of(Priority::Normal));
    host.bind = Answer::Broken;
    host.wants(broken, true);
    let (high, low) = (host.add(of(Priority::High)), host.add(of(Priority::Low)));
    host.wants(high, true);
    host.wants(low, true);
    host.pass(40 * MS);
    assert!(host.busy(low) > Duration::ZERO);
    assert!(host.timers < 100, "{} timers", host.timers);
}

/// A context can be lost before the host has opened its queue's gate. The gate has not changed then, so
/// the queue has nothing new to say when it is to yield; and what it had said was not believed any more.
#[test]
fn a_queue_that_has_nothing_new_to_say_has_yielded() {
    let mut host = Host::new(Fair::default(), 1);
    let seat = host.add(SeatConfig::default());
    let said = host.says(true, Out::Nothing);
    host.orchestrator.report(seat, said, host.now).unwrap();
    let _bind = host.orchestrator.next(host.now);
    host.orchestrator
        .bound(seat, Answer::Done, host.now)
        .unwrap();
    assert_eq!(host.orchestrator.next(host.now), Some(Effect::Run { seat }));
    host.orchestrator.lost(seat, host.now).unwrap();
    assert_eq!(
        host.orchestrator.next(host.now),
        Some(Effect::Yield { seat })
    );
    host.orchestrator.yielded(seat, said, host.now).unwrap();
    // Its jobs are on no slot.
    let shut = Some(Effect::Shut { seat });
    assert_eq!(host.orchestrator.next(host.now), shut);
    let next = host.orchestrator.next(host.now);
    assert!(matches!(next, Some(Effect::Bind { .. })), "{next:?}");
}

/// What a leader had kept for its group was still with it when it had gone.
#[test]
fn a_leader_that_goes_keeps_nothing_of_its_group() {
    let mut host = Host::new(Fair::default(), 2);
    let seats: [SeatId; 2] = std::array::from_fn(|_| host.add(SeatConfig::default()));
    host.orchestrator.group(&seats).unwrap();
    host.wants(seats[1], true);
    host.orchestrator.remove(seats[0], host.now).unwrap();
    // In the middle of it, too: the invariants are looked at after each step.
    host.act();
    assert!(host.orchestrator.view(seats[1], host.now).unwrap().wants);
}

/// A queue without work is to make way, and begins a job before it hears of that.
#[test]
fn what_begins_before_the_gate_yields_is_charged() {
    let mut host = Host::new(Fair::default(), 1);
    let (first, second) = (
        host.add(SeatConfig::default()),
        host.add(SeatConfig::default()),
    );
    host.wants(first, true);
    host.wants(first, false);
    let said = host.says(true, Out::Nothing);
    host.orchestrator.report(second, said, host.now).unwrap();
    let Some(Effect::Yield { seat }) = host.orchestrator.next(host.now) else {
        panic!("who has no work makes way");
    };
    let inside = host.says(true, Out::Inside);
    host.orchestrator.yielded(seat, inside, host.now).unwrap();
    host.pass(3 * MS);
    let nothing = host.says(false, Out::Nothing);
    host.orchestrator.report(seat, nothing, host.now).unwrap();
    host.act();
    assert_eq!(host.busy(first), Duration::from_millis(3));
}

/// A context is lost while it is waited for its jobs.
#[test]
fn who_is_lost_on_its_way_is_charged_until_then() {
    let mut host = Host::new(Fair::default(), 1);
    let seat = host.add(SeatConfig::default());
    host.wants(seat, true);
    host.orchestrator.lost(seat, host.now).unwrap();
    let next = host.orchestrator.next(host.now);
    assert_eq!(next, Some(Effect::Yield { seat }));
    let inside = host.says(true, Out::Inside);
    host.orchestrator.yielded(seat, inside, host.now).unwrap();
    host.pass(3 * MS);
    let nothing = host.says(false, Out::Nothing);
    host.orchestrator.report(seat, nothing, host.now).unwrap();
    assert_eq!(host.busy(seat), Duration::from_millis(3));
}

/// A slot that is always being switched, for turns that are short beside that, is no less taken from who
/// waits for it than one that is used.
#[test]
fn time_that_is_lost_in_switching_is_owed_for_too() {
    let mut host = Host::new(Fair::default(), 1);
    host.bind_ns = 900_000;
    let high: [SeatId; 3] = std::array::from_fn(|_| host.add(of(Priority::High)));
    let low = host.add(of(Priority::Low));
    host.wants(high[0], true);
    host.wants(low, true);
    for turn in 0..200 {
        // There is always one who waits when another has no more work.
        host.wants(high[(turn + 1) % 3], true);
        host.pass(10_000);
        host.wants(high[turn % 3], false);
    }
    assert!(host.busy(low) > Duration::ZERO, "in {:?}", host.now);
}

/// On a kind of slot where it met nobody a seat had come less far than those whom it met on another.
#[test]
fn who_comes_from_other_slots_does_not_catch_up_for_ever() {
    let kinds = [0, 1].map(|kind| SlotKind::new(kind).unwrap());
    let mut host = Host::with(Fair::default(), kinds.map(Slot::new).to_vec());
    let here = SeatConfig {
        kinds: Kinds::only(kinds[0]),
        weight: Weight::new(10).unwrap(),
        ..SeatConfig::default()
    };
    let there = SeatConfig {
        kinds: Kinds::only(kinds[1]),
        ..of(Priority::High)
    };
    let (stays, moves) = (host.add(here), host.add(SeatConfig::default()));
    host.wants(stays, true);
    host.wants(moves, true);
    host.pass(1_000 * MS);
    let taker = host.add(there);
    host.wants(taker, true);
    host.pass(2_000 * MS);
    let waited = host.orchestrator.view(stays, host.now).unwrap();
    let waited = waited.stats.longest_wait;
    assert!(waited < Duration::from_millis(200), "{waited:?}");
}

/// Who came to its slot by its guarantee, and was alone there afterwards, was charged for all of that as
/// if it had been at the cost of others.
#[test]
fn what_nobody_else_wanted_is_not_held_against_a_guarantee() {
    let mut host = Host::new(Fair::default(), 1);
    let (high, low) = (host.add(of(Priority::High)), host.add(of(Priority::Low)));
    host.wants(high, true);
    host.wants(low, true);
    host.pass(33 * MS);
    assert!(host.busy(low) > Duration::ZERO);
    host.wants(high, false);
    host.pass(1_000 * MS);
    let before = host.busy(low);
    host.wants(high, true);
    host.pass(36 * MS);
    let got = host.busy(low) - before;
    assert!(got >= Duration::from_millis(2), "{got:?}");
}

/// Two lower priorities are owed a slice at the same time. One had the other make way as soon as that
/// was allowed, so that neither had its slice; where it was allowed at once, for ever.
#[test]
fn who_is_there_by_its_guarantee_is_left_alone_by_others_that_are_owed() {
    let config = FairConfig {
        min_run: Duration::ZERO,
        ..FairConfig::default()
    };
    let mut host = Host::new(Fair::new(config), 1);
    let seats = [Priority::High, Priority::Normal, Priority::Low].map(|priority| {
        let seat = host.add(of(priority));
        host.wants(seat, true);
        seat
    });
    host.pass(340 * MS);
    for seat in seats {
        let stats = host.orchestrator.view(seat, host.now).unwrap().stats;
        assert!(stats.busy >= Duration::from_millis(16), "{stats:?}");
        let turns = u32::try_from(stats.preemptions).unwrap();
        assert!(stats.busy >= turns * Duration::from_millis(2), "{stats:?}");
    }
}

/// A seat that may be on any kind of slot was taken for as far ahead as the furthest of those that wait
/// for kinds that the device does not have.
#[test]
fn slots_that_are_not_there_do_not_count() {
    let mut host = Host::new(Fair::default(), 1);
    let any = SeatConfig::default();
    let light = SeatConfig {
        weight: Weight::new(1).unwrap(),
        ..any
    };
    let narrow = SeatConfig {
        kinds: Kinds::only(SlotKind::default()),
        ..any
    };
    let (narrow, light, late) = (host.add(narrow), host.add(light), host.add(any));
    host.wants(narrow, true);
    host.wants(light, true);
    host.pass(100 * MS);
    host.wants(late, true);
    host.pass(20 * MS);
    assert!(
        host.busy(late) >= Duration::from_millis(8),
        "{:?}",
        host.busy(late)
    );
    assert!(host.busy(narrow) > Duration::ZERO);
}

/// Who was on its way to a slot was not seen by anybody: one that woke just then was taken for as far
/// ahead as those who had to wait.
#[test]
fn who_is_on_its_way_is_seen_by_who_wakes() {
    let mut host = Host::new(Fair::default(), 1);
    let weight = |weight| SeatConfig {
        weight: Weight::new(weight).unwrap(),
        ..SeatConfig::default()
    };
    let [usual, light, heavy] = [100, 10, 1_000].map(|w| host.add(weight(w)));
    host.wants(usual, true);
    host.wants(light, true);
    host.pass(3 * MS);
    host.wakes = Some((usual, heavy));
    host.pass(100 * MS);
    assert!(host.wakes.is_none());
    let waited = host.orchestrator.view(heavy, host.now).unwrap();
    let waited = waited.stats.longest_wait;
    assert!(waited <= Duration::from_millis(4), "{waited:?}");
}
