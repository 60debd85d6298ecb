// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The orchestrator's host: does what it asks for, and answers.

use ringfence_core::{Context, Gate};
use ringfence_orchestrator_core::{Answer, Checked, Effect, GateReport, Out, SeatId, SlotId};

use super::canary::SlotCanary;
use super::device::Place;
use super::seen::Sight;
use super::visits::report_of;
use super::world::{Happening, Todo, Verdict, World};

/// What a queue would say that says nothing any more.
fn last_word(seen: u64) -> GateReport {
    GateReport {
        version: seen + 1,
        wants: false,
        out: Out::Nothing,
    }
}

impl World {
    /// Does what the orchestrator has asked for.
    pub(super) fn act(&mut self, effect: Effect) -> Verdict {
        match effect {
            Effect::Check { seat, .. } => self.ask_driver(seat),
            Effect::Bind { seat, slot } => self.bind(seat, slot),
            Effect::Run { seat } => self.open(seat),
            Effect::Yield { seat } => self.yields(seat),
            Effect::Shut { seat } => self.shut(seat),
            Effect::Vacate { seat, slot } => self.vacate(seat, slot),
            Effect::Stuck { seat, .. } => self.stuck(seat),
            Effect::Gone { seat, .. } => self.gone(seat),
            Effect::ArmTimer { at } => {
                self.timer = Some(at.as_ns());
                self.at(at.as_ns(), Happening::Timer);
                Ok(())
            }
        }
    }

    /// The orchestrator was told something, and may not refuse it.
    pub(super) fn heard<E: std::fmt::Display>(
        &mut self,
        queue: usize,
        answer: Result<(), E>,
    ) -> Verdict {
        self.told = true;
        answer.map_err(|error| format!("an answer about queue {queue} was refused: {error}"))
    }

    fn ask_driver(&mut self, seat: SeatId) -> Verdict {
        let queue = self.queue_of(seat)?;
        let time = self.time();
        let checked = match self.happens(self.rates.not_yet) {
            true => Checked::NotYet,
            false => Checked::Ready,
        };
        if checked == Checked::NotYet {
            self.see(Sight::NotYet);
            let span = self.span(2_000_000);
            self.after(span, Happening::Ready(queue));
        }
        let answer = self.orchestrator.checked(seat, checked, time);
        self.heard(queue, answer)
    }

    pub(super) fn ready(&mut self, queue: usize) -> Verdict {
        let (Some(seat), time) = (self.lines[queue].seat, self.time()) else {
            return Ok(());
        };
        if self.plant.is(SlotCanary::ReadyNotTold) {
            return Ok(());
        }
        let answer = self.orchestrator.ready(seat, time);
        self.heard(queue, answer)
    }

    fn bind(&mut self, seat: SeatId, slot: SlotId) -> Verdict {
        let queue = self.queue_of(seat)?;
        let number = usize::from(slot.number());
        self.note(queue, number as u64, "bind");
        let (there, kind) = (
            self.device.slots[number],
            self.orchestrator.slots()[number].kind(),
        );
        if there != Place::Free {
            return Err(format!(
                "queue {queue} is bound to slot {number}: {there:?}"
            ));
        }
        if !self.lines[queue].setup.kinds.contains(kind) {
            return Err(format!("queue {queue} is bound to a slot of kind {kind:?}"));
        }
        if let Some(other) = self.device.contexts[queue].slot {
            return Err(format!(
                "queue {queue} is bound to {number}, and is on {other}"
            ));
        }
        if self.lines[queue].gate() != Gate::Shut {
            return Err(format!("queue {queue} is bound, and its gate is not shut"));
        }
        self.lines[queue].lost = false;
        self.device.slots[number] = Place::Coming(queue);
        let executed = self.device.executed(queue, self.now);
        let context = &mut self.device.contexts[queue];
        context.slot = Some(number);
        context.executed_before = executed;
        context.request += 1;
        let request = context.request;
        if self.plant.is(SlotCanary::GateOpensEarly) {
            self.set_gate(queue, Gate::Open)?;
        }
        if self.device.resetting || self.happens(self.rates.silent) {
            // The end of the reset answers.
            self.see(Sight::BindSilent);
            return Ok(());
        }
        match self.setup.bind_ns {
            0 => self.bound(queue, request),
            span => {
                self.after(span, Happening::Bound(queue, request));
                Ok(())
            }
        }
    }

    /// The device answers that a context is on its slot, or cannot be.
    pub(super) fn bound(&mut self, queue: usize, request: u64) -> Verdict {
        if self.device.contexts[queue].request != request || self.device.resetting {
            return Ok(());
        }
        if self.happens(self.rates.bind_fails) {
            self.see(Sight::BindFailed);
            let span = self.span(1_000_000);
            self.after(span, Happening::Ready(queue));
            return self.answer_bind(queue, Answer::Failed);
        }
        if self.happens(self.rates.breaks) {
            self.see(Sight::BindBroke);
            return self.answer_bind(queue, Answer::Broken);
        }
        self.answer_bind(queue, Answer::Done)
    }

    pub(super) fn answer_bind(&mut self, queue: usize, answer: Answer) -> Verdict {
        let seat = self.lines[queue]
            .seat
            .ok_or("a queue without a seat was bound")?;
        let slot = self.device.contexts[queue].slot.ok_or("bound to no slot")?;
        match answer {
            Answer::Done => {
                self.device.slots[slot] = Place::On(queue);
                self.see(Sight::Bound);
            }
            Answer::Failed => _ = self.device.leave(queue, Place::Free, self.now),
            Answer::Broken => self.break_slot(queue, slot),
        }
        if self.lines[queue].group.len() > 1 {
            self.see(Sight::BoundGroup);
            if answer == Answer::Done && self.plant.is(SlotCanary::GroupOpenedOneByOne) {
                self.device.contexts[queue].started = true;
                self.set_gate(queue, Gate::Open)?;
            }
        }
        let time = self.time();
        let answer = self.orchestrator.bound(seat, answer, time);
        self.heard(queue, answer)
    }

    fn break_slot(&mut self, queue: usize, slot: usize) {
        self.device.leave(queue, Place::Broken, self.now);
        let span = self.span(3_000_000);
        self.trouble_ns += span;
        self.after(span, Happening::Repaired(slot));
    }

    pub(super) fn repaired(&mut self, slot: usize) -> Verdict {
        self.device.slots[slot] = Place::Free;
        if self.plant.is(SlotCanary::RepairNotTold) {
            return Ok(());
        }
        let time = self.time();
        let answer = self.orchestrator.repaired(SlotId::new(slot as u16), time);
        self.heard(usize::MAX, answer)
    }

    fn open(&mut self, seat: SeatId) -> Verdict {
        let queue = self.queue_of(seat)?;
        if self.lines[queue].lost {
            // It is about to be told to leave.
            return Ok(());
        }
        if !self.whole_group_is_resident(queue) {
            return Err(format!(
                "queue {queue} is to run before all of its group are on slots"
            ));
        }
        self.device.contexts[queue].started = true;
        self.execute(queue);
        self.set_gate(queue, Gate::Open).map(|_| ())
    }

    fn yields(&mut self, seat: SeatId) -> Verdict {
        let queue = self.queue_of(seat)?;
        let seen = self.set_gate(queue, Gate::Yield)?;
        let now = self.now;
        let line = &mut self.lines[queue];
        line.yields_since = now;
        let report = line.core.gate_report().ok_or("a queue without a gate")?;
        self.see(match (report.out, report.wants) {
            (ringfence_core::Out::Inside, _) => Sight::YieldInside,
            (_, false) => Sight::YieldIdle,
            (_, true) => Sight::YieldBusy,
        });
        if self.lines[queue].closed {
            return self.answer_yield(queue, seat, last_word(seen));
        }
        // What was told last answers if nothing has changed; else the next report does.
        self.lines[queue].yields = Some(seen);
        match report.version > seen {
            true => Ok(()),
            false => self.answer_yield(queue, seat, report_of(report)),
        }
    }

    /// The gate of a queue has yielded, and this is what it has said since.
    pub(super) fn answer_yield(
        &mut self,
        queue: usize,
        seat: SeatId,
        mut report: GateReport,
    ) -> Verdict {
        self.lines[queue].yields = None;
        if self.plant.is(SlotCanary::YieldNotWaitedFor) {
            report.out = Out::Nothing;
        }
        let time = self.time();
        let answer = self.orchestrator.yielded(seat, report, time);
        self.heard(queue, answer)
    }

    /// The clock of one that is off its slot stands still.
    fn shut(&mut self, seat: SeatId) -> Verdict {
        let queue = self.queue_of(seat)?;
        self.set_gate(queue, Gate::Shut)?;
        Ok(())
    }

    fn vacate(&mut self, seat: SeatId, slot: SlotId) -> Verdict {
        let queue = self.queue_of(seat)?;
        let number = usize::from(slot.number());
        self.note(queue, number as u64, "vacate");
        let line = &self.lines[queue];
        if line.out.is_some() {
            return Err(format!("queue {queue} is vacated with a callback out"));
        }
        let context = &self.device.contexts[queue];
        let jobs = context.ring.len();
        // What was replayed off its slot has not begun, where its group was not complete.
        if self.to_completion() && jobs != 0 && context.started && !line.lost {
            return Err(format!(
                "queue {queue} is vacated with {jobs} jobs on the hardware"
            ));
        }
        if !self.plant.is(SlotCanary::GateNotShut) {
            self.set_gate(queue, Gate::Shut)?;
        }
        if self.device.place(queue) != Some(Place::On(queue)) && !self.lines[queue].lost {
            return Err(format!(
                "queue {queue} is vacated from {number}, where it is not"
            ));
        }
        if self.lines[queue].lost {
            return self.answer_vacate(queue, Answer::Done);
        }
        if jobs != 0 {
            self.see(Sight::Preempted);
        }
        self.device.slots[number] = Place::Leaving(queue);
        let context = &mut self.device.contexts[queue];
        context.request += 1;
        let request = context.request;
        if self.plant.is(SlotCanary::VacatedTooEarly) {
            let time = self.time();
            self.after(self.setup.vacate_ns, Happening::Vacated(queue, request));
            let answer = self.orchestrator.vacated(seat, Answer::Done, None, time);
            return self.heard(queue, answer);
        }
        if self.device.resetting || self.happens(self.rates.silent) {
            self.see(Sight::VacateSilent);
            return Ok(());
        }
        match self.setup.vacate_ns {
            0 => self.vacated(queue, request),
            span => {
                self.after(span, Happening::Vacated(queue, request));
                Ok(())
            }
        }
    }

    /// The device answers that a context is off its slot.
    pub(super) fn vacated(&mut self, queue: usize, request: u64) -> Verdict {
        if self.device.contexts[queue].request != request || self.device.resetting {
            return Ok(());
        }
        if self.plant.is(SlotCanary::VacatedTooEarly) {
            self.device.leave(queue, Place::Free, self.now);
            return Ok(());
        }
        if self.happens(self.rates.breaks) {
            self.see(Sight::VacateBroke);
            return self.answer_vacate(queue, Answer::Broken);
        }
        self.answer_vacate(queue, Answer::Done)
    }

    pub(super) fn answer_vacate(&mut self, queue: usize, answer: Answer) -> Verdict {
        let line = &self.lines[queue];
        let seat = line.seat.ok_or("a queue without a seat was vacated")?;
        let mut time = self.time();
        if self.plant.is(SlotCanary::DrainIsFree) {
            time = ringfence_core::Time::from_ns(line.yields_since);
        }
        let executed = match (answer, self.device.contexts[queue].slot) {
            (Answer::Broken, Some(slot)) => {
                self.break_slot(queue, slot);
                None
            }
            _ => Some(self.device.leave(queue, Place::Free, self.now)),
        };
        let measured = executed.map(std::time::Duration::from_nanos);
        let answer = self.orchestrator.vacated(seat, answer, measured, time);
        self.heard(queue, answer)
    }

    fn stuck(&mut self, seat: SeatId) -> Verdict {
        let queue = self.queue_of(seat)?;
        self.note(queue, 0, "stuck");
        self.see(Sight::Stuck);
        if !self.plant.is(SlotCanary::StuckIgnored) {
            self.trouble_ns += self.setup.patience_ns;
            self.begin_reset();
        }
        Ok(())
    }

    /// A queue takes no more jobs and has none.
    pub(super) fn closed(&mut self, queue: usize) -> Verdict {
        let line = &mut self.lines[queue];
        if std::mem::replace(&mut line.closed, true) {
            return Err(format!("queue {queue} says twice that it is closed"));
        }
        if !line.facts.is_empty() {
            return Err(format!("queue {queue} is closed and has jobs"));
        }
        line.moves = None;
        line.interrupted = true;
        if let (Some(seen), Some(seat)) = (line.yields, line.seat) {
            self.answer_yield(queue, seat, last_word(seen))?;
        }
        self.keep_stats(queue);
        self.remove(queue)
    }

    /// A queue's seat is to go.
    pub(super) fn remove(&mut self, queue: usize) -> Verdict {
        let (Some(seat), time) = (self.lines[queue].seat, self.time()) else {
            return Ok(());
        };
        self.lines[queue].removing = true;
        // It may be on its way already.
        let _on_its_way = self.orchestrator.remove(seat, time);
        self.told = true;
        Ok(())
    }

    fn gone(&mut self, seat: SeatId) -> Verdict {
        let queue = self.queue_of(seat)?;
        self.note(queue, 0, "gone");
        if let Some(slot) = self.device.contexts[queue].slot {
            return Err(format!("queue {queue} has gone, and is on slot {slot}"));
        }
        if self.lines[queue].gate() != Gate::Shut {
            return Err(format!("queue {queue} has gone, and its gate is not shut"));
        }
        // Its place may be another's already, who came before this was acted on.
        self.seats[seat.place()].take_if(|there| *there == queue);
        if self.lines[queue].closed {
            for member in std::mem::take(&mut self.lines[queue].group) {
                self.lines[member].group.retain(|other| *other != queue);
            }
        }
        let line = &mut self.lines[queue];
        line.seat = None;
        line.version = 0;
        line.yields = None;
        line.removing = false;
        if let Some(kinds) = line.moves.take() {
            line.setup.kinds = kinds;
            self.seat(queue)?;
            let line = &self.lines[queue];
            let report = line.core.gate_report().ok_or("a queue without a gate")?;
            let seat = line.seat.ok_or("a seat that was just given")?;
            // What it is about to say it says itself.
            if report.version == line.said {
                self.report(queue, seat, report_of(report))?;
            }
            self.todo.push_back(Todo::Visit(queue, Context::Task));
        }
        Ok(())
    }
}
