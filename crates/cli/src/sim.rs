// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `ringfence sim`: runs the simulator over many seeds, and tells what it found.
//!
//! Seeds that once found something run first. What is found does not depend on how many threads
//! look: of several violations, that of the lowest seed is told.

mod report;
mod search;
mod slots;

use std::io::{self, IsTerminal as _};
use std::panic;
use std::process::ExitCode;
use std::sync::Once;
use std::time::{Duration, Instant};

use ringfence_sim::{shrink_plan, Options, SimPlan, Simulator, Violation};

use crate::args::SimArgs;
use crate::signals::Signals;
use crate::{EXIT_USAGE, EXIT_VIOLATION};
use report::Finding;
use search::{Found, Search};

/// Seeds that found something once, each with a word about what that was.
const REGRESSIONS: &str = include_str!("../../sim/regressions.txt");

/// From so many seeds on, what should be seen and never was is a failure: fewer may miss rarities.
const SEEDS_THAT_SEE_ALL: u64 = 10_000;

/// How long a plan that fails may be made shorter for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs what `args` say; the exit status.
pub fn sim(args: &SimArgs) -> ExitCode {
    match try_sim(args) {
        Ok(code) => code,
        // Whoever reads this has gone away.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringfence: cannot print: {error}");
            ExitCode::from(EXIT_VIOLATION)
        }
    }
}

fn try_sim(args: &SimArgs) -> io::Result<ExitCode> {
    let wrong = if args.log && args.seeds != 1 {
        Some("--log prints the events of one seed: say --seeds 1, too")
    } else if args.log && args.json {
        Some("--log prints events as text, and --json one object of many seeds: say one of them")
    } else if args.seeds == 0 {
        Some("no seed is nothing to run: say --seeds 1 or more")
    } else if args.from.checked_add(args.seeds).is_none() {
        Some("the seeds go beyond 2^64")
    } else if args.orchestrator && (args.ops.is_some() || args.oracle) {
        Some("--ops and --oracle are for queues alone, not for --orchestrator")
    } else {
        None
    };
    if let Some(wrong) = wrong {
        eprintln!("error: {wrong}");
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    tell_one_panic();
    let mut out = io::stdout().lock();
    if args.orchestrator {
        return slots::sim(args, &mut out);
    }
    if args.log {
        return one_seed(args, &mut out);
    }
    // Where signals cannot be watched, Ctrl-C ends the program at once, as ever.
    let signals = Signals::watch().unwrap_or_default();
    let search = Search::new(args, regressions().map(|(seed, _)| seed), signals);
    let start = Instant::now();
    let found = search.run(io::stderr().is_terminal() && !args.json);
    let took = start.elapsed();
    let finding = found.violation.as_ref().map(|violation| {
        let plan = SimPlan::from_seed(violation.seed, args.ops);
        finding(args, &plan, violation)
    });
    tell(args, &found, finding.as_ref(), took, &mut out)?;
    Ok(if is_clean(&found) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_VIOLATION)
    })
}

/// No promise was broken, and all was seen that so many seeds should see.
fn is_clean(found: &Found) -> bool {
    found.violation.is_none() && (!found.sees_all || found.coverage.gaps().is_empty())
}

fn tell(
    args: &SimArgs,
    found: &Found,
    finding: Option<&Finding>,
    took: Duration,
    out: &mut impl io::Write,
) -> io::Result<()> {
    if args.json {
        let report = report::json(args, found, finding, took);
        return writeln!(out, "{report}");
    }
    report::summary(args, found, took, out)?;
    if let Some(finding) = finding {
        report::finding(finding, out)?;
    }
    out.flush()
}

/// The seeds of the file, with what it says of each.
fn regressions() -> impl Iterator<Item = (u64, &'static str)> {
    REGRESSIONS.lines().filter_map(|line| {
        let (seed, comment) = line.split_once('#').unwrap_or((line, ""));
        Some((seed.trim().parse().ok()?, comment.trim()))
    })
}

/// A panic in a run is a violation of its seed, and made shorter like others. The first says on
/// standard error where it was; the rest, on the way to the shorter plan, are not told.
fn tell_one_panic() {
    let first = Once::new();
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |info| first.call_once(|| tell(info))));
}

/// The simulator's options for what the command line says.
fn options(args: &SimArgs, log: bool) -> Options {
    #[allow(
        clippy::needless_update,
        reason = "there is one field more where bugs can be planted"
    )]
    Options {
        ops: args.ops,
        log,
        oracle: args.oracle,
        #[cfg(feature = "canary")]
        canary: args.canary,
        ..Options::default()
    }
}

/// What there is to tell of a violation: a shorter way to it, its events, the way back to it.
fn finding(args: &SimArgs, plan: &SimPlan, violation: &Violation) -> Finding {
    let shrunk = shrink_plan(plan, &options(args, false), PATIENCE);
    let (short, at) = shrunk.unwrap_or_else(|| (plan.clone(), violation.clone()));
    let mut simulator = Simulator::new(options(args, true));
    // It fails again: that is what it was kept for.
    let _ = simulator.run(&short);
    Finding {
        violation: violation.clone(),
        operations: plan.ops.len(),
        short_operations: short.ops.len(),
        short: short.to_string(),
        at,
        log: simulator.log().iter().map(ToString::to_string).collect(),
        command: command(args, violation.seed),
    }
}

/// What to type to see a seed again.
fn command(args: &SimArgs, seed: u64) -> String {
    let mut command = String::from("cargo run --release");
    #[cfg(feature = "canary")]
    if args.canary.is_some() {
        command += " --features canary";
    }
    command += &format!(" -- sim --from {seed} --seeds 1");
    if let Some(ops) = args.ops {
        command += &format!(" --ops {ops}");
    }
    if args.oracle {
        command += " --oracle";
    }
    #[cfg(feature = "canary")]
    if let Some(canary) = args.canary {
        command += &format!(" --canary {canary}");
    }
    command
}

/// Runs one seed and prints its events.
fn one_seed(args: &SimArgs, out: &mut impl io::Write) -> io::Result<ExitCode> {
    let mut simulator = Simulator::new(options(args, true));
    let ran = simulator.run_seed(args.from);
    write!(out, "{}", SimPlan::from_seed(args.from, args.ops))?;
    writeln!(out, "\n{}", ringfence_sim::LogLine::COLUMNS)?;
    for line in simulator.log() {
        writeln!(out, "{line}")?;
    }
    Ok(match ran {
        Ok(summary) => {
            writeln!(
                out,
                "\nseed {} held: fingerprint {:016x}",
                args.from, summary.log_hash
            )?;
            ExitCode::SUCCESS
        }
        Err(violation) => {
            writeln!(out, "\nviolation: {violation}")?;
            ExitCode::from(EXIT_VIOLATION)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{regressions, REGRESSIONS};

    #[test]
    fn every_line_of_the_file_is_a_seed_with_a_word_or_a_comment() {
        let lines = REGRESSIONS.lines().map(str::trim);
        let seeds = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let read: Vec<_> = regressions().collect();
        assert_eq!(read.len(), seeds.count());
        assert!(
            read.iter().all(|(_, comment)| !comment.is_empty()),
            "{read:?}"
        );
    }
}
