// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Development commands: `cargo xtask test`, `purity`, `stress`, `kernel`, `ci`.
//!
//! What they do is what cargo does; nothing here knows where artefacts go.

mod kernel;
mod purity;
mod run;
mod stress;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use run::{cargo, in_root, Failed, Step};

#[derive(Parser)]
#[command(
    about = "Development commands of Ringfence",
    arg_required_else_help = true
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs all tests: unit, property, conformance, compile-fail, documentation, shuttle, loom.
    Test,
    /// Checks that core has no std, no alloc, no unsafe code, no atomics, no dependency.
    Purity,
    /// Stresses the whole host with many threads, under a tool that watches.
    Stress {
        /// Who watches.
        #[arg(value_enum)]
        tool: stress::Tool,
        /// Rounds to play; a number that fits the gate if not said.
        #[arg(long)]
        rounds: Option<u64>,
        /// The first round's seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Tests, stresses and measures the kernel host in a Linux that is built and booted for it.
    #[command(subcommand)]
    Kernel(kernel::Command),
    /// Runs what the gate runs.
    Ci,
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Test => test(),
        Command::Purity => purity::check(),
        Command::Stress { tool, rounds, seed } => stress::run(tool, rounds, seed),
        Command::Kernel(command) => kernel::run(&command),
        Command::Ci => in_root(Step::new("bash").args([".ci/run"])),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(what)) => {
            eprintln!("xtask: failed: {what}");
            ExitCode::FAILURE
        }
    }
}

/// Every test there is. The model checkers replace the locks of the crate they check, so they
/// are builds of their own, of that crate alone.
fn test() -> Result<(), Failed> {
    cargo(&[
        "test",
        "--workspace",
        "--all-targets",
        "--locked",
        "--no-fail-fast",
    ])?;
    cargo(&["test", "--workspace", "--doc", "--locked"])?;
    canaries()?;
    model_checked("ringfence", "shuttle", &["--test", "shuttle"])?;
    model_checked("ringfence-orchestrator", "shuttle", &["--test", "shuttle"])?;
    model_checked("ringfence", "loom", &["--lib", "loom_"])
}

/// Plants bugs, and runs the commands that are printed for them. The program that users get has no
/// way to plant one, so this is a build of its own.
fn canaries() -> Result<(), Failed> {
    cargo(&[
        "test",
        "--locked",
        "--package",
        "ringfence-cli",
        "--features",
        "canary",
        "--test",
        "canaries",
    ])
}

/// Tests a package under a model checker's locks and threads.
fn model_checked(package: &str, feature: &str, which: &[&str]) -> Result<(), Failed> {
    let mut args = vec![
        "test",
        "--locked",
        "--package",
        package,
        "--features",
        feature,
    ];
    args.extend(which);
    cargo(&args)
}
