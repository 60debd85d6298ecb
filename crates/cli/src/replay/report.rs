// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The report: recorded and ours, side by side.

use std::io::{self, Write};

use ringfence_trace::figures::{self, RingFigures, Spread};
use ringfence_trace::ftrace::Recording;
use serde_json::{json, Value};

use super::judge::Verdict;
use super::perform::Performance;
use super::script::Script;
use crate::args::Speed;

/// Rings that have a line of their own in the table.
const RINGS_SHOWN: usize = 20;
/// The longest name of a ring in the table.
const NAME_WIDTH: usize = 44;

/// A figure of the recording, and ours.
#[derive(Clone, Copy, Debug, Default)]
struct Pair<T> {
    recorded: T,
    ours: T,
}

impl<T> Pair<T> {
    fn new(recorded: &Recording, ours: &Recording, figure: impl Fn(&Recording) -> T) -> Self {
        Self {
            recorded: figure(recorded),
            ours: figure(ours),
        }
    }
}

/// All there is to say about a replay.
pub(super) struct Report<'a> {
    file: &'a str,
    speed: String,
    recording: &'a Recording,
    script: &'a Script,
    performance: &'a Performance,
    verdict: &'a Verdict,
    all: Pair<Spread>,
    dependency_free: Pair<Spread>,
    rings: Pair<Vec<RingFigures>>,
    late: Spread,
}

impl<'a> Report<'a> {
    /// Computes the figures. `ours` is the recording with our times in it.
    pub(super) fn new(
        file: &'a str,
        speed: Speed,
        recording: &'a Recording,
        ours: &Recording,
        script: &'a Script,
        performance: &'a Performance,
        verdict: &'a Verdict,
    ) -> Self {
        let spread = |dependency_free| {
            Pair::new(recording, ours, |one| {
                one.queue_to_run(dependency_free).unwrap_or_default()
            })
        };
        let mut late = performance.late_ns.clone();
        Self {
            file,
            speed: match speed {
                Speed::Times(times) => format!("{times}x"),
                Speed::Max => "max".into(),
            },
            recording,
            script,
            performance,
            verdict,
            all: spread(false),
            dependency_free: spread(true),
            rings: Pair::new(recording, ours, Recording::ring_figures),
            late: figures::spread(&mut late).unwrap_or_default(),
        }
    }

    fn idle(&self) -> Pair<u64> {
        let sum =
            |rings: &[RingFigures]| rings.iter().map(|ring| ring.idle_while_runnable_ns).sum();
        Pair {
            recorded: sum(&self.rings.recorded),
            ours: sum(&self.rings.ours),
        }
    }

    /// Prints the report for people.
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let (recording, verdict) = (self.recording, self.verdict);
        writeln!(
            out,
            "{} at {}: {} of {} jobs, {} of {} dependencies, {} contexts, {} rings, {}\n",
            self.file,
            self.speed,
            verdict.submitted,
            recording.jobs.len(),
            self.performance.dependencies,
            self.recorded_dependencies(),
            recording.contexts.len(),
            recording.rings.len(),
            time(nanoseconds(self.performance.elapsed)),
        )?;
        self.print_latency(out)?;
        self.print_rings(out)?;
        writeln!(
            out,
            "\n{} jobs ran on the submitting thread; submissions were late by {} (p50), {} (p99)",
            verdict.bypassed,
            time(self.late.p50),
            time(self.late.p99)
        )?;
        if recording.events.unknown > 0 {
            let unknown = recording.events.unknown;
            writeln!(out, "{unknown} events of other sorts were skipped")?;
        }
        self.print_verdict(out)
    }

    fn print_latency(&self, out: &mut impl Write) -> io::Result<()> {
        let (left, middle) = ("", "recorded");
        writeln!(out, "{left:30}{middle:>12}{left:24} | {:>12}", "ringfence")?;
        let heads = ["p50", "p99", "max"]
            .map(|head| format!("{head:>12}"))
            .concat();
        writeln!(out, "{:30}{heads} | {heads}", "queue to run")?;
        let lines = [
            ("  all jobs", self.all),
            ("  jobs without dependencies", self.dependency_free),
        ];
        for (name, pair) in lines {
            let (recorded, ours) = (spread(pair.recorded), spread(pair.ours));
            writeln!(out, "{name:30}{recorded} | {ours}")?;
        }
        Ok(())
    }

    fn print_rings(&self, out: &mut impl Write) -> io::Result<()> {
        let titles = ["jobs", "recorded", "ringfence"].map(|title| format!("{title:>12}"));
        writeln!(
            out,
            "\n{:46}{}",
            "ring idle although it had work",
            titles.concat()
        )?;
        let rings = self.recording.rings.iter().zip(self.ring_pairs());
        for (ring, (recorded, ours)) in rings.take(RINGS_SHOWN) {
            let mut name: String = format!("{} {}", ring.device, ring.name);
            if name.chars().count() > NAME_WIDTH {
                name = name
                    .chars()
                    .take(NAME_WIDTH - 3)
                    .chain("...".chars())
                    .collect();
            }
            writeln!(
                out,
                "  {name:NAME_WIDTH$}{:>12}{:>12}{:>12}",
                recorded.jobs,
                time(recorded.idle_while_runnable_ns),
                time(ours.idle_while_runnable_ns)
            )?;
        }
        if let Some(more) = self.recording.rings.len().checked_sub(RINGS_SHOWN + 1) {
            writeln!(out, "  and {} more rings", more + 1)?;
        }
        let idle = self.idle();
        let jobs = self.recording.jobs.len();
        let (recorded, ours) = (time(idle.recorded), time(idle.ours));
        writeln!(
            out,
            "  {:NAME_WIDTH$}{jobs:>12}{recorded:>12}{ours:>12}",
            "together"
        )
    }

    fn print_verdict(&self, out: &mut impl Write) -> io::Result<()> {
        let verdict = self.verdict;
        if !verdict.violations.is_empty() {
            for violation in &verdict.violations {
                writeln!(out, "VIOLATION: {violation}")?;
            }
            return writeln!(out, "{} violations", verdict.violations.len());
        }
        write!(
            out,
            "everything held: {} jobs submitted, {} completed, {} cancelled; \
             every fence signalled once and in order",
            verdict.submitted, verdict.completed, verdict.cancelled
        )?;
        if self.script.left_out > 0 {
            write!(out, "; {} jobs were not replayed", self.script.left_out)?;
        }
        writeln!(out)
    }

    /// Prints one JSON object on one line.
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub(super) fn print_json(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}", self.json())
    }

    fn json(&self) -> Value {
        let (recording, verdict) = (self.recording, self.verdict);
        let leaks = self.performance.leaks;
        let idle = self.idle();
        json!({
            "recording": self.file,
            "speed": self.speed,
            "device": "soft",
            "elapsed_ms": nanoseconds(self.performance.elapsed) as f64 / 1e6,
            "jobs": {
                "recorded": recording.jobs.len(),
                "replayed": verdict.submitted,
                "left_out": self.script.left_out,
                "submitted": verdict.submitted,
                "completed": verdict.completed,
                "failed": verdict.failed,
                "cancelled": verdict.cancelled,
                "timed_out": verdict.timed_out,
                "bypassed": verdict.bypassed,
                "cancelled_too_late": self.performance.cancelled_too_late,
            },
            "fences": {
                "armed": verdict.armed,
                "signalled": verdict.signalled,
                "out_of_order": verdict.out_of_order,
            },
            "dependencies": {
                "recorded": self.recorded_dependencies(),
                "replayed": self.performance.dependencies,
                "left_out": self.script.left_out_dependencies,
                "dropped": recording.dropped_dependencies,
                "not_waited_for": verdict.too_early,
            },
            "leaks": {
                "jobs": leaks.jobs,
                "fences": leaks.fences,
                "entries": leaks.entries,
                "bytes": leaks.bytes,
            },
            "diagnostics": recording.diagnostics.count(),
            "unknown_events": recording.events.unknown,
            "lost_events": recording.lost_events,
            "queue_to_run_ns": {
                "recorded": spread_json(self.all.recorded),
                "ours": spread_json(self.all.ours),
                "dependency_free": {
                    "recorded": spread_json(self.dependency_free.recorded),
                    "ours": spread_json(self.dependency_free.ours),
                },
            },
            "ring_idle_ns": { "recorded": idle.recorded, "ours": idle.ours },
            "submitted_late_ns": spread_json(self.late),
            "rings": self.rings_json(),
            "held": verdict.violations.is_empty(),
            "violations": verdict.violations,
        })
    }

    fn rings_json(&self) -> Vec<Value> {
        let ring = |figures: RingFigures| {
            json!({
                "busy_ns": figures.busy_ns,
                "idle_ns": figures.idle_while_runnable_ns,
                "idle_gaps": figures.idle_gaps,
            })
        };
        let rings = self.recording.rings.iter().zip(self.ring_pairs());
        let line = |(name, (recorded, ours)): (&ringfence_trace::ftrace::RecordedRing, _)| {
            let (recorded, ours): (RingFigures, RingFigures) = (recorded, ours);
            json!({
                "device": name.device,
                "name": name.name,
                "jobs": recorded.jobs,
                "recorded": ring(recorded),
                "ours": ring(ours),
            })
        };
        rings.map(line).collect()
    }

    fn ring_pairs(&self) -> impl Iterator<Item = (RingFigures, RingFigures)> + '_ {
        let (recorded, ours) = (&self.rings.recorded, &self.rings.ours);
        recorded.iter().copied().zip(ours.iter().copied())
    }

    fn recorded_dependencies(&self) -> usize {
        self.recording.dependencies()
    }
}

fn spread(spread: Spread) -> String {
    if spread.count == 0 {
        return format!("{:>12}{:>12}{:>12}", "-", "-", "-");
    }
    [spread.p50, spread.p99, spread.max]
        .map(|ns| format!("{:>12}", time(ns)))
        .concat()
}

fn spread_json(spread: Spread) -> Value {
    json!({ "count": spread.count, "p50": spread.p50, "p99": spread.p99, "max": spread.max })
}

fn nanoseconds(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// A span of nanoseconds for people, to four figures.
fn time(ns: u64) -> String {
    let ns = ns as f64;
    let (value, unit) = match ns {
        ns if ns < 1e3 => return format!("{ns} ns"),
        ns if ns < 1e6 => (ns / 1e3, "us"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    let digits = match value {
        value if value < 10.0 => 3,
        value if value < 100.0 => 2,
        _ => 1,
    };
    format!("{value:.digits$} {unit}")
}
