// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The queue and its gate: setting it, reports, the last word.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

use ringfence_core::{self as core_queue, GateReport};

use super::{Shared, State};
use crate::clock::monotonic;
use crate::device::callback;
use crate::driver::Driver;
use crate::gate::Gated;
use crate::irq;
use crate::section::SignallingSection;
use crate::sync::SpinGuard;

/// What there is to know of reports, so that none follows the last word.
///
/// # Invariants
///
/// Changed under the queue's lock. Once it has ended, `reports` does not grow.
#[derive(Default)]
pub(super) struct Seat {
    /// Reports that are on their way.
    reports: u32,
    /// The queue has ended.
    ended: bool,
    detached: bool,
}

impl Seat {
    /// Core wants something told. False if it is too late.
    pub(super) fn begins_report(&mut self) -> bool {
        if self.ended {
            return false;
        }
        self.reports += 1;
        true
    }

    /// True, once, when the last word may be said.
    fn takes_last_word(&mut self) -> bool {
        self.ended && self.reports == 0 && !std::mem::replace(&mut self.detached, true)
    }
}

impl<D: Driver> Gated for Shared<D> {
    fn set_gate(self: Arc<Self>, gate: core_queue::Gate) -> u64 {
        let set = |core: &mut super::Core<D>| core.set_gate(gate, monotonic());
        let seen = match gate {
            core_queue::Gate::Open => self.event_here(set),
            // A worker in mid-batch should notice.
            core_queue::Gate::Yield | core_queue::Gate::Shut => self.urgent_event(set),
        };
        if irq::in_handler() {
            self.leave_behind();
        }
        match seen {
            Ok(version) => version,
            Err(_) => {
                debug_assert!(false, "only a gated queue has a control");
                0
            }
        }
    }
}

impl<D: Driver> Shared<D> {
    /// Tells the gate what core says.
    #[cold]
    pub(super) fn report(&self, report: GateReport) {
        let Some(gate) = &self.gate else {
            debug_assert!(false, "only a gated queue reports");
            return;
        };
        // As in a callback, so that a visit from inside leaves what it may not do to the worker: else
        // a gate that answers each report could be called in itself without end.
        callback::enter(self.scope.id(), || {
            let _section = SignallingSection::enter();
            let _panic = catch_unwind(AssertUnwindSafe(|| gate.report(report)));
        });
        let mut state = self.lock();
        state.gate.reports -= 1;
        self.say_last_word(state);
    }

    /// The queue has ended: its gate is told, once no report is on its way.
    pub(super) fn detach(&self, mut state: SpinGuard<'_, State<D>>) {
        state.gate.ended = true;
        self.say_last_word(state);
    }

    fn say_last_word(&self, mut state: SpinGuard<'_, State<D>>) {
        let Some(gate) = &self.gate else { return };
        if !state.gate.takes_last_word() {
            return;
        }
        drop(state);
        callback::enter(self.scope.id(), || {
            let _panic = catch_unwind(AssertUnwindSafe(|| gate.detached()));
        });
    }
}
