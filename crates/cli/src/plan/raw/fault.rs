// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Reads a `[[fault]]`.

use std::ops::Range;

use super::{RawFault, MAX_JOBS, MS, S, US};
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

/// Reads one fault.
pub(super) fn read(fault: &mut Reader<'_, '_>) -> RawFault {
    let word = fault.choice("kind", schema::FAULTS);
    let delay = fault.quantity("delay", Kind::Duration, US..=10 * S);
    let names: Vec<&'static str> = ERRORS.iter().map(|&(name, _)| name).collect();
    let error = fault.choice("error", &names);
    let kind = word.as_ref().map(|word| {
        if let Some(delay) = &delay {
            only_with(
                fault,
                "delay",
                &delay.span,
                word.value,
                &["late-interrupt", "slow-reset"],
            );
        }
        if let Some(error) = &error {
            only_with(
                fault,
                "error",
                &error.span,
                word.value,
                &["dependency-error"],
            );
        }
        let delay = std::time::Duration::from_nanos(delay.map_or(5 * MS, |delay| delay.value));
        let error = error.map_or("EIO", |error| error.value);
        let errno = ERRORS
            .iter()
            .find(|&&(name, _)| name == error)
            .map_or(-5, |&(_, errno)| errno);
        fault_kind(word.value, delay, errno)
    });
    RawFault {
        kind,
        stream: fault.text("stream"),
        rule: read_rule(fault),
    }
}

fn fault_kind(word: &str, delay: std::time::Duration, errno: i32) -> FaultKind {
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
        "slow-reset" => FaultKind::SlowReset { delay },
        "dependency-error" => FaultKind::DependencyError { errno },
        "cancel" => FaultKind::Cancel,
        _ => FaultKind::Hang,
    }
}

fn only_with(
    fault: &mut Reader<'_, '_>,
    key: &str,
    span: &Range<usize>,
    word: &str,
    allowed: &[&str],
) {
    if !allowed.contains(&word) {
        let message = format!("`{key}` means nothing for the kind {word:?}");
        fault.problem(
            Diagnostic::new(span.clone(), message)
                .expected(format!("`{key}` only with {}", allowed.join(" or ")))
                .note("help", "remove this line"),
        );
    }
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
    let chance = fault
        .text("probability")
        .and_then(|text| match parse_probability(&text.value) {
            Ok(parts) => Some(At::new(parts, text.span)),
            Err(misread) => {
                fault.misread("probability", text.span, misread);
                None
            }
        });
    job.map(|job| At::new(FaultRule::Job(job.value), job.span))
        .or(every.map(|every| At::new(FaultRule::Every(every.value), every.span)))
        .or(chance.map(|chance| At::new(FaultRule::Chance(chance.value), chance.span)))
}
