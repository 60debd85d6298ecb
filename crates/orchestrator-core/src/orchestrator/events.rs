// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the host tells: what queues want, what the driver and the device have answered.

use core::time::Duration;

use ringfence_core::{GateReport, Out, Time};

use super::{Orchestrator, Preemption, Refused};
use crate::effect::{Answer, Checked};
use crate::policy::Policy;
use crate::seat::{Phase, Seat, SeatId, Standing};
use crate::slot::{Slot, SlotId, NO_SLOT};

impl<S, L, P> Orchestrator<S, L, P>
where
    S: AsRef<[Seat]> + AsMut<[Seat]>,
    L: AsRef<[Slot]> + AsMut<[Slot]>,
    P: Policy,
{
    /// A queue says what it wants. An older report than the last is ignored: reports may come in
    /// another order than they were made.
    ///
    /// # Errors
    ///
    /// [`Refused::Unknown`].
    pub fn report(&mut self, seat: SeatId, report: GateReport, now: Time) -> Result<(), Refused> {
        let at = self.find(seat)?;
        self.take_report(at, report, now);
        Ok(())
    }

    /// The seat's queue has been made, and its gate is shut. If others of its group have brought it to a
    /// slot before, the host is told once more to open it.
    ///
    /// # Errors
    ///
    /// [`Refused::Unknown`].
    pub fn attached(&mut self, seat: SeatId) -> Result<(), Refused> {
        let at = self.find(seat)?;
        let found = self.seats.at_mut(at);
        if found.phase == Phase::Running {
            found.reopen = true;
            self.tell(at);
        }
        Ok(())
    }

    /// The gate of the seat's queue has yielded: answers [`Effect::Yield`](crate::Effect::Yield). The
    /// report is what the queue said in the same lock hold. A host that only knows the version of the
    /// last report before gives that, with [`Out::Inside`]: what is so now is believed when it comes, and
    /// if it has come already, that is later and counts.
    ///
    /// # Errors
    ///
    /// [`Refused`], and nothing has changed.
    pub fn yielded(&mut self, seat: SeatId, report: GateReport, now: Time) -> Result<(), Refused> {
        let at = self.find(seat)?;
        let found = self.seats.at_mut(at);
        if found.phase != Phase::Yielding || found.yielded {
            return Err(Refused::NotOwed);
        }
        found.yielded = true;
        if report.version == found.version {
            // It has not changed what it wants since it was opened, or it never was.
            found.out = report.out;
        }
        self.take_report(at, report, now);
        // It may not have been news.
        self.look_if_quiet(at, now);
        Ok(())
    }

    fn take_report(&mut self, at: u32, report: GateReport, now: Time) {
        let seat = self.seats.at_mut(at);
        if report.version <= seat.version {
            return;
        }
        seat.version = report.version;
        seat.out = report.out;
        let wants = report.wants && !seat.removing;
        self.set_wants(at, wants, now);
        self.look_if_busy(at, now);
        self.look_if_quiet(at, now);
    }

    /// A queue may have begun something between the decision that it makes way, having no work, and its
    /// gate's yielding. That is charged like all else.
    fn look_if_busy(&mut self, at: u32, now: Time) {
        let seat = self.seats.at(at);
        let (leader, busy) = (
            seat.leader,
            matches!(seat.out, Out::Inside | Out::OnHardware),
        );
        let unit = self.seats.unit(leader);
        if busy && unit.standing == Standing::Yielding && !unit.charging {
            self.wake(leader, now);
            let unit = self.seats.unit_mut(leader);
            unit.charging = true;
            unit.charged = now;
        }
    }

    pub(super) fn set_wants(&mut self, at: u32, wants: bool, now: Time) {
        if self.seats.at(at).wants == wants {
            return;
        }
        // Before somebody joins those who want a slot, or leaves them, it is seen how far they have
        // come: while nobody waits, there may have been no decision for long.
        self.look(now);
        let seat = self.seats.at_mut(at);
        seat.wants = wants;
        let leader = seat.leader;
        let unit = self.seats.unit_mut(leader);
        match wants {
            true => unit.wanting += 1,
            false => unit.wanting -= 1,
        }
        let first = wants && unit.wanting == 1;
        let last = !wants && unit.wanting == 0;
        match unit.standing {
            Standing::Off if first => {
                self.policy.woke(&mut unit.account, now);
                self.join(leader, now);
            }
            Standing::Waiting if last => {
                self.leave_line(leader);
                self.seats.unit_mut(leader).standing = Standing::Off;
                self.dirty = true;
            }
            Standing::Running if first => {
                self.policy.woke(&mut unit.account, now);
                // Where somebody would have its slots, had there been a decision meanwhile, it is the
                // same turn: or it would have as long a turn as it likes.
                if !self.dirty || unit.idle_at != self.decisions {
                    unit.account.turn_since = now;
                }
                unit.charging = true;
                unit.charged = now;
                self.dirty |= self.waiting != 0;
            }
            Standing::Running if last => {
                self.charge(leader, now);
                let unit = self.seats.unit_mut(leader);
                unit.charging = false;
                unit.idle_since = now;
                unit.idle_at = self.decisions;
                self.dirty |= self.waiting != 0;
            }
            _ => {}
        }
    }

    /// If a seat's queue has yielded and has nothing out any more that must be waited for, the seat is
    /// quiet.
    fn look_if_quiet(&mut self, at: u32, now: Time) {
        let seat = self.seats.at(at);
        let quiet = match seat.out {
            Out::Nothing => true,
            Out::OnHardware => self.config.preemption == Preemption::Supported || seat.lost,
            Out::Inside | Out::Open => false,
        };
        if seat.phase == Phase::Yielding && seat.yielded && quiet {
            self.seats.at_mut(at).phase = Phase::Quiet;
            self.paid(at, now);
        }
    }

    /// The driver's answer to [`Effect::Check`](crate::Effect::Check).
    ///
    /// # Errors
    ///
    /// [`Refused`], and nothing has changed.
    pub fn checked(&mut self, seat: SeatId, checked: Checked, now: Time) -> Result<(), Refused> {
        let at = self.find(seat)?;
        let found = self.seats.at_mut(at);
        if found.phase != Phase::Checking {
            return Err(Refused::NotOwed);
        }
        found.phase = Phase::Checked;
        if checked == Checked::NotYet && !found.removing {
            self.set_not_ready(at);
        }
        self.paid(at, now);
        Ok(())
    }

    /// What the driver said was missing for a seat is there, or what kept it from being bound is
    /// over. Harmless where nothing was missing.
    ///
    /// # Errors
    ///
    /// [`Refused::Unknown`].
    pub fn ready(&mut self, seat: SeatId, now: Time) -> Result<(), Refused> {
        let at = self.find(seat)?;
        self.set_ready(at);
        let leader = self.seats.at(at).leader;
        let unit = self.seats.unit(leader);
        if unit.standing == Standing::Blocked && unit.unready == 0 {
            self.settle(leader, now);
        }
        Ok(())
    }

    pub(super) fn set_not_ready(&mut self, at: u32) {
        let seat = self.seats.at_mut(at);
        if !seat.not_ready {
            seat.not_ready = true;
            let leader = seat.leader;
            self.seats.unit_mut(leader).unready += 1;
        }
    }

    pub(super) fn set_ready(&mut self, at: u32) {
        let seat = self.seats.at_mut(at);
        if seat.not_ready {
            seat.not_ready = false;
            let leader = seat.leader;
            self.seats.unit_mut(leader).unready -= 1;
        }
    }

    /// The device's answer to [`Effect::Bind`](crate::Effect::Bind). After [`Answer::Failed`] the
    /// seat gets no slot until it is [ready](Self::ready): who says that it failed knows why.
    ///
    /// # Errors
    ///
    /// [`Refused`], and nothing has changed.
    pub fn bound(&mut self, seat: SeatId, answer: Answer, now: Time) -> Result<(), Refused> {
        let at = self.find(seat)?;
        if self.seats.at(at).phase != Phase::Binding {
            return Err(Refused::NotOwed);
        }
        self.answered(at);
        match answer {
            Answer::Done => {
                self.count_bind(at);
                self.seats.at_mut(at).phase = Phase::Bound;
            }
            Answer::Failed => {
                if !self.seats.at(at).removing {
                    self.set_not_ready(at);
                }
                self.give_back(at, now);
            }
            Answer::Broken => self.break_slot(at),
        }
        if answer != Answer::Done {
            let leader = self.seats.at(at).leader;
            self.seats.unit_mut(leader).leave = true;
        }
        self.paid(at, now);
        Ok(())
    }

    fn count_bind(&mut self, at: u32) {
        let seat = self.seats.at_mut(at);
        let slot = &mut self.slots.as_mut()[usize::from(seat.slot)];
        seat.stats.stays += 1;
        slot.stats.binds += 1;
        if slot.last == at {
            seat.stats.warm += 1;
            slot.stats.warm += 1;
        }
    }

    /// The device's answer to [`Effect::Vacate`](crate::Effect::Vacate), with how long the context
    /// has executed during its stay, where the device can say.
    ///
    /// # Errors
    ///
    /// [`Refused`], and nothing has changed.
    pub fn vacated(
        &mut self,
        seat: SeatId,
        answer: Answer,
        measured: Option<Duration>,
        now: Time,
    ) -> Result<(), Refused> {
        let at = self.find(seat)?;
        if self.seats.at(at).phase != Phase::Vacating {
            return Err(Refused::NotOwed);
        }
        // It may sleep from now on.
        self.look(now);
        self.answered(at);
        if let Some(span) = measured {
            let stats = &mut self.seats.at_mut(at).stats;
            stats.measured = stats.measured.saturating_add(span);
        }
        match answer {
            Answer::Done | Answer::Failed => self.give_back(at, now),
            Answer::Broken => self.break_slot(at),
        }
        self.paid(at, now);
        Ok(())
    }

    /// The device has let go of a seat's context without having been asked, as in a reset: it is on
    /// no slot. Does nothing for a seat about which the device owes an answer; that will say so.
    ///
    /// # Errors
    ///
    /// [`Refused::Unknown`].
    pub fn lost(&mut self, seat: SeatId, now: Time) -> Result<(), Refused> {
        let at = self.find(seat)?;
        let found = self.seats.at_mut(at);
        if !matches!(
            found.phase,
            Phase::Bound
                | Phase::Run
                | Phase::Running
                | Phase::Yield
                | Phase::Yielding
                | Phase::Quiet
                | Phase::Vacate
        ) {
            return Ok(());
        }
        found.lost = true;
        let leader = found.leader;
        self.look(now);
        match self.seats.unit(leader).standing {
            Standing::Running => self.begin_yielding(leader, now),
            Standing::Binding => self.seats.unit_mut(leader).leave = true,
            // What was on the hardware is not there any more.
            Standing::Yielding => self.look_if_quiet(at, now),
            _ => {}
        }
        Ok(())
    }

    /// A slot about which nobody knew anything is free, and no context is on it.
    ///
    /// # Errors
    ///
    /// [`Refused::Unknown`] if there is no such slot, [`Refused::NotOwed`] if it is not broken.
    pub fn repaired(&mut self, slot: SlotId, now: Time) -> Result<(), Refused> {
        let found = self.slots.as_mut().get_mut(slot.at());
        let found = found.ok_or(Refused::Unknown)?;
        if !found.broken {
            return Err(Refused::NotOwed);
        }
        found.broken = false;
        let at = found.seat;
        self.give_back(at, now);
        let leader = self.seats.at(at).leader;
        let unit = self.seats.unit_mut(leader);
        unit.broken -= 1;
        // Also where others' slots are still broken: it may be this seat that is to go.
        if unit.standing == Standing::Lost {
            self.settle(leader, now);
        }
        Ok(())
    }

    /// The timer has fired, early, late or twice.
    pub fn timer_fired(&mut self) {
        self.armed = None;
        self.dirty = true;
    }

    /// The device has answered about a seat.
    fn answered(&mut self, at: u32) {
        let seat = self.seats.at_mut(at);
        seat.stuck = false;
        seat.overdue = false;
    }

    /// A seat is off its slot, which is free.
    pub(super) fn give_back(&mut self, at: u32, now: Time) {
        let seat = self.seats.at_mut(at);
        debug_assert_ne!(seat.slot, NO_SLOT, "only who has a slot gives it back");
        let number = core::mem::replace(&mut seat.slot, NO_SLOT);
        seat.phase = Phase::Off;
        seat.lost = false;
        seat.last_slot = number;
        let slot = self.slot_mut(number);
        slot.seat = crate::line::NONE;
        slot.last = at;
        slot.left = now;
        self.dirty |= self.waiting != 0;
    }

    fn break_slot(&mut self, at: u32) {
        let seat = self.seats.at_mut(at);
        seat.phase = Phase::Off;
        let (slot, leader) = (seat.slot, seat.leader);
        self.slot_mut(slot).broken = true;
        self.seats.unit_mut(leader).broken += 1;
    }
}
