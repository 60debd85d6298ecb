// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the host is to be told, in the order in which it came up.

use ringfence_core::Time;

use super::Orchestrator;
use crate::effect::Effect;
use crate::line::NONE;
use crate::policy::Policy;
use crate::seat::{Phase, Seat, Standing};
use crate::slot::Slot;

/// The last point in time: never.
pub(super) const NEVER: Time = Time::from_ns(u64::MAX);

impl<S, L, P> Orchestrator<S, L, P>
where
    S: AsRef<[Seat]> + AsMut<[Seat]>,
    L: AsRef<[Slot]> + AsMut<[Slot]>,
    P: Policy,
{
    /// The next thing for the host to do, or `None` when there is nothing.
    ///
    /// A host takes effects until its batch is full or there are none, releases the lock, acts on them
    /// in the order given, takes the lock, answers, and asks again.
    pub fn next(&mut self, now: Time) -> Option<Effect> {
        loop {
            if self.dirty {
                self.decide(now);
            }
            while let Some(at) = self.next_news() {
                if let Some(effect) = self.effect_about(at, now) {
                    return Some(effect);
                }
            }
            if !self.dirty {
                break;
            }
        }
        let at = self.wake_at?;
        if self.armed.is_some_and(|armed| armed <= at) {
            return None;
        }
        self.armed = Some(at);
        Some(Effect::ArmTimer { at })
    }

    /// The host is to be told about a seat.
    pub(super) fn tell(&mut self, at: u32) {
        let seat = self.seats.at_mut(at);
        if seat.in_news {
            return;
        }
        seat.in_news = true;
        seat.news = NONE;
        match self.news_last {
            NONE => self.news = at,
            last => self.seats.at_mut(last).news = at,
        }
        self.news_last = at;
    }

    fn next_news(&mut self) -> Option<u32> {
        let at = self.news;
        if at == NONE {
            return None;
        }
        let seat = self.seats.at_mut(at);
        seat.in_news = false;
        self.news = core::mem::replace(&mut seat.news, NONE);
        if self.news == NONE {
            self.news_last = NONE;
        }
        Some(at)
    }

    fn effect_about(&mut self, at: u32, now: Time) -> Option<Effect> {
        let id = self.id(at);
        let due = self.config.patience.map_or(NEVER, |span| now.after(span));
        let seat = self.seats.at_mut(at);
        let slot = Self::slot_id(seat.slot);
        if core::mem::take(&mut seat.stuck) {
            if seat.phase.is_news() {
                self.tell(at);
            }
            return Some(Effect::Stuck { seat: id, slot });
        }
        if core::mem::take(&mut seat.shut) {
            if seat.phase.is_news() || seat.gone {
                self.tell(at);
            }
            return Some(Effect::Shut { seat: id });
        }
        if seat.gone {
            let stats = seat.stats;
            self.free(at);
            return Some(Effect::Gone { seat: id, stats });
        }
        let leader = seat.leader;
        if self.seats.unit(leader).leave && self.skips(at, now) {
            return None;
        }
        let seat = self.seats.at_mut(at);
        let reopen = core::mem::take(&mut seat.reopen);
        Some(match seat.phase {
            Phase::Running if reopen => {
                self.opened(at);
                Effect::Run { seat: id }
            }
            Phase::Check => {
                seat.phase = Phase::Checking;
                Effect::Check { seat: id, slot }
            }
            Phase::Bind => {
                seat.phase = Phase::Binding;
                self.await_answer(at, due);
                Effect::Bind { seat: id, slot }
            }
            Phase::Run => {
                seat.phase = Phase::Running;
                self.opened(at);
                Effect::Run { seat: id }
            }
            Phase::Yield => {
                seat.phase = Phase::Yielding;
                seat.yielded = false;
                Effect::Yield { seat: id }
            }
            Phase::Vacate => {
                seat.phase = Phase::Vacating;
                // The host does that along with it.
                seat.ajar = false;
                self.await_answer(at, due);
                Effect::Vacate { seat: id, slot }
            }
            _ => return None,
        })
    }

    /// Whoever must leave anyway is neither asked for nor bound, if that has not begun.
    fn skips(&mut self, at: u32, now: Time) -> bool {
        match self.seats.at(at).phase {
            Phase::Check => self.seats.at_mut(at).phase = Phase::Checked,
            Phase::Bind => self.take_away(at),
            _ => return false,
        }
        self.paid(at, now);
        true
    }

    fn await_answer(&mut self, at: u32, due: Time) {
        self.seats.at_mut(at).due = due;
        if due != NEVER {
            self.wake_by(due);
        }
    }

    /// A decision is due at `at` at the latest.
    pub(super) fn wake_by(&mut self, at: Time) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Finds out whose answers are overdue, and when the next will be.
    pub(super) fn look_for_stuck(&mut self, now: Time) {
        for number in 0..self.slots.as_ref().len() {
            let slot = &self.slots.as_ref()[number];
            if slot.seat == NONE || slot.broken {
                continue;
            }
            let at = slot.seat;
            let seat = self.seats.at_mut(at);
            if !matches!(seat.phase, Phase::Binding | Phase::Vacating) || seat.due == NEVER {
                continue;
            }
            if seat.due > now {
                let due = seat.due;
                self.wake_by(due);
                continue;
            }
            // Told once for each request.
            seat.due = NEVER;
            seat.stuck = true;
            seat.overdue = true;
            self.tell(at);
        }
    }

    /// Whether a unit, which has slots, is on its way to them or from them.
    pub(super) fn is_between(&self, leader: u32) -> bool {
        matches!(
            self.seats.unit(leader).standing,
            Standing::Yielding | Standing::Vacating
        )
    }
}
