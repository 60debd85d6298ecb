// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The orchestrator: seats in, slots out.
//!
//! Each queue has a *seat*; seats that must be resident together are a *group*. What is scheduled is a
//! *unit*: a group, or a seat of its own. A unit that wants a slot stands in a line, chosen by its
//! priority and by the kinds of slots it may be on, so that the first of each line is all that must be
//! looked at. Whoever is given slots keeps them, also without work, until somebody else needs them.
//!
//! The host's loop is always the same: lock, feed events, take effects, unlock, act, repeat with the
//! answers. This module and its children never call out (but to the policy), never wait and never
//! allocate.

mod decide;
mod events;
mod fit;
mod give;
mod invariants;
mod look;
mod members;
mod news;
mod steps;

use core::fmt;
use core::time::Duration;

use ringfence_core::Time;

use crate::line::{Line, Node, Nodes, NONE};
use crate::policy::Policy;
use crate::priority::Priority;
use crate::seat::{Seat, SeatId, Standing, Unit};
use crate::slot::{Slot, SlotId, KINDS_MAX};

pub use invariants::Violation;
pub use look::{SeatView, Whereabouts};
pub use members::{AddError, GroupError};

/// Whether the device can take a context off its slot while jobs of it are on the hardware.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Preemption {
    /// It can: who leaves only waits for driver callbacks that are out.
    #[default]
    Supported,
    /// It cannot: who leaves finishes what it has on the hardware first.
    RunToCompletion,
}

/// How an orchestrator behaves, whatever its policy. Fixed at creation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Whether jobs can be taken off the hardware.
    pub preemption: Preemption,
    /// How long the device may take for one answer, before the host is told
    /// [`Effect::Stuck`](crate::Effect::Stuck); `None` for ever.
    pub patience: Option<Duration>,
}

impl Default for Config {
    /// Preemption, and a patience of 500 ms.
    fn default() -> Self {
        Self {
            preemption: Preemption::Supported,
            patience: Some(Duration::from_millis(500)),
        }
    }
}

/// Why an orchestrator could not be made, or not be given other storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// No slot, or more than 65 534.
    Slots,
    /// More seats than 2^32 - 2, or fewer than there are.
    Seats,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slots => "an orchestrator needs 1 to 65534 slots",
            Self::Seats => "the storage has too few seats, or more than 2^32 - 2",
        })
    }
}

impl core::error::Error for ConfigError {}

/// Why an event was refused. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// There is no such seat, or no such slot.
    Unknown,
    /// Nobody has asked for this answer, or it has been given.
    NotOwed,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "there is no such seat or slot",
            Self::NotOwed => "this answer was not asked for, or has been given",
        })
    }
}

impl core::error::Error for Refused {}

/// Lines of a priority: by the set of kinds that those in it may be on, first of single seats, then of
/// groups.
const LINES: usize = 2 * GROUPS;
const GROUPS: usize = 1 << KINDS_MAX;

/// Seats, where lines find their nodes. The unit of seat `at` is kept by its leader.
#[derive(Debug)]
pub(crate) struct Seats<S>(S);

impl<S: AsRef<[Seat]> + AsMut<[Seat]>> Seats<S> {
    fn len(&self) -> usize {
        self.0.as_ref().len()
    }

    #[inline]
    fn at(&self, at: u32) -> &Seat {
        &self.0.as_ref()[at as usize]
    }

    #[inline]
    fn at_mut(&mut self, at: u32) -> &mut Seat {
        &mut self.0.as_mut()[at as usize]
    }

    /// The unit that seat `leader` keeps.
    #[inline]
    fn unit(&self, leader: u32) -> &Unit {
        &self.at(leader).unit
    }

    #[inline]
    fn unit_mut(&mut self, leader: u32) -> &mut Unit {
        &mut self.at_mut(leader).unit
    }
}

impl<S: AsRef<[Seat]> + AsMut<[Seat]>> Nodes for Seats<S> {
    #[inline]
    fn node(&self, at: u32) -> &Node {
        &self.unit(at).node
    }

    #[inline]
    fn node_mut(&mut self, at: u32) -> &mut Node {
        &mut self.unit_mut(at).node
    }
}

/// Decides which queues are on the slots of one device.
///
/// `S` is the storage of seats that the host lends, `L` that of slots: such as a boxed slice or an
/// array; their lengths must not change (but see [`Orchestrator::move_into`]). The host keeps an
/// orchestrator under one lock, which an interrupt handler may take. Every event costs time that is
/// logarithmic in the number of seats, and linear in the number of slots.
///
/// # Invariants
///
/// [`Orchestrator::check_invariants`] states them all and checks them.
#[derive(Debug)]
pub struct Orchestrator<S, L, P> {
    policy: P,
    config: Config,
    seats: Seats<S>,
    slots: L,
    kinds: [u16; KINDS_MAX],
    lines: [[Line; LINES]; Priority::COUNT],
    /// For each priority: which of its lines have somebody in them, by bit.
    filled: [u32; Priority::COUNT],
    /// Units in all lines.
    waiting: u32,
    ticket: u64,
    /// The first free seat.
    free: u32,
    /// Seats in use.
    used: u32,
    /// The first and the last seat that the host is to be told about.
    news: u32,
    news_last: u32,
    /// Something has changed that decisions depend on.
    dirty: bool,
    /// Decisions so far.
    decisions: u64,
    /// By priority and kind: free slots that the last decision has kept for groups.
    kept: [[u16; KINDS_MAX]; Priority::COUNT],
    /// Since when the policy has not heard of that.
    kept_since: Time,
    /// When a decision is due even if nothing happens, and when the host will call.
    wake_at: Option<Time>,
    armed: Option<Time>,
}

impl<S, L, P> Orchestrator<S, L, P>
where
    S: AsRef<[Seat]> + AsMut<[Seat]>,
    L: AsRef<[Slot]> + AsMut<[Slot]>,
    P: Policy,
{
    /// Makes an orchestrator of these slots, without a seat. Whatever was in the storage is lost.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says what in the storage cannot work.
    pub fn new(config: Config, policy: P, seats: S, slots: L) -> Result<Self, ConfigError> {
        let mut seats = Seats(seats);
        let count = slots.as_ref().len();
        if count == 0 || count >= usize::from(u16::MAX) {
            return Err(ConfigError::Slots);
        }
        if seats.len() >= NONE as usize {
            return Err(ConfigError::Seats);
        }
        let mut kinds = [0; KINDS_MAX];
        for slot in slots.as_ref() {
            kinds[slot.kind.number()] += 1;
        }
        seats.0.as_mut().fill(Seat::FREE);
        let free = link_free(&mut seats, 0, NONE);
        Ok(Self {
            policy,
            config,
            seats,
            slots,
            kinds,
            lines: [[Line::EMPTY; LINES]; Priority::COUNT],
            filled: [0; Priority::COUNT],
            waiting: 0,
            ticket: 0,
            free,
            used: 0,
            news: NONE,
            news_last: NONE,
            dirty: false,
            decisions: 0,
            kept: [[0; KINDS_MAX]; Priority::COUNT],
            kept_since: Time::ZERO,
            wake_at: None,
            armed: None,
        })
    }

    /// Moves the seats into other, larger storage. Returns the storage there was. Takes time linear
    /// in the number of seats.
    ///
    /// # Errors
    ///
    /// Gives `storage` back, and nothing has changed, if it is smaller than what there is.
    pub fn move_into(&mut self, storage: S) -> Result<S, (ConfigError, S)> {
        let mut storage = Seats(storage);
        let old = self.seats.len();
        if storage.len() < old || storage.len() >= NONE as usize {
            return Err((ConfigError::Seats, storage.0));
        }
        storage.0.as_mut()[..old].copy_from_slice(self.seats.0.as_ref());
        storage.0.as_mut()[old..].fill(Seat::FREE);
        self.free = link_free(&mut storage, old as u32, self.free);
        core::mem::swap(&mut self.seats, &mut storage);
        Ok(storage.0)
    }

    /// The most seats there can be.
    pub fn capacity(&self) -> usize {
        self.seats.len()
    }

    /// The seats there are.
    pub fn len(&self) -> usize {
        self.used as usize
    }

    /// Whether there is no seat.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The slots.
    pub fn slots(&self) -> &[Slot] {
        self.slots.as_ref()
    }

    /// The policy.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    fn find(&self, seat: SeatId) -> Result<u32, Refused> {
        let found = self.seats.0.as_ref().get(seat.at as usize);
        match found {
            Some(found) if found.used && found.generation == seat.generation => Ok(seat.at),
            _ => Err(Refused::Unknown),
        }
    }

    fn id(&self, at: u32) -> SeatId {
        SeatId {
            at,
            generation: self.seats.at(at).generation,
        }
    }

    fn slot_mut(&mut self, slot: u16) -> &mut Slot {
        &mut self.slots.as_mut()[usize::from(slot)]
    }

    fn slot_at(&self, slot: u16) -> &Slot {
        &self.slots.as_ref()[usize::from(slot)]
    }

    /// Each seat of a unit, `leader` first. Where the unit is changed meanwhile, the next one must
    /// be asked for before.
    fn next_member(&self, leader: u32, at: u32) -> Option<u32> {
        Some(self.seats.at(at).next).filter(|next| *next != leader)
    }

    /// Calls `act` for each seat of a unit, which must leave the unit's ring alone.
    fn each_member(&mut self, leader: u32, mut act: impl FnMut(&mut Self, u32)) {
        let mut next = Some(leader);
        while let Some(at) = next {
            next = self.next_member(leader, at);
            act(self, at);
        }
    }

    fn line_of(&self, leader: u32) -> (usize, usize) {
        let unit = self.seats.unit(leader);
        let line = match unit.members {
            1 => unit.account.kinds.bits(),
            _ => GROUPS + unit.account.kinds.bits(),
        };
        (unit.account.priority.level(), line)
    }

    /// A unit joins its line, in which it has waited since then.
    fn join(&mut self, leader: u32, since: Time) {
        self.ticket += 1;
        let ticket = self.ticket;
        let unit = self.seats.unit_mut(leader);
        unit.standing = Standing::Waiting;
        unit.account.waiting_since = since;
        let key = self.policy.key(&unit.account);
        self.stand(leader, key, ticket);
        self.dirty = true;
    }

    /// Puts a unit in its line at a certain place.
    fn stand(&mut self, leader: u32, key: u64, ticket: u64) {
        let (level, line) = self.line_of(leader);
        self.lines[level][line].join(&mut self.seats, leader, key, ticket);
        self.filled[level] |= 1 << line;
        self.waiting += 1;
    }

    /// A unit leaves its line. What it stands at from then on is for the caller to say.
    fn leave_line(&mut self, leader: u32) {
        let (level, line) = self.line_of(leader);
        self.lines[level][line].leave(&mut self.seats, leader);
        if self.lines[level][line].first().is_none() {
            self.filled[level] &= !(1 << line);
        }
        self.waiting -= 1;
    }

    /// A slot number as the host knows it.
    fn slot_id(slot: u16) -> SlotId {
        SlotId::new(slot)
    }
}

/// Links the seats from `from` on in front of the free ones; returns the first.
fn link_free<S: AsRef<[Seat]> + AsMut<[Seat]>>(seats: &mut Seats<S>, from: u32, rest: u32) -> u32 {
    let end = seats.len() as u32;
    for at in from..end {
        seats.at_mut(at).next = if at + 1 == end { rest } else { at + 1 };
    }
    if from == end {
        rest
    } else {
        from
    }
}
