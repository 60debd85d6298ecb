// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Doing it: submits every job at its time, and waits for the end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ringfence::fence::{Callback, Registration, Status};
use ringfence::{
    monotonic, Cancelled, ClosePolicy, Device, Errno, Executor, Fence, OnDependencyError, Pool,
    PrepareError, Prepared, Queue, Signaller, Stats, Time, Timeline,
};

use super::executor::HereFirst;
use super::hardware::{Hardware, Payload, RingDriver};
use super::script::{Action, QueueScript, Script, MOST_ENTRIES};
use super::watch::{Life, Watch};
use crate::args::DumpWhen;
use crate::dump::{Dumper, Why};
use crate::signals::Signals;

/// The last part of a wait is spent yielding, because sleepers wake late.
const SLEEP_MARGIN: Duration = Duration::from_micros(100);
/// How much longer than it should a replay may take before it is given up: a machine may have
/// other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of a replay.
pub(super) struct Performance {
    /// From the first submission to the last fence.
    pub(super) elapsed: Duration,
    /// What the queues said of each job.
    pub(super) lives: Vec<Life>,
    /// What the fence of each job says; `None` where it was not submitted.
    pub(super) fences: Vec<Option<FenceSeen>>,
    /// Dependencies that were given to jobs.
    pub(super) dependencies: u64,
    /// Jobs that the recording cancels but that had run before.
    pub(super) cancelled_too_late: u64,
    /// Each queue's statistics.
    pub(super) stats: Vec<Stats>,
    /// What is left where nothing should be.
    pub(super) leaks: Leaks,
    /// What should not happen at all.
    pub(super) mishaps: Vec<String>,
    /// Nanoseconds by which submissions came late.
    pub(super) late_ns: Vec<u64>,
}

/// A fence at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FenceSeen {
    pub(super) status: Option<Status>,
    pub(super) timestamp: Option<u64>,
    pub(super) seqno: u64,
}

/// What is left when all is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leaks {
    /// Payloads that were not dropped.
    pub(super) jobs: u64,
    /// Fences that did not signal.
    pub(super) fences: u64,
    /// Jobs that queues or rings still know.
    pub(super) entries: u64,
    /// Video memory in use.
    pub(super) bytes: u64,
}

/// Why a replay could not begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unable {
    #[error("the software GPU cannot be started: {0}")]
    Gpu(#[from] ringfence_softgpu::GpuError),
    #[error("no queue can be made: {0}")]
    Queue(#[from] ringfence::BuildError),
    #[error("no worker can be started: {0}")]
    Worker(#[from] std::io::Error),
}

/// Replays `script`. Shows the queues when `dump` says so, and on signals.
pub(super) fn perform(
    script: &Script,
    dump: Option<DumpWhen>,
    signals: Signals,
) -> Result<Performance, Unable> {
    let workers = thread::available_parallelism().map_or(2, |cpus| cpus.get().clamp(2, 4));
    let executor = HereFirst(Pool::new(workers)?);
    let hardware = Hardware::start(&script.rings, &executor)?;
    let executor: Arc<dyn Executor> = Arc::new(executor);
    let device = Device::new("replay");
    let watch = Watch::new(script.jobs.len());
    let mut queues = Vec::with_capacity(script.queues.len());
    for (number, queue) in script.queues.iter().enumerate() {
        let built = Queue::<RingDriver>::builder(&format!("context {number}"))
            .capacity(entries(queue))
            .credits(queue.credits.max(1))
            .bypass(true)
            .on_dependency_error(OnDependencyError::Run)
            .close_policy(ClosePolicy::Drain)
            .observer(watch.of_queue(queue.jobs.clone()))
            .build(&device, Arc::clone(&executor), RingDriver)?;
        queues.push(built);
    }
    let most = script.queues.iter().map(entries).max().unwrap_or(0);
    // Standard output is for the report.
    let dumper = Dumper::new(dump, true, signals, most);
    let alive = Arc::new(AtomicU64::new(0));
    let mut stage = Stage::new(script, &queues, &hardware, &alive, &dumper);
    let begin = Instant::now();
    dumper.alongside(&queues, || {
        stage.submit_all();
        stage.wait(begin);
    });
    let elapsed = begin.elapsed();
    let Stage {
        fences,
        dependencies,
        cancelled_too_late,
        mut mishaps,
        late_ns,
        registrations,
        ..
    } = stage;
    drop(registrations);
    if let Err(error) = device.unbind() {
        mishaps.push(error.to_string());
    }
    let stats = queues.iter().map(Queue::stats).collect();
    let entries: u64 = queues.iter().map(Queue::len).sum();
    drop(queues);
    let (on_rings, bytes) = hardware.stop();
    let fences: Vec<Option<FenceSeen>> = fences.into_iter().map(seen).collect();
    let unsignalled = fences.iter().flatten();
    let unsignalled = unsignalled.filter(|fence| fence.status.is_none()).count();
    let lives = watch.lives();
    let strangers = watch.strangers();
    if strangers > 0 {
        mishaps.push(format!("{strangers} events of jobs that nobody submitted"));
    }
    Ok(Performance {
        elapsed,
        lives,
        fences,
        dependencies,
        cancelled_too_late,
        stats,
        leaks: Leaks {
            jobs: alive.load(Ordering::Relaxed),
            fences: unsignalled as u64,
            entries: entries + on_rings,
            bytes,
        },
        mishaps,
        late_ns,
    })
}

/// How many jobs a queue of the script has room for.
fn entries(queue: &QueueScript) -> usize {
    queue.jobs.len().next_power_of_two().clamp(2, MOST_ENTRIES)
}

fn seen(fence: Option<Fence>) -> Option<FenceSeen> {
    fence.map(|fence| FenceSeen {
        status: fence.status(),
        timestamp: fence.timestamp(),
        seqno: fence.seqno(),
    })
}

type Forward = Box<dyn FnMut(Status) + Send>;

/// The one thread that submits.
struct Stage<'a> {
    script: &'a Script,
    queues: &'a [Queue<RingDriver>],
    hardware: &'a Hardware,
    alive: &'a Arc<AtomicU64>,
    dumper: &'a Dumper,
    fences: Vec<Option<Fence>>,
    /// Fences in the place of those of jobs that others wait for before they are submitted.
    promises: HashMap<u32, (Signaller, Fence)>,
    registrations: Vec<Registration<Forward>>,
    dependencies: u64,
    cancelled_too_late: u64,
    mishaps: Vec<String>,
    late_ns: Vec<u64>,
}

impl<'a> Stage<'a> {
    fn new(
        script: &'a Script,
        queues: &'a [Queue<RingDriver>],
        hardware: &'a Hardware,
        alive: &'a Arc<AtomicU64>,
        dumper: &'a Dumper,
    ) -> Self {
        let mut promises = HashMap::new();
        for (number, job) in script.jobs.iter().enumerate() {
            let later = job.dependencies.iter().filter(|&&on| on as usize > number);
            for &on in later {
                // A timeline of its own: on one, the later fence would stand for the earlier.
                let promise = || Timeline::new("a job to come").signaller();
                promises.entry(on).or_insert_with(promise);
            }
        }
        Self {
            script,
            queues,
            hardware,
            alive,
            dumper,
            fences: vec![None; script.jobs.len()],
            promises,
            registrations: Vec::new(),
            dependencies: 0,
            cancelled_too_late: 0,
            mishaps: Vec::new(),
            late_ns: Vec::with_capacity(script.jobs.len()),
        }
    }

    fn submit_all(&mut self) {
        let start = monotonic();
        let middle = self.script.steps.len() / 2;
        for (index, step) in self.script.steps.iter().enumerate() {
            let due = start.after(Duration::from_nanos(step.at));
            match step.action {
                Action::Submit => {
                    let prepared = self.prepare(step.job);
                    wait_until(due);
                    if let Some(prepared) = prepared {
                        let late = monotonic().since(due).as_nanos();
                        self.late_ns.push(u64::try_from(late).unwrap_or(u64::MAX));
                        let fence = prepared.submit();
                        self.keep_promise(step.job, &fence);
                        self.fences[step.job as usize] = Some(fence);
                    }
                }
                Action::Cancel => {
                    wait_until(due);
                    self.cancel(step.job);
                }
            }
            if self.dumper.is_due_at_half() && index == middle {
                let busy = self.queues.iter().filter(|queue| !queue.is_empty());
                self.dumper.dump(Why::Half, "on the way", busy, &"");
            }
        }
        if !self.promises.is_empty() {
            // Only where a job could not be prepared, which has been said.
            for (_, (signaller, _)) in self.promises.drain() {
                signaller.signal(Err(Errno::ECANCELED));
            }
        }
    }

    fn prepare(&mut self, number: u32) -> Option<Prepared<'a, RingDriver>> {
        let job = &self.script.jobs[number as usize];
        let Some(ring) = self.hardware.ring(job.ring) else {
            self.mishaps.push(format!("job {number} has no ring"));
            return None;
        };
        let payload = Payload::new(number, job.busy_ns, ring, self.alive);
        let mut prepared = match self.queues[job.queue].prepare(payload, 1) {
            Ok(prepared) => prepared,
            Err(full) if full.error == PrepareError::Full => {
                self.prepare_late(number, full.payload)?
            }
            Err(failed) => return self.unprepared(number, &failed),
        };
        for &on in &job.dependencies {
            let fence = match &self.fences[on as usize] {
                Some(fence) => Some(fence),
                None => self.promises.get(&on).map(|(_, fence)| fence),
            };
            match fence.map(|fence| prepared.depends_on(fence)) {
                Some(Ok(())) => self.dependencies += 1,
                Some(Err(error)) => self
                    .mishaps
                    .push(format!("job {number} cannot wait for job {on}: {error}")),
                None => self.mishaps.push(format!(
                    "job {number} waits for job {on}, which has no fence"
                )),
            }
        }
        Some(prepared)
    }

    /// Prepares a job of a queue that is full: waits until its oldest job is over.
    fn prepare_late(
        &mut self,
        number: u32,
        mut payload: Payload,
    ) -> Option<Prepared<'a, RingDriver>> {
        let queue = &self.queues[self.script.jobs[number as usize].queue];
        let begin = Instant::now();
        loop {
            match queue.prepare(payload, 1) {
                Ok(prepared) => return Some(prepared),
                Err(full)
                    if full.error == PrepareError::Full
                        && begin.elapsed() < self.script.bound + PATIENCE =>
                {
                    payload = full.payload;
                    thread::sleep(SLEEP_MARGIN);
                }
                Err(failed) => return self.unprepared(number, &failed),
            }
        }
    }

    fn unprepared<T>(&mut self, number: u32, why: &dyn std::fmt::Display) -> Option<T> {
        self.mishaps
            .push(format!("job {number} cannot be prepared: {why}"));
        None
    }

    /// Has the fence that others wait for already signal with the job's own.
    fn keep_promise(&mut self, number: u32, fence: &Fence) {
        let Some((signaller, _)) = self.promises.remove(&number) else {
            return;
        };
        let mut signaller = Some(signaller);
        let forward: Forward = Box::new(move |status| {
            if let Some(signaller) = signaller.take() {
                signaller.signal(status);
            }
        });
        match fence.add_callback(Callback::new(forward)) {
            Ok(registration) => self.registrations.push(registration),
            Err(rejected) => rejected.callback.into_inner()(rejected.result),
        }
    }

    fn cancel(&mut self, number: u32) {
        let job = &self.script.jobs[number as usize];
        let Some(seqno) = self.fences[number as usize].as_ref().map(Fence::seqno) else {
            return;
        };
        match self.queues[job.queue].cancel(seqno, Errno::ECANCELED) {
            Ok(Cancelled::Yes) => {}
            // It has run, or is over and forgotten.
            Ok(Cancelled::TooLate) | Err(_) => self.cancelled_too_late += 1,
        }
    }

    /// Closes the queues and waits until all of them are empty.
    fn wait(&mut self, begin: Instant) {
        let deadline = self.script.bound + PATIENCE;
        for queue in self.queues {
            queue.close();
        }
        for queue in self.queues {
            let left = deadline.saturating_sub(begin.elapsed());
            if queue.closed().wait_timeout(left).is_err() {
                let snapshot = queue.snapshot();
                self.mishaps.push(format!(
                    "not over after {} s:\n{snapshot}",
                    deadline.as_secs()
                ));
            }
        }
    }
}

/// Sleeps, and yields for the rest, until `due`.
fn wait_until(due: Time) {
    loop {
        let left = due.since(monotonic());
        if left.is_zero() {
            return;
        }
        if left > SLEEP_MARGIN {
            thread::sleep(left - SLEEP_MARGIN);
        } else {
            thread::yield_now();
        }
    }
}
