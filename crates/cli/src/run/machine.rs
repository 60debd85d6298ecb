// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The devices, contexts and queues of one run.
//!
//! A queue of the plan is a line of real queues, one after the other: what was closed, killed,
//! banned or lost with its device is replaced. The same goes for the device.

mod end;
mod parts;
mod seats;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use ringfence::{BuildError, Pool};
use ringfence_orchestrator::{Priority, Weight};
use ringfence_softgpu::driver::{Recoveries, Reset, SoftConfig, SoftDevice};
use ringfence_softgpu::{ContextId, Gpu, GpuConfig, GpuError, Observer, SlotEvent, SlotEventKind};
use ringfence_trace::Recorder;

use super::client::{Client, QueueState, StreamState};
use super::figures::QueueFigures;
use super::hosted::gang::GangWatch;
use super::hosted::occupancy::Occupancy;
use super::hosted::{self, Due, Hosted};
use super::watch::QueueWatch;
use super::{tracing, work, Run};
use crate::args::Sabotage;
use crate::plan::{self, EventKind, Plan, RecoveryMode};
pub(super) use end::{in_order_of_queues, Totals};
pub(super) use parts::{QueueParts, KILLED};
pub(super) use seats::SeatTotals;

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
    #[error("the orchestrator: {0}")]
    Orchestrator(#[from] ringfence_orchestrator::BuildError),
    #[error("a seat: {0}")]
    Seat(#[from] ringfence_orchestrator::AddError),
    #[error("a group: {0}")]
    Group(#[from] ringfence_orchestrator::GroupError),
    #[error("cannot write {0}: {1}")]
    File(String, std::io::Error),
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
    pub(super) hosted: Option<Hosted>,
    /// Of each of its devices, where the host gives out the slots.
    pub(super) occupancy: Arc<[Occupancy]>,
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
    /// For each of them, what it is due, and how often that has changed for any.
    dues: Vec<Mutex<Due>>,
    changes: AtomicU64,
    /// For each of them, what seats before the present one had.
    past_seats: Vec<Mutex<SeatTotals>>,
    pub(super) gangs: Vec<Arc<GangWatch>>,
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
            dues: plan
                .queues()
                .iter()
                .map(|queue| Mutex::new((queue.due.priority, queue.due.weight)))
                .collect(),
            changes: AtomicU64::new(0),
            past_seats: plan.queues().iter().map(|_| Mutex::default()).collect(),
            gangs: plan
                .gangs()
                .iter()
                .map(|gang| Arc::new(GangWatch::new(gang.members.len())))
                .collect(),
            totals: Mutex::default(),
            happening: Mutex::default(),
        };
        machine.plug_in()?;
        for index in 0..plan.queues().len() {
            let parts = machine.open(index)?;
            machine.queues.push(Mutex::new(parts));
        }
        if sabotage != Some(Sabotage::SplitGroups) {
            machine.make_gangs()?;
        }
        Ok(machine)
    }

    /// Plugs in a fresh device, with what is on standby beside it.
    fn plug_in(&self) -> Result<(), SetupError> {
        let device = self.plan.device();
        let watches: Arc<Watches> = Arc::default();
        let occupancy: Arc<[Occupancy]> = (0..=device.standby)
            .map(|_| Occupancy::new(device.slots))
            .collect();
        let start = |place: usize| {
            let told = Told {
                place,
                watches: Arc::clone(&watches),
                occupancy: Arc::clone(&occupancy),
                recorder: self.recorder.clone(),
            };
            let config = GpuConfig {
                slots: device.slots,
                time_slice: device.time_slice,
                vram_bytes: self.vram,
                answer_timeout: ANSWERS,
                observer: Some(told.observer()),
                ..GpuConfig::default()
            };
            Gpu::start(hosted::configure(self.plan, config))
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
        let hosted = Hosted::start(self.plan, &soft, &self.pool, self.sabotage)?;
        lock(&self.devices).push(Arc::new(Plugged {
            soft,
            hosted,
            occupancy,
            watches,
            unplugged_at: AtomicU64::new(0),
        }));
        Ok(())
    }

    /// The queues of a group get their slots together from now on.
    fn make_gangs(&self) -> Result<(), SetupError> {
        for gang in self.plan.gangs() {
            let members = gang.members.iter();
            let parts: Vec<_> = members.map(|queue| self.queue(queue.0)).collect();
            let seats: Vec<_> = parts
                .iter()
                .filter_map(|parts| parts.seat.as_ref())
                .collect();
            let device = self.device();
            if let Some(hosted) = device.as_ref().and_then(|device| device.hosted.as_ref()) {
                hosted.orchestrator.group(&seats)?;
            }
        }
        Ok(())
    }

    /// A queue is due something else from now on, as are those that will replace it.
    fn change(&self, queue: usize, priority: Option<Priority>, weight: Option<Weight>) {
        let mut due = lock(&self.dues[queue]);
        due.0 = priority.unwrap_or(due.0);
        due.1 = weight.unwrap_or(due.1);
        self.changes.fetch_add(1, Ordering::AcqRel);
        if let Some(seat) = &self.queue(queue).seat {
            // One that has gone will be replaced.
            let _gone = seat.change(due.0, due.1);
        }
    }

    /// How often anybody's due has changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// What a queue is due at present.
    pub(super) fn due(&self, queue: usize) -> Due {
        *lock(&self.dues[queue])
    }

    /// All devices that there were.
    pub(super) fn devices(&self) -> Vec<Arc<Plugged>> {
        lock(&self.devices).clone()
    }

    /// The queue that takes the jobs of the plan's queue `index`.
    pub(super) fn queue(&self, index: usize) -> Arc<QueueParts> {
        Arc::clone(&lock(&self.queues[index]))
    }

    /// The device that is plugged in.
    fn device(&self) -> Option<Arc<Plugged>> {
        lock(&self.devices).last().cloned()
    }

    /// Has something happen to the device.
    pub(super) fn happen(&self, event: EventKind) -> Result<(), SetupError> {
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
            EventKind::Change {
                first,
                count,
                priority,
                weight,
            } => {
                for queue in first.0..first.0 + count {
                    self.change(queue, priority, weight);
                }
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

/// Who is told of what happens on the slots of one device.
struct Told {
    place: usize,
    watches: Arc<Watches>,
    occupancy: Arc<[Occupancy]>,
    recorder: Option<Arc<Recorder>>,
}

impl Told {
    /// Tells each queue's watch what the device does with its jobs, and where it is.
    fn observer(self) -> Observer {
        Arc::new(move |event: &SlotEvent| {
            let cut = self.occupancy[self.place].note(event);
            let watches = self.watches.read().unwrap_or_else(PoisonError::into_inner);
            let Some(watch) = watches.get(&(self.place, event.context)) else {
                return;
            };
            let residence = watch.residence.as_ref();
            match (event.kind, residence) {
                (SlotEventKind::JobBegin { value }, _) => watch.begun(value, event.at),
                (SlotEventKind::JobEnd { value }, _) => watch.ended(value, event.at),
                (SlotEventKind::Resident { .. }, Some(residence)) => {
                    residence.moved(true, event.slot, event.at);
                }
                (SlotEventKind::Left, Some(residence)) => {
                    residence.moved(false, event.slot, event.at);
                }
                _ => {}
            }
            if let (Some(recorder), Some(context)) = (&self.recorder, watch.context()) {
                tracing::record_slot(recorder, event, context, cut && residence.is_some());
            }
        })
    }
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
