// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What `ringfence sim` prints.

use std::io::{self, Write};
use std::time::Duration;

use ringfence_sim::{LogLine, Violation};
use serde_json::{json, Map, Value};

use super::search::Found;
use crate::args::SimArgs;

/// Lines of the event log that are printed of a violation: the last ones tell most.
const LOG_LINES: usize = 400;

/// A violation, and how to understand it.
#[derive(Debug)]
pub(super) struct Finding {
    /// As found.
    pub(super) violation: Violation,
    pub(super) operations: usize,
    /// The plan made shorter, as text, and where that fails.
    pub(super) short_operations: usize,
    pub(super) short: String,
    pub(super) at: Violation,
    /// The events of the shorter plan.
    pub(super) log: Vec<String>,
    /// What to type to see it again.
    pub(super) command: String,
}

/// A span of virtual time, for people.
pub(super) fn span(ns: u64) -> String {
    match ns {
        0..=9_999 => format!("{ns} ns"),
        10_000..=9_999_999 => format!("{} us", ns / 1_000),
        _ => format!("{} ms", ns / 1_000_000),
    }
}

fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(1e-9)
}

/// The table of what was run and seen.
pub(super) fn summary(
    args: &SimArgs,
    found: &Found,
    took: Duration,
    out: &mut impl Write,
) -> io::Result<()> {
    let summary = &found.summary;
    writeln!(
        out,
        "simulated {} seeds from {} in {:.1} s with {} workers{}",
        found.seeds,
        args.from,
        took.as_secs_f64(),
        found.workers,
        if found.interrupted {
            ", until interrupted"
        } else {
            ""
        },
    )?;
    writeln!(
        out,
        "  {} events ({:.2} M/s), {} operations, {} jobs, {:.1} s of virtual time",
        summary.events,
        rate(summary.events, took) / 1e6,
        summary.ops,
        summary.jobs,
        summary.virtual_ns as f64 / 1e9,
    )?;
    writeln!(
        out,
        "  worst: teardown {}, recovery {}, {} replays of one job",
        span(summary.longest_teardown_ns),
        span(summary.longest_recovery_ns),
        summary.most_replays,
    )?;
    writeln!(out, "  fingerprint {:016x}", summary.log_hash)?;
    coverage(found, out)?;
    match &found.violation {
        Some(violation) => writeln!(out, "\nviolation: {violation}"),
        None => writeln!(out, "\nno promise was broken"),
    }
}

fn coverage(found: &Found, out: &mut impl Write) -> io::Result<()> {
    let mut group = "";
    for row in found.coverage.rows() {
        if row.group != group {
            group = row.group;
            writeln!(out, "\n{group}")?;
        }
        writeln!(out, "  {:<44} {:>14}", row.name, row.count)?;
    }
    let gaps = found.coverage.gaps();
    if !gaps.is_empty() {
        writeln!(out, "\nnever seen")?;
    }
    for gap in &gaps {
        writeln!(out, "  {gap}")?;
    }
    if !gaps.is_empty() && !found.sees_all {
        writeln!(out, "  (so few seeds, or so short ones, need not see all)")?;
    }
    Ok(())
}

/// A violation in full.
pub(super) fn finding(finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "made shorter, {} of {} operations, it is step {}: {}\n",
        finding.short_operations, finding.operations, finding.at.step, finding.at.what,
    )?;
    writeln!(out, "{}", finding.short.trim_end())?;
    let skipped = finding.log.len().saturating_sub(LOG_LINES);
    writeln!(
        out,
        "\nevents of the shorter plan (docs/reliability.md explains the columns)"
    )?;
    writeln!(out, "{}", LogLine::COLUMNS)?;
    if skipped != 0 {
        writeln!(out, "... {skipped} lines before ...")?;
    }
    for line in &finding.log[skipped..] {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "\nto see it again:\n  {}", finding.command)
}

/// Everything as one JSON object.
pub(super) fn json(
    args: &SimArgs,
    found: &Found,
    finding: Option<&Finding>,
    took: Duration,
) -> Value {
    let summary = &found.summary;
    let mut groups = Map::new();
    for row in found.coverage.rows() {
        let group = groups.entry(row.group).or_insert_with(|| json!({}));
        group[row.name] = row.count.into();
    }
    json!({
        "seeds": found.seeds,
        "from": args.from,
        "workers": found.workers,
        "interrupted": found.interrupted,
        "seconds": took.as_secs_f64(),
        "seeds_per_second": rate(found.seeds, took),
        "events": summary.events,
        "events_per_second": rate(summary.events, took),
        "operations": summary.ops,
        "jobs": summary.jobs,
        "virtual_ns": summary.virtual_ns,
        "worst": {
            "teardown_ns": summary.longest_teardown_ns,
            "recovery_ns": summary.longest_recovery_ns,
            "replays": summary.most_replays,
        },
        "fingerprint": format!("{:016x}", summary.log_hash),
        "coverage": groups,
        "never_seen": found.coverage.gaps(),
        "violation": finding.map(|finding| json!({
            "seed": finding.violation.seed,
            "step": finding.violation.step,
            "what": finding.violation.what,
            "shorter": {
                "step": finding.at.step,
                "what": finding.at.what,
                "operations": finding.short_operations,
                "plan": finding.short,
            },
            "log": finding.log,
            "command": finding.command,
        })),
    })
}
