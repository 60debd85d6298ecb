// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Reads a `[[fault]]`.

use std::ops::Range;
use std::time::Duration;

use super::due::{read_priority, read_weight};
use super::{RawEvent, RawFault, MAX_JOBS, MS, S, US};
use crate::plan::diagnostic::Diagnostic;
use crate::plan::model::{FaultKind, FaultRule};
use crate::plan::reader::{At, Reader};
use crate::plan::schema;
use crate::plan::units::{parse_probability, Kind};

/// The errors a fence from outside can signal with.
const ERRORS: &[(&str, i32)] = &[
    ("EIO", -5),
    ("ENOMEM", -12),
    ("EFAULT", -14),
    ("ENODEV", -19),
    ("EINVAL", -22),
    ("ENODATA", -61),
    ("ETIME", -62),
    ("ECANCELED", -125),
];

/// The keys that only some kinds have, and those kinds.
const DETAILS: &[(&str, &[&str])] = &[
    (
        "delay",
        &["late-interrupt", "slow-reset", "suspend", "stop"],
    ),
    ("times", &["failing-reset"]),
    ("error", &["dependency-error"]),
];

/// What there is to say about a fault beside its kind.
struct Details {
    delay: Duration,
    times: u32,
    errno: i32,
}

/// Reads one fault.
pub(super) fn read(fault: &mut Reader<'_, '_>) -> RawFault {
    let word = fault.choice("kind", schema::FAULTS);
    let words: Vec<&str> = word.iter().map(|word| word.value).collect();
    RawFault {
        kinds: read_kinds(fault, &words),
        stream: fault.text("stream"),
        rule: read_rule(fault),
    }
}

/// Reads one storm: faults of which each job that is hit has one.
pub(super) fn read_storm(storm: &mut Reader<'_, '_>) -> RawFault {
    let words = storm
        .choices("kinds", schema::FAULTS)
        .unwrap_or_else(|| schema::FAULTS.to_vec());
    RawFault {
        kinds: read_kinds(storm, &words),
        stream: storm.text("stream"),
        rule: read_chance(storm),
    }
}

/// Reads one event.
pub(super) fn read_event(event: &mut Reader<'_, '_>) -> RawEvent {
    let read = RawEvent {
        kind: event.choice("kind", schema::EVENTS),
        after: event.quantity("after", Kind::Count, 0..=MAX_JOBS - 1),
        every: event.quantity("every", Kind::Count, 1..=MAX_JOBS),
        queue: event.text("queue"),
        priority: read_priority(event),
        weight: read_weight(event),
    };
    if event.get("after").is_none() && event.get("every").is_none() {
        event.problem(
            Diagnostic::new(event.span(), "this event does not say when it happens")
                .expected("after, every, or both, in jobs submitted")
                .write("after = 1_000"),
        );
    }
    check_change(event, &read);
    read
}

/// What a change says, and nothing else does.
fn check_change(event: &mut Reader<'_, '_>, read: &RawEvent) {
    let Some(kind) = &read.kind else { return };
    let given: Vec<&str> = ["queue", "priority", "weight"]
        .into_iter()
        .filter(|key| event.get(key).is_some())
        .collect();
    if kind.value != "change" {
        for key in given {
            only_with(event, key, &event.key_span(key), &[kind.value], &["change"]);
        }
        return;
    }
    let missing = match (given.contains(&"queue"), given.len()) {
        (false, _) => (
            "this change does not say of which queue",
            "queue = \"render\"",
        ),
        (true, 1) => ("this change changes nothing", "priority = \"low\""),
        _ => return,
    };
    event.problem(
        Diagnostic::new(kind.span.clone(), missing.0)
            .expected("`queue`, and `priority`, `weight` or both")
            .write(missing.1),
    );
}

/// The faults of these kinds, with what else the table says of them.
fn read_kinds(table: &mut Reader<'_, '_>, words: &[&str]) -> Vec<FaultKind> {
    let delay = table.quantity("delay", Kind::Duration, US..=10 * S);
    let times = table.quantity("times", Kind::Count, 1..=100);
    let names: Vec<&'static str> = ERRORS.iter().map(|&(name, _)| name).collect();
    let error = table.choice("error", &names);
    let spans = [
        delay.as_ref().map(|at| at.span.clone()),
        times.as_ref().map(|at| at.span.clone()),
        error.as_ref().map(|at| at.span.clone()),
    ];
    for ((key, allowed), span) in DETAILS.iter().zip(spans) {
        if let Some(span) = span {
            only_with(table, key, &span, words, allowed);
        }
    }
    let error = error.map_or("EIO", |error| error.value);
    let details = Details {
        delay: Duration::from_nanos(delay.map_or(5 * MS, |delay| delay.value)),
        times: times.map_or(2, |times| times.value as u32),
        errno: ERRORS
            .iter()
            .find(|&&(name, _)| name == error)
            .map_or(-5, |&(_, errno)| errno),
    };
    words
        .iter()
        .map(|word| fault_kind(word, &details))
        .collect()
}

fn fault_kind(word: &str, details: &Details) -> FaultKind {
    let delay = details.delay;
    match word {
        "fault" => FaultKind::Fault,
        "lost-interrupt" => FaultKind::LostInterrupt,
        "late-interrupt" => FaultKind::LateInterrupt { delay },
        "spurious-interrupt" => FaultKind::SpuriousInterrupt,
        "double-interrupt" => FaultKind::DoubleInterrupt,
        "bad-opcode" => FaultKind::BadOpcode,
        "bad-address" => FaultKind::BadAddress,
        "ring-overrun" => FaultKind::RingOverrun,
        "firmware-death" => FaultKind::FirmwareDeath,
        "silent-death" => FaultKind::SilentDeath,
        "slow-reset" => FaultKind::SlowReset { delay },
        "failing-reset" => FaultKind::FailingReset {
            times: details.times,
        },
        "early-completion" => FaultKind::EarlyCompletion,
        "dependency-error" => FaultKind::DependencyError {
            errno: details.errno,
        },
        "cancel" => FaultKind::Cancel,
        "drop" => FaultKind::Drop,
        "suspend" => FaultKind::Suspend { delay },
        "stop" => FaultKind::Stop { delay },
        "close" => FaultKind::Close,
        "kill" => FaultKind::Kill,
        _ => FaultKind::Hang,
    }
}

/// Notes that `key` says nothing about any of the kinds.
fn only_with(
    table: &mut Reader<'_, '_>,
    key: &str,
    span: &Range<usize>,
    words: &[&str],
    allowed: &[&str],
) {
    let (Some(first), false) = (words.first(), words.iter().any(|w| allowed.contains(w))) else {
        return;
    };
    let message = match words.len() {
        1 => format!("`{key}` means nothing for the kind {first:?}"),
        _ => format!("`{key}` means nothing for these kinds"),
    };
    table.problem(
        Diagnostic::new(span.clone(), message)
            .expected(format!("`{key}` only with {}", allowed.join(" or ")))
            .note("help", "remove this line"),
    );
}

fn read_rule(fault: &mut Reader<'_, '_>) -> Option<At<FaultRule>> {
    let given: Vec<&str> = ["job", "every", "probability"]
        .into_iter()
        .filter(|key| fault.get(key).is_some())
        .collect();
    if given.len() != 1 {
        let (span, message) = match given.get(1) {
            None => (
                fault.span(),
                "this fault does not say which jobs it hits".to_owned(),
            ),
            Some(second) => (
                fault.key_span(second),
                format!(
                    "`{second}` and `{}` cannot both say which jobs are hit",
                    given[0]
                ),
            ),
        };
        fault.problem(
            Diagnostic::new(span, message)
                .expected("exactly one of job, every, probability")
                .write("job = 10"),
        );
    }
    let job = fault.quantity("job", Kind::Count, 0..=MAX_JOBS - 1);
    let every = fault.quantity("every", Kind::Count, 1..=MAX_JOBS);
    let chance = read_chance(fault);
    job.map(|job| At::new(FaultRule::Job(job.value), job.span))
        .or(every.map(|every| At::new(FaultRule::Every(every.value), every.span)))
        .or(chance)
}

fn read_chance(table: &mut Reader<'_, '_>) -> Option<At<FaultRule>> {
    let text = table.text("probability")?;
    match parse_probability(&text.value) {
        Ok(parts) => Some(At::new(FaultRule::Chance(parts), text.span)),
        Err(misread) => {
            table.misread("probability", text.span, misread);
            None
        }
    }
}
