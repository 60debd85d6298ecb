// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Reads what queues are due at an orchestrator, and what is expected of it.

use ringfence_orchestrator::{Priority, Weight};
use ringfence_softgpu::SlotKind;
use toml::de::DeValue;

use super::{S, US};
use crate::plan::diagnostic::Diagnostic;
use crate::plan::model::orchestrator::{priority, slot_kind, KIND_WORDS, PRIORITIES};
use crate::plan::reader::{clip, At, Reader};
use crate::plan::units::{parse_probability, Kind};

/// What a queue is due, as it is written.
pub(crate) struct RawDue {
    pub(crate) priority: Option<At<Priority>>,
    pub(crate) weight: Option<At<Weight>>,
    pub(crate) kinds: Option<At<Vec<SlotKind>>>,
    pub(crate) group: Option<At<String>>,
    pub(crate) client: Option<At<String>>,
}

/// What is expected of an orchestrator, as it is written.
#[derive(Default)]
pub(crate) struct RawSharing {
    pub(crate) error: Option<At<u32>>,
    pub(crate) fairness: Option<At<u32>>,
    pub(crate) of: Option<At<Vec<At<String>>>>,
    /// Of whom, and how many nanoseconds.
    pub(crate) waits: Vec<(At<String>, u64)>,
}

/// Reads it from a `[[queue]]`.
pub(super) fn read(queue: &mut Reader<'_, '_>) -> RawDue {
    let span = queue.get("kinds").map_or(0..0, |value| value.span());
    let kinds = queue.choices("kinds", KIND_WORDS);
    let kinds = kinds.map(|words| {
        let mut kinds: Vec<SlotKind> = words.iter().filter_map(|word| slot_kind(word)).collect();
        kinds.sort();
        kinds.dedup();
        At::new(kinds, span)
    });
    RawDue {
        priority: read_priority(queue),
        weight: read_weight(queue),
        kinds,
        group: queue.name("group"),
        client: queue.name("client"),
    }
}

pub(super) fn read_priority(table: &mut Reader<'_, '_>) -> Option<At<Priority>> {
    let word = table.choice("priority", PRIORITIES)?;
    priority(word.value).map(|priority| At::new(priority, word.span))
}

pub(super) fn read_weight(table: &mut Reader<'_, '_>) -> Option<At<Weight>> {
    let limits = u64::from(Weight::MIN.get())..=u64::from(Weight::MAX.get());
    let number = table.quantity("weight", Kind::Count, limits)?;
    let weight = u16::try_from(number.value).ok().and_then(Weight::new)?;
    Some(At::new(weight, number.span))
}

/// Reads it from `[expect]`.
pub(super) fn read_sharing(expect: &mut Reader<'_, '_>) -> RawSharing {
    RawSharing {
        error: read_percent(expect, "share_error"),
        fairness: read_percent(expect, "fairness"),
        of: read_of(expect),
        waits: read_waits(expect),
    }
}

fn read_percent(expect: &mut Reader<'_, '_>, key: &str) -> Option<At<u32>> {
    let text = expect.text(key)?;
    match parse_probability(&text.value) {
        Ok(parts) => Some(At::new(parts, text.span)),
        Err(misread) => {
            expect.misread(key, text.span, misread);
            None
        }
    }
}

fn read_of(expect: &mut Reader<'_, '_>) -> Option<At<Vec<At<String>>>> {
    let value = expect.get("share_of")?;
    let names = match value.get_ref() {
        DeValue::Array(list) if !list.is_empty() => {
            let names = list.iter().map(|item| {
                let name = item.get_ref().as_str()?;
                Some(At::new(name.to_owned(), item.span()))
            });
            names.collect::<Option<Vec<_>>>()
        }
        _ => None,
    };
    if names.is_none() {
        expect.wrong_type("share_of", value, "a list of queues");
    }
    names.map(|names| At::new(names, value.span()))
}

fn read_waits(expect: &mut Reader<'_, '_>) -> Vec<(At<String>, u64)> {
    let Some(value) = expect.get("longest_wait") else {
        return Vec::new();
    };
    let DeValue::Table(waits) = value.get_ref() else {
        let wanted = "a table of durations, by priority or queue";
        expect.wrong_type("longest_wait", value, wanted);
        return Vec::new();
    };
    if waits.is_empty() {
        let problem = Diagnostic::new(value.span(), "these are no waits");
        expect.problem(problem.write("longest_wait = { high = \"5ms\" }"));
    }
    let mut all = Vec::new();
    for (name, value) in waits {
        let who = At::new(name.get_ref().to_string(), name.span());
        let read = match value.get_ref() {
            DeValue::String(text) => Kind::Duration.parse(text),
            DeValue::Integer(number) => crate::plan::reader::integer(Kind::Duration, number),
            _ => {
                expect.wrong_type("longest_wait", value, "a table of durations");
                continue;
            }
        };
        match read {
            Ok(nanos) if (US..=60 * S).contains(&nanos) => all.push((who, nanos)),
            Ok(nanos) => {
                let nearest = nanos.clamp(US, 60 * S);
                let problem = Diagnostic::new(value.span(), "a wait lies between 1us and 60s");
                let instead = Kind::Duration.show_in_plan(nearest);
                expect.problem(problem.write(format!("{} = {instead}", shown(&who.value))));
            }
            Err(misread) => {
                let problem = Diagnostic::new(value.span(), misread.message);
                let instead = misread.instead.unwrap_or_else(|| "\"5ms\"".to_owned());
                expect.problem(problem.write(format!("{} = {instead}", shown(&who.value))));
            }
        }
    }
    all
}

/// A key as messages show it: whatever stands between quotes may be one.
fn shown(key: &str) -> String {
    clip(key).escape_debug().to_string()
}
