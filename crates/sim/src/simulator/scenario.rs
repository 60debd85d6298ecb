// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What one run has: queues of some shapes, a device with some habits, and how often what fails.

use std::fmt;
use std::time::Duration;

use ringfence_core::{Ban, ClosePolicy, Config, OnDependencyError};

use crate::prng::Prng;

/// What a driver does when it is asked about a job that hangs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// It resets the ring in its timeout callback.
    Handles,
    /// It asks for a recovery.
    AsksForReset,
    /// It asks for more time until it gets none.
    Hopes,
    /// Sometimes this, sometimes that.
    Mixed,
}

/// What becomes of the jobs that are not guilty when their queue is recovered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// They are put on the hardware again.
    Replay,
    /// They end.
    Cancel,
    /// They stayed on the hardware.
    Keep,
}

/// What a recovery reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// One queue: its ring is reset.
    Queue,
    /// The whole device is reset.
    Device,
    /// All pending jobs move to a fresh device.
    Migration,
    /// The device is given up.
    Unplug,
}

/// One queue and its ring.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Entries of the queue; a power of two.
    pub entries: usize,
    /// How the queue behaves.
    pub config: Config,
    /// Whether payloads may be dropped in interrupts.
    pub reap_in_irq: bool,
    /// Whether its visits signal all they can before they ask what else there is.
    pub signals_first: bool,
    /// How many jobs the ring holds.
    pub ring: u8,
    /// How it is closed in the end.
    pub policy: ClosePolicy,
    /// What its driver does about hangs.
    pub patience: Patience,
    /// What becomes of its innocent jobs.
    pub rest: Rest,
}

/// How often what goes wrong, in a thousand jobs (or resets).
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// Jobs that hang the ring.
    pub hang: u16,
    /// Jobs that fault.
    pub fault: u16,
    /// Jobs that complete before the run (or replay) callback returns.
    pub early: u16,
    /// Completions whose interrupt is lost.
    pub lost: u16,
    /// Completions that are reported twice.
    pub double: u16,
    /// Jobs that the driver cannot put on the ring.
    pub run_fails: u16,
    /// Jobs that the driver does at once.
    pub at_once: u16,
    /// Jobs that find no resources though the ring has room.
    pub busy: u16,
    /// Completions that a recovering driver does not see, so that it replays a job that is done.
    pub blind: u16,
    /// Replays that fail.
    pub replay_fails: u16,
    /// Resets that fail and are tried again.
    pub reset_fails: u16,
    /// Resets that take ten times as long.
    pub reset_slow: u16,
    /// Foreign fences that fail.
    pub foreign: u16,
}

/// Everything about a run that is not an operation.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    /// The queues.
    pub queues: Vec<Shape>,
    /// How often what goes wrong.
    pub rates: Rates,
    /// The longest time that a job takes, in nanoseconds.
    pub job_ns: u32,
    /// How long an ordinary reset takes, in nanoseconds.
    pub reset_ns: u32,
    /// Decides what becomes of each job, so that taking operations out changes nothing else.
    pub salt: u64,
    /// Whether the liveness phase begins by closing all queues, hung or not.
    pub close_first: bool,
}

impl Scenario {
    /// Draws one in place.
    pub(crate) fn draw(&mut self, prng: &mut Prng) {
        self.queues.clear();
        let count = prng.pick(&[1, 1, 2, 2, 3, 3, 4, 5, 6, 8]);
        let sizes = prng.pick(&[(1, 2), (1, 3), (2, 4), (2, 4), (3, 5)]);
        for _ in 0..count {
            self.queues.push(draw_shape(prng, sizes));
        }
        self.rates = draw_rates(prng);
        self.job_ns = prng.pick(&[1, 40, 40, 200, 1000]);
        self.reset_ns = prng.pick(&[0, 50, 500]);
        self.salt = prng.bits();
        self.close_first = prng.chance(50);
    }
}

fn draw_shape(prng: &mut Prng, (low, high): (u32, u32)) -> Shape {
    let config = Config {
        credits: prng.pick(&[1, 2, 3, 4, 8, 100]),
        bypass: prng.chance(40),
        bypass_budget: prng.pick(&[1, 2, 3, 16]),
        timeout: prng
            .pick(&[None, Some(60), Some(300), Some(300), Some(2000)])
            .map(Duration::from_nanos),
        extensions_max: prng.pick(&[0, 1, 2, 8]),
        on_dependency_error: prng.pick(&[
            OnDependencyError::Fail,
            OnDependencyError::Fail,
            OnDependencyError::Run,
        ]),
        first_seqno: match prng.below(3) {
            0 => u64::MAX.wrapping_sub(u64::from(prng.below(12))),
            1 => u64::from(prng.below(100)),
            _ => 1,
        },
        ban: prng
            .pick(&[None, Some(1), Some(2), Some(3)])
            .map(|strikes| Ban {
                strikes,
                within: prng.pick(&[None, Some(Duration::from_nanos(500))]),
            }),
        close_timeout: prng
            .pick(&[None, Some(0), Some(400), Some(3000)])
            .map(Duration::from_nanos),
        gated: false,
    };
    Shape {
        entries: 1 << prng.between(low, high),
        config,
        reap_in_irq: prng.chance(25),
        signals_first: prng.chance(50),
        ring: prng.pick(&[1, 2, 4, 16]),
        policy: prng.pick(&[ClosePolicy::Cancel, ClosePolicy::Drain]),
        patience: prng.pick(&[
            Patience::Handles,
            Patience::AsksForReset,
            Patience::AsksForReset,
            Patience::Hopes,
            Patience::Mixed,
        ]),
        rest: prng.pick(&[Rest::Replay, Rest::Replay, Rest::Cancel, Rest::Keep]),
    }
}

fn draw_rates(prng: &mut Prng) -> Rates {
    let mut rate = |choices: &[u16]| {
        if prng.chance(30) {
            0
        } else {
            prng.pick(choices)
        }
    };
    Rates {
        hang: rate(&[20, 100, 300]),
        fault: rate(&[20, 200]),
        early: rate(&[50, 300]),
        lost: rate(&[20, 200]),
        double: rate(&[20, 200]),
        run_fails: rate(&[10, 100]),
        at_once: rate(&[50, 300]),
        busy: rate(&[50, 300]),
        blind: rate(&[300, 1000]),
        replay_fails: rate(&[50, 300]),
        reset_fails: rate(&[100, 500]),
        reset_slow: rate(&[100, 500]),
        foreign: rate(&[100, 500]),
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "salt {:#x}, jobs up to {}ns, resets {}ns, close first {}",
            self.salt, self.job_ns, self.reset_ns, self.close_first
        )?;
        writeln!(f, "{:?}", self.rates)?;
        for (at, shape) in self.queues.iter().enumerate() {
            writeln!(f, "queue {at}: {shape:?}")?;
        }
        Ok(())
    }
}
