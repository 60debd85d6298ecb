// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Clients: whose the seats are, and what they have used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ringfence::irq::IrqLock;
use ringfence_orchestrator_core::{SeatStats, KINDS_MAX};

/// Somebody who has queues: a process, an open file. Made by
/// [`Orchestrator::client`](crate::Orchestrator::client). Clones are the same client.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    id: u64,
    name: String,
    /// What seats that have gone had used.
    past: IrqLock<SeatStats>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({}, {:?})", self.inner.id, self.inner.name)
    }
}

impl Client {
    pub(crate) fn new(id: u64, name: &str) -> Self {
        Self {
            inner: Arc::new(Inner {
                id,
                name: name.to_owned(),
                past: IrqLock::default(),
            }),
        }
    }

    /// Its number, never used again by the same orchestrator.
    pub fn id(&self) -> u64 {
        self.inner.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// One of its seats has gone. Interrupt-safe.
    pub(crate) fn keep(&self, stats: &SeatStats) {
        add(&mut self.inner.past.lock(), stats);
    }

    /// What its seats that have gone had used. Interrupt-safe.
    pub(crate) fn past(&self) -> SeatStats {
        *self.inner.past.lock()
    }

    /// Whether it is the same client, not only one of the same number.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

/// Adds up what two seats have used.
pub(crate) fn add(sum: &mut SeatStats, more: &SeatStats) {
    sum.busy += more.busy;
    for (sum, more) in sum.busy_on.iter_mut().zip(more.busy_on) {
        *sum += more;
    }
    sum.measured += more.measured;
    sum.waited += more.waited;
    sum.longest_wait = sum.longest_wait.max(more.longest_wait);
    sum.stays += more.stays;
    sum.warm += more.warm;
    sum.preemptions += more.preemptions;
    sum.evictions += more.evictions;
}

/// What a client has used: all its seats together, those that have gone included.
///
/// Displayed, it is the text of a DRM file's `fdinfo`, which `nvtop`, `gputop` and others read
/// (`Documentation/gpu/drm-usage-stats.rst`).
#[derive(Clone, Debug)]
pub struct ClientUsage {
    /// The driver's name.
    pub driver: String,
    /// Which client.
    pub client: u64,
    /// Its name.
    pub name: String,
    /// What was counted.
    pub stats: SeatStats,
    /// For each kind of slot that the device has: its name, how long the client has held such slots
    /// with work, and how many there are.
    pub engines: Vec<(String, Duration, u32)>,
}

impl fmt::Display for ClientUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "drm-driver:\t{}", self.driver)?;
        writeln!(f, "drm-client-id:\t{}", self.client)?;
        // It may come from the client, who shall say nothing else here: as the kernel has it.
        let name: String = self
            .name
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
        writeln!(f, "drm-client-name:\t{name}")?;
        for (engine, busy, capacity) in &self.engines {
            writeln!(f, "drm-engine-{engine}:\t{} ns", busy.as_nanos())?;
            if *capacity > 1 {
                writeln!(f, "drm-engine-capacity-{engine}:\t{capacity}")?;
            }
        }
        Ok(())
    }
}

const _: () = assert!(KINDS_MAX <= 4);
