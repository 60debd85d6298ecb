// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The gate: what it holds up, and what is told about it.

use super::{Lifecycle, Queue};
use crate::effect::{Context, Effect, Visit};
use crate::entry::{HasEntry, Refused};
use crate::gate::{Gate, GateReport, Out};
use crate::log::What;
use crate::time::Time;

impl<S: AsRef<[P]> + AsMut<[P]>, P: HasEntry> Queue<S, P> {
    /// Sets the gate of a [gated](super::Config::gated) queue, which is shut at first. Callbacks
    /// that have begun end in their own time. A change is always reported, and all reports with a
    /// version above the one returned are of after it: who needs the hardware for another queue
    /// waits for one that says that this queue has let go.
    ///
    /// # Errors
    ///
    /// [`Refused::NotGated`]: the queue has no gate.
    pub fn set_gate(&mut self, gate: Gate, now: Time) -> Result<u64, Refused> {
        if !self.config.gated {
            return Err(Refused::NotGated);
        }
        if gate != self.gate.gate {
            self.change_hold(now, |queue| queue.gate.gate = gate);
            self.gate.changed = true;
            let what = match gate {
                Gate::Open => What::GateOpens,
                Gate::Yield => What::GateYields,
                Gate::Shut => What::GateShuts,
            };
            self.note(what, self.tail);
        }
        Ok(self.gate.told.version)
    }

    /// The gate as it is set; `None` for a queue without one.
    pub fn gate(&self) -> Option<Gate> {
        self.config.gated.then_some(self.gate.gate)
    }

    /// What is so now: the report that was told last, or the one that is to be told next. `None`
    /// for a queue without a gate.
    pub fn gate_report(&self) -> Option<GateReport> {
        if !self.config.gated {
            return None;
        }
        Some(self.due_report().unwrap_or(self.gate.told))
    }

    /// Tells what has changed, where this visit may.
    #[inline]
    pub(super) fn next_report(&mut self, visit: &Visit) -> Option<Effect> {
        if !self.is_gated() || matches!(visit.context, Context::Irq | Context::Nested) {
            return None;
        }
        let report = self.due_report()?;
        self.gate.told = report;
        self.gate.changed = false;
        let GateReport {
            version,
            wants,
            out,
        } = report;
        Some(Effect::Gate {
            version,
            wants,
            out,
        })
    }

    /// True if there is something to be told.
    #[inline]
    pub(super) fn report_is_due(&self) -> bool {
        self.is_gated() && self.due_report().is_some()
    }

    /// The next report, where what is so differs from what was told.
    fn due_report(&self) -> Option<GateReport> {
        if self.closed_told {
            return None;
        }
        let told = self.gate.told;
        let (on_hardware, inside) = (self.is_on_hardware(), self.driver_is_inside());
        let wants = on_hardware || inside || self.could_run();
        let killed = matches!(self.lifecycle, Lifecycle::Killed(_));
        let out = match (inside, on_hardware) {
            _ if self.gate.gate == Gate::Open && !killed => Out::Open,
            (true, _) => Out::Inside,
            (false, true) => Out::OnHardware,
            (false, false) => Out::Nothing,
        };
        if (wants, out) == (told.wants, told.out) && !self.gate.changed {
            return None;
        }
        Some(GateReport {
            version: told.version + 1,
            wants,
            out,
        })
    }

    /// True if the driver or the hardware has a job that has not ended. Those that have ended and
    /// wait for their turn to signal are looked through: the oldest one has not, as a rule.
    fn is_on_hardware(&self) -> bool {
        let mut seqno = self.signal_next;
        while seqno != self.run_next {
            let state = self.entry(seqno).map(|entry| entry.state);
            if state.is_some_and(|state| state.holds_credits()) {
                return true;
            }
            seqno = seqno.wrapping_add(1);
        }
        false
    }

    /// True if a job could be run but for the gate.
    fn could_run(&self) -> bool {
        !self.is_held_otherwise() && !self.unbound && self.next_in_line().is_some()
    }
}
