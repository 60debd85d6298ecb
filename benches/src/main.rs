// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What Ringfence costs, as ratios to the cost of things people know.
//!
//! Both sides of a ratio run alternately in this process, in short batches over several rounds;
//! the figure is the median of the rounds, and beside it stand the least and the greatest. What
//! each means: `docs/performance.md`.

mod jobs;
mod measure;
mod memory;
mod others;
mod picks;
mod realtime;
mod simulation;

use clap::{Parser, Subcommand};
use rustix::thread::{sched_getaffinity, sched_getcpu, sched_setaffinity, CpuSet};
use serde_json::{Map, Value};

use crate::jobs::{Bypass, Worker};
use crate::measure::{compare, cpu_ns, Ratio};
use crate::others::{Channel, Floor, Tasks};
use crate::picks::Picks;
use crate::simulation::{Modelled, Simulated};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// Measures what Ringfence costs, as ratios.
#[derive(Parser)]
struct Args {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// How often each ratio is measured.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Only the ratios whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    #[command(subcommand)]
    instead: Option<Instead>,
}

/// What to measure instead of costs.
#[derive(Subcommand)]
enum Instead {
    Realtime(realtime::Args),
}

/// Many, but each has its memory.
const MANY: usize = 10_000;

fn main() -> std::io::Result<()> {
    let args = Args::parse();
    if let Some(Instead::Realtime(args)) = &args.instead {
        return realtime::run(args);
    }
    let all_cpus = sched_getaffinity(None)?;
    let mut one_cpu = CpuSet::new();
    one_cpu.set(sched_getcpu());

    let mut report = Report::new(&args);
    // Threads inherit the set of the thread that starts them.
    sched_setaffinity(None, &one_cpu)?;
    measure_single(&mut report, "");
    measure_many(&mut report);
    measure_picks(&mut report);
    measure_simulator(&mut report);
    sched_setaffinity(None, &all_cpus)?;
    measure_single(&mut report, "_2cpu");
    report.count("bytes_per_idle_queue", memory::bytes_per_idle_queue);
    report.count("bytes_per_job", memory::bytes_per_job);
    report.count("allocations_after_prepare", || {
        memory::allocations_after_prepare() as f64
    });
    report.print();
    Ok(())
}

/// One queue, against the floor, a channel and tasks.
fn measure_single(report: &mut Report<'_>, suffix: &str) {
    report.ratio(&format!("bypass_over_floor{suffix}"), |rounds| {
        let (mut bypass, mut floor) = (Bypass::new(1), Floor::new());
        let ratio = compare(rounds, 5_000, |n| bypass.run(n), |n| floor.run(n));
        assert!(bypass.all_bypassed(), "a job took the long way");
        ratio
    });
    report.ratio(&format!("worker_over_channel{suffix}"), |rounds| {
        let (mut worker, mut channel) = (Worker::new(1), Channel::new());
        compare(rounds, 2_000, |n| worker.run(n), |n| channel.run(n))
    });
    report.ratio(&format!("worker_over_tokio{suffix}"), |rounds| {
        let (mut worker, mut tasks) = (Worker::new(1), Tasks::new());
        compare(rounds, 2_000, |n| worker.run(n), |n| tasks.run(n))
    });
}

/// As many jobs over many queues as over one.
fn measure_many(report: &mut Report<'_>) {
    report.ratio("queues_10k_over_1_bypass", |rounds| {
        let (mut many, mut one) = (Bypass::new(MANY), Bypass::new(1));
        let ratio = compare(rounds, 4_000, |n| many.run(n), |n| one.run(n));
        assert!(many.all_bypassed(), "a job took the long way");
        ratio
    });
    report.ratio("queues_10k_over_1_worker", |rounds| {
        let (mut many, mut one) = (Worker::new(MANY), Worker::new(1));
        compare(rounds, 4_000, |n| many.run(n), |n| one.run(n))
    });
}

/// The next queue for a slot, of many queues and of few.
fn measure_picks(report: &mut Report<'_>) {
    for (name, many) in [
        ("picks_100_over_10", 100),
        ("picks_1k_over_10", 1_000),
        ("picks_10k_over_10", MANY),
    ] {
        report.ratio(name, |rounds| {
            let (mut many, mut few) = (Picks::new(many), Picks::new(10));
            compare(rounds, 2_000, |n| many.run(n), |n| few.run(n))
        });
    }
}

/// An operation of the simulator, on several queues and a device, against one of the plain model, on
/// one queue; and how fast the simulator is. `docs/reliability.md` says what it is.
fn measure_simulator(report: &mut Report<'_>) {
    report.ratio("simulator_over_model", |rounds| {
        let (mut simulated, mut modelled) = (Simulated::new(), Modelled::new());
        let ratio = compare(rounds, 200, |n| simulated.run(n), |n| modelled.run(n));
        ratio.each_of(Simulated::per_seed().0, Modelled::per_seed())
    });
    report.count("simulator_events_a_second", || {
        let (_, events) = Simulated::per_seed();
        let seeds = simulation::SEEDS as u32;
        let mut simulated = Simulated::new();
        events / cpu_ns(seeds, |n| simulated.run(n)) * 1e9
    });
}

/// Rows of the table, or members of the object.
struct Report<'a> {
    args: &'a Args,
    object: Map<String, Value>,
}

impl<'a> Report<'a> {
    fn new(args: &'a Args) -> Self {
        if !args.json {
            println!(
                "{:<28} {:>9} {:>9} {:>9} {:>11} {:>11}",
                "", "median", "min", "max", "ns a job", "over ns"
            );
        }
        Self {
            args,
            object: Map::new(),
        }
    }

    fn ratio(&mut self, name: &str, measure: impl FnOnce(usize) -> Ratio) {
        if !name.contains(&self.args.only) {
            return;
        }
        let ratio = measure(usize::from(self.args.rounds));
        if self.args.json {
            self.object.insert(name.into(), ratio.median.into());
            self.object.insert(format!("{name}_min"), ratio.min.into());
            self.object.insert(format!("{name}_max"), ratio.max.into());
        } else {
            println!(
                "{name:<28} {:>9.2} {:>9.2} {:>9.2} {:>11.1} {:>11.1}",
                ratio.median, ratio.min, ratio.max, ratio.ours, ratio.theirs
            );
        }
    }

    fn count(&mut self, name: &str, measure: impl FnOnce() -> f64) {
        if !name.contains(&self.args.only) {
            return;
        }
        let count = measure();
        if self.args.json {
            self.object.insert(name.into(), count.into());
        } else {
            println!("{name:<28} {count:>9.0}");
        }
    }

    fn print(self) {
        if self.args.json {
            println!("{:#}", Value::Object(self.object));
        }
    }
}
