// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A host, its queues, its driver, its device and its clock, in one thread: plays operations.

mod members;

use std::time::Duration;

use ringfence_core::Time;
use ringfence_orchestrator_core::{Answer, Checked, GateReport, Out, Refused, SeatId, SlotId};

use super::mutant::Mutant;
use super::op::{Op, Question, Reply, Who};
use super::oracle::{rule, Oracle, Stage, Verdict};
use super::plan::{seat_config, Plan};
use super::port::Port;
use super::seen::Seen;

pub(super) struct World {
    pub(super) port: Port,
    pub(super) oracle: Oracle,
}

impl World {
    pub(super) fn new(plan: &Plan, mutant: Option<Mutant>) -> Result<Self, String> {
        Ok(Self {
            port: Port::new(plan, mutant)?,
            oracle: Oracle::new(plan),
        })
    }

    pub(super) fn now(&self) -> Time {
        Time::from_ns(self.oracle.now)
    }

    /// Plays an operation and looks at everything.
    pub(super) fn play(&mut self, op: &Op) -> Verdict {
        self.act(op)?;
        self.oracle.look(&self.port.core)?;
        match self.oracle.punctual {
            true => self.settle(),
            false => Ok(()),
        }
    }

    /// Time passes; a punctual host does on the way what is to be done.
    fn pass(&mut self, until: u64) -> Verdict {
        while self.oracle.punctual && self.oracle.timer.is_some_and(|at| at <= until) {
            self.fire(true);
            self.settle()?;
        }
        self.oracle.pass(until.max(self.oracle.now));
        Ok(())
    }

    fn act(&mut self, op: &Op) -> Verdict {
        match *op {
            Op::Add {
                priority,
                weight,
                kinds,
                checked,
                wants,
            } => {
                let config = seat_config(priority, weight, kinds, checked);
                self.add(config, wants)
            }
            Op::Group { first, step, count } => self.group(first, step, count),
            Op::Change {
                seat,
                priority,
                weight,
            } => self.change(seat, priority, weight),
            Op::Remove(who) => self.remove(who),
            Op::Report {
                seat,
                wants,
                out,
                age,
            } => self.report(seat, wants, out, age),
            Op::Take(count) => (0..count).try_for_each(|_| self.take().map(drop)),
            Op::Answer { which, reply } => {
                let owed = self.owed();
                match owed.get(usize::from(which) % owed.len().max(1)) {
                    Some(at) => self.answer(*at, reply),
                    None => Ok(()),
                }
            }
            Op::Foul { seat, question } => self.foul(seat, question),
            Op::Lost(who) => self.lose(who),
            Op::Ready(who) => self.ready(who),
            Op::Repaired(slot) => {
                self.repair(u16::from(slot) % (self.oracle.slots.len() as u16 + 1))
            }
            Op::Timer { due } => {
                self.fire(due);
                Ok(())
            }
            Op::Pass(us) => self.pass(self.oracle.now + u64::from(us) * 1_000),
            Op::Grow(seats) => self.grow(usize::from(seats)),
            Op::Serve(times) => (0..times).try_for_each(|_| self.serve(Reply::WELL).map(drop)),
        }
    }

    /// Takes one effect; whether there was one.
    pub(super) fn take(&mut self) -> Result<bool, String> {
        let before = self.oracle.before();
        let effect = self.port.next(self.now());
        if let Some(effect) = &effect {
            self.oracle.effect(effect)?;
        }
        self.oracle.look(&self.port.core)?;
        self.oracle.decided(&before)?;
        if effect.is_none() {
            self.oracle.rest()?;
        }
        Ok(effect.is_some())
    }

    /// Takes all effects and gives that answer to all questions; whether there was anything.
    pub(super) fn serve(&mut self, reply: Reply) -> Result<bool, String> {
        /// More than any state can have to say.
        const MOST: u32 = 1_000;
        let mut effects = 0;
        while self.take()? {
            effects += 1;
            rule(effects < MOST, || "effects without end".into())?;
        }
        let owed: Vec<SeatId> = (self.owed().iter())
            .map(|at| self.oracle.members[*at].id)
            .collect();
        for id in &owed {
            if let Some(at) = self.oracle.find(*id) {
                self.answer(at, reply)?;
                self.oracle.look(&self.port.core)?;
            }
        }
        Ok(effects != 0 || !owed.is_empty())
    }

    /// Who waits for an answer, the longest first.
    fn owed(&self) -> Vec<usize> {
        let members = &self.oracle.members;
        let mut owed: Vec<usize> = (0..members.len())
            .filter(|at| members[*at].stage.question().is_some())
            .collect();
        owed.sort_by_key(|at| members[*at].ticket);
        owed
    }

    /// Calls about a seat that is there, or checks that one that is not is not known.
    fn about(
        &mut self,
        who: Who,
        unknown: impl FnOnce(&mut Port, SeatId, Time) -> Result<(), Refused>,
    ) -> Result<Option<usize>, String> {
        match who {
            Who::There(index) => {
                let there = self.oracle.members.len();
                Ok((there != 0).then(|| usize::from(index) % there))
            }
            Who::Gone(index) => {
                let gone = &self.oracle.gone;
                let Some(id) = gone.get(usize::from(index) % gone.len().max(1)) else {
                    return Ok(None);
                };
                let (id, now) = (*id, self.now());
                let said = unknown(&mut self.port, id, now);
                self.oracle.see(Seen::Unknown);
                rule(said == Err(Refused::Unknown), || {
                    format!("{id:?} is gone: {said:?}")
                })?;
                Ok(None)
            }
        }
    }

    fn report(&mut self, who: Who, wants: bool, out: Out, age: u8) -> Verdict {
        let report = |version| GateReport {
            version,
            wants,
            out,
        };
        let gone = |port: &mut Port, id, now| port.report(id, report(u64::MAX / 2), now);
        let Some(at) = self.about(who, gone)? else {
            return Ok(());
        };
        if age == 0 {
            return self.tell(at, wants, out);
        }
        let member = &self.oracle.members[at];
        let report = report((member.version + 1).saturating_sub(u64::from(age)));
        self.say(at, report)
    }

    /// A queue makes a report, which arrives.
    pub(super) fn tell(&mut self, at: usize, wants: bool, out: Out) -> Verdict {
        let member = &self.oracle.members[at];
        let out = match member.stage {
            Stage::Open(_) | Stage::Yielding(_) => Out::Open,
            // Behind a gate that has yielded nothing new begins.
            Stage::Yielded(_) if loudness(out) > loudness(member.out) => member.out,
            _ => out,
        };
        let version = member.version + 1;
        self.say(
            at,
            GateReport {
                version,
                wants,
                out,
            },
        )
    }

    fn say(&mut self, at: usize, report: GateReport) -> Verdict {
        let (id, now) = (self.oracle.members[at].id, self.now());
        let said = self.port.report(id, report, now);
        rule(said.is_ok(), || format!("{said:?}"))?;
        self.oracle.report(at, report);
        Ok(())
    }

    /// Gives the answer that a seat waits for.
    fn answer(&mut self, at: usize, reply: Reply) -> Verdict {
        let (member, now) = (&self.oracle.members[at], self.now());
        let (id, version) = (member.id, member.version);
        let said = match member.stage.question() {
            Some(Question::Check) => {
                let ready = !reply.not_yet;
                self.oracle.checked(at, ready);
                let checked = if ready {
                    Checked::Ready
                } else {
                    Checked::NotYet
                };
                self.port.checked(id, checked, now)
            }
            Some(Question::Bind) => {
                self.oracle.bound(at, reply.answer);
                self.port.bound(id, reply.answer, now)
            }
            Some(Question::Yield) => {
                let wants = reply.wants;
                let out = reply.out;
                let report = |version, out| GateReport {
                    version,
                    wants,
                    out,
                };
                if reply.raced {
                    self.say(at, report(version + 2, out))?;
                }
                // If something else has come before, what it says of the jobs is news.
                let report = report(version + 1, out);
                self.oracle.yielded(at, report);
                self.port.yielded(id, report, now)
            }
            Some(Question::Vacate) => {
                self.oracle.vacated(at, reply.answer);
                self.port.vacated(id, reply.answer, now)
            }
            None => return Ok(()),
        };
        rule(said.is_ok(), || format!("an answer that is owed: {said:?}"))
    }

    /// Gives an answer that nobody waits for.
    fn foul(&mut self, who: Who, question: Question) -> Verdict {
        let report = GateReport {
            version: u64::MAX / 2,
            wants: true,
            out: Out::Nothing,
        };
        let give = |port: &mut Port, id, now| match question {
            Question::Check => port.checked(id, Checked::Ready, now),
            Question::Bind => port.bound(id, Answer::Done, now),
            Question::Yield => port.yielded(id, report, now),
            Question::Vacate => port.vacated(id, Answer::Done, now),
        };
        let Some(at) = self.about(who, give)? else {
            return Ok(());
        };
        if self.oracle.owes(at, question) {
            return Ok(());
        }
        let was = format!("{:?}", self.port.core);
        let (id, now) = (self.oracle.members[at].id, self.now());
        let said = give(&mut self.port, id, now);
        self.oracle.see(Seen::NotOwed);
        rule(said == Err(Refused::NotOwed), || format!("{said:?}"))?;
        let is = format!("{:?}", self.port.core);
        rule(was == is, || {
            "what was refused has changed something".into()
        })
    }

    fn lose(&mut self, who: Who) -> Verdict {
        let Some(at) = self.about(who, |port, id, now| port.lost(id, now))? else {
            return Ok(());
        };
        let said = self.port.lost(self.oracle.members[at].id, self.now());
        self.oracle.lost(at);
        rule(said.is_ok(), || format!("{said:?}"))
    }

    pub(super) fn ready(&mut self, who: Who) -> Verdict {
        let Some(at) = self.about(who, |port, id, now| port.ready(id, now))? else {
            return Ok(());
        };
        let said = self.port.ready(self.oracle.members[at].id, self.now());
        self.oracle.members[at].not_ready = false;
        rule(said.is_ok(), || format!("{said:?}"))
    }

    pub(super) fn repair(&mut self, slot: u16) -> Verdict {
        let expected = if usize::from(slot) >= self.oracle.slots.len() {
            Err(Refused::Unknown)
        } else if self.oracle.is_broken(slot) {
            Ok(())
        } else {
            Err(Refused::NotOwed)
        };
        let said = self.port.repaired(SlotId::new(slot), self.now());
        rule(said == expected, || format!("{said:?}, not {expected:?}"))?;
        if said.is_ok() {
            self.oracle.repaired(slot);
        }
        Ok(())
    }

    /// The timer fires; when it was asked to, if `due`.
    pub(super) fn fire(&mut self, due: bool) {
        if let Some(at) = self.oracle.timer.filter(|_| due) {
            self.oracle.pass(self.oracle.now.max(at));
        }
        self.port.core.timer_fired();
        self.oracle.timer = None;
        self.oracle.fired = Some(self.oracle.now);
    }
}

/// How much a queue has out.
fn loudness(out: Out) -> u8 {
    match out {
        Out::Nothing => 0,
        Out::OnHardware => 1,
        Out::Inside => 2,
        Out::Open => 3,
    }
}

/// A span in nanoseconds.
pub(super) fn ns(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
