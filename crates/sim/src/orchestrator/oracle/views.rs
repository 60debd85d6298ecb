// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Whether what there is to see of an orchestrator is what the history says.

use ringfence_core::Time;
use ringfence_orchestrator_core::{SeatView, SlotId, Whereabouts};

use super::{rule, Member, Oracle, Stage, Verdict};
use crate::orchestrator::port::Core;

impl Oracle {
    /// Looks at everything after a step.
    pub(in crate::orchestrator) fn look(&mut self, core: &Core) -> Verdict {
        core.check_invariants()
            .map_err(|broken| broken.to_string())?;
        let now = Time::from_ns(self.now);
        rule(core.len() == self.members.len(), || {
            format!("there are {} seats, not {}", core.len(), self.members.len())
        })?;
        rule(core.capacity() == self.capacity, || {
            "room for other seats".into()
        })?;
        let views: Vec<SeatView> = (self.members.iter())
            .map(|member| core.view(member.id, now).map_err(|_| member))
            .collect::<Result<_, _>>()
            .map_err(|member| format!("{member:?} is not known"))?;
        self.follow(core)?;
        self.take_out();
        for (at, view) in views.iter().enumerate() {
            self.compare(at, view)
                .map_err(|what| format!("{what}: {view:?}, {:?}", self.members[at]))?;
            self.members[at].seen = view.whereabouts;
        }
        Ok(())
    }

    /// Notes which slots are given to whom, and who has lost one silently.
    fn follow(&mut self, core: &Core) -> Verdict {
        let mut taken = vec![false; self.slots.len()];
        for at in 0..self.members.len() {
            let id = self.members[at].id;
            let given = core.slot_of(id).map(SlotId::number);
            if let Some(slot) = given {
                let slot = usize::from(slot);
                rule(!core::mem::replace(&mut taken[slot], true), || {
                    format!("slot {slot} is given twice")
                })?;
                rule(core.seat_on(SlotId::new(slot as u16)) == Some(id), || {
                    format!("slot {slot} does not know whose it is")
                })?;
            }
            self.members[at].given = given;
        }
        for at in 0..self.members.len() {
            let member = &self.members[at];
            let Some(slot) = member.stage.slot() else {
                continue;
            };
            if member.given == Some(slot) {
                continue;
            }
            rule(member.given.is_none(), || {
                format!("{member:?} has changed slots")
            })?;
            let off = match member.stage {
                // Nobody was bound; another member was not ready, or has gone.
                Stage::Passed(_) => true,
                Stage::Bound(_) | Stage::Yielded(_) => member.lost && !self.is_open(member.unit),
                _ => false,
            };
            rule(off, || format!("{member:?} has no slot any more"))?;
            let member = &mut self.members[at];
            (member.stage, member.lost) = (Stage::Off, false);
        }
        Ok(())
    }

    /// Whether a gate of a unit is open, or may be.
    fn is_open(&self, unit: usize) -> bool {
        self.of(unit)
            .any(|member| matches!(member.stage, Stage::Open(_) | Stage::Yielding(_)))
    }

    /// Who is to be removed leaves its unit when that is off its slots.
    fn take_out(&mut self) {
        for at in 0..self.members.len() {
            let member = &self.members[at];
            let unit = member.unit;
            let off = member.removing && member.stage == Stage::Off && self.of(unit).count() > 1;
            if off && self.at_rest(unit) {
                let alone = self.units.len();
                self.units.push(super::Unit::default());
                self.members[at].unit = alone;
            }
        }
        for at in 0..self.members.len() {
            let unit = self.members[at].unit;
            let waits = self.rests_as(unit) == Some(Rest::Waits);
            let since = self.units[unit].since.filter(|_| waits);
            self.units[unit].since = since.or(waits.then_some(self.now));
        }
    }

    /// How a unit stands that is on no slot.
    fn rests_as(&self, unit: usize) -> Option<Rest> {
        if !self.at_rest(unit) {
            return None;
        }
        let mut all = self.of(unit);
        Some(if all.clone().any(|member| member.stage != Stage::Off) {
            Rest::Lost
        } else if all.any(|member| member.not_ready) {
            Rest::Blocked
        } else if self.wants(unit) {
            Rest::Waits
        } else {
            Rest::Off
        })
    }

    fn compare(&self, at: usize, view: &SeatView) -> Verdict {
        let member = &self.members[at];
        let unit = member.unit;
        rule(view.wants == member.wants, || "wants".into())?;
        rule(usize::from(view.members) == self.of(unit).count(), || {
            "members".into()
        })?;
        rule(view.group == self.leader(unit).id, || "group".into())?;
        rule(view.priority == self.priority(unit), || "priority".into())?;
        rule(view.weight == self.weight(unit), || "weight".into())?;
        rule(view.stats.stays == member.stays, || "stays".into())?;
        let busy = view.stats.busy.as_nanos() as u64;
        let counted = self.tidy && member.founder;
        rule(!counted || busy == member.busy, || "busy".into())?;
        self.compare_place(member, view.whereabouts)
    }

    fn compare_place(&self, member: &Member, seen: Whereabouts) -> Verdict {
        let unit = member.unit;
        let fits = match (self.rests_as(unit), seen) {
            (Some(Rest::Off), Whereabouts::Off)
            | (Some(Rest::Blocked), Whereabouts::Blocked)
            | (Some(Rest::Lost), Whereabouts::Lost) => true,
            (Some(Rest::Waits), Whereabouts::Waiting(since)) => {
                self.units[unit].since == Some(since.as_ns())
            }
            (Some(_), _) => false,
            (None, _) => self.is_between(member, seen),
        };
        rule(fits, || {
            format!(
                "rests as {:?} since {:?}",
                self.rests_as(unit),
                self.units[unit].since
            )
        })
    }

    /// Whether a seat of a unit that is not at rest may be seen there.
    fn is_between(&self, member: &Member, seen: Whereabouts) -> bool {
        let given = |slot: SlotId| member.given == Some(slot.number());
        let all_on = self.of(member.unit).all(|other| other.stage.is_on());
        let leaves = self.must_leave(member.unit);
        match (member.stage, seen) {
            (Stage::Off, Whereabouts::Off) => member.given.is_none(),
            (Stage::Off | Stage::Asked(_) | Stage::Passed(_), Whereabouts::Coming(slot))
            | (Stage::Binding(_), Whereabouts::Coming(slot))
            | (Stage::Yielding(_) | Stage::Yielded(_), Whereabouts::Leaving(slot))
            | (Stage::Vacating(_), Whereabouts::Leaving(slot)) => given(slot),
            (Stage::Bound(_), Whereabouts::Coming(slot)) => given(slot) && !all_on,
            (Stage::Bound(_) | Stage::Open(_), Whereabouts::Resident(slot)) => {
                given(slot) && all_on && !leaves
            }
            (Stage::Bound(_) | Stage::Open(_), Whereabouts::Leaving(slot)) => given(slot),
            (Stage::Broken(_), Whereabouts::Off) => true,
            _ => false,
        }
    }
}

/// How a unit stands that is on no slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rest {
    Off,
    Waits,
    Blocked,
    Lost,
}
