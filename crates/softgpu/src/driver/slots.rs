// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The slots of a host-scheduled device, for an orchestrator to give away: the example to copy.
//!
//! ```text
//!   orchestrator ── bind, vacate ──► SoftSlots ──► SoftContext ──► firmware
//!        ▲                                                           │
//!        └── done, failed, lost ◄── SoftSeat ◄── SlotAnswer ─────────┘  (the interrupt thread)
//! ```
//!
//! A reset takes contexts off their slots, and until it is over they cannot be bound: such a bind
//! fails, and the recovery's word that the context is ready again is what makes the seat wait for a
//! slot once more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use ringfence_orchestrator::{
    AddError, Binding, Client, Kinds, Orchestrator, Preemption, Seat, SeatConfig, SlotDevice,
    SlotId, SlotKind as Kind, Vacating, WeakSeat,
};

use super::ring::ContextRing;
use super::space::SoftContext;
use super::station::Station;
use super::{SoftDevice, SoftDriver};
use crate::slots::{Loss, Scheduling, Stay};
use crate::sync::lock;
use crate::{GpuError, SlotAnswer, SlotKind};

/// The slots of a device, as its orchestrator sees them. Made by [`SoftDevice::slots`].
pub struct SoftSlots {
    kinds: Vec<Kind>,
    preemption: Preemption,
    station: Arc<Station>,
}

/// What the orchestrator keeps of a context, and who hears what becomes of it on the slots.
pub struct SoftSeat {
    context: Arc<SoftContext>,
    /// Not to be kept: what is in it keeps the queue, which keeps the seat.
    ring: Weak<ContextRing>,
    /// Its handle at the orchestrator: set before its queue is built.
    seat: OnceLock<WeakSeat<SoftSlots>>,
    /// What is to be answered.
    owed: Mutex<Owed>,
    /// How often a recovery has said that it is ready.
    readied: AtomicU64,
}

#[derive(Default)]
struct Owed {
    binding: Option<Binding>,
    /// `readied` when that was asked for.
    readied: u64,
    vacating: Option<Vacating>,
    /// The device has it on a slot, as far as was said.
    resident: bool,
    /// The device has said that it cannot vacate; that the slot was lost is about to follow.
    refused: bool,
}

/// The number by which orchestrators know a kind of slot.
fn kind(kind: SlotKind) -> Kind {
    let number = match kind {
        SlotKind::Compute => 0,
        SlotKind::Copy => 1,
        SlotKind::Render => 2,
    };
    // Three are fewer than there can be.
    Kind::new(number).unwrap_or_default()
}

impl From<SlotKind> for Kinds {
    fn from(from: SlotKind) -> Self {
        Self::only(kind(from))
    }
}

impl SoftDevice {
    /// The slots of the device, for an [`Orchestrator`]. `None` where the firmware schedules.
    pub fn slots(&self) -> Option<SoftSlots> {
        let preemption = match self.gpu().scheduling() {
            Scheduling::Firmware => return None,
            Scheduling::Host { preemption: true } => Preemption::Supported,
            Scheduling::Host { preemption: false } => Preemption::RunToCompletion,
        };
        let kinds = (0..self.gpu().slots()).filter_map(|slot| self.gpu().slot_kind(slot));
        Some(SoftSlots {
            kinds: kinds.map(kind).collect(),
            preemption,
            station: Arc::clone(&self.station),
        })
    }

    /// Makes an orchestrator of the device's slots, with the names of their kinds. `None` where the
    /// firmware schedules.
    pub fn orchestrator(&self, name: &str) -> Option<ringfence_orchestrator::Builder<SoftSlots>> {
        let builder = Orchestrator::builder(name, self.slots()?)
            .engine(kind(SlotKind::Compute), "compute")
            .engine(kind(SlotKind::Copy), "copy")
            .engine(kind(SlotKind::Render), "render");
        Some(builder)
    }

    /// Takes a seat for the queue that `driver` is for: build it with the seat's gate.
    ///
    /// # Errors
    ///
    /// As [`Orchestrator::seat`].
    pub fn seat(
        &self,
        orchestrator: &Orchestrator<SoftSlots>,
        name: &str,
        config: SeatConfig,
        client: &Client,
        driver: &SoftDriver,
    ) -> Result<Seat<SoftSlots>, AddError> {
        let context = Arc::new(SoftSeat {
            context: Arc::clone(&driver.ring.context),
            ring: Arc::downgrade(&driver.ring),
            seat: OnceLock::new(),
            owed: Mutex::default(),
            readied: AtomicU64::new(0),
        });
        let seat = orchestrator.seat(name, config, client, Arc::clone(&context))?;
        let shared = Arc::downgrade(&context);
        driver.ring.context.on_ready(Arc::new(move || {
            if let Some(seat) = shared.upgrade() {
                seat.is_ready();
            }
        }));
        let _only_here = context.seat.set(seat.downgrade());
        Ok(seat)
    }
}

impl SlotDevice for SoftSlots {
    type Context = Arc<SoftSeat>;

    fn slots(&self) -> Vec<Kind> {
        self.kinds.clone()
    }

    fn preemption(&self) -> Preemption {
        self.preemption
    }

    fn bind(&self, slot: SlotId, context: &Arc<SoftSeat>, binding: Binding) {
        {
            let mut owed = lock(&context.owed);
            owed.readied = context.readied.load(Ordering::Acquire);
            owed.binding = Some(binding);
        }
        let answer = Arc::clone(context) as Arc<dyn SlotAnswer>;
        let asked = context.context.bind(slot.number().into(), answer);
        if let Err(error) = asked {
            // Then nobody answers.
            context.bound(Err(error));
        }
    }

    fn vacate(&self, _slot: SlotId, context: &Arc<SoftSeat>, vacating: Vacating) {
        lock(&context.owed).vacating = Some(vacating);
        let answer = Arc::clone(context) as Arc<dyn SlotAnswer>;
        if let Err(error) = context.context.vacate(answer) {
            context.vacated(Err(error));
        }
    }

    fn stuck(&self, _slot: SlotId, _context: &Arc<SoftSeat>) {
        // Only a reset of the device is sure to help with a context that cannot be preempted.
        self.station.wants_reset.store(true, Ordering::Release);
        self.station.call_recovery();
    }
}

impl SoftSeat {
    fn seat(&self) -> Option<Seat<SoftSlots>> {
        self.seat.get().and_then(WeakSeat::upgrade)
    }

    /// A recovery is through with the context.
    fn is_ready(&self) {
        self.readied.fetch_add(1, Ordering::AcqRel);
        if let Some(seat) = self.seat() {
            let _gone = seat.ready();
        }
    }

    /// The context is off its slot: who asked for that is answered.
    fn leave(vacating: Option<Vacating>, stay: Option<Stay>) {
        if let Some(vacating) = vacating {
            vacating.done(stay.map(|stay| stay.busy));
        }
    }
}

impl SlotAnswer for SoftSeat {
    fn bound(&self, result: Result<(), GpuError>) {
        let (binding, readied) = {
            let mut owed = lock(&self.owed);
            owed.resident |= result.is_ok();
            (owed.binding.take(), owed.readied)
        };
        let Some(binding) = binding else { return };
        if result.is_ok() {
            binding.done();
            return;
        }
        binding.failed();
        if matches!(result, Err(GpuError::Gone)) {
            // Nobody may have said so, and a queue without jobs on the hardware is not asked about any.
            if let Some(ring) = self.ring.upgrade() {
                ring.call_recovery();
            }
        }
        // A recovery that was through before this came does not say so again.
        if self.readied.load(Ordering::Acquire) != readied {
            if let Some(seat) = self.seat() {
                let _gone = seat.ready();
            }
        }
    }

    fn vacated(&self, result: Result<Stay, GpuError>) {
        let vacating = {
            // In one lock hold: a request that is not taken is answered here, while the interrupt thread
            // may be saying that the slot is lost.
            let mut owed = lock(&self.owed);
            if result.is_err() && owed.resident {
                // It will be said when the slot is lost.
                owed.refused = true;
                return;
            }
            owed.resident = false;
            owed.vacating.take()
        };
        Self::leave(vacating, result.ok());
    }

    fn lost(&self, loss: Loss) {
        let (refused, vacating) = {
            let mut owed = lock(&self.owed);
            owed.resident = false;
            let refused = std::mem::take(&mut owed.refused);
            (refused, refused.then(|| owed.vacating.take()).flatten())
        };
        if refused {
            Self::leave(vacating, Some(loss.stay));
        } else if let Some(seat) = self.seat() {
            // Where a vacate is under way its answer follows, and this changes nothing.
            let _gone = seat.lost();
        }
    }
}
