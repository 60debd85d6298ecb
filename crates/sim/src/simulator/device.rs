// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The modelled device: a ring for each queue, virtual time, interrupts, resets.

use std::collections::VecDeque;

use ringfence_core::{Attempt, Errno};

/// Never, in virtual time.
pub(crate) const NEVER: u64 = u64::MAX;

/// A job on a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) seqno: u64,
    pub(crate) attempt: Attempt,
    /// How long it takes; [`NEVER`] hangs.
    pub(crate) takes: u64,
    pub(crate) result: Result<(), Errno>,
    /// When it is done, once it has begun.
    pub(crate) done_at: Option<u64>,
    /// Its completion raises no interrupt.
    pub(crate) lost: bool,
    /// It is reported twice.
    pub(crate) double: bool,
}

/// A completion that the device has written and the driver has not read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) seqno: u64,
    pub(crate) attempt: Attempt,
    pub(crate) result: Result<(), Errno>,
    pub(crate) double: bool,
}

/// One ring: jobs in order, one at a time.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    pub(crate) slots: VecDeque<Slot>,
    pub(crate) written: VecDeque<Written>,
    /// Completions that were written and that nobody has been told of: the device's own record.
    owed: Vec<(u64, Attempt)>,
    /// It wants the interrupt handler to come, since then.
    pub(crate) irq: Option<u64>,
    pub(crate) size: usize,
}

impl Ring {
    pub(crate) fn reset(&mut self, size: u8) {
        self.slots.clear();
        self.written.clear();
        self.owed.clear();
        self.irq = None;
        self.size = usize::from(size);
    }

    pub(crate) fn has_room(&self) -> bool {
        self.slots.len() < self.size
    }

    pub(crate) fn find(&self, seqno: u64) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.seqno == seqno)
    }

    /// True if the device has written a completion of this attempt that nobody was told of.
    pub(crate) fn owes(&self, seqno: u64, attempt: Attempt) -> bool {
        self.owed.contains(&(seqno, attempt))
    }

    /// The host is told of a completion.
    pub(crate) fn told(&mut self, seqno: u64, attempt: Attempt) {
        self.owed.retain(|owed| *owed != (seqno, attempt));
    }

    /// The completions of the ring that nobody was ever told of.
    pub(crate) fn untold(&self) -> Option<u64> {
        self.owed.first().map(|(seqno, _)| *seqno)
    }

    /// True if the device works on this attempt at a job, or will.
    pub(crate) fn is_on(&self, seqno: u64, attempt: Attempt) -> bool {
        let mut slots = self.slots.iter();
        slots.any(|slot| slot.seqno == seqno && slot.attempt == attempt)
    }

    /// Takes a job off the ring, as a reset does.
    pub(crate) fn remove(&mut self, seqno: u64) {
        self.slots.retain(|slot| slot.seqno != seqno);
    }

    /// What is on the ring begins anew, as after a reset of the ring.
    pub(crate) fn restart(&mut self) {
        for slot in &mut self.slots {
            slot.done_at = None;
        }
    }

    /// The job that holds the ring up for ever.
    pub(crate) fn hung(&self) -> Option<u64> {
        let front = self.slots.front()?;
        (front.takes == NEVER).then_some(front.seqno)
    }

    /// The completion that was written for this attempt at the job.
    pub(crate) fn find_written(&self, seqno: u64, attempt: Attempt) -> Option<usize> {
        let fits = |w: &Written| w.seqno == seqno && w.attempt == attempt;
        self.written.iter().position(fits)
    }

    /// When it has something to do next.
    fn next(&self, now: u64) -> u64 {
        match self.slots.front() {
            None => NEVER,
            Some(slot) => slot
                .done_at
                .unwrap_or_else(|| now.saturating_add(slot.takes)),
        }
    }

    /// Works up to `now`; tells which jobs are done. Begins the next where one is.
    fn work(&mut self, now: u64, mut done: impl FnMut(u64)) {
        let mut begun = now;
        while let Some(slot) = self.slots.front_mut() {
            let at = *slot
                .done_at
                .get_or_insert_with(|| begun.saturating_add(slot.takes));
            if at > now || slot.takes == NEVER {
                return;
            }
            begun = at;
            let Some(slot) = self.slots.pop_front() else {
                return;
            };
            done(slot.seqno);
            self.owed.push((slot.seqno, slot.attempt));
            self.written.push_back(Written {
                seqno: slot.seqno,
                attempt: slot.attempt,
                result: slot.result,
                double: slot.double,
            });
            if !slot.lost {
                self.irq.get_or_insert(at);
            }
        }
    }
}

/// How the whole device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Health {
    #[default]
    Well,
    /// Nothing goes on until a reset.
    FirmwareDead,
    /// A reset is going on.
    Resetting {
        until: u64,
        fails: bool,
    },
    Gone,
}

/// The whole device.
#[derive(Debug, Default)]
pub(crate) struct Device {
    pub(crate) health: Health,
    pub(crate) rings: Vec<Ring>,
}

impl Device {
    pub(crate) fn reset(&mut self, sizes: impl Iterator<Item = u8>) {
        self.health = Health::Well;
        let mut count = 0;
        for (at, size) in sizes.enumerate() {
            if at == self.rings.len() {
                self.rings.push(Ring::default());
            }
            self.rings[at].reset(size);
            count = at + 1;
        }
        self.rings.truncate(count);
    }

    /// Works up to `now`.
    pub(crate) fn work(&mut self, now: u64, mut done: impl FnMut(u8, u64)) {
        if self.health != Health::Well {
            return;
        }
        for (at, ring) in self.rings.iter_mut().enumerate() {
            ring.work(now, |seqno| done(at as u8, seqno));
        }
    }

    /// When it has something to do next.
    pub(crate) fn next(&self, now: u64) -> u64 {
        match self.health {
            Health::Well => {
                let times = self.rings.iter().map(|ring| ring.next(now));
                times.min().unwrap_or(NEVER)
            }
            Health::Resetting { until, .. } => until,
            Health::FirmwareDead | Health::Gone => NEVER,
        }
    }
}
