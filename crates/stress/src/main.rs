// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Stress: many threads on all of the public API at once, round after round.
//!
//! A round is small: a few queues on one or two devices, a few threads for a few milliseconds, an
//! end, and a judgement. What the threads do follows from a seed; how they interleave does not, so
//! a failure is found again by repeating its round often. It does not believe the queues: payloads,
//! drivers and fence callbacks write down what happens to them (`ledger.rs`).
//!
//! It has no cleverness for tools, but is made for them: see docs/reliability.md.

mod client;
mod driver;
mod hardware;
mod ledger;
mod other;
mod plan;
mod random;
mod sabotage;
mod seen;
mod surgeon;
mod sync;
mod waits;
mod watchdog;
mod wire;
mod world;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use ringfence::section::CheckedAllocator;

use crate::client::Client;
use crate::driver::Planned;
use crate::ledger::Broken;
use crate::plan::Plan;
use crate::random::Random;
use crate::sabotage::Sabotage;
use crate::seen::Tally;
use crate::watchdog::Watchdog;
use crate::world::World;

#[global_allocator]
static ALLOCATOR: CheckedAllocator = CheckedAllocator::system();

/// Many threads on the whole public API of Ringfence, with every rule checked.
#[derive(Parser)]
#[command(name = "ringfence-stress")]
struct Args {
    /// Rounds to play.
    #[arg(long, default_value_t = 1000)]
    rounds: u64,
    /// Stop after so many seconds, whatever --rounds says.
    #[arg(long)]
    seconds: Option<u64>,
    /// The first round's seed; the next has the next number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Play this one seed in every round.
    #[arg(long)]
    repeat: bool,
    /// Threads of a round at most, those of pools and recoveries not counted.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(2..=64))]
    threads: u64,
    /// Operations of one client in a round at most.
    #[arg(long, default_value_t = 120)]
    operations: usize,
    /// Seconds that one round may take before it is said to hang.
    #[arg(long, default_value_t = 120)]
    patience: u64,
    /// Fail if something that a round can come to was never seen.
    #[arg(long)]
    all_seen: bool,
    #[arg(long, hide = true)]
    sabotage: Option<Sabotage>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(what) = args.sabotage {
        sabotage::choose(what);
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.payload().is::<Planned>() {
            hook(panic);
        }
    }));
    wire::start();
    let watchdog = Watchdog::start(Duration::from_secs(args.patience));
    let (begin, tally) = (Instant::now(), Tally::default());
    let limit = args.seconds.map(Duration::from_secs);
    let mut rounds = 0;
    while rounds < args.rounds && limit.is_none_or(|limit| begin.elapsed() < limit) {
        let seed = args.seed + if args.repeat { 0 } else { rounds };
        rounds += 1;
        if let Some(broken) = play(seed, &args, &watchdog, &tally) {
            let Broken {
                rule,
                context,
                seqno,
            } = broken;
            eprintln!("seed {seed}: {rule} (queue {context}, job {seqno})");
            eprintln!(
                "again: ringfence-stress --seed {seed} --repeat --threads {}",
                args.threads
            );
            return ExitCode::FAILURE;
        }
    }
    report(rounds, begin.elapsed(), &tally, args.all_seen)
}

/// Plays one round. What was broken, if something was.
fn play(seed: u64, args: &Args, watchdog: &Watchdog, tally: &Tally) -> Option<Broken> {
    let mut dice = Random::new(seed);
    // At most 64, says the parser.
    let mut plan = Plan::draw(&mut dice, usize::try_from(args.threads).unwrap_or(8));
    plan.operations = plan.operations.min(args.operations);
    let world = World::new(plan, &mut dice);
    watchdog.watch(seed, &world);
    let ledger = Arc::clone(&world.ledger);
    let working = Arc::new(AtomicU64::new(1));
    let mut helpers = Vec::new();
    let mut number = 0;
    let plan = &world.plan;
    for (count, work) in [
        (
            plan.completers,
            other::completer as fn(&World, Random, &AtomicU64),
        ),
        (plan.others, other::disturber),
        (plan.stoppers, surgeon::stopper),
    ] {
        for _ in 0..count {
            number += 1;
            let (world, dice) = (Arc::clone(&world), dice.part(number));
            let working = Arc::clone(&working);
            helpers.push(thread::spawn(move || work(&world, dice, &working)));
        }
    }
    let clients: Vec<_> = (0..plan.submitters)
        .map(|_| {
            number += 1;
            let client = Client::new(&world, dice.part(number));
            thread::spawn(move || client.work())
        })
        .collect();
    let mut panicked = false;
    for client in clients {
        panicked |= client.join().is_err();
    }
    working.store(0, Ordering::SeqCst);
    for helper in helpers {
        panicked |= helper.join().is_err();
    }
    ledger.check(!panicked, "a thread panicked", 0, 0);
    let broken = world.finish(&mut dice);
    watchdog.rest();
    tally.add(&ledger.tally);
    broken
}

fn report(rounds: u64, time: Duration, tally: &Tally, all_seen: bool) -> ExitCode {
    println!("{rounds} rounds in {:.1} s", time.as_secs_f64());
    let mut missing = 0;
    for (name, count) in tally.rows() {
        println!("{count:>10}  {name}");
        missing += u32::from(count == 0);
    }
    if missing != 0 && all_seen {
        eprintln!("{missing} things were never seen");
        return ExitCode::FAILURE;
    }
    println!("every rule held");
    ExitCode::SUCCESS
}
