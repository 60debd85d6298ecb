// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Judges one queue: what was done to it and what it asked for, against its documented rules.
//!
//! Knows nothing of core's cursors and clocks: a list of facts in the order of sequence numbers,
//! of which only those between the oldest payload and the newest job are looked at.

mod effects;
mod events;
mod gate;
mod recovery;
mod rest;
mod rooms;

use ringfence_core::state::JobEvent;
use ringfence_core::{
    ClosePolicy, Config, Errno, Gate, Lifecycle, OnDependencyError, Outcome, State, Stats,
};

pub(crate) use events::Wish;

pub(crate) use crate::oracle::VisitId;

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

/// Where a job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// With its submitter.
    Armed,
    /// In line, or given up and waiting for what it waited for.
    Line,
    /// With the driver or on the hardware.
    Hardware,
    /// Its outcome is decided.
    Over,
}

/// Who has a job now, apart from the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loan {
    None,
    Run(VisitId),
    Timeout(VisitId),
    Walk,
    Replay,
}

/// What is known of one job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fact {
    pub(crate) place: Place,
    pub(crate) loan: Loan,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) cost: u32,
    /// In nanoseconds; 0 for none.
    pub(crate) timeout: u64,
    pub(crate) run_on_error: bool,
    /// Dependencies that have not signalled.
    pub(crate) open: u32,
    pub(crate) resource_wait: bool,
    /// The driver has taken it: its run callback must never see it again.
    pub(crate) taken: bool,
    pub(crate) attempt: u8,
    pub(crate) extensions: u8,
    pub(crate) triggered: bool,
    /// Since when its time counts, and how much it has, in time without holds.
    pub(crate) since: u64,
    pub(crate) span: u64,
    /// Its fence was handed out; has signalled; its payload was handed out.
    pub(crate) out: bool,
    pub(crate) signalled: bool,
    pub(crate) reaped: bool,
    /// Its fence in the fence table.
    pub(crate) fence: u32,
}

/// What has happened to one queue.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) config: Config,
    timeout: u64,
    reap_in_irq: bool,
    pub(crate) facts: Vec<Fact>,
    pub(crate) signals_out: usize,
    signals_done: usize,
    pub(crate) reaped: usize,
    credits: u32,
    killed: Option<Errno>,
    closing: Option<ClosePolicy>,
    pub(crate) closing_at: Option<u64>,
    overdue: bool,
    banned: bool,
    strikes: u8,
    last_strike: u64,
    unbound: bool,
    suspends: u32,
    pub(crate) stopped: bool,
    /// A recovery is wanted; whether the host was told.
    recovery: Option<bool>,
    pub(crate) walked: Option<usize>,
    runs: u16,
    asking: bool,
    /// Time without holds up to `at`.
    active: u64,
    at: u64,
    /// Since when the head of the line is that.
    head_since: u64,
    pub(crate) told_closed: bool,
    pub(crate) gated: gate::Gated,
    /// What the queue must have counted.
    pub(crate) stats: Stats,
    /// Legal steps seen, by state and event.
    pub(crate) steps: [[u32; JobEvent::ALL.len()]; State::ALL.len()],
}

impl Judge {
    pub(crate) fn new(config: Config, reap_in_irq: bool, facts: Vec<Fact>) -> Self {
        Self {
            timeout: config
                .timeout
                .map_or(0, |span| crate::oracle::whole_ns(span).max(1)),
            config,
            reap_in_irq,
            facts,
            signals_out: 0,
            signals_done: 0,
            reaped: 0,
            credits: 0,
            killed: None,
            closing: None,
            closing_at: None,
            overdue: false,
            banned: false,
            strikes: 0,
            last_strike: 0,
            unbound: false,
            suspends: 0,
            stopped: false,
            recovery: None,
            walked: None,
            runs: 0,
            asking: false,
            active: 0,
            at: 0,
            head_since: 0,
            told_closed: false,
            gated: gate::Gated::new(config.gated),
            stats: Stats::default(),
            steps: [[0; JobEvent::ALL.len()]; State::ALL.len()],
        }
    }

    /// The index of a job, where it was ever armed.
    pub(crate) fn find(&self, seqno: u64) -> Option<usize> {
        let index = usize::try_from(seqno.wrapping_sub(self.config.first_seqno)).ok()?;
        (index < self.facts.len()).then_some(index)
    }

    pub(super) fn index(&self, seqno: u64) -> Result<usize, String> {
        self.find(seqno)
            .ok_or_else(|| format!("#{seqno} was never armed"))
    }

    pub(crate) fn seqno(&self, index: usize) -> u64 {
        self.config.first_seqno.wrapping_add(index as u64)
    }

    /// The jobs whose payload is still there.
    pub(crate) fn live(&self) -> std::ops::Range<usize> {
        self.reaped..self.facts.len()
    }

    /// The one of the live jobs that fit which `pick` means.
    pub(crate) fn nth(&self, pick: u8, fits: impl Fn(&Fact) -> bool) -> Option<usize> {
        let live = &self.facts[self.reaped..];
        let count = live.iter().filter(|fact| fits(fact)).count();
        let nth = usize::from(pick).checked_rem(count)?;
        let found = live.iter().enumerate().filter(|(_, fact)| fits(fact));
        found.map(|(at, _)| self.reaped + at).nth(nth)
    }

    pub(crate) fn lifecycle(&self) -> Lifecycle {
        match (self.killed, self.banned, self.closing) {
            (Some(error), _, _) => Lifecycle::Killed(error),
            (None, true, _) => Lifecycle::Banned,
            (None, false, Some(policy)) => Lifecycle::Closing(policy),
            (None, false, None) => Lifecycle::Open,
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        let held = self.suspends != 0 || self.stopped || self.recovery.is_some();
        held || self.gated.gate == Some(Gate::Shut)
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.suspends != 0
    }

    pub(crate) fn is_unbound(&self) -> bool {
        self.unbound
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.killed.is_some()
    }

    pub(crate) fn is_overdue(&self) -> bool {
        self.overdue
    }

    pub(crate) fn driver_is_inside(&self) -> bool {
        self.runs != 0 || self.asking || self.walked.is_some()
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.stopped && self.runs == 0 && !self.asking
    }

    /// How a job that has not run ends now, where none is run any more.
    fn given_up(&self) -> Option<Outcome> {
        match self.lifecycle() {
            Lifecycle::Closing(ClosePolicy::Cancel) | Lifecycle::Banned => {
                Some(Outcome::Cancelled(Errno::ECANCELED))
            }
            _ => None,
        }
    }

    /// Time without holds up to `now`.
    fn active(&mut self, now: u64) -> u64 {
        if !self.is_held() {
            self.active += now.saturating_sub(self.at);
        }
        self.at = now;
        self.active
    }

    fn state(fact: &Fact) -> State {
        match (fact.place, fact.loan) {
            (Place::Armed, _) => State::Armed,
            (Place::Line, _) => State::Queued,
            (Place::Hardware, Loan::Run(_)) => State::Running,
            (Place::Hardware, _) => State::Pending,
            (Place::Over, _) if fact.reaped => State::Free,
            (Place::Over, _) if fact.signalled => State::Signalled,
            (Place::Over, _) if fact.out => State::Signalling,
            (Place::Over, _) => State::Done,
        }
    }

    fn step(&mut self, i: usize, event: JobEvent) {
        let state = Self::state(&self.facts[i]);
        self.steps[state as usize][event as usize] += 1;
    }

    /// A job's outcome is decided.
    fn end(&mut self, i: usize, outcome: Outcome) {
        self.step(i, JobEvent::Finish);
        let fact = &mut self.facts[i];
        if fact.place == Place::Hardware {
            self.credits -= fact.cost;
        }
        fact.place = Place::Over;
        fact.outcome = Some(outcome);
        fact.resource_wait = false;
        fact.triggered = false;
    }

    /// A job in line is not to run. Its fence still waits for what the job waited for, and the
    /// first reason stands.
    fn give_up(&mut self, i: usize, outcome: Outcome) {
        let outcome = *self.facts[i].outcome.get_or_insert(outcome);
        if self.facts[i].open == 0 {
            self.end(i, outcome);
        }
    }

    fn give_up_the_line(&mut self) {
        let Some(outcome) = self.given_up() else {
            return;
        };
        for i in self.live() {
            if self.facts[i].place == Place::Line {
                self.give_up(i, outcome);
            }
        }
    }

    /// True for what a failed dependency does to a job that says nothing itself.
    pub(crate) fn runs_on_error(&self) -> bool {
        self.config.on_dependency_error == OnDependencyError::Run
    }

    /// The queue's timeout in nanoseconds, 0 for none.
    pub(crate) fn timeout(&self) -> u64 {
        self.timeout
    }
}
