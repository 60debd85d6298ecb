// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Many job queues on few hardware slots.
//!
//! A device whose firmware has a place for every queue needs none of this. For one that has 8 or 16
//! slots, a driver says what its slots are ([`SlotDevice`]), makes an [`Orchestrator`] for the device,
//! takes a [`Seat`] for each queue, and builds the queue with the [seat's gate](Seat::gate). From then
//! on the queue asks for a slot when it has a job that could run, and runs jobs while it is on one.
//!
//! Neither the queue nor the driver's callbacks know of it. What is decided is decided by
//! [`ringfence_orchestrator_core`]; this crate supplies a lock, a timer, and somebody to act.
//!
//! How seats are chosen is explained in `docs/orchestrator.md`.

mod act;
mod client;
mod device;
mod orchestrator;
mod policy;
mod seat;
mod shared;
mod snapshot;

pub use client::{Client, ClientUsage};
pub use device::{Binding, Check, SlotDevice, Vacating};
pub use orchestrator::{BuildError, Builder, Orchestrator};
pub use ringfence_orchestrator_core::{
    Account, AddError, Fair, FairConfig, Field, Fifo, GroupError, Kinds, Policy, Preemption,
    Priority, SeatConfig, SeatStats, SlotId, SlotKind, SlotStats, Weight, Whereabouts,
};
pub use seat::{Seat, SeatError, WeakSeat};
pub use snapshot::{SeatSnapshot, SlotSnapshot, Snapshot};
