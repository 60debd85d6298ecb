// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Boots: a kernel that is a process, with a script of ours as its first process.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::build::{Kernel, Workshop};
use super::log::Log;
use super::place::Shared;
use super::steps::{read, End};
use crate::run::Failed;

/// What to boot for.
pub(crate) struct Boot<'a> {
    /// The step's name.
    pub(crate) step: &'a str,
    /// A script in `linux/boot`.
    pub(crate) script: &'a str,
    /// Numbers and words for the script, by name.
    pub(crate) settings: Vec<(&'a str, String)>,
    /// More for the kernel's command line.
    pub(crate) arguments: Vec<String>,
    pub(crate) processors: u32,
    /// It is killed when it takes longer.
    pub(crate) limit: Duration,
}

impl Workshop {
    /// Boots to the end of a script; the log.
    pub(crate) fn boot(&mut self, kernel: &Kernel, boot: &Boot<'_>) -> Result<Log, Failed> {
        let mut command = self.linux(kernel, boot);
        command.args(["con=null", "con0=null,fd:1", "loglevel=8"]);
        let path = self.steps.log(boot.step);
        let _old = fs::remove_file(&path);
        let end = self.steps.watch(boot.step, command, Some(boot.limit))?;
        let mut log = Log::new(&read(&path));
        // The status of one that ended by itself says no more than its log.
        log.killed = (end == End::TimedOut).then_some(boot.limit);
        Ok(log)
    }

    /// Boots with this terminal for a console.
    pub(crate) fn boot_here(&self, kernel: &Kernel, boot: &Boot<'_>) -> Result<(), Failed> {
        let mut command = self.linux(kernel, boot);
        command.args(["con=null", "con0=fd:0,fd:1", "quiet"]);
        let status = command.status();
        status
            .map(|_| ())
            .map_err(|error| Failed(format!("cannot boot: {error}")))
    }

    /// Complains about a log that has anything in it that should not be.
    pub(crate) fn judge(&self, step: &str, log: &Log) -> Result<(), Failed> {
        let path = self.steps.log(step);
        if let Some(lines) = log.complaint() {
            for line in lines {
                eprintln!("  | {line}");
            }
            let first = lines.first().map_or("", String::as_str);
            return Err(Failed(format!(
                "{step}: {first}; its log: {}",
                path.display()
            )));
        }
        if log.ended() && log.killed.is_none() {
            return Ok(());
        }
        let Failed(what) = self.steps.complain(step);
        Err(Failed(match log.killed {
            Some(limit) => format!("killed after {} s: {what}", limit.as_secs()),
            None => format!("the boot did not come to its end: {what}"),
        }))
    }

    fn linux(&self, kernel: &Kernel, boot: &Boot<'_>) -> Command {
        let repository = Shared::repository();
        let shared = [&kernel.build, &kernel.modules, &repository];
        let place = self.place();
        let program = format!("{}/linux", place.path(&kernel.build));
        let scripts = format!("{}/linux/boot", place.path(&repository));
        let mut command = place.command(&program, &shared);
        command
            .args(["mem=1G", "seccomp=on", "root=/dev/root"])
            .args(["rootfstype=hostfs", "rootflags=/", "rw"])
            .arg(format!("ncpus={}", boot.processors))
            .arg(format!("init={scripts}/init.sh"))
            .args(&boot.arguments)
            .arg(format!("RINGFENCE_DO={}", boot.script))
            .arg(format!("RINGFENCE_MODULES={}", place.path(&kernel.modules)));
        for (name, value) in &boot.settings {
            command.arg(format!("{name}={value}"));
        }
        command
    }
}
