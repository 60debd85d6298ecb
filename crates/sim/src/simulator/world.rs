// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A machine in virtual time: queues, their host in all its contexts, the device, clients.
//!
//! Nothing here waits and nothing happens by itself: every operation of a plan does a little, and
//! what a real host does in one go (take an effect, act on it, answer) is as many steps, so that
//! anything can come in between.

mod bugs;
mod clients;
mod driver;
mod gate;
mod interrupts;
mod live;
mod rescue;
mod rooms;
mod visits;
mod whole;

use std::collections::VecDeque;

use ringfence_core::{Context, Effect, JobId, Reservation, Time, Visit};

use super::canary::Plant;
use super::coverage::{Fault, SimCoverage};
use super::device::Device;
use super::fences::Fences;
use super::log::{Detail, Event, LogLine, Recorder};
use super::plan::SimOp;
use super::port::Port;
use super::scenario::{Scenario, Shape};
use super::seat::Seat;
use super::{Options, Summary};
use crate::judge::{Fact, Judge, Verdict, VisitId};
use crate::oracle::WorkerIs;

pub(crate) use crate::judge::Wish;
use rescue::Rescue;

/// Who has stopped a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holder {
    Nobody,
    Client,
    Rescue,
}

/// A visit as its host keeps it.
#[derive(Debug)]
struct HostVisit {
    id: VisitId,
    queue: u8,
    context: Context,
    core: Visit,
    /// Effects taken and not answered, in order.
    todo: VecDeque<Effect>,
    /// The answer to the first of them, once it has been acted on.
    answer: Option<visits::Answer>,
    /// How many effects it takes at a time.
    batch: u8,
}

/// One queue and what belongs to it.
#[derive(Debug)]
struct Line {
    port: Seat,
    judge: Judge,
    shape: Shape,
    /// As long as the ring is now.
    entries: usize,
    rooms: Vec<(Reservation, Wish)>,
    /// Rooms set aside for jobs to come.
    aside: u32,
    worker: WorkerIs,
    timer: Option<u64>,
    /// Something has happened since a visit last was told that there is nothing for it.
    unvisited: bool,
    /// When that was.
    visited: u64,
    /// Visits that are there.
    visits: u8,
    /// Driver callbacks that are running.
    inside: u8,
    /// The driver's value is gone: no callback may begin.
    driver_gone: bool,
    holder: Holder,
    keeper: gate::Keeper,
}

/// The machine.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: u64,
    step: u32,
    /// Faults have stopped.
    live: bool,
    salt: u64,
    scenario: Scenario,
    lines: Vec<Line>,
    visits: Vec<HostVisit>,
    next_visit: VisitId,
    fences: Fences,
    device: Device,
    rescue: Rescue,
    /// Queues that something has happened to in this step, by bit.
    touched: u16,
    pub(super) coverage: SimCoverage,
    pub(super) recorder: Recorder,
    pub(super) summary: Summary,
    /// Memory for the next visits and judges.
    spare_todos: Vec<VecDeque<Effect>>,
    spare_facts: Vec<Vec<Fact>>,
    plant: Plant,
}

impl World {
    pub(super) fn new(plant: Plant) -> Self {
        Self {
            now: 0,
            step: 0,
            live: false,
            salt: 0,
            scenario: Scenario::default(),
            lines: Vec::new(),
            visits: Vec::new(),
            next_visit: 0,
            fences: Fences::default(),
            device: Device::default(),
            rescue: Rescue::default(),
            touched: 0,
            coverage: SimCoverage::default(),
            recorder: Recorder::default(),
            summary: Summary::default(),
            spare_todos: Vec::new(),
            spare_facts: Vec::new(),
            plant,
        }
    }

    /// Makes the machine that `scenario` describes, in the memory there is.
    pub(super) fn reset(&mut self, scenario: &Scenario, options: &Options) -> Verdict {
        self.now = 0;
        self.step = 0;
        self.live = false;
        self.salt = scenario.salt;
        self.scenario.clone_from(scenario);
        for mut visit in self.visits.drain(..) {
            visit.todo.clear();
            self.spare_todos.push(visit.todo);
        }
        for line in self.lines.drain(..) {
            let mut facts = line.judge.facts;
            facts.clear();
            self.spare_facts.push(facts);
        }
        self.next_visit = 0;
        self.fences.reset();
        let shapes = &scenario.queues;
        self.device.reset(shapes.iter().map(|shape| shape.ring));
        self.rescue.reset();
        self.recorder.reset(options.log);
        self.summary = Summary::default();
        self.touched = 0;
        for shape in shapes {
            let port = Port::new(shape.config, shape.entries, shape.reap_in_irq, self.plant)
                .map_err(|error| error.to_string())?;
            let facts = self.spare_facts.pop().unwrap_or_default();
            self.lines.push(Line {
                port: Seat::new(port, shape, options.oracle),
                judge: Judge::new(shape.config, shape.reap_in_irq, facts),
                shape: *shape,
                entries: shape.entries,
                rooms: Vec::new(),
                aside: 0,
                worker: WorkerIs::Idle,
                timer: None,
                unvisited: false,
                visited: 0,
                visits: 0,
                inside: 0,
                driver_gone: false,
                holder: Holder::Nobody,
                keeper: gate::Keeper::new(shape.config.gated),
            });
        }
        Ok(())
    }

    /// Plays one operation and looks at all that it has touched.
    pub(super) fn play(&mut self, step: usize, op: &SimOp) -> Verdict {
        self.step = step as u32;
        self.act(op)?;
        self.check_touched()
    }

    fn act(&mut self, op: &SimOp) -> Verdict {
        match *op {
            SimOp::Queue { queue, op } => {
                let queue = usize::from(queue) % self.lines.len();
                self.queue_op(queue as u8, &op)
            }
            SimOp::Step {
                visit,
                steps,
                inside,
            } => self.step_visits(visit, steps, inside),
            SimOp::Pass(by) => {
                self.pass(self.now + u64::from(by));
                Ok(())
            }
            SimOp::Next { late } => {
                let next = self.next_time();
                if next != super::device::NEVER {
                    self.pass(next.max(self.now) + u64::from(late));
                }
                Ok(())
            }
            SimOp::Interrupt { queue } => {
                let queue = usize::from(queue) % self.lines.len();
                self.interrupt(queue as u8)
            }
            SimOp::Recovery { steps } => {
                for _ in 0..steps {
                    if !self.rescue_step()? {
                        break;
                    }
                }
                Ok(())
            }
            SimOp::Recover { queue, reach } => {
                let queue = usize::from(queue) % self.lines.len();
                self.rescue.ask(queue as u8, Some(reach));
                Ok(())
            }
            SimOp::FirmwareDies => {
                self.firmware_dies();
                Ok(())
            }
            SimOp::DeviceGoes => {
                self.device_goes();
                Ok(())
            }
            SimOp::Report { queue, report } => {
                let queue = usize::from(queue) % self.lines.len();
                self.report_arrives(queue as u8, report);
                Ok(())
            }
            SimOp::Foreign { fence } => self.foreign(fence),
        }
    }

    /// Counts the legal steps that the judges have seen.
    pub(super) fn count_steps(&mut self) {
        for line in &self.lines {
            self.coverage.steps(&line.judge.steps);
        }
    }

    fn check_touched(&mut self) -> Verdict {
        let mut touched = std::mem::take(&mut self.touched);
        while touched != 0 {
            let queue = touched.trailing_zeros() as usize;
            touched &= touched - 1;
            self.check(queue)
                .map_err(|what| format!("queue {queue}: {what}"))?;
        }
        Ok(())
    }

    fn check(&mut self, queue: usize) -> Verdict {
        let line = &mut self.lines[queue];
        line.judge.check(line.port.look())?;
        line.port.check()?;
        if line.judge.is_quiet() && line.inside != 0 && line.judge.walked.is_none() {
            return Err("the queue is quiet and its driver is inside".into());
        }
        if line.driver_gone && line.inside != 0 {
            return Err("the driver went while one of its callbacks was running".into());
        }
        line.keeper_is_right()?;
        if line.judge.is_unbound() && !line.port.look().driver_is_inside() {
            line.driver_gone = true;
        }
        let at_rest = line.visits == 0 && !line.unvisited && line.worker == WorkerIs::Idle;
        if at_rest {
            line.judge.at_rest(line.timer, line.visited)?;
            if line.judge.is_starved() {
                self.coverage.fault(Fault::CreditStarvation);
            }
        }
        Ok(())
    }

    /// Something is going on at a queue: counted, hashed and, if wanted, kept.
    fn note(
        &mut self,
        queue: u8,
        job: Option<u64>,
        context: Option<Context>,
        event: Event,
        detail: Detail,
    ) {
        self.touched |= 1 << queue;
        self.recorder.record(LogLine {
            time: self.now,
            step: self.step,
            queue: Some(queue),
            job,
            context,
            event,
            detail,
        });
    }

    /// Something happens to the whole machine.
    fn note_all(&mut self, event: Event, detail: Detail) {
        self.recorder.record(LogLine {
            time: self.now,
            step: self.step,
            queue: None,
            job: None,
            context: None,
            event,
            detail,
        });
    }

    fn time(&self) -> Time {
        Time::from_ns(self.now)
    }

    fn line(&mut self, queue: u8) -> &mut Line {
        &mut self.lines[usize::from(queue)]
    }

    /// Something has happened to the queue that a visit has to follow.
    fn stir(&mut self, queue: u8) {
        self.line(queue).unvisited = true;
    }

    /// A number that depends on the scenario and on what it is for, on nothing else.
    fn roll(&self, what: u64, queue: u8, seqno: u64, attempt: u8) -> u64 {
        let mut z = self.salt
            ^ what << 56
            ^ u64::from(queue) << 48
            ^ u64::from(attempt) << 40
            ^ seqno.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True `rate` times in a thousand; never once faults have stopped. `roll` gives up its low
    /// bits.
    fn happens(&self, roll: &mut u64, rate: u16) -> bool {
        let low = *roll % 1000;
        *roll = roll.rotate_right(10) ^ low;
        !self.live && low < u64::from(rate)
    }

    /// The clock goes on to `to`; the device works.
    fn pass(&mut self, to: u64) {
        let mut device = std::mem::take(&mut self.device);
        self.now = self.now.max(to);
        device.work(self.now, |queue, seqno| {
            self.note(queue, Some(seqno), None, Event::DeviceDone, Detail::Nothing);
        });
        self.device = device;
    }

    /// When the device or a timer has something to do next.
    fn next_time(&self) -> u64 {
        let timers = self.lines.iter().filter_map(|line| line.timer);
        timers.fold(self.device.next(self.now), u64::min)
    }
}

/// The job of an effect that is answered for.
fn job_of(effect: &Effect) -> Option<JobId> {
    match effect {
        Effect::Signal { job, .. }
        | Effect::Run { job }
        | Effect::TimedOut { job, .. }
        | Effect::Reap { job }
        | Effect::Recover { job } => Some(*job),
        Effect::ArmTimer { .. } | Effect::Kick | Effect::Closed | Effect::Gate { .. } => None,
    }
}
