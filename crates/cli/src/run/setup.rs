// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The device, its contexts and queues, for one run; and their end.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ringfence::{BuildError, ClosePolicy, Device, OnDependencyError, Pool, Queue};
use ringfence_softgpu::driver::{SoftDevice, SoftDriver};
use ringfence_softgpu::{Context, ContextId, Gpu, GpuConfig, GpuError, Permissions, SlotEvent};
use ringfence_softgpu::{Observer, SlotEventKind};
use ringfence_trace::Recorder;

use super::client::{Client, QueueState, StreamState};
use super::figures::QueueFigures;
use super::report::Leaks;
use super::watch::QueueWatch;
use super::{tracing, work, Run, Violations};
use crate::args::Sabotage;
use crate::dump::{Dumper, Why};
use crate::plan::{self, CloseMode, Plan, QueuePlan};

/// The most client threads, however many queues there are.
const CLIENTS: usize = 8;
/// Threads that run queues.
const WORKERS: usize = 2;
/// How long a queue may take to close, once all its jobs are over.
const CLOSING: Duration = Duration::from_secs(30);

/// How long threads may take to let go of the last things, once everything has ended.
const LETTING_GO: Duration = Duration::from_secs(2);

/// Why a run could not begin, or its trace not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    #[error("the device: {0}")]
    Gpu(#[from] GpuError),
    #[error("a queue: {0}")]
    Queue(#[from] BuildError),
    #[error("threads: {0}")]
    Threads(#[from] std::io::Error),
    #[error("cannot write the trace {0}: {1}")]
    Trace(String, std::io::Error),
}

/// A queue with its context.
pub(super) struct QueueParts {
    pub(super) queue: Queue<SoftDriver>,
    context: Arc<Context>,
    watch: Arc<QueueWatch>,
}

/// All that runs.
pub(super) struct Machine {
    gpu: Arc<Gpu>,
    soft: SoftDevice,
    scope: Device,
    pool: Pool,
    pub(super) queues: Vec<QueueParts>,
}

/// Which queue watches which context. Filled in before any job is submitted.
type Contexts = Arc<OnceLock<HashMap<ContextId, Arc<QueueWatch>>>>;

impl Machine {
    /// Starts the device and makes a queue for each of the plan's.
    pub(super) fn build(
        plan: &Plan,
        recorder: Option<Arc<Recorder>>,
        sabotage: Option<Sabotage>,
    ) -> Result<Self, SetupError> {
        let rings: Vec<usize> = (0..plan.queues().len())
            .map(|at| ring_words(plan, at))
            .collect();
        let needed: u64 = rings
            .iter()
            .map(|&words| (words as u64 * 4).next_multiple_of(4096))
            .sum();
        let data: u64 = plan.streams().iter().map(plan::StreamPlan::memory).sum();
        let contexts: Contexts = Arc::default();
        let gpu = Arc::new(Gpu::start(GpuConfig {
            slots: plan.device().slots,
            time_slice: plan.device().time_slice,
            vram_bytes: plan.device().vram.max(needed + data),
            observer: Some(observer(Arc::clone(&contexts), recorder.clone())),
            ..GpuConfig::default()
        })?);
        let soft = SoftDevice::new(Arc::clone(&gpu))?;
        let mut machine = Self {
            gpu,
            soft,
            scope: Device::new("soft"),
            pool: Pool::new(WORKERS)?,
            queues: Vec::with_capacity(rings.len()),
        };
        for (index, (queue, &ring)) in plan.queues().iter().zip(&rings).enumerate() {
            let watch = QueueWatch::new(in_flight(plan, index), recorder.clone(), sabotage);
            machine.add_queue(queue, ring, Arc::new(watch))?;
        }
        let watches = machine.queues.iter();
        let _ = contexts.set(
            watches
                .map(|queue| (queue.context.id(), Arc::clone(&queue.watch)))
                .collect(),
        );
        Ok(machine)
    }

    fn add_queue(
        &mut self,
        plan: &QueuePlan,
        ring: usize,
        watch: Arc<QueueWatch>,
    ) -> Result<(), SetupError> {
        let context = Arc::new(self.gpu.create_context(ring)?);
        let capacity = plan.capacity as usize;
        let driver = self.soft.driver(Arc::clone(&context), capacity)?;
        let queue = Queue::<SoftDriver>::builder(&plan.name)
            .capacity(capacity)
            .credits(plan.credits)
            .bypass(plan.bypass)
            .timeout(plan.timeout)
            .extensions(u8::try_from(plan.extensions).unwrap_or(u8::MAX))
            .on_dependency_error(match plan.on_dependency_error {
                plan::OnDependencyError::Cancel => OnDependencyError::default(),
                plan::OnDependencyError::Run => OnDependencyError::Run,
            })
            .close_policy(match plan.close {
                CloseMode::Cancel => ClosePolicy::Cancel,
                CloseMode::Drain => ClosePolicy::Drain,
            })
            .observer(Arc::clone(&watch) as Arc<dyn ringfence::Observer>)
            .build(&self.scope, &self.pool, driver.patience(plan.timeout))?;
        watch.set_context(queue.context());
        self.queues.push(QueueParts {
            queue,
            context,
            watch,
        });
        Ok(())
    }

    /// What watches the queues.
    pub(super) fn watches(&self) -> impl Iterator<Item = &QueueWatch> {
        self.queues.iter().map(|parts| &*parts.watch)
    }

    /// Sequence numbers taken, in all queues.
    pub(super) fn armed(&self) -> u64 {
        let queues = self.queues.iter();
        queues.map(|parts| parts.queue.stats().armed).sum()
    }

    /// How many clients there are.
    pub(super) fn clients(&self, plan: &Plan) -> usize {
        plan.queues().len().clamp(1, CLIENTS)
    }

    /// The memory of all streams, mapped.
    pub(super) fn streams<'run>(
        &self,
        plan: &'run Plan,
    ) -> Result<Vec<Option<StreamState<'run>>>, SetupError> {
        let streams = plan.streams().iter().map(|stream| {
            let buffer = self.gpu.alloc(stream.memory().max(4096))?;
            let context = &self.queues[stream.queue.0].context;
            let address = context.map(&buffer, Permissions::READ_WRITE)?;
            Ok(Some(StreamState::new(stream, 0, buffer, address)))
        });
        streams.collect()
    }

    /// Client `number` of `clients`, with its queues and their streams.
    pub(super) fn client<'run>(
        &'run self,
        number: usize,
        clients: usize,
        run: &'run Run<'run>,
        streams: &mut [Option<StreamState<'run>>],
    ) -> Client<'run> {
        let digits = if self.queues.len() > 100 { 1 } else { 2 };
        let plans = run.plan.queues().iter();
        let own = self.queues.iter().zip(plans).skip(number).step_by(clients);
        let queues = own.map(|(parts, plan)| {
            let runs_on_error = plan.on_dependency_error == plan::OnDependencyError::Run;
            let figures = QueueFigures::new(digits);
            QueueState::new(
                &parts.queue,
                &parts.context,
                &parts.watch,
                runs_on_error,
                figures,
            )
        });
        let own = streams.iter_mut().filter(|stream| {
            stream
                .as_ref()
                .is_some_and(|stream| stream.plan.queue.0 % clients == number)
        });
        let streams = own.filter_map(|stream| {
            let mut stream = stream.take()?;
            stream.queue = stream.plan.queue.0 / clients;
            Some(stream)
        });
        Client {
            run,
            queues: queues.collect(),
            streams: streams.collect(),
        }
    }

    /// Closes the queues, stops everything, and looks for what is left. Returns that, and the
    /// queues' fence contexts.
    pub(super) fn tear_down(
        self,
        figures: &[Option<(QueueFigures, Arc<()>)>],
        violations: &mut Violations,
        dumper: &Dumper,
    ) -> (Leaks, Vec<u64>) {
        let mut leaks = Leaks::default();
        let mut note = |rule, how: String| violations.entry(rule).or_insert((0, how)).0 += 1;
        for parts in &self.queues {
            parts.queue.close();
        }
        for parts in &self.queues {
            if parts.queue.closed().wait_timeout(CLOSING).is_err() {
                let name = parts.queue.name();
                note("leaks", format!("{name} does not close"));
                let queues = self.queues.iter().map(|parts| &parts.queue);
                dumper.dump(Why::Stuck, format!("{name} does not close"), queues);
                // Nothing that comes will be faster.
                break;
            }
        }
        // If a queue did not close, this ends it all the same.
        if let Err(error) = self.soft.stop(&self.scope) {
            note("leaks", error.to_string());
        }
        let contexts = self
            .queues
            .iter()
            .map(|parts| parts.queue.context())
            .collect();
        for parts in &self.queues {
            let stats = parts.queue.stats();
            if let Err(violation) = parts.queue.check_invariants() {
                note(
                    "invariants",
                    format!("{}: {violation:?}", parts.queue.name()),
                );
            }
            // Room that was taken, and neither given back nor used for a job that is over.
            leaks.entries += stats.prepared.saturating_sub(stats.released + stats.reaped);
            leaks.fences += stats
                .armed
                .saturating_sub(parts.watch.signalled.load(Ordering::Relaxed));
            let stray = parts.watch.stray.load(Ordering::Relaxed);
            if stray > 0 {
                let name = parts.queue.name();
                note(
                    "jobs lost",
                    format!("{name}: {stray} events of no job in flight"),
                );
            }
        }
        let Self {
            gpu, queues, soft, ..
        } = self;
        drop((queues, soft));
        let jobs = || -> u64 {
            let held = figures.iter().flatten().map(|(_, held)| held);
            held.map(|held| Arc::strong_count(held) as u64 - 1).sum()
        };
        // A worker may be dropping its last payload, and recovery its last context.
        let patience = Instant::now() + LETTING_GO;
        while (jobs() > 0 || gpu.memory_in_use() > 0) && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        leaks.jobs = jobs();
        let left = gpu.memory_in_use();
        if left > 0 {
            note("leaks", format!("{left} bytes of video memory"));
        }
        (leaks, contexts)
    }
}

/// Tells each queue's watch what the device does with its jobs.
fn observer(contexts: Contexts, recorder: Option<Arc<Recorder>>) -> Observer {
    Arc::new(move |event: &SlotEvent| {
        let Some(watch) = contexts.get().and_then(|all| all.get(&event.context)) else {
            return;
        };
        match event.kind {
            SlotEventKind::JobBegin { value } => watch.begun(value, event.at),
            SlotEventKind::JobEnd { value } => watch.ended(value, event.at),
            _ => {}
        }
        if let (Some(recorder), Some(context)) = (&recorder, watch.context()) {
            tracing::record_slot(recorder, event, context);
        }
    })
}

/// The most jobs of a queue that are submitted and not looked at.
fn in_flight(plan: &Plan, queue: usize) -> usize {
    let streams = plan
        .streams()
        .iter()
        .filter(|stream| stream.queue.0 == queue);
    streams
        .map(|stream| u64::from(stream.in_flight).min(stream.jobs) as usize)
        .sum()
}

/// A ring that has room for all jobs that can be in it, and is as large as the plan says.
fn ring_words(plan: &Plan, queue: usize) -> usize {
    let own = &plan.queues()[queue];
    let streams = plan
        .streams()
        .iter()
        .filter(|stream| stream.queue.0 == queue);
    let words = streams.map(work::ring_words).max().unwrap_or(0);
    let jobs = in_flight(plan, queue).min(own.capacity as usize);
    (words * jobs)
        .next_power_of_two()
        .max((own.ring / 4) as usize)
}

/// What the clients saw, in the order of the plan's queues.
pub(super) fn in_order_of_queues(
    queues: usize,
    clients: usize,
    seen: Vec<Vec<(QueueFigures, Arc<()>)>>,
) -> Vec<Option<(QueueFigures, Arc<()>)>> {
    let mut figures: Vec<_> = (0..queues).map(|_| None).collect();
    for (client, own) in seen.into_iter().enumerate() {
        for (place, queue) in own.into_iter().enumerate() {
            if let Some(slot) = figures.get_mut(client + place * clients) {
                *slot = Some(queue);
            }
        }
    }
    figures
}
