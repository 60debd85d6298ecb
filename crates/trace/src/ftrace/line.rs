// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One line of a recording: its columns, and the fields of the scheduler's events.

use crate::event::FenceId;

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Nothing that matters: a comment, an empty line, a header of `trace-cmd`, a stack trace.
    Nothing,
    /// The header's count of events, and how many older ones were overwritten.
    Entries { in_buffer: u64, written: u64 },
    /// The tracer lost events; `None` where it does not know how many.
    Lost(Option<u64>),
    /// An event: its time in nanoseconds, its name, its fields.
    Event {
        time: u64,
        name: &'a str,
        fields: &'a str,
    },
}

/// A part of a line that could not be read, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault<'a> {
    pub(super) at: &'a str,
    pub(super) message: String,
}

fn fault<T>(at: &str, message: impl Into<String>) -> Result<T, Fault<'_>> {
    Err(Fault {
        at,
        message: message.into(),
    })
}

/// Reads a line without its end.
pub(super) fn read(line: &str) -> Result<Line<'_>, Fault<'_>> {
    let trimmed = line.trim();
    if let Some(comment) = line.strip_prefix('#') {
        return Ok(entries(comment).unwrap_or(Line::Nothing));
    }
    if trimmed.is_empty() || is_note(trimmed) {
        return Ok(Line::Nothing);
    }
    if let Some(lost) = lost(trimmed) {
        return Ok(lost);
    }
    event(line)
}

/// ` entries-in-buffer/entries-written: 1800/1800   #P:2`
fn entries(comment: &str) -> Option<Line<'_>> {
    let counts = comment
        .trim()
        .strip_prefix("entries-in-buffer/entries-written:")?;
    let (in_buffer, written) = counts.split_whitespace().next()?.split_once('/')?;
    Some(Line::Entries {
        in_buffer: number(in_buffer)?,
        written: number(written)?,
    })
}

/// Lines that `trace-cmd report` prints around events, and lines of stack traces.
fn is_note(line: &str) -> bool {
    let empty_cpu = line
        .strip_prefix("CPU ")
        .and_then(|rest| rest.strip_suffix(" is empty"));
    line.strip_prefix("cpus=")
        .is_some_and(|count| number(count).is_some())
        || line.starts_with("version = ")
        || line.starts_with("=> ")
        || empty_cpu.is_some()
        || (line.starts_with("CPU:") && line.contains("[SUBBUFFER START]"))
}

/// `CPU:1 [LOST 7 EVENTS]`, and `trace-cmd`'s `CPU:1 [7 EVENTS DROPPED]`, `CPU:1 [EVENTS DROPPED]`.
fn lost(line: &str) -> Option<Line<'_>> {
    let (cpu, note) = line.strip_prefix("CPU:")?.split_once(' ')?;
    number(cpu)?;
    let note = note.strip_prefix('[')?.strip_suffix(']')?;
    if note == "EVENTS DROPPED" || note == "LOST EVENTS" {
        return Some(Line::Lost(None));
    }
    let count = match note.strip_prefix("LOST ") {
        Some(rest) => rest.strip_suffix(" EVENTS")?,
        None => note.strip_suffix(" EVENTS DROPPED")?,
    };
    Some(Line::Lost(Some(number(count)?)))
}

/// `task-pid [cpu] flags seconds.fraction: event: fields`; the flags may be absent.
///
/// A task's name may hold anything, brackets and colons included, so every bracket is tried.
fn event(line: &str) -> Result<Line<'_>, Fault<'_>> {
    let mut first_fault = None;
    for (open, _) in line.match_indices('[') {
        let Some((cpu, rest)) = line[open + 1..].split_once(']') else {
            break;
        };
        if number(cpu).is_none() || !rest.starts_with([' ', '\t']) {
            continue;
        }
        match after_cpu(rest) {
            Ok(event) => return Ok(event),
            Err(fault) => first_fault = first_fault.or(Some(fault)),
        }
    }
    first_fault.map_or_else(
        || {
            fault(
                line,
                "expected an event: `task-pid [cpu] flags time: event: fields`",
            )
        },
        Err,
    )
}

fn after_cpu(rest: &str) -> Result<Line<'_>, Fault<'_>> {
    let (mut token, mut rest) = next_token(rest);
    if !token.ends_with(':') {
        (token, rest) = next_token(rest);
    }
    let Some(time) = token.strip_suffix(':') else {
        return fault(token, "expected a time, like `12.345678:`");
    };
    let time = nanoseconds(time)?;
    let rest = rest.trim_start();
    let (name, fields) = match rest.split_once(": ") {
        Some((name, fields)) => (name, fields.trim()),
        None => match rest.trim_end().strip_suffix(':') {
            Some(name) => (name, ""),
            None => {
                return fault(
                    rest,
                    "expected the name of an event, like `drm_sched_job_run:`",
                )
            }
        },
    };
    // `perf script` puts the system in front.
    let name = name.strip_prefix("gpu_scheduler:").unwrap_or(name);
    Ok(Line::Event { time, name, fields })
}

fn next_token(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

/// `seconds.fraction`, with one to nine digits behind the point.
fn nanoseconds(text: &str) -> Result<u64, Fault<'_>> {
    let Some((seconds, fraction)) = text.split_once('.') else {
        return fault(
            text,
            "expected seconds with a fraction; record with `trace_clock` `mono`",
        );
    };
    let (Some(seconds), Some(digits)) = (number(seconds), number(fraction)) else {
        return fault(text, "expected a time in seconds, like `12.345678`");
    };
    if fraction.len() > 9 {
        return fault(text, "expected at most nine digits behind the point");
    }
    let nanoseconds = digits * 10_u64.pow(9 - fraction.len() as u32);
    match seconds
        .checked_mul(1_000_000_000)
        .and_then(|whole| whole.checked_add(nanoseconds))
    {
        Some(time) => Ok(time),
        None => fault(text, "the time is too large"),
    }
}

/// A decimal number without a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// A scheduler event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SchedulerEvent<'a> {
    Queue(JobFields<'a>),
    Run(JobFields<'a>),
    AddDependency { job: FenceId, on: FenceId },
    Done(FenceId),
    Unschedulable,
}

/// The fields of `drm_sched_job_queue` and `drm_sched_job_run` that matter here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JobFields<'a> {
    pub(super) device: &'a str,
    pub(super) ring: &'a str,
    pub(super) job: FenceId,
    pub(super) client_id: u64,
}

/// Reads the fields of the event `name`. `None` if it is not one of the scheduler's.
pub(super) fn scheduler_event<'a>(
    name: &str,
    fields: &'a str,
) -> Option<Result<SchedulerEvent<'a>, Fault<'a>>> {
    Some(match name {
        "drm_sched_job_queue" => job_fields(fields).map(SchedulerEvent::Queue),
        "drm_sched_job_run" => job_fields(fields).map(SchedulerEvent::Run),
        "drm_sched_job_add_dep" => two_fences(fields, " depends on fence=")
            .map(|(job, on)| SchedulerEvent::AddDependency { job, on }),
        "drm_sched_job_done" => done(fields).map(SchedulerEvent::Done),
        "drm_sched_job_unschedulable" => two_fences(fields, " depends on unsignalled fence=")
            .map(|_| SchedulerEvent::Unschedulable),
        _ => return None,
    })
}

/// Whether this is how kernels before 6.16 named an event of the scheduler.
pub(super) fn is_old_name(name: &str) -> bool {
    let old = [
        "drm_sched_job",
        "drm_run_job",
        "drm_sched_process_job",
        "drm_sched_job_wait_dep",
    ];
    old.contains(&name)
}

fn job_fields(fields: &str) -> Result<JobFields<'_>, Fault<'_>> {
    let value = |key: &str| match fields.split(", ").find_map(|field| field.strip_prefix(key)) {
        Some("") | None => fault(fields, format!("expected `{key}` with a value")),
        Some(value) => Ok(value),
    };
    let job = fence(value("fence=")?)?;
    // The counts are not used, but an event without them is not whole.
    for (key, signed) in [("job count:", false), ("hw job count:", true)] {
        let count = value(key)?;
        let digits = count.strip_prefix('-').filter(|_| signed).unwrap_or(count);
        if number(digits).is_none() {
            return fault(
                count,
                format!("expected `{key}` with a number, found `{count}`"),
            );
        }
    }
    let client = value("client_id:")?;
    let Some(client_id) = number(client) else {
        return fault(
            client,
            format!("expected `client_id:` with a number, found `{client}`"),
        );
    };
    Ok(JobFields {
        device: value("dev=")?,
        ring: value("ring=")?,
        job,
        client_id,
    })
}

/// `fence=C:S`, `between`, `C:S`.
fn two_fences<'a>(fields: &'a str, between: &str) -> Result<(FenceId, FenceId), Fault<'a>> {
    let Some((job, on)) = fields.split_once(between) else {
        return fault(
            fields,
            format!("expected `fence=CONTEXT:SEQNO{between}CONTEXT:SEQNO`"),
        );
    };
    Ok((prefixed_fence(job)?, fence(on)?))
}

/// `fence=C:S signaled`
fn done(fields: &str) -> Result<FenceId, Fault<'_>> {
    match fields.strip_suffix(" signaled") {
        Some(job) => prefixed_fence(job),
        None => fault(fields, "expected `fence=CONTEXT:SEQNO signaled`"),
    }
}

fn prefixed_fence(text: &str) -> Result<FenceId, Fault<'_>> {
    match text.strip_prefix("fence=") {
        Some(id) => fence(id),
        None => fault(
            text,
            format!("expected `fence=CONTEXT:SEQNO`, found `{text}`"),
        ),
    }
}

fn fence(text: &str) -> Result<FenceId, Fault<'_>> {
    let numbers = text
        .split_once(':')
        .map(|(context, seqno)| (number(context), number(seqno)));
    match numbers {
        Some((Some(context), Some(seqno))) => Ok(FenceId { context, seqno }),
        _ => fault(
            text,
            format!("expected a fence, `CONTEXT:SEQNO`, found `{text}`"),
        ),
    }
}

#[cfg(test)]
mod tests;
