// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Queues as text while they work: every job, its state, age and what it waits for, and the last
//! events of the queue. For who chases a hang.
//!
//! Nothing is stopped: a queue's lock is held for a copy of its entries. So the queues are not
//! shown at one and the same moment, but each at a moment of its own. All the memory is taken
//! beforehand.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use ringfence::{Driver, Inspection, Queue};

use crate::args::DumpWhen;
use crate::signals::Signals;
use crate::EXIT_INTERRUPTED;

/// Text that is kept before it is written.
const PAGE: usize = 64 * 1024;
/// How long a signal may go unnoticed.
const LOOK: Duration = Duration::from_millis(100);

/// Why queues are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Half of the jobs have been submitted.
    Half,
    /// It is time again.
    Period,
    /// SIGUSR1 has come.
    Asked,
    /// Nothing happens any more.
    Stuck,
    /// Somebody has had enough.
    Interrupted,
    /// A promise was broken.
    Violated,
}

impl Why {
    /// Somebody has said `--dump`, and so expects it where the report is.
    fn is_ordered(self) -> bool {
        matches!(self, Self::Half | Self::Period | Self::Violated)
    }

    /// Nobody has asked for queues that have no job.
    fn leaves_out_idle(self) -> bool {
        matches!(self, Self::Stuck | Self::Interrupted)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Half => "in mid-run",
            Self::Period => "it is time",
            Self::Asked => "asked by SIGUSR1",
            Self::Stuck => "nothing happens any more",
            Self::Interrupted => "interrupted",
            Self::Violated => "something was violated",
        })
    }
}

/// Shows queues, when it is time.
pub(crate) struct Dumper {
    when: Option<DumpWhen>,
    /// Standard output belongs to something else.
    to_stderr: bool,
    signals: Signals,
    start: Instant,
    memory: Mutex<Memory>,
}

/// What it takes to show queues: one dump at a time.
struct Memory {
    inspection: Inspection,
    page: Vec<u8>,
    /// Dumps for a period so far.
    periods: u32,
}

impl Dumper {
    /// For queues of at most `entries` entries. Time counts from now.
    pub(crate) fn new(
        when: Option<DumpWhen>,
        to_stderr: bool,
        signals: Signals,
        entries: usize,
    ) -> Self {
        Self {
            when,
            to_stderr,
            signals,
            start: Instant::now(),
            memory: Mutex::new(Memory {
                inspection: Inspection::new(entries),
                page: Vec::with_capacity(PAGE),
                periods: 0,
            }),
        }
    }

    /// True if queues are to be shown in mid-run.
    pub(crate) fn is_due_at_half(&self) -> bool {
        self.when == Some(DumpWhen::Half)
    }

    /// True if somebody wants to see much.
    pub(crate) fn is_ordered(&self) -> bool {
        self.when.is_some()
    }

    /// True once somebody has interrupted the process.
    pub(crate) fn interrupted(&self) -> bool {
        self.signals.interrupted()
    }

    /// How long to sleep before [`Dumper::due`] is to be asked again.
    pub(crate) fn nap(&self) -> Duration {
        match self.when {
            Some(DumpWhen::Every(period)) => {
                let periods = self.lock().periods;
                let next = period.saturating_mul(periods.saturating_add(1));
                next.saturating_sub(self.start.elapsed()).min(LOOK)
            }
            _ => LOOK,
        }
    }

    /// Why queues are to be shown now, if they are. Each reason is given once.
    pub(crate) fn due(&self) -> Option<Why> {
        if self.signals.take_asked() {
            return Some(Why::Asked);
        }
        let Some(DumpWhen::Every(period)) = self.when else {
            return None;
        };
        let passed = self.start.elapsed().as_nanos() / period.as_nanos().max(1);
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        let mut memory = self.lock();
        // One for all that were missed.
        let due = passed > memory.periods;
        memory.periods = passed;
        due.then_some(Why::Period)
    }

    /// Shows the queues, below a line that says why, and `progress`; then what `more` there is.
    pub(crate) fn dump<'q, D: Driver>(
        &self,
        why: Why,
        progress: impl fmt::Display,
        queues: impl IntoIterator<Item = &'q Queue<D>>,
        more: &dyn fmt::Display,
    ) {
        if why.is_ordered() && !self.to_stderr {
            self.write(why, &progress, queues, more, &mut io::stdout().lock());
        } else {
            self.write(why, &progress, queues, more, &mut io::stderr().lock());
        }
    }

    /// Does `work`, and shows the queues whenever it is time meanwhile. Ends the process if
    /// somebody interrupts it.
    pub(crate) fn alongside<D: Driver, R>(
        &self,
        queues: &[Queue<D>],
        work: impl FnOnce() -> R,
    ) -> R {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let watcher = scope.spawn(|| self.show_until(&over, queues));
            let _over = Over(&over, watcher.thread());
            work()
        })
    }

    fn show_until<D: Driver>(&self, over: &AtomicBool, queues: &[Queue<D>]) {
        while !over.load(Ordering::Acquire) {
            if let Some(why) = self.due() {
                self.dump(why, "on the way", queues, &"");
            }
            if self.interrupted() {
                self.dump(Why::Interrupted, "on the way", queues, &"");
                std::process::exit(i32::from(EXIT_INTERRUPTED));
            }
            thread::park_timeout(self.nap());
        }
    }

    fn write<'q, D: Driver>(
        &self,
        why: Why,
        progress: &dyn fmt::Display,
        queues: impl IntoIterator<Item = &'q Queue<D>>,
        more: &dyn fmt::Display,
        out: &mut dyn io::Write,
    ) {
        let mut memory = self.lock();
        let Memory {
            inspection, page, ..
        } = &mut *memory;
        let mut text = Page { page, out };
        let at = self.start.elapsed().as_secs_f64();
        // Who does not read any more has seen what there was to see.
        let _ = fmt::Write::write_fmt(
            &mut text,
            format_args!("-- after {at:.3} s ({why}): {progress}\n"),
        );
        for queue in queues {
            if why.leaves_out_idle() && queue.is_empty() {
                continue;
            }
            if queue.snapshot_into(inspection, &mut text).is_err() {
                break;
            }
        }
        let _ = fmt::Write::write_fmt(&mut text, format_args!("{more}"));
        let _ = text.flush();
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that the work is over, however it ends.
struct Over<'a>(&'a AtomicBool, &'a Thread);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        self.1.unpark();
    }
}

/// Text on its way out, in pieces of a page and not of a few letters.
struct Page<'a> {
    page: &'a mut Vec<u8>,
    out: &'a mut dyn io::Write,
}

impl Page<'_> {
    fn flush(&mut self) -> io::Result<()> {
        let done = self
            .out
            .write_all(self.page)
            .and_then(|()| self.out.flush());
        self.page.clear();
        done
    }
}

impl fmt::Write for Page<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let room = self.page.capacity() - self.page.len();
            if room == 0 {
                self.flush().map_err(|_| fmt::Error)?;
                continue;
            }
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.page.extend_from_slice(now);
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
