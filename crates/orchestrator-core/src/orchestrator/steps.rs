// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A unit's way to its slots and back, step by step: all its seats have ended one before any begins
//! the next. So no seat of a group runs unless all are on their slots.
//!
//! ```text
//!   Off ─► Waiting ─► Checking ─► Binding ─► Running ─► Yielding ─► Vacating ─► settled:
//!    ▲       ▲            │                                            │       Off, Waiting,
//!    └───────┴────────────┴────────────────────────────────────────────┴────── Blocked or Lost
//! ```

use core::time::Duration;

use ringfence_core::{Out, Time};

use super::Orchestrator;
use crate::line::NONE;
use crate::policy::Policy;
use crate::seat::{Phase, Seat, Standing};
use crate::slot::{Slot, NO_SLOT};

impl<S, L, P> Orchestrator<S, L, P>
where
    S: AsRef<[Seat]> + AsMut<[Seat]>,
    L: AsRef<[Slot]> + AsMut<[Slot]>,
    P: Policy,
{
    /// All seats of a unit, which is in no line, have been given slots.
    pub(super) fn begin(&mut self, leader: u32, now: Time) {
        let unit = self.seats.unit_mut(leader);
        unit.leave = false;
        unit.owing = unit.members;
        unit.standing = Standing::Checking;
        unit.charged = now;
        unit.tried = Some(now);
        let mut unchecked = 0;
        self.each_member(leader, |this, at| {
            if this.seats.at(at).checked {
                this.seats.at_mut(at).phase = Phase::Check;
                this.tell(at);
            } else {
                this.seats.at_mut(at).phase = Phase::Checked;
                unchecked += 1;
            }
        });
        self.pay(leader, unchecked, now);
    }

    /// A seat has come to the end of the unit's present step.
    pub(super) fn paid(&mut self, at: u32, now: Time) {
        let leader = self.seats.at(at).leader;
        self.pay(leader, 1, now);
    }

    /// So many seats have come to the end of the present step: when it is all, the next one begins.
    fn pay(&mut self, leader: u32, seats: u16, now: Time) {
        let unit = self.seats.unit_mut(leader);
        unit.owing -= seats;
        if unit.owing != 0 {
            return;
        }
        let (leave, unready, standing) = (unit.leave, unit.unready != 0, unit.standing);
        match standing {
            Standing::Checking if leave || unready => {
                self.each_member(leader, |this, at| this.take_away(at));
                self.settle(leader, now);
            }
            Standing::Checking => self.begin_binding(leader),
            Standing::Binding if leave => self.begin_vacating(leader, now),
            Standing::Binding => self.begin_running(leader, now),
            Standing::Yielding => self.begin_vacating(leader, now),
            Standing::Vacating => self.settle(leader, now),
            Standing::Off
            | Standing::Waiting
            | Standing::Blocked
            | Standing::Running
            | Standing::Lost => debug_assert!(false, "{standing:?} is no step"),
        }
    }

    /// A seat that has not been bound yet loses its slot.
    pub(super) fn take_away(&mut self, at: u32) {
        let seat = self.seats.at_mut(at);
        seat.phase = Phase::Off;
        let slot = core::mem::replace(&mut seat.slot, NO_SLOT);
        self.slot_mut(slot).seat = NONE;
        self.dirty = true;
    }

    fn begin_binding(&mut self, leader: u32) {
        let unit = self.seats.unit_mut(leader);
        unit.standing = Standing::Binding;
        unit.owing = unit.members;
        self.each_member(leader, |this, at| {
            this.seats.at_mut(at).phase = Phase::Bind;
            this.tell(at);
        });
    }

    fn begin_running(&mut self, leader: u32, now: Time) {
        self.charge(leader, now);
        let unit = self.seats.unit_mut(leader);
        unit.standing = Standing::Running;
        unit.tried = None;
        unit.account.turn_since = now;
        unit.charged = now;
        unit.charging = unit.wanting != 0;
        unit.idle_since = now;
        let waited = now.since(unit.account.waiting_since);
        self.each_member(leader, |this, at| {
            let seat = this.seats.at_mut(at);
            seat.phase = Phase::Run;
            seat.stats.waited = seat.stats.waited.saturating_add(waited);
            seat.stats.longest_wait = seat.stats.longest_wait.max(waited);
            this.tell(at);
        });
        // From now on it can be made to leave.
        self.dirty |= self.waiting != 0;
    }

    /// A unit that runs must leave its slots.
    pub(super) fn begin_yielding(&mut self, leader: u32, now: Time) {
        self.charge(leader, now);
        let unit = self.seats.unit_mut(leader);
        unit.standing = Standing::Yielding;
        unit.owing = unit.members;
        unit.charged = now;
        let charging = unit.charging;
        let mut shut = 0;
        self.each_member(leader, |this, at| {
            let seat = this.seats.at_mut(at);
            match charging {
                true => seat.stats.preemptions += 1,
                false => seat.stats.evictions += 1,
            }
            if seat.phase == Phase::Run {
                // The host was not told, so the gate is still shut.
                seat.phase = Phase::Quiet;
                shut += 1;
            } else {
                seat.phase = Phase::Yield;
                this.tell(at);
            }
        });
        self.pay(leader, shut, now);
    }

    /// Nothing stands in the way of taking a unit's seats off the slots that they have.
    fn begin_vacating(&mut self, leader: u32, now: Time) {
        // Those that the device has let go are off at once.
        self.charge(leader, now);
        let unit = self.seats.unit_mut(leader);
        unit.standing = Standing::Vacating;
        unit.owing = unit.members;
        let mut off = 0;
        self.each_member(leader, |this, at| {
            let seat = this.seats.at_mut(at);
            match seat.phase {
                Phase::Off => off += 1,
                _ if seat.lost => {
                    seat.shut = core::mem::take(&mut seat.ajar);
                    this.give_back(at, now);
                    this.tell(at);
                    off += 1;
                }
                _ => {
                    seat.phase = Phase::Vacate;
                    this.tell(at);
                }
            }
        });
        self.pay(leader, off, now);
    }

    /// A unit is on no slot: it stands where it belongs now.
    pub(super) fn settle(&mut self, leader: u32, now: Time) {
        self.charge(leader, now);
        let unit = self.seats.unit_mut(leader);
        let slept = !core::mem::take(&mut unit.charging);
        unit.leave = false;
        if let Some(since) = unit.tried.take() {
            let span = u64::try_from(now.since(since).as_nanos()).unwrap_or(u64::MAX);
            let ns = span.saturating_mul(u64::from(unit.members));
            self.policy.failed(&mut unit.account, ns);
        }
        unit.account.guaranteed = false;
        unit.standing = Standing::Off;
        let Some(leader) = self.weed(leader) else {
            return;
        };
        let unit = self.seats.unit_mut(leader);
        if unit.broken != 0 {
            unit.standing = Standing::Lost;
        } else if unit.unready != 0 {
            unit.standing = Standing::Blocked;
        } else if unit.wanting != 0 {
            if slept {
                self.wake(leader, now);
            } else {
                // Nobody looks here: it would not be seen, and is not behind those that wait.
                self.policy.joins(&mut unit.account);
            }
            self.join(leader, now);
        }
    }

    /// A unit that had no work has some. How far the others have come may not have been looked at for
    /// as long as nobody waited.
    pub(super) fn wake(&mut self, leader: u32, now: Time) {
        self.look(now);
        self.policy
            .woke(&mut self.seats.unit_mut(leader).account, now);
    }

    /// Charges a unit for the time since it was charged last, in which it had its slots and work. Of one
    /// that was on its way to them, or from them without work, the policy hears.
    pub(super) fn charge(&mut self, leader: u32, now: Time) {
        let unit = self.seats.unit_mut(leader);
        let between = matches!(
            unit.standing,
            Standing::Checking | Standing::Binding | Standing::Yielding | Standing::Vacating
        );
        let span = now.since(unit.charged);
        if span.is_zero() || !(unit.charging || between) {
            return;
        }
        unit.charged = now;
        let ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.each_member(leader, |this, at| this.charge_seat(leader, at, span, ns));
    }

    fn charge_seat(&mut self, leader: u32, at: u32, span: Duration, ns: u64) {
        let seat = self.seats.at(at);
        if seat.slot == NO_SLOT || seat.phase == Phase::Off {
            return;
        }
        if !self.seats.unit(leader).charging {
            let kind = self.slot_at(seat.slot).kind;
            let priority = self.seats.unit(leader).account.priority;
            self.policy.switched(priority, kind, ns);
            return;
        }
        let seat = self.seats.at_mut(at);
        seat.stats.busy = seat.stats.busy.saturating_add(span);
        let number = seat.slot;
        let slot = self.slot_mut(number);
        slot.stats.busy_ns = slot.stats.busy_ns.saturating_add(ns);
        let kind = slot.kind;
        let on = &mut self.seats.at_mut(at).stats.busy_on[kind.number()];
        *on = on.saturating_add(span);
        let account = &mut self.seats.unit_mut(leader).account;
        self.policy.ran(account, kind, ns);
    }

    /// A seat's queue runs: what it said before does not hold any more.
    pub(super) fn opened(&mut self, at: u32) {
        let seat = self.seats.at_mut(at);
        seat.out = Out::Open;
        seat.ajar = true;
    }
}
