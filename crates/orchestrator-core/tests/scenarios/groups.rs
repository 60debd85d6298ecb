// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Groups, and slots that are kept for them.

use super::*;

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
