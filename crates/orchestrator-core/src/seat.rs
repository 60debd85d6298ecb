// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Seats: what the orchestrator knows of each queue.

use core::time::Duration;

use ringfence_core::{Out, Time};

use crate::line::{Node, NONE};
use crate::policy::Account;
use crate::priority::{Priority, Weight};
use crate::slot::{Kinds, SlotKind, KINDS_MAX, NO_SLOT};

/// A queue's seat. Never the name of another seat of the same orchestrator, but after 2^32 have
/// been in its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SeatId {
    pub(crate) at: u32,
    pub(crate) generation: u32,
}

impl SeatId {
    /// Its place in the storage, for a host that keeps something beside it. Another seat may have had
    /// it before.
    pub const fn place(self) -> usize {
        self.at as usize
    }
}

/// What a queue is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeatConfig {
    /// How important it is. In a group its most important member's counts.
    pub priority: Priority,
    /// Its share beside others of its priority. In a group its first member's counts.
    pub weight: Weight,
    /// The kinds of slots that it may be on. At least one.
    pub kinds: Kinds,
    /// Whether the driver is to be asked before it gets a slot
    /// ([`Effect::Check`](crate::Effect::Check)).
    pub checked: bool,
}

impl Default for SeatConfig {
    fn default() -> Self {
        Self {
            priority: Priority::Normal,
            weight: Weight::DEFAULT,
            kinds: Kinds::ALL,
            checked: false,
        }
    }
}

/// Where a seat is on its way to a slot and back.
///
/// ```text
///   Off ─► Check ─► Checking ─► Checked ─► Bind ─► Binding ─► Bound ─► Run ─► Running
///    ▲                                                                          │
///    └──────────────────── Vacating ◄─ Vacate ◄─ Quiet ◄─ Yielding ◄─ Yield ◄───┘
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// On no slot.
    Off,
    /// The host is to ask the driver.
    Check,
    /// It is asking.
    Checking,
    /// The driver has said yes. The others of the group may not have been asked yet.
    Checked,
    /// The host is to bind it.
    Bind,
    /// The device is binding it.
    Binding,
    /// It is on its slot, its gate is shut.
    Bound,
    /// The host is to open its gate.
    Run,
    /// Its gate is open.
    Running,
    /// The host is to have its gate yield.
    Yield,
    /// The host is doing it, or its queue is not quiet yet.
    Yielding,
    /// Nothing of its queue is in the way of taking it off. The others of the group may still be.
    Quiet,
    /// The host is to take it off.
    Vacate,
    /// The device is taking it off.
    Vacating,
}

impl Phase {
    /// Whether the host is to be told.
    pub(crate) const fn is_news(self) -> bool {
        matches!(
            self,
            Self::Check | Self::Bind | Self::Run | Self::Yield | Self::Vacate
        )
    }
}

/// Where a unit is: all its seats together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// It wants no slot.
    Off,
    /// It is in line.
    Waiting,
    /// A driver has said that something is missing.
    Blocked,
    /// Its seats are being asked for; it has its slots.
    Checking,
    /// Its seats are being bound.
    Binding,
    /// All its gates are, or are being, opened.
    Running,
    /// Its gates are yielding.
    Yielding,
    /// Its seats are being taken off.
    Vacating,
    /// What is on the slot of one of its seats is not known.
    Lost,
}

/// A seat, or several that must have their slots at the same time: kept by the first of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    pub(crate) standing: Standing,
    pub(crate) account: Account,
    pub(crate) node: Node,
    /// How many seats it has, and how many of them want a slot.
    pub(crate) members: u16,
    pub(crate) wanting: u16,
    /// How many seats have not come to the end of the present step.
    pub(crate) owing: u16,
    /// How many seats the driver is not ready for.
    pub(crate) unready: u16,
    /// On how many of its slots nobody knows what there is.
    pub(crate) broken: u16,
    /// It must leave its slots: one could not be had, was lost, or is to be removed.
    pub(crate) leave: bool,
    /// It has slots and work, or had work when it was told to leave: time is charged.
    pub(crate) charging: bool,
    /// Until when time has been charged.
    pub(crate) charged: Time,
    /// Since when it has been on its way to slots, if it has not come to them.
    pub(crate) tried: Option<Time>,
    /// Since when it has had no work, on its slots.
    pub(crate) idle_since: Time,
    /// How many decisions there had been then.
    pub(crate) idle_at: u64,
    /// The last decision in which slots were kept for it.
    pub(crate) kept_at: u64,
    /// While a decision is made: the next of those that have been promised slots.
    pub(crate) promised: u32,
    /// And where it stood in its line.
    pub(crate) promised_place: (u64, u64),
}

/// What is kept of one queue. Made by the host ([`Seat::FREE`]), kept by the orchestrator.
///
/// # Invariants
///
/// [`Orchestrator::check_invariants`](crate::Orchestrator::check_invariants) states and checks them.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    pub(crate) unit: Unit,
    pub(crate) generation: u32,
    pub(crate) used: bool,
    pub(crate) checked: bool,
    pub(crate) removing: bool,
    /// It has been taken out of its unit.
    pub(crate) gone: bool,
    /// Its gate was opened and has not been shut since.
    pub(crate) ajar: bool,
    /// Its queue was made while it ran: the host is to open its gate once more.
    pub(crate) reopen: bool,
    /// It was lost with its gate ajar: the host is to shut it.
    pub(crate) shut: bool,
    /// The device has not answered for too long, and the host is to be told.
    pub(crate) stuck: bool,
    /// That was so, and it has not answered since.
    pub(crate) overdue: bool,
    /// It wants a slot, as its queue last said.
    pub(crate) wants: bool,
    pub(crate) out: Out,
    /// Whether the host has said what the gate was when it had yielded.
    pub(crate) yielded: bool,
    /// The device has let it go by itself.
    pub(crate) lost: bool,
    pub(crate) not_ready: bool,
    pub(crate) in_news: bool,
    pub(crate) phase: Phase,
    pub(crate) priority: Priority,
    pub(crate) weight: Weight,
    pub(crate) kinds: Kinds,
    pub(crate) slot: u16,
    pub(crate) last_slot: u16,
    /// The seat that keeps the unit.
    pub(crate) leader: u32,
    /// The next seat of the unit, in a ring. Of a free seat, the next free one.
    pub(crate) next: u32,
    /// The next seat that the host is to be told about.
    pub(crate) news: u32,
    /// The number of what its queue said last.
    pub(crate) version: u64,
    /// By when the device should have answered.
    pub(crate) due: Time,
    pub(crate) stats: SeatStats,
}

impl Seat {
    /// A seat that nobody has.
    pub const FREE: Self = Self {
        unit: Unit {
            standing: Standing::Off,
            account: Account {
                priority: Priority::Normal,
                weight: Weight::DEFAULT,
                kinds: Kinds::NONE,
                virtual_time: 0,
                virtual_rest: 0,
                left_at: [0; Priority::COUNT],
                known: false,
                waiting_since: Time::ZERO,
                turn_since: Time::ZERO,
                guaranteed: false,
                guaranteed_ns: 0,
                guaranteed_by: SlotKind::FIRST,
            },
            node: Node::OUT,
            members: 1,
            wanting: 0,
            owing: 0,
            unready: 0,
            broken: 0,
            leave: false,
            charging: false,
            charged: Time::ZERO,
            tried: None,
            idle_since: Time::ZERO,
            idle_at: 0,
            kept_at: u64::MAX,
            promised: NONE,
            promised_place: (0, 0),
        },
        generation: 0,
        used: false,
        checked: false,
        removing: false,
        gone: false,
        ajar: false,
        reopen: false,
        shut: false,
        stuck: false,
        overdue: false,
        wants: false,
        out: Out::Nothing,
        yielded: false,
        lost: false,
        not_ready: false,
        in_news: false,
        phase: Phase::Off,
        priority: Priority::Normal,
        weight: Weight::DEFAULT,
        kinds: Kinds::NONE,
        slot: NO_SLOT,
        last_slot: NO_SLOT,
        leader: NONE,
        next: NONE,
        news: NONE,
        version: 0,
        due: Time::ZERO,
        stats: SeatStats::NONE,
    };
}

/// What was counted of one seat. It only grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct SeatStats {
    /// How long it has held a slot with work: what it is charged for.
    pub busy: Duration,
    /// The same by the kind of slot.
    pub busy_on: [Duration; KINDS_MAX],
    /// How long the device says that it has executed, where the device can say: perhaps also before the gate
    /// opened, from when time is charged.
    pub measured: Duration,
    /// How long it has waited for a slot with work, up to the last time it got one.
    pub waited: Duration,
    /// The longest such wait.
    pub longest_wait: Duration,
    /// How often it came to a slot.
    pub stays: u64,
    /// Of those, to the slot that it had left last, with nobody there in between.
    pub warm: u64,
    /// How often it had to leave a slot with work.
    pub preemptions: u64,
    /// How often it had to leave a slot without.
    pub evictions: u64,
}

impl SeatStats {
    pub(crate) const NONE: Self = Self {
        busy: Duration::ZERO,
        busy_on: [Duration::ZERO; KINDS_MAX],
        measured: Duration::ZERO,
        waited: Duration::ZERO,
        longest_wait: Duration::ZERO,
        stays: 0,
        warm: 0,
        preemptions: 0,
        evictions: 0,
    };
}
