// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The `ringfence` command: reads plans, checks them and runs them.
//!
//! A library beside the program, so that tests can call its parts and its documentation is built.

use std::process::ExitCode;

use clap::Parser as _;

pub mod args;
pub mod check;
mod dump;
pub mod input;
pub mod plan;
pub mod replay;
pub mod run;
mod signals;
pub mod sim;

/// The exit status where a violation was found.
pub const EXIT_VIOLATION: u8 = 1;
/// The exit status of a wrong command line or a plan that cannot be used.
pub const EXIT_USAGE: u8 = 2;
/// The exit status where somebody interrupted a run in which nothing had been violated.
pub const EXIT_INTERRUPTED: u8 = 130;

/// The whole command: reads the command line, does what it says, and returns the exit status.
pub fn main() -> ExitCode {
    // On a wrong command line, clap prints what is wrong and leaves with `EXIT_USAGE`.
    match args::Args::parse().command.unwrap_or_default() {
        args::Command::Run(args) => run::run(args),
        args::Command::Check(args) => check::check(&args),
        args::Command::Sim(args) => sim::sim(&args),
    }
}
