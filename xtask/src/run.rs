// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Running other programs in the workspace's root.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What did not work.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

/// A program and its arguments.
pub(crate) struct Step {
    program: String,
    args: Vec<String>,
}

impl Step {
    pub(crate) fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
        }
    }

    pub(crate) fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(root());
        command
    }

    fn text(&self) -> String {
        format!("{} {}", self.program, self.args.join(" "))
    }
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

fn cargo_program() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// The cargo that runs this.
pub(crate) fn cargo_step(args: &[&str]) -> Step {
    Step::new(cargo_program()).args(args.iter().copied())
}

/// The same, to be told more than arguments.
pub(crate) fn cargo_command() -> Command {
    Command::new(cargo_program())
}

/// Runs cargo, saying what.
pub(crate) fn cargo(args: &[&str]) -> Result<(), Failed> {
    println!("xtask: cargo {}", args.join(" "));
    in_root(cargo_step(args))
}

/// Runs a program to its end.
pub(crate) fn in_root(step: Step) -> Result<(), Failed> {
    match step.command().status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failed(format!("{} ({status})", step.text()))),
        Err(error) => Err(Failed(format!("{}: {error}", step.text()))),
    }
}

/// Runs a program and returns what it prints.
pub(crate) fn output(step: Step) -> Result<String, Failed> {
    let failed = |why: String| Failed(format!("{}: {why}", step.text()));
    let output = step
        .command()
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    String::from_utf8(output.stdout).map_err(|error| failed(error.to_string()))
}
