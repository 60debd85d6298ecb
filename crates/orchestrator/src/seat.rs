// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A queue's seat: the handle, and the gate through which the queue knows it.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use ringfence::irq::{give_up, CountPlace, Countable, IrqLock};
use ringfence::{Gate, GateControl, GateReport};
use ringfence_orchestrator_core::{Priority, SeatId, Weight};

use crate::act::Wait;
use crate::client::Client;
use crate::device::SlotDevice;
use crate::shared::Shared;
use crate::snapshot::SeatSnapshot;

/// What is kept of a seat.
pub(crate) struct Entry<V: SlotDevice> {
    pub(crate) id: SeatId,
    pub(crate) name: String,
    pub(crate) client: Client,
    pub(crate) context: V::Context,
    /// The queue's gate, once there is a queue.
    pub(crate) control: Arc<OnceLock<GateControl>>,
    /// For the fence that the driver wants to see first.
    pub(crate) wait: IrqLock<Wait>,
    /// For a count that an interrupt handler has had last.
    pub(crate) count: CountPlace,
}

// SAFETY: It is a field.
unsafe impl<V: SlotDevice> Countable for Entry<V> {
    fn place(&self) -> &CountPlace {
        &self.count
    }
}

/// A count that may be dropped in an interrupt handler.
struct Count<T: Countable>(Option<Arc<T>>);

impl<T: Countable> Count<T> {
    fn arc(&self) -> &Arc<T> {
        match &self.0 {
            Some(arc) => arc,
            None => unreachable!("it is there until it is dropped"),
        }
    }
}

impl<T: Countable> Deref for Count<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.arc()
    }
}

impl<T: Countable> Drop for Count<T> {
    fn drop(&mut self) {
        if let Some(arc) = self.0.take() {
            give_up(arc);
        }
    }
}

/// The seat is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the seat's queue has ended, and the seat with it")]
pub struct SeatError;

/// The seat of one queue, made by [`Orchestrator::seat`](crate::Orchestrator::seat).
///
/// It goes when its queue has ended, or, if no queue was ever built with its gate, when this handle
/// and the gate have been dropped. The handle may be dropped before: the queue keeps the seat. Methods
/// take a short lock and may call the driver's [`SlotDevice`] on this thread; they may be called in
/// signalling sections and, but for [`Seat::snapshot`], in interrupt handlers, where it may be dropped,
/// too.
pub struct Seat<V: SlotDevice> {
    holder: Count<Holder<V>>,
    entry: Count<Entry<V>>,
}

impl<V: SlotDevice> fmt::Debug for Seat<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat")
            .field("name", &self.entry.name)
            .field("id", &self.entry.id)
            .finish_non_exhaustive()
    }
}

impl<V: SlotDevice> Seat<V> {
    pub(crate) fn new(shared: Arc<Shared<V>>, entry: Arc<Entry<V>>) -> Self {
        let holder = Arc::new(Holder {
            shared,
            id: entry.id,
            control: Arc::clone(&entry.control),
            attached: AtomicBool::new(false),
            count: CountPlace::default(),
        });
        Self {
            holder: Count(Some(holder)),
            entry: Count(Some(entry)),
        }
    }

    /// The gate to build its queue with: [`Builder::gate`](ringfence::Builder::gate). For one queue.
    pub fn gate(&self) -> Arc<dyn Gate> {
        Arc::clone(self.holder.arc()) as Arc<dyn Gate>
    }

    /// A handle that does not keep the seat: for a driver to keep with its context.
    pub fn downgrade(&self) -> WeakSeat<V> {
        WeakSeat {
            holder: Arc::downgrade(self.holder.arc()),
            entry: Arc::downgrade(self.entry.arc()),
        }
    }

    pub(crate) fn id(&self) -> SeatId {
        self.entry.id
    }

    pub(crate) fn is_of(&self, shared: &Arc<Shared<V>>) -> bool {
        Arc::ptr_eq(&self.holder.shared, shared)
    }

    /// The driver's context.
    pub fn context(&self) -> &V::Context {
        &self.entry.context
    }

    /// Changes what the queue is due, also while it waits or runs.
    ///
    /// # Errors
    ///
    /// [`SeatError`] once it has gone.
    pub fn change(&self, priority: Priority, weight: Weight) -> Result<(), SeatError> {
        let shared = &self.holder.shared;
        shared
            .event(|core, now| core.change(self.id(), priority, weight, now))
            .map_err(|_| SeatError)
    }

    /// What kept it from a slot is over, after [`Binding::failed`](crate::Binding::failed).
    ///
    /// # Errors
    ///
    /// [`SeatError`] once it has gone.
    pub fn ready(&self) -> Result<(), SeatError> {
        let shared = &self.holder.shared;
        shared
            .event(|core, now| core.ready(self.id(), now))
            .map_err(|_| SeatError)
    }

    /// The device has let go of the context without having been asked, as in a reset: it is on no
    /// slot. Where a bind or a vacate is under way, this is the wrong call: answer that.
    ///
    /// # Errors
    ///
    /// [`SeatError`] once it has gone.
    pub fn lost(&self) -> Result<(), SeatError> {
        let shared = &self.holder.shared;
        shared
            .event(|core, now| core.lost(self.id(), now))
            .map_err(|_| SeatError)
    }

    /// Where it is, and what was counted of it. Allocates.
    ///
    /// # Errors
    ///
    /// [`SeatError`] once it has gone.
    pub fn snapshot(&self) -> Result<SeatSnapshot, SeatError> {
        let view = self.holder.shared.view(self.id()).ok_or(SeatError)?;
        Ok(SeatSnapshot::new(&view, &self.entry))
    }
}

/// A seat that may be gone: [`Seat::downgrade`].
pub struct WeakSeat<V: SlotDevice> {
    holder: Weak<Holder<V>>,
    entry: Weak<Entry<V>>,
}

impl<V: SlotDevice> Clone for WeakSeat<V> {
    fn clone(&self) -> Self {
        Self {
            holder: Weak::clone(&self.holder),
            entry: Weak::clone(&self.entry),
        }
    }
}

impl<V: SlotDevice> fmt::Debug for WeakSeat<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakSeat").finish_non_exhaustive()
    }
}

impl<V: SlotDevice> WeakSeat<V> {
    /// The seat, if something keeps it. Interrupt-safe.
    pub fn upgrade(&self) -> Option<Seat<V>> {
        let holder = Count(Some(self.holder.upgrade()?));
        let entry = Count(Some(self.entry.upgrade()?));
        Some(Seat { holder, entry })
    }
}

/// Keeps the seat: for its handle, and for the queue, whose gate it is. Not the driver's context: the
/// queue may end where that must not be dropped.
struct Holder<V: SlotDevice> {
    shared: Arc<Shared<V>>,
    id: SeatId,
    /// The seat's.
    control: Arc<OnceLock<GateControl>>,
    attached: AtomicBool,
    count: CountPlace,
}

// SAFETY: It is a field.
unsafe impl<V: SlotDevice> Countable for Holder<V> {
    fn place(&self) -> &CountPlace {
        &self.count
    }
}

impl<V: SlotDevice> Gate for Holder<V> {
    fn attached(&self, control: GateControl) {
        let first = self.control.set(control).is_ok();
        self.attached.store(true, Ordering::Release);
        // Who acts does not know the gate before it is there: its group may be on its slots already.
        let _gone = self.shared.event(|core, _now| core.attached(self.id));
        debug_assert!(first, "a seat's gate is for one queue");
    }

    fn report(&self, report: GateReport) {
        // A seat that is being removed does not care.
        let _gone = self
            .shared
            .event(|core, now| core.report(self.id, report, now));
    }

    fn detached(&self) {
        self.shared.remove(self.id);
    }
}

impl<V: SlotDevice> Drop for Holder<V> {
    fn drop(&mut self) {
        if !self.attached.load(Ordering::Acquire) {
            self.shared.remove(self.id);
        }
    }
}
