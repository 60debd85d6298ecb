// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who sets the gates of queues, and what he may rely on. Reports are on their way for a while and
//! arrive in any order.

use ringfence_core::{Gate, GateReport, Out};

use super::super::coverage::Hosted;
use super::super::log::{Detail, Event};
use super::{Line, World};
use crate::judge::Verdict;

/// What the keeper of one queue's gate knows.
#[derive(Debug)]
pub(super) struct Keeper {
    /// The gate as he has set it; `None` where there is none.
    gate: Option<Gate>,
    /// Reports with a greater version are of after he set it so.
    since: u64,
    /// The newest report that has arrived.
    newest: GateReport,
    /// Reports that have not, oldest first.
    on_the_way: Vec<GateReport>,
}

impl Keeper {
    pub(super) fn new(gated: bool) -> Self {
        Self {
            gate: gated.then_some(Gate::Shut),
            since: 0,
            newest: GateReport {
                version: 0,
                wants: false,
                out: Out::Nothing,
            },
            on_the_way: Vec::new(),
        }
    }

    /// The queue's host is about to tell him.
    pub(super) fn sends(&mut self, report: GateReport) {
        self.on_the_way.push(report);
    }
}

impl Line {
    /// What the keeper concludes from what he was told is so.
    pub(super) fn keeper_is_right(&self) -> Verdict {
        let keeper = &self.keeper;
        let report = keeper.newest;
        let gate = keeper.gate.unwrap_or(Gate::Open);
        if gate == Gate::Open || report.version <= keeper.since {
            return Ok(());
        }
        if report.out == Out::Nothing && self.judge.is_on_hardware() {
            return Err(format!(
                "its keeper takes the hardware away, by {report:?}, and a job is on it"
            ));
        }
        let let_go = matches!(report.out, Out::Nothing | Out::OnHardware);
        let walked = self.judge.walked.is_some();
        if gate == Gate::Shut && let_go && self.inside != 0 && !walked {
            return Err(format!(
                "its keeper moves the hardware's jobs, by {report:?}, and the driver is inside"
            ));
        }
        Ok(())
    }

    /// In the end he has heard all there was to hear.
    pub(super) fn keeper_knows_all(&self) -> Verdict {
        let (keeper, told) = (&self.keeper, self.judge.gated.told);
        if keeper.on_the_way.is_empty() && keeper.newest == told {
            return Ok(());
        }
        Err(format!("the gate was told {told:?}, its keeper {keeper:?}"))
    }
}

impl World {
    pub(super) fn set_gate(&mut self, queue: u8, gate: Gate) -> Verdict {
        let (now, time) = (self.now, self.time());
        let line = self.line(queue);
        let got = line.port.set_gate(gate, time).ok();
        line.judge.set_gate(gate, now, got)?;
        if let (Some(version), true) = (got, line.keeper.gate != Some(gate)) {
            line.keeper.gate = Some(gate);
            line.keeper.since = version;
        }
        let (seen, text) = match (got, gate) {
            (None, _) => (Hosted::NoGate, "refused"),
            (_, Gate::Open) => (Hosted::GateOpened, "open"),
            (_, Gate::Yield) => (Hosted::GateYields, "yield"),
            (_, Gate::Shut) => (Hosted::GateShut, "shut"),
        };
        self.coverage.hosted(seen);
        self.note(queue, None, None, Event::Gate, Detail::Text(text));
        self.stir(queue);
        Ok(())
    }

    /// A report arrives, one of those that are on their way.
    pub(super) fn report_arrives(&mut self, queue: u8, pick: u8) {
        let keeper = &mut self.line(queue).keeper;
        let Some(at) = usize::from(pick).checked_rem(keeper.on_the_way.len()) else {
            return;
        };
        let report = keeper.on_the_way.remove(at);
        let news = report.version > keeper.newest.version;
        if news {
            keeper.newest = report;
        }
        self.coverage.hosted(match news {
            true => Hosted::Report,
            false => Hosted::OldReport,
        });
        let detail = Detail::Number(report.version);
        self.note(queue, None, None, Event::Report, detail);
    }

    /// Reports arrive, the newest first, and each keeper opens to who wants. True if there was
    /// anything to be done.
    pub(super) fn keepers_work(&mut self) -> Result<bool, String> {
        let mut went = false;
        for queue in 0..self.lines.len() as u8 {
            while !self.line(queue).keeper.on_the_way.is_empty() {
                let last = self.line(queue).keeper.on_the_way.len() - 1;
                self.report_arrives(queue, last as u8);
                went = true;
            }
            let keeper = &self.line(queue).keeper;
            let shut = keeper.gate.is_some_and(|gate| gate != Gate::Open);
            if shut && keeper.newest.wants {
                self.set_gate(queue, Gate::Open)?;
                went = true;
            }
        }
        Ok(went)
    }
}
