// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Fair shares by the time that slots were held, in the manner of Linux's CFS.
//!
//! Each unit has a *virtual time*, which grows by the time that it holds slots with work, divided by
//! its weight; of one priority, who is furthest behind goes first. So each has had its share, but for
//! about a slice, whatever its jobs are like. Who sleeps is owed a slice at most when it wakes, and who is
//! new nothing; who is behind because it cannot be on more slots than it has, or was on others, keeps a
//! bounded part of that.
//!
//! A higher priority goes first, but for a *guarantee*: for each slot that higher ones hold, are on
//! their way to, or have kept for them, while a lower one waits for it, the lower one is owed a part of
//! that time, and once that is a slice, it goes first and is left alone until its slice is over. So nobody
//! starves. What it has had beyond that, as where its jobs cannot be preempted, or where several of it went
//! first, it must wait for, so that the guarantee is no more than its part.

use core::time::Duration;

use ringfence_core::Time;

use super::{Account, Field, Policy};
use crate::priority::{Priority, Weight};
use crate::slot::{Kinds, SlotKind, KINDS_MAX};

/// How fair shares are dealt out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FairConfig {
    /// How long a unit that has work keeps its slots while others of its priority wait for them.
    pub slice: Duration,
    /// How long a unit that has work keeps its slots at least, once it has them. What it costs to
    /// come to a slot should be little beside this. At most a slice.
    pub min_run: Duration,
    /// A lower priority is owed one part in so many of the time that higher ones hold what it waits
    /// for. At least 2.
    pub guarantee: u32,
    /// How far behind others a unit may fall that always has a slot, and keep its right to catch up.
    pub lag: Duration,
}

impl Default for FairConfig {
    /// Slices of 2 ms, at least 500 us, one part in 16, a lag of 128 ms.
    fn default() -> Self {
        Self {
            slice: Duration::from_millis(2),
            min_run: Duration::from_micros(500),
            guarantee: 16,
            lag: Duration::from_millis(128),
        }
    }
}

/// The policy of fair shares.
///
/// # Invariants
///
/// Floors never go back. A debt is at most `DEBT_SLICES` slices, and at least minus the lag.
#[derive(Clone, Copy, Debug)]
pub struct Fair {
    slice_ns: u64,
    min_run_ns: u64,
    guarantee: u64,
    lag_ns: u64,
    /// By priority and kind: how far in virtual time all have come that want such a slot.
    floors: [[u64; KINDS_MAX]; Priority::COUNT],
    /// By priority and kind: the time that it is owed, or has had beyond that, in nanoseconds of one
    /// slot, times the guarantee: so nothing is lost of small spans.
    debts: [[i64; KINDS_MAX]; Priority::COUNT],
    /// By priority and kind: how much of that is for those whose turn was in the present decision.
    taken: [[i64; KINDS_MAX]; Priority::COUNT],
    /// How far the first of that priority has come that waits for that kind, if somebody does, as last seen.
    waits: [[Option<u64>; KINDS_MAX]; Priority::COUNT],
    /// By priority and kind: how many slots those have that are more important.
    higher: [[u16; KINDS_MAX]; Priority::COUNT],
    slots: [u16; KINDS_MAX],
}

/// No priority is owed more than so many slices: it shall not starve, nor starve others later.
const DEBT_SLICES: u64 = 4;

/// How often within a slice somebody looks at the most whether a debt has come to a slice.
const LOOKS_PER_SLICE: u64 = 16;

impl Default for Fair {
    fn default() -> Self {
        Self::new(FairConfig::default())
    }
}

pub(super) fn ns(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A span of slot time in the virtual time of somebody of this weight, and what is left of it, in parts
/// of the weight. `rest` was left of earlier spans: many small ones are as much as one large one.
fn virtual_span(ns: u64, rest: u64, weight: Weight) -> (u64, u64) {
    let parts = ns.saturating_mul(u64::from(Weight::DEFAULT.get()));
    let (parts, weight) = (parts.saturating_add(rest), u64::from(weight.get()));
    (parts / weight, parts % weight)
}

/// A unit has had so much slot time.
fn advance(account: &mut Account, ns: u64) {
    let (span, rest) = virtual_span(ns, account.virtual_rest, account.weight);
    account.virtual_time = account.virtual_time.saturating_add(span);
    account.virtual_rest = rest;
}

/// The slot time in which somebody of this weight comes so far in virtual time, rounded up.
fn slot_span(span: u64, weight: Weight) -> u64 {
    span.saturating_mul(u64::from(weight.get()))
        .div_ceil(u64::from(Weight::DEFAULT.get()))
}

impl Fair {
    /// The policy. What is out of range is taken as the nearest that is not: a slice of nothing is
    /// a nanosecond, a least run longer than a slice is a slice, a guarantee below 2 is 2.
    pub fn new(config: FairConfig) -> Self {
        let slice_ns = ns(config.slice).max(1);
        Self {
            slice_ns,
            min_run_ns: ns(config.min_run).min(slice_ns),
            guarantee: u64::from(config.guarantee.max(2)),
            lag_ns: ns(config.lag),
            floors: [[0; KINDS_MAX]; Priority::COUNT],
            debts: [[0; KINDS_MAX]; Priority::COUNT],
            taken: [[0; KINDS_MAX]; Priority::COUNT],
            waits: [[None; KINDS_MAX]; Priority::COUNT],
            higher: [[0; KINDS_MAX]; Priority::COUNT],
            slots: [0; KINDS_MAX],
        }
    }

    /// How far all have come of those that a unit of this priority meets on any of its kinds of slot:
    /// of those that there are, since nobody is ever served on another.
    fn floor(&self, priority: Priority, kinds: Kinds) -> u64 {
        let floors = &self.floors[priority.level()];
        kinds
            .iter()
            .filter(|kind| self.slots[kind.number()] != 0)
            .map(|kind| floors[kind.number()])
            .max()
            .unwrap_or(0)
    }

    /// Whether its priority is owed a slice on a slot that it may be on.
    fn is_owed(&self, account: &Account) -> bool {
        self.owed(account) >= self.debt_of(self.slice_ns)
    }

    /// What its priority is owed that is nobody's yet.
    fn owed(&self, account: &Account) -> i64 {
        self.owed_for(account.priority, self.first_debt(account))
    }

    fn owed_for(&self, priority: Priority, kind: SlotKind) -> i64 {
        let (level, kind) = (priority.level(), kind.number());
        self.debts[level][kind].saturating_sub(self.taken[level][kind])
    }

    /// The kind for which a unit's priority is owed most, of those that it may be on. The slice for
    /// which it goes first is paid from there, whatever kind it is on: or it would go first for ever,
    /// and use up what is owed to others.
    fn first_debt(&self, account: &Account) -> SlotKind {
        let kinds = account.kinds.iter();
        let first = kinds.max_by_key(|kind| self.owed_for(account.priority, *kind));
        first.unwrap_or_default()
    }

    /// A unit has had slot time that its priority was owed. Who went first for it has what is beyond
    /// that in advance, if it is at the cost of somebody who waits; from others no more is taken than
    /// their priority is owed.
    fn pay(&mut self, account: &Account, kind: SlotKind, ns: u64) {
        let cost = self.debt_of(ns);
        let higher = &self.waits[..account.priority.level()];
        let waits = higher.iter().any(|waits| waits[kind.number()].is_some());
        let least = match account.guaranteed && waits {
            true => self.debt_of(self.lag_ns).saturating_neg(),
            false => 0,
        };
        let debt = &mut self.debts[account.priority.level()][kind.number()];
        *debt = debt.saturating_sub(cost).max(least.min(*debt));
    }

    /// Whether a unit has its slot only because the first of its priority that waits cannot use it, as a
    /// group that needs one of somebody more important as well: that is not what its priority is owed, or
    /// the group would wait for ever.
    fn is_far_ahead(&self, account: &Account, kind: SlotKind) -> bool {
        let Some(first) = self.waits[account.priority.level()][kind.number()] else {
            return false;
        };
        let (turns, _) = virtual_span(self.slice_ns.saturating_mul(2), 0, account.weight);
        let most = first.saturating_add(turns).saturating_add(self.lag_ns);
        !account.guaranteed && account.virtual_time > most
    }

    /// The debt that so much time is.
    fn debt_of(&self, ns: u64) -> i64 {
        signed(ns.saturating_mul(self.guarantee))
    }

    /// Somebody of this priority has held a slot of `kind` for so long: lower priorities that wait for it
    /// are owed.
    fn held(&mut self, priority: Priority, kind: SlotKind, ns: u64) {
        let most = self.debt_of(self.slice_ns.saturating_mul(DEBT_SLICES));
        let kind = kind.number();
        for lower in priority.level() + 1..Priority::COUNT {
            let debt = &mut self.debts[lower][kind];
            if self.waits[lower][kind].is_some() || *debt < 0 {
                *debt = debt.saturating_add(signed(ns)).min(most);
            }
        }
    }

    /// The earliest time at which the priority of a unit that waits is owed a slice.
    fn owed_at(&self, waiting: &Account, now: Time) -> Time {
        let slice = self.debt_of(self.slice_ns);
        let spans = waiting.kinds.iter().filter_map(|kind| {
            let missing = slice.saturating_sub(self.owed_for(waiting.priority, kind));
            let higher = self.higher[waiting.priority.level()][kind.number()];
            missing.unsigned_abs().checked_div(u64::from(higher))
        });
        // Where higher ones leave some of them it takes longer. That is looked at again, but not ever
        // more often.
        let least = self.slice_ns / LOOKS_PER_SLICE;
        let span = spans.min().unwrap_or(slice.unsigned_abs()).max(least);
        now.after(Duration::from_nanos(span))
    }
}

impl Policy for Fair {
    fn woke(&mut self, account: &mut Account, _now: Time) {
        let floor = self.floor(account.priority, account.kinds);
        let (slice, _) = virtual_span(self.slice_ns, 0, account.weight);
        let least = match core::mem::replace(&mut account.known, true) {
            true => floor.saturating_sub(slice),
            // It is owed nothing: or seats that come and go would always be first.
            false => floor,
        };
        account.virtual_time = account.virtual_time.max(least);
    }

    fn joins(&mut self, account: &mut Account) {
        // On slots where it met nobody it may have come less far than those have whom it meets now.
        let floor = self.floor(account.priority, account.kinds);
        let least = floor.saturating_sub(self.lag_ns);
        account.virtual_time = account.virtual_time.max(least);
    }

    fn key(&self, account: &Account) -> u64 {
        account.virtual_time
    }

    fn ran(&mut self, account: &mut Account, kind: SlotKind, ns: u64) {
        advance(account, ns);
        let guaranteed = ns.min(account.guaranteed_ns);
        account.guaranteed_ns -= guaranteed;
        self.pay(account, account.guaranteed_by, guaranteed);
        if !self.is_far_ahead(account, kind) {
            self.pay(account, kind, ns - guaranteed);
        }
        self.held(account.priority, kind, ns);
    }

    fn switched(&mut self, priority: Priority, kind: SlotKind, ns: u64) {
        self.held(priority, kind, ns);
    }

    fn failed(&mut self, account: &mut Account, ns: u64) {
        // Who fails again and again would go first for ever. If it went before somebody more important,
        // who had to leave for it, its priority has had that slice, and it was this unit's.
        let ns = ns.max(account.guaranteed_ns);
        advance(account, ns);
        if account.guaranteed {
            self.pay(account, account.guaranteed_by, ns);
        }
        account.guaranteed_ns = 0;
    }

    fn look(&mut self, field: &Field) {
        self.slots = field.slots;
        self.taken = [[0; KINDS_MAX]; Priority::COUNT];
        for level in 1..Priority::COUNT {
            for kind in 0..KINDS_MAX {
                let above = self.higher[level - 1][kind];
                self.higher[level][kind] = above + field.held[level - 1][kind];
            }
        }
        for level in 0..Priority::COUNT {
            for kind in 0..KINDS_MAX {
                let (waiting, running) = (field.waiting[level][kind], field.running[level][kind]);
                self.waits[level][kind] = waiting;
                if waiting.is_none() && running.is_none() {
                    let debt = &mut self.debts[level][kind];
                    *debt = (*debt).min(0);
                }
                let come = match (waiting, running) {
                    (Some(key), Some((least, _))) => key.min(least),
                    (Some(key), None) => key,
                    // Nobody waits, so nobody is owed anything.
                    (None, Some((_, most))) => most,
                    (None, None) => continue,
                };
                let floor = &mut self.floors[level][kind];
                *floor = come.max(*floor);
            }
        }
    }

    fn overtaken(&self, account: &mut Account, key: u64) {
        account.virtual_time = account.virtual_time.max(key.saturating_sub(self.lag_ns));
    }

    fn rank(&self, account: &Account) -> u8 {
        match self.is_owed(account) {
            true => 0,
            false => account.priority.level() as u8 + 1,
        }
    }

    fn makes_way(&self, resident: &Account, waiting: &Account, now: Time) -> Option<Time> {
        let after = |ns| resident.turn_since.after(Duration::from_nanos(ns));
        let slice = after(self.slice_ns);
        // Who was owed its slice is left alone, by whoever else is owed one, too.
        let least = match resident.guaranteed {
            true => slice,
            false => after(self.min_run_ns),
        };
        let way = if waiting.priority == resident.priority {
            let behind = waiting.virtual_time.saturating_sub(resident.virtual_time);
            let caught_up = slot_span(behind, resident.weight);
            slice.max(now.after(Duration::from_nanos(caught_up)))
        } else if waiting.priority < resident.priority || waiting.guaranteed {
            least
        } else {
            least.max(self.owed_at(waiting, now))
        };
        Some(way.max(now))
    }

    fn keeps_for(&self) -> Duration {
        // Everybody makes way within a slice for who is owed one.
        Duration::from_nanos(self.slice_ns)
    }

    fn chosen(&mut self, account: &mut Account) {
        account.guaranteed = self.is_owed(account);
        account.guaranteed_ns = 0;
        if account.guaranteed {
            // Whether it has its slots now or must wait for them: nobody behind it may use this up.
            account.guaranteed_by = self.first_debt(account);
            account.guaranteed_ns = self.slice_ns;
            let slice = self.debt_of(self.slice_ns);
            let taken = &mut self.taken[account.priority.level()][account.guaranteed_by.number()];
            *taken = taken.saturating_add(slice);
        }
    }

    fn changed(&mut self, account: &mut Account, was: Priority, weighed: Weight) {
        // It is as far behind, or ahead, among the others as it was among those it leaves.
        let (from, to) = (
            self.floor(was, account.kinds),
            self.floor(account.priority, account.kinds),
        );
        let ahead = account.virtual_time.saturating_sub(from);
        let behind = from.saturating_sub(account.virtual_time);
        // In slot time: or who has slept, and has more weight from now on, is owed more.
        let (ahead, behind) = (slot_span(ahead, weighed), slot_span(behind, weighed));
        let (ahead, _) = virtual_span(ahead, 0, account.weight);
        let (behind, _) = virtual_span(behind, 0, account.weight);
        let there = to.saturating_add(ahead).saturating_sub(behind);
        if was == account.priority {
            account.virtual_time = there;
            return;
        }
        account.left_at[was.level()] = account.virtual_time;
        // Who was alone in another priority meanwhile is not ahead of anybody there, but is here still.
        account.virtual_time = there.max(account.left_at[account.priority.level()]);
    }
}
