// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A plan as it is written: values checked one by one, names not yet looked up.

use std::ops::{Range, RangeInclusive};

use ringfence_orchestrator::{Priority, Weight};
use toml::de::{DeArray, DeTable, DeValue};
use toml::Spanned;

use super::diagnostic::Diagnostic;
use super::model::{Bounds, CommandPlan, FaultKind, FaultRule};
use super::reader::{integer, At, Reader};
use super::schema::{self, Section};
use super::units::{parse_bounds, Kind};

mod device;
mod due;
mod fault;
mod stream;

use device::RawDevice;
pub(crate) use due::RawDue;
use due::RawSharing;

/// The most jobs that a plan may have.
pub(crate) const MAX_JOBS: u64 = 10_000_000;
/// The most queues, and the most streams, that a plan may have.
pub(crate) const MAX_QUEUES: u64 = 20_000;

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;
const S: u64 = 1_000 * MS;

pub(crate) struct RawPlan {
    pub(crate) name: Option<At<String>>,
    pub(crate) description: Option<At<String>>,
    pub(crate) seed: u64,
    pub(crate) device: RawDevice,
    pub(crate) events: Vec<RawEvent>,
    pub(crate) queues: Vec<RawQueue>,
    pub(crate) streams: Vec<RawStream>,
    pub(crate) faults: Vec<RawFault>,
    pub(crate) expect: RawExpect,
}

pub(crate) struct RawQueue {
    pub(crate) name: At<String>,
    pub(crate) count: u64,
    pub(crate) bypass: bool,
    pub(crate) credits: At<u64>,
    pub(crate) capacity: u64,
    pub(crate) timeout: u64,
    pub(crate) extensions: u64,
    pub(crate) on_dependency_error: &'static str,
    pub(crate) close: &'static str,
    pub(crate) close_timeout: Option<u64>,
    pub(crate) strikes: u64,
    pub(crate) strikes_within: Option<At<u64>>,
    pub(crate) after_reset: &'static str,
    pub(crate) ring: u64,
    pub(crate) due: RawDue,
}

pub(crate) struct RawStream {
    pub(crate) name: At<String>,
    pub(crate) count: u64,
    pub(crate) queue: Option<At<String>>,
    pub(crate) jobs: At<u64>,
    pub(crate) in_flight: u64,
    pub(crate) every: Option<u64>,
    pub(crate) cost: At<RangeInclusive<u64>>,
    pub(crate) timeout: Option<u64>,
    pub(crate) deadline: Option<u64>,
    pub(crate) work: Vec<CommandPlan>,
    pub(crate) after: Vec<RawAfter>,
    pub(crate) after_previous: bool,
}

pub(crate) struct RawAfter {
    pub(crate) stream: At<String>,
    pub(crate) last: u64,
    pub(crate) lag: u64,
}

pub(crate) struct RawFault {
    /// Empty where they could not be read.
    pub(crate) kinds: Vec<FaultKind>,
    pub(crate) stream: Option<At<String>>,
    pub(crate) rule: Option<At<FaultRule>>,
}

pub(crate) struct RawEvent {
    pub(crate) kind: Option<At<&'static str>>,
    pub(crate) after: Option<At<u64>>,
    pub(crate) every: Option<At<u64>>,
    pub(crate) queue: Option<At<String>>,
    pub(crate) priority: Option<At<Priority>>,
    pub(crate) weight: Option<At<Weight>>,
}

#[derive(Default)]
pub(crate) struct RawExpect {
    pub(crate) span: Range<usize>,
    pub(crate) completed: Option<At<Bounds>>,
    pub(crate) failed: Option<At<Bounds>>,
    pub(crate) cancelled: Option<At<Bounds>>,
    pub(crate) timed_out: Option<At<Bounds>>,
    pub(crate) late: Option<At<Bounds>>,
    pub(crate) sharing: RawSharing,
}

/// Reads the whole document; problems go to `problems`, and what is wrong has its default.
pub(crate) fn read(root: &DeTable<'_>, problems: &mut Vec<Diagnostic>) -> RawPlan {
    // What is missing from the plan as a whole is reported at its first character.
    let mut plan = Reader::new(&schema::PLAN, root, 0..0, problems);
    let name = plan.text("name");
    if let Some(name) = &name {
        check_title(&mut plan, name);
    }
    let description = plan.text("description");
    let seed = plan
        .quantity("seed", Kind::Count, 0..=u64::MAX)
        .map_or(1, |seed| seed.value);
    let device = device::read(&mut plan);
    let queues = tables(&mut plan, "queue", &schema::QUEUE, |queue| {
        read_queue(queue, device.timeout)
    });
    let streams = tables(&mut plan, "stream", &schema::STREAM, stream::read);
    let mut faults = tables(&mut plan, "fault", &schema::FAULT, fault::read);
    faults.extend(tables(
        &mut plan,
        "storm",
        &schema::STORM,
        fault::read_storm,
    ));
    let events = tables(&mut plan, "event", &schema::EVENT, fault::read_event);
    let expect = read_expect(&mut plan);
    RawPlan {
        name,
        description,
        seed,
        device,
        events,
        queues,
        streams,
        faults,
        expect,
    }
}

fn check_title(plan: &mut Reader<'_, '_>, name: &At<String>) {
    let length = name.value.chars().count();
    if length == 0 || length > 64 || name.value.chars().any(char::is_control) {
        plan.problem(
            Diagnostic::new(name.span.clone(), "this cannot be the name of a plan")
                .expected("1 to 64 characters on one line")
                .write("name = \"my plan\""),
        );
    }
}

/// Reads the table under `key`, where there is one.
fn table<'a, 'i, T>(
    plan: &mut Reader<'a, 'i>,
    key: &'static str,
    section: &'static Section,
    read: impl FnOnce(&mut Reader<'_, 'i>) -> T,
) -> Option<T> {
    let value = plan.get(key)?;
    if let DeValue::Table(table) = value.get_ref() {
        let span = plan.key_span(key);
        return Some(read(&mut Reader::new(
            section,
            table,
            span,
            plan.problems(),
        )));
    }
    plan.wrong_type(key, value, "a table");
    None
}

/// Reads every table of the list under `key`.
fn tables<'a, 'i, T>(
    plan: &mut Reader<'a, 'i>,
    key: &'static str,
    section: &'static Section,
    mut read: impl FnMut(&mut Reader<'_, 'i>) -> T,
) -> Vec<T> {
    let Some(value) = plan.get(key) else {
        return Vec::new();
    };
    let list: &DeArray<'i> = match value.get_ref() {
        DeValue::Array(list) => list,
        _ => {
            plan.wrong_type(
                key,
                value,
                &format!("a list of tables, each headed {}", section.title),
            );
            return Vec::new();
        }
    };
    if list.is_empty() {
        let message = format!("the list of {key}s is empty");
        plan.problem(Diagnostic::new(value.span(), message).write(section.title));
    }
    let mut all = Vec::new();
    for item in list {
        match item.get_ref() {
            DeValue::Table(table) => {
                let mut reader = Reader::new(section, table, item.span(), plan.problems());
                all.push(read(&mut reader));
            }
            _ => plan.wrong_type(
                key,
                item,
                &format!("a list of tables, each headed {}", section.title),
            ),
        }
    }
    all
}

/// A number that must be a power of two.
fn power_of_two(
    reader: &mut Reader<'_, '_>,
    key: &str,
    kind: Kind,
    limits: RangeInclusive<u64>,
) -> Option<u64> {
    let number = reader.quantity(key, kind, limits.clone())?;
    if number.value.is_power_of_two() {
        return Some(number.value);
    }
    let next = number.value.next_power_of_two().min(*limits.end());
    let message = format!(
        "`{key}` must be a power of two, found {}",
        kind.show(number.value)
    );
    let instead = format!("{key} = {}", kind.show_in_plan(next));
    reader.problem(Diagnostic::new(number.span, message).write(instead));
    None
}

fn read_queue(queue: &mut Reader<'_, '_>, timeout: u64) -> RawQueue {
    let nowhere = queue.span();
    RawQueue {
        name: queue
            .name("name")
            .unwrap_or(At::new(String::new(), nowhere)),
        count: queue
            .quantity("count", Kind::Count, 1..=MAX_QUEUES)
            .map_or(1, |n| n.value),
        bypass: queue.flag("bypass").is_some_and(|flag| flag.value),
        credits: read_credits(queue),
        capacity: power_of_two(queue, "capacity", Kind::Count, 2..=32_768).unwrap_or(64),
        timeout: queue
            .quantity("timeout", Kind::Duration, MS..=60 * S)
            .map_or(timeout, |time| time.value),
        extensions: queue
            .quantity("extensions", Kind::Count, 0..=1000)
            .map_or(0, |n| n.value),
        on_dependency_error: queue
            .choice("on_dependency_error", &["cancel", "run"])
            .map_or("cancel", |word| word.value),
        close: queue
            .choice("close", &["cancel", "drain"])
            .map_or("drain", |word| word.value),
        close_timeout: queue
            .quantity("close_timeout", Kind::Duration, MS..=60 * S)
            .map(|time| time.value),
        strikes: queue
            .quantity("strikes", Kind::Count, 1..=255)
            .map_or(0, |n| n.value),
        strikes_within: queue.quantity("strikes_within", Kind::Duration, MS..=3600 * S),
        after_reset: queue
            .choice("after_reset", &["replay", "cancel"])
            .map_or("replay", |word| word.value),
        ring: power_of_two(queue, "ring", Kind::Size, 4096..=16 << 20).unwrap_or(16 << 10),
        due: due::read(queue),
    }
}

fn read_credits(queue: &mut Reader<'_, '_>) -> At<u64> {
    let credits = queue.quantity("credits", Kind::Count, 1..=1_048_576);
    // No cost is above credits that could not be read: that has its own message.
    let fallback = if queue.get("credits").is_some() {
        u64::MAX
    } else {
        64
    };
    credits.unwrap_or(At::new(fallback, queue.span()))
}

fn read_expect(plan: &mut Reader<'_, '_>) -> RawExpect {
    table(plan, "expect", &schema::EXPECT, |expect| RawExpect {
        span: expect.span(),
        completed: read_bounds(expect, "completed"),
        failed: read_bounds(expect, "failed"),
        cancelled: read_bounds(expect, "cancelled"),
        timed_out: read_bounds(expect, "timed_out"),
        late: read_bounds(expect, "late"),
        sharing: due::read_sharing(expect),
    })
    .unwrap_or_default()
}

fn read_bounds<'i>(expect: &mut Reader<'_, 'i>, key: &str) -> Option<At<Bounds>> {
    let value: &Spanned<DeValue<'i>> = expect.get(key)?;
    let read = match value.get_ref() {
        DeValue::Integer(number) => {
            integer(Kind::Count, number).map(|number| (number, Some(number)))
        }
        DeValue::String(text) => parse_bounds(text),
        _ => {
            expect.wrong_type(key, value, "a whole number or a range in quotes");
            return None;
        }
    };
    match read {
        Ok((min, max)) => Some(At::new(Bounds { min, max }, value.span())),
        Err(misread) => {
            expect.misread(key, value.span(), misread);
            None
        }
    }
}
