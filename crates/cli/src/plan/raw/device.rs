// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Reads `[device]` and `[orchestrator]`.

use std::time::Duration;

use ringfence_orchestrator::FairConfig;
use ringfence_softgpu::SlotKind;
use toml::de::DeValue;

use super::{table, MS, S, US};
use crate::plan::diagnostic::Diagnostic;
use crate::plan::model::orchestrator::{KINDS, KIND_WORDS};
use crate::plan::model::{OrchestratorPlan, PolicyPlan};
use crate::plan::reader::{At, Reader};
use crate::plan::schema;
use crate::plan::units::Kind;

/// The most slots a device can have.
const MAX_SLOTS: u64 = 64;

/// The device as it is written.
pub(crate) struct RawDevice {
    pub(crate) slots: u64,
    pub(crate) slot_kinds: Option<At<Vec<SlotKind>>>,
    pub(crate) vram: At<u64>,
    pub(crate) time_slice: u64,
    /// Where that was written.
    pub(crate) time_slice_at: Option<std::ops::Range<usize>>,
    pub(super) timeout: u64,
    pub(crate) recovery: &'static str,
    pub(crate) standby: u64,
    pub(crate) orchestrator: Option<OrchestratorPlan>,
}

/// Reads both tables.
pub(super) fn read(plan: &mut Reader<'_, '_>) -> RawDevice {
    let mut read = RawDevice {
        slots: 4,
        slot_kinds: None,
        vram: At::new(64 << 20, 0..0),
        time_slice: 2 * MS,
        time_slice_at: None,
        timeout: 500 * MS,
        recovery: "queue",
        standby: 0,
        orchestrator: None,
    };
    table(plan, "device", &schema::DEVICE, |device| {
        let into = |place: &mut u64, value: Option<At<u64>>| {
            if let Some(value) = value {
                *place = value.value;
            }
        };
        let slots = device.quantity("slots", Kind::Count, 1..=MAX_SLOTS);
        into(&mut read.slots, slots);
        read_kinds(device, &mut read);
        if let Some(vram) = device.quantity("vram", Kind::Size, 1 << 20..=4 << 30) {
            read.vram = vram;
        }
        let slice = device.quantity("time_slice", Kind::Duration, 50 * US..=S);
        read.time_slice_at = slice.as_ref().map(|slice| slice.span.clone());
        into(&mut read.time_slice, slice);
        let timeout = device.quantity("timeout", Kind::Duration, MS..=60 * S);
        into(&mut read.timeout, timeout);
        if let Some(word) = device.choice("recovery", &["queue", "device"]) {
            read.recovery = word.value;
        }
        let standby = device.quantity("standby", Kind::Count, 0..=8);
        into(&mut read.standby, standby);
    });
    read.orchestrator = table(
        plan,
        "orchestrator",
        &schema::ORCHESTRATOR,
        read_orchestrator,
    );
    read
}

/// The kinds of slots, and with them how many there are.
fn read_kinds(device: &mut Reader<'_, '_>, read: &mut RawDevice) {
    let Some(value) = device.get("kinds") else {
        return;
    };
    let DeValue::Table(kinds) = value.get_ref() else {
        return device.wrong_type("kinds", value, "a table of numbers of slots");
    };
    if device.get("slots").is_some() {
        let problem = Diagnostic::new(
            device.key_span("slots"),
            "`slots` and `kinds` both say how many slots there are",
        );
        device.problem(problem.note("help", "remove this line"));
    }
    let span = value.span();
    let mut reader = Reader::new(&schema::KINDS, kinds, span.clone(), device.problems());
    let mut all = Vec::new();
    for (word, kind) in KIND_WORDS.iter().zip(KINDS) {
        let count = reader.quantity(word, Kind::Count, 1..=MAX_SLOTS);
        all.extend((0..count.map_or(0, |count| count.value)).map(|_| kind));
    }
    let count = all.len() as u64;
    if count > MAX_SLOTS {
        let message = format!("these are {count} slots");
        device.problem(
            Diagnostic::new(span, message)
                .expected(format!("1 to {MAX_SLOTS} together"))
                .write("kinds = { compute = 4, copy = 2 }"),
        );
    } else if kinds.is_empty() {
        device.problem(
            Diagnostic::new(span, "these are no slots").write("kinds = { compute = 4, copy = 2 }"),
        );
    } else if !all.is_empty() {
        read.slots = count;
        read.slot_kinds = Some(At::new(all, span));
    }
}

fn read_orchestrator(table: &mut Reader<'_, '_>) -> OrchestratorPlan {
    let fair = FairConfig::default();
    let policy = table.choice("policy", &["fair", "fifo"]);
    let fifo = policy.is_some_and(|word| word.value == "fifo");
    let span = |read: Option<At<u64>>, default: Duration| {
        read.map_or(default, |read| Duration::from_nanos(read.value))
    };
    let slice = table.quantity("slice", Kind::Duration, 50 * US..=S);
    let slice = span(slice, fair.slice);
    let min_run = table.quantity("min_run", Kind::Duration, 1..=S);
    if let Some(least) = min_run.as_ref().filter(|least| {
        let nanos = Duration::from_nanos(least.value);
        !fifo && nanos > slice
    }) {
        let nanos = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
        let shown = Kind::Duration.show(nanos);
        let message = format!("`min_run` is longer than a slice, which is {shown}");
        table.problem(
            Diagnostic::new(least.span.clone(), message)
                .expected("at most a slice")
                .write(format!("min_run = \"{}\"", Kind::Duration.show(nanos / 4))),
        );
    }
    let guarantee = table.quantity("guarantee", Kind::Count, 2..=1_000);
    let lag = table.quantity("lag", Kind::Duration, 0..=60 * S);
    if fifo {
        for key in ["min_run", "guarantee", "lag"] {
            if table.get(key).is_some() {
                let message = format!("`{key}` means nothing for the policy \"fifo\"");
                table.problem(
                    Diagnostic::new(table.key_span(key), message)
                        .expected(format!("`{key}` only with policy = \"fair\""))
                        .note("help", "remove this line"),
                );
            }
        }
    }
    let least = fair.min_run.min(slice);
    let policy = match fifo {
        true => PolicyPlan::Fifo(slice),
        false => PolicyPlan::Fair(FairConfig {
            slice,
            min_run: span(min_run, least),
            guarantee: guarantee.map_or(fair.guarantee, |parts| parts.value as u32),
            lag: span(lag, fair.lag),
        }),
    };
    let preemption = table.flag("preemption").is_none_or(|flag| flag.value);
    let cost = table.quantity("switch_cost", Kind::Duration, 0..=100 * MS);
    let patience = table.quantity("patience", Kind::Duration, MS..=60 * S);
    OrchestratorPlan {
        policy,
        preemption,
        switch_cost: span(cost, Duration::ZERO),
        patience: span(patience, Duration::from_millis(500)),
    }
}
