// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What one seed means: a queue of some shape and a sequence of operations on it.
//!
//! Each seed draws its own weights: some operations never happen, others all the time. Runs that
//! differ that much find more than many runs of one even mixture.

use std::time::Duration;

use ringfence_core::{Ban, ClosePolicy, Config, Context, Gate, OnDependencyError};

use crate::op::{Foul, Op, Pick, ReplayAnswer, RunAnswer, Storage, Verdict, WalkAnswer};
use crate::prng::Prng;

/// A queue and what happens to it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Entries of the queue; a power of two.
    pub entries: usize,
    /// How the queue behaves.
    pub config: Config,
    /// Whether payloads may be dropped in interrupts.
    pub reap_in_irq: bool,
    /// Whether visits signal all they can before they ask what else there is.
    pub signals_first: bool,
    /// What happens, in order.
    pub ops: Vec<Op>,
}

/// How many kinds of operation [`draw`] knows.
const KINDS: usize = 34;

/// How often each kind comes in an even mixture, in the order of [`draw`].
const EVEN: [u32; KINDS] = [
    6, 1, 6, 8, 10, 8, 2, 2, 10, 6, 16, 14, 12, 3, 1, 10, 8, 6, 4, 4, 1, 1, 1, 1, 3, 3, 3, 4, 3,
    14, 8, 5, 1, 4,
];

impl Plan {
    /// The plan that `seed` names.
    pub fn from_seed(seed: u64) -> Self {
        let mut prng = Prng::new(seed);
        let entries = 1usize << prng.pick(&[1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6]);
        let config = draw_config(&mut prng);
        let reap_in_irq = prng.chance(25);
        let signals_first = prng.chance(50);
        let weights: [u32; KINDS] = core::array::from_fn(|kind| match prng.below(10) {
            0 | 1 => 0,
            2 => EVEN[kind] * 6,
            _ => EVEN[kind] * 2,
        });
        let style = Style {
            errors: prng.pick(&[0, 10, 50]),
            strays: prng.pick(&[0, 5, 30]),
            dependencies: prng.pick(&[0, 1, 1, 3]),
            cost_bits: prng.pick(&[0, 3, 255, 255]),
            answers: core::array::from_fn(|_| prng.below(8)),
        };
        let length = prng.between(50, 200);
        let ops = (0..length)
            .map(|_| draw(&mut prng, &weights, &style))
            .collect();
        let mut plan = Self {
            entries,
            config,
            reap_in_irq,
            signals_first,
            ops,
        };
        plan.draw_gate(seed);
        plan
    }

    /// Gives some plans a gate. From a series of its own, in the place of some operations, so that
    /// the others mean what they meant.
    fn draw_gate(&mut self, seed: u64) {
        let mut prng = Prng::new(seed ^ 0x0047_4154_4553);
        self.config.gated = prng.chance(40);
        if !self.config.gated && prng.chance(95) {
            return;
        }
        let percent = prng.pick(&[2, 8, 20]);
        let mut opens = prng.chance(70);
        for op in &mut self.ops {
            if opens || prng.chance(percent) {
                *op = Op::Gate(match opens {
                    true => Gate::Open,
                    false => draw_gate(&mut prng),
                });
                opens = false;
            }
        }
    }
}

pub(crate) fn draw_gate(prng: &mut Prng) -> Gate {
    prng.pick(&[Gate::Open, Gate::Open, Gate::Yield, Gate::Shut])
}

fn draw_config(prng: &mut Prng) -> Config {
    Config {
        credits: prng.pick(&[1, 2, 3, 4, 8, 100]),
        bypass: prng.chance(50),
        bypass_budget: prng.pick(&[1, 2, 3, 16]),
        timeout: prng
            .pick(&[None, Some(50), Some(300), Some(2000)])
            .map(Duration::from_nanos),
        extensions_max: prng.pick(&[0, 1, 2, 8]),
        on_dependency_error: prng.pick(&[
            OnDependencyError::Fail,
            OnDependencyError::Fail,
            OnDependencyError::Run,
        ]),
        ban: prng
            .pick(&[None, Some(1), Some(2), Some(3)])
            .map(|strikes| Ban {
                strikes,
                within: prng.pick(&[None, Some(Duration::from_nanos(500))]),
            }),
        close_timeout: prng
            .pick(&[None, None, Some(0), Some(400), Some(3000)])
            .map(Duration::from_nanos),
        first_seqno: match prng.below(3) {
            0 => u64::MAX.wrapping_sub(u64::from(prng.below(12))),
            1 => u64::from(prng.below(100)),
            _ => 1,
        },
        gated: false,
    }
}

/// The habits of one run.
struct Style {
    /// Percent of results that are errors.
    errors: u32,
    /// Percent of events that go astray.
    strays: u32,
    /// The most dependencies of a job.
    dependencies: u32,
    /// The bits that costs may have.
    cost_bits: u8,
    /// Weights of what a run callback says.
    answers: [u32; 4],
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

    fn ok(&self, prng: &mut Prng) -> bool {
        !prng.chance(self.errors)
    }

    fn open(&self, prng: &mut Prng) -> u8 {
        prng.below(self.dependencies + 1) as u8
    }

    fn answer(&self, prng: &mut Prng) -> RunAnswer {
        let answers = [
            RunAnswer::Pending,
            RunAnswer::Done,
            RunAnswer::Failed,
            RunAnswer::NoResources,
        ];
        answers[prng.weighted(&self.answers)]
    }
}

const CONTEXTS: [Context; 6] = [
    Context::Irq,
    Context::Irq,
    Context::Nested,
    Context::Task,
    Context::Submit,
    Context::Submit,
];

fn draw(prng: &mut Prng, weights: &[u32; KINDS], style: &Style) -> Op {
    match prng.weighted(weights) {
        0 => Op::Prepare {
            cost: prng.byte() & style.cost_bits,
            timeout: prng.pick(&[0, 0, 0, 1, 2, 30]),
            on_error: prng.pick(&[0, 0, 1, 2]),
            aside: prng.chance(70),
        },
        1 => Op::Release(prng.byte()),
        2 => Op::Arm(prng.byte()),
        3 => Op::Submit {
            job: style.pick(prng),
            open: style.open(prng),
            abandoned: prng.chance(style.errors / 5),
        },
        4 => Op::Push {
            cost: prng.byte() & style.cost_bits,
            open: style.open(prng),
        },
        5 => Op::Dependency {
            job: style.pick(prng),
            ok: style.ok(prng),
        },
        6 => Op::Resource(style.pick(prng)),
        7 => Op::Cancel(style.pick(prng)),
        8 => Op::Complete {
            job: style.pick(prng),
            ok: style.ok(prng),
        },
        9 => Op::Begin(prng.pick(&CONTEXTS)),
        10 => Op::Take {
            visit: prng.byte(),
            count: prng.byte(),
        },
        _ => draw_more(prng, weights, style),
    }
}

/// The second half of [`draw`]: what hosts answer and what happens to the whole queue.
fn draw_more(prng: &mut Prng, weights: &[u32; KINDS], style: &Style) -> Op {
    let mut rest = *weights;
    rest[..11].fill(0);
    match prng.weighted(&rest) {
        12 => Op::Signal(prng.byte()),
        13 => Op::Verdict {
            visit: prng.byte(),
            verdict: draw_verdict(prng),
        },
        14 => Op::HandBack(prng.byte()),
        15 => Op::Serve {
            context: prng.pick(&CONTEXTS),
            answer: style.answer(prng),
            batch: prng.pick(&[1, 1, 2, 40]),
        },
        16 => Op::Enter,
        17 => Op::Leave,
        18 => Op::Timer {
            due: prng.chance(70),
        },
        19 => Op::Advance(prng.pick(&[1, 10, 100, 1000])),
        20 => Op::Trigger,
        21 if prng.chance(25) => Op::Kill,
        22 if prng.chance(25) => Op::Unbind,
        23 if prng.chance(30) => draw_close(prng),
        24 => Op::Suspend,
        25 => Op::Resume,
        26 => Op::Foul {
            foul: prng.pick(&[
                Foul::Run,
                Foul::Signal,
                Foul::Timeout,
                Foul::Leave,
                Foul::Walk,
            ]),
            visit: prng.byte(),
            job: prng.byte(),
        },
        27 => Op::Stop,
        28 => Op::Start,
        29 => draw_walk(prng),
        30 if prng.chance(30) => Op::Strike,
        30 => Op::Stale {
            job: style.pick(prng),
            ok: style.ok(prng),
        },
        31 => draw_set_aside(prng),
        32 => draw_put_back(prng),
        33 => draw_move(prng),
        _ => Op::Run {
            visit: prng.byte(),
            answer: style.answer(prng),
            completed: prng.chance(20).then(|| style.ok(prng)),
        },
    }
}

fn draw_close(prng: &mut Prng) -> Op {
    let policy = prng.pick(&[ClosePolicy::Cancel, ClosePolicy::Drain]);
    if prng.chance(30) {
        Op::Abandon(policy)
    } else {
        Op::Close(policy)
    }
}

pub(crate) fn draw_set_aside(prng: &mut Prng) -> Op {
    Op::SetAside(prng.pick(&[0, 1, 2, 4, 4, 255]))
}

pub(crate) fn draw_put_back(prng: &mut Prng) -> Op {
    Op::PutBack(prng.pick(&[1, 2, 255]))
}

pub(crate) fn draw_move(prng: &mut Prng) -> Op {
    Op::MoveInto(match prng.below(8) {
        0..=2 => Storage::Twice,
        3..=6 => Storage::Half,
        _ => Storage::Of(prng.pick(&[0, 1, 2, 3, 4, 6, 8, 16])),
    })
}

/// What who has stopped the queue does next.
pub(crate) fn draw_walk(prng: &mut Prng) -> Op {
    match prng.below(8) {
        0..=2 => Op::Walk(prng.below(3) as u8),
        3 | 4 => Op::Walked(prng.pick(&[
            WalkAnswer::Keep,
            WalkAnswer::Completed,
            WalkAnswer::Failed,
            WalkAnswer::Cancelled,
            WalkAnswer::TimedOut,
        ])),
        5 | 6 => Op::Replay,
        _ => Op::Replayed(prng.pick(&[
            ReplayAnswer::Pending,
            ReplayAnswer::Pending,
            ReplayAnswer::Done,
            ReplayAnswer::Failed,
        ])),
    }
}

fn draw_verdict(prng: &mut Prng) -> Verdict {
    match prng.below(10) {
        0..=2 => Verdict::NoHang,
        3..=6 => Verdict::Extend(prng.pick(&[0, 20, 500])),
        7 => Verdict::Handled,
        8 => Verdict::Reset,
        _ => Verdict::DeviceGone,
    }
}
