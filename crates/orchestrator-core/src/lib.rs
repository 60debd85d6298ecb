// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The decisions of an orchestrator: many queues, few hardware slots.
//!
//! Firmware with a place for every queue needs none of this. Devices with 8 or 16 slots, rings that
//! cannot be preempted, or contexts that must be resident together do. As in `ringfence-core`, a host
//! feeds events, takes [`Effect`]s, and acts on them after it has released its lock; there is no clock,
//! no allocation, no thread, no atomic and no unsafe code here. The queue crates know nothing of this
//! one: a queue has a gate, and whoever has the gate's handle opens and shuts it.
//!
//! Start at [`Orchestrator`]. Who goes first, and who makes way, is for a [`Policy`] to say.
//!
//! ```
//! use ringfence_core::{GateReport, Out, Time};
//! use ringfence_orchestrator_core::{
//!     Answer, Config, Effect, Fair, Orchestrator, Seat, SeatConfig, Slot, SlotKind,
//! };
//!
//! let now = Time::ZERO;
//! let slots = [Slot::new(SlotKind::default())];
//! let mut orchestrator =
//!     Orchestrator::new(Config::default(), Fair::default(), [Seat::FREE; 4], slots)?;
//! let seat = orchestrator.add(SeatConfig::default())?;
//!
//! // The seat's queue has a job that could run.
//! let wish = GateReport { version: 1, wants: true, out: Out::Nothing };
//! orchestrator.report(seat, wish, now)?;
//! let Some(Effect::Bind { slot, .. }) = orchestrator.next(now) else { panic!() };
//! // The device has made its context resident.
//! orchestrator.bound(seat, Answer::Done, now)?;
//! assert_eq!(orchestrator.next(now), Some(Effect::Run { seat }));
//! assert_eq!(orchestrator.slot_of(seat), Some(slot));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(not(kernel), no_std)]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod effect;
mod line;
mod orchestrator;
pub mod policy;
mod priority;
mod seat;
mod slot;

pub use effect::{Answer, Checked, Effect};
pub use orchestrator::{
    AddError, Config, ConfigError, GroupError, Orchestrator, Preemption, Refused, SeatView,
    Violation, Whereabouts,
};
pub use policy::{Account, Fair, FairConfig, Field, Fifo, Policy, Rival, Stage};
pub use priority::{Priority, Weight};
pub use ringfence_core::{GateReport, Out};
pub use seat::{Seat, SeatConfig, SeatId, SeatStats};
pub use slot::{Kinds, Slot, SlotId, SlotKind, SlotStats, KINDS_MAX};
