// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The text of the kernel's `gpu_scheduler` trace events: written by [`write()`], read by [`parse`].
//!
//! The events and their fields are stable interface of the kernel since 6.16
//! (`drivers/gpu/drm/scheduler/gpu_scheduler_trace.h`), so tools that know the kernel's text know
//! this one too:
//!
//! ```text
//! drm_sched_job_queue: dev=D, fence=C:S, ring=R, job count:N, hw job count:N, client_id:N
//! drm_sched_job_run: (the same fields)
//! drm_sched_job_add_dep: fence=C:S depends on fence=C:S
//! drm_sched_job_done: fence=C:S signaled
//! drm_sched_job_unschedulable: fence=C:S depends on unsignalled fence=C:S
//! ```

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};

use crate::event::{Event, EventKind, FenceId, QueueTrack, Trace};

mod cycles;
mod diagnostic;
mod line;
mod parse;
mod recording;

pub use diagnostic::{Diagnostic, DiagnosticKind, Diagnostics};
pub use parse::parse;
pub use recording::{EventCounts, RecordedContext, RecordedJob, RecordedRing, Recording};

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextWritten {
    /// Events that stand in the text, one line each.
    pub events: u64,
    /// Events the kernel has no text for (slices of slots, instants), which were left out.
    pub left_out: u64,
}

/// The header that the kernel prints above events with the `irq-info` columns.
const COLUMNS: &str = "\
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
";

/// Writes `trace` as `/sys/kernel/tracing/trace` would print it, in the order of time.
///
/// Nanoseconds are cut to microseconds, and errors and costs are lost: the kernel's text has no place
/// for them. Writes often: hand in something buffered. Allocates.
///
/// # Errors
///
/// Whatever `out` answers to a write.
pub fn write(trace: &Trace, out: &mut impl Write) -> io::Result<TextWritten> {
    let mut events: Vec<&Event> = trace
        .events
        .iter()
        .filter(|event| has_text(event))
        .collect();
    events.sort_by_key(|event| event.timestamp);
    let written = TextWritten {
        events: events.len() as u64,
        left_out: (trace.events.len() - events.len()) as u64,
    };
    let count = written.events;
    writeln!(out, "# tracer: nop\n#")?;
    writeln!(
        out,
        "# entries-in-buffer/entries-written: {count}/{count}   #P:1\n#"
    )?;
    out.write_all(COLUMNS.as_bytes())?;
    let names = Names::new(trace);
    for event in events {
        write_line(out, &names, event)?;
    }
    if trace.dropped > 0 {
        writeln!(out, "CPU:0 [LOST {} EVENTS]", trace.dropped)?;
    }
    Ok(written)
}

fn has_text(event: &Event) -> bool {
    match event.kind {
        EventKind::Queued { .. }
        | EventKind::DependencyAdded { .. }
        | EventKind::Run { .. }
        | EventKind::Done { .. }
        | EventKind::Unschedulable { .. } => true,
        EventKind::SliceBegin { .. } | EventKind::SliceEnd { .. } | EventKind::Instant { .. } => {
            false
        }
    }
}

fn write_line(out: &mut impl Write, names: &Names<'_>, event: &Event) -> io::Result<()> {
    let micros = event.timestamp / 1000;
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (task, pid) = (&names.task, names.pid);
    write!(
        out,
        "{task:>16}-{pid:<7} [000] ..... {seconds:>5}.{micros:06}: "
    )?;
    match event.kind {
        EventKind::Queued {
            job,
            waiting,
            on_hardware,
            ..
        } => {
            let counts = Counts {
                waiting,
                on_hardware,
            };
            writeln!(out, "drm_sched_job_queue: {}", names.fields(job, counts))
        }
        EventKind::Run {
            job,
            waiting,
            on_hardware,
        } => {
            let counts = Counts {
                waiting,
                on_hardware,
            };
            writeln!(out, "drm_sched_job_run: {}", names.fields(job, counts))
        }
        EventKind::DependencyAdded { job, on } => {
            writeln!(
                out,
                "drm_sched_job_add_dep: fence={job} depends on fence={on}"
            )
        }
        EventKind::Done { job, .. } => writeln!(out, "drm_sched_job_done: fence={job} signaled"),
        EventKind::Unschedulable { job, waits_for } => {
            write!(out, "drm_sched_job_unschedulable: fence={job} ")?;
            writeln!(out, "depends on unsignalled fence={waits_for}")
        }
        EventKind::SliceBegin { .. } | EventKind::SliceEnd { .. } | EventKind::Instant { .. } => {
            Ok(())
        }
    }
}

struct Counts {
    waiting: u32,
    on_hardware: u32,
}

/// The names of a trace in a form that cannot break a line or a field.
struct Names<'a> {
    task: String,
    pid: u32,
    queues: HashMap<u64, &'a QueueTrack>,
}

impl<'a> Names<'a> {
    fn new(trace: &'a Trace) -> Self {
        // The kernel's task names are at most 15 bytes long.
        let task: String = trace.tracks.process.chars().take(15).map(clean).collect();
        let mut queues = HashMap::new();
        for queue in &trace.tracks.queues {
            queues.entry(queue.context).or_insert(queue);
        }
        Self {
            task,
            pid: trace.tracks.pid,
            queues,
        }
    }

    fn fields(&self, job: FenceId, counts: Counts) -> JobFields {
        let (device, ring, client) = match self.queues.get(&job.context) {
            Some(queue) => (queue.device.clone(), queue.ring.clone(), queue.client_id),
            None => ("unknown".into(), format!("context-{}", job.context), 0),
        };
        let [device, ring] = [device, ring].map(|name| name.chars().map(clean).collect());
        JobFields {
            device,
            ring,
            client,
            job,
            counts,
        }
    }
}

fn clean(c: char) -> char {
    if c == ',' || c.is_control() || c.is_whitespace() {
        '_'
    } else {
        c
    }
}

/// The fields of `drm_sched_job_queue` and `drm_sched_job_run`.
struct JobFields {
    device: String,
    ring: String,
    client: u64,
    job: FenceId,
    counts: Counts,
}

impl fmt::Display for JobFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            device,
            ring,
            client,
            job,
            counts: Counts {
                waiting,
                on_hardware,
            },
        } = self;
        write!(f, "dev={device}, fence={job}, ring={ring}, ")?;
        write!(
            f,
            "job count:{waiting}, hw job count:{on_hardware}, client_id:{client}"
        )
    }
}

#[cfg(test)]
mod tests;
