// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `ringfence run FILE.trace.txt`: recorded scheduler events, replayed through real queues.
//!
//! Every ring of the recording becomes a context of the software GPU, every fence context a
//! queue. Each job is submitted at its recorded time, waits for what it waited for, and occupies
//! its ring for as long as it did. What was recorded and what came of it stand side by side in the
//! report. What a recording does not say is decided as `docs/trace-format.md` tells.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::process::ExitCode;

use ringfence_trace::ftrace::{self, Diagnostics, Recording};
use ringfence_trace::{perfetto, Trace};

use crate::args::RunArgs;
use crate::signals::Signals;
use crate::{EXIT_USAGE, EXIT_VIOLATION};

mod executor;
mod hardware;
mod judge;
mod pacer;
mod perform;
mod report;
mod script;
mod watch;

use judge::Verdict;
use report::Report;
use script::Script;

/// How many diagnostics of a recording are printed.
const DIAGNOSTICS_TOLD: usize = 20;

/// Replays the recording `bytes`, which messages call `file`, and returns the exit status.
///
/// Prints the report on standard output and everything else on standard error.
pub fn replay(file: &str, bytes: &[u8], args: &RunArgs) -> ExitCode {
    if args.sabotage.is_some() || args.memory {
        eprintln!("{file}: --sabotage and --memory are for plans, and this is a recording");
        return ExitCode::from(EXIT_USAGE);
    }
    if args.schedule.is_some() || args.fdinfo.is_some() {
        eprintln!("{file}: --schedule and --fdinfo are for plans: a recording knows no slots");
        return ExitCode::from(EXIT_USAGE);
    }
    if args.seed.is_some() {
        eprintln!("{file}: nothing is random in a replay; --seed changes nothing");
    }
    let recording = ftrace::parse(bytes);
    tell(file, &recording.diagnostics);
    let Some(script) = Script::new(&recording, args.speed) else {
        eprintln!(
            "{file}: there is no job to replay in this file\n  = help: a recording has lines with \
             drm_sched_job_queue; docs/trace-format.md says how to make one"
        );
        return ExitCode::from(EXIT_USAGE);
    };
    for notice in &script.notices {
        eprintln!("{file}: {notice}");
    }
    let signals = match Signals::watch() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("{file}: signals cannot be watched: {error}");
            return ExitCode::from(EXIT_VIOLATION);
        }
    };
    let performance = match perform::perform(&script, args.dump, signals) {
        Ok(performance) => performance,
        Err(error) => {
            eprintln!("{file}: {error}");
            return ExitCode::from(EXIT_VIOLATION);
        }
    };
    let verdict = Verdict::new(&script, &performance);
    let ours = ours(&recording, &script, &performance);
    let report = Report::new(
        file,
        args.speed,
        &recording,
        &ours,
        &script,
        &performance,
        &verdict,
    );
    let mut status = if verdict.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_VIOLATION)
    };
    let printed = if args.json {
        report.print_json(&mut io::stdout().lock())
    } else {
        report.print(&mut io::stdout().lock())
    };
    if let Err(error) = printed {
        // Who has closed the pipe does not want to know.
        if error.kind() != io::ErrorKind::BrokenPipe {
            eprintln!("{file}: the report cannot be printed: {error}");
        }
    }
    if let Some(path) = &args.trace {
        if let Err(error) = write_trace(path, &trace(&ours)) {
            eprintln!("{}: the trace cannot be written: {error}", path.display());
            status = ExitCode::from(EXIT_USAGE);
        }
    }
    status
}

/// Prints what is wrong with a recording.
fn tell(file: &str, diagnostics: &Diagnostics) {
    for diagnostic in diagnostics.iter().take(DIAGNOSTICS_TOLD) {
        let column = diagnostic.column.map(|column| format!(":{column}"));
        eprintln!(
            "{file}:{}{}: {}",
            diagnostic.line,
            column.unwrap_or_default(),
            diagnostic.message
        );
    }
    let more = diagnostics.count().saturating_sub(DIAGNOSTICS_TOLD as u64);
    if more > 0 {
        eprintln!("{file}: {more} more of that sort");
    }
}

/// The recording as it would have been, had it been of this replay.
fn ours(recording: &Recording, script: &Script, performance: &perform::Performance) -> Recording {
    let mut ours = recording.clone();
    let (mut begin, mut end) = (u64::MAX, 0);
    for life in &performance.lives {
        begin = begin.min(life.queued.unwrap_or(u64::MAX));
        end = end.max(life.done.unwrap_or(0));
    }
    for job in &mut ours.jobs {
        // Of a job that is not replayed nothing happened.
        (job.queue_ts, job.run_ts, job.done_ts) = (end, None, Some(end));
    }
    for (job, life) in script.jobs.iter().zip(&performance.lives) {
        let own = &mut ours.jobs[job.recorded];
        own.queue_ts = life.queued.unwrap_or(begin);
        (own.run_ts, own.done_ts) = (life.run, life.done);
    }
    ours
}

fn trace(ours: &Recording) -> Trace {
    let mut trace = ours.to_trace();
    trace.tracks.process = "ringfence".into();
    trace.tracks.pid = std::process::id();
    trace.dropped = 0;
    trace
}

fn write_trace(path: &Path, trace: &Trace) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    if path.extension().is_some_and(|extension| extension == "txt") {
        ftrace::write(trace, &mut out)?;
    } else {
        perfetto::write(trace, &mut out)?;
    }
    out.flush()
}
