// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The job queue: the ordered line of jobs of one context.
//!
//! The host's loop is always the same: lock, feed events, take effects, unlock, act, repeat with
//! the answers. This module and its children never call out, never wait and never allocate.
//!
//! # The line
//!
//! Jobs stand in a ring of entries in the order of their sequence numbers, which is the order in
//! which they run and in which their fences signal. Four cursors cut the ring:
//!
//! ```text
//!   head          signal_next        run_next          tail
//!    | Signalling,  | Running, Pending, | Armed, Queued, |
//!    | Signalled    | Done              | Done           |
//! ```
//!
//! The entry at `signal_next` is the head of the line: the one job whose timeout counts.

mod effects;
mod gate;
mod hardware;
mod hold;
mod intake;
mod invariants;
mod lifecycle;
mod look;
mod recovery;

use core::marker::PhantomData;
use core::time::Duration;

use crate::credit::Credits;
use crate::effect::{JobId, Outcome};
use crate::entry::{Entry, HasEntry, Refused};
use crate::error::Errno;
use crate::gate::GateDesk;
use crate::guilt::{Ban, Guilt};
use crate::log::{Log, LogHead, What};
use crate::state::{JobEvent, State};
use crate::stats::Counts;
use crate::timeout::HeadClock;

pub use hardware::{Completed, RunOutcome, TimeoutOutcome};
pub use intake::{Cancelled, Request, Reservation, Terms};
pub use invariants::Violation;
pub use lifecycle::{ClosePolicy, Lifecycle, WorkerRest};
pub use recovery::{ReplayOutcome, Walked};

/// What happens to a job one of whose dependencies failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnDependencyError {
    /// It fails with the dependency's error and never runs.
    #[default]
    Fail,
    /// It runs all the same.
    Run,
}

/// How a queue behaves. Fixed at creation.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Credits that jobs on the hardware may hold together. At least 1.
    pub credits: u32,
    /// Whether a submitter may run its job itself. Only where the driver's run callback may be
    /// called in the submitter's context.
    pub bypass: bool,
    /// How many jobs one submitter may run before it leaves the rest to the worker. At least 1
    /// where `bypass` is on.
    pub bypass_budget: u16,
    /// How long the head of the line may be on the hardware; `None` for ever.
    pub timeout: Option<Duration>,
    /// How often one job's timeout may be extended.
    pub extensions_max: u8,
    /// What happens to a job one of whose dependencies failed.
    pub on_dependency_error: OnDependencyError,
    /// The sequence number of the first job.
    pub first_seqno: u64,
    /// How many guilty jobs ban the queue; `None` for never.
    pub ban: Option<Ban>,
    /// How long closing may take. Then what has not run is cancelled, and the driver is asked
    /// about each job that is on the hardware, for the last time. `None` for as long as it takes.
    pub close_timeout: Option<Duration>,
    /// Whether somebody outside says when the queue may run ([`Queue::set_gate`]). Its gate is shut
    /// at first.
    pub gated: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            credits: 64,
            bypass: false,
            bypass_budget: 16,
            timeout: None,
            extensions_max: 8,
            on_dependency_error: OnDependencyError::Fail,
            first_seqno: 1,
            ban: None,
            close_timeout: None,
            gated: false,
        }
    }
}

/// Why a queue could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// The number of entries is not a power of two from 2 to [`ENTRIES_MAX`].
    Entries,
    /// No credits: no job that costs something could ever run.
    NoCredits,
    /// Bypass without a budget.
    NoBypassBudget,
    /// A ban at no strike at all.
    NoStrikes,
}

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Entries => {
                write!(
                    f,
                    "the number of entries must be a power of two from 2 to {ENTRIES_MAX}"
                )
            }
            Self::NoCredits => f.write_str("a queue needs at least one credit"),
            Self::NoBypassBudget => f.write_str("bypass needs a budget of at least one job"),
            Self::NoStrikes => f.write_str("a ban needs at least one strike"),
        }
    }
}

impl core::error::Error for ConfigError {}

/// The most entries a queue can have.
pub const ENTRIES_MAX: usize = 1 << 15;

/// The most jobs one visit holds of each kind at a time.
pub const BATCH_MAX: u16 = 16;

/// One context's ordered line of jobs: decisions only.
///
/// `S` is the storage the host lends, such as a boxed slice or an array of [`Entry`], or of `P`
/// with an entry in it; its length must not change (but see [`Queue::move_into`]). The host keeps a
/// queue under one lock, which an interrupt handler may take.
///
/// # Invariants
///
/// [`Queue::check_invariants`] states them all and checks them.
#[derive(Debug)]
// What every job touches stands together: with thousands of queues each job pays for the cache
// lines it needs.
#[repr(C)]
pub struct Queue<S, P: HasEntry = Entry> {
    storage: S,
    mask: u64,
    /// The oldest job whose payload has not been handed over for dropping.
    head: u64,
    /// The oldest job whose fence has not been handed over for signalling.
    signal_next: u64,
    /// The oldest job that has not been handed to the driver nor ended.
    run_next: u64,
    /// The sequence number of the next job to be armed.
    tail: u64,
    /// The oldest of the runs handed out and not answered, while there are any.
    run_oldest: u64,
    /// Jobs prepared and not armed: room in the ring that is spoken for.
    reserved: u32,
    suspends: u32,
    credits: Credits,
    /// Runs handed out and not answered: the run baton is held while not zero.
    runs: u16,
    /// Signals handed out and not answered: the signal baton is held while not zero.
    signals: u16,
    /// Jobs that submitters have run since the line was last empty or the worker's.
    bypass_streak: u16,
    worker: Worker,
    /// No driver callback is handed out any more.
    unbound: bool,
    /// Somebody has stopped the queue.
    stopped: bool,
    /// Closing it has taken too long: every head's time is up.
    overdue: bool,
    /// Somebody has closed it.
    closing: bool,
    /// What is held up, and whether there is a gate, in one place that every job looks at: bits of
    /// [`hold::Hold`].
    hold: u8,
    closed_told: bool,
    /// Payloads may be dropped in interrupt context.
    irq_droppable: bool,
    /// `config.on_dependency_error`, where every job finds it.
    run_on_dependency_error: bool,
    /// `config.bypass_budget`, or 0 without bypass.
    bypass_budget: u16,
    lifecycle: Lifecycle,
    /// `config.timeout`, or 0 for none.
    timeout_ns: u64,
    /// Run callbacks handed out, and those of them by a submitter.
    ran: u64,
    bypassed: u64,
    log_head: LogHead,
    clock: HeadClock,
    counts: Counts,
    guilt: Guilt,
    /// The driver wants a recovery.
    recovery: Recovery,
    gate: GateDesk,
    /// The job that is lent to who has stopped the queue.
    walked: Option<u64>,
    config: Config,
    log: Log<P::Records>,
    _element: PhantomData<fn() -> P>,
}

/// What the queue knows of a recovery that its driver wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Recovery {
    /// None.
    None,
    /// Because of this job; the host has not been told.
    Wanted(u64),
    /// The host has been told.
    Told(u64),
}

/// What the queue knows of its worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Worker {
    /// Will not look again until kicked.
    Idle,
    /// Was kicked and has not come yet.
    Kicked,
    /// Is visiting.
    Working,
}

impl<S: AsRef<[P]> + AsMut<[P]>, P: HasEntry> Queue<S, P> {
    /// Makes an empty queue over `storage`, whose length must be a power of two.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says what in `config` or `storage` cannot work.
    pub fn new(config: Config, mut storage: S) -> Result<Self, ConfigError> {
        let entries = storage.as_mut();
        if !is_ring(entries.len()) {
            return Err(ConfigError::Entries);
        }
        if config.credits == 0 {
            return Err(ConfigError::NoCredits);
        }
        if config.bypass && config.bypass_budget == 0 {
            return Err(ConfigError::NoBypassBudget);
        }
        if config.ban.is_some_and(|ban| ban.strikes == 0) {
            return Err(ConfigError::NoStrikes);
        }
        for element in entries.iter_mut() {
            *element.entry_mut() = Entry::FREE;
        }
        let mask = entries.len() as u64 - 1;
        let mut queue = Self {
            storage,
            mask,
            head: config.first_seqno,
            signal_next: config.first_seqno,
            run_next: config.first_seqno,
            tail: config.first_seqno,
            reserved: 0,
            credits: Credits::new(config.credits),
            runs: 0,
            run_oldest: config.first_seqno,
            signals: 0,
            bypass_streak: 0,
            worker: Worker::Idle,
            clock: HeadClock::new(),
            suspends: 0,
            lifecycle: Lifecycle::Open,
            unbound: false,
            stopped: false,
            overdue: false,
            closing: false,
            hold: 0,
            recovery: Recovery::None,
            gate: GateDesk::new(config.gated),
            guilt: Guilt::new(),
            walked: None,
            log_head: LogHead::default(),
            log: Log::new(),
            closed_told: false,
            irq_droppable: false,
            config,
            timeout_ns: config.timeout.map_or(0, at_least_1ns),
            counts: Counts::default(),
            _element: PhantomData,
            ran: 0,
            bypassed: 0,
            bypass_budget: if config.bypass {
                config.bypass_budget
            } else {
                0
            },
            run_on_dependency_error: config.on_dependency_error == OnDependencyError::Run,
        };
        queue.update_held();
        Ok(queue)
    }

    /// Allows [`Effect::Reap`](crate::Effect::Reap) in interrupt context. The host says so when
    /// the payload's type is declared safe to drop there.
    pub fn allow_reap_in_irq(&mut self) {
        self.irq_droppable = true;
    }

    /// How the queue behaves.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How many jobs can be prepared or unfinished at a time.
    pub fn capacity(&self) -> u64 {
        self.mask + 1
    }

    /// Moves the line into other storage, so that a ring can grow with its use. Returns the storage
    /// there was, all of whose elements are free. What the host keeps beside the entries moves
    /// along.
    ///
    /// Takes time linear in the number of jobs in line.
    ///
    /// # Errors
    ///
    /// Gives `storage` back, and nothing has changed, if its length is none that a queue can have
    /// or leaves no room for what is prepared and in line.
    pub fn move_into(&mut self, mut storage: S) -> Result<S, (ConfigError, S)> {
        let new = storage.as_mut();
        let taken = self.len() + u64::from(self.reserved);
        if !is_ring(new.len()) || (new.len() as u64) < taken {
            return Err((ConfigError::Entries, storage));
        }
        for element in new.iter_mut() {
            *element.entry_mut() = Entry::FREE;
        }
        let mask = new.len() as u64 - 1;
        let old = self.storage.as_mut();
        let mut seqno = self.head;
        while seqno != self.tail {
            let from = old.get_mut((seqno & self.mask) as usize);
            let to = new.get_mut((seqno & mask) as usize);
            if let (Some(from), Some(to)) = (from, to) {
                core::mem::swap(from, to);
            }
            seqno = seqno.wrapping_add(1);
        }
        self.mask = mask;
        Ok(core::mem::replace(&mut self.storage, storage))
    }

    /// The element of the storage that holds `job`, from arm until another job is armed in its
    /// place: also in the lock hold in which it was reaped.
    #[inline]
    pub fn element(&self, job: JobId) -> Option<&P> {
        self.storage.as_ref().get((job.0 & self.mask) as usize)
    }

    /// As [`Self::element`], to change what the host keeps there. The entry is core's.
    #[inline]
    pub fn element_mut(&mut self, job: JobId) -> Option<&mut P> {
        self.storage.as_mut().get_mut((job.0 & self.mask) as usize)
    }

    /// Jobs armed and not reaped.
    #[inline]
    pub fn len(&self) -> u64 {
        self.tail.wrapping_sub(self.head)
    }

    /// The jobs armed and not reaped, oldest first.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> {
        let head = self.head;
        (0..self.len()).map(move |at| JobId(head.wrapping_add(at)))
    }

    /// True if no job is armed or unfinished. Prepared jobs do not count.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Jobs armed and not handed to the driver nor ended.
    pub fn queued(&self) -> u64 {
        self.tail.wrapping_sub(self.run_next)
    }

    /// Credits held by jobs on the hardware.
    pub fn credits_used(&self) -> u32 {
        self.credits.used()
    }

    /// The state of a job, [`State::Free`] for one that is gone or not armed yet.
    pub fn state(&self, job: JobId) -> State {
        self.entry(job.0).map_or(State::Free, |entry| entry.state)
    }

    /// True while the driver has been handed a job and has not answered, by whichever callback, or
    /// a walk has.
    pub fn driver_is_inside(&self) -> bool {
        self.callback_is_out() || self.walked.is_some()
    }

    fn callback_is_out(&self) -> bool {
        self.runs != 0 || self.clock.is_asking()
    }

    /// Keeps in mind that something has happened, at the time that was read last.
    #[inline]
    fn note(&mut self, what: What, seqno: u64) {
        self.log.write(&mut self.log_head, what, seqno);
    }

    #[inline]
    fn contains(&self, seqno: u64) -> bool {
        seqno.wrapping_sub(self.head) < self.tail.wrapping_sub(self.head)
    }

    #[inline]
    fn entry(&self, seqno: u64) -> Option<&Entry> {
        if !self.contains(seqno) {
            return None;
        }
        let element = self.storage.as_ref().get((seqno & self.mask) as usize)?;
        Some(element.entry())
    }

    #[inline]
    fn entry_mut(&mut self, seqno: u64) -> Option<&mut Entry> {
        if !self.contains(seqno) {
            return None;
        }
        let element = self
            .storage
            .as_mut()
            .get_mut((seqno & self.mask) as usize)?;
        Some(element.entry_mut())
    }

    /// The job whose timeout counts, where there is one.
    #[inline]
    fn head_of_line(&self) -> Option<(u64, &Entry)> {
        self.entry(self.signal_next)
            .map(|entry| (self.signal_next, entry))
    }

    /// Gives a job its outcome: from here on its fence waits for its turn only.
    #[inline]
    fn finish(&mut self, seqno: u64, outcome: Outcome) -> Result<(), Refused> {
        let entry = self.entry_mut(seqno).ok_or(Refused::Unknown)?;
        let credits = entry.finish(outcome)?;
        self.finished(seqno, outcome, credits);
        Ok(())
    }

    /// What follows from the end of a job that held so many credits.
    #[inline]
    fn finished(&mut self, seqno: u64, outcome: Outcome, credits: u32) {
        self.credits.give_back(credits);
        // What ends well at the head of the line signals at once: that record will do.
        if seqno != self.signal_next || outcome != Outcome::Completed {
            self.note(What::of(outcome), seqno);
        }
    }

    /// Decides that a queued job will not run. Its fence must not signal before everything the
    /// job waited for has: whoever holds only this fence takes it for all of those
    /// (`drm_sched_entity_kill_jobs_cb` waits for the same reason).
    fn give_up(&mut self, seqno: u64, outcome: Outcome) -> Result<(), Refused> {
        let entry = self.entry_mut(seqno).ok_or(Refused::Unknown)?;
        if entry.state != State::Queued {
            return Err(Refused::Illegal {
                state: entry.state,
                event: JobEvent::Finish,
            });
        }
        if entry.open == 0 {
            return self.finish(seqno, entry_outcome(self.entry(seqno), outcome));
        }
        if entry.outcome.is_none() {
            entry.outcome = Some(outcome);
        }
        Ok(())
    }

    /// What a job armed now would be told at once, where the queue does not run jobs any more.
    fn refusal(&self) -> Option<Errno> {
        match self.lifecycle {
            Lifecycle::Open => None,
            Lifecycle::Closing(_) | Lifecycle::Banned => Some(Errno::ECANCELED),
            Lifecycle::Killed(error) => Some(error),
        }
    }
}

/// Whether storage of so many elements can be a ring.
fn is_ring(entries: usize) -> bool {
    entries.is_power_of_two() && (2..=ENTRIES_MAX).contains(&entries)
}

/// A timeout as entries keep it, where zero is none: time that is up at once is still a timeout.
fn at_least_1ns(timeout: Duration) -> u64 {
    crate::time::nanoseconds(timeout).max(1)
}

/// The first reason to give a job up stands.
fn entry_outcome(entry: Option<&Entry>, outcome: Outcome) -> Outcome {
    entry.and_then(|entry| entry.outcome).unwrap_or(outcome)
}
