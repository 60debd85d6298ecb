// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What was done, and what did not hold.

use kernel::sync::atomic::{Atomic, Relaxed};

/// The most broken rules that are told: the first ones say what is wrong.
const TOLD_MAX: u64 = 24;

static BROKEN: Atomic<u64> = Atomic::new(0);

/// Notes that a rule was broken. True if that should be told.
pub(crate) fn note_broken() -> bool {
    BROKEN.fetch_add(1, Relaxed) < TOLD_MAX
}

/// How many rules were broken.
pub(crate) fn broken() -> u64 {
    BROKEN.load(Relaxed)
}

/// Says what does not hold. Any context.
macro_rules! broken {
    ($($args:tt)*) => {
        if $crate::tally::note_broken() {
            kernel::pr_err!("FAILED {}\n", format_args!($($args)*));
        }
    };
}

macro_rules! kinds {
    ($($kind:ident,)*) => {
        /// What can be done, and what can come of it.
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy)]
        pub(crate) enum Kind {
            $($kind,)*
        }

        const NAMES: &[&str] = &[$(stringify!($kind),)*];

        static COUNTS: [Atomic<u64>; NAMES.len()] = [const { Atomic::new(0) }; NAMES.len()];
    };
}

kinds! {
    submitted, with_dependencies, in_guards, abandoned, released, by_interrupts,
    queues, queues_dropped, closed, killed, devices, unbound, devices_gone,
    runs, done, failed, pending, at_once, lost, hanging, followed, no_room, by_callbacks,
    completed_here, completed_in_irq, completions_dropped, fences, fences_in_irq,
    cancelled, cancelled_late, suspends, resumes, triggered,
    timeouts, no_hang, extended, handled, resets, gone_answers,
    stops, stops_of_all, stops_refused, walked, replayed, replays, forgotten,
    recoveries, requests, looks, waits, full, refused,
}

/// Counts something.
pub(crate) fn count(kind: Kind) {
    COUNTS[kind as usize].add(1, Relaxed);
}

/// Prints all counts.
pub(crate) fn print() {
    for (names, counts) in NAMES.chunks(8).zip(COUNTS.chunks(8)) {
        kernel::pr_info!("{}\n", Row(names, counts));
    }
}

struct Row<'a>(&'a [&'a str], &'a [Atomic<u64>]);

impl kernel::fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        for (at, (name, count)) in self.0.iter().zip(self.1).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{}{} {}", comma, name, count.load(Relaxed))?;
        }
        Ok(())
    }
}
