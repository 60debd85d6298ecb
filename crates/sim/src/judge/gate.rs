// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The gate: who set it, and whether what is reported is so.

use ringfence_core::{Gate, GateReport, Out};

use super::{promise, Judge, Place, Verdict};

/// What has happened to a queue's gate.
#[derive(Debug)]
pub(crate) struct Gated {
    /// `None` where there is none.
    pub(crate) gate: Option<Gate>,
    /// The last report.
    pub(crate) told: GateReport,
    changed: bool,
}

impl Gated {
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

    /// Jobs may be run as far as the gate is concerned.
    pub(super) fn lets_run(&self) -> bool {
        self.gate.is_none_or(|gate| gate == Gate::Open)
    }
}

impl Judge {
    /// The gate was to be set; `got` is the version of the last report, or `None` for a refusal.
    pub(crate) fn set_gate(&mut self, gate: Gate, now: u64, got: Option<u64>) -> Verdict {
        self.active(now);
        let want = self.gated.gate.map(|_| self.gated.told.version);
        promise(got == want, || {
            format!("setting the gate said {got:?}, not {want:?}")
        })?;
        if let Some(before) = self.gated.gate {
            self.gated.changed |= before != gate;
            self.gated.gate = Some(gate);
        }
        Ok(())
    }

    /// What a report made now would have to say.
    fn what_is_so(&self) -> (bool, Out) {
        let on_hardware = self.is_on_hardware();
        let inside = self.driver_is_inside();
        let held = self.suspends != 0 || self.stopped || self.recovery.is_some();
        let could = !held && !self.unbound && self.next_is_ready();
        let out = match (inside, on_hardware) {
            _ if self.gated.gate == Some(Gate::Open) && self.killed.is_none() => Out::Open,
            (true, _) => Out::Inside,
            (false, true) => Out::OnHardware,
            (false, false) => Out::Nothing,
        };
        (on_hardware || inside || could, out)
    }

    /// Some job is with the driver or on the hardware.
    pub(crate) fn is_on_hardware(&self) -> bool {
        let mut live = self.facts[self.reaped..].iter();
        live.any(|fact| fact.place == Place::Hardware)
    }

    /// The report that is to be made, where there is one.
    fn due(&self) -> Option<GateReport> {
        self.gated.gate?;
        let told = self.gated.told;
        let (wants, out) = self.what_is_so();
        let news = self.gated.changed || (told.wants, told.out) != (wants, out);
        (news && !self.told_closed).then_some(GateReport {
            version: told.version + 1,
            wants,
            out,
        })
    }

    /// What core must say when it is asked.
    pub(super) fn gate_report(&self) -> Option<GateReport> {
        self.gated.gate?;
        Some(self.due().unwrap_or(self.gated.told))
    }

    /// The queue reports.
    pub(super) fn on_report(&mut self, report: GateReport) -> Verdict {
        let due = self.due();
        promise(due == Some(report), || {
            format!("the gate is told {report:?}, and should be told {due:?}")
        })?;
        self.gated.told = report;
        self.gated.changed = false;
        Ok(())
    }

    /// Nobody visits the queue: its keeper knows all there is to know.
    pub(super) fn all_is_told(&self) -> Verdict {
        let due = self.due();
        promise(due.is_none(), || format!("the gate is not told {due:?}"))
    }
}
