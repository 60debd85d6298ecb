// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What was counted of seats, those of queues that were replaced included.

use ringfence_orchestrator::{SeatSnapshot, SeatStats};
use serde::Serialize;

use super::{lock, Machine, QueueParts};

/// What was counted of the seats of one queue of the plan, or of one client. Times are in
/// nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::run) struct SeatTotals {
    pub(in crate::run) busy_ns: u64,
    pub(in crate::run) measured_ns: u64,
    pub(in crate::run) waited_ns: u64,
    pub(in crate::run) longest_wait_ns: u64,
    pub(in crate::run) stays: u64,
    pub(in crate::run) warm: u64,
    pub(in crate::run) preemptions: u64,
    pub(in crate::run) evictions: u64,
}

impl SeatTotals {
    /// Adds what was counted of others.
    pub(in crate::run) fn add(&mut self, more: &Self) {
        self.busy_ns += more.busy_ns;
        self.measured_ns += more.measured_ns;
        self.waited_ns += more.waited_ns;
        self.longest_wait_ns = self.longest_wait_ns.max(more.longest_wait_ns);
        self.stays += more.stays;
        self.warm += more.warm;
        self.preemptions += more.preemptions;
        self.evictions += more.evictions;
    }

    /// What was counted of a client.
    pub(in crate::run) fn of_stats(stats: &SeatStats) -> Self {
        let ns = |span: std::time::Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self {
            busy_ns: ns(stats.busy),
            measured_ns: ns(stats.measured),
            waited_ns: ns(stats.waited),
            longest_wait_ns: ns(stats.longest_wait),
            stays: stats.stays,
            warm: stats.warm,
            preemptions: stats.preemptions,
            evictions: stats.evictions,
        }
    }

    fn of_seat(seat: &SeatSnapshot) -> Self {
        Self {
            busy_ns: seat.busy_ns,
            measured_ns: seat.measured_ns,
            waited_ns: seat.waited_ns,
            longest_wait_ns: seat.longest_wait_ns,
            stays: seat.stays,
            warm: seat.warm,
            preemptions: seat.preemptions,
            evictions: seat.evictions,
        }
    }
}

impl QueueParts {
    fn seat_totals(&self) -> SeatTotals {
        let snapshot = self.seat.as_ref().and_then(|seat| seat.snapshot().ok());
        snapshot.map_or_else(SeatTotals::default, |seat| SeatTotals::of_seat(&seat))
    }
}

impl Machine<'_> {
    /// The plan's queue `index` gets another seat: what this one had up to now is kept.
    pub(super) fn keep_seat(&self, index: usize, old: &QueueParts) {
        lock(&self.past_seats[index]).add(&old.seat_totals());
    }

    /// What was counted of all seats of the plan's queue `index`.
    pub(in crate::run) fn seat_totals(&self, index: usize) -> SeatTotals {
        let mut totals = *lock(&self.past_seats[index]);
        totals.add(&self.queue(index).seat_totals());
        totals
    }
}
