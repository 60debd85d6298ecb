// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Checks of a queue's history that know neither core nor the model: what a host may rely on.
//!
//! The history hears what was done to the queue and what the queue asked for, and says which
//! promise was broken.

mod effects;

use ringfence_core::{ClosePolicy, Config, Errno, Outcome, RunOutcome, TimeoutOutcome};

use crate::oracle::VisitId;

/// Says which promise was broken.
pub(crate) type Verdict = Result<(), String>;

/// Fails with a message unless `holds`.
pub(crate) fn promise(holds: bool, message: impl FnOnce() -> String) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err(message())
    }
}

/// What is known of one job for a fact.
#[derive(Debug, Default)]
struct Fact {
    cost: u32,
    timeout: Option<u64>,
    run_on_error: bool,
    submitted: bool,
    open: u32,
    /// Ways to end that someone has asked for or caused.
    reasons: Vec<Outcome>,
    /// It must not run any more.
    barred: bool,
    running: Option<VisitId>,
    asked: Option<VisitId>,
    on_hardware: bool,
    waits_for_resource: bool,
    /// It was started, and not put back in line.
    started: bool,
    triggered: bool,
    extensions: u8,
    /// It cannot time out before this much time without suspension has passed.
    not_before: Option<u64>,
    out: bool,
    signalled: bool,
    reaped: bool,
}

/// What has happened to one queue.
#[derive(Debug)]
pub(crate) struct History {
    config: Config,
    reap_in_irq: bool,
    facts: Vec<Fact>,
    signals_out: usize,
    signals_done: usize,
    reaped: usize,
    killed: Option<Errno>,
    closing: Option<ClosePolicy>,
    unbound: bool,
    suspends: u32,
    /// Time without suspension up to `at`.
    active: u64,
    at: u64,
    told_closed: bool,
}

impl History {
    pub(crate) fn new(config: Config, reap_in_irq: bool) -> Self {
        Self {
            config,
            reap_in_irq,
            facts: Vec::new(),
            signals_out: 0,
            signals_done: 0,
            reaped: 0,
            killed: None,
            closing: None,
            unbound: false,
            suspends: 0,
            active: 0,
            at: 0,
            told_closed: false,
        }
    }

    fn index(&self, seqno: u64) -> Result<usize, String> {
        let i = seqno.wrapping_sub(self.config.first_seqno);
        usize::try_from(i)
            .ok()
            .filter(|i| *i < self.facts.len())
            .ok_or_else(|| format!("#{seqno} was never armed"))
    }

    fn seqno(&self, i: usize) -> u64 {
        self.config.first_seqno.wrapping_add(i as u64)
    }

    fn live(&self) -> impl Iterator<Item = (usize, &Fact)> {
        self.facts.iter().enumerate().skip(self.reaped)
    }

    /// Jobs for which `fits` holds, by sequence number; the kinds a host chooses from.
    fn pick(&self, fits: impl Fn(&Fact) -> bool) -> Vec<u64> {
        let fitting = self.live().filter(|(_, fact)| fits(fact));
        fitting.map(|(i, _)| self.seqno(i)).collect()
    }

    pub(crate) fn any(&self) -> Vec<u64> {
        self.pick(|_| true)
    }

    pub(crate) fn armed_only(&self) -> Vec<u64> {
        self.pick(|fact| !fact.submitted)
    }

    pub(crate) fn waiting_for_fences(&self) -> Vec<u64> {
        self.pick(|fact| fact.submitted && fact.open > 0)
    }

    pub(crate) fn waiting_for_resources(&self) -> Vec<u64> {
        self.pick(|fact| fact.waits_for_resource)
    }

    pub(crate) fn not_started(&self) -> Vec<u64> {
        self.pick(|fact| !fact.started && !fact.out)
    }

    /// On the hardware, the run callback having returned.
    pub(crate) fn on_hardware(&self) -> Vec<u64> {
        self.pick(|fact| fact.on_hardware && fact.running.is_none())
    }

    pub(crate) fn may_hang(&self, seqno: u64) -> bool {
        let fact = self.index(seqno).map(|i| &self.facts[i]);
        fact.is_ok_and(|fact| fact.not_before.is_some())
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.suspends != 0
    }

    pub(crate) fn is_over(&self) -> bool {
        self.closing.is_some() || self.killed.is_some()
    }

    pub(crate) fn armed(&self) -> usize {
        self.facts.len()
    }

    fn credits(&self) -> u64 {
        let costs = self.live().filter(|(_, fact)| fact.on_hardware);
        costs.map(|(_, fact)| u64::from(fact.cost)).sum()
    }

    fn active(&mut self, now: u64) -> u64 {
        if self.suspends == 0 {
            self.active += now - self.at;
        }
        self.at = now;
        self.active
    }
}

/// What was done to the queue. Only what it accepted is told.
impl History {
    pub(crate) fn arm(
        &mut self,
        seqno: u64,
        cost: u32,
        timeout: Option<u64>,
        run_on_error: bool,
    ) -> Verdict {
        promise(seqno == self.seqno(self.facts.len()), || {
            format!("#{seqno} was armed out of sequence")
        })?;
        self.facts.push(Fact {
            cost,
            timeout,
            run_on_error,
            barred: self.is_over(),
            ..Fact::default()
        });
        Ok(())
    }

    pub(crate) fn submit(&mut self, seqno: u64, open: u32, abandoned: bool) -> Verdict {
        let i = self.index(seqno)?;
        let drains = self.closing == Some(ClosePolicy::Drain) && self.killed.is_none();
        let over = self.is_over() && !drains;
        let killed = self.killed;
        let fact = &mut self.facts[i];
        promise(!fact.submitted, || format!("#{seqno} was submitted twice"))?;
        fact.submitted = true;
        fact.open = open;
        fact.barred |= abandoned || over;
        if fact.barred {
            fact.reasons.push(Outcome::Cancelled(Errno::ECANCELED));
            fact.reasons.extend(killed.map(Outcome::Cancelled));
        }
        Ok(())
    }

    pub(crate) fn dependency(&mut self, seqno: u64, result: Result<(), Errno>) -> Verdict {
        let i = self.index(seqno)?;
        let fact = &mut self.facts[i];
        promise(fact.open > 0, || format!("#{seqno} waits for no fence"))?;
        fact.open -= 1;
        if let (Err(error), false) = (result, fact.run_on_error) {
            fact.reasons.push(Outcome::Failed(error));
            fact.barred = true;
        }
        Ok(())
    }

    pub(crate) fn resource(&mut self, seqno: u64) -> Verdict {
        let i = self.index(seqno)?;
        self.facts[i].waits_for_resource = false;
        Ok(())
    }

    pub(crate) fn cancel(&mut self, seqno: u64, error: Errno, granted: bool) -> Verdict {
        let i = self.index(seqno)?;
        let fact = &mut self.facts[i];
        if granted {
            promise(!fact.started, || format!("#{seqno} runs and was cancelled"))?;
            fact.reasons.push(Outcome::Cancelled(error));
            fact.barred = true;
            return Ok(());
        }
        let late = fact.started || fact.barred || fact.out;
        promise(late, || format!("#{seqno} could have been cancelled"))
    }

    pub(crate) fn complete(
        &mut self,
        seqno: u64,
        result: Result<(), Errno>,
        finished: bool,
    ) -> Verdict {
        let Ok(i) = self.index(seqno) else {
            return promise(!finished, || format!("#{seqno} is unknown and completed"));
        };
        let on_hardware = self.facts[i].on_hardware;
        promise(finished == on_hardware, || {
            format!("a completion of #{seqno}: accepted {finished}, on hardware {on_hardware}")
        })?;
        if finished {
            self.ends(
                i,
                result.map_or_else(Outcome::Failed, |()| Outcome::Completed),
            );
        }
        Ok(())
    }

    fn ends(&mut self, i: usize, outcome: Outcome) {
        self.facts[i].on_hardware = false;
        self.facts[i].reasons.push(outcome);
    }

    pub(crate) fn run_returned(&mut self, seqno: u64, answer: RunOutcome, now: u64) -> Verdict {
        let i = self.index(seqno)?;
        let active = self.active(now);
        let visit = self.facts[i].running.take();
        if !self.facts[i].on_hardware {
            return Ok(());
        }
        match answer {
            RunOutcome::Pending => {
                self.facts[i].not_before = self.facts[i].timeout.map(|span| active + span);
            }
            RunOutcome::Done => self.ends(i, Outcome::Completed),
            RunOutcome::Failed(error) => self.ends(i, Outcome::Failed(error)),
            RunOutcome::NoResources => {
                self.back_in_line(i, true);
                self.hand_back(visit);
            }
        }
        Ok(())
    }

    pub(crate) fn hand_back(&mut self, visit: Option<VisitId>) {
        for i in self.reaped..self.facts.len() {
            if self.facts[i].running.is_some() && self.facts[i].running == visit {
                self.facts[i].running = None;
                if self.facts[i].on_hardware {
                    self.back_in_line(i, false);
                }
            }
        }
    }

    fn back_in_line(&mut self, i: usize, for_resource: bool) {
        let cancel = self.closing == Some(ClosePolicy::Cancel);
        let fact = &mut self.facts[i];
        fact.on_hardware = false;
        fact.started = false;
        fact.waits_for_resource = for_resource;
        if cancel {
            fact.barred = true;
            fact.reasons.push(Outcome::Cancelled(Errno::ECANCELED));
        }
    }

    pub(crate) fn trigger(&mut self, granted: bool) -> Verdict {
        let head = self.facts.get_mut(self.signals_out);
        match head {
            Some(fact) if fact.on_hardware && fact.running.is_none() && fact.asked.is_none() => {
                fact.triggered = granted;
                promise(granted, || "a timeout was not triggered".into())
            }
            _ => promise(!granted, || "a timeout was triggered for no job".into()),
        }
    }

    pub(crate) fn verdict(&mut self, seqno: u64, verdict: TimeoutOutcome, now: u64) -> Verdict {
        let i = self.index(seqno)?;
        let active = self.active(now);
        let max = self.config.extensions_max;
        let fact = &mut self.facts[i];
        fact.asked = None;
        fact.triggered = false;
        if fact.on_hardware {
            match verdict {
                TimeoutOutcome::NoHang => fact.not_before = fact.timeout.map(|s| active + s),
                TimeoutOutcome::Extend(span) if fact.extensions < max => {
                    fact.extensions += 1;
                    fact.not_before = Some(active + crate::oracle::whole_ns(span));
                }
                TimeoutOutcome::Extend(_) => self.ends(i, Outcome::TimedOut(Errno::ETIME)),
                // No operation answers so yet.
                TimeoutOutcome::Reset => {}
                TimeoutOutcome::Handled(error) => self.ends(i, Outcome::TimedOut(error)),
                TimeoutOutcome::DeviceGone => self.ends(i, Outcome::TimedOut(Errno::ENODEV)),
            }
        }
        if verdict == TimeoutOutcome::DeviceGone {
            self.kill(Errno::ENODEV);
        }
        Ok(())
    }

    pub(crate) fn signalled(&mut self, seqno: u64) -> Verdict {
        let i = self.index(seqno)?;
        promise(i == self.signals_done && self.facts[i].out, || {
            format!("#{seqno} signalled out of order")
        })?;
        self.signals_done += 1;
        self.facts[i].signalled = true;
        Ok(())
    }

    pub(crate) fn kill(&mut self, error: Errno) {
        if self.killed.is_some() {
            return;
        }
        self.killed = Some(error);
        for fact in &mut self.facts[self.reaped..] {
            fact.barred = true;
            if !fact.submitted {
                continue;
            }
            fact.reasons.push(if fact.on_hardware {
                Outcome::Failed(error)
            } else {
                Outcome::Cancelled(error)
            });
            fact.on_hardware = false;
        }
    }

    pub(crate) fn unbind(&mut self, error: Errno) {
        self.kill(error);
        self.unbound = true;
    }

    pub(crate) fn close(&mut self, policy: ClosePolicy) {
        if self.closing.is_none() || policy == ClosePolicy::Cancel {
            self.closing = Some(policy);
        }
        if self.killed.is_some() || self.closing != Some(ClosePolicy::Cancel) {
            return;
        }
        for fact in &mut self.facts[self.reaped..] {
            if !fact.started {
                fact.barred = true;
                fact.reasons.push(Outcome::Cancelled(Errno::ECANCELED));
            }
        }
    }

    pub(crate) fn suspend(&mut self, now: u64) {
        self.active(now);
        self.suspends += 1;
    }

    pub(crate) fn resume(&mut self, now: u64) {
        self.active(now);
        self.suspends = self.suspends.saturating_sub(1);
    }
}
