// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What an orchestrator did, as tables.

use std::fmt;

use super::super::Short;
use super::{Hosting, Percent};
use crate::run::machine::SeatTotals;

/// Queues, and clients, in the tables before the rest is put in one line.
const SHOWN: usize = 24;

/// The columns of what was seen of queues and clients.
const COLUMNS: &str = "    busy  executed    waited  longest   stays    warm  preempted  evicted";

impl SeatTotals {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  {:>7}  {:>8}  {:>8}  {:>7}  {:>6}  {:>6}  {:>9}  {:>7}",
            Short(self.busy_ns),
            Short(self.measured_ns),
            Short(self.waited_ns),
            Short(self.longest_wait_ns),
            self.stays,
            self.warm,
            self.preemptions,
            self.evictions
        )
    }
}

fn rest(f: &mut fmt::Formatter<'_>, all: usize, what: &str) -> fmt::Result {
    match all.checked_sub(SHOWN).filter(|&hidden| hidden > 0) {
        Some(hidden) => writeln!(f, "... and {hidden} more {what}"),
        None => Ok(()),
    }
}

impl fmt::Display for Hosting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.queues.iter().take(SHOWN).map(|queue| &queue.name);
        let names = names.chain(self.clients.iter().take(SHOWN).map(|client| &client.name));
        let width = names
            .map(String::len)
            .max()
            .unwrap_or(0)
            .max("client".len());
        writeln!(f, "\n{:width$}  priority  weight{COLUMNS}", "queue")?;
        for queue in self.queues.iter().take(SHOWN) {
            let (name, priority) = (&queue.name, queue.priority);
            write!(f, "{name:width$}  {priority:8}  {:>6}", queue.weight)?;
            queue.seen.write(f)?;
        }
        rest(f, self.queues.len(), "queues")?;
        // Where each has one queue there is nothing more to say.
        if self.clients.len() < self.queues.len() {
            writeln!(f, "\n{:width$}  {:16}{COLUMNS}", "client", "")?;
            for client in self.clients.iter().take(SHOWN) {
                write!(f, "{:width$}  {:16}", client.name, "")?;
                client.seen.write(f)?;
            }
            rest(f, self.clients.len(), "clients")?;
        }
        writeln!(f, "\nslot  {:8}     busy   binds    warm", "kind")?;
        for slot in &self.slots {
            let busy = u128::from(slot.busy_ns) * 1_000_000 / u128::from(self.elapsed_ns.max(1));
            writeln!(
                f,
                "{:>4}  {:8}  {:>7}  {:>6}  {:>6}",
                slot.slot,
                slot.engine,
                Percent(busy as u64),
                slot.binds,
                slot.warm
            )?;
        }
        for gang in self.groups.iter().take(SHOWN) {
            let (stays, parted) = (gang.stays, Short(gang.longest_parted_ns));
            writeln!(
                f,
                "group {}: {stays} times whole, in parts for {parted} at most",
                gang.name
            )?;
        }
        rest(f, self.groups.len(), "groups")?;
        if let Some(shares) = &self.shares {
            writeln!(
                f,
                "shares of {} queues over {}: off by {} at most ({}), fairness {}",
                shares.queues,
                Short(shares.window_ns),
                Percent(shares.error_ppm),
                shares.worst,
                Percent(shares.fairness_ppm)
            )?;
        }
        Ok(())
    }
}
