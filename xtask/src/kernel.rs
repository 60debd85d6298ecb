// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `cargo xtask kernel`: builds Linux 7.3 as a program (UML), our modules for it, boots it, and
//! judges what it says.
//!
//! A machine needs nothing for it but root or the right tools (`tools.rs`). What takes long is
//! kept in the user's cache (`cache.rs`).

mod bench;
mod boot;
mod build;
mod cache;
mod ktap;
mod lint;
mod log;
mod patches;
mod place;
mod same_core;
mod steps;
mod stress;
mod suites;
mod tools;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use boot::Boot;
use build::{Kind, Workshop};

use crate::run::Failed;

/// What to do with a kernel.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Runs the KUnit suites.
    Test {
        /// In a kernel that watches: lockdep, KASAN and others, which are first shown mistakes.
        #[arg(long)]
        debug: bool,
        /// Which suites, or `suite.test`.
        #[arg(long, default_value = "ringfence*")]
        filter: String,
        /// A mistake to make on purpose, which must turn the run red.
        #[arg(long, value_enum)]
        plant: Option<suites::Plant>,
    },
    /// Stresses the modules in the kernel that watches, and loads and unloads a driver at work.
    Stress {
        /// For how long.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// How often the driver is loaded and unloaded with jobs in flight.
        #[arg(long, default_value_t = 100)]
        cycles: u32,
    },
    /// Measures against `drm_sched`, on one CPU and on two.
    Bench {
        /// One object: ours over theirs, by measure.
        #[arg(long)]
        json: bool,
        /// Rounds of both in turn.
        #[arg(long, default_value_t = 7)]
        rounds: u32,
    },
    /// Boots to a shell, in the folder of the modules.
    Shell {
        /// The kernel that watches.
        #[arg(long)]
        debug: bool,
    },
    /// Runs the kernel's formatter, clippy and checkpatch on our kernel sources.
    Lint,
    /// Checks that the kernel compiles the core that cargo compiles.
    CoreCheck,
    /// Writes the series of patches that adds all of it to Linux 7.3.
    Patches {
        /// Where to.
        #[arg(long, default_value = "target/patches")]
        out: PathBuf,
        /// Also applies each to the kernel, builds it there, and runs checkpatch.
        #[arg(long)]
        check: bool,
    },
}

pub(crate) fn run(command: &Command) -> Result<(), Failed> {
    let began = Instant::now();
    let mut workshop = Workshop::open()?;
    let done = match command {
        Command::Test {
            debug,
            filter,
            plant,
        } => suites::run(&mut workshop, Kind::of(*debug), filter, *plant),
        Command::Stress { seconds, cycles } => stress::run(&mut workshop, *seconds, *cycles),
        Command::Bench { json, rounds } => bench::run(&mut workshop, *json, *rounds),
        Command::Shell { debug } => shell(&mut workshop, Kind::of(*debug)),
        Command::Lint => lint::run(&mut workshop),
        Command::CoreCheck => same_core::check(&mut workshop),
        Command::Patches { out, check } => patches::run(&mut workshop, out, *check),
    };
    let times = workshop.steps.times();
    let all = began.elapsed().as_secs_f64();
    eprintln!("xtask: {times}; {all:.0} s in all");
    done
}

fn shell(workshop: &mut Workshop, kind: Kind) -> Result<(), Failed> {
    let kernel = workshop.kernel(kind)?;
    workshop.modules(&kernel)?;
    let boot = Boot {
        step: "shell",
        script: "shell",
        settings: Vec::new(),
        arguments: Vec::new(),
        processors: 2,
        limit: Duration::MAX,
    };
    workshop.release()?;
    workshop.boot_here(&kernel, &boot)
}
