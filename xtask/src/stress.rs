// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The stress under tools that watch memory and locks.
//!
//! The sanitizers are compiler features that stable toolchains carry without offering them; so
//! this says `RUSTC_BOOTSTRAP=1`, for these builds alone. Each tool is first shown a mistake made
//! on purpose: one that does not notice it is not looking.

use std::process::Command;

use crate::run::{cargo_command, output, root, Failed, Step};

/// Who watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Tool {
    /// Nobody but the stress itself.
    Plain,
    /// The address sanitizer, with its leak detector.
    Address,
    /// The thread sanitizer.
    Thread,
    /// valgrind's memcheck.
    Memcheck,
    /// valgrind's DRD.
    Drd,
}

/// How a tool is used.
struct Usage {
    /// What it is called in target directories.
    name: &'static str,
    rustflags: &'static str,
    /// With locks and atomics that race detectors can follow.
    watched: bool,
    valgrind: &'static [&'static str],
    /// Mistakes that it must notice.
    mistakes: &'static [&'static str],
    rounds: u64,
}

impl Tool {
    fn usage(self) -> Usage {
        match self {
            Self::Plain => Usage {
                name: "plain",
                rustflags: "",
                watched: false,
                valgrind: &[],
                mistakes: &["hang"],
                rounds: 6_000,
            },
            Self::Address => Usage {
                name: "address",
                rustflags: "-Zsanitizer=address",
                watched: false,
                valgrind: &[],
                mistakes: &["use-after-free", "leak"],
                rounds: 2_000,
            },
            Self::Thread => Usage {
                name: "thread",
                // The standard library is not built for it: `crates/stress/thread.supp`.
                rustflags: "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer",
                watched: true,
                valgrind: &[],
                mistakes: &["race"],
                rounds: 1_000,
            },
            Self::Drd => Usage {
                name: "watched",
                rustflags: "",
                watched: true,
                valgrind: &[
                    "--tool=drd",
                    "--error-exitcode=99",
                    "--suppressions=crates/stress/drd.supp",
                    // A notification without the lock is no mistake.
                    "--report-signal-unlocked=no",
                    "--num-callers=24",
                    "--fair-sched=yes",
                ],
                mistakes: &["race"],
                rounds: 12,
            },
            Self::Memcheck => Usage {
                name: "plain",
                rustflags: "",
                watched: false,
                valgrind: &[
                    "--tool=memcheck",
                    "--error-exitcode=99",
                    "--leak-check=full",
                    "--errors-for-leak-kinds=definite",
                    "--fair-sched=yes",
                ],
                mistakes: &["use-after-free", "leak"],
                rounds: 40,
            },
        }
    }
}

/// Builds the stress for a tool, shows the tool mistakes, and plays rounds.
pub(crate) fn run(tool: Tool, rounds: Option<u64>, seed: u64) -> Result<(), Failed> {
    let usage = tool.usage();
    let program = build(&usage)?;
    for mistake in usage.mistakes {
        // Not every round makes it. The first that is noticed ends the program; valgrind speaks last.
        let rounds = match usage.valgrind {
            [] => "--rounds=200",
            _ => "--rounds=5",
        };
        let args = [rounds, "--patience=20", "--sabotage", mistake];
        println!("xtask: a mistake that must be noticed: {mistake}");
        let output = stress(&usage, &program).args(args).output();
        let output = output.map_err(|error| Failed(format!("{program}: {error}")))?;
        if output.status.success() {
            return Err(Failed(format!("{tool:?} does not notice {mistake}")));
        }
    }
    let rounds = rounds.unwrap_or(usage.rounds).to_string();
    let seed = seed.to_string();
    println!("xtask: {rounds} rounds under {tool:?}");
    // valgrind runs one thread at a time, each fifty times slower: smaller rounds, and time.
    let small: &[&str] = match usage.valgrind {
        [] => &[],
        _ => &["--operations=20", "--patience=400"],
    };
    let status = stress(&usage, &program)
        .args(["--rounds", &rounds, "--seed", &seed])
        .args(small)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failed(format!("the stress under {tool:?} ({status})"))),
        Err(error) => Err(Failed(format!("{program}: {error}"))),
    }
}

/// The stress as a command, under its tool.
fn stress(usage: &Usage, program: &str) -> Command {
    let mut command = match usage.valgrind {
        [] => Command::new(program),
        options => {
            let mut valgrind = Command::new("valgrind");
            valgrind.args(options).arg(program);
            valgrind
        }
    };
    let suppressions = root().join("crates/stress/thread.supp");
    let options = format!("suppressions={}", suppressions.display());
    command.current_dir(root()).env("TSAN_OPTIONS", options);
    command
}

/// Builds the stress; where it lies then.
fn build(usage: &Usage) -> Result<String, Failed> {
    let base =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let target = base.join("stress").join(usage.name);
    let host = host()?;
    let mut command = cargo_command();
    // An explicit target: build scripts and procedural macros stay as they are.
    command
        .args([
            "build",
            "--locked",
            "--quiet",
            "--package",
            "ringfence-stress",
        ])
        .args(["--target", &host, "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", usage.rustflags)
        .current_dir(root());
    if usage.watched {
        command.args(["--features", "watched"]);
    }
    if !usage.rustflags.is_empty() {
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(Failed(format!("building the stress ({status})"))),
        Err(error) => return Err(Failed(format!("building the stress: {error}"))),
    }
    let program = target.join(&host).join("debug").join("ringfence-stress");
    Ok(program.display().to_string())
}

/// The machine's own target.
fn host() -> Result<String, Failed> {
    let about = output(Step::new("rustc").args(["-vV"]))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| Failed("rustc -vV names no host".to_owned()))
}
