// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What one seed means: a device, a policy, and a sequence of operations.
//!
//! Each seed draws its own weights: some operations never happen, others all the time. A *tidy* run
//! has no faults, no groups and no changes; there virtual time is simple enough to be kept by hand.

use std::time::Duration;

use ringfence_orchestrator_core::{
    Answer, Config, FairConfig, Kinds, Out, Preemption, Priority, SeatConfig, SlotKind, Weight,
};

use super::op::{Op, Question, Reply, Who};
use crate::prng::Prng;

/// How a run's policy behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rules {
    /// Fair shares.
    Fair(FairConfig),
    /// First come, first served, with such turns.
    Fifo(Duration),
}

/// A device and what happens on it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Room for so many seats, at first.
    pub seats: usize,
    /// The kind of each slot.
    pub slots: Vec<u8>,
    /// How the orchestrator behaves.
    pub config: Config,
    /// How its policy does.
    pub rules: Rules,
    /// Whether order and turns are checked by hand-kept virtual time.
    pub tidy: bool,
    /// Whether the host does at once what there is to do, and the timer fires in time.
    pub punctual: bool,
    /// What happens, in order.
    pub ops: Vec<Op>,
}

/// Weights that seats have, by index: not so far apart that shares take for ever to show.
const WEIGHTS: [u16; 4] = [100, 50, 200, 400];

/// What an operation's numbers mean.
pub(super) fn seat_config(priority: u8, weight: u8, kinds: u8, checked: bool) -> SeatConfig {
    let mut set = Kinds::NONE;
    for number in (0..4).filter(|number| kinds & 1 << number != 0) {
        set = SlotKind::new(number).map_or(set, |kind| set.with(kind));
    }
    let (priority, weight) = due(priority, weight);
    SeatConfig {
        priority,
        weight,
        kinds: set,
        checked,
    }
}

/// Likewise.
pub(super) fn due(priority: u8, weight: u8) -> (Priority, Weight) {
    let weight = WEIGHTS[usize::from(weight) % WEIGHTS.len()];
    (
        Priority::ALL[usize::from(priority) % Priority::COUNT],
        Weight::new(weight).unwrap_or_default(),
    )
}

/// How many kinds of operation there are, and how often each comes in an even mixture: in the order
/// of [`draw`].
const KINDS: usize = 15;
const EVEN: [u32; KINDS] = [5, 3, 3, 3, 14, 18, 20, 3, 3, 4, 3, 5, 8, 1, 7];

impl Plan {
    /// The plan that `seed` names: one in eight is tidy.
    pub fn from_seed(seed: u64) -> Self {
        let mut prng = Prng::new(seed);
        match seed % 8 {
            7 => Self::tidy(&mut prng),
            _ => Self::wild(&mut prng),
        }
    }

    fn wild(prng: &mut Prng) -> Self {
        let kinds = prng.pick(&[1, 1, 2, 2, 3]);
        let count = prng.between(1, 5);
        let slots = (0..count).map(|_| prng.below(kinds) as u8).collect();
        let weights: [u32; KINDS] = core::array::from_fn(|kind| match prng.below(10) {
            0 | 1 => 0,
            2 => EVEN[kind] * 6,
            _ => EVEN[kind] * 2,
        });
        let style = Style {
            kinds: kinds as u8,
            faults: prng.pick(&[0, 0, 10, 40]),
            strays: prng.pick(&[0, 5, 20]),
            checked: prng.pick(&[0, 30, 100]),
            priorities: prng.pick(&[1, 2, 4]),
            long: prng.pick(&[50, 500, 3_000]),
        };
        let length = prng.between(40, 160);
        let ops = (0..length).map(|_| draw(prng, &weights, &style)).collect();
        Self {
            seats: prng.pick(&[1, 2, 4, 8, 12]),
            slots,
            config: Config {
                preemption: prng.pick(&[Preemption::Supported, Preemption::RunToCompletion]),
                patience: prng
                    .pick(&[None, Some(300), Some(5_000), Some(50_000)])
                    .map(Duration::from_micros),
            },
            rules: match prng.chance(60) {
                true => Rules::Fair(draw_fair(prng)),
                false => Rules::Fifo(Duration::from_micros(prng.pick(&[100, 500, 2_000]))),
            },
            tidy: false,
            punctual: false,
            ops,
        }
    }

    /// Seats that all want a slot of one kind from the beginning, and some that come and sleep.
    fn tidy(prng: &mut Prng) -> Self {
        let priorities = prng.pick(&[1u32, 1, 2, 4]);
        let alike = prng.chance(50);
        let count = prng.between(1, 3);
        let mut ops: Vec<Op> = (0..prng.between(2, 8))
            .map(|_| tidy_add(prng, priorities, alike, true))
            .collect();
        let sleepers = prng.chance(50);
        let long = prng.pick(&[300, 3_000]);
        for _ in 0..prng.between(60, 160) {
            ops.push(match prng.below(20) {
                0 if sleepers => tidy_add(prng, priorities, alike, true),
                1 | 2 if sleepers => Op::Report {
                    seat: Who::There(prng.byte()),
                    wants: prng.chance(50),
                    out: Out::Nothing,
                    age: 0,
                },
                3..=6 => Op::Pass(prng.below(long)),
                7..=10 => Op::Timer { due: true },
                11 => Op::Take(1 + prng.below(3) as u8),
                12 | 13 => Op::Answer {
                    which: prng.byte(),
                    reply: Reply::WELL,
                },
                _ => Op::Serve(3),
            });
        }
        let mut fair = draw_fair(prng);
        fair.lag = Duration::from_secs(1_000);
        Self {
            seats: 16,
            slots: vec![0; count as usize],
            config: Config {
                patience: None,
                ..Config::default()
            },
            rules: match prng.chance(75) {
                true => Rules::Fair(fair),
                false => Rules::Fifo(Duration::from_micros(1_000)),
            },
            tidy: true,
            // Who is always on one of several slots, and due more, may be far behind.
            punctual: prng.chance(60) && (count == 1 || alike),
            ops,
        }
    }
}

fn tidy_add(prng: &mut Prng, priorities: u32, alike: bool, wants: bool) -> Op {
    Op::Add {
        priority: prng.below(priorities) as u8,
        weight: if alike { 0 } else { prng.byte() },
        kinds: 1,
        checked: false,
        wants,
    }
}

fn draw_fair(prng: &mut Prng) -> FairConfig {
    let slice = prng.pick(&[500, 2_000, 2_000]);
    FairConfig {
        slice: Duration::from_micros(slice),
        min_run: Duration::from_micros(prng.pick(&[0, 100, 500])),
        guarantee: prng.pick(&[2, 2, 8]),
        lag: Duration::from_micros(prng.pick(&[0, 4_000, 20_000])),
    }
}

/// The habits of one run.
struct Style {
    kinds: u8,
    /// Percent of answers that are bad news.
    faults: u32,
    /// Percent of events about what is not there.
    strays: u32,
    /// Percent of seats that are checked.
    checked: u32,
    priorities: u32,
    /// The longest time that passes at once.
    long: u32,
}

impl Style {
    fn who(&self, prng: &mut Prng) -> Who {
        let index = prng.byte();
        match prng.chance(self.strays) {
            true => Who::Gone(index),
            false => Who::There(index),
        }
    }

    fn reply(&self, prng: &mut Prng) -> Reply {
        let bad = prng.chance(self.faults);
        Reply {
            not_yet: bad,
            answer: match bad {
                true => prng.pick(&[Answer::Failed, Answer::Broken]),
                false => Answer::Done,
            },
            out: out(prng),
            wants: prng.chance(70),
            raced: prng.chance(self.strays),
        }
    }
}

fn out(prng: &mut Prng) -> Out {
    prng.pick(&[Out::Nothing, Out::Nothing, Out::OnHardware, Out::Inside])
}

fn draw(prng: &mut Prng, weights: &[u32; KINDS], style: &Style) -> Op {
    match prng.weighted(weights) {
        0 => {
            let set = 1 + prng.below((1 << style.kinds) - 1) as u8;
            let stray = prng.chance(style.strays / 4);
            Op::Add {
                priority: prng.below(style.priorities) as u8,
                weight: prng.byte(),
                kinds: if stray { prng.byte() & 15 } else { set },
                checked: prng.chance(style.checked),
                wants: prng.chance(40),
            }
        }
        1 => Op::Group {
            first: prng.byte(),
            step: prng.below(4) as u8,
            count: prng.pick(&[0, 1, 2, 2, 2, 3, 3, 4]),
        },
        2 => Op::Change {
            seat: style.who(prng),
            priority: prng.below(style.priorities) as u8,
            weight: prng.byte(),
        },
        3 => Op::Remove(style.who(prng)),
        4 => Op::Report {
            seat: style.who(prng),
            wants: prng.chance(65),
            out: out(prng),
            age: if prng.chance(style.strays) {
                1 + prng.byte() % 3
            } else {
                0
            },
        },
        5 => Op::Take(1 + prng.below(4) as u8),
        6 => Op::Answer {
            which: prng.byte(),
            reply: style.reply(prng),
        },
        7 => Op::Foul {
            seat: style.who(prng),
            question: prng.pick(&Question::ALL),
        },
        8 => Op::Lost(style.who(prng)),
        9 => Op::Ready(style.who(prng)),
        10 => Op::Repaired(prng.byte()),
        11 => Op::Timer {
            due: prng.chance(80),
        },
        12 => Op::Pass(prng.below(style.long)),
        13 => Op::Grow(prng.below(20) as u8),
        _ => Op::Serve(1 + prng.below(3) as u8),
    }
}
