// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From cycles to lines in the log.

use kernel::prelude::*;

use crate::peer::{self, Stamp};

/// How long a cycle is.
pub(crate) struct Clock {
    cycles_per_ms: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            cycles_per_ms: peer::cycles_per_ms().max(1),
        }
    }

    fn ns(&self, cycles: u64) -> u64 {
        cycles.saturating_mul(1_000_000) / self.cycles_per_ms
    }
}

/// Prints 10th percentile, median and 99th percentile of a span, in nanoseconds.
pub(crate) fn latency(
    round: u32,
    side: &str,
    measure: &str,
    clock: &Clock,
    stamps: &[Stamp],
    span: impl Fn(&Stamp) -> u64,
) {
    let Ok(mut spans) = KVVec::<u64>::with_capacity(stamps.len(), GFP_KERNEL) else {
        pr_err!("no memory for {}\n", measure);
        return;
    };
    for stamp in stamps {
        let _full = spans.push_within_capacity(span(stamp));
    }
    spans.sort_unstable();
    let at = |share: usize| spans.get(spans.len() * share / 100).copied().unwrap_or(0);
    pr_info!(
        "{{\"round\":{},\"side\":\"{}\",\"measure\":\"{}\",\"p10\":{},\"median\":{},\"p99\":{}}}\n",
        round,
        side,
        measure,
        clock.ns(at(10)),
        clock.ns(at(50)),
        clock.ns(at(99))
    );
}

/// Prints jobs per second.
pub(crate) fn rate(
    round: u32,
    side: &str,
    measure: core::fmt::Arguments<'_>,
    clock: &Clock,
    jobs: u32,
    cycles: u64,
) {
    let ns = clock.ns(cycles).max(1);
    pr_info!(
        "{{\"round\":{},\"side\":\"{}\",\"measure\":\"{}\",\"rate\":{}}}\n",
        round,
        side,
        measure,
        u64::from(jobs) * 1_000_000_000 / ns
    );
}

/// Prints a size.
pub(crate) fn bytes(round: u32, side: &str, measure: &str, bytes: u64) {
    pr_info!(
        "{{\"round\":{},\"side\":\"{}\",\"measure\":\"{}\",\"bytes\":{}}}\n",
        round,
        side,
        measure,
        bytes
    );
}
