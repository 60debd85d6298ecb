// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Steps that take long: what runs, for how long it did, and its log.

use std::fs::{self, File};
use std::io::{IsTerminal, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::cache::failed;
use crate::run::Failed;

/// How many lines of a log are shown when its step fails.
const TAIL: usize = 30;
/// How many from the first error of a compiler on.
const ERRORS: usize = 80;
/// How often a program is asked whether it has ended.
const PERIOD: Duration = Duration::from_millis(20);

/// The steps of a command.
pub(crate) struct Steps {
    logs: PathBuf,
    times: Vec<(String, Duration)>,
}

/// How a program ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Well,
    Badly,
    /// It was killed when its time was up.
    TimedOut,
}

impl Steps {
    pub(crate) fn new(logs: PathBuf) -> Self {
        Self {
            logs,
            times: Vec::new(),
        }
    }

    /// Where a step's log goes.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        let name: String = name
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { '-' })
            .collect();
        self.logs.join(format!("{name}.log"))
    }

    /// Runs a program, its output in the step's log; shows the log's end when it fails.
    pub(crate) fn run(&mut self, name: &str, command: Command) -> Result<(), Failed> {
        let log = self.log(name);
        let _old = fs::remove_file(&log);
        self.append(name, command)
    }

    /// The same, behind what the log has already.
    pub(crate) fn append(&mut self, name: &str, command: Command) -> Result<(), Failed> {
        match self.watch(name, command, None)? {
            End::Well => Ok(()),
            End::Badly | End::TimedOut => Err(self.complain(name)),
        }
    }

    /// Runs a program for so long at most; how it ended is for the caller to judge.
    pub(crate) fn watch(
        &mut self,
        name: &str,
        mut command: Command,
        limit: Option<Duration>,
    ) -> Result<End, Failed> {
        let path = self.log(name);
        let log = File::options().create(true).append(true).open(&path);
        let log = log.map_err(|error| failed(&path, error))?;
        let other = log.try_clone().map_err(|error| failed(&path, error))?;
        command.stdin(Stdio::null()).stdout(log).stderr(other);
        let began = Instant::now();
        let program = command.get_program().to_owned();
        let mut child = command
            .spawn()
            .map_err(|error| Failed(format!("{}: {error}", program.display())))?;
        let is_new = self.times.iter().all(|(known, _)| known != name);
        let progress = Progress::new(name, is_new);
        let end = loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => break End::Well,
                Ok(Some(_)) => break End::Badly,
                Ok(None) => {}
                Err(error) => return Err(Failed(format!("{name}: {error}"))),
            }
            if limit.is_some_and(|limit| began.elapsed() > limit) {
                let _gone = child.kill();
                let _status = child.wait();
                break End::TimedOut;
            }
            progress.show(&path);
            sleep(PERIOD);
        };
        progress.done();
        self.took(name, began.elapsed());
        Ok(end)
    }

    /// Says what a step did wrong: the end of its log, and where the rest is.
    pub(crate) fn complain(&self, name: &str) -> Failed {
        let path = self.log(name);
        for line in telling(&read(&path)) {
            eprintln!("  | {}", line.trim_end());
        }
        Failed(format!("{name}; its log: {}", path.display()))
    }

    /// Several programs may be one step.
    fn took(&mut self, name: &str, time: Duration) {
        match self.times.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => *sum += time,
            None => self.times.push((name.to_owned(), time)),
        }
    }

    /// `kernel 210 s, modules 12 s`.
    pub(crate) fn times(&self) -> String {
        let times: Vec<String> = self
            .times
            .iter()
            .map(|(name, time)| match time.as_secs_f64() {
                seconds if seconds < 9.95 => format!("{name} {seconds:.1} s"),
                seconds => format!("{name} {seconds:.0} s"),
            })
            .collect();
        times.join(", ")
    }
}

/// The lines of a log that tell what went wrong: a compiler's first error, or else the end.
fn telling(text: &str) -> Vec<&str> {
    // Of each kernel header that bindgen reads it has something to say.
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("clang diag:"))
        .collect();
    let is_error = |line: &&str| {
        line.starts_with("error:") || line.starts_with("error[") || line.contains(": error:")
    };
    let from_end = lines.len().saturating_sub(TAIL);
    match lines.iter().position(is_error) {
        Some(first) => lines[first..].iter().take(ERRORS).copied().collect(),
        None => lines[from_end..].to_vec(),
    }
}

/// A log, whatever bytes are in it; nothing if there is none.
pub(crate) fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// A line that moves on a terminal, and a line that does not elsewhere.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn new(name: &str, is_new: bool) -> Self {
        if !std::io::stderr().is_terminal() {
            if is_new {
                eprintln!("xtask: {name} ...");
            }
            return Self(None);
        }
        let bar = ProgressBar::new_spinner().with_prefix(name.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(Some(bar))
    }

    fn show(&self, log: &Path) {
        if let Some(bar) = &self.0 {
            bar.set_message(last_line(log).unwrap_or_default());
        }
    }

    fn done(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// The last whole line of a file that grows.
fn last_line(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let _at = file
        .seek(SeekFrom::Start(length.saturating_sub(400)))
        .ok()?;
    let mut bytes = Vec::new();
    let _read = file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn steps(test: &str) -> Steps {
        let folder =
            std::env::temp_dir().join(format!("xtask-steps-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Steps::new(folder)
    }

    #[test]
    fn output_goes_to_the_log_and_the_last_line_is_found() {
        let mut steps = steps("log");
        steps
            .run("a step", shell("echo one; echo two >&2"))
            .unwrap();
        assert!(steps.log("a step").ends_with("a-step.log"));
        assert_eq!(read(&steps.log("a step")), "one\ntwo\n");
        assert_eq!(last_line(&steps.log("a step")).as_deref(), Some("two"));
        steps.run("a step", shell("echo three")).unwrap();
        assert_eq!(read(&steps.log("a step")), "three\n");
        fs::remove_dir_all(&steps.logs).unwrap();
    }

    #[test]
    fn failures_and_time_limits_are_told_apart() {
        let mut steps = steps("ends");
        assert!(steps.run("bad", shell("exit 3")).is_err());
        let limit = Some(Duration::from_millis(100));
        let end = steps.watch("slow", shell("sleep 20"), limit).unwrap();
        assert_eq!(end, End::TimedOut);
        let end = steps.watch("fast", shell("exit 0"), limit).unwrap();
        assert_eq!(end, End::Well);
        fs::remove_dir_all(&steps.logs).unwrap();
    }

    #[test]
    fn a_compilers_first_error_is_shown_or_the_end() {
        let noise = "  CC x.o\n".repeat(100);
        let log = format!("{noise}clang diag: x: error: y\n{noise}");
        assert_eq!(telling(&log).len(), TAIL);
        let log = format!("{noise}linux/shim.c:3:5: error: no\n{noise}");
        assert_eq!(telling(&log)[0], "linux/shim.c:3:5: error: no");
        let log = format!("{noise}error[E0425]: no\n --> x.rs\n");
        assert_eq!(telling(&log), ["error[E0425]: no", " --> x.rs"]);
    }

    #[test]
    fn times_add_up_by_name() {
        let mut steps = Steps::new(PathBuf::new());
        steps.took("kernel", Duration::from_secs(200));
        steps.took("boot", Duration::from_secs(4));
        steps.took("kernel", Duration::from_secs(10));
        assert_eq!(steps.times(), "kernel 210 s, boot 4.0 s");
    }
}
