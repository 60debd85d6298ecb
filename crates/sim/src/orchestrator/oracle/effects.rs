// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Whether an effect may come now.

use ringfence_orchestrator_core::{Effect, Out, Preemption, SeatId, SlotId};

use super::{bits, rule, Member, Oracle, Stage, Verdict};
use crate::orchestrator::seen::Seen;

impl Oracle {
    /// The host is given an effect.
    pub(in crate::orchestrator) fn effect(&mut self, effect: &Effect) -> Verdict {
        let wrong = |what: String| format!("{effect:?}: {what}");
        match *effect {
            Effect::Check { seat, slot } => self.check(seat, slot),
            Effect::Bind { seat, slot } => self.bind(seat, slot),
            Effect::Run { seat } => self.run(seat),
            Effect::Yield { seat } => self.yields(seat),
            Effect::Shut { seat } => self.shut(seat),
            Effect::Vacate { seat, slot } => self.vacate(seat, slot),
            Effect::Stuck { seat, slot } => self.stuck(seat, slot),
            Effect::Gone { seat, .. } => self.goes(seat),
            Effect::ArmTimer { at } => {
                self.timer = Some(at.as_ns());
                self.see(Seen::ArmTimer);
                Ok(())
            }
        }
        .map_err(wrong)
    }

    fn told(&self, seat: SeatId) -> Result<usize, String> {
        self.find(seat)
            .ok_or_else(|| "there is no such seat".into())
    }

    /// As `told`, of something that happens to who is on no slot. If the device has let go of all of a unit
    /// that was bound, and others were not asked for any more, nothing was said of that.
    fn told_anew(&mut self, seat: SeatId) -> Result<usize, String> {
        let at = self.told(seat)?;
        let unit = self.members[at].unit;
        let is_off = |member: &Member| match member.stage {
            Stage::Off | Stage::Passed(_) => true,
            Stage::Bound(_) => member.lost,
            _ => false,
        };
        if self.must_leave(unit) && self.of(unit).all(is_off) {
            for member in self.members.iter_mut().filter(|one| one.unit == unit) {
                (member.stage, member.lost) = (Stage::Off, false);
            }
        }
        Ok(at)
    }

    /// The slot is one for the seat, and nobody else is on it.
    fn may_have(&self, at: usize, slot: SlotId) -> Verdict {
        let member = &self.members[at];
        let number = slot.number();
        rule(usize::from(number) < self.slots.len(), || {
            "there is no such slot".into()
        })?;
        rule(bits(&member.config) & self.kind_bit(number) != 0, || {
            "the seat may not be on such a slot".into()
        })?;
        let other = self.on(number).filter(|other| other.id != member.id);
        rule(other.is_none(), || format!("{other:?} is on it"))
    }

    fn asks(&mut self, at: usize, stage: Stage) {
        self.tickets += 1;
        let member = &mut self.members[at];
        member.stage = stage;
        member.ticket = self.tickets;
        member.asked_at = self.now;
        member.told_stuck = false;
    }

    /// Its context is on no slot, and its gate was left as it was.
    fn shut(&mut self, seat: SeatId) -> Verdict {
        let at = self.told(seat)?;
        let member = &mut self.members[at];
        rule(member.stage == Stage::Off && member.ajar, || {
            format!("it is {:?}, ajar: {}", member.stage, member.ajar)
        })?;
        member.ajar = false;
        self.see(Seen::Shut);
        Ok(())
    }

    fn check(&mut self, seat: SeatId, slot: SlotId) -> Verdict {
        let at = self.told_anew(seat)?;
        self.may_have(at, slot)?;
        let member = &self.members[at];
        rule(!member.ajar, || "its gate was not shut".into())?;
        rule(member.config.checked, || "nobody is to be asked".into())?;
        rule(member.stage == Stage::Off, || {
            format!("it is {:?}", member.stage)
        })?;
        let removing = self.of(member.unit).any(|other| other.removing);
        rule(!removing, || "one of its group is to be removed".into())?;
        let on = self
            .of(member.unit)
            .find(|other| !matches!(other.stage, Stage::Off | Stage::Asked(_) | Stage::Passed(_)));
        rule(on.is_none(), || format!("{on:?} is further"))?;
        self.asks(at, Stage::Asked(slot.number()));
        self.see(Seen::Check);
        Ok(())
    }

    fn bind(&mut self, seat: SeatId, slot: SlotId) -> Verdict {
        let at = self.told_anew(seat)?;
        self.may_have(at, slot)?;
        let member = &self.members[at];
        let due = match member.config.checked {
            true => Stage::Passed(slot.number()),
            false => Stage::Off,
        };
        rule(member.stage == due, || format!("it is {:?}", member.stage))?;
        rule(!member.ajar, || "its gate was not shut".into())?;
        rule(!self.must_leave(member.unit), || {
            "its group cannot run anyway".into()
        })?;
        let behind = self.of(member.unit).find(|other| match other.stage {
            Stage::Off => other.config.checked,
            Stage::Passed(_) | Stage::Binding(_) | Stage::Bound(_) => false,
            _ => true,
        });
        rule(behind.is_none(), || {
            format!("{behind:?} is at another step")
        })?;
        self.asks(at, Stage::Binding(slot.number()));
        self.see(Seen::Bind);
        Ok(())
    }

    fn run(&mut self, seat: SeatId) -> Verdict {
        let at = self.told(seat)?;
        let member = &self.members[at];
        let Stage::Bound(slot) = member.stage else {
            return Err(format!("it is {:?}", member.stage));
        };
        let unit = member.unit;
        rule(!self.must_leave(unit), || "its group must leave".into())?;
        let off = self.of(unit).find(|other| !other.stage.is_on());
        rule(off.is_none(), || format!("{off:?} is not bound"))?;
        if self.of(unit).count() > 1 {
            self.see(Seen::GroupBound);
        }
        let member = &mut self.members[at];
        member.stage = Stage::Open(slot);
        member.ajar = true;
        member.out = Out::Open;
        member.served = true;
        self.see(Seen::Run);
        Ok(())
    }

    fn yields(&mut self, seat: SeatId) -> Verdict {
        let at = self.told(seat)?;
        let Stage::Open(slot) = self.members[at].stage else {
            return Err(format!("it is {:?}", self.members[at].stage));
        };
        let unit = self.members[at].unit;
        let left = self
            .of(unit)
            .find(|other| matches!(other.stage, Stage::Off | Stage::Vacating(_)));
        rule(left.is_none(), || format!("{left:?} has left before"))?;
        self.asks(at, Stage::Yielding(slot));
        self.see(Seen::Yield);
        Ok(())
    }

    /// Whether nothing of a seat's queue stands in the way of taking it off.
    pub(super) fn is_quiet(&self, member: &Member) -> bool {
        match member.stage {
            // Its gate was never opened, or is shut.
            Stage::Off | Stage::Bound(_) | Stage::Vacating(_) | Stage::Broken(_) => true,
            Stage::Yielded(_) => match member.out {
                Out::Nothing => true,
                Out::OnHardware => member.lost || self.config.preemption == Preemption::Supported,
                Out::Inside | Out::Open => false,
            },
            _ => false,
        }
    }

    fn vacate(&mut self, seat: SeatId, slot: SlotId) -> Verdict {
        let at = self.told(seat)?;
        let member = &self.members[at];
        rule(member.stage.slot() == Some(slot.number()), || {
            format!("it is {:?}", member.stage)
        })?;
        rule(
            matches!(member.stage, Stage::Bound(_) | Stage::Yielded(_)),
            || format!("it is {:?}", member.stage),
        )?;
        let loud = self.of(member.unit).find(|other| !self.is_quiet(other));
        rule(loud.is_none(), || format!("{loud:?} is not quiet"))?;
        if member.out == Out::OnHardware && member.lost {
            self.see(Seen::LostOnHardware);
        }
        self.asks(at, Stage::Vacating(slot.number()));
        self.members[at].ajar = false;
        self.see(Seen::Vacate);
        Ok(())
    }

    fn stuck(&mut self, seat: SeatId, slot: SlotId) -> Verdict {
        let at = self.told(seat)?;
        let (now, patience) = (self.now, self.config.patience);
        let member = &mut self.members[at];
        rule(member.stage.slot() == Some(slot.number()), || {
            format!("it is {:?}", member.stage)
        })?;
        rule(
            matches!(member.stage, Stage::Binding(_) | Stage::Vacating(_)),
            || format!("it is {:?}", member.stage),
        )?;
        let patience = patience.ok_or("the host has all the time")?;
        rule(member.asked_at + patience.as_nanos() as u64 <= now, || {
            "it is not overdue".into()
        })?;
        rule(!member.told_stuck, || "the host knows".into())?;
        member.told_stuck = true;
        self.see(Seen::Stuck);
        Ok(())
    }

    fn goes(&mut self, seat: SeatId) -> Verdict {
        let at = self.told_anew(seat)?;
        let member = &self.members[at];
        rule(member.removing, || "nobody has removed it".into())?;
        rule(!member.ajar, || "its gate was not shut".into())?;
        rule(
            matches!(member.stage, Stage::Off | Stage::Passed(_)),
            || format!("it is {:?}", member.stage),
        )?;
        self.members.remove(at);
        self.gone.push(seat);
        self.see(Seen::Gone);
        Ok(())
    }
}
