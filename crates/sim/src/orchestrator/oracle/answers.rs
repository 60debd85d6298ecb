// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the host has told the orchestrator: what is to be expected of it, and what it changes.

use ringfence_orchestrator_core::{
    Answer, GateReport, GroupError, Out, SeatConfig, SeatId, Whereabouts,
};

use super::{bits, fit, Member, Oracle, Stage, Unit};
use crate::orchestrator::op::Question;
use crate::orchestrator::seen::Seen;

impl Oracle {
    /// A seat has been made.
    pub(in crate::orchestrator) fn add(&mut self, id: SeatId, config: SeatConfig) {
        let unit = self.units.len();
        self.units.push(Unit::default());
        self.members.push(Member {
            id,
            unit,
            rank: 0,
            config,
            stage: Stage::Off,
            given: None,
            seen: Whereabouts::Off,
            wants: false,
            version: 0,
            out: Out::Nothing,
            not_ready: false,
            removing: false,
            lost: false,
            ajar: false,
            asked_at: 0,
            told_stuck: false,
            stays: 0,
            ticket: 0,
            busy: 0,
            founder: self.now == 0,
            served: false,
        });
    }

    /// What keeps seats from being a group; nothing if they can be.
    pub(in crate::orchestrator) fn against_group(&self, seats: &[SeatId]) -> Vec<GroupError> {
        let mut against = Vec::new();
        let mut kinds = Vec::new();
        for (place, id) in seats.iter().enumerate() {
            let found = self.find(*id).map(|at| &self.members[at]);
            let Some(member) = found.filter(|member| !member.removing) else {
                against.push(GroupError::Unknown);
                continue;
            };
            if self.of(member.unit).count() > 1 || seats[..place].contains(id) {
                against.push(GroupError::Taken);
            }
            if member.wants || member.not_ready || member.given.is_some() {
                against.push(GroupError::InUse);
            }
            kinds.push(bits(&member.config));
        }
        if kinds.len() > self.slots.len() || !fit(&kinds, &mut self.slots.clone()) {
            against.push(GroupError::TooMany);
        }
        against
    }

    /// They are a group.
    pub(in crate::orchestrator) fn group(&mut self, seats: &[SeatId]) {
        let unit = self.units.len();
        self.units.push(Unit::default());
        for (rank, id) in seats.iter().enumerate() {
            if let Some(at) = self.find(*id) {
                (self.members[at].unit, self.members[at].rank) = (unit, rank);
            }
        }
        if seats.len() > 1 {
            self.see(Seen::Grouped);
        }
    }

    pub(in crate::orchestrator) fn remove(&mut self, at: usize) {
        let (unit, stage) = (self.members[at].unit, self.members[at].stage);
        if self.of(unit).count() > 1 && self.leader(unit).id == self.members[at].id {
            self.see(Seen::LeaderRemoved);
        }
        match stage {
            Stage::Binding(_) => self.see(Seen::RemovedBinding),
            Stage::Open(_) => self.see(Seen::RemovedRunning),
            Stage::Yielding(_) => self.see(Seen::RemovedYielding),
            Stage::Broken(_) => self.see(Seen::RemovedBroken),
            _ => {}
        }
        self.set_wants(at, false);
        let member = &mut self.members[at];
        member.removing = true;
        member.not_ready = false;
        // What is left of the unit waits anew.
        self.units[unit].since = None;
    }

    fn set_wants(&mut self, at: usize, wants: bool) {
        let unit = self.members[at].unit;
        let had = self.wants(unit);
        self.members[at].wants = wants;
        // Nobody who has been on a slot, and slept.
        let fresh = self.now == 0 && self.members[at].given.is_none();
        self.members[at].founder &= wants || fresh;
        if had || !wants {
            return;
        }
        let stage = self.members[at].stage;
        if self.of(unit).all(|member| member.stage.is_on()) {
            self.units[unit].turn = self.now;
            self.see(Seen::WokeOnSlot);
        } else if matches!(stage, Stage::Yielding(_) | Stage::Yielded(_)) {
            self.see(Seen::WokeYielding);
        }
    }

    pub(in crate::orchestrator) fn report(&mut self, at: usize, report: GateReport) {
        if report.version <= self.members[at].version {
            self.see(Seen::ReportIgnored);
            return;
        }
        let wants = report.wants && !self.members[at].removing;
        self.set_wants(at, wants);
        self.members[at].version = report.version;
        self.members[at].out = report.out;
    }

    /// Whether an answer is owed.
    pub(in crate::orchestrator) fn owes(&self, at: usize, question: Question) -> bool {
        self.members[at].stage.question() == Some(question)
    }

    pub(in crate::orchestrator) fn checked(&mut self, at: usize, ready: bool) {
        let member = &mut self.members[at];
        if let Stage::Asked(slot) = member.stage {
            member.stage = Stage::Passed(slot);
            member.not_ready |= !ready && !member.removing;
        }
        if !ready {
            self.see(Seen::NotYet);
        }
    }

    pub(in crate::orchestrator) fn bound(&mut self, at: usize, answer: Answer) {
        let now = self.now;
        let member = &mut self.members[at];
        let Stage::Binding(slot) = member.stage else {
            return;
        };
        let unit = member.unit;
        match answer {
            Answer::Done => {
                member.stage = Stage::Bound(slot);
                member.stays += 1;
                self.units[unit].turn = now;
                self.units[unit].came = now;
            }
            Answer::Failed => {
                member.stage = Stage::Off;
                member.not_ready = !member.removing;
                self.see(Seen::BindFailed);
            }
            Answer::Broken => {
                member.stage = Stage::Broken(slot);
                self.see(Seen::BindBroken);
            }
        }
    }

    pub(in crate::orchestrator) fn yielded(&mut self, at: usize, report: GateReport) {
        if let Stage::Yielding(slot) = self.members[at].stage {
            self.members[at].stage = Stage::Yielded(slot);
        }
        if report.version <= self.members[at].version {
            self.see(Seen::ReportRaced);
        }
        self.report(at, report);
    }

    pub(in crate::orchestrator) fn vacated(&mut self, at: usize, answer: Answer) {
        let member = &mut self.members[at];
        let Stage::Vacating(slot) = member.stage else {
            return;
        };
        member.lost = false;
        member.stage = Stage::Off;
        match answer {
            Answer::Done => {}
            Answer::Failed => self.see(Seen::VacateFailed),
            Answer::Broken => {
                member.stage = Stage::Broken(slot);
                self.see(Seen::VacateBroken);
            }
        }
    }

    pub(in crate::orchestrator) fn lost(&mut self, at: usize) {
        let member = &mut self.members[at];
        let on =
            member.stage.is_on() || matches!(member.stage, Stage::Yielding(_) | Stage::Yielded(_));
        if !on {
            return;
        }
        member.lost = true;
        let unit = member.unit;
        self.see(Seen::Lost);
        if self.of(unit).count() > 1 {
            self.see(Seen::LostInGroup);
        }
    }

    pub(in crate::orchestrator) fn repaired(&mut self, slot: u16) {
        for member in &mut self.members {
            if member.stage == Stage::Broken(slot) {
                member.stage = Stage::Off;
            }
        }
        self.see(Seen::Repaired);
    }
}
