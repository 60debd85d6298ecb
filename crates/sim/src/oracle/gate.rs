// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The model's gate: what it keeps back, and what who sets it is told.

use ringfence_core::{Context, Effect, Gate, GateReport, Lifecycle, Out};

use super::Oracle;

/// What the model knows of its gate.
#[derive(Debug)]
pub(super) struct Keeper {
    /// `None` where there is none.
    gate: Option<Gate>,
    told: GateReport,
    changed: bool,
}

impl Keeper {
    pub(super) fn new(gated: bool) -> Self {
        Self {
            gate: gated.then_some(Gate::Shut),
            told: GateReport {
                version: 0,
                wants: false,
                out: Out::Nothing,
            },
            changed: false,
        }
    }

    /// It keeps every callback back.
    pub(super) fn is_shut(&self) -> bool {
        self.gate == Some(Gate::Shut)
    }

    /// It keeps jobs from being run.
    pub(super) fn holds_runs(&self) -> bool {
        self.gate.is_some_and(|gate| gate != Gate::Open)
    }
}

impl Oracle {
    pub(crate) fn gate(&self) -> Option<Gate> {
        self.keeper.gate
    }

    /// The version of the last report; `None` where there is no gate.
    pub(crate) fn set_gate(&mut self, gate: Gate, now: u64) -> Option<u64> {
        let before = self.keeper.gate?;
        if gate != before {
            self.change_hold(now, |model| model.keeper.gate = Some(gate));
            self.keeper.changed = true;
        }
        Some(self.keeper.told.version)
    }

    /// What is so now.
    fn what_is_so(&self) -> (bool, Out) {
        let on_hardware = self.jobs.iter().any(super::Job::on_hardware);
        let inside = self.driver_is_inside();
        let held = self.suspends != 0 || self.stopped || self.recovery.is_some();
        let could_run = !held && !self.unbound && self.next_ready().is_some();
        let killed = matches!(self.lifecycle, Lifecycle::Killed(_));
        let out = if self.keeper.gate == Some(Gate::Open) && !killed {
            Out::Open
        } else if inside {
            Out::Inside
        } else if on_hardware {
            Out::OnHardware
        } else {
            Out::Nothing
        };
        (on_hardware || inside || could_run, out)
    }

    pub(super) fn report_is_due(&self) -> bool {
        let told = (self.keeper.told.wants, self.keeper.told.out);
        self.keeper.gate.is_some()
            && !self.told_closed
            && (self.keeper.changed || told != self.what_is_so())
    }

    /// The last report, or the next one where there is one to be made.
    pub(crate) fn gate_report(&self) -> Option<GateReport> {
        self.keeper.gate?;
        if !self.report_is_due() {
            return Some(self.keeper.told);
        }
        let (wants, out) = self.what_is_so();
        let version = self.keeper.told.version + 1;
        Some(GateReport {
            version,
            wants,
            out,
        })
    }

    pub(super) fn choose_report(&mut self, context: Context) -> Option<Effect> {
        if !self.report_is_due() || matches!(context, Context::Irq | Context::Nested) {
            return None;
        }
        let report = self.gate_report()?;
        self.keeper.told = report;
        self.keeper.changed = false;
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
}
