// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How late jobs are on a real-time queue and on an ordinary one, on a machine that is busy.
//!
//! One thread, which stands for an interrupt thread, signals what jobs wait for, now on the one queue, now on
//! the other. What is measured is the time from just before the signal to the job's run callback.

mod inversion;
mod load;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use ringfence::executor::{Rest, Runnable};
use ringfence::{
    monotonic, Device, Driver, Errno, Executor, Pool, Queue, RealTimePriority, RunOutcome,
    Scheduling, Submission, Time, TimedOutJob, Timeline, TimeoutOutcome,
};
use serde_json::{json, Value};

use load::{Busy, Flood};

/// Measures how late jobs are with real-time workers and without, on a busy machine.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Jobs on each queue, for each kind of load.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,
    /// An ordinary thread signals, instead of a real-time one that goes before the workers.
    #[arg(long)]
    ordinary_signaller: bool,
}

/// What is aimed at: the p99 of the real-time queue over that of the ordinary one, at most.
const AIM: f64 = 0.2;

/// Nanoseconds.
type Times = Histogram<u64>;

fn times() -> Times {
    Histogram::new(3).expect("three digits are fine")
}

fn note(times: &mut Times, ns: u64) {
    times.record(ns).expect("it grows as needed");
}

fn priority(number: u8) -> RealTimePriority {
    RealTimePriority::new(number).expect("a priority")
}

/// A driver that notes when a job runs. The hardware is done at once.
struct Notes;

impl Driver for Notes {
    type Payload = Arc<AtomicU64>;
    type ReplayData = ();

    fn run(&mut self, mut submission: Submission<'_, Self>) -> RunOutcome {
        let now = monotonic().as_ns();
        submission.payload().store(now, Ordering::Relaxed);
        submission.done()
    }

    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        job.handled(Errno::ETIME)
    }
}

/// The two queues, and their pools.
struct Rig {
    device: Device,
    ordinary: Pool,
    real_time: Pool,
    queues: Arc<[Queue<Notes>; 2]>,
    signallers: Pool,
}

impl Rig {
    fn new(cpus: usize, args: &Args) -> io::Result<Self> {
        let device = Device::new("late");
        let ordinary = Pool::builder().threads(cpus).ordinary().build()?;
        let real_time = Pool::builder().real_time(priority(10)).build()?;
        let queues = [&ordinary, &real_time].map(|pool| {
            let queue = Queue::<Notes>::builder("late").build(&device, pool, Notes);
            queue.expect("a queue")
        });
        let signallers = Pool::builder().name("interrupt-");
        let signallers = if args.ordinary_signaller {
            signallers.ordinary()
        } else {
            // Where Linux has its own interrupt threads.
            signallers.real_time(priority(50))
        };
        Ok(Self {
            device,
            ordinary,
            real_time,
            queues: Arc::new(queues),
            signallers: signallers.build()?,
        })
    }

    /// Lets `jobs` jobs run on each queue in turn. How late they were: on the ordinary queue, and
    /// on the real-time one.
    fn measure(&self, jobs: u32) -> [Times; 2] {
        let (send, receive) = mpsc::channel();
        let queues = Arc::clone(&self.queues);
        let signals = runnable(&self.signallers, move || {
            let mut late = [times(), times()];
            for number in 0..jobs {
                for side in [number as usize % 2, (number as usize + 1) % 2] {
                    let pause = 300 + u64::from(number * 37 % 700);
                    note(&mut late[side], late_ns(&queues[side], pause));
                }
            }
            let _ = send.send(late);
        });
        self.signallers.schedule(signals);
        receive
            .recv()
            .expect("the signalling thread sends its times")
    }
}

/// From the signal of what a job waits for to its run, in nanoseconds. Everything is asleep before
/// that, and those who keep the machine busy have it for `pause_us`.
fn late_ns(queue: &Queue<Notes>, pause_us: u64) -> u64 {
    let (signaller, dependency) = Timeline::new("hardware").signaller();
    let ran = Arc::new(AtomicU64::new(0));
    let mut job = queue.prepare(Arc::clone(&ran), 1).expect("room");
    job.depends_on(&dependency).expect("memory");
    let fence = job.submit();
    thread::sleep(Duration::from_micros(pause_us));
    let signalled = monotonic().as_ns();
    signaller.signal(Ok(()));
    fence.wait().expect("the job completes");
    ran.load(Ordering::Relaxed) - signalled
}

/// A function that a pool can call.
struct Calls<F>(F);

impl<F: Fn() + Send + Sync> Runnable for Calls<F> {
    fn work(self: Arc<Self>) -> Rest {
        (self.0)();
        Rest::Idle
    }

    fn timer_fired(self: Arc<Self>, _now: Time) {}
}

/// Something to schedule on `pool`, by which a worker calls `function`.
fn runnable(pool: &Pool, function: impl Fn() + Send + Sync + 'static) -> Arc<dyn Runnable> {
    let runnable: Arc<dyn Runnable> = Arc::new(Calls(function));
    // Its room is kept until the pool goes.
    pool.register(Arc::downgrade(&runnable));
    runnable
}

pub(crate) fn run(args: &Args) -> io::Result<()> {
    let cpus = thread::available_parallelism()?.get();
    let rig = Rig::new(cpus, args)?;
    let mut report = Report::new(args, &rig, cpus);
    let busy = Busy::start(cpus);
    report.compare("busy", rig.measure(args.jobs));
    let flood = Flood::start(&rig.device, &rig.ordinary);
    let late = rig.measure(args.jobs);
    drop(flood);
    report.aim = Some(report.compare("flooded", late));
    drop(busy);
    if report.granted {
        report.row("lock_alone", &inversion::measure(args.jobs, 0)?);
        report.row("lock_among_4", &inversion::measure(args.jobs, 4)?);
    }
    report.print();
    Ok(())
}

struct Report {
    json: bool,
    /// The workers are real-time ones.
    granted: bool,
    object: serde_json::Map<String, Value>,
    aim: Option<f64>,
}

const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("max", 1.0)];

impl Report {
    fn new(args: &Args, rig: &Rig, cpus: usize) -> Self {
        let real_time = rig.real_time.scheduling();
        let signaller = rig.signallers.scheduling();
        if !args.json {
            println!(
                "{cpus} processors; {cpus} busy threads; flooded: {}",
                load::FLOOD
            );
            println!("real-time worker: {real_time}; signalling thread: {signaller}");
            let pools = [&rig.real_time, &rig.signallers];
            for refusal in pools.into_iter().filter_map(Pool::refusal) {
                println!("{refusal}");
            }
            println!(
                "{:<20} {:>10} {:>10} {:>10}",
                "microseconds", "p50", "p99", "max"
            );
        }
        let mut object = serde_json::Map::new();
        object.insert("processors".into(), cpus.into());
        object.insert("worker".into(), real_time.to_string().into());
        object.insert("signaller".into(), signaller.to_string().into());
        let granted = matches!(real_time, Scheduling::Fifo(_));
        object.insert("real_time_granted".into(), granted.into());
        Self {
            json: args.json,
            granted,
            object,
            aim: None,
        }
    }

    /// Two rows, and a third with their ratios, of which it returns the p99.
    fn compare(&mut self, load: &str, [ordinary, real_time]: [Times; 2]) -> f64 {
        self.row(&format!("{load}_ordinary"), &ordinary);
        self.row(&format!("{load}_real_time"), &real_time);
        let ratios = QUANTILES.map(|(_, at)| {
            real_time.value_at_quantile(at) as f64 / ordinary.value_at_quantile(at).max(1) as f64
        });
        self.values(&format!("{load}_ratio"), ratios, 3);
        ratios[1]
    }

    fn row(&mut self, name: &str, times: &Times) {
        let us = QUANTILES.map(|(_, at)| times.value_at_quantile(at) as f64 / 1e3);
        self.values(name, us, 1);
    }

    fn values(&mut self, name: &str, values: [f64; 3], digits: usize) {
        if !self.json {
            let [p50, p99, max] = values;
            println!("{name:<20} {p50:>10.digits$} {p99:>10.digits$} {max:>10.digits$}");
        }
        let of = QUANTILES.iter().zip(values);
        let object = of.map(|((key, _), value)| ((*key).to_owned(), json!(value)));
        self.object
            .insert(name.to_owned(), Value::Object(object.collect()));
    }

    fn print(self) {
        if self.json {
            println!("{:#}", Value::Object(self.object));
        } else if !self.granted {
            println!(
                "no real-time workers: the aim is not for these, and there is no wait for locks"
            );
        } else if let Some(ratio) = self.aim {
            let met = if ratio <= AIM { "met" } else { "missed" };
            println!("aim: a p99 of at most {AIM} times the ordinary one when flooded: {met}");
        }
    }
}
