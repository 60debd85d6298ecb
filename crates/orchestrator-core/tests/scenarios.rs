// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Bugs there were, one by one.

#[path = "scenarios/dues.rs"]
mod dues;
#[path = "scenarios/groups.rs"]
mod groups;

use std::time::Duration;

use ringfence_core::Time;
use ringfence_orchestrator_core::{
    Answer, Checked, Config, Effect, Fair, FairConfig, Fifo, GateReport, Kinds, Orchestrator, Out,
    Policy, Priority, Rival, Seat, SeatConfig, SeatId, Slot, SlotId, SlotKind, Stage, Weight,
    Whereabouts,
};

const MS: u64 = 1_000_000;

/// A host on a device that does everything at once.
struct Host<P: Policy> {
    core: Orchestrator<Vec<Seat>, Vec<Slot>, P>,
    now: Time,
    timer: Option<Time>,
    version: u64,
}

impl<P: Policy> Host<P> {
    fn new(policy: P, kinds: &[u8]) -> Self {
        let slot = |kind: &u8| Slot::new(SlotKind::new(*kind).unwrap());
        let slots = kinds.iter().map(slot).collect();
        let seats = vec![Seat::FREE; 16];
        Self {
            core: Orchestrator::new(Config::default(), policy, seats, slots).unwrap(),
            now: Time::ZERO,
            timer: None,
            version: 0,
        }
    }

    fn add(&mut self, config: SeatConfig) -> SeatId {
        self.core.add(config).unwrap()
    }

    fn report(&mut self, wants: bool) -> GateReport {
        self.version += 1;
        GateReport {
            version: self.version,
            wants,
            out: Out::Nothing,
        }
    }

    fn say(&mut self, seat: SeatId, wants: bool) {
        let report = self.report(wants);
        self.core.report(seat, report, self.now).unwrap();
    }

    fn next(&mut self) -> Option<Effect> {
        let effect = self.core.next(self.now);
        self.core.check_invariants().unwrap();
        if let Some(Effect::ArmTimer { at }) = effect {
            self.timer = Some(at);
            return self.next();
        }
        effect
    }

    /// Answers everything until there is nothing left.
    fn act(&mut self) {
        for _ in 0..1_000 {
            let Some(effect) = self.next() else {
                return;
            };
            let now = self.now;
            match effect {
                Effect::Check { seat, .. } => self.core.checked(seat, Checked::Ready, now),
                Effect::Bind { seat, .. } => self.core.bound(seat, Answer::Done, now),
                Effect::Yield { seat } => {
                    let report = self.report(true);
                    self.core.yielded(seat, report, now)
                }
                Effect::Vacate { seat, .. } => self.core.vacated(seat, Answer::Done, None, now),
                _ => Ok(()),
            }
            .unwrap();
        }
        panic!("effects without end");
    }

    /// Plays until then; how often the timer fired.
    fn run_until(&mut self, end: Time) -> u32 {
        let mut fired = 0;
        self.act();
        while let Some(at) = self.timer.filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.timer = None;
            self.core.timer_fired();
            fired += 1;
            assert!(fired < 10_000, "the timer fires without end");
            self.act();
        }
        self.now = end;
        fired
    }

    fn run_for(&mut self, ns: u64) -> u32 {
        self.run_until(self.now.after(Duration::from_nanos(ns)))
    }

    fn busy(&self, seat: SeatId) -> Duration {
        self.core.view(seat, self.now).unwrap().stats.busy
    }

    fn is_at(&self, seat: SeatId) -> Whereabouts {
        self.core.view(seat, self.now).unwrap().whereabouts
    }
}

fn only(number: u8) -> Kinds {
    Kinds::only(SlotKind::new(number).unwrap())
}

fn of(priority: Priority, kinds: Kinds) -> SeatConfig {
    SeatConfig {
        priority,
        kinds,
        ..SeatConfig::default()
    }
}

/// Plays until then on a device that takes so long to bind one of these seats. Of those for which it
/// fails, each is ready again at once.
fn play_with_binds(host: &mut Host<Fair>, slow: &[SeatId], span: u64, answer: Answer, end: Time) {
    let mut bound = None;
    while host.now < end {
        while let Some(effect) = host.next() {
            let now = host.now;
            match effect {
                Effect::Bind { seat, .. } if slow.contains(&seat) => {
                    bound = Some((now.after(Duration::from_nanos(span)), seat));
                    Ok(())
                }
                Effect::Bind { seat, .. } => host.core.bound(seat, Answer::Done, now),
                Effect::Yield { seat } => {
                    let report = host.report(true);
                    host.core.yielded(seat, report, now)
                }
                Effect::Vacate { seat, .. } => host.core.vacated(seat, Answer::Done, None, now),
                _ => Ok(()),
            }
            .unwrap();
        }
        let at = bound.map(|(at, _)| at);
        let next = [host.timer, at].into_iter().flatten().min();
        host.now = next.unwrap_or(end).max(host.now);
        if host.timer.is_some_and(|at| at <= host.now) {
            host.timer = None;
            host.core.timer_fired();
        }
        if let Some((_, seat)) = bound.take_if(|(at, _)| *at <= host.now) {
            host.core.bound(seat, answer, host.now).unwrap();
            host.core.ready(seat, host.now).unwrap();
        }
    }
}

#[test]
fn the_first_of_a_group_takes_nothing_of_the_others_with_it() {
    let mut host = Host::new(Fifo::default(), &[0, 1]);
    let first = host.add(of(Priority::Normal, only(0)));
    let second = host.add(of(Priority::Normal, only(1)));
    host.core.group(&[first, second]).unwrap();
    host.say(second, true);
    host.core.remove(first, host.now).unwrap();
    host.core.check_invariants().unwrap();
    let view = host.core.view(first, host.now).unwrap();
    assert_eq!((view.wants, view.members), (false, 1));
    host.act();
    assert_eq!(host.is_at(second), Whereabouts::Resident(SlotId::new(1)));
}

#[test]
fn who_is_to_be_removed_is_neither_asked_for_nor_bound() {
    let checked = SeatConfig {
        checked: true,
        ..SeatConfig::default()
    };
    let mut host = Host::new(Fifo::default(), &[0, 0]);
    let (asked, bound) = (host.add(checked), host.add(SeatConfig::default()));
    for seat in [asked, bound] {
        host.say(seat, true);
    }
    // The decision is made with the first effect; the second seat's is not told yet.
    let first = host.next().unwrap();
    assert!(matches!(first, Effect::Check { seat, .. } if seat == asked));
    host.core.checked(asked, Checked::Ready, host.now).unwrap();
    for seat in [asked, bound] {
        host.core.remove(seat, host.now).unwrap();
    }
    assert!(matches!(host.next(), Some(Effect::Gone { seat, .. }) if seat == bound));
    assert!(matches!(host.next(), Some(Effect::Gone { seat, .. }) if seat == asked));
    assert_eq!(host.next(), None);
    assert!(host.core.is_empty());
}

#[test]
fn a_change_does_not_cost_the_place_in_line() {
    let mut host = Host::new(Fifo::default(), &[0]);
    let seats: Vec<SeatId> = (0..3).map(|_| host.add(SeatConfig::default())).collect();
    for seat in &seats {
        host.say(*seat, true);
        host.act();
        host.now = host.now.after(Duration::from_nanos(MS / 10));
    }
    let heavy = Weight::new(200).unwrap();
    host.core
        .change(seats[1], Priority::Normal, heavy, host.now)
        .unwrap();
    host.run_until(Time::from_ns(3 * MS));
    assert_eq!(host.is_at(seats[1]), Whereabouts::Resident(SlotId::new(0)));
}

#[test]
fn a_member_goes_although_anothers_slot_is_broken() {
    let mut host = Host::new(Fifo::default(), &[0, 0]);
    let seats: Vec<SeatId> = (0..2).map(|_| host.add(SeatConfig::default())).collect();
    host.core.group(&seats).unwrap();
    host.say(seats[0], true);
    let (first, second) = (host.next(), host.next());
    assert!(matches!(first, Some(Effect::Bind { .. })) && first != second);
    host.core.bound(seats[0], Answer::Broken, host.now).unwrap();
    host.core.bound(seats[1], Answer::Done, host.now).unwrap();
    host.act();
    host.core.remove(seats[1], host.now).unwrap();
    assert!(matches!(host.next(), Some(Effect::Gone { seat, .. }) if seat == seats[1]));
}

#[test]
fn a_member_whose_slot_was_repaired_goes_although_anothers_is_broken() {
    let mut host = Host::new(Fifo::default(), &[0, 0]);
    let seats: Vec<SeatId> = (0..2).map(|_| host.add(SeatConfig::default())).collect();
    host.core.group(&seats).unwrap();
    host.say(seats[0], true);
    while host.next().is_some() {}
    for seat in &seats {
        host.core.bound(*seat, Answer::Broken, host.now).unwrap();
    }
    host.core.remove(seats[0], host.now).unwrap();
    assert_eq!(host.next(), None);
    let slot = host.core.slot_of(seats[0]).unwrap();
    host.core.repaired(slot, host.now).unwrap();
    assert!(matches!(host.next(), Some(Effect::Gone { seat, .. }) if seat == seats[0]));
}

/// How far ahead of `old` a newcomer gets, if `before` has happened.
fn head_start(before: impl FnOnce(&mut Host<Fair>, SeatId)) -> Duration {
    let mut host = Host::new(Fair::default(), &[0]);
    let old = host.add(SeatConfig::default());
    host.say(old, true);
    host.act();
    before(&mut host, old);
    let new = host.add(SeatConfig::default());
    host.say(new, true);
    let was = host.busy(old);
    host.run_for(100 * MS);
    host.busy(new).saturating_sub(host.busy(old) - was)
}

#[test]
fn who_comes_is_owed_a_slice_however_long_another_was_alone() {
    let two_slices = Duration::from_millis(4);
    let alone = head_start(|host, _| {
        host.run_for(1_000 * MS);
    });
    assert!(alone <= two_slices, "{alone:?}");
    // It has slept since, on its slot.
    let slept = head_start(|host, old| {
        host.run_for(1_000 * MS);
        host.say(old, false);
        host.run_for(MS);
        host.say(old, true);
    });
    assert!(slept <= two_slices, "{slept:?}");
}

#[test]
fn a_guarantee_comes_whatever_the_least_run() {
    let config = FairConfig {
        min_run: Duration::ZERO,
        ..FairConfig::default()
    };
    let mut host = Host::new(Fair::new(config), &[0, 0, 0]);
    for _ in 0..3 {
        let seat = host.add(of(Priority::Kernel, Kinds::ALL));
        host.say(seat, true);
    }
    let low = host.add(of(Priority::High, Kinds::ALL));
    host.say(low, true);
    let fired = host.run_until(Time::from_ns(1_000 * MS));
    assert!(fired < 5_000, "the timer fired {fired} times in a second");
    // One part in 16 of the time of three slots, but for what it has itself.
    let share = host.busy(low).as_secs_f64();
    assert!((0.1..0.2).contains(&share), "{share}");
}

#[test]
fn who_is_owed_its_slice_is_left_alone_by_others_that_are_owed() {
    let config = FairConfig {
        min_run: Duration::ZERO,
        ..FairConfig::default()
    };
    let mut host = Host::new(Fair::new(config), &[0, 0]);
    let priorities = [1, 1, 2, 3, 3].map(|level: usize| Priority::ALL[level]);
    let seats = priorities.map(|priority| host.add(of(priority, Kinds::ALL)));
    for seat in seats {
        host.say(seat, true);
    }
    host.run_until(Time::from_ns(1_000 * MS));
    for seat in seats {
        assert!(host.busy(seat) > Duration::from_millis(20), "{seat:?}");
    }
}

#[test]
fn a_debt_is_paid_for_the_kind_for_which_it_was_owed() {
    // Who may be on both kinds must not use up what is owed to who may only be on one.
    let config = FairConfig {
        guarantee: 8,
        lag: Duration::ZERO,
        ..FairConfig::default()
    };
    let mut host = Host::new(Fair::new(config), &[0, 1, 1, 0, 1]);
    let both = only(0).with(SlotKind::new(1).unwrap());
    let (kernel, high) = (Priority::Kernel, Priority::High);
    let due = [
        (kernel, 50, both),
        (high, 50, both),
        (kernel, 50, both),
        (kernel, 100, only(0)),
        (kernel, 50, only(1)),
        (high, 200, only(0)),
        (kernel, 50, only(1)),
    ];
    let seats = due.map(|(priority, weight, kinds)| {
        host.add(SeatConfig {
            weight: Weight::new(weight).unwrap(),
            ..of(priority, kinds)
        })
    });
    for seat in seats {
        host.say(seat, true);
    }
    host.run_until(Time::from_ns(2_000 * MS));
    for seat in seats {
        assert!(host.busy(seat) > Duration::from_millis(20), "{seat:?}");
    }
}

#[test]
fn who_must_wait_for_what_it_is_owed_finds_it_untouched() {
    // While one waits for the only slot it may be on, another of its priority must not use up, on
    // other slots, what both are owed.
    let config = FairConfig {
        min_run: Duration::ZERO,
        guarantee: 8,
        ..FairConfig::default()
    };
    let mut host = Host::new(Fair::new(config), &[1, 0, 1]);
    let both = only(0).with(SlotKind::new(1).unwrap());
    let due = [
        (Priority::Kernel, 200, both),
        (Priority::Low, 200, both),
        (Priority::High, 50, only(0)),
        (Priority::Low, 50, both),
        (Priority::Low, 400, only(0)),
        (Priority::Kernel, 50, only(0)),
    ];
    let seats = due.map(|(priority, weight, kinds)| {
        let seat = host.add(SeatConfig {
            weight: Weight::new(weight).unwrap(),
            ..of(priority, kinds)
        });
        host.say(seat, true);
        seat
    });
    host.run_until(Time::from_ns(2_000 * MS));
    for seat in seats {
        assert!(host.busy(seat) > Duration::from_millis(20), "{seat:?}");
    }
}
