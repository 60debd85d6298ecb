// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The devices, contexts and queues of one run.
//!
//! A queue of the plan is a line of real queues, one after the other: what was closed, killed,
//! banned or lost with its device is replaced. The same goes for the device.

mod end;
mod parts;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use ringfence::{BuildError, Pool};
use ringfence_softgpu::driver::{Recoveries, Reset, SoftConfig, SoftDevice};
use ringfence_softgpu::{ContextId, Gpu, GpuConfig, GpuError, Observer, SlotEvent, SlotEventKind};
use ringfence_trace::Recorder;

use super::client::{Client, QueueState, StreamState};
use super::figures::QueueFigures;
use super::watch::QueueWatch;
use super::{tracing, work, Run};
use crate::args::Sabotage;
use crate::plan::{self, EventKind, Plan, RecoveryMode};
pub(super) use end::{in_order_of_queues, Totals};
pub(super) use parts::{QueueParts, KILLED};

/// The most client threads, however many queues there are.
const CLIENTS: usize = 8;
/// Threads that run queues.
const WORKERS: usize = 2;
/// How long the firmware may take to answer before the driver believes it dead.
const ANSWERS: Duration = Duration::from_millis(100);

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

/// Which queue watches which context, on each of a driver's devices.
type Watches = RwLock<HashMap<(usize, ContextId), Arc<QueueWatch>>>;

/// A device that is or was plugged in, with its driver.
pub(super) struct Plugged {
    pub(super) soft: SoftDevice,
    watches: Arc<Watches>,
    /// When it was pulled out; 0 if it was not.
    unplugged_at: AtomicU64,
}

impl Plugged {
    /// When it was pulled out, if it was.
    pub(super) fn unplugged_at(&self) -> Option<u64> {
        match self.unplugged_at.load(Ordering::Acquire) {
            0 => None,
            at => Some(at),
        }
    }
}

/// All that runs.
pub(super) struct Machine<'run> {
    plan: &'run Plan,
    recorder: Option<Arc<Recorder>>,
    sabotage: Option<Sabotage>,
    rings: Vec<usize>,
    vram: u64,
    pool: Pool,
    /// The devices that there were; the last is there.
    devices: Mutex<Vec<Arc<Plugged>>>,
    /// For each of the plan's queues, the one that takes jobs.
    queues: Vec<Mutex<Arc<QueueParts>>>,
    totals: Mutex<Totals>,
    /// Held while something happens to the device: one thing at a time.
    happening: Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'run> Machine<'run> {
    /// Starts the device and makes a queue for each of the plan's.
    pub(super) fn build(
        plan: &'run Plan,
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
        let data: u64 = plan
            .streams()
            .iter()
            .map(|stream| stream.memory().max(4096))
            .sum();
        let mut machine = Self {
            plan,
            recorder,
            sabotage,
            vram: plan.device().vram.max(needed + data),
            rings,
            pool: Pool::new(WORKERS)?,
            devices: Mutex::default(),
            queues: Vec::new(),
            totals: Mutex::default(),
            happening: Mutex::default(),
        };
        machine.plug_in()?;
        for index in 0..plan.queues().len() {
            let parts = machine.open(index)?;
            machine.queues.push(Mutex::new(parts));
        }
        Ok(machine)
    }

    /// Plugs in a fresh device, with what is on standby beside it.
    fn plug_in(&self) -> Result<(), GpuError> {
        let device = self.plan.device();
        let watches: Arc<Watches> = Arc::default();
        let start = |place: usize| {
            Gpu::start(GpuConfig {
                slots: device.slots,
                time_slice: device.time_slice,
                vram_bytes: self.vram,
                answer_timeout: ANSWERS,
                observer: Some(observer(place, Arc::clone(&watches), self.recorder.clone())),
                ..GpuConfig::default()
            })
        };
        let standby = (1..=device.standby as usize).map(start);
        let standby = standby.collect::<Result<_, _>>()?;
        let soft = SoftDevice::start(SoftConfig {
            standby,
            reset: match device.recovery {
                RecoveryMode::Queue => Reset::Queue,
                RecoveryMode::Device => Reset::Device,
            },
            ..SoftConfig::new(start(0)?)
        })?;
        lock(&self.devices).push(Arc::new(Plugged {
            soft,
            watches,
            unplugged_at: AtomicU64::new(0),
        }));
        Ok(())
    }

    /// The device that is plugged in.
    fn device(&self) -> Option<Arc<Plugged>> {
        lock(&self.devices).last().cloned()
    }

    /// Has something happen to the device.
    pub(super) fn happen(&self, event: EventKind) -> Result<(), GpuError> {
        let _one = lock(&self.happening);
        let Some(device) = self.device() else {
            return Ok(());
        };
        match event {
            EventKind::Reset => device.soft.request_reset(),
            EventKind::Migrate => device.soft.request_migration(),
            EventKind::Unplug | EventKind::SurpriseUnplug => {
                // First the new one: who notices that the old one has gone finds it.
                self.plug_in()?;
                let now = ringfence::monotonic().as_ns().max(1);
                device.unplugged_at.store(now, Ordering::Release);
                device.soft.gpu().unplug(event == EventKind::Unplug);
            }
        }
        Ok(())
    }

    /// What recoveries came to, on all devices.
    pub(super) fn recoveries(&self) -> Recoveries {
        let mut sum = Recoveries::default();
        for device in lock(&self.devices).iter() {
            sum += device.soft.recoveries();
        }
        sum
    }

    /// How many clients there are.
    pub(super) fn clients(&self) -> usize {
        self.plan.queues().len().clamp(1, CLIENTS)
    }

    /// Client `number` of `clients`, with its queues and their streams.
    pub(super) fn client(
        &'run self,
        number: usize,
        clients: usize,
        run: &'run Run<'run>,
    ) -> Client<'run> {
        let digits = if self.queues.len() > 100 { 1 } else { 2 };
        let own = (number..self.queues.len()).step_by(clients);
        let queues = own.map(|index| {
            let parts = Arc::clone(&lock(&self.queues[index]));
            QueueState::new(
                index,
                &self.plan.queues()[index],
                parts,
                QueueFigures::new(digits),
            )
        });
        let own = self.plan.streams().iter();
        let own = own.filter(|stream| stream.queue.0 % clients == number);
        let streams = own.map(|stream| {
            let before = self.plan.streams()[..stream.index.0].iter();
            let slot = before.filter(|other| other.queue == stream.queue).count();
            StreamState::new(stream, stream.queue.0 / clients, slot)
        });
        Client {
            run,
            queues: queues.collect(),
            streams: streams.collect(),
        }
    }

    /// The queues that take jobs.
    pub(super) fn queues(&self) -> Vec<Arc<QueueParts>> {
        let queues = self.queues.iter();
        queues.map(|queue| Arc::clone(&lock(queue))).collect()
    }
}

/// Tells each queue's watch what the device does with its jobs.
fn observer(place: usize, watches: Arc<Watches>, recorder: Option<Arc<Recorder>>) -> Observer {
    Arc::new(move |event: &SlotEvent| {
        let watches = watches.read().unwrap_or_else(PoisonError::into_inner);
        let Some(watch) = watches.get(&(place, event.context)) else {
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

/// The streams of a queue, in the order in which their memory stands in its parts.
fn streams_of(plan: &Plan, queue: usize) -> impl Iterator<Item = &plan::StreamPlan> {
    plan.streams()
        .iter()
        .filter(move |stream| stream.queue.0 == queue)
}
