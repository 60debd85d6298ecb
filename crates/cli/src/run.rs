// SPDX-License-Identifier: GPL-2.0 OR MIT
//! `ringfence run`: executes a plan on a device through real queues, and checks that everything
//! held.
//!
//! ```text
//!   main ── progress, watchdog ──► Run ◄── violations, counts ── client threads
//!                                   ▲                             │ submit, look
//!          firmware ── SlotEvents ──┤                             ▼
//!          queues ─── events, fence callbacks ──► QueueWatch    Queue ──► SoftDriver
//! ```
//!
//! What is checked rests on what is seen from outside the queues: fence callbacks, events with
//! their times, the device's own times, and memory.

mod board;
mod client;
mod figures;
mod hosted;
mod machine;
mod output;
mod report;
pub mod schedule;
mod tracing;
mod watch;
mod work;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use ringfence_trace::Recorder;

use crate::args::{RunArgs, Sabotage};
use crate::dump::{Dumper, Why};
use crate::input::Input;
use crate::plan::{schema, EventKind, FaultKind, Plan};
use crate::signals::Signals;
use crate::{EXIT_INTERRUPTED, EXIT_USAGE, EXIT_VIOLATION};
use board::Board;
use figures::QueueFigures;
use hosted::shares::Window;
use machine::{Machine, SetupError};
use report::Report;
use watch::Ending;

/// Jobs after which memory is at what it will stay at.
const WARM: u64 = 10_000;

/// Runs what the arguments name, and returns the exit status.
pub fn run(args: RunArgs) -> ExitCode {
    let input = match Input::load(args.plan.as_deref()) {
        Ok(input) => input,
        Err(error) => return refuse(&error),
    };
    match input {
        Input::Plan { file, text } => match Plan::parse(&file, &text) {
            Ok(plan) => run_plan(&plan, &args),
            Err(errors) => refuse(&errors),
        },
        Input::Recording { file, bytes } => crate::replay::replay(&file, &bytes, &args),
    }
}

fn refuse(why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(EXIT_USAGE)
}

fn run_plan(plan: &Plan, args: &RunArgs) -> ExitCode {
    if args.fdinfo.is_some() && plan.device().orchestrator.is_none() {
        let why = "--fdinfo is for plans with a table [orchestrator]: nobody else counts";
        return refuse(&format!("{}: {why}", plan.name()));
    }
    let (report, written) = match execute(plan, args) {
        Ok(done) => done,
        Err(error) => return refuse(&format!("{}: {error}", plan.name())),
    };
    report.print(args.json);
    // What the run came to is told all the same: it may have taken long.
    if let Err(error) = &written {
        eprintln!("{}: {error}", plan.name());
    }
    if !report.held() {
        ExitCode::from(EXIT_VIOLATION)
    } else if written.is_err() {
        ExitCode::from(EXIT_USAGE)
    } else if report.interrupted() {
        ExitCode::from(EXIT_INTERRUPTED)
    } else {
        ExitCode::SUCCESS
    }
}

/// Everything that the threads of a run share.
struct Run<'run> {
    plan: &'run Plan,
    machine: &'run Machine<'run>,
    board: Board,
    seed: u64,
    sabotage: Option<Sabotage>,
    recorder: Option<Arc<Recorder>>,
    dumper: &'run Dumper,
    bar: ProgressBar,
    memory: bool,
    stop: AtomicBool,
    /// Somebody ended it while jobs were on their way.
    interrupted: AtomicBool,
    submitted: AtomicU64,
    ended: AtomicU64,
    /// By [`Ending`].
    endings: [AtomicU64; 4],
    /// Jobs that were over later than their stream's deadline, and the longest that one with a
    /// deadline took, in nanoseconds.
    late: AtomicU64,
    slowest: AtomicU64,
    checked: AtomicU64,
    data_errors: AtomicU64,
    violations: Mutex<Violations>,
    /// How often each of [`schema::FAULTS`] has happened.
    faults: Vec<AtomicU64>,
    /// How often each of [`schema::EVENTS`] has.
    events: Vec<AtomicU64>,
    /// For each stream, the client that owns it.
    owners: Vec<usize>,
    clients: Vec<OnceLock<Thread>>,
}

/// Broken rules: how often, and the first case of each.
type Violations = BTreeMap<&'static str, (u64, String)>;

impl Run<'_> {
    fn violation(&self, rule: &'static str, how: impl FnOnce() -> String) {
        let mut violations = self
            .violations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        violations.entry(rule).or_insert_with(|| (0, how())).0 += 1;
    }

    fn is_violated(&self) -> bool {
        let violations = self.violations.lock();
        !violations
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    fn wake(&self, stream: usize) {
        if let Some(thread) = self.clients[self.owners[stream]].get() {
            thread.unpark();
        }
    }

    fn count_submitted(&self) {
        let before = self.submitted.fetch_add(1, Ordering::Relaxed);
        for event in &self.plan.device().events {
            if event.is_due(before + 1) {
                self.happen(event.kind);
            }
        }
        // In the middle of the run, while jobs are on their way.
        if self.dumper.is_due_at_half() && before == self.plan.jobs() / 2 {
            self.show(Why::Half);
        }
    }

    fn happen(&self, event: EventKind) {
        if let Err(error) = self.machine.happen(event) {
            self.violation("the device", || format!("{}: {error}", event.word()));
        }
        count_word(&self.events, schema::EVENTS, event.word(), 1);
    }

    fn count_fault(&self, fault: FaultKind, times: u64) {
        count_word(&self.faults, schema::FAULTS, fault.word(), times);
    }

    fn count_ended(&self, ending: Option<Ending>) {
        if let Some(ending) = ending {
            self.endings[ending as usize].fetch_add(1, Ordering::Relaxed);
        }
        let before = self.ended.fetch_add(1, Ordering::Relaxed);
        if self.memory && before + 1 == WARM {
            print_memory(WARM);
        }
    }

    /// A job with a deadline is over, so long after it was submitted.
    fn count_deadline(&self, deadline: Duration, took: u64) {
        let late = u128::from(took) > deadline.as_nanos();
        self.late.fetch_add(u64::from(late), Ordering::Relaxed);
        self.slowest.fetch_max(took, Ordering::Relaxed);
    }

    fn count_checked(&self) {
        self.checked.fetch_add(1, Ordering::Relaxed);
    }

    fn count_data_error(&self) {
        self.data_errors.fetch_add(1, Ordering::Relaxed);
    }

    fn ending(&self, ending: Ending) -> u64 {
        self.endings[ending as usize].load(Ordering::Relaxed)
    }

    /// Shows the queues as they are.
    fn show(&self, why: Why) {
        let progress = format!(
            "{} of {} jobs submitted, {} over",
            self.submitted.load(Ordering::Relaxed),
            self.plan.jobs(),
            self.ended.load(Ordering::Relaxed)
        );
        let queues = self.machine.queues();
        let queues = queues.iter().map(|parts| &parts.queue);
        let slots = output::slots_text(self.machine);
        self.bar
            .suspend(|| self.dumper.dump(why, progress, queues, &slots));
    }

    /// Waits for the clients, shows how far they are, and ends a run in which nothing happens any
    /// more, or of which somebody has seen enough.
    fn oversee(&self, alive: &dyn Fn() -> bool) {
        let patience = self.patience();
        let (mut last, mut since) = (0, Instant::now());
        while alive() {
            std::thread::park_timeout(self.dumper.nap());
            let ended = self.ended.load(Ordering::Relaxed);
            self.bar.set_position(ended);
            if let Some(why) = self.dumper.due() {
                self.show(why);
            }
            let moved = ended + self.submitted.load(Ordering::Relaxed);
            if self.dumper.interrupted() && !self.stop.load(Ordering::Relaxed) {
                // Shown first: the clients will let go of what they are waiting for.
                self.show(Why::Interrupted);
                self.interrupted.store(true, Ordering::Relaxed);
                self.stop.store(true, Ordering::Relaxed);
            } else if moved != last {
                (last, since) = (moved, Instant::now());
            } else if since.elapsed() > patience && !self.stop.load(Ordering::Relaxed) {
                self.show(Why::Stuck);
                self.violation("fences unsignalled", || {
                    format!("nothing has happened for {patience:?}")
                });
                self.stop.store(true, Ordering::Relaxed);
            }
        }
        self.bar.finish_and_clear();
    }

    /// How long nothing may happen: longer than any timeout and any pace of the plan.
    fn patience(&self) -> Duration {
        let timeouts = self.plan.queues().iter().map(|queue| {
            queue
                .timeout
                .saturating_mul(queue.extensions.saturating_add(2))
        });
        let paces = self.plan.streams().iter().filter_map(|stream| stream.every);
        let longest = timeouts.chain(paces).max().unwrap_or_default();
        longest.saturating_add(Duration::from_secs(10))
    }
}

/// Counts a word in the place it has among `words`.
fn count_word(counters: &[AtomicU64], words: &[&str], word: &str, times: u64) {
    let place = words.iter().position(|other| *other == word);
    if let Some(counter) = place.and_then(|place| counters.get(place)) {
        counter.fetch_add(times, Ordering::Relaxed);
    }
}

fn counters(words: &[&str]) -> Vec<AtomicU64> {
    words.iter().map(|_| AtomicU64::new(0)).collect()
}

/// Prints the memory the process has resident.
fn print_memory(jobs: u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find(|line| line.starts_with("VmRSS:"));
    eprintln!(
        "memory after {jobs} jobs: {}",
        resident.unwrap_or("unknown")
    );
}

/// Shows the queues of `plan` where `args` say so, and on signals.
fn dumper(plan: &Plan, args: &RunArgs) -> std::io::Result<Dumper> {
    let capacities = plan.queues().iter().map(|queue| queue.capacity as usize);
    let most = capacities.max().unwrap_or(0);
    Ok(Dumper::new(args.dump, args.json, Signals::watch()?, most))
}

/// How far the run is; not shown if `quiet`, or where standard error is no terminal.
fn progress(plan: &Plan, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(plan.jobs());
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} jobs {elapsed}") {
        bar.set_style(style);
    }
    bar
}

/// Runs the plan from the device's start to its end. Returns the report, and whether the files that
/// `args` name could be written.
fn execute(plan: &Plan, args: &RunArgs) -> Result<(Report, Result<(), SetupError>), SetupError> {
    let start = Instant::now();
    let dumper = dumper(plan, args)?;
    let recorded = args.trace.as_ref().or(args.schedule.as_ref());
    let recorder = recorded.map(|_| tracing::recorder(plan));
    let machine = Machine::build(plan, recorder.clone(), args.sabotage)?;
    let clients = machine.clients();
    let mut owners = vec![0; plan.streams().len()];
    for stream in plan.streams() {
        owners[stream.index.0] = stream.queue.0 % clients;
    }
    let run = Run {
        plan,
        machine: &machine,
        board: Board::new(plan),
        seed: args.seed.unwrap_or(plan.seed()),
        sabotage: args.sabotage,
        recorder: recorder.clone(),
        dumper: &dumper,
        bar: progress(plan, args.json),
        memory: args.memory,
        stop: AtomicBool::new(false),
        interrupted: AtomicBool::new(false),
        submitted: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        endings: Default::default(),
        late: AtomicU64::new(0),
        slowest: AtomicU64::new(0),
        checked: AtomicU64::new(0),
        data_errors: AtomicU64::new(0),
        violations: Mutex::default(),
        faults: counters(schema::FAULTS),
        events: counters(schema::EVENTS),
        owners,
        clients: (0..clients).map(|_| OnceLock::new()).collect(),
    };
    let (seen, window) = run_clients(&run, clients);
    if run.memory {
        print_memory(run.ended.load(Ordering::Relaxed));
    }
    let elapsed = start.elapsed();
    let figures = machine::in_order_of_queues(plan.queues().len(), clients, seen);
    let mut counts = report::Counts::take(&run, window.as_ref(), elapsed);
    let mut written = match &args.fdinfo {
        Some(folder) => output::write_fdinfo(folder, &machine),
        None => Ok(()),
    };
    if dumper.is_ordered() && (run.is_violated() || counts.surprise(plan)) {
        run.show(Why::Violated);
    }
    let Run {
        violations, seed, ..
    } = run;
    let mut violations = violations
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let before = violations.clone();
    let (leaks, totals) = machine.tear_down(&mut violations, &dumper);
    counts.add(plan, &totals, &mut violations);
    if counts.interrupted() {
        // What is left of jobs that nobody waited for is no leak.
        violations = before;
    }
    if let Some(recorder) = recorder {
        let recorded = output::write_recording(args, &recorder, plan, &totals.contexts);
        written = written.and(recorded);
    }
    let report = Report::new(plan, seed, elapsed, counts, leaks, figures, violations);
    Ok((report, written))
}

/// Runs the clients to their end; returns what each saw of its queues, and what was seen of shares.
fn run_clients<'run>(
    run: &'run Run<'run>,
    clients: usize,
) -> (Vec<Vec<QueueFigures>>, Option<Window>) {
    let mut seen = Vec::new();
    let over = AtomicBool::new(false);
    let window = std::thread::scope(|scope| {
        let expect = run.plan.expect().shares.as_ref();
        let watcher =
            expect.map(|expect| scope.spawn(|| hosted::shares::watch(run.machine, expect, &over)));
        let mut handles = Vec::new();
        for number in 0..clients {
            let client = run.machine.client(number, clients, run);
            let thread = std::thread::Builder::new().name(format!("client-{number}"));
            let work = move || {
                // Before it looks for the first time: what is published after that wakes it.
                let _ = run.clients[number].set(std::thread::current());
                client.work()
            };
            match thread.spawn_scoped(scope, work) {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    run.stop.store(true, Ordering::Relaxed);
                    run.violation("jobs lost", || format!("a client did not start: {error}"));
                }
            }
        }
        let alive = || handles.iter().any(|handle| !handle.is_finished());
        run.oversee(&alive);
        for handle in handles {
            match handle.join() {
                Ok(figures) => seen.push(figures),
                Err(_panic) => run.violation("jobs lost", || "a client panicked".to_owned()),
            }
        }
        over.store(true, Ordering::Release);
        watcher.and_then(|watcher| watcher.join().ok())
    });
    (seen, window)
}
