// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who would have more than its share, and who would have to wait although it need not.

use super::*;

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

/// Whoever woke on its slot after a while in which nobody waited went on with a turn that was long over: it
/// had no least run.
#[test]
fn who_wakes_where_nobody_waited_has_a_least_run() {
    let mut host = Host::new(Fair::default(), &[0]);
    let [wakes, comes] = [Priority::Normal, Priority::High].map(|p| host.add(of(p, Kinds::ALL)));
    host.say(wakes, true);
    host.run_for(10 * MS);
    host.say(wakes, false);
    host.run_for(10 * MS);
    host.say(wakes, true);
    host.say(comes, true);
    host.run_for(MS / 10);
    assert_eq!(host.is_at(wakes), Whereabouts::Resident(SlotId::new(0)));
    host.run_for(MS);
    assert_eq!(host.is_at(comes), Whereabouts::Resident(SlotId::new(0)));
}
