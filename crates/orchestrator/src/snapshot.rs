// SPDX-License-Identifier: GPL-2.0 OR MIT
//! An orchestrator at a moment, for people and programs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ringfence::monotonic;
use ringfence_orchestrator_core::{SeatView, SlotId, Whereabouts};
use serde::Serialize;

use crate::device::SlotDevice;
use crate::seat::Entry;
use crate::shared::Shared;

/// One seat. Times are in nanoseconds.
#[derive(Clone, Debug, Serialize)]
pub struct SeatSnapshot {
    /// The seat's name.
    pub name: String,
    /// Whose it is.
    pub client: u64,
    /// Its priority: `kernel`, `high`, `normal` or `low`.
    pub priority: &'static str,
    /// Its share beside others of its priority.
    pub weight: u16,
    /// How many seats its group has, itself included.
    pub group_of: u16,
    /// Whether its queue wants a slot.
    pub wants: bool,
    /// `off`, `waiting`, `blocked`, `coming`, `resident`, `leaving` or `lost`.
    pub state: &'static str,
    /// Its slot, where it has one.
    pub slot: Option<u16>,
    /// How long it has held slots with work.
    pub busy_ns: u64,
    /// How long it has executed, as the device says, up to the last time it left a slot. A device may begin
    /// when it binds, before the gate opens and time is charged.
    pub measured_ns: u64,
    /// How long it has waited for slots, and the longest such wait.
    pub waited_ns: u64,
    /// The longest wait.
    pub longest_wait_ns: u64,
    /// Times it came to a slot.
    pub stays: u64,
    /// Of those, to where its state was still warm.
    pub warm: u64,
    /// Times it had to leave with work.
    pub preemptions: u64,
    /// Times it had to leave without.
    pub evictions: u64,
}

fn ns(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn state(whereabouts: Whereabouts) -> (&'static str, Option<SlotId>) {
    match whereabouts {
        Whereabouts::Off => ("off", None),
        Whereabouts::Waiting(_) => ("waiting", None),
        Whereabouts::Blocked => ("blocked", None),
        Whereabouts::Coming(slot) => ("coming", Some(slot)),
        Whereabouts::Resident(slot) => ("resident", Some(slot)),
        Whereabouts::Leaving(slot) => ("leaving", Some(slot)),
        Whereabouts::Lost => ("lost", None),
    }
}

impl SeatSnapshot {
    pub(crate) fn new<V: SlotDevice>(view: &SeatView, entry: &Entry<V>) -> Self {
        let (state, slot) = state(view.whereabouts);
        let stats = &view.stats;
        Self {
            name: entry.name.clone(),
            client: entry.client.id(),
            priority: ["kernel", "high", "normal", "low"][view.priority.level()],
            weight: view.weight.get(),
            group_of: view.members,
            wants: view.wants,
            state,
            slot: slot.map(SlotId::number),
            busy_ns: ns(stats.busy),
            measured_ns: ns(stats.measured),
            waited_ns: ns(stats.waited),
            longest_wait_ns: ns(stats.longest_wait),
            stays: stats.stays,
            warm: stats.warm,
            preemptions: stats.preemptions,
            evictions: stats.evictions,
        }
    }
}

/// One slot.
#[derive(Clone, Debug, Serialize)]
pub struct SlotSnapshot {
    /// Its number.
    pub slot: u16,
    /// What its kind is called.
    pub engine: String,
    /// The name of the seat that has it.
    pub seat: Option<String>,
    /// How long the seats on it had work.
    pub busy_ns: u64,
    /// Times a seat was bound to it.
    pub binds: u64,
    /// Of those, by the seat that had left it last.
    pub warm: u64,
}

/// All seats and slots.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// The orchestrator's name.
    pub name: String,
    /// The slots, by number.
    pub slots: Vec<SlotSnapshot>,
    /// The seats.
    pub seats: Vec<SeatSnapshot>,
}

impl Snapshot {
    pub(crate) fn take<V: SlotDevice>(shared: &Arc<Shared<V>>) -> Self {
        // Memory is taken without the lock, which interrupt handlers may wait for.
        let room = shared.state.lock().core.capacity();
        let mut views = Vec::with_capacity(room * 2);
        let count = shared.state.lock().core.slots().len();
        let mut slots = Vec::with_capacity(count);
        let now = monotonic();
        let state = shared.state.lock();
        for view in state.core.views(now).take(views.capacity()) {
            if let Some(entry) = &state.entries[view.seat.place()] {
                views.push((view, Arc::clone(entry)));
            }
        }
        for (number, slot) in state.core.slots().iter().enumerate() {
            let id = SlotId::new(number as u16);
            let seat = state.core.seat_on(id);
            let entry = seat.and_then(|seat| state.entries[seat.place()].clone());
            let stats = state.core.slot_stats(id, now).unwrap_or_default();
            slots.push((id, slot.kind(), entry, stats));
        }
        drop(state);
        Self {
            name: shared.name.clone(),
            slots: slots
                .into_iter()
                .map(|(id, kind, entry, stats)| SlotSnapshot {
                    slot: id.number(),
                    engine: shared.engines[kind.number()].clone().unwrap_or_default(),
                    seat: entry.map(|entry| entry.name.clone()),
                    busy_ns: stats.busy_ns,
                    binds: stats.binds,
                    warm: stats.warm,
                })
                .collect(),
            seats: views
                .iter()
                .map(|(view, entry)| SeatSnapshot::new(view, entry))
                .collect(),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "orchestrator {}", self.name)?;
        for slot in &self.slots {
            writeln!(
                f,
                "  slot {:<3} {:<8} {:<20} busy {:?}, {} binds, {} warm",
                slot.slot,
                slot.engine,
                slot.seat.as_deref().unwrap_or("-"),
                Duration::from_nanos(slot.busy_ns),
                slot.binds,
                slot.warm,
            )?;
        }
        for seat in &self.seats {
            let slot = seat
                .slot
                .map_or_else(String::new, |slot| format!(" {slot}"));
            writeln!(
                f,
                "  {:<20} {:<6} {:>5} {}{slot}{}, busy {:?}, waited {:?} (longest {:?}), {} stays, {} preempted, {} evicted",
                seat.name,
                seat.priority,
                seat.weight,
                seat.state,
                if seat.wants { ", wants" } else { "" },
                Duration::from_nanos(seat.busy_ns),
                Duration::from_nanos(seat.waited_ns),
                Duration::from_nanos(seat.longest_wait_ns),
                seat.stays,
                seat.preemptions,
                seat.evictions,
            )?;
        }
        Ok(())
    }
}
