// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The gate of a queue: somebody outside says when it may run.
//!
//! Where a device has fewer places for contexts than there are queues, an orchestrator lends the
//! places out. A queue knows nothing of that: it has a gate, which is shut at first, and tells what
//! it wants; whoever implements [`Gate`] opens and shuts it with a [`GateControl`].
//!
//! ```text
//!   report: wants        --> open()       jobs run
//!   somebody else's turn --> yield_now()  no job is run; what is on the hardware goes on
//!   report: Nothing      --> the place is free
//!   no time for that     --> shut()       no driver callback begins, the clock stands still
//!   report: not Inside   --> the place can be taken away, with the jobs in it
//! ```

use std::fmt;
use std::sync::{Arc, Weak};

use ringfence_core::{self as core_queue, GateReport};

use crate::driver::Driver;
use crate::shared::Shared;

/// Who decides when a queue may run. Set with [`Builder::gate`](crate::Builder::gate).
///
/// No lock of the queue's is held in any of these calls. A `report` or `detached` that panics has said
/// so; the queue goes on as if it had returned. If `attached` panics, `build` does, and the queue ends.
pub trait Gate: Send + Sync {
    /// The queue has been made; its gate is shut. Called once, by the thread that builds the queue,
    /// before `build` returns, and before anything else. May allocate and sleep. A build that fails
    /// after this detaches the queue again.
    fn attached(&self, control: GateControl);

    /// What the queue wants now and what of it is out. Called when that differs from what was told
    /// last, and after each change of the gate.
    ///
    /// On any thread, but not in interrupt handlers nor fence callbacks; also in `attached` and in
    /// the methods of [`GateControl`], on the same thread, but not in itself: what is to be told
    /// because of something done here is told after. In a signalling section: must not allocate,
    /// sleep or wait for a fence. Reports may arrive in the wrong order: ignore those with a smaller
    /// [version](GateReport::version) than one that has arrived.
    fn report(&self, report: GateReport);

    /// The queue has ended: it is closed and empty, or unbound, and its driver's value is gone. Called
    /// once; no report arrives after, nor is one on its way. On any thread but in interrupt handlers
    /// and fence callbacks, perhaps in a signalling section: as for `report`.
    fn detached(&self);
}

/// Opens and shuts the gate of one queue. Does not keep the queue alive.
///
/// The methods may be called wherever the queue's own may: in driver and fence callbacks, in
/// interrupt handlers, and in [`Gate::report`]. What follows from the change is done here as far as
/// this context allows, which is never to run the driver. They neither allocate nor sleep. The gate
/// is set by who calls last, so one caller at a time should decide. [`Gate::report`] may be called in
/// here, so hold no lock that it takes.
///
/// They return the version of the queue's last report before the change: those with a greater one
/// are of after it. Where the gate was not set so already, such a report is sure to follow, unless the
/// queue has ended. `None` if the queue is gone; nothing happens then.
#[derive(Clone)]
pub struct GateControl {
    queue: Weak<dyn Gated>,
}

impl fmt::Debug for GateControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateControl").finish_non_exhaustive()
    }
}

impl GateControl {
    pub(crate) fn new<D: Driver>(queue: &Arc<Shared<D>>) -> Self {
        Self {
            queue: Arc::downgrade(queue) as Weak<dyn Gated>,
        }
    }

    /// Jobs may run. Has the queue's worker come if there is one that can.
    pub fn open(&self) -> Option<u64> {
        self.set(core_queue::Gate::Open)
    }

    /// No job is run any more; a worker that is about to run several goes on no further than the
    /// one it has begun. What is on the hardware goes on, and its time with it.
    pub fn yield_now(&self) -> Option<u64> {
        self.set(core_queue::Gate::Yield)
    }

    /// No driver callback begins any more, and the clock of the job at the head of the line stands
    /// still.
    pub fn shut(&self) -> Option<u64> {
        self.set(core_queue::Gate::Shut)
    }

    fn set(&self, gate: core_queue::Gate) -> Option<u64> {
        Some(self.queue.upgrade()?.set_gate(gate))
    }
}

/// A queue as its gate sees it, whatever its driver.
pub(crate) trait Gated: Send + Sync {
    /// Sets the gate. Returns the version of the last report before.
    fn set_gate(self: Arc<Self>, gate: core_queue::Gate) -> u64;
}
