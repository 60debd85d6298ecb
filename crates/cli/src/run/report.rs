// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a run says at its end.

pub(super) mod hosting;
mod trouble;

use std::fmt;
use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::figures::{QueueFigures, Spread};
use super::hosted::shares::Window;
use super::machine::Totals;
use super::watch::Ending;
use super::{Run, Violations};
use crate::plan::Plan;
use hosting::{Deadlines, Hosting};
use trouble::Trouble;

/// Queues in the table before the rest is put in one line.
const SHOWN: usize = 24;

/// How jobs ended.
#[derive(Clone, Copy, Debug, Serialize)]
struct Jobs {
    submitted: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
    timed_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadlines: Option<Deadlines>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Fences {
    armed: u64,
    signalled: u64,
    out_of_order: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Data {
    checked: u64,
    errors: u64,
}

/// What was left when everything had ended.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Leaks {
    /// Payloads that were not dropped.
    pub(super) jobs: u64,
    /// Fences that did not signal.
    pub(super) fences: u64,
    /// Room in queues that was not given back.
    pub(super) entries: u64,
}

#[derive(Debug, Serialize)]
struct QueueReport {
    name: String,
    jobs: u64,
    bypassed: u64,
    submit_to_run_ns: Spread,
    run_to_signal_ns: Spread,
    #[serde(skip)]
    errors: u64,
}

/// The object that `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    plan: String,
    seed: u64,
    device: &'static str,
    elapsed_ms: u64,
    jobs: Jobs,
    fences: Fences,
    data: Data,
    leaks: Leaks,
    #[serde(flatten)]
    trouble: Trouble,
    queues: Vec<QueueReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    orchestrator: Option<Hosting>,
    /// Jobs of the plan, where somebody ended the run before they were over.
    #[serde(skip)]
    interrupted: Option<u64>,
    #[serde(skip)]
    violations: Violations,
}

/// What was counted while the run lasted.
pub(super) struct Counts {
    jobs: Jobs,
    fences: Fences,
    data: Data,
    interrupted: bool,
    trouble: Trouble,
    hosting: Option<Hosting>,
}

impl Jobs {
    fn ended(self) -> u64 {
        self.completed + self.failed + self.cancelled + self.timed_out
    }

    /// What the plan expects of these and does not find.
    fn surprises(self, plan: &Plan) -> impl Iterator<Item = String> {
        let expect = plan.expect();
        let expected = [
            ("completed", expect.completed, self.completed),
            ("failed", expect.failed, self.failed),
            ("cancelled", expect.cancelled, self.cancelled),
            ("timed out", expect.timed_out, self.timed_out),
            (
                "late",
                expect.late,
                self.deadlines.map_or(0, |seen| seen.late),
            ),
        ];
        expected.into_iter().filter_map(|(word, bounds, count)| {
            let bounds = bounds.filter(|bounds| !bounds.contains(count))?;
            Some(format!("{count} jobs {word}, {bounds} expected"))
        })
    }
}

impl Counts {
    /// Whether somebody ended the run early.
    pub(super) fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Whether jobs ended, or slots were given out, otherwise than they should; as far as is known
    /// before the queues go.
    pub(super) fn surprise(&self, plan: &Plan) -> bool {
        let mut violations = Violations::new();
        if let Some(hosting) = &self.hosting {
            hosting.judge(plan, &Totals::default(), &mut violations);
        }
        let surprised = !violations.is_empty() || self.jobs.surprises(plan).next().is_some();
        surprised && !self.interrupted
    }

    /// What the run has counted. `window` is what was seen of shares.
    pub(super) fn take(run: &Run<'_>, window: Option<&Window>, elapsed: Duration) -> Self {
        let submitted = run.submitted.load(Ordering::Relaxed);
        Self {
            jobs: Jobs {
                submitted,
                completed: run.ending(Ending::Completed),
                failed: run.ending(Ending::Failed),
                cancelled: run.ending(Ending::Cancelled),
                timed_out: run.ending(Ending::TimedOut),
                deadlines: Deadlines::take(run),
            },
            fences: Fences::default(),
            data: Data {
                checked: run.checked.load(Ordering::Relaxed),
                errors: run.data_errors.load(Ordering::Relaxed),
            },
            interrupted: run.interrupted.load(Ordering::Relaxed),
            trouble: Trouble::take(run),
            hosting: Hosting::take(run, window, elapsed),
        }
    }

    /// Adds what the queues say at their end; notes what did not hold of the slots.
    pub(super) fn add(&mut self, plan: &Plan, totals: &Totals, violations: &mut Violations) {
        if let Some(hosting) = self.hosting.as_ref().filter(|_| !self.interrupted) {
            hosting.judge(plan, totals, violations);
        }
        self.fences = Fences {
            armed: totals.armed,
            signalled: totals.signalled,
            out_of_order: totals.out_of_order,
        };
        self.trouble.banned = totals.banned;
    }
}

impl Report {
    pub(super) fn new(
        plan: &Plan,
        seed: u64,
        elapsed: Duration,
        counts: Counts,
        leaks: Leaks,
        figures: Vec<Option<QueueFigures>>,
        violations: Violations,
    ) -> Self {
        let queues = plan
            .queues()
            .iter()
            .zip(figures)
            .filter_map(|(queue, seen)| {
                let figures = seen?;
                Some(QueueReport {
                    name: queue.name.clone(),
                    jobs: figures.jobs,
                    bypassed: figures.bypassed,
                    submit_to_run_ns: figures.submit_to_run(),
                    run_to_signal_ns: figures.run_to_signal(),
                    errors: figures.errors,
                })
            });
        let mut report = Self {
            plan: plan.name().to_owned(),
            seed,
            device: "soft",
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            jobs: counts.jobs,
            fences: counts.fences,
            data: counts.data,
            leaks,
            trouble: counts.trouble,
            queues: queues.collect(),
            orchestrator: counts.hosting,
            interrupted: counts.interrupted.then(|| plan.jobs()),
            violations,
        };
        // Of a run that was ended early, nothing adds up.
        if !counts.interrupted {
            report.add_up(plan);
        }
        report
    }

    /// Checks the sums.
    fn add_up(&mut self, plan: &Plan) {
        let (jobs, fences, leaks) = (self.jobs, self.fences, self.leaks);
        let mut rule = |holds: bool, rule, how: String| {
            if !holds {
                self.violations.entry(rule).or_insert((0, how)).0 += 1;
            }
        };
        let ended = jobs.ended();
        let planned = plan.jobs();
        rule(
            planned == jobs.submitted && jobs.submitted == ended,
            "jobs lost",
            format!(
                "{planned} planned, {} submitted, {ended} ended",
                jobs.submitted
            ),
        );
        rule(
            fences.armed == jobs.submitted && fences.armed == fences.signalled,
            "fences unsignalled",
            format!("{} armed, {} signalled", fences.armed, fences.signalled),
        );
        rule(
            fences.out_of_order == 0,
            "fences out of order",
            format!("{} signalled out of turn", fences.out_of_order),
        );
        rule(
            leaks.jobs + leaks.fences + leaks.entries == 0,
            "leaks",
            format!(
                "{} jobs, {} fences, {} entries",
                leaks.jobs, leaks.fences, leaks.entries
            ),
        );
        for surprise in jobs.surprises(plan) {
            rule(false, "expectations", surprise);
        }
    }

    /// Whether everything held, as far as it came.
    pub(super) fn held(&self) -> bool {
        self.violations.is_empty()
    }

    /// Whether somebody ended the run early.
    pub(super) fn interrupted(&self) -> bool {
        self.interrupted.is_some()
    }

    /// Prints the report: as JSON, which leaves what was violated to standard error, or as text.
    pub(super) fn print(&self, json: bool) {
        let mut out = std::io::stdout().lock();
        // A reader that has gone away has seen what it wanted.
        if json {
            if serde_json::to_writer(&mut out, self).is_ok() {
                let _ = writeln!(out);
            }
            if !self.held() || self.interrupted() {
                eprintln!("{}", Verdict(self));
            }
        } else {
            let _ = write!(out, "{self}");
        }
    }
}

/// The last line, and what was violated.
struct Verdict<'a>(&'a Report);

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        if let Some(jobs) = report.interrupted {
            let ended = report.jobs.ended();
            write!(f, "interrupted when {ended} of {jobs} jobs were over: ")?;
        }
        if report.held() {
            return f.write_str("everything held");
        }
        f.write_str("VIOLATED: ")?;
        for (place, (rule, (count, how))) in report.violations.iter().enumerate() {
            let comma = if place == 0 { "" } else { "; " };
            write!(f, "{comma}{rule} ({count}): {how}")?;
        }
        Ok(())
    }
}

/// Nanoseconds with a unit, in at most six characters.
pub(super) struct Short(pub(super) u64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0 as f64;
        let text = match self.0 {
            0..1_000 => format!("{}ns", self.0),
            1_000..1_000_000 => format!("{:.1}us", ns / 1e3),
            1_000_000..1_000_000_000 => format!("{:.1}ms", ns / 1e6),
            _ => format!("{:.1}s", ns / 1e9),
        };
        f.pad(&text)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .queues
            .iter()
            .take(SHOWN)
            .map(|queue| queue.name.len())
            .max();
        let width = width.unwrap_or(0).max("queue".len());
        writeln!(
            f,
            "{:width$}  {:>8}  {:>8}  {:^25}  {:^25}  {:>6}",
            "", "", "", "submit to run", "run to signal", ""
        )?;
        writeln!(
            f,
            "{:width$}  {:>8}  {:>8}  {:>7}  {:>7}  {:>7}  {:>7}  {:>7}  {:>7}  {:>6}",
            "queue", "jobs", "bypassed", "p50", "p99", "max", "p50", "p99", "max", "errors"
        )?;
        for queue in self.queues.iter().take(SHOWN) {
            let (wait, work) = (queue.submit_to_run_ns, queue.run_to_signal_ns);
            writeln!(
                f,
                "{:width$}  {:>8}  {:>8}  {:>7}  {:>7}  {:>7}  {:>7}  {:>7}  {:>7}  {:>6}",
                queue.name,
                queue.jobs,
                queue.bypassed,
                Short(wait.p50),
                Short(wait.p99),
                Short(wait.max),
                Short(work.p50),
                Short(work.p99),
                Short(work.max),
                queue.errors
            )?;
        }
        if let Some(hidden) = self.queues.len().checked_sub(SHOWN).filter(|&n| n > 0) {
            writeln!(f, "... and {hidden} more queues")?;
        }
        if let Some(hosting) = &self.orchestrator {
            write!(f, "{hosting}")?;
        }
        let jobs = self.jobs;
        writeln!(
            f,
            "\n{} (seed {}): {} jobs in {:.1}s: {} completed, {} failed, {} cancelled, {} timed out",
            self.plan,
            self.seed,
            jobs.submitted,
            self.elapsed_ms as f64 / 1e3,
            jobs.completed,
            jobs.failed,
            jobs.cancelled,
            jobs.timed_out
        )?;
        writeln!(
            f,
            "{} results checked, {} wrong",
            self.data.checked, self.data.errors
        )?;
        if let Some(deadlines) = jobs.deadlines {
            write!(f, "{deadlines}")?;
        }
        write!(f, "{}", self.trouble)?;
        writeln!(f, "{}", Verdict(self))
    }
}
