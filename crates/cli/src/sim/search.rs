// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The threads that run seeds.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ringfence_sim::{Options, SimCoverage, Simulator, Summary, Violation};

use super::SEEDS_THAT_SEE_ALL;
use crate::args::SimArgs;
use crate::signals::Signals;

/// Seeds that a thread takes at a time.
const CHUNK: u64 = 64;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Seeds that were run.
    pub(super) seeds: u64,
    pub(super) workers: usize,
    pub(super) summary: Summary,
    pub(super) coverage: SimCoverage,
    /// So many seeds were run, and so freely, that all should have been seen.
    pub(super) sees_all: bool,
    /// Of the lowest seed that fails; seeds of regressions count as lower than all others.
    pub(super) violation: Option<Violation>,
    /// Somebody had seen enough.
    pub(super) interrupted: bool,
}

/// What of the search is still to be done, and what was found.
struct Shared {
    regressions: VecDeque<u64>,
    next: u64,
    found: Found,
    /// The place in line of the violation found.
    place: u64,
}

/// A search through seeds.
pub(super) struct Search {
    options: Options,
    from: u64,
    end: u64,
    regressions: u64,
    workers: usize,
    sees_all: bool,
    shared: Mutex<Shared>,
    signals: Signals,
    seeds: AtomicU64,
    events: AtomicU64,
    worst_ns: AtomicU64,
    working: AtomicU64,
}

/// Seeds to be run: where the first stands in line, and they.
struct Chunk {
    place: u64,
    seeds: std::ops::Range<u64>,
}

impl Search {
    /// Ends early when `signals` say so, each thread after the seed it is at.
    pub(super) fn new(
        args: &SimArgs,
        regressions: impl Iterator<Item = u64>,
        signals: Signals,
    ) -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let workers = args.workers.map_or(processors, usize::from);
        // Who asks for one seed wants that one.
        let regressions: VecDeque<_> = match args.seeds {
            1 => VecDeque::new(),
            _ => regressions.collect(),
        };
        Self {
            options: super::options(args, false),
            from: args.from,
            end: args.from + args.seeds,
            regressions: regressions.len() as u64,
            workers,
            sees_all: args.seeds >= SEEDS_THAT_SEE_ALL && args.ops.is_none(),
            shared: Mutex::new(Shared {
                regressions,
                next: args.from,
                found: Found::default(),
                place: u64::MAX,
            }),
            signals,
            seeds: AtomicU64::new(0),
            events: AtomicU64::new(0),
            worst_ns: AtomicU64::new(0),
            working: AtomicU64::new(0),
        }
    }

    /// Runs all seeds; shows how far it is if `visible`.
    pub(super) fn run(&self, visible: bool) -> Found {
        self.working.store(self.workers as u64, Ordering::Relaxed);
        thread::scope(|scope| {
            for _ in 0..self.workers {
                scope.spawn(|| {
                    self.work();
                    self.working.fetch_sub(1, Ordering::Relaxed);
                });
            }
            if visible {
                self.show();
            }
        });
        let mut shared = self.lock();
        let mut found = std::mem::take(&mut shared.found);
        found.workers = self.workers;
        found.interrupted = self.signals.interrupted();
        found.sees_all = self.sees_all && !found.interrupted;
        found
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut simulator = Simulator::new(self.options.clone());
        let (mut summary, mut seeds) = (Summary::default(), 0);
        while let Some(chunk) = self.take() {
            let first = chunk.seeds.start;
            for seed in chunk.seeds {
                if self.signals.interrupted() {
                    break;
                }
                seeds += 1;
                self.seeds.fetch_add(1, Ordering::Relaxed);
                match simulator.run_seed(seed) {
                    Ok(one) => {
                        self.events.fetch_add(one.events, Ordering::Relaxed);
                        self.worst_ns
                            .fetch_max(one.longest_teardown_ns, Ordering::Relaxed);
                        summary.add(&one);
                    }
                    Err(violation) => {
                        self.violated(chunk.place + (seed - first), violation);
                        break;
                    }
                }
            }
        }
        let mut shared = self.lock();
        shared.found.seeds += seeds;
        shared.found.summary.add(&summary);
        shared.found.coverage.merge(&simulator.take_coverage());
    }

    /// The next seeds, unless all that are left stand behind a violation.
    fn take(&self) -> Option<Chunk> {
        if self.signals.interrupted() {
            return None;
        }
        let mut shared = self.lock();
        if let Some(seed) = shared.regressions.pop_front() {
            let place = self.regressions - shared.regressions.len() as u64 - 1;
            return (place < shared.place).then_some(Chunk {
                place,
                seeds: seed..seed + 1,
            });
        }
        let place = self.regressions + (shared.next - self.from);
        if shared.next == self.end || place >= shared.place {
            return None;
        }
        let end = self.end.min(shared.next.saturating_add(CHUNK));
        let seeds = shared.next..end;
        shared.next = end;
        Some(Chunk { place, seeds })
    }

    fn violated(&self, place: u64, violation: Violation) {
        let mut shared = self.lock();
        if place < shared.place {
            shared.place = place;
            shared.found.violation = Some(violation);
        }
    }

    /// Shows how far the threads are, until they are done.
    fn show(&self) {
        let bar = ProgressBar::new(self.regressions + (self.end - self.from));
        let style = ProgressStyle::with_template(
            "{elapsed_precise} {wide_bar} {human_pos}/{human_len} seeds, {per_sec} {msg}",
        );
        // The template is a constant, and right.
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        while self.working.load(Ordering::Relaxed) != 0 {
            thread::sleep(Duration::from_millis(100));
            bar.set_position(self.seeds.load(Ordering::Relaxed));
            let seconds = bar.elapsed().as_secs_f64().max(0.001);
            let events = self.events.load(Ordering::Relaxed) as f64;
            let worst = self.worst_ns.load(Ordering::Relaxed);
            bar.set_message(format!(
                "{:.2} M events/s, longest teardown {}",
                events / seconds / 1e6,
                super::report::span(worst),
            ));
        }
        bar.finish_and_clear();
    }
}
