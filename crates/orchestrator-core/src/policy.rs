// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who goes first, and who makes way: the trait, and what a policy is told.

mod bound;
mod fair;
mod fifo;

use core::time::Duration;

use ringfence_core::Time;

pub use bound::{Rival, Stage};
pub use fair::{Fair, FairConfig};
pub use fifo::Fifo;

use crate::priority::{Priority, Weight};
use crate::slot::{Kinds, SlotKind, KINDS_MAX};

/// What is known of a unit (a seat, or a group of them): what a policy decides by, and keeps its own
/// books in.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// How important it is.
    pub priority: Priority,
    /// Its share.
    pub weight: Weight,
    /// The kinds of slots that it may be on.
    pub kinds: Kinds,
    /// The policy's own: how far it has come in virtual time.
    pub virtual_time: u64,
    /// The policy's own: what is left of that below its unit.
    pub virtual_rest: u64,
    /// The policy's own: how far it had come in each priority when it left that.
    pub left_at: [u64; Priority::COUNT],
    /// The policy's own: it has wanted slots before.
    pub known: bool,
    /// Since when it waits for slots, while it does.
    pub waiting_since: Time,
    /// When it came to its slots, or woke on them where others could have had them meanwhile, while it has
    /// them.
    pub turn_since: Time,
    /// The policy's own: when it was chosen, it went before somebody more important.
    pub guaranteed: bool,
    /// The policy's own: how much of the slot time that it came by for that it has not used.
    pub guaranteed_ns: u64,
    /// The policy's own: the kind of slot for which its priority was owed that.
    pub guaranteed_by: SlotKind,
}

/// What there is to see when a decision is due, or somebody wakes.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// For each priority and kind: the smallest key of those that wait and may be there.
    pub waiting: [[Option<u64>; KINDS_MAX]; Priority::COUNT],
    /// For each priority and kind: the smallest and the largest virtual time of the units that have
    /// work and are on such a slot, or on their way to one.
    pub running: [[Option<(u64, u64)>; KINDS_MAX]; Priority::COUNT],
    /// For each priority and kind: how many slots nobody else can use, since units of that priority use
    /// them, are on their way to or from them, or have them kept.
    pub held: [[u16; KINDS_MAX]; Priority::COUNT],
    /// How many slots of each kind there are.
    pub slots: [u16; KINDS_MAX],
}

impl Field {
    pub(crate) const EMPTY: Self = Self {
        waiting: [[None; KINDS_MAX]; Priority::COUNT],
        running: [[None; KINDS_MAX]; Priority::COUNT],
        held: [[0; KINDS_MAX]; Priority::COUNT],
        slots: [0; KINDS_MAX],
    };

    /// Whether a unit of `priority` waits for a slot of `kind`.
    pub fn waits(&self, priority: Priority, kind: SlotKind) -> bool {
        self.waiting[priority.level()][kind.number()].is_some()
    }
}

/// How an orchestrator chooses. Called with the orchestrator's lock held: it decides, and does
/// nothing; each call takes constant time.
pub trait Policy {
    /// A unit that had no work has some now: it joins a line, or is on its slots still.
    fn woke(&mut self, account: &mut Account, now: Time);

    /// A unit that has work must leave its slots, and joins a line.
    fn joins(&mut self, account: &mut Account);

    /// Where a unit stands among those of its priority that wait: smaller is earlier. Asked when it
    /// joins the line.
    fn key(&self, account: &Account) -> u64;

    /// A unit has held a slot of `kind` for so long, with work.
    fn ran(&mut self, account: &mut Account, kind: SlotKind, ns: u64);

    /// For so long nobody could use a slot of `kind`: a unit of this priority was on its way to it, or
    /// from it without work, or it was kept for a group that lacks others.
    fn switched(&mut self, priority: Priority, kind: SlotKind, ns: u64);

    /// A unit was on its way to slots for so long, all of them together, and did not come to them: the
    /// driver was not ready, or the device failed.
    fn failed(&mut self, account: &mut Account, ns: u64);

    /// A decision is due, or somebody wakes: this is the field.
    fn look(&mut self, field: &Field);

    /// Somebody else was given a slot of `kind` although `account`, which is on one, is behind it in
    /// virtual time: it cannot use more than it has. `key` is the other's.
    fn overtaken(&self, account: &mut Account, key: u64);

    /// Where a waiting unit stands among the first of all priorities: smaller is earlier.
    fn rank(&self, account: &Account) -> u8;

    /// From when on a unit that is on its slots, and has work, makes way for one that waits: now, or
    /// from some time on if nothing changes; `None` if it does not. One without work always does.
    fn makes_way(&self, resident: &Account, waiting: &Account, now: Time) -> Option<Time>;

    /// For how long slots are kept at most for a group that lacks others.
    fn keeps_for(&self) -> Duration;

    /// In the present decision it is this unit's turn, before any that rank after it: it is given
    /// slots now, or somebody makes way for it, or it must wait.
    fn chosen(&mut self, account: &mut Account);

    /// A unit's priority or weight is another from now on: `account` has the new ones, and these are
    /// what it had.
    fn changed(&mut self, account: &mut Account, was: Priority, weighed: Weight);
}
