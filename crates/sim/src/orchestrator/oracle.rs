// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What must be true of an orchestrator, by the history of what was asked and answered.
//!
//! Written from the documentation of effects, answers and policies, not from the code: seats and
//! slots are plain lists, and everything is looked for from the beginning each time. It does not say
//! what an orchestrator decides, only what it may: the very next effect is for the orchestrator to
//! choose.

mod answers;
mod decisions;
mod effects;
mod rest;
mod views;

use ringfence_orchestrator_core::{
    Config, FairConfig, Out, Priority, SeatConfig, SeatId, Weight, Whereabouts,
};

use super::op::Question;
use super::plan::{Plan, Rules};
use super::seen::{Coverage, Seen};

/// Whether all is well, and if not, what is not.
pub(super) type Verdict = Result<(), String>;

pub(super) fn rule(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    match holds {
        true => Ok(()),
        false => Err(what()),
    }
}

/// Where a seat is, by what the host was told and has answered; with the slot it was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Off,
    /// The driver is being asked.
    Asked(u16),
    /// It has answered.
    Passed(u16),
    Binding(u16),
    /// On its slot, its gate shut.
    Bound(u16),
    /// Its gate open.
    Open(u16),
    /// Its gate is to yield.
    Yielding(u16),
    /// Has yielded.
    Yielded(u16),
    Vacating(u16),
    /// Nobody knows what is on its slot.
    Broken(u16),
}

impl Stage {
    pub(super) fn slot(self) -> Option<u16> {
        match self {
            Self::Off => None,
            Self::Asked(slot)
            | Self::Passed(slot)
            | Self::Binding(slot)
            | Self::Bound(slot)
            | Self::Open(slot)
            | Self::Yielding(slot)
            | Self::Yielded(slot)
            | Self::Vacating(slot)
            | Self::Broken(slot) => Some(slot),
        }
    }

    /// What the host owes an answer to.
    pub(super) fn question(self) -> Option<Question> {
        match self {
            Self::Asked(_) => Some(Question::Check),
            Self::Binding(_) => Some(Question::Bind),
            Self::Yielding(_) => Some(Question::Yield),
            Self::Vacating(_) => Some(Question::Vacate),
            _ => None,
        }
    }

    /// On its slot, as far as the host knows, and not asked to leave.
    pub(super) fn is_on(self) -> bool {
        matches!(self, Self::Bound(_) | Self::Open(_))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: SeatId,
    /// Its unit, and its place there.
    pub(super) unit: usize,
    pub(super) rank: usize,
    pub(super) config: SeatConfig,
    pub(super) stage: Stage,
    /// As last seen: the slot it was given, whether the host was told or not.
    pub(super) given: Option<u16>,
    /// As last seen.
    pub(super) seen: Whereabouts,
    pub(super) wants: bool,
    pub(super) version: u64,
    pub(super) out: Out,
    pub(super) not_ready: bool,
    pub(super) removing: bool,
    pub(super) lost: bool,
    /// Its gate has been opened, and not shut since.
    pub(super) ajar: bool,
    /// When the last request to the device was made, and whether the host was told that it is stuck.
    pub(super) asked_at: u64,
    pub(super) told_stuck: bool,
    pub(super) stays: u64,
    /// The order in which questions came.
    pub(super) ticket: u64,
    /// In a tidy run: time on slots with work, and whether it has wanted one from time 0 on.
    pub(super) busy: u64,
    pub(super) founder: bool,
    /// Its gate was open since everybody was last told to care.
    pub(super) served: bool,
}

/// What units are told by, kept by number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unit {
    /// Since when it waits.
    pub(super) since: Option<u64>,
    /// Since when it is on its slots, or has work there.
    pub(super) turn: u64,
    /// Since when it is on its slots: a moment without work need not begin another turn.
    pub(super) came: u64,
}

/// The model and judge.
#[derive(Debug)]
pub(super) struct Oracle {
    pub(super) config: Config,
    pub(super) rules: Rules,
    pub(super) tidy: bool,
    pub(super) punctual: bool,
    /// The kind of each slot.
    pub(super) slots: Vec<u8>,
    pub(super) capacity: usize,
    pub(super) members: Vec<Member>,
    pub(super) units: Vec<Unit>,
    pub(super) gone: Vec<SeatId>,
    pub(super) now: u64,
    /// When the timer was asked for, and when it last fired.
    pub(super) timer: Option<u64>,
    pub(super) fired: Option<u64>,
    pub(super) tickets: u64,
    pub(super) coverage: Coverage,
}

impl Oracle {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            config: plan.config,
            rules: plan.rules,
            tidy: plan.tidy,
            punctual: plan.punctual,
            slots: plan.slots.clone(),
            capacity: plan.seats,
            members: Vec::new(),
            units: Vec::new(),
            gone: Vec::new(),
            now: 0,
            timer: None,
            fired: None,
            tickets: 0,
            coverage: Coverage::default(),
        }
    }

    pub(super) fn see(&mut self, what: Seen) {
        self.coverage.see(what);
    }

    pub(super) fn find(&self, id: SeatId) -> Option<usize> {
        self.members.iter().position(|member| member.id == id)
    }

    /// The seats of a unit.
    pub(super) fn of(&self, unit: usize) -> impl Iterator<Item = &Member> + Clone {
        self.members
            .iter()
            .filter(move |member| member.unit == unit)
    }

    /// Numbers of the units that there are.
    pub(super) fn leaders(&self) -> impl Iterator<Item = &Member> + Clone {
        self.members
            .iter()
            .filter(|member| self.leader(member.unit).id == member.id)
    }

    /// The first of a unit, which is not empty.
    pub(super) fn leader(&self, unit: usize) -> &Member {
        let first = self.of(unit).min_by_key(|member| member.rank);
        first.expect("a unit has a seat")
    }

    /// The most important member's.
    pub(super) fn priority(&self, unit: usize) -> Priority {
        let least = self.of(unit).map(|member| member.config.priority).min();
        least.unwrap_or_default()
    }

    /// The first member's.
    pub(super) fn weight(&self, unit: usize) -> Weight {
        self.leader(unit).config.weight
    }

    /// The kinds of slots that any of its seats may be on, as bits.
    pub(super) fn kinds(&self, unit: usize) -> u8 {
        let all = self.of(unit).map(|member| bits(&member.config));
        all.fold(0, |kinds, more| kinds | more)
    }

    pub(super) fn wants(&self, unit: usize) -> bool {
        self.of(unit).any(|member| member.wants)
    }

    /// Whether all its seats are off their slots, or nobody knows.
    pub(super) fn at_rest(&self, unit: usize) -> bool {
        self.of(unit).all(|member| match member.stage {
            Stage::Off => member.given.is_none(),
            Stage::Broken(_) => true,
            _ => false,
        })
    }

    /// Whether it must be off its slots, whoever else wants them.
    pub(super) fn must_leave(&self, unit: usize) -> bool {
        self.of(unit).any(|member| {
            let broken = matches!(member.stage, Stage::Broken(_));
            member.removing || member.lost || member.not_ready || broken
        })
    }

    /// Who is, by what the host was told, on a slot or on its way there or from there.
    pub(super) fn on(&self, slot: u16) -> Option<&Member> {
        let mut all = self.members.iter();
        all.find(|member| member.stage.slot() == Some(slot))
    }

    pub(super) fn is_broken(&self, slot: u16) -> bool {
        let mut all = self.members.iter();
        all.any(|member| member.stage == Stage::Broken(slot))
    }

    /// Whether a slot is given to nobody and can be used.
    pub(super) fn is_free(&self, slot: u16) -> bool {
        let given = |member: &Member| member.given == Some(slot);
        !self.members.iter().any(given) && !self.is_broken(slot)
    }

    pub(super) fn kind_bit(&self, slot: u16) -> u8 {
        1 << self.slots[usize::from(slot)]
    }

    /// Units that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Member> + Clone {
        self.leaders()
            .filter(|leader| matches!(leader.seen, Whereabouts::Waiting(_)))
    }

    pub(super) fn fair(&self) -> Option<FairConfig> {
        match self.rules {
            Rules::Fair(config) => Some(config),
            Rules::Fifo(_) => None,
        }
    }

    /// Time passes.
    pub(super) fn pass(&mut self, now: u64) {
        let span = now - self.now;
        self.now = now;
        for at in 0..self.members.len() {
            let stage = self.members[at].stage;
            let on = stage.is_on()
                || matches!(
                    stage,
                    Stage::Yielding(_) | Stage::Yielded(_) | Stage::Vacating(_)
                );
            let member = &mut self.members[at];
            member.busy += if on { span } else { 0 };
            member.founder &= member.wants || span == 0;
        }
    }
}

/// Kinds as bits.
pub(super) fn bits(config: &SeatConfig) -> u8 {
    let numbers = config.kinds.iter().map(|kind| 1u8 << kind.number());
    numbers.fold(0, |all, bit| all | bit)
}

/// Whether each of the seats, by the kinds they may be on, can have a slot of its own among `slots`:
/// tries all there is to try.
pub(super) fn fit(seats: &[u8], slots: &mut Vec<u8>) -> bool {
    let Some((first, rest)) = seats.split_first() else {
        return true;
    };
    for at in 0..slots.len() {
        if first & 1 << slots[at] != 0 {
            let slot = slots.swap_remove(at);
            let fits = fit(rest, slots);
            slots.push(slot);
            let last = slots.len() - 1;
            slots.swap(at, last);
            if fits {
                return true;
            }
        }
    }
    false
}
