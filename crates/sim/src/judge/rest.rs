// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What core must look like after every step, and when nobody is on the way to it.

use ringfence_core::{JobId, Lifecycle};

use super::{promise, Judge, Loan, Place, Verdict};
use crate::element::Core;

impl Judge {
    /// Core agrees in all there is to see, and its own invariants hold.
    pub(crate) fn check(&self, core: &Core) -> Verdict {
        core.check_invariants().map_err(|found| found.to_string())?;
        promise(core.credits_used() == self.credits, || {
            let (used, held) = (core.credits_used(), self.credits);
            format!("{used} credits are taken, jobs on the hardware hold {held}")
        })?;
        promise(core.len() == self.live().len() as u64, || {
            let (len, live) = (core.len(), self.live().len());
            format!("the queue has {len} jobs and should have {live}")
        })?;
        for i in self.live() {
            let seqno = self.seqno(i);
            let (got, want) = (
                core.state(JobId::from_seqno(seqno)),
                Self::state(&self.facts[i]),
            );
            promise(got == want, || format!("#{seqno} is {got}, not {want}"))?;
            let element = core.element(JobId::from_seqno(seqno));
            let payload = element.and_then(|element| element.payload);
            promise(payload == Some(seqno), || {
                format!("beside the entry of #{seqno} is the payload of {payload:?}")
            })?;
        }
        let got = (
            core.lifecycle(),
            core.suspends(),
            core.is_stopped(),
            core.is_unbound(),
            core.driver_is_inside(),
            core.is_quiet(),
            core.wants_recovery().is_some(),
            core.standing(),
            (core.gate(), core.gate_report()),
        );
        let want = (
            self.lifecycle(),
            self.suspends,
            self.stopped,
            self.unbound,
            self.driver_is_inside(),
            self.is_quiet(),
            self.recovery.is_some(),
            self.standing(),
            (self.gated.gate, self.gate_report()),
        );
        promise(got == want, || {
            format!("the queue as a whole is {got:?}, not {want:?}")
        })
    }

    /// Nobody visits the queue, its worker is idle, and all that happened to it was visited for:
    /// then nothing may be left to do, and what will be must have its timer. `visited` is when the
    /// last visit was over.
    pub(crate) fn at_rest(&self, timer: Option<u64>, visited: u64) -> Verdict {
        if let Some(oldest) = self.facts.get(self.reaped) {
            promise(!oldest.signalled || oldest.loan != Loan::None, || {
                let seqno = self.seqno(self.reaped);
                format!("the payload of #{seqno} was left behind")
            })?;
        }
        promise(self.recovery != Some(false), || {
            "nobody was told of the recovery".into()
        })?;
        self.all_is_told()?;
        let over = self.lifecycle() != Lifecycle::Open && self.live().is_empty();
        let told = self.told_closed || self.stopped || self.recovery.is_some();
        promise(!over || told, || "closed was never said".into())?;
        if let (false, Some(at), Some(span)) =
            (self.overdue, self.closing_at, self.config.close_timeout)
        {
            let limit = at.saturating_add(crate::oracle::whole_ns(span));
            // One that is armed is visited for when it is submitted.
            let submitted = |fact: &super::Fact| fact.place != Place::Armed;
            promise(
                !self.facts[self.reaped..].iter().any(submitted)
                    || timer.is_some_and(|timer| timer <= limit),
                || format!("no timer for the end of closing at {limit}"),
            )?;
        }
        let Some(head) = self.facts.get(self.signals_out) else {
            return Ok(());
        };
        let seqno = self.seqno(self.signals_out);
        promise(head.place != Place::Over, || {
            format!("nobody signals #{seqno}, which is done")
        })?;
        if self.is_held() || self.unbound {
            return Ok(());
        }
        self.head_is_timed(seqno, head, timer, visited)?;
        self.nothing_runnable()
    }

    fn head_is_timed(
        &self,
        seqno: u64,
        head: &super::Fact,
        timer: Option<u64>,
        visited: u64,
    ) -> Verdict {
        if head.place != Place::Hardware || head.loan != Loan::None || self.walked.is_some() {
            return Ok(());
        }
        promise(!self.overdue && !head.triggered, || {
            format!("nobody asks about #{seqno}, whose time is up")
        })?;
        let due = visited.saturating_add(head.span);
        promise(
            head.timeout == 0 && head.span == 0 || timer.is_some_and(|timer| timer <= due),
            || format!("#{seqno} has no timer: {timer:?}, due at {due}"),
        )
    }

    fn nothing_runnable(&self) -> Verdict {
        let waits = |fact: &&super::Fact| matches!(fact.place, Place::Armed | Place::Line);
        let next = self.facts[self.reaped..].iter().find(waits);
        let runs = self.gated.lets_run() && self.next_is_ready();
        promise(!runs || self.driver_is_inside(), || {
            format!("a job could run and nobody comes: {next:?}")
        })
    }

    /// The next job in line wants for nothing but the driver.
    pub(super) fn next_is_ready(&self) -> bool {
        let waits = |fact: &&super::Fact| matches!(fact.place, Place::Armed | Place::Line);
        let next = self.facts[self.reaped..].iter().find(waits);
        next.is_some_and(|next| {
            next.place == Place::Line
                && next.open == 0
                && next.outcome.is_none()
                && !next.resource_wait
                && next.cost <= self.config.credits - self.credits
        })
    }

    /// True if the next job in line only wants for credits.
    pub(crate) fn is_starved(&self) -> bool {
        let waits = |fact: &&super::Fact| matches!(fact.place, Place::Armed | Place::Line);
        let next = self.facts[self.reaped..].iter().find(waits);
        next.is_some_and(|next| {
            next.place == Place::Line
                && next.open == 0
                && !next.resource_wait
                && next.cost > self.config.credits - self.credits
        })
    }

    /// All is over: nothing leaks, and everything was counted.
    pub(crate) fn at_the_end(&self, core: &Core) -> Verdict {
        promise(core.stats() == self.stats, || {
            let (got, want) = (core.stats(), self.stats);
            format!("the queue counted {got:?}, not {want:?}")
        })?;
        promise(self.told_closed, || "the queue never closed".into())?;
        promise(self.reaped == self.facts.len(), || {
            format!("#{} leaks", self.seqno(self.reaped))
        })?;
        promise(self.credits == 0, || {
            format!("{} credits leak", self.credits)
        })
    }
}
