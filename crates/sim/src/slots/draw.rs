// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Random worlds: a seed names one.

use std::time::Duration;

use ringfence_core::ClosePolicy;
use ringfence_orchestrator_core::{FairConfig, Kinds, Preemption, Priority, SlotKind, Weight};

use super::setup::{Act, ClientSetup, Load, QueueSetup, Rates, Rule, Setup};
use crate::prng::Prng;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

impl Setup {
    /// The world that `seed` names: a few slots, more queues, and whatever can go wrong.
    pub fn from_seed(seed: u64) -> Self {
        let mut prng = Prng::new(seed ^ 0x736c_6f74_735f_7365);
        let prng = &mut prng;
        let kinds = prng.pick(&[1, 1, 2, 3]);
        let slots = prng.between(kinds, 6);
        let quiet_at = MS * u64::from(prng.between(20, 200));
        let mut setup = Self {
            seed,
            rule: rule(prng),
            preemption: match prng.chance(60) {
                true => Preemption::Supported,
                false => Preemption::RunToCompletion,
            },
            patience_ns: MS * u64::from(prng.between(1, 20)),
            slots: (0..slots).map(|slot| (slot % kinds) as u8).collect(),
            bind_ns: cost(prng),
            vacate_ns: cost(prng),
            reset_ns: 100 * US * u64::from(prng.between(1, 30)),
            queues: Vec::new(),
            groups: Vec::new(),
            clients: Vec::new(),
            acts: Vec::new(),
            rates: rates(prng),
            quiet_at,
            chained: false,
            shuffled: true,
        };
        for _ in 0..prng.between(2, 14) {
            let queue = draw_queue(prng, kinds);
            let load = draw_load(prng);
            let queue = setup.add(queue, load);
            let starts_at = match prng.chance(50) {
                true => 0,
                false => prng.bits() % quiet_at,
            };
            setup.clients[queue].starts_at = starts_at;
            if prng.chance(20) {
                setup.clients.push(ClientSetup {
                    queue,
                    load: draw_load(prng),
                    starts_at: prng.bits() % quiet_at,
                });
            }
        }
        draw_groups(prng, &mut setup);
        if prng.chance(70) {
            for _ in 0..prng.below(12) {
                let at = prng.bits() % quiet_at;
                let act = draw_act(prng, setup.queues.len(), kinds);
                setup.acts.push((at, act));
            }
        }
        setup
    }
}

fn rule(prng: &mut Prng) -> Rule {
    if prng.chance(20) {
        return Rule::Fifo(Duration::from_micros(u64::from(prng.between(1, 4_000))));
    }
    if prng.chance(50) {
        return Rule::Fair(FairConfig::default());
    }
    Rule::Fair(FairConfig {
        slice: Duration::from_micros(u64::from(prng.between(100, 8_000))),
        min_run: Duration::from_micros(u64::from(prng.between(0, 1_000))),
        guarantee: prng.between(2, 32),
        lag: Duration::from_millis(u64::from(prng.between(0, 200))),
    })
}

fn cost(prng: &mut Prng) -> u64 {
    match prng.below(3) {
        0 => 0,
        1 => u64::from(prng.between(1, 20)) * US,
        _ => u64::from(prng.between(1, 300)) * US,
    }
}

/// In half of all worlds nothing goes wrong by chance.
fn rates(prng: &mut Prng) -> Rates {
    let faulty = prng.chance(50);
    let mut rate = |most: u32| match faulty && prng.chance(40) {
        true => prng.between(1, most),
        false => 0,
    };
    Rates {
        hang: rate(20),
        silent: rate(10),
        bind_fails: rate(100),
        breaks: rate(30),
        not_yet: rate(300),
        slow_run: rate(300),
        late_report: rate(200),
        handled: rate(1_000),
    }
}

fn draw_queue(prng: &mut Prng, kinds: u32) -> QueueSetup {
    QueueSetup {
        priority: draw_priority(prng),
        weight: draw_weight(prng),
        kinds: draw_kinds(prng, kinds),
        checked: prng.chance(30),
        credits: prng.between(1, 4),
        entries: 64,
        timeout_ns: Some(MS * u64::from(prng.between(1, 40))),
    }
}

fn draw_priority(prng: &mut Prng) -> Priority {
    prng.pick(&[
        Priority::Kernel,
        Priority::High,
        Priority::Normal,
        Priority::Normal,
        Priority::Normal,
        Priority::Low,
    ])
}

fn draw_weight(prng: &mut Prng) -> Weight {
    let weight = match prng.chance(60) {
        true => 100,
        false => prng.pick(&[10, 50, 200, 300, 1_000]),
    };
    Weight::new(weight).unwrap_or_default()
}

fn draw_kinds(prng: &mut Prng, kinds: u32) -> Kinds {
    let only = SlotKind::new(prng.below(kinds) as u8).map_or(Kinds::ALL, Kinds::only);
    match prng.chance(60) {
        true => only,
        false => Kinds::ALL,
    }
}

fn draw_load(prng: &mut Prng) -> Load {
    let most_ns = US * u64::from(prng.pick(&[50u32, 200, 1_000, 3_000]));
    match prng.below(3) {
        0 => Load::Backlog {
            depth: prng.between(1, 6),
            least_ns: 1 + most_ns / 10,
            most_ns,
        },
        1 => Load::Cycles {
            jobs: prng.between(1, 5),
            job_ns: most_ns,
            sync: prng.chance(70),
            wait_ns: u64::from(prng.below(2)) * US * u64::from(prng.between(1, 10_000)),
            cycles: u64::from(prng.between(1, 60)),
        },
        _ => Load::Bursts {
            jobs: prng.between(1, 8),
            most_ns,
            wait_ns: 100 * US * u64::from(prng.between(1, 200)),
            crossing: prng.pick(&[0, 20, 80]),
        },
    }
}

/// Some queues that must be resident together: as many as fit, however they are placed.
fn draw_groups(prng: &mut Prng, setup: &mut Setup) {
    let mut free: Vec<usize> = (0..setup.queues.len()).collect();
    while prng.chance(30) && free.len() >= 2 {
        let most = setup.slots.len().min(3).min(free.len());
        if most < 2 {
            return;
        }
        let members = prng.between(2, most as u32) as usize;
        let group: Vec<usize> = free.drain(..members).collect();
        for member in &group {
            // Wherever there is room: what fits then fits always.
            setup.queues[*member].kinds = Kinds::ALL;
        }
        setup.groups.push(group);
    }
}

fn draw_act(prng: &mut Prng, queues: usize, kinds: u32) -> Act {
    let queue = prng.below(queues as u32) as usize;
    match prng.below(16) {
        0 => Act::Kill(queue),
        1 => Act::Close(queue, ClosePolicy::Drain),
        2 => Act::Close(queue, ClosePolicy::Cancel),
        3..=5 => Act::Suspend(queue, 1 + prng.bits() % (5 * MS)),
        6 => Act::Cancel(queue),
        7..=9 => Act::Change(queue, draw_priority(prng), draw_weight(prng)),
        10 | 11 => Act::Move(queue, draw_kinds(prng, kinds)),
        12 => Act::Reset,
        13 | 14 => Act::Evict(queue),
        _ => Act::StrayTimer,
    }
}
