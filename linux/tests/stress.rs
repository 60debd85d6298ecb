// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Everything at once: clients on all processors submit, finish, cancel, stop, replay, kill and
//! unbind, interrupts complete, timeouts fire, drivers and recoveries answer at random. Then
//! everything must have ended as it should, and nothing be left.
//!
//! What is decided is decided by a seed; what comes when is not. Runs at load, in rounds that are
//! judged one by one. A line that begins with `FAILED` names a rule that was broken.

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::time::{delay::fsleep, Delta};

#[macro_use]
#[path = "stress/tally.rs"]
mod tally;
#[path = "stress/client.rs"]
mod client;
#[path = "stress/driver.rs"]
mod driver;
#[path = "stress/hardware.rs"]
mod hardware;
#[path = "stress/judge.rs"]
mod judge;
#[path = "stress/random.rs"]
mod random;
#[path = "stress/stops.rs"]
mod stops;
#[path = "stress/submit.rs"]
mod submit;
#[path = "stress/thread.rs"]
mod thread;
#[path = "stress/watch.rs"]
mod watch;
#[path = "stress/work.rs"]
mod work;
#[path = "stress/world.rs"]
mod world;

use client::Client;
use hardware::Irq;
use random::Random;
use thread::Thread;
use watch::Window;
use world::{World, CLIENTS};

/// How long a round is at most, in milliseconds.
const ROUND_MS: u64 = 3000;
/// How long anything may take before it counts as stuck, in milliseconds.
pub(crate) const STUCK_MS: u64 = 60_000;

/// Clients were stuck: their code must stay, and so must what they use.
static STUCK: Atomic<i32> = Atomic::new(0);

module! {
    type: Stress,
    name: "ringfence_stress",
    authors: ["The Ringfence authors"],
    description: "Everything that ringfence does, at once",
    license: "Dual MIT/GPL",
    params: {
        seconds: u32 {
            default: 60,
            description: "For how long",
        },
        seed: u64 {
            default: 1,
            description: "What is decided",
        },
    },
}

struct Stress;

impl kernel::Module for Stress {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let (seconds, seed) = (
            *module_parameters::seconds.value_ref(),
            *module_parameters::seed.value_ref(),
        );
        pr_info!("{} s, seed {}\n", seconds, seed);
        thread::open()?;
        let ran = all_rounds(u64::from(seconds) * 1000, seed);
        if let Err(error) = ran {
            broken!("{:?}", error);
        }
        tally::print();
        pr_info!("done\n");
        if STUCK.load(Relaxed) != 0 {
            // Never unloaded: somebody is in its code.
            // SAFETY: It is being loaded, and so is there.
            unsafe { kernel::bindings::__module_get(module.as_ptr()) };
            return Ok(Self);
        }
        thread::close();
        match tally::broken() {
            0 => Ok(Self),
            _ => Err(EIO),
        }
    }
}

/// Milliseconds on the clock.
pub(crate) fn now_ms() -> u64 {
    ringfence::monotonic().as_ns() / 1_000_000
}

fn all_rounds(span_ms: u64, seed: u64) -> Result {
    let end = now_ms() + span_ms;
    let mut random = Random::new(seed);
    let mut round = 0;
    while now_ms() < end && tally::broken() == 0 {
        let span = ROUND_MS.min(end - now_ms());
        // Payloads that may be dropped in interrupts, and others.
        match round % 2 {
            0 => one_round::<false>(span, &mut random)?,
            _ => one_round::<true>(span, &mut random)?,
        }
        round += 1;
    }
    match tally::broken() {
        0 => pr_info!("{} rounds\n", round),
        broken => pr_info!("seed {}, round {}: {} rules broken\n", seed, round, broken),
    }
    Ok(())
}

/// A world, for so long. Everything has ended when this returns.
fn one_round<const I: bool>(span_ms: u64, random: &mut Random) -> Result {
    let timelines = ringfence::fence::timelines();
    let world = World::<I>::new(random)?;
    let interrupts = [
        Irq::begin(&world.hardware, random.fork())?,
        Irq::begin(&world.hardware, random.fork())?,
    ];
    let mut threads = KVec::<Thread<Window>>::new();
    for index in 0..CLIENTS {
        let client = Client::new(world.clone(), random.fork(), index)?;
        world.running.fetch_add(1, kernel::sync::atomic::Full);
        threads.push(thread::spawn(move || client.run())?, GFP_KERNEL)?;
    }
    let end = now_ms() + span_ms;
    while now_ms() < end && tally::broken() == 0 {
        fsleep(Delta::from_millis(20));
    }
    world.end();
    if !judge::clients_return(&world) {
        STUCK.store(1, Relaxed);
        core::mem::forget((world, interrupts, threads));
        return Ok(());
    }
    let mut windows = KVec::new();
    for thread in threads.drain_all() {
        windows.push(thread.join()?, GFP_KERNEL)?;
    }
    judge::ends(&world, &mut windows, random)?;
    drop(interrupts);
    judge::nothing_is_left(world, windows, timelines)
}
