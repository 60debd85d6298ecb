// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a plan says of a device whose slots the host gives to its queues.

use std::time::Duration;

use ringfence_orchestrator::{FairConfig, Priority, Weight};
use ringfence_softgpu::SlotKind;

use super::QueueIndex;

/// The words for priorities, in the order of [`Priority::ALL`].
pub const PRIORITIES: &[&str] = &["kernel", "high", "normal", "low"];

/// The words for kinds of slots, in the order of [`KINDS`].
pub const KIND_WORDS: &[&str] = &["compute", "copy", "render"];

/// The kinds of slots.
pub const KINDS: [SlotKind; 3] = [SlotKind::Compute, SlotKind::Copy, SlotKind::Render];

/// The word for a priority.
pub fn priority_word(priority: Priority) -> &'static str {
    PRIORITIES[priority.level()]
}

/// The priority that a word stands for.
pub fn priority(word: &str) -> Option<Priority> {
    let place = PRIORITIES.iter().position(|other| *other == word)?;
    Priority::ALL.get(place).copied()
}

/// The kind of slot that a word stands for.
pub(crate) fn slot_kind(word: &str) -> Option<SlotKind> {
    let place = KIND_WORDS.iter().position(|other| *other == word)?;
    KINDS.get(place).copied()
}

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyPlan {
    /// Fair shares.
    Fair(FairConfig),
    /// First come, first served, for a turn each.
    Fifo(Duration),
}

/// The orchestrator of a plan's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrchestratorPlan {
    /// Who goes first.
    pub policy: PolicyPlan,
    /// Whether the device can take a context off its slot in the middle of its work.
    pub preemption: bool,
    /// How long a slot is busy with nothing else when a context comes to it.
    pub switch_cost: Duration,
    /// How long the device may take to answer before it is reset.
    pub patience: Duration,
}

/// Queues that have their slots at the same time, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GangPlan {
    /// What it is called.
    pub name: String,
    /// Its queues, two at least, in the order of the plan.
    pub members: Vec<QueueIndex>,
}

/// What a queue is due at its device's orchestrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuePlan {
    /// How important it is.
    pub priority: Priority,
    /// Its share beside others of its priority.
    pub weight: Weight,
    /// The kinds of slots it may be on; empty for all.
    pub kinds: Vec<SlotKind>,
    /// The gang it belongs to: its place in [`Plan::gangs`](crate::plan::Plan::gangs).
    pub gang: Option<usize>,
    /// Whose it is: a place in [`Plan::clients`](crate::plan::Plan::clients).
    pub client: usize,
}

/// How well slots must be shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareExpect {
    /// How far any share may be off, in parts per million of what it should be.
    pub error: Option<u32>,
    /// The least that Jain's index of all shares may be, in parts per million: 1 if each is what it
    /// should be, and 1/n if one of n has everything.
    pub fairness: Option<u32>,
    /// The queues that are looked at.
    pub queues: Vec<QueueIndex>,
}

/// How long some queues may wait for a slot at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitExpect {
    /// What the plan calls them.
    pub name: String,
    /// Which they are.
    pub queues: Vec<QueueIndex>,
    /// The bound.
    pub longest: Duration,
}
