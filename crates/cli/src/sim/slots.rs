// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `ringfence sim --orchestrator`: many queues on few slots, seed after seed.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use ringfence_sim::slots::{run, Broken, Options, Seen, Setup, Summary};
use serde_json::{json, Map, Value};

use super::report::span;
use crate::args::SimArgs;
use crate::signals::Signals;
use crate::EXIT_VIOLATION;

/// From so many seeds on, what should be seen and never was is a failure.
const SEEDS_THAT_SEE_ALL: u64 = 1_000;

/// Lines of the event log that are printed of a violation: the last ones tell most.
const LOG_LINES: usize = 200;

#[derive(Default)]
struct Found {
    seeds: u64,
    summary: Summary,
    seen: Seen,
    /// Of the lowest seed that fails.
    broken: Option<Broken>,
}

fn options(args: &SimArgs, log: bool) -> Options {
    #[cfg(not(feature = "canary"))]
    let _none_can_be_planted = args;
    #[allow(
        clippy::needless_update,
        reason = "there is one field more where bugs can be planted"
    )]
    Options {
        log,
        #[cfg(feature = "canary")]
        canary: args.slot_canary,
        ..Options::default()
    }
}

/// Runs what `args` say.
pub(super) fn sim(args: &SimArgs, out: &mut impl Write) -> io::Result<ExitCode> {
    if args.log {
        return one_seed(args, out);
    }
    let signals = Signals::watch().unwrap_or_default();
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let workers = args.workers.map_or(processors, usize::from);
    let start = Instant::now();
    let found = search(args, workers, &signals);
    let took = start.elapsed();
    let whole = args.seeds >= SEEDS_THAT_SEE_ALL && !signals.interrupted();
    let gaps = match whole && found.broken.is_none() {
        true => found.seen.gaps(),
        false => Vec::new(),
    };
    if args.json {
        let interrupted = signals.interrupted();
        writeln!(out, "{:#}", object(args, &found, &gaps, interrupted))?;
    } else {
        let summary = &found.summary;
        writeln!(
            out,
            "simulated {} seeds of queues on slots from {} in {:.1} s with {workers} workers{}",
            found.seeds,
            args.from,
            took.as_secs_f64(),
            match signals.interrupted() {
                true => ", until interrupted",
                false => "",
            },
        )?;
        writeln!(
            out,
            "  {} events ({:.2} M/s), {} jobs, {:.1} s of virtual time, {:.1} s on slots, longest wait {}",
            summary.events,
            summary.events as f64 / took.as_secs_f64().max(1e-9) / 1e6,
            summary.jobs,
            summary.virtual_ns as f64 / 1e9,
            summary.executed_ns as f64 / 1e9,
            span(summary.longest_wait_ns),
        )?;
        for (name, count) in found.seen.rows() {
            writeln!(out, "  {count:>10}  {name}")?;
        }
        match &found.broken {
            Some(broken) => tell(args, broken, out)?,
            None if gaps.is_empty() => writeln!(out, "no promise was broken")?,
            None => writeln!(out, "never seen: {}", gaps.join(", "))?,
        }
    }
    out.flush()?;
    Ok(match found.broken.is_none() && gaps.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(EXIT_VIOLATION),
    })
}

fn object(args: &SimArgs, found: &Found, gaps: &[&str], interrupted: bool) -> Value {
    let summary = &found.summary;
    let seen = found
        .seen
        .rows()
        .map(|(name, count)| (name.to_owned(), count.into()));
    json!({
        "seeds": found.seeds,
        "from": args.from,
        "interrupted": interrupted,
        "events": summary.events,
        "jobs": summary.jobs,
        "virtual_ns": summary.virtual_ns,
        "executed_ns": summary.executed_ns,
        "longest_wait_ns": summary.longest_wait_ns,
        "fingerprint": format!("{:016x}", summary.hash),
        "seen": seen.collect::<Map<_, _>>(),
        "never_seen": gaps,
        "violation": found.broken.as_ref().map(|broken| json!({
            "seed": broken.seed,
            "at_ns": broken.at,
            "what": broken.what,
            "command": command(args, broken.seed),
        })),
    })
}

/// Runs the seeds, each thread the next one that nobody has.
fn search(args: &SimArgs, workers: usize, signals: &Signals) -> Found {
    // Counted from zero: each thread takes one that there is not, which must not begin anew at 2^64.
    let taken = AtomicU64::new(0);
    let found = Mutex::new(Found::default());
    let lowest = AtomicU64::new(u64::MAX);
    let work = || loop {
        let place = taken.fetch_add(1, Ordering::Relaxed);
        let seed = args.from.saturating_add(place);
        let over = place >= args.seeds || seed > lowest.load(Ordering::Relaxed);
        if over || signals.interrupted() {
            return;
        }
        let ran = run(&Setup::from_seed(seed), &options(args, false));
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.seeds += 1;
        match ran {
            Ok(outcome) => {
                found.summary.add(&outcome.summary);
                found.seen.merge(&outcome.seen);
            }
            Err(broken) => {
                if found.broken.as_ref().is_none_or(|other| seed < other.seed) {
                    lowest.store(seed, Ordering::Relaxed);
                    found.broken = Some(Broken { seed, ..broken });
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn command(args: &SimArgs, seed: u64) -> String {
    let mut command = String::from("cargo run --release");
    #[cfg(feature = "canary")]
    if args.slot_canary.is_some() {
        command += " --features canary";
    }
    command += &format!(" -- sim --orchestrator --from {seed} --seeds 1");
    #[cfg(feature = "canary")]
    if let Some(canary) = args.slot_canary {
        command += &format!(" --slot-canary {canary}");
    }
    #[cfg(not(feature = "canary"))]
    let _none_is_planted = args;
    command
}

/// Tells of a violation: what, the last events, and how to see it again.
fn tell(args: &SimArgs, broken: &Broken, out: &mut impl Write) -> io::Result<()> {
    let again = run(&Setup::from_seed(broken.seed), &options(args, true));
    let log = match again {
        Err(broken) => broken.log,
        Ok(outcome) => outcome.log,
    };
    writeln!(out, "\nviolation: {broken}\n")?;
    let skipped = log.len().saturating_sub(LOG_LINES);
    if skipped != 0 {
        writeln!(out, "  ... {skipped} events before")?;
    }
    for line in &log[skipped..] {
        writeln!(out, "  {line}")?;
    }
    writeln!(out, "\nto see it again: {}", command(args, broken.seed))
}

/// Runs one seed and prints its events.
fn one_seed(args: &SimArgs, out: &mut impl Write) -> io::Result<ExitCode> {
    let setup = Setup::from_seed(args.from);
    writeln!(out, "{setup:#?}\n")?;
    let ran = run(&setup, &options(args, true));
    let log = match &ran {
        Ok(outcome) => &outcome.log,
        Err(broken) => &broken.log,
    };
    for line in log {
        writeln!(out, "{line}")?;
    }
    match ran {
        Ok(outcome) => {
            let hash = outcome.summary.hash;
            writeln!(out, "\nseed {} held: fingerprint {hash:016x}", args.from)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(broken) => {
            writeln!(out, "\nviolation: {broken}")?;
            Ok(ExitCode::from(EXIT_VIOLATION))
        }
    }
}
