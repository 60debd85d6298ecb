// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What one seed means: a scenario and the operations of the fault phase.

use std::fmt;

use ringfence_core::{ClosePolicy, Context, Gate};

use super::scenario::{Reach, Scenario};
use crate::op::{Op, Pick};
use crate::prng::Prng;
use crate::swarm::{draw_gate, draw_move, draw_put_back, draw_set_aside, draw_walk};

/// What is done from inside a driver callback or a fence callback.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inside {
    /// Nothing.
    Nothing,
    /// The job's queue is closed.
    Close(ClosePolicy),
    /// It is killed.
    Kill,
    /// It is suspended.
    Suspend,
    /// It is resumed.
    Resume,
    /// One of its jobs is cancelled.
    Cancel,
    /// Its head's time is ended.
    Trigger,
    /// A recovery of it is asked for.
    Recover,
    /// Its gate is set.
    Gate(Gate),
}

/// One thing that happens in a simulated machine.
///
/// As an [`Op`], it means something in any state: it chooses modulo what there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SimOp {
    /// Something happens to one queue. Dependencies are real fences of other jobs or foreign ones;
    /// what callbacks answer is the modelled driver's matter.
    Queue {
        /// Which.
        queue: u8,
        /// What.
        op: Op,
    },
    /// A visit goes on: it takes effects, acts on one, or answers, each a step of its own.
    Step {
        /// Which.
        visit: u8,
        /// How many steps.
        steps: u8,
        /// What is done from inside callbacks meanwhile.
        inside: Inside,
    },
    /// Time passes, in nanoseconds; the device works.
    Pass(u16),
    /// Time passes until the device or a timer has something to do, and so much longer.
    Next {
        /// How much longer, in nanoseconds.
        late: u16,
    },
    /// An interrupt of a ring arrives, whether the ring asked for one or not.
    Interrupt {
        /// Whose.
        queue: u8,
    },
    /// Whoever recovers goes on.
    Recovery {
        /// How many steps.
        steps: u8,
    },
    /// A recovery is asked for, as by an interrupt that reports a fault.
    Recover {
        /// Because of which queue.
        queue: u8,
        /// How much of the device.
        reach: Reach,
    },
    /// The firmware dies: nothing goes on until a reset.
    FirmwareDies,
    /// The device is unplugged.
    DeviceGoes,
    /// A report of a queue to its gate arrives.
    Report {
        /// Whose.
        queue: u8,
        /// Which of those that are on their way.
        report: u8,
    },
    /// A foreign fence signals.
    Foreign {
        /// Which.
        fence: u8,
    },
}

/// A scenario and what happens in it.
#[derive(Clone, Debug, Default)]
pub struct SimPlan {
    /// The seed it was drawn from.
    pub seed: u64,
    /// What there is.
    pub scenario: Scenario,
    /// What happens, in order.
    pub ops: Vec<SimOp>,
}

/// How many kinds of operation [`draw`] knows.
const KINDS: usize = 37;

/// How often each kind comes in an even mixture, in the order of [`draw`].
#[rustfmt::skip]
const EVEN: [u16; KINDS] = [
    // Push Prepare Release Arm Submit Cancel Foreign Dependency
    24, 4, 1, 4, 6, 2, 10, 1,
    // Step Begin Enter Leave HandBack
    40, 8, 16, 2, 2,
    // Pass Next Interrupt Timer Trigger
    10, 12, 16, 8, 2,
    // Kill Unbind Close Abandon Suspend Resume Strike
    1, 1, 1, 1, 2, 8, 1,
    // Stop Start Walk Recovery Recover Firmware Gone Stray Resource
    3, 8, 8, 12, 2, 1, 1, 3, 2,
    // SetAside PutBack MoveInto
    4, 1, 2,
];

/// Kinds that end something for good, with their chance in percent when they are drawn.
const RARE: [(usize, u32); 7] = [
    (18, 10),
    (19, 8),
    (20, 20),
    (21, 10),
    (24, 40),
    (30, 30),
    (31, 4),
];

impl SimPlan {
    /// The plan that `seed` names; `ops` replaces the number of operations it draws.
    pub fn from_seed(seed: u64, ops: Option<u32>) -> Self {
        let mut plan = Self::default();
        plan.draw(seed, ops);
        plan
    }

    /// As [`Self::from_seed`], into the memory there is.
    pub(crate) fn draw(&mut self, seed: u64, ops: Option<u32>) {
        // Not the series of the property test with the same seed.
        let mut prng = Prng::new(seed ^ 0x5157_4d55_4c41_5445);
        self.seed = seed;
        self.scenario.draw(&mut prng);
        let mut weights: [u16; KINDS] = core::array::from_fn(|kind| match prng.below(10) {
            0 | 1 => 0,
            2 => EVEN[kind] * 6,
            _ => EVEN[kind] * 2,
        });
        // A run in which nobody submits, or nothing goes on, shows nothing.
        weights[0] = weights[0].max(24);
        weights[8] = weights[8].max(40);
        let style = Style {
            queues: self.scenario.queues.len() as u32,
            strays: prng.pick(&[0, 3, 20]),
            dependencies: prng.pick(&[0, 1, 1, 3]),
            cost_bits: prng.pick(&[0, 3, 255, 255]),
            steps: prng.pick(&[2, 4, 12]),
            inside: prng.pick(&[0, 0, 2, 10]),
        };
        let length = match prng.below(100) {
            0 => prng.between(1000, 3000),
            1..=9 => prng.between(400, 800),
            _ => prng.between(60, 320),
        };
        let total = weights.iter().map(|w| u32::from(*w)).sum();
        self.ops.clear();
        for _ in 0..ops.unwrap_or(length) {
            let kind = weighted(&mut prng, &weights, total);
            let op = draw(&mut prng, kind, &style);
            self.ops.push(op);
        }
        self.draw_gates(seed);
    }

    /// Gives some queues a gate, and somebody who keeps it. From a series of its own, in the place
    /// of some operations, so that the others mean what they meant.
    fn draw_gates(&mut self, seed: u64) {
        let mut prng = Prng::new(seed ^ 0x4741_5445_4b45_4550);
        if !prng.chance(25) {
            return;
        }
        let gated = prng.pick(&[30, 60, 100]);
        for shape in &mut self.scenario.queues {
            shape.config.gated = prng.chance(gated);
        }
        let (sets, reports) = (prng.pick(&[2, 8, 25]), prng.pick(&[4, 12]));
        let inside = prng.pick(&[0, 2, 10]);
        let queues = self.scenario.queues.len() as u32;
        let mut opens = if prng.chance(75) { queues } else { 0 };
        // A queue that was shut for somebody else's turn, and whether that has passed.
        let mut elsewhere = None;
        let set = |queue, gate| SimOp::Queue {
            queue,
            op: Op::Gate(gate),
        };
        for op in &mut self.ops {
            let queue = prng.below(queues) as u8;
            if opens != 0 {
                opens -= 1;
                *op = set(opens as u8, Gate::Open);
            } else if let Some((queue, passed)) = elsewhere {
                *op = match passed {
                    true => set(queue, Gate::Open),
                    false => SimOp::Pass(prng.pick(&[100, 1000])),
                };
                elsewhere = (!passed).then_some((queue, true));
            } else if prng.chance(sets) {
                let gate = draw_gate(&mut prng);
                let turn = gate == Gate::Shut && prng.chance(50);
                elsewhere = turn.then_some((queue, false));
                *op = set(queue, gate);
            } else if prng.chance(reports) {
                let report = prng.byte();
                *op = SimOp::Report { queue, report };
            } else if let SimOp::Step { inside: within, .. } = op {
                if *within == Inside::Nothing && prng.chance(inside) {
                    *within = Inside::Gate(draw_gate(&mut prng));
                }
            }
        }
    }
}

impl fmt::Display for SimPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        write!(f, "{}", self.scenario)?;
        for (step, op) in self.ops.iter().enumerate() {
            match op {
                SimOp::Queue { queue, op } => writeln!(f, "{step:5}  queue {queue}: {op:?}")?,
                op => writeln!(f, "{step:5}  {op:?}")?,
            }
        }
        Ok(())
    }
}

/// The habits of one run.
struct Style {
    queues: u32,
    /// Percent of events that go astray.
    strays: u32,
    /// The most dependencies of a job.
    dependencies: u32,
    /// The bits that costs may have.
    cost_bits: u8,
    /// The most steps in a row.
    steps: u32,
    /// Percent of steps inside which something is called.
    inside: u32,
}

fn weighted(prng: &mut Prng, weights: &[u16; KINDS], total: u32) -> usize {
    let mut at = prng.below(total);
    for (kind, weight) in weights.iter().enumerate() {
        let weight = u32::from(*weight);
        if at < weight {
            let rare = RARE.iter().find(|(rare, _)| *rare == kind);
            // A step instead.
            return match rare {
                Some((_, percent)) if !prng.chance(*percent) => 8,
                _ => kind,
            };
        }
        at -= weight;
    }
    8
}

impl Style {
    fn pick(&self, prng: &mut Prng) -> Pick {
        let index = prng.byte();
        if !prng.chance(self.strays) {
            return Pick::Fit(index);
        }
        if prng.chance(70) {
            Pick::Any(index)
        } else {
            Pick::Gone(index % 5)
        }
    }

    fn open(&self, prng: &mut Prng) -> u8 {
        prng.below(self.dependencies + 1) as u8
    }

    fn steps(&self, prng: &mut Prng) -> u8 {
        prng.between(1, self.steps) as u8
    }

    fn inside(&self, prng: &mut Prng) -> Inside {
        if self.inside == 0 || !prng.chance(self.inside) {
            return Inside::Nothing;
        }
        prng.pick(&[
            Inside::Close(ClosePolicy::Cancel),
            Inside::Close(ClosePolicy::Drain),
            Inside::Kill,
            Inside::Suspend,
            Inside::Resume,
            Inside::Resume,
            Inside::Cancel,
            Inside::Cancel,
            Inside::Trigger,
            Inside::Recover,
        ])
    }
}

fn draw(prng: &mut Prng, kind: usize, style: &Style) -> SimOp {
    match kind {
        8 => SimOp::Step {
            visit: prng.byte(),
            steps: style.steps(prng),
            inside: style.inside(prng),
        },
        6 => SimOp::Foreign { fence: prng.byte() },
        13 => SimOp::Pass(prng.pick(&[1, 10, 100, 1000])),
        14 => SimOp::Next {
            late: prng.pick(&[0, 0, 0, 1, 50]),
        },
        15 => SimOp::Interrupt {
            queue: prng.below(style.queues) as u8,
        },
        28 => SimOp::Recovery {
            steps: style.steps(prng),
        },
        29 => SimOp::Recover {
            queue: prng.below(style.queues) as u8,
            reach: prng.pick(&[
                Reach::Queue,
                Reach::Queue,
                Reach::Device,
                Reach::Device,
                Reach::Migration,
            ]),
        },
        30 => SimOp::FirmwareDies,
        31 => SimOp::DeviceGoes,
        kind => SimOp::Queue {
            queue: prng.below(style.queues) as u8,
            op: draw_queue_op(prng, kind, style),
        },
    }
}

fn draw_queue_op(prng: &mut Prng, kind: usize, style: &Style) -> Op {
    match kind {
        1 => Op::Prepare {
            cost: prng.byte() & style.cost_bits,
            timeout: prng.pick(&[0, 0, 0, 1, 5, 30]),
            on_error: prng.pick(&[0, 0, 1, 2]),
            aside: prng.chance(70),
        },
        2 => Op::Release(prng.byte()),
        3 => Op::Arm(prng.byte()),
        4 => Op::Submit {
            job: style.pick(prng),
            open: style.open(prng),
            abandoned: prng.chance(style.strays / 3),
        },
        5 => Op::Cancel(style.pick(prng)),
        7 => Op::Dependency {
            job: Pick::Any(prng.byte()),
            ok: true,
        },
        9 => Op::Begin(prng.pick(&[
            Context::Irq,
            Context::Nested,
            Context::Task,
            Context::Task,
            Context::Submit,
        ])),
        10 => Op::Enter,
        11 => Op::Leave,
        12 => Op::HandBack(prng.byte()),
        16 => Op::Timer {
            due: prng.chance(70),
        },
        17 => Op::Trigger,
        18 => Op::Kill,
        19 => Op::Unbind,
        20 => Op::Close(prng.pick(&[ClosePolicy::Cancel, ClosePolicy::Drain])),
        21 => Op::Abandon(prng.pick(&[ClosePolicy::Cancel, ClosePolicy::Drain])),
        22 => Op::Suspend,
        23 => Op::Resume,
        24 => Op::Strike,
        25 => Op::Stop,
        26 => Op::Start,
        27 => draw_walk(prng),
        32 => Op::Complete {
            job: style.pick(prng),
            ok: prng.chance(80),
        },
        33 => Op::Resource(style.pick(prng)),
        34 => draw_set_aside(prng),
        35 => draw_put_back(prng),
        36 => draw_move(prng),
        _ => Op::Push {
            cost: prng.byte() & style.cost_bits,
            open: style.open(prng),
        },
    }
}
