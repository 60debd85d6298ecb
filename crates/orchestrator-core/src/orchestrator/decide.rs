// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who gets which slot, and who makes way for whom.
//!
//! A decision looks at the first of each line, the best of all first, and
//! 1. gives it slots that are free; or
//! 2. promises it slots that are being vacated, so that nobody behind it gets them, but where somebody
//!    has work still while it leaves, rather those of who has none; or
//! 3. has somebody else make way: who has no work, the longest idle first, then who is least
//!    entitled as the policy has it, and promises it those slots; or
//! 4. leaves it, and whoever is behind it in its line (but for some of the groups), until the time at which
//!    somebody will make way.
//!
//! Nothing is kept of a promise: the next decision may make another one, to somebody better. But who is
//! better only by what its priority is owed waits for a group that has slots kept for it.

use ringfence_core::Time;

use super::fit::{Have, Need};
use super::{Orchestrator, LINES};
use crate::line::NONE;
use crate::policy::{Field, Policy};
use crate::priority::Priority;
use crate::seat::{Seat, Standing};
use crate::slot::{Kinds, Slot, KINDS_MAX};

/// What is left to be given away, as a decision goes on.
pub(super) struct Round {
    /// Slots that are free and not promised.
    pub(super) free: Have,
    /// Slots that are being vacated and not promised.
    pub(super) coming: Have,
    /// Of those, slots that somebody leaves with work: nobody knows how long that takes.
    pub(super) slow: Have,
    /// For each priority: lines whose first could not be helped.
    passed: [u32; Priority::COUNT],
    /// Those who were promised slots, and groups that could not be helped: out of their lines until the
    /// decision has been made.
    promised: u32,
    /// How many groups more may be put there.
    groups: usize,
}

/// Somebody who could make way: the larger, the sooner.
type Candidate = (bool, u64, u8, u64);

impl<S, L, P> Orchestrator<S, L, P>
where
    S: AsRef<[Seat]> + AsMut<[Seat]>,
    L: AsRef<[Slot]> + AsMut<[Slot]>,
    P: Policy,
{
    pub(super) fn decide(&mut self, now: Time) {
        self.dirty = false;
        self.decisions += 1;
        self.wake_at = None;
        self.look_for_stuck(now);
        self.look(now);
        self.kept = [[0; KINDS_MAX]; Priority::COUNT];
        if self.waiting == 0 {
            return;
        }
        let mut round = self.new_round();
        while let Some(leader) = self.best(&round) {
            self.policy.chosen(&mut self.seats.unit_mut(leader).account);
            if !self.help(leader, &mut round, now) {
                let several = self.seats.unit(leader).members > 1;
                if several && round.groups != 0 {
                    // A smaller one behind it may not need what it lacks. But the host's lock is
                    // held: not all of them can be looked at.
                    round.groups -= 1;
                    self.set_aside(leader, &mut round);
                    continue;
                }
                let (level, line) = self.line_of(leader);
                round.passed[level] |= 1 << line;
            }
        }
        let mut next = round.promised;
        while next != NONE {
            let leader = next;
            let unit = self.seats.unit_mut(leader);
            next = core::mem::replace(&mut unit.promised, NONE);
            let (key, ticket) = unit.promised_place;
            self.stand(leader, key, ticket);
        }
    }

    /// Charges everybody, and shows the policy the field.
    pub(super) fn look(&mut self, now: Time) {
        self.charge_kept(now);
        let mut field = Field {
            slots: self.kinds,
            held: self.kept,
            ..Field::EMPTY
        };
        for number in 0..self.slots.as_ref().len() {
            let slot = &self.slots.as_ref()[number];
            let (seat, kind) = (slot.seat, slot.kind.number());
            if seat == NONE {
                continue;
            }
            let leader = self.seats.at(seat).leader;
            self.charge(leader, now);
            let unit = self.seats.unit(leader);
            // Who is on its way is among those who have come somewhere, too.
            let comes = matches!(unit.standing, Standing::Checking | Standing::Binding);
            if unit.charging || comes || self.is_between(leader) {
                field.held[unit.account.priority.level()][kind] += 1;
            }
            if unit.charging || comes {
                let time = unit.account.virtual_time;
                let range = &mut field.running[unit.account.priority.level()][kind];
                *range = Some(range.map_or((time, time), |(least, most)| {
                    (least.min(time), most.max(time))
                }));
            }
        }
        for (level, waiting) in field.waiting.iter_mut().enumerate() {
            for line in bits(self.filled[level]) {
                let Some(first) = self.lines[level][line].first() else {
                    continue;
                };
                let unit = self.seats.unit(first);
                for kind in unit.account.kinds.iter() {
                    let least = &mut waiting[kind.number()];
                    let key = unit.node.key();
                    *least = Some(least.map_or(key, |least| least.min(key)));
                }
            }
        }
        self.policy.look(&field);
    }

    /// Tells the policy of free slots that nobody could use, since they are kept for groups.
    fn charge_kept(&mut self, now: Time) {
        let since = core::mem::replace(&mut self.kept_since, now);
        let span = u64::try_from(now.since(since).as_nanos()).unwrap_or(u64::MAX);
        for priority in Priority::ALL {
            for kind in Kinds::ALL.iter() {
                let kept = self.kept[priority.level()][kind.number()];
                if kept != 0 {
                    let ns = span.saturating_mul(u64::from(kept));
                    self.policy.switched(priority, kind, ns);
                }
            }
        }
    }

    fn new_round(&self) -> Round {
        let mut round = Round {
            free: Have::NONE,
            coming: Have::NONE,
            slow: Have::NONE,
            passed: [0; Priority::COUNT],
            promised: NONE,
            groups: self.slots.as_ref().len(),
        };
        for slot in self.slots.as_ref() {
            if slot.is_free() {
                round.free.add(slot.kind);
                continue;
            }
            // One for which the device has not answered for too long may never come.
            let seat = self.seats.at(slot.seat);
            if !slot.broken && !seat.overdue && self.is_between(seat.leader) {
                round.coming.add(slot.kind);
                if self.seats.unit(seat.leader).charging {
                    round.slow.add(slot.kind);
                }
            }
        }
        round
    }

    /// The best of those who are first in a line that has not been passed over: as the policy ranks
    /// them. But a group for which slots are kept, and before which only less important ones rank, stays
    /// the best: or these had one of its slots in turn, and the rest stood empty, for ever.
    fn best(&self, round: &Round) -> Option<u32> {
        let (mut best, mut first_of_all) = (None, None);
        for level in 0..Priority::COUNT {
            for line in bits(self.filled[level] & !round.passed[level]) {
                let Some(first) = self.lines[level][line].first() else {
                    continue;
                };
                let unit = self.seats.unit(first);
                let rank = self.policy.rank(&unit.account);
                let place = (rank, level, unit.node.place());
                if best.is_none_or(|(other, _)| place < other) {
                    best = Some((place, first));
                }
                let place = (level, unit.node.place());
                if first_of_all.is_none_or(|(other, _)| place < other) {
                    first_of_all = Some((place, first));
                }
            }
        }
        let kept_for = |at: &u32| self.seats.unit(*at).kept_at == self.decisions - 1;
        let first = first_of_all.map(|(_, first)| first).filter(kept_for);
        first.or(best.map(|(_, first)| first))
    }

    /// Gives, or promises, slots to the first of a line. `false` if it must be left for now.
    fn help(&mut self, leader: u32, round: &mut Round, now: Time) -> bool {
        let need = self.need(leader);
        if need.fits(&round.free) {
            self.place(leader, need, round, now);
            return true;
        }
        let several = self.seats.unit(leader).members > 1;
        if several && !need.fits(&self.within_reach(leader, round, now)) {
            // It would hold slots that it cannot use, for as long as somebody likes.
            return false;
        }
        loop {
            let have = round.free.and(&round.coming);
            let soon = have.without(&round.slow);
            if need.fits(&soon) {
                break;
            }
            let enough = need.fits(&have);
            let have = if enough { &soon } else { &have };
            let Some(other) = self.who_makes_way(leader, &need, have, enough, now) else {
                if enough {
                    break;
                }
                if several {
                    // Who needs several would never get them if others took one each.
                    self.promise(leader, round);
                }
                return false;
            };
            self.each_member(other, |this, at| {
                let slot = this.seats.at(at).slot;
                round.coming.add(this.slot_at(slot).kind);
            });
            self.begin_yielding(other, now);
        }
        self.promise(leader, round);
        self.set_aside(leader, round);
        true
    }

    /// Takes a unit out of its line until the decision has been made.
    fn set_aside(&mut self, leader: u32, round: &mut Round) {
        let unit = self.seats.unit_mut(leader);
        unit.promised_place = unit.node.place();
        unit.promised = core::mem::replace(&mut round.promised, leader);
        self.leave_line(leader);
    }

    /// What a unit can have, now or when others will have made way; not what takes them so long that
    /// nobody should be kept from the rest meanwhile.
    fn within_reach(&mut self, leader: u32, round: &Round, now: Time) -> Have {
        let waiting = self.seats.unit(leader).account;
        let mut have = round.free.and(&round.coming);
        let soon = now.after(self.policy.keeps_for());
        let mut later: Option<Time> = None;
        for slot in self.slots.as_ref() {
            if slot.seat == NONE || slot.broken {
                continue;
            }
            let other = self.seats.at(slot.seat).leader;
            let unit = self.seats.unit(other);
            if self.is_between(other) {
                continue;
            }
            let comes = matches!(unit.standing, Standing::Checking | Standing::Binding);
            let way = match unit.charging || comes {
                true => {
                    let mut other = unit.account;
                    if comes {
                        // At the earliest, its turn begins now.
                        other.turn_since = now;
                    }
                    self.policy.makes_way(&other, &waiting, now)
                }
                false => Some(now),
            };
            match way {
                Some(at) if at > soon => {
                    later = Some(later.map_or(at, |other| other.min(at)));
                }
                Some(_) => have.add(slot.kind),
                None => {}
            }
        }
        if let Some(at) = later {
            self.wake_by(at);
        }
        have
    }

    /// Who makes way for a unit now, of those whose slots would help it; notes when somebody will, if
    /// nobody does. With `idle`, of those without work only.
    fn who_makes_way(
        &mut self,
        leader: u32,
        need: &Need,
        have: &Have,
        idle: bool,
        now: Time,
    ) -> Option<u32> {
        let missing = need.left_over(have);
        let mut helps = Kinds::NONE;
        for kind in self.seats.unit(leader).account.kinds.iter() {
            let mut more = *have;
            more.add(kind);
            if need.left_over(&more) < missing {
                helps = helps.with(kind);
            }
        }
        let waiting = self.seats.unit(leader).account;
        let mut best: Option<(Candidate, u32)> = None;
        let mut soonest: Option<Time> = None;
        for slot in self.slots.as_ref() {
            if slot.seat == NONE || !helps.contains(slot.kind) {
                continue;
            }
            let other = self.seats.at(slot.seat).leader;
            let unit = self.seats.unit(other);
            if unit.standing != Standing::Running || idle && unit.charging {
                continue;
            }
            let account = &unit.account;
            let candidate = if unit.charging {
                let Some(at) = self.policy.makes_way(account, &waiting, now) else {
                    continue;
                };
                if at > now {
                    soonest = Some(soonest.map_or(at, |other| other.min(at)));
                    continue;
                }
                let level = account.priority.level() as u8;
                (false, 0, level, account.virtual_time)
            } else {
                (true, u64::MAX - unit.idle_since.as_ns(), 0, 0)
            };
            if best.is_none_or(|(other, _)| candidate > other) {
                best = Some((candidate, other));
            }
        }
        if best.is_none() {
            if let Some(at) = soonest {
                self.wake_by(at);
            }
        }
        best.map(|(_, other)| other)
    }
}

/// The numbers of the bits that are set.
pub(super) fn bits(mask: u32) -> impl Iterator<Item = usize> {
    let mut left = mask;
    core::iter::from_fn(move || {
        let bit = left.trailing_zeros() as usize;
        left &= left.wrapping_sub(1);
        (bit < LINES).then_some(bit)
    })
}

const _: () = assert!(
    LINES <= u32::BITS as usize,
    "a priority's lines are bits of a u32"
);
