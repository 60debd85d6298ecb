// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The last things that happened to a queue, kept for who asks after a hang.
//!
//! A record is two words, so that an ordinary job pays for three of them and nothing else: no
//! clock is read for a record's sake. Its time is exact where the queue had reason to read the
//! clock, and else that of the event before it.

use core::fmt;

use crate::effect::Outcome;
use crate::time::Time;

/// How many records a queue keeps, unless the element of its storage says otherwise.
pub const RECORDS: usize = 64;

/// Memory for one record.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// The time in nanoseconds, and in the low byte what happened.
    word: u64,
    seqno: u64,
}

impl Slot {
    /// Without a record: nothing that can happen has this low byte.
    pub const EMPTY: Self = Self {
        word: 0xff,
        seqno: 0,
    };
}

/// Memory for a queue's last records: an array of any length, also none. Sixteen bytes a record.
pub trait Records: Clone + Copy + core::fmt::Debug {
    /// Without records.
    const EMPTY: Self;

    /// The slots.
    fn slots(&self) -> &[Slot];

    /// The slots.
    fn slots_mut(&mut self) -> &mut [Slot];
}

impl<const N: usize> Records for [Slot; N] {
    const EMPTY: Self = [Slot::EMPTY; N];

    #[inline]
    fn slots(&self) -> &[Slot] {
        self
    }

    #[inline]
    fn slots_mut(&mut self) -> &mut [Slot] {
        self
    }
}

macro_rules! whats {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What happened.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum What {
            $($(#[$doc])* $name,)*
        }

        impl What {
            const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// A few lower-case words, as snapshots print it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

whats! {
    /// A job was handed to the queue. One that its submitter runs at once has only that record.
    Submitted = "submitted",
    /// The last fence that it waited for has signalled.
    Ready = "ready",
    /// It was handed to the run callback.
    Run = "run",
    /// The run callback found no resources for it.
    NoResources = "no resources",
    /// The hardware did its work, out of turn: at the head of the line the signal says so.
    Completed = "completed",
    /// It ended with an error.
    Failed = "failed",
    /// It will not run.
    Cancelled = "cancelled",
    /// It hung.
    TimedOut = "timed out",
    /// Its fence was handed out to be signalled.
    Signal = "signal",
    /// A completion came twice, too late, or for a job that is gone.
    LateCompletion = "late completion",
    /// The driver was asked about it, its time being up.
    Asked = "asked: time is up",
    /// The driver saw no hang.
    NoHang = "no hang",
    /// The driver gave it more time.
    Extended = "extended",
    /// The driver wants a reset because of it.
    ResetWanted = "reset wanted",
    /// It was put on the hardware again.
    Replay = "replay",
    /// The queue was stopped.
    Stop = "stopped",
    /// And started again.
    Start = "started",
    /// The queue was suspended once more.
    Suspend = "suspended",
    /// And resumed once.
    Resume = "resumed",
    /// Its gate was opened.
    GateOpens = "gate open",
    /// Its gate was set to yield.
    GateYields = "gate yields",
    /// Its gate was shut.
    GateShuts = "gate shut",
    /// It takes no more jobs.
    Close = "closed",
    /// Closing it has taken too long.
    Overdue = "closing overdue",
    /// All its jobs were ended.
    Kill = "killed",
    /// No driver callback is handed out any more.
    Unbind = "unbound",
    /// A job of it was guilty.
    Strike = "strike",
    /// That was one too many.
    Ban = "banned",
}

impl What {
    pub(crate) const fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::Failed(_) => Self::Failed,
            Outcome::Cancelled(_) => Self::Cancelled,
            Outcome::TimedOut(_) => Self::TimedOut,
        }
    }
}

/// One thing that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// When, or when the event before it was, where the queue had no reason to read the clock.
    pub at: Time,
    /// What.
    pub what: What,
    /// The job, by sequence number; of the queue's next job where it happened to the queue.
    pub seqno: u64,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.at.as_ns();
        let (s, us) = (ns / 1_000_000_000, ns / 1_000 % 1_000_000);
        write!(f, "{s:>6}.{us:06} #{:<6} {}", self.seqno, self.what.name())
    }
}

/// The ring of records.
///
/// # Invariants
///
/// A slot's low byte is a [`What`], the rest of the word the time in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log<R> {
    records: R,
}

/// Where the log is written and what time it is; stands where every job finds it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogHead {
    pub(crate) written: u64,
    pub(crate) now: Time,
}

impl<R: Records> Log<R> {
    pub(crate) const fn new() -> Self {
        Self { records: R::EMPTY }
    }

    #[inline]
    pub(crate) fn write(&mut self, head: &mut LogHead, what: What, seqno: u64) {
        let slots = self.records.slots_mut();
        let place = (head.written as usize).checked_rem(slots.len());
        if let Some(slot) = place.and_then(|place| slots.get_mut(place)) {
            let word = head.now.as_ns() << 8 | u64::from(what as u8);
            *slot = Slot { word, seqno };
        }
        head.written = head.written.wrapping_add(1);
    }

    /// The records, oldest first.
    pub(crate) fn iter(&self, head: &LogHead) -> impl Iterator<Item = Record> + '_ {
        self.kept(head).filter_map(|(_, slot)| {
            let what = *What::ALL.get((slot.word & 0xff) as usize)?;
            Some(Record {
                at: Time::from_ns(slot.word >> 8),
                what,
                seqno: slot.seqno,
            })
        })
    }

    /// The same records in other memory: the last ones, where that has less.
    pub(crate) fn copied<T: Records>(&self, head: &LogHead) -> Log<T> {
        let mut copy = Log::<T>::new();
        let slots = copy.records.slots_mut();
        for (at, from) in self.kept(head) {
            let place = (at as usize).checked_rem(slots.len());
            if let Some(to) = place.and_then(|place| slots.get_mut(place)) {
                *to = *from;
            }
        }
        copy
    }

    /// The slots that are written, by number, oldest first.
    fn kept(&self, head: &LogHead) -> impl Iterator<Item = (u64, &Slot)> {
        let (written, slots) = (head.written, self.records.slots());
        let kept = written.min(slots.len() as u64);
        (written - kept..written)
            .filter_map(move |at| Some((at, slots.get(at as usize % slots.len())?)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Log, LogHead, Record, Slot, What, RECORDS};

    fn seqnos<R: super::Records>(log: &Log<R>, head: &LogHead) -> impl Iterator<Item = u64> {
        let mut kept = [0; RECORDS];
        let mut count = 0;
        for Record { seqno, .. } in log.iter(head) {
            kept[count] = seqno;
            count += 1;
        }
        kept.into_iter().take(count)
    }

    #[test]
    fn a_log_keeps_as_many_records_as_it_has_memory_for() {
        let mut head = LogHead::default();
        let mut log = Log::<[Slot; 5]>::new();
        for seqno in 0..13 {
            log.write(&mut head, What::Run, seqno);
        }
        assert!(seqnos(&log, &head).eq(8..13));
        assert!(seqnos(&log.copied::<[Slot; 64]>(&head), &head).eq(8..13));
        assert!(seqnos(&log.copied::<[Slot; 2]>(&head), &head).eq(11..13));
        assert_eq!(log.copied::<[Slot; 0]>(&head).iter(&head).count(), 0);
    }

    #[test]
    fn a_log_without_memory_keeps_nothing() {
        let mut head = LogHead::default();
        let mut log = Log::<[Slot; 0]>::new();
        log.write(&mut head, What::Run, 1);
        assert_eq!(log.iter(&head).count(), 0);
    }
}
