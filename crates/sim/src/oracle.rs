// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A naive model of one queue, written from its documents: what core must do.
//!
//! Jobs are a plain list of plain fields. Whatever can be found by looking through the list is
//! found so, each time: there are no cursors, no counters of what is outstanding, no ring.

mod driver;
mod gate;
mod line;
mod rooms;
mod whole;

use std::time::Duration;

use ringfence_core::state::JobEvent;
use ringfence_core::{
    Config, Context, Errno, Lifecycle, OnDependencyError, Outcome, PrepareError, Request, State,
    Stats, Timeout,
};

use crate::coverage::Coverage;

/// The number of a visit, never used twice.
pub(crate) type VisitId = u32;

/// The most effects of a kind that one visit holds.
pub(crate) const BATCH: usize = ringfence_core::queue::BATCH_MAX as usize;

/// How far a job's time has run while it was at the head of the line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Watch {
    NotStarted,
    Until(u64),
    Stopped { left: u64 },
    Up,
}

/// A driver callback that has the job now, on behalf of a visit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Callback {
    Run(VisitId),
    Timeout(VisitId),
    /// Not a callback: who has stopped the queue looks at it.
    Walk,
    Replay,
}

/// What a job asked for at prepare.
#[derive(Clone, Copy, Debug)]
struct Wish {
    cost: u32,
    timeout: Option<u64>,
    run_on_error: bool,
}

#[derive(Clone, Debug)]
struct Job {
    seqno: u64,
    wish: Wish,
    state: State,
    /// Dependencies that have not signalled.
    open: u32,
    /// It is not to run, and will end so when its dependencies have signalled.
    verdict: Option<Outcome>,
    waits_for_resource: bool,
    callback: Option<Callback>,
    signalled_by: Option<VisitId>,
    watch: Watch,
    extensions: u8,
    /// How often it has been replayed.
    attempt: u8,
}

impl Job {
    fn on_hardware(&self) -> bool {
        matches!(self.state, State::Running | State::Pending)
    }

    /// It has not been told that it ended, nor been started.
    fn in_line(&self) -> bool {
        matches!(self.state, State::Armed | State::Queued)
    }

    fn fence_is_out(&self) -> bool {
        matches!(self.state, State::Signalling | State::Signalled)
    }
}

/// Whether the worker must be kicked to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WorkerIs {
    Idle,
    Coming,
    Here,
}

/// The model.
#[derive(Debug)]
pub(crate) struct Oracle {
    config: Config,
    entries: usize,
    reap_in_irq: bool,
    rooms: Vec<Wish>,
    /// Rooms that nobody has asked for yet.
    aside: usize,
    jobs: Vec<Job>,
    next_seqno: u64,
    lifecycle: Lifecycle,
    unbound: bool,
    suspends: u32,
    stopped: bool,
    /// The job because of which a recovery is wanted, and whether the host was told.
    recovery: Option<(u64, bool)>,
    /// When closing is to be over; gone once it is not.
    limit: Option<u64>,
    closing: bool,
    overdue: bool,
    strikes: u8,
    last_strike: u64,
    banned: bool,
    told_closed: bool,
    keeper: gate::Keeper,
    worker: WorkerIs,
    /// What the host's timer is set to.
    timer: Option<u64>,
    bypass_streak: u16,
    stats: Stats,
    pub(crate) coverage: Coverage,
}

impl Oracle {
    pub(crate) fn new(config: Config, entries: usize, reap_in_irq: bool) -> Self {
        Self {
            config,
            entries,
            reap_in_irq,
            rooms: Vec::new(),
            aside: 0,
            jobs: Vec::new(),
            next_seqno: config.first_seqno,
            lifecycle: Lifecycle::Open,
            unbound: false,
            suspends: 0,
            stopped: false,
            recovery: None,
            limit: None,
            closing: false,
            overdue: false,
            strikes: 0,
            last_strike: 0,
            banned: false,
            told_closed: false,
            keeper: gate::Keeper::new(config.gated),
            worker: WorkerIs::Idle,
            timer: None,
            bypass_streak: 0,
            stats: Stats::default(),
            coverage: Coverage::default(),
        }
    }

    fn at(&self, seqno: u64) -> Option<usize> {
        self.jobs.iter().position(|job| job.seqno == seqno)
    }

    pub(crate) fn state(&self, seqno: u64) -> State {
        self.at(seqno).map_or(State::Free, |i| self.jobs[i].state)
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.jobs.first().map_or(self.next_seqno, |job| job.seqno)
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    pub(crate) fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }

    pub(crate) fn is_unbound(&self) -> bool {
        self.unbound
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lifecycle != Lifecycle::Open && self.jobs.is_empty()
    }

    pub(crate) fn suspends(&self) -> u32 {
        self.suspends
    }

    pub(crate) fn worker(&self) -> WorkerIs {
        self.worker
    }

    pub(crate) fn credits_used(&self) -> u32 {
        let jobs = self.jobs.iter().filter(|job| job.on_hardware());
        jobs.map(|job| job.wish.cost).sum()
    }

    pub(crate) fn driver_is_inside(&self) -> bool {
        self.jobs.iter().any(|job| job.callback.is_some())
    }

    /// Moves a job along and notes that this step has been seen.
    fn step(&mut self, i: usize, event: JobEvent, to: State) {
        self.coverage.step(self.jobs[i].state, event, to);
        self.jobs[i].state = to;
    }

    fn end(&mut self, i: usize, outcome: Outcome) {
        self.step(i, JobEvent::Finish, State::Done);
        self.jobs[i].verdict = Some(outcome);
        self.jobs[i].waits_for_resource = false;
    }

    /// A queued job is not to run. Its fence still waits for what the job waited for, and the
    /// first reason stands.
    fn give_up(&mut self, i: usize, outcome: Outcome) {
        let outcome = *self.jobs[i].verdict.get_or_insert(outcome);
        if self.jobs[i].state == State::Queued && self.jobs[i].open == 0 {
            self.end(i, outcome);
        }
    }
}

/// A client's side.
impl Oracle {
    pub(crate) fn prepare(&mut self, request: Request) -> Result<(), PrepareError> {
        match self.lifecycle {
            Lifecycle::Killed(error) => return Err(PrepareError::Killed(error)),
            Lifecycle::Closing(_) => return Err(PrepareError::Closed),
            Lifecycle::Banned => return Err(PrepareError::Banned),
            Lifecycle::Open => {}
        }
        let wish = self.wish(request)?;
        if self.free() == 0 {
            return Err(PrepareError::Full);
        }
        self.rooms.push(wish);
        self.stats.prepared += 1;
        Ok(())
    }

    /// What a job with this request asks for, where its cost can be paid.
    fn wish(&self, request: Request) -> Result<Wish, PrepareError> {
        if request.cost > self.config.credits {
            return Err(PrepareError::CostAboveLimit {
                cost: request.cost,
                limit: self.config.credits,
            });
        }
        let timeout = match request.timeout {
            Timeout::Never => None,
            Timeout::Inherit => self.config.timeout,
            Timeout::After(span) => Some(span),
        };
        let on_error = request.on_dependency_error;
        Ok(Wish {
            cost: request.cost,
            timeout: timeout.map(|span| whole_ns(span).max(1)),
            run_on_error: on_error.unwrap_or(self.config.on_dependency_error)
                == OnDependencyError::Run,
        })
    }

    pub(crate) fn release(&mut self, room: usize) {
        self.rooms.swap_remove(room);
        self.stats.released += 1;
    }

    pub(crate) fn arm(&mut self, room: usize) -> u64 {
        let wish = self.rooms.swap_remove(room);
        let seqno = self.next_seqno;
        self.next_seqno = seqno.wrapping_add(1);
        self.jobs.push(Job {
            seqno,
            wish,
            state: State::Free,
            open: 0,
            // Armed after the queue was closed: too late to run even where the queue drains.
            verdict: match self.lifecycle {
                Lifecycle::Open => None,
                Lifecycle::Closing(_) | Lifecycle::Banned => {
                    Some(Outcome::Cancelled(Errno::ECANCELED))
                }
                Lifecycle::Killed(error) => Some(Outcome::Cancelled(error)),
            },
            waits_for_resource: false,
            callback: None,
            signalled_by: None,
            watch: Watch::NotStarted,
            extensions: 0,
            attempt: 0,
        });
        self.step(self.jobs.len() - 1, JobEvent::Arm, State::Armed);
        self.stats.armed += 1;
        seqno
    }

    pub(crate) fn submit(&mut self, seqno: u64, open: u32, abandoned: bool) -> bool {
        let Some(i) = self.at(seqno) else {
            return false;
        };
        if self.jobs[i].state != State::Armed {
            return false;
        }
        self.step(i, JobEvent::Submit, State::Queued);
        self.jobs[i].open = open;
        self.stats.submitted += 1;
        self.stats.dependencies += u64::from(open);
        let cancelled = Outcome::Cancelled(Errno::ECANCELED);
        match self.lifecycle {
            // A killed queue waits for nothing.
            Lifecycle::Killed(_) if abandoned => self.end(i, cancelled),
            Lifecycle::Killed(error) => self.end(i, Outcome::Cancelled(error)),
            _ if self.runs_no_more() => self.give_up(i, cancelled),
            _ if abandoned => self.give_up(i, cancelled),
            _ => {
                if let Some(verdict) = self.jobs[i].verdict {
                    self.give_up(i, verdict);
                }
            }
        }
        true
    }

    pub(crate) fn dependency(&mut self, seqno: u64, result: Result<(), Errno>) -> bool {
        let Some(i) = self.at(seqno) else {
            return false;
        };
        if self.jobs[i].state != State::Queued || self.jobs[i].open == 0 {
            return false;
        }
        self.step(i, JobEvent::Dependency, State::Queued);
        self.jobs[i].open -= 1;
        match (result, self.jobs[i].wish.run_on_error) {
            (Err(error), false) => self.give_up(i, Outcome::Failed(error)),
            _ => {
                if let Some(verdict) = self.jobs[i].verdict {
                    self.give_up(i, verdict);
                }
            }
        }
        true
    }

    pub(crate) fn resource(&mut self, seqno: u64) -> bool {
        let Some(i) = self.at(seqno) else {
            return false;
        };
        if self.jobs[i].state != State::Queued {
            return false;
        }
        self.jobs[i].waits_for_resource = false;
        true
    }

    /// Whether the wish was granted; `None` for a job that is not there.
    pub(crate) fn cancel(&mut self, seqno: u64, error: Errno) -> Option<bool> {
        let i = self.at(seqno)?;
        if !self.jobs[i].in_line() {
            return Some(false);
        }
        self.give_up(i, Outcome::Cancelled(error));
        Some(true)
    }

    /// What a visit of the worker, the submitter, ... may be given at all.
    fn may_drop_payloads(&self, context: Context) -> bool {
        match context {
            Context::Irq => self.reap_in_irq,
            Context::Nested => false,
            Context::Task | Context::Submit | Context::Worker => true,
        }
    }
}

pub(crate) fn whole_ns(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
