// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The world: virtual time, what is to happen in it, and what is to be done at once.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use ringfence_core::{Context, Gate, JobId, Time};
use ringfence_orchestrator_core::{
    Config, Effect, GateReport, Orchestrator, Preemption, Seat, SeatConfig, SeatId, Slot, SlotKind,
};

use super::canary::{Plant, SlotCanary};
use super::clients::Client;
use super::device::Device;
use super::line::Line;
use super::rule::Planted;
use super::seen::{Seen, Sight};
use super::setup::{Rates, Setup};
use crate::prng::Prng;

/// Says what is not as it should be.
pub(super) type Verdict = Result<(), String>;

/// Something that happens at its time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    /// A client wakes up.
    Client(usize),
    /// The front of a ring is done.
    JobEnds(usize, u64),
    /// A queue's timer fires.
    QueueTimer(usize),
    /// The orchestrator's.
    Timer,
    /// The device has bound a context.
    Bound(usize, u64),
    /// It has taken one off.
    Vacated(usize, u64),
    /// What a driver lacked is there.
    Ready(usize),
    /// A slot is known to be free again.
    Repaired(usize),
    /// A run callback returns.
    RunReturns(usize),
    /// A report arrives.
    Report(usize, SeatId, GateReport),
    /// A queue is recovered.
    Recovered(usize),
    /// It is resumed.
    Resume(usize),
    /// The device has been reset.
    ResetEnds,
    /// What the setup says.
    Act(usize),
    /// Nothing goes wrong any more.
    Quiet,
}

#[derive(Debug)]
struct Due {
    at: u64,
    order: u64,
    what: Happening,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Something that is to be done now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Todo {
    /// Somebody visits a queue.
    Visit(usize, Context),
    /// A client goes on.
    Client(usize),
}

/// More than any world needs from the time when nothing goes wrong any more.
const STEPS_MAX: u64 = 100_000_000;

/// As many where all is checked after each.
const CHECKED_STEPS_MAX: u64 = 2_000_000;

/// Everything there is.
#[derive(Debug)]
pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) plant: Plant,
    pub(super) prng: Prng,
    pub(super) rates: Rates,
    pub(super) now: u64,
    agenda: BinaryHeap<Reverse<Due>>,
    order: u64,
    pub(super) todo: VecDeque<Todo>,
    /// What the orchestrator has asked for and nobody has done.
    pub(super) effects: VecDeque<Effect>,
    /// The orchestrator has been told something.
    pub(super) told: bool,
    pub(super) orchestrator: Orchestrator<Vec<Seat>, Vec<Slot>, Planted>,
    pub(super) timer: Option<u64>,
    pub(super) lines: Vec<Line>,
    /// Whose seat is where.
    pub(super) seats: Vec<Option<usize>>,
    pub(super) device: Device,
    pub(super) clients: Vec<Client>,
    pub(super) seen: Seen,
    pub(super) events: u64,
    pub(super) hash: u64,
    pub(super) log: Option<Vec<String>>,
    /// How long, all together, something has kept the device or a slot from working.
    pub(super) trouble_ns: u64,
    /// Reports that came late, and by how much all together.
    pub(super) late_ns: u64,
    pub(super) longest_job: u64,
    /// How many cycles a client was before another at the most.
    pub(super) apart: u64,
    /// It is the end: what can be done at any time is done now.
    pub(super) ending: bool,
}

impl World {
    pub(super) fn new(setup: Setup, plant: Plant, log: bool) -> Result<Self, String> {
        let config = Config {
            preemption: setup.preemption,
            patience: Some(Duration::from_nanos(setup.patience_ns)),
        };
        let kinds = setup.slots.iter().map(|kind| SlotKind::new(*kind));
        let kinds: Option<Vec<SlotKind>> = kinds.collect();
        let kinds = kinds.ok_or("a kind of slot that there is not")?;
        let seats = vec![Seat::FREE; setup.queues.len()];
        let orchestrator = Orchestrator::new(
            config,
            Planted::new(setup.rule, plant),
            seats,
            kinds.into_iter().map(Slot::new).collect(),
        );
        let lines: Result<Vec<Line>, String> =
            setup.queues.iter().copied().map(Line::new).collect();
        let mut world = Self {
            plant,
            prng: Prng::new(setup.seed ^ 0x736c_6f74_7300_0001),
            rates: setup.rates,
            now: 0,
            agenda: BinaryHeap::new(),
            order: 0,
            todo: VecDeque::new(),
            effects: VecDeque::new(),
            told: false,
            orchestrator: orchestrator.map_err(|error| error.to_string())?,
            timer: None,
            lines: lines?,
            seats: vec![None; setup.queues.len()],
            device: Device::new(setup.slots.len(), setup.queues.len()),
            clients: setup.clients.iter().copied().map(Client::new).collect(),
            seen: Seen::default(),
            events: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            log: log.then(Vec::new),
            trouble_ns: 0,
            late_ns: 0,
            longest_job: 0,
            apart: 0,
            ending: false,
            setup,
        };
        world.furnish()?;
        Ok(world)
    }

    fn furnish(&mut self) -> Verdict {
        for queue in 0..self.lines.len() {
            self.lines[queue].group = vec![queue];
            self.lines[queue].company = vec![queue];
            self.seat(queue)?;
        }
        for group in self.setup.groups.clone() {
            let seats = group.iter().filter_map(|queue| self.lines[*queue].seat);
            let seats: Vec<SeatId> = seats.collect();
            let grouped = self.orchestrator.group(&seats);
            grouped.map_err(|error| format!("the group {group:?}: {error}"))?;
            for queue in &group {
                self.lines[*queue].group.clone_from(&group);
                self.lines[*queue].company.clone_from(&group);
            }
        }
        if self.setup.chained {
            self.chain()?;
        }
        for client in 0..self.clients.len() {
            self.at(
                self.clients[client].setup.starts_at,
                Happening::Client(client),
            );
        }
        for act in 0..self.setup.acts.len() {
            self.at(self.setup.acts[act].0, Happening::Act(act));
        }
        self.at(self.setup.quiet_at, Happening::Quiet);
        Ok(())
    }

    /// Gives a queue a seat.
    pub(super) fn seat(&mut self, queue: usize) -> Verdict {
        let line = &mut self.lines[queue];
        let setup = line.setup;
        let seat = self.orchestrator.add(SeatConfig {
            priority: setup.priority,
            weight: setup.weight,
            kinds: setup.kinds,
            checked: setup.checked,
        });
        let seat = seat.map_err(|error| format!("no seat for queue {queue}: {error}"))?;
        line.seat = Some(seat);
        self.seats[seat.place()] = Some(queue);
        Ok(())
    }

    pub(super) fn time(&self) -> Time {
        Time::from_ns(self.now)
    }

    pub(super) fn at(&mut self, at: u64, what: Happening) {
        self.order += 1;
        // What happens at the same time happens in any order.
        let order = match self.setup.shuffled {
            true => self.prng.bits() << 32 | self.order & 0xffff_ffff,
            false => self.order,
        };
        self.agenda.push(Reverse(Due { at, order, what }));
    }

    pub(super) fn after(&mut self, ns: u64, what: Happening) {
        self.at(self.now.saturating_add(ns), what);
    }

    /// Whether something that goes wrong in `rate` of a thousand cases does so now.
    pub(super) fn happens(&mut self, rate: u32) -> bool {
        rate != 0 && self.prng.below(1_000) < rate
    }

    pub(super) fn see(&mut self, sight: Sight) {
        self.seen.see(sight);
    }

    /// Writes down that something has happened: in the fingerprint always, in the log where there is
    /// one.
    pub(super) fn note(&mut self, queue: usize, number: u64, what: &'static str) {
        self.events += 1;
        let mut hash = self.hash;
        let name = what
            .bytes()
            .fold(0, |name: u64, byte| name.wrapping_mul(31) ^ u64::from(byte));
        for part in [self.now, queue as u64, number, name] {
            hash = (hash ^ part)
                .wrapping_mul(0x0000_0100_0000_01b3)
                .rotate_left(29);
        }
        self.hash = hash;
        let now = self.now;
        if let Some(log) = &mut self.log {
            log.push(format!("{now:>14}  queue {queue:<3} {what:<28} {number}"));
        }
    }

    pub(super) fn queue_of(&self, seat: SeatId) -> Result<usize, String> {
        let queue = self.seats.get(seat.place()).copied().flatten();
        let has = |line: &Line| line.seat == Some(seat);
        let queue = queue.filter(|queue| has(&self.lines[*queue]));
        let queue = queue.or_else(|| self.lines.iter().position(has));
        queue.ok_or_else(|| format!("{seat:?} is the seat of no queue"))
    }

    /// Lives until nothing is left to happen.
    pub(super) fn run(&mut self) -> Verdict {
        let most = match self.setup.shuffled {
            true => CHECKED_STEPS_MAX,
            false => STEPS_MAX,
        };
        let mut steps = 0;
        while self.step()? {
            steps += 1;
            if steps > most {
                return Err("it never comes to rest".into());
            }
            if self.setup.shuffled {
                self.check()?;
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<bool, String> {
        if self.do_something()? {
            return Ok(true);
        }
        let Some(Reverse(due)) = self.agenda.pop() else {
            return Ok(false);
        };
        self.now = self.now.max(due.at);
        self.happen(due.what)?;
        Ok(true)
    }

    /// Does one of the things that are to be done now. Where the world is shuffled, any.
    fn do_something(&mut self) -> Result<bool, String> {
        let dice = match self.setup.shuffled {
            true => self.prng.below(8),
            false => 0,
        };
        if dice < 4 && self.act_or_ask()? {
            return Ok(true);
        }
        if !self.todo.is_empty() {
            let at = match self.setup.shuffled {
                true => self.prng.below(self.todo.len().min(4) as u32) as usize,
                false => 0,
            };
            if let Some(todo) = self.todo.remove(at) {
                match todo {
                    Todo::Visit(queue, context) => self.visit(queue, context)?,
                    Todo::Client(client) => self.client(client)?,
                }
            }
            return Ok(true);
        }
        self.act_or_ask()
    }

    fn act_or_ask(&mut self) -> Result<bool, String> {
        if let Some(effect) = self.effects.pop_front() {
            self.act(effect)?;
            return Ok(true);
        }
        if !std::mem::take(&mut self.told) {
            return Ok(false);
        }
        let now = self.time();
        while let Some(effect) = self.orchestrator.next(now) {
            self.effects.push_back(effect);
        }
        Ok(true)
    }

    fn happen(&mut self, what: Happening) -> Verdict {
        match what {
            Happening::Client(client) => self.todo.push_back(Todo::Client(client)),
            Happening::JobEnds(queue, stamp) => self.job_ends(queue, stamp)?,
            Happening::QueueTimer(queue) => {
                let line = &mut self.lines[queue];
                if line.timer == Some(self.now) {
                    line.timer = None;
                    let now = Time::from_ns(self.now);
                    line.core.timer_fired(now);
                    self.todo.push_back(Todo::Visit(queue, Context::Worker));
                }
            }
            Happening::Timer => {
                if self.timer == Some(self.now) {
                    self.timer = None;
                    if !self.plant.is(SlotCanary::TimerLost) {
                        self.orchestrator.timer_fired();
                        self.told = true;
                    }
                }
            }
            Happening::Bound(queue, request) => self.bound(queue, request)?,
            Happening::Vacated(queue, request) => self.vacated(queue, request)?,
            Happening::Ready(queue) => self.ready(queue)?,
            Happening::Repaired(slot) => self.repaired(slot)?,
            Happening::RunReturns(queue) => self.run_returns(queue)?,
            Happening::Report(queue, seat, report) => self.report(queue, seat, report)?,
            Happening::Recovered(queue) => self.recover(queue)?,
            Happening::Resume(queue) => self.resume(queue)?,
            Happening::ResetEnds => self.reset_ends()?,
            Happening::Act(act) => self.do_act(self.setup.acts[act].1)?,
            Happening::Quiet => self.be_quiet(),
        }
        Ok(())
    }

    fn be_quiet(&mut self) {
        self.rates = Rates::default();
        for (queue, line) in self.lines.iter_mut().enumerate() {
            line.executed_then = self.device.executed(queue, self.now);
        }
        self.ending = true;
    }

    /// Everything that must hold between any two steps.
    fn check(&self) -> Verdict {
        let orchestrator = self.orchestrator.check_invariants();
        orchestrator.map_err(|broken| format!("the orchestrator: {broken}"))?;
        for (queue, line) in self.lines.iter().enumerate() {
            let core = line.core.check_invariants();
            core.map_err(|broken| format!("queue {queue}: {broken}"))?;
            self.is_charged(queue)?;
        }
        Ok(())
    }

    pub(super) fn job_ends(&mut self, queue: usize, stamp: u64) -> Verdict {
        let Some(piece) = self.device.ends(queue, stamp, self.now) else {
            return Ok(());
        };
        let seqno = piece.job.seqno();
        self.note(queue, seqno, "job done");
        if self.lines[queue].gate() == Gate::Open && !self.whole_group_is_resident(queue) {
            return Err(format!(
                "job {seqno} of queue {queue} is done while not all of its group are on slots"
            ));
        }
        let fact = self.lines[queue].fact(piece.job);
        let fact = fact.ok_or_else(|| format!("job {seqno} of queue {queue} is done and gone"))?;
        fact.done = true;
        let core = &mut self.lines[queue].core;
        let _late_or_not = core.complete(piece.job, piece.attempt, Ok(()));
        let context = match self.setup.shuffled && self.prng.chance(50) {
            true => Context::Irq,
            false => Context::Task,
        };
        self.todo.push_back(Todo::Visit(queue, context));
        self.execute(queue);
        Ok(())
    }

    /// All of a queue's group are on slots, but for those that the device has let go.
    pub(super) fn whole_group_is_resident(&self, queue: usize) -> bool {
        let mut members = self.lines[queue].group.iter();
        members.all(|member| self.device.is_resident(*member) || self.lines[*member].lost)
    }

    /// Has a context go on, where it may.
    pub(super) fn execute(&mut self, queue: usize) {
        if let Some((at, stamp)) = self.device.go_on(queue, self.now) {
            self.at(at, Happening::JobEnds(queue, stamp));
        }
    }

    pub(super) fn to_completion(&self) -> bool {
        self.setup.preemption == Preemption::RunToCompletion
    }

    /// The newest job of a queue that has not ended.
    pub(super) fn newest(&self, queue: usize) -> Option<JobId> {
        let line = &self.lines[queue];
        let ahead = line.facts.iter().rposition(|fact| fact.ended.is_none())?;
        Some(JobId::from_seqno(line.first + ahead as u64))
    }
}
