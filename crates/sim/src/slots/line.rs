// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A queue of core as a host has it: its gate, its worker, and what is known of each of its jobs.

use std::collections::VecDeque;
use std::time::Duration;

use ringfence_core::{Config, Gate, JobId, Outcome, Visit};
use ringfence_orchestrator_core::{Kinds, Priority, SeatId, Weight};

use super::setup::QueueSetup;
use crate::element::{storage, Core};

/// What is known of a job that has been armed and not been reaped.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    /// How long it takes.
    pub(super) takes: u64,
    /// Who submitted it.
    pub(super) client: usize,
    /// How it ended.
    pub(super) ended: Option<Outcome>,
    /// The device has done all of it.
    pub(super) done: bool,
    /// It has been given to the run callback.
    pub(super) taken: bool,
    /// How long the queue had been awake when the present attempt began.
    pub(super) awake_at: u64,
    /// Who waits for it.
    pub(super) waiters: Vec<(usize, JobId)>,
}

/// A queue, and what its host keeps of it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) core: Core,
    pub(super) setup: QueueSetup,
    /// Its seat, until that has gone.
    pub(super) seat: Option<SeatId>,
    /// The queues that must be resident with it, itself among them.
    pub(super) group: Vec<usize>,
    /// As it was in the beginning.
    pub(super) company: Vec<usize>,
    pub(super) facts: VecDeque<Fact>,
    /// The job that the first of them is about.
    pub(super) first: u64,
    /// What its timer is set to.
    pub(super) timer: Option<u64>,
    /// A visit whose run callback has not returned, and the job.
    pub(super) out: Option<(Visit, JobId)>,
    /// The device has let go of its context without having been asked.
    pub(super) lost: bool,
    /// Somebody has stopped it to recover it, or the device.
    pub(super) stopped: bool,
    /// Its seat is to come back, with these kinds of slots.
    pub(super) moves: Option<Kinds>,
    /// It has said that it is closed.
    pub(super) closed: bool,
    /// How long its clock has not stood still, up to `looked`.
    awake: u64,
    awake_since: Option<u64>,
    /// The last version that it has told its host.
    pub(super) said: u64,
    /// The last version that was reported.
    pub(super) version: u64,
    /// Its gate is to have yielded, for which the first report after this one speaks.
    pub(super) yields: Option<u64>,
    /// Its seat is to go.
    pub(super) removing: bool,
    /// Its seat has gone, or been another, in the middle of it all.
    pub(super) interrupted: bool,
    /// When it was last told to yield.
    pub(super) yields_since: u64,
    /// The kinds of slots that it may have been on at any time.
    pub(super) kinds: Kinds,
    /// What it was due at any time: the least of it counts.
    pub(super) dues: Vec<(Priority, Weight)>,
    pub(super) submitted: u64,
    pub(super) ended: u64,
    /// When the last of its jobs ended.
    pub(super) last_end: u64,
    pub(super) longest_wait: u64,
    pub(super) busy: u64,
    /// What it had executed when clients stopped.
    pub(super) executed_then: u64,
}

impl Line {
    pub(super) fn new(setup: QueueSetup) -> Result<Self, String> {
        let config = Config {
            credits: setup.credits,
            timeout: setup.timeout_ns.map(Duration::from_nanos),
            gated: true,
            ..Config::default()
        };
        let core = Core::new(config, storage(setup.entries));
        let core = core.map_err(|error| format!("a queue of this setup: {error}"))?;
        Ok(Self {
            core,
            setup,
            seat: None,
            group: Vec::new(),
            company: Vec::new(),
            facts: VecDeque::new(),
            first: config.first_seqno,
            timer: None,
            out: None,
            lost: false,
            stopped: false,
            moves: None,
            closed: false,
            awake: 0,
            awake_since: None,
            said: 0,
            version: 0,
            yields: None,
            removing: false,
            interrupted: false,
            yields_since: 0,
            kinds: setup.kinds,
            dues: vec![(setup.priority, setup.weight)],
            submitted: 0,
            ended: 0,
            last_end: 0,
            longest_wait: 0,
            busy: 0,
            executed_then: 0,
        })
    }

    pub(super) fn gate(&self) -> Gate {
        self.core.gate().unwrap_or(Gate::Open)
    }

    pub(super) fn fact(&mut self, job: JobId) -> Option<&mut Fact> {
        let at = job.seqno().checked_sub(self.first)?;
        self.facts.get_mut(usize::try_from(at).ok()?)
    }

    /// How long its clock has run, all together. To be called before and after anything that lets it
    /// run or stand still.
    pub(super) fn awake(&mut self, now: u64) -> u64 {
        if let Some(since) = self.awake_since.take() {
            self.awake += now - since;
        }
        let held = self.gate() == Gate::Shut
            || self.core.suspends() != 0
            || self.core.is_stopped()
            || self.core.wants_recovery().is_some();
        self.awake_since = (!held).then_some(now);
        self.awake
    }
}
