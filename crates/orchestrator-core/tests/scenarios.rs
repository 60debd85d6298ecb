// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Bugs there were, one by one.

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

/// Two slots: one for somebody important who always has work, and one that a group of two less important
/// seats needs as well.
fn beside_a_group(priority: Priority, beside: SeatConfig) -> (Host<Fair>, [SeatId; 2], SeatId) {
    let mut host = Host::new(Fair::default(), &[0, 1]);
    let important = host.add(of(Priority::High, only(0)));
    let group = [0, 1].map(|_| host.add(of(priority, Kinds::ALL)));
    host.core.group(&group).unwrap();
    let beside = host.add(beside);
    for seat in [important, group[0], group[1], beside] {
        host.say(seat, true);
    }
    (host, group, beside)
}

/// A slot that was kept for a group, while it waited for another, was held by nobody: whoever waited for
/// it was owed nothing for that time.
#[test]
fn lower_priorities_are_owed_for_slots_that_are_kept() {
    let normal = of(Priority::Normal, only(1));
    let (mut host, ..) = beside_a_group(Priority::High, normal);
    let low = host.add(of(Priority::Low, only(1)));
    host.say(low, true);
    host.run_for(1_000 * MS);
    assert!(
        host.busy(low) >= Duration::from_millis(56),
        "{:?}",
        host.busy(low)
    );
}

/// A slot was kept for a group that had to wait until its priority was owed something, while others
/// could have used it.
#[test]
fn no_slot_is_kept_while_somebody_more_important_stays() {
    let (mut host, group, beside) = beside_a_group(Priority::Normal, of(Priority::Normal, only(1)));
    host.run_for(2_000 * MS);
    let used = host.busy(beside) + (host.busy(group[0]) + host.busy(group[1])) / 2;
    assert!(used >= Duration::from_millis(1_900), "{used:?}");
    assert!(
        host.busy(group[0]) >= Duration::from_millis(100),
        "{:?}",
        host.busy(group[0])
    );
}

/// A queue that ran out of work for a moment, in which no decision was made, had a new turn each time.
#[test]
fn a_moment_without_work_is_no_new_turn() {
    let mut host = Host::new(Fair::default(), &[0]);
    let [restless, other] = [0, 1].map(|_| host.add(of(Priority::Normal, Kinds::ALL)));
    host.say(restless, true);
    host.say(other, true);
    for _ in 0..30 {
        host.run_for(MS / 10);
        host.say(restless, false);
        host.say(restless, true);
    }
    host.run_for(0);
    assert!(
        host.busy(other) >= Duration::from_micros(900),
        "{:?}",
        host.busy(other)
    );
}

/// A group that needs a slot of somebody more important got none as long as others of its priority had the
/// other slot: what these used was taken for what its priority was owed.
#[test]
fn a_group_does_not_starve_beside_others_of_its_priority() {
    let mut host = Host::new(Fair::default(), &[0, 0]);
    let important = host.add(of(Priority::High, Kinds::ALL));
    let group = [0, 1].map(|_| host.add(of(Priority::Normal, Kinds::ALL)));
    host.core.group(&group).unwrap();
    let beside = host.add(of(Priority::Normal, Kinds::ALL));
    for seat in [important, group[0], beside] {
        host.say(seat, true);
    }
    host.run_for(4_000 * MS);
    let (had, most) = (host.busy(group[0]), host.busy(important));
    assert!(had >= Duration::from_millis(100), "{had:?}");
    assert!(most >= Duration::from_millis(3_500), "{most:?}");
    assert!(host.busy(beside) >= Duration::from_millis(3_000));
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

/// Whoever failed to be bound, and was ready at once, was first again each time.
#[test]
fn who_fails_to_be_bound_is_not_always_first() {
    let mut host = Host::new(Fair::default(), &[0]);
    let [bad, good] = [0, 1].map(|_| host.add(of(Priority::Normal, Kinds::ALL)));
    host.say(bad, true);
    host.say(good, true);
    play_with_binds(
        &mut host,
        &[bad],
        MS,
        Answer::Failed,
        Time::from_ns(1_000 * MS),
    );
    let had = host.busy(good);
    assert!(had >= Duration::from_millis(450), "{had:?}");
}

/// What a priority is owed was never paid for by who failed, so it kept more important ones from their
/// slot, and others of its priority from what they were owed.
#[test]
fn who_fails_to_be_bound_has_had_what_its_priority_is_owed() {
    let mut host = Host::new(Fair::default(), &[0]);
    let important = host.add(of(Priority::High, Kinds::ALL));
    let [bad, good] = [0, 1].map(|_| host.add(of(Priority::Low, Kinds::ALL)));
    for seat in [important, bad, good] {
        host.say(seat, true);
    }
    play_with_binds(
        &mut host,
        &[bad],
        5 * MS,
        Answer::Failed,
        Time::from_ns(1_000 * MS),
    );
    let (most, least) = (host.busy(important), host.busy(good));
    assert!(most >= Duration::from_millis(900), "{most:?}");
    assert!(least >= Duration::from_millis(20), "{least:?}");
}

/// Whoever was on its way to a slot was taken for somebody who makes way at once: while one of those that
/// take turns on a slot was bound, the other slot was taken from whoever had it, and kept for a group that
/// could not have the first.
#[test]
fn no_slot_is_kept_while_somebody_more_important_comes() {
    let (mut host, group, beside) = beside_a_group(Priority::Normal, of(Priority::Normal, only(1)));
    let important = [0, 1].map(|_| host.add(of(Priority::High, only(0))));
    for seat in important {
        host.say(seat, true);
    }
    let end = Time::from_ns(2_000 * MS);
    play_with_binds(&mut host, &important, MS, Answer::Done, end);
    let used = host.busy(beside) + host.busy(group[0]);
    assert!(used >= Duration::from_millis(1_800), "{used:?}");
}

/// A seat that was new was owed a slice, as who had slept. Whoever made another seat before each had had that
/// was always first.
#[test]
fn seats_that_come_and_go_are_not_always_first() {
    let mut host = Host::new(Fair::default(), &[0]);
    let seats = [0, 1].map(|_| host.add(of(Priority::Normal, Kinds::ALL)));
    for seat in seats {
        host.say(seat, true);
    }
    host.run_for(10 * MS);
    let mut old = None;
    for _ in 0..500 {
        let new = host.add(of(Priority::Normal, Kinds::ALL));
        host.say(new, true);
        if let Some(old) = old.replace(new) {
            host.core.remove(old, host.now).unwrap();
        }
        host.run_for(19 * MS / 10);
    }
    for seat in seats {
        assert!(
            host.busy(seat) >= Duration::from_millis(200),
            "{:?}",
            host.busy(seat)
        );
    }
}

/// The bound of waits overflowed where spans are as long as they can be.
#[test]
fn a_bound_of_waits_has_no_more_than_all_time_there_is() {
    let config = FairConfig {
        slice: Duration::ZERO,
        min_run: Duration::MAX,
        guarantee: u32::MAX,
        lag: Duration::MAX,
    };
    let rival = |priority| Rival {
        priority,
        weight: Weight::MAX,
        seats: u16::MAX,
    };
    let waiter = Rival {
        weight: Weight::MIN,
        seats: 1,
        ..rival(Priority::Normal)
    };
    let stage = Stage {
        slots: 2,
        elsewhere: true,
        drain: Duration::MAX,
        trouble: Duration::MAX,
    };
    let bound = config.longest_wait(waiter, Priority::ALL.map(rival).into_iter(), &stage);
    assert_eq!(bound, Duration::from_nanos(u64::MAX));
}

/// Two on two slots, of whom one is told to make way for somebody more important, but has not yielded: which
/// leaves, which stays, and for whom.
fn one_leaves(host: &mut Host<Fair>) -> [SeatId; 3] {
    let seats = [0, 1].map(|_| host.add(of(Priority::Normal, Kinds::ALL)));
    for seat in seats {
        host.say(seat, true);
    }
    host.run_for(5 * MS);
    let important = host.add(of(Priority::High, Kinds::ALL));
    host.say(important, true);
    let told = host.next().unwrap();
    let Effect::Yield { seat } = told else {
        panic!("{told:?}");
    };
    let stays = seats[usize::from(seats[0] == seat)];
    [seat, stays, important]
}

/// Whoever had been promised the slot of somebody that took long to leave waited for that, although another
/// ran out of work meanwhile.
#[test]
fn who_waits_for_a_long_job_gets_the_slot_of_who_has_no_work() {
    let mut host = Host::new(Fair::default(), &[0, 0]);
    let [_, stays, important] = one_leaves(&mut host);
    host.run_for(MS);
    host.say(stays, false);
    host.run_for(MS);
    let place = host.is_at(important);
    assert!(matches!(place, Whereabouts::Resident(_)), "{place:?}");
}

/// Whoever had been promised a slot from which the device did not get somebody off waited for that, although
/// somebody less important had the other.
#[test]
fn who_waits_for_a_device_that_is_stuck_gets_another_slot() {
    let mut host = Host::new(Fair::default(), &[0, 0]);
    let [leaves, stays, important] = one_leaves(&mut host);
    let report = host.report(true);
    host.core.yielded(leaves, report, host.now).unwrap();
    let vacate = host.next();
    assert!(matches!(vacate, Some(Effect::Vacate { .. })), "{vacate:?}");
    host.run_for(600 * MS);
    let place = host.is_at(important);
    assert!(matches!(place, Whereabouts::Resident(_)), "{place:?}");
    assert!(matches!(host.is_at(stays), Whereabouts::Waiting(_)));
}

/// A group waited behind another that could not be helped, although the slots that it needed were free: that
/// other needs the slot of somebody more important.
fn behind_a_group(kinds: &[u8], first: &[u8], second: [u8; 2]) {
    let mut host = Host::new(Fair::default(), kinds);
    let important = host.add(of(Priority::High, only(0)));
    let groups = [first, &second].map(|kinds| {
        let seat = |kind: &u8| host.add(of(Priority::Normal, only(*kind)));
        let seats: Vec<SeatId> = kinds.iter().map(seat).collect();
        host.core.group(&seats).unwrap();
        seats[0]
    });
    for seat in [important, groups[0], groups[1]] {
        host.say(seat, true);
    }
    for _ in 0..10 {
        let visitor = host.add(of(Priority::High, only(second[0])));
        host.say(visitor, true);
        host.run_for(MS);
        host.core.remove(visitor, host.now).unwrap();
        host.run_for(99 * MS);
    }
    let had = host.busy(groups[1]);
    assert!(had >= Duration::from_millis(800), "{had:?}");
}

#[test]
fn a_group_does_not_wait_behind_one_of_other_kinds() {
    behind_a_group(&[0, 2, 1, 1], &[0, 2], [1, 1]);
}

#[test]
fn a_group_does_not_wait_behind_a_larger_one() {
    behind_a_group(&[0, 0, 0], &[0, 0, 0], [0, 0]);
}

/// Whoever could be on any slot was given the only one that another could be on, and that one waited beside
/// a slot that nobody had: for ever, where more important ones do not make way.
#[test]
fn who_is_free_to_choose_leaves_others_their_slot() {
    let mut host = Host::new(Fifo::default(), &[0, 1]);
    let any = host.add(of(Priority::High, Kinds::ALL));
    let narrow = host.add(of(Priority::Low, only(0)));
    host.say(any, true);
    host.say(narrow, true);
    host.run_for(100 * MS);
    assert_eq!(host.is_at(narrow), Whereabouts::Resident(SlotId::new(0)));
    assert_eq!(host.is_at(any), Whereabouts::Resident(SlotId::new(1)));
}

/// Whoever was alone in another priority, for no time at all, had nothing in advance any more when it came
/// back.
#[test]
fn a_change_back_and_forth_forgets_nothing() {
    let mut host = Host::new(Fair::default(), &[0]);
    let seats = [100, 70, 90, 130, 170].map(|weight| {
        host.add(SeatConfig {
            weight: Weight::new(weight).unwrap(),
            ..SeatConfig::default()
        })
    });
    for seat in seats {
        host.say(seat, true);
    }
    let mut was = false;
    for _ in 0..10_000 {
        let is = matches!(host.is_at(seats[0]), Whereabouts::Resident(_));
        let now = host.now;
        let restless = seats[0];
        // When its turn has ended.
        if was && !is {
            for priority in [Priority::Low, Priority::Normal] {
                host.core
                    .change(restless, priority, Weight::DEFAULT, now)
                    .unwrap();
            }
        }
        was = is;
        host.run_for(MS / 10);
    }
    let had = host.busy(seats[0]);
    assert!(had <= Duration::from_millis(210), "{had:?}");
}

/// What a seat of little weight was owed when it woke was a hundred times as much once it had more.
#[test]
fn a_change_of_weight_does_not_change_what_is_owed() {
    let mut host = Host::new(Fair::default(), &[0]);
    let light = SeatConfig {
        weight: Weight::MIN,
        ..SeatConfig::default()
    };
    let (sly, other) = (host.add(light), host.add(SeatConfig::default()));
    host.say(sly, true);
    host.say(other, true);
    host.run_for(10 * MS);
    // It has nothing in advance any more, and sleeps.
    host.say(sly, false);
    host.run_for(1_000 * MS);
    host.say(sly, true);
    let now = host.now;
    host.core
        .change(sly, Priority::Normal, Weight::DEFAULT, now)
        .unwrap();
    let was = host.busy(sly);
    host.run_for(100 * MS);
    let had = host.busy(sly) - was;
    assert!(had <= Duration::from_millis(54), "{had:?}");
}

/// Less important ones were owed a slice for the slots that were kept for a group while it waited for the end
/// of another such slice: they had one after the other, and the group nothing for ever.
#[test]
fn a_group_is_not_overtaken_by_who_is_owed_for_what_it_waits_with() {
    let config = FairConfig {
        guarantee: 2,
        lag: Duration::ZERO,
        ..FairConfig::default()
    };
    let mut host = Host::new(Fair::new(config), &[0, 0, 0]);
    let group = [0; 3].map(|_| host.add(of(Priority::Kernel, Kinds::ALL)));
    host.core.group(&group).unwrap();
    let kernel = host.add(of(Priority::Kernel, Kinds::ALL));
    let high = [0; 3].map(|_| host.add(of(Priority::High, Kinds::ALL)));
    let normal = host.add(of(Priority::Normal, Kinds::ALL));
    for seat in [kernel, high[0], high[1], high[2], normal] {
        host.say(seat, true);
    }
    host.run_for(MS);
    host.say(group[0], true);
    host.run_for(1_000 * MS);
    let had = host.busy(group[0]);
    assert!(had >= Duration::from_millis(50), "{had:?}");
    assert!(host.busy(normal) >= Duration::from_millis(50));
}

/// When a group's priority would be owed a slice was reckoned as if more important ones had all slots, so
/// those that the group needs as well were kept empty for eight slices, of which the last was meant.
#[test]
fn no_slot_is_kept_for_longer_than_a_slice() {
    let mut host = Host::new(Fair::default(), &[0; 8]);
    let important = host.add(of(Priority::High, Kinds::ALL));
    let group: Vec<SeatId> = (0..8)
        .map(|_| host.add(of(Priority::Normal, Kinds::ALL)))
        .collect();
    host.core.group(&group).unwrap();
    let beside: Vec<SeatId> = (0..7)
        .map(|_| host.add(of(Priority::Normal, Kinds::ALL)))
        .collect();
    for seat in [&[important, group[0]], &beside[..]].concat() {
        host.say(seat, true);
    }
    let (mut empty, mut most) = (0, 0);
    for _ in 0..10_000 {
        host.run_for(MS / 10);
        let free = |slot: &u16| host.core.seat_on(SlotId::new(*slot)).is_none();
        let is_empty = (0..8).filter(free).count() != 0;
        empty = if is_empty { empty + 1 } else { 0 };
        most = most.max(empty);
    }
    assert!(host.busy(group[0]) >= Duration::from_millis(4));
    assert!(most <= 25, "{most} tenths of a millisecond");
}
