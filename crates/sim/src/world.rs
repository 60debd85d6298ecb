// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A host, its clients, its device and its clock, all in one thread: plays operations on core.

mod events;
mod recovery;
mod rooms;
mod visits;

use std::collections::VecDeque;
use std::fmt;

use ringfence_core::{
    Attempt, Entry, Errno, JobId, Lifecycle, Queue, Reservation, Standing, Terms, Time, Visit,
};

use crate::coverage::{Coverage, Seen};
use crate::element;
use crate::judge::{Fact, Judge, Place, Verdict, Wish};
use crate::mutant::{Mutant, Subject};
use crate::op::{Op, Pick, ReplayAnswer, RunAnswer, WalkAnswer};
use crate::oracle::{Oracle, VisitId, WorkerIs};
use crate::swarm::Plan;

/// Who judges a run. Apart from showing that each finds bugs alone, there is no use in less than
/// both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judges {
    /// The model and the history's checkers.
    Both,
    /// The model alone.
    Model,
    /// The history's checkers alone.
    History,
}

/// What went wrong, and when.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The index of the operation; the number of operations for what came to light at the end.
    pub step: usize,
    /// What went wrong.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at step {}: {}", self.step, self.what)
    }
}

impl std::error::Error for Failure {}

/// Plays `plan`, then brings everything to its end.
///
/// # Errors
///
/// The first thing that is not as it should be.
pub fn run(plan: &Plan, mutant: Option<Mutant>, judges: Judges) -> Result<Coverage, Failure> {
    let fail = |step, what| Failure { step, what };
    let mut world = World::new(plan, mutant, judges).map_err(|what| fail(0, what))?;
    for (step, op) in plan.ops.iter().enumerate() {
        world.play(op).map_err(|what| fail(step, what))?;
    }
    world.finish().map_err(|what| fail(plan.ops.len(), what))?;
    Ok(world
        .oracle
        .map(|oracle| oracle.coverage)
        .unwrap_or_default())
}

/// A visit as its host keeps it: what it was told and has not answered.
#[derive(Debug)]
struct HostVisit {
    id: VisitId,
    context: ringfence_core::Context,
    core: Visit,
    runs: VecDeque<JobId>,
    signals: VecDeque<JobId>,
    timeout: Option<JobId>,
}

impl HostVisit {
    fn owes(&self) -> bool {
        !self.runs.is_empty() || !self.signals.is_empty() || self.timeout.is_some()
    }
}

struct World {
    subject: Subject,
    oracle: Option<Oracle>,
    history: Judge,
    judges: Judges,
    rooms: Vec<(Reservation, Wish)>,
    /// Rooms set aside, and what the queue makes of requests, kept since it was made.
    aside: u32,
    terms: Terms,
    signals_first: bool,
    visits: Vec<HostVisit>,
    next_visit: VisitId,
    worker: WorkerIs,
    now: u64,
    timer: Option<u64>,
    /// Something has happened since a visit last was told that there is nothing for it.
    unvisited: bool,
    /// When that was.
    visited: u64,
}

impl World {
    fn new(plan: &Plan, mutant: Option<Mutant>, judges: Judges) -> Result<Self, String> {
        let config = plan.config;
        let storage = element::storage(plan.entries);
        let mut queue = Queue::new(config, storage).map_err(|error| error.to_string())?;
        if plan.reap_in_irq {
            queue.allow_reap_in_irq();
        }
        let terms = queue.terms();
        Ok(Self {
            subject: Subject::new(queue, mutant),
            oracle: (judges != Judges::History)
                .then(|| Oracle::new(config, plan.entries, plan.reap_in_irq)),
            history: Judge::new(config, plan.reap_in_irq, Vec::new()),
            judges,
            rooms: Vec::new(),
            aside: 0,
            terms,
            signals_first: plan.signals_first,
            visits: Vec::new(),
            next_visit: 0,
            worker: WorkerIs::Idle,
            now: 0,
            timer: None,
            unvisited: false,
            visited: 0,
        })
    }

    fn time(&self) -> Time {
        Time::from_ns(self.now)
    }

    fn play(&mut self, op: &Op) -> Verdict {
        self.act(op)?;
        self.compare()
    }

    /// The history's verdict, where it counts.
    fn heard(&self, verdict: Verdict) -> Verdict {
        if self.judges == Judges::Model {
            return Ok(());
        }
        verdict
    }

    /// What the model says must be what core said.
    fn same<T: PartialEq + fmt::Debug>(
        &mut self,
        got: &T,
        model: impl FnOnce(&mut Oracle) -> T,
    ) -> Verdict {
        let Some(oracle) = &mut self.oracle else {
            return Ok(());
        };
        let want = model(oracle);
        if *got == want {
            return Ok(());
        }
        Err(format!("core says {got:?}, the model {want:?}"))
    }

    fn see(&mut self, what: Seen) {
        if let Some(oracle) = &mut self.oracle {
            oracle.coverage.see(what);
        }
    }

    /// The job an operation is about.
    fn choose(&self, pick: Pick, fits: impl Fn(&Fact) -> bool) -> Option<JobId> {
        let judge = &self.history;
        let index = match pick {
            Pick::Fit(index) => judge.nth(index, fits)?,
            Pick::Any(index) => judge.nth(index, |_| true)?,
            Pick::Gone(index) => {
                // One not armed yet, or one before the oldest that is there.
                let far = u64::from(index / 2);
                return Some(JobId::from_seqno(match index % 2 {
                    0 => self.next_seqno().wrapping_add(far),
                    _ => judge.seqno(judge.reaped).wrapping_sub(1 + far),
                }));
            }
        };
        Some(JobId::from_seqno(judge.seqno(index)))
    }

    fn next_seqno(&self) -> u64 {
        self.history.seqno(self.history.facts.len())
    }

    /// Compares all there is to see of core with the model and the history.
    fn compare(&mut self) -> Verdict {
        let queue = &self.subject.queue;
        let at_rest = !self.unvisited && self.visits.is_empty() && self.worker == WorkerIs::Idle;
        if self.judges != Judges::Model {
            self.history.check(queue)?;
            if at_rest {
                self.history.at_rest(self.timer, self.visited)?;
            }
        } else {
            queue.check_invariants().map_err(|v| v.to_string())?;
        }
        let Some(oracle) = &self.oracle else {
            return Ok(());
        };
        let first = oracle.oldest().wrapping_sub(1);
        for i in 0..oracle.len() as u64 + 2 {
            let seqno = first.wrapping_add(i);
            let (got, want) = (queue.state(JobId::from_seqno(seqno)), oracle.state(seqno));
            if got != want {
                return Err(format!("#{seqno} is {got}, in the model {want}"));
            }
            let attempt = queue.attempt(JobId::from_seqno(seqno));
            if attempt.map(Attempt::replays) != oracle.attempt(seqno) {
                return Err(format!("#{seqno} is at another attempt than in the model"));
            }
        }
        let got = (
            queue.len(),
            queue.credits_used(),
            queue.stats(),
            queue.lifecycle(),
            queue.suspends(),
            queue.driver_is_inside(),
            (queue.is_unbound(), queue.is_closed(), queue.is_open()),
            (queue.is_stopped(), queue.is_quiet()),
            queue.wants_recovery().map(JobId::seqno),
            queue.standing() == Standing::Banned,
            (self.worker, queue.capacity()),
            (queue.gate(), queue.gate_report()),
        );
        let want = (
            oracle.len() as u64,
            oracle.credits_used(),
            *oracle.stats(),
            oracle.lifecycle(),
            oracle.suspends(),
            oracle.driver_is_inside(),
            (
                oracle.is_unbound(),
                oracle.is_closed(),
                oracle.lifecycle() == Lifecycle::Open,
            ),
            (oracle.is_stopped(), oracle.is_quiet()),
            oracle.wants_recovery(),
            oracle.is_banned(),
            (oracle.worker(), oracle.entries() as u64),
            (oracle.gate(), oracle.gate_report()),
        );
        if got != want {
            return Err(format!("core has {got:?}, the model {want:?}"));
        }
        if at_rest && oracle.has_work() {
            return Err("there is work and nobody comes".into());
        }
        Ok(())
    }

    /// After the faults: everything is answered, signalled, completed; every job must end. The
    /// worker comes only when kicked.
    fn finish(&mut self) -> Verdict {
        let queue = &self.subject.queue;
        let snapshot = queue.snapshot("sim", self.time()).to_string();
        if snapshot.lines().count() as u64 != queue.len() + 1 {
            return Err(format!("the snapshot does not show every job:\n{snapshot}"));
        }
        self.let_go()?;
        while !self.visits.is_empty() {
            self.carry_on(0, RunAnswer::Pending, 40)?;
            self.compare()?;
        }
        let armed = self.history.facts.len();
        for (times, op) in [(armed, submit_plain()), (armed * 8, signal_dependency())] {
            for _ in 0..times {
                self.play(&op)?;
            }
        }
        for _ in 0..16 * (armed + 4) {
            if !self.go_on()? {
                break;
            }
        }
        if self.history.lifecycle() == Lifecycle::Open {
            self.play(&Op::Close(ringfence_core::ClosePolicy::Drain))?;
            self.go_on()?;
        }
        self.last_events()?;
        let end = self.history.at_the_end(&self.subject.queue);
        if self.subject.queue.is_empty() {
            self.heard(end)
        } else {
            end
        }
    }

    /// Core shows as many of the last events as there is memory for, also in a copy.
    fn last_events(&self) -> Verdict {
        let queue = &self.subject.queue;
        let shown: Vec<_> = queue.events().collect();
        let kept = element::RECORDS;
        // Each signal is an event.
        let least = (queue.stats().signalled as usize).min(kept);
        if !(least..=kept).contains(&shown.len()) || !shown.is_sorted_by_key(|event| event.at) {
            return Err(format!(
                "of {least} events, {kept} at most, it shows {shown:?}"
            ));
        }
        let copy = queue.copy_into(vec![Entry::FREE; queue.capacity() as usize]);
        match copy {
            Some(copy) if copy.events().eq(shown.iter().copied()) => Ok(()),
            _ => Err(format!("a copy shows others than {shown:?}")),
        }
    }

    /// Whoever holds something up lets go of it.
    fn let_go(&mut self) -> Verdict {
        self.play(&Op::Replayed(ReplayAnswer::Pending))?;
        self.play(&Op::Walked(WalkAnswer::Keep))?;
        self.play(&Op::Start)?;
        while self.history.is_suspended() {
            self.play(&Op::Resume)?;
        }
        self.play(&Op::Gate(ringfence_core::Gate::Open))?;
        self.play(&Op::PutBack(u8::MAX))?;
        while !self.rooms.is_empty() {
            self.play(&Op::Release(0))?;
        }
        Ok(())
    }

    /// One step towards the end; false if there is none left to take.
    fn go_on(&mut self) -> Result<bool, String> {
        let oldest = self.history.nth(0, on_hardware);
        if self.worker == WorkerIs::Coming {
            self.play(&Op::Enter)?;
            let at = self.visits.len() - 1;
            self.carry_on(at, RunAnswer::Pending, 40)?;
        } else if self.unvisited {
            self.play(&serve_task())?;
        } else if self.subject.queue.wants_recovery().is_some() {
            self.play(&Op::Stop)?;
            self.play(&Op::Start)?;
        } else if let Some(oldest) = oldest {
            let may_hang = self.history.facts[oldest].timeout != 0;
            if oldest % 2 == 1 && may_hang && self.timer.is_some() {
                self.play(&Op::Timer { due: true })?;
            } else {
                let job = Pick::Fit(0);
                self.play(&Op::Complete { job, ok: true })?;
            }
        } else if self.history.nth(0, |fact| fact.resource_wait).is_some() {
            self.play(&Op::Resource(Pick::Fit(0)))?;
        } else {
            return Ok(false);
        }
        self.compare()?;
        Ok(true)
    }
}

/// On the hardware, the run callback having returned.
fn on_hardware(fact: &Fact) -> bool {
    fact.place == Place::Hardware && !matches!(fact.loan, crate::judge::Loan::Run(_))
}

const fn submit_plain() -> Op {
    Op::Submit {
        job: Pick::Fit(0),
        open: 0,
        abandoned: false,
    }
}

const fn signal_dependency() -> Op {
    Op::Dependency {
        job: Pick::Fit(0),
        ok: true,
    }
}

const fn serve_task() -> Op {
    Op::Serve {
        context: ringfence_core::Context::Task,
        answer: RunAnswer::Pending,
        batch: 40,
    }
}

/// An error number that tells where it came from.
const fn error_of(what: &Op) -> Errno {
    match what {
        Op::Cancel(_) => Errno::EAGAIN,
        Op::Dependency { .. } => Errno::EBADMSG,
        Op::Complete { .. } => Errno::EFAULT,
        Op::Kill => Errno::EOWNERDEAD,
        Op::Unbind => Errno::ENODEV,
        _ => Errno::EIO,
    }
}
