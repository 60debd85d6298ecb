// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The orchestrator as its host sees it, with at most one bug in between.

use std::collections::VecDeque;

use ringfence_core::Time;
use ringfence_orchestrator_core::{
    Answer, Checked, Effect, GateReport, GroupError, Orchestrator, Out, Refused, Seat, SeatId,
    Slot, SlotId, SlotKind,
};

use super::choice::Choice;
use super::mutant::Mutant;
use super::plan::Plan;

pub(super) type Core = Orchestrator<Vec<Seat>, Vec<Slot>, Choice>;

#[derive(Debug)]
pub(super) struct Port {
    pub(super) core: Core,
    mutant: Option<Mutant>,
    /// What is said next, whatever the orchestrator has to say.
    again: VecDeque<Effect>,
}

impl Port {
    pub(super) fn new(plan: &Plan, mutant: Option<Mutant>) -> Result<Self, String> {
        let slot = |kind: &u8| Slot::new(SlotKind::new(*kind).unwrap_or_default());
        let slots = plan.slots.iter().map(slot).collect();
        let policy = Choice::new(plan.rules, mutant);
        let seats = vec![Seat::FREE; plan.seats];
        let core = Orchestrator::new(plan.config, policy, seats, slots);
        Ok(Self {
            core: core.map_err(|error| error.to_string())?,
            mutant,
            again: VecDeque::new(),
        })
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(super) fn next(&mut self, now: Time) -> Option<Effect> {
        if let Some(again) = self.again.pop_front() {
            return Some(again);
        }
        let effect = self.core.next(now)?;
        let Some(mutant) = self.mutant else {
            return Some(effect);
        };
        match (mutant, effect) {
            (Mutant::BindTwice, Effect::Bind { .. })
            | (Mutant::StuckTwice, Effect::Stuck { .. })
            | (Mutant::GoneTwice, Effect::Gone { .. }) => self.again.push_back(effect),
            (Mutant::RunLost, Effect::Run { .. })
            | (Mutant::TimerLost, Effect::ArmTimer { .. })
            | (Mutant::ShutLost, Effect::Shut { .. })
            | (Mutant::StuckLost, Effect::Stuck { .. }) => return self.next(now),
            (Mutant::WrongSlot, Effect::Bind { seat, .. }) => {
                let slot = SlotId::new(0);
                return Some(Effect::Bind { seat, slot });
            }
            (Mutant::StuckEarly, Effect::Bind { seat, slot } | Effect::Vacate { seat, slot }) => {
                self.again.push_back(Effect::Stuck { seat, slot });
            }
            (Mutant::YieldSkipped, Effect::Yield { seat }) => {
                let report = GateReport {
                    version: u64::MAX,
                    wants: true,
                    out: Out::Nothing,
                };
                let _taken = self.core.yielded(seat, report, now);
                return self.next(now);
            }
            (Mutant::VacateSkipped, Effect::Vacate { seat, .. }) => {
                let _taken = self.core.vacated(seat, Answer::Done, None, now);
                return self.next(now);
            }
            _ => {}
        }
        Some(effect)
    }

    pub(super) fn report(
        &mut self,
        seat: SeatId,
        mut report: GateReport,
        now: Time,
    ) -> Result<(), Refused> {
        if self.is(Mutant::StaleHeard) {
            // Versions of a run stay far below.
            report.version += 1_000;
        }
        self.core.report(seat, report, now)
    }

    fn taken(&self, answer: Result<(), Refused>) -> Result<(), Refused> {
        match answer {
            Err(Refused::NotOwed) if self.is(Mutant::FoulAccepted) => Ok(()),
            answer => answer,
        }
    }

    pub(super) fn yielded(
        &mut self,
        seat: SeatId,
        report: GateReport,
        now: Time,
    ) -> Result<(), Refused> {
        let answer = self.core.yielded(seat, report, now);
        self.taken(answer)
    }

    pub(super) fn checked(
        &mut self,
        seat: SeatId,
        mut checked: Checked,
        now: Time,
    ) -> Result<(), Refused> {
        if self.is(Mutant::NotYetIsReady) {
            checked = Checked::Ready;
        }
        let answer = self.core.checked(seat, checked, now);
        self.taken(answer)
    }

    pub(super) fn bound(&mut self, seat: SeatId, answer: Answer, now: Time) -> Result<(), Refused> {
        let taken = self.core.bound(seat, answer, now);
        if self.is(Mutant::RunEarly) && taken.is_ok() && answer == Answer::Done {
            self.again.push_back(Effect::Run { seat });
        }
        self.taken(taken)
    }

    pub(super) fn vacated(
        &mut self,
        seat: SeatId,
        answer: Answer,
        now: Time,
    ) -> Result<(), Refused> {
        let taken = self.core.vacated(seat, answer, None, now);
        self.taken(taken)
    }

    pub(super) fn ready(&mut self, seat: SeatId, now: Time) -> Result<(), Refused> {
        match self.is(Mutant::ReadyLost) {
            true => self.core.view(seat, now).map(drop),
            false => self.core.ready(seat, now),
        }
    }

    pub(super) fn lost(&mut self, seat: SeatId, now: Time) -> Result<(), Refused> {
        match self.is(Mutant::LossLost) {
            true => self.core.view(seat, now).map(drop),
            false => self.core.lost(seat, now),
        }
    }

    pub(super) fn repaired(&mut self, slot: SlotId, now: Time) -> Result<(), Refused> {
        match self.is(Mutant::RepairLost) {
            true => Ok(()),
            false => self.core.repaired(slot, now),
        }
    }

    pub(super) fn group(&mut self, seats: &[SeatId]) -> Result<(), GroupError> {
        match self.is(Mutant::GroupLost) && seats.len() > 1 {
            true => Ok(()),
            false => self.core.group(seats),
        }
    }
}
