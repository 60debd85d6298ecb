// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::plan::units::Kind;
use crate::run::schedule::Span;

/// Runs plans of GPU jobs through real queues, and checks that everything held.
///
/// Exit status: 0 if everything held, 1 if a violation was found, 2 if the command line or the
/// plan is wrong.
#[derive(Debug, Parser)]
#[command(name = "ringfence", version)]
pub struct Args {
    /// What to do; `run` where nothing is given.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a plan, or replay recorded scheduler events.
    Run(RunArgs),
    /// Check a plan and print what it would run.
    Check(CheckArgs),
    /// Simulate queues, clients and a device that fails, in virtual time, seed after seed.
    Sim(SimArgs),
}

impl Default for Command {
    fn default() -> Self {
        Self::Run(RunArgs::default())
    }
}

/// The arguments of `ringfence run`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RunArgs {
    /// A plan in TOML, or scheduler events as text; the built-in tour where nothing is given.
    #[arg(value_name = "PLAN")]
    pub plan: Option<PathBuf>,
    /// The seed of all that is random; the plan's own where nothing is given.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The device to run on.
    #[arg(long, value_enum, default_value_t)]
    pub device: DeviceKind,
    /// Write a trace: Perfetto's format, or the kernel's event text where FILE ends in .txt.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Draw who was on which slot: as SVG, or in letters where FILE ends in .txt.
    #[arg(long, value_name = "FILE")]
    pub schedule: Option<PathBuf>,
    /// The part of the run to draw, as "200..250ms"; 50 ms in its middle where nothing is given.
    #[arg(long, value_name = "FROM..TO", requires = "schedule")]
    pub schedule_span: Option<Span>,
    /// Print one JSON object in the place of the table.
    #[arg(long)]
    pub json: bool,
    /// Print every queue, its jobs and last events: once in mid-run, or every EVERY ("500ms"), and
    /// at the end if something was violated. Queues are shown anyway on SIGUSR1, on Ctrl-C and
    /// where nothing happens any more.
    #[arg(
        long,
        value_name = "EVERY",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "half"
    )]
    pub dump: Option<DumpWhen>,
    /// Write what each client has used of the device, as its DRM file's fdinfo would say it, to a file
    /// of its name in DIR. Only for plans with an orchestrator.
    #[arg(long, value_name = "DIR")]
    pub fdinfo: Option<PathBuf>,
    /// The pace of a replay: "10x", or "max" for as fast as possible.
    #[arg(long, value_name = "10x|max", default_value = "1x")]
    pub speed: Speed,
    /// For tests: breaks what must hold, in one way, to see that it is found.
    #[arg(long, value_enum, hide = true)]
    pub sabotage: Option<Sabotage>,
    /// For tests: prints the memory in use after 10 000 jobs and at the end, on standard error.
    #[arg(long, hide = true)]
    pub memory: bool,
}

/// When `--dump` shows the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpWhen {
    /// When half of the jobs have been submitted.
    Half,
    /// Every so often: 1 ms or more.
    Every(Duration),
}

impl std::str::FromStr for DumpWhen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "half" {
            return Ok(Self::Half);
        }
        let ns = Kind::Duration.parse(text).ok();
        ns.map(Duration::from_nanos)
            .filter(|&every| every >= Duration::from_millis(1))
            .map(Self::Every)
            .ok_or_else(|| "write \"half\", or a duration from \"1ms\" on, as \"500ms\"".to_owned())
    }
}

/// What can be broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// The signal of some jobs is delivered twice.
    SignalTwice,
    /// Some signals are delivered in the wrong order.
    OutOfOrder,
    /// Jobs are submitted without what they depend on.
    SkipDependency,
    /// Room in a queue is taken and never given back.
    LeakEntry,
    /// What a job holds is never dropped.
    LeakJob,
    /// The results of some jobs are overwritten.
    WrongData,
    /// A job is counted as submitted and goes nowhere.
    LoseJob,
    /// Those that have had most get the slots, and the less important before the more important.
    Unfair,
    /// The queues of a group get their slots each by itself.
    SplitGroups,
}

/// The arguments of `ringfence check`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CheckArgs {
    /// A plan in TOML; the built-in tour where nothing is given.
    #[arg(value_name = "PLAN")]
    pub plan: Option<PathBuf>,
    /// The seed to count random faults with; the plan's own where nothing is given.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// The arguments of `ringfence sim`.
#[derive(Clone, Debug, clap::Args)]
pub struct SimArgs {
    /// How many seeds to run; without --orchestrator, those that once found something run before.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub seeds: u64,
    /// The first seed.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub from: u64,
    /// How many operations each seed's fault phase has; what the seed draws where not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub ops: Option<u32>,
    /// How many threads work; as many as there are processors where not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// Print one JSON object in the place of the tables.
    #[arg(long)]
    pub json: bool,
    /// Print every event of the one seed that is run.
    #[arg(long)]
    pub log: bool,
    /// Have the naive model judge every queue, too: a third slower.
    #[arg(long)]
    pub oracle: bool,
    /// Simulate many queues on few hardware slots, with an orchestrator, in their place.
    #[arg(long)]
    pub orchestrator: bool,
    /// For tests: plants a bug in the simulation of slots, which must be found.
    #[cfg(feature = "canary")]
    #[arg(long, value_name = "NAME", requires = "orchestrator")]
    pub slot_canary: Option<ringfence_sim::slots::SlotCanary>,
    /// For tests: plants a bug, which must be found.
    #[cfg(feature = "canary")]
    #[arg(long, value_name = "NAME", conflicts_with = "orchestrator")]
    pub canary: Option<ringfence_sim::Canary>,
}

/// The devices a plan can run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DeviceKind {
    /// The embedded software GPU.
    #[default]
    Soft,
}

/// The pace of a replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times the recorded pace: finite, from 0.001 to 1 000 000.
    Times(f64),
    /// As fast as possible.
    Max,
}

impl Default for Speed {
    fn default() -> Self {
        Self::Times(1.0)
    }
}

impl std::str::FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "max" {
            return Ok(Self::Max);
        }
        text.strip_suffix('x')
            .and_then(|number| number.parse::<f64>().ok())
            .filter(|times| (0.001..=1_000_000.0).contains(times))
            .map(Self::Times)
            .ok_or_else(|| "write \"max\", or a factor such as \"10x\" or \"0.5x\"".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use std::time::Duration;

    use super::{Args, DumpWhen, Speed};

    #[test]
    fn clap_finds_no_mistake_in_the_definition() {
        Args::command().debug_assert();
    }

    #[test]
    fn reads_when_to_dump() {
        let every = |ms| Ok(DumpWhen::Every(Duration::from_millis(ms)));
        assert_eq!("half".parse(), Ok(DumpWhen::Half));
        assert_eq!("500ms".parse(), every(500));
        assert_eq!("2s".parse(), every(2_000));
        assert_eq!("1000us".parse(), every(1));
        for text in ["", "0s", "999us", "500", "-1s", "third"] {
            assert!(text.parse::<DumpWhen>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn reads_speeds() {
        assert_eq!("10x".parse(), Ok(Speed::Times(10.0)));
        assert_eq!("0.5x".parse(), Ok(Speed::Times(0.5)));
        assert_eq!("max".parse(), Ok(Speed::Max));
        for text in ["", "x", "10", "0x", "-1x", "NaNx", "infx", "MAX"] {
            assert!(text.parse::<Speed>().is_err(), "{text:?}");
        }
    }
}
