// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What went wrong on purpose, and what was done about it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::plan::schema;
use crate::run::Run;

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Trouble {
    faults: Faults,
    recoveries: Recovered,
    /// Queues that were banned.
    pub(super) banned: u64,
}

/// What went wrong on purpose.
#[derive(Clone, Debug, Serialize)]
struct Faults {
    /// By kind, those that happened.
    injected: BTreeMap<&'static str, u64>,
}

/// What the device's recovery came to.
#[derive(Clone, Copy, Debug, Serialize)]
struct Recovered {
    nothing: u64,
    queue_reset: u64,
    device_reset: u64,
    migrated: u64,
    gone: u64,
    jobs_replayed: u64,
    jobs_cancelled: u64,
}

impl Trouble {
    /// What was counted while the run lasted.
    pub(super) fn take(run: &Run<'_>) -> Self {
        Self {
            faults: faults(run),
            recoveries: recoveries(run.machine.recoveries()),
            banned: 0,
        }
    }
}

fn faults(run: &Run<'_>) -> Faults {
    let faults = schema::FAULTS.iter().zip(&run.faults);
    let events = schema::EVENTS.iter().zip(&run.events);
    let all = faults.chain(events);
    let counted = all.map(|(word, counter)| (*word, counter.load(Ordering::Relaxed)));
    Faults {
        injected: counted.filter(|(_, count)| *count > 0).collect(),
    }
}

fn recoveries(seen: ringfence_softgpu::driver::Recoveries) -> Recovered {
    Recovered {
        nothing: seen.nothing,
        queue_reset: seen.queue_resets,
        device_reset: seen.device_resets,
        migrated: seen.migrations,
        gone: seen.gone,
        jobs_replayed: seen.replayed,
        jobs_cancelled: seen.cancelled,
    }
}

/// One or two lines; nothing where nothing went wrong.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let injected = &self.faults.injected;
        if !injected.is_empty() {
            let all: u64 = injected.values().sum();
            let each: Vec<_> = injected
                .iter()
                .map(|(word, n)| format!("{n} {word}"))
                .collect();
            writeln!(f, "{all} faults: {}", each.join(", "))?;
        }
        let seen = &self.recoveries;
        let resets = seen.queue_reset + seen.device_reset + seen.migrated + seen.gone;
        if resets + self.banned > 0 {
            writeln!(
                f,
                "recoveries: {} of a queue, {} of the device, {} to another, {} without hope; \
                 {} jobs replayed, {} cancelled; {} queues banned",
                seen.queue_reset,
                seen.device_reset,
                seen.migrated,
                seen.gone,
                seen.jobs_replayed,
                seen.jobs_cancelled,
                self.banned
            )?;
        }
        Ok(())
    }
}
