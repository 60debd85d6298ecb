// SPDX-License-Identifier: GPL-2.0 OR MIT
//! One real queue with its context and its memory, and what was done to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ringfence::{Ban, ClosePolicy, Errno, OnDependencyError, Queue, Rest, Standing};
use ringfence_orchestrator::Seat;
use ringfence_softgpu::driver::{SoftBuffer, SoftContext, SoftDriver, SoftSlots};
use ringfence_softgpu::Permissions;

use super::{in_flight, lock, streams_of, Machine, Plugged, SetupError};
use crate::plan::{self, AfterReset, CloseMode, QueuePlan};
use crate::run::hosted::gang::Residence;
use crate::run::watch::QueueWatch;

/// What the fences of a queue say that its client has killed.
pub(in crate::run) const KILLED: Errno = Errno::EIO;

/// Memory of one stream.
pub(in crate::run) struct Memory {
    pub(in crate::run) buffer: SoftBuffer,
    /// Where the queue's context sees it.
    pub(in crate::run) address: u64,
}

/// A queue with its context, and memory for the jobs of each of its streams.
///
/// The memory goes with the context, after that is off the hardware: a job that has ended because
/// its queue was killed may be on the hardware still, and must not write to what others own.
pub(in crate::run) struct QueueParts {
    pub(in crate::run) queue: Queue<SoftDriver>,
    /// Its seat, where the host gives out the slots.
    pub(in crate::run) seat: Option<Seat<SoftSlots>>,
    pub(in crate::run) context: Arc<SoftContext>,
    pub(in crate::run) watch: Arc<QueueWatch>,
    pub(in crate::run) device: Arc<Plugged>,
    pub(in crate::run) memories: Vec<Memory>,
    /// Held by every payload: who still has it has not been dropped.
    pub(in crate::run) held: Arc<()>,
    /// When its client killed it, and closed it; 0 if it did not.
    killed_at: AtomicU64,
    closed_at: AtomicU64,
    /// Jobs submitted that are guilty of something, if they come to run.
    pub(in crate::run) guilty: AtomicU64,
    /// When the last of these ended, of those looked at.
    pub(in crate::run) guilty_done: AtomicU64,
}

fn stamp(place: &AtomicU64) {
    let now = ringfence::monotonic().as_ns().max(1);
    // The first counts.
    let _ = place.compare_exchange(0, now, Ordering::AcqRel, Ordering::Relaxed);
}

fn stamped(place: &AtomicU64) -> Option<u64> {
    match place.load(Ordering::Acquire) {
        0 => None,
        at => Some(at),
    }
}

impl QueueParts {
    /// The client kills it.
    pub(in crate::run) fn kill(&self) {
        stamp(&self.killed_at);
        self.queue.kill(KILLED);
    }

    /// The client closes it.
    pub(in crate::run) fn close(&self) {
        stamp(&self.closed_at);
        self.queue.close();
    }

    /// When its client killed it, if it did.
    pub(in crate::run) fn killed_at(&self) -> Option<u64> {
        stamped(&self.killed_at)
    }

    /// When its client closed it, if it did.
    pub(in crate::run) fn closed_at(&self) -> Option<u64> {
        stamped(&self.closed_at)
    }

    /// How long its context has executed, on all devices, in nanoseconds.
    pub(in crate::run) fn busy(&self) -> u64 {
        let homes = self.context.homes().iter();
        let busy: Duration = homes.map(ringfence_softgpu::Context::busy).sum();
        u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX)
    }

    /// What was done to it, for messages.
    pub(in crate::run) fn fate(&self) -> String {
        format!(
            "its queue was killed at {:?}, closed at {:?}, its device pulled out at {:?}",
            self.killed_at(),
            self.closed_at(),
            self.device.unplugged_at()
        )
    }

    pub(in crate::run) fn is_banned(&self) -> bool {
        self.queue.standing() == Standing::Banned
    }
}

impl Machine<'_> {
    /// Makes a queue for the plan's queue `index`, on the device that is plugged in.
    pub(super) fn open(&self, index: usize) -> Result<Arc<QueueParts>, SetupError> {
        let plan = &self.plan.queues()[index];
        let Some(device) = self.device() else {
            return Err(ringfence_softgpu::GpuError::Gone.into());
        };
        let watch = Arc::new(QueueWatch::new(
            in_flight(self.plan, index),
            self.residence(index),
            self.recorder.clone(),
            self.sabotage,
        ));
        let context = match plan.due.kinds[..] {
            [kind] => device.soft.create_context_for(kind, self.rings[index])?,
            _ => device.soft.create_context(self.rings[index])?,
        };
        let homes = context.homes();
        let first = device.soft.gpus().len() - homes.len();
        {
            let mut watches = device
                .watches
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            for (place, home) in homes.iter().enumerate() {
                watches.insert((first + place, home.id()), Arc::clone(&watch));
            }
        }
        let capacity = plan.capacity as usize;
        let driver = device
            .soft
            .driver(&context, capacity)?
            .patience(plan.timeout)
            .rest(match plan.after_reset {
                AfterReset::Replay => Rest::Replay,
                AfterReset::Cancel => Rest::Cancel,
            });
        let seat = match &device.hosted {
            Some(hosted) => Some(hosted.seat(&device.soft, plan, self.due(index), &driver)?),
            None => None,
        };
        let mut builder =
            builder(plan).observer(Arc::clone(&watch) as Arc<dyn ringfence::Observer>);
        if let Some(seat) = &seat {
            builder = builder.gate(seat.gate());
        }
        let queue = device.soft.build(builder, &self.pool, driver)?;
        watch.set_context(queue.context());
        lock(&self.totals).contexts.push((index, queue.context()));
        let memories = streams_of(self.plan, index).map(|stream| {
            let buffer = device.soft.alloc(stream.memory().max(4096))?;
            let address = context.map(&buffer, Permissions::READ_WRITE)?;
            Ok(Memory { buffer, address })
        });
        let memories = memories.collect::<Result<_, SetupError>>()?;
        Ok(Arc::new(QueueParts {
            queue,
            seat,
            context,
            watch,
            device,
            memories,
            held: Arc::new(()),
            killed_at: AtomicU64::new(0),
            closed_at: AtomicU64::new(0),
            guilty: AtomicU64::new(0),
            guilty_done: AtomicU64::new(0),
        }))
    }

    /// Where the plan's queue `index` may be; `None` where the firmware gives out the slots.
    fn residence(&self, index: usize) -> Option<Residence> {
        let device = self.plan.device();
        device.orchestrator.as_ref()?;
        let due = &self.plan.queues()[index].due;
        let kinds = &device.slot_kinds;
        let may = |slot: &u32| {
            let kind = kinds.get(*slot as usize).copied().unwrap_or_default();
            due.kinds.is_empty() || due.kinds.contains(&kind)
        };
        let slots = (0..device.slots).filter(may);
        let slots = slots.fold(0, |mask, slot| mask | 1_u64 << slot);
        let gang = due.gang.map(|gang| Arc::clone(&self.gangs[gang]));
        Some(Residence::new(gang, slots))
    }

    /// Replaces the queue that takes the jobs of the plan's queue `index`. `None` if there is no
    /// room for another one yet, or the device has just gone.
    pub(in crate::run) fn replace(&self, index: usize) -> Option<Arc<QueueParts>> {
        let parts = self.open(index).ok()?;
        self.put(index, &parts);
        Some(parts)
    }

    /// These take the jobs of the plan's queue `index` from now on.
    fn put(&self, index: usize, parts: &Arc<QueueParts>) {
        let old = std::mem::replace(&mut *lock(&self.queues[index]), Arc::clone(parts));
        self.keep_seat(index, &old);
        // A change that came while they were made has reached the old ones only.
        let due = lock(&self.dues[index]);
        if let Some(seat) = &parts.seat {
            let _gone = seat.change(due.0, due.1);
        }
    }
}

fn builder(plan: &QueuePlan) -> ringfence::Builder {
    let mut builder = Queue::<SoftDriver>::builder(&plan.name)
        .capacity(plan.capacity as usize)
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
        });
    if let Some(span) = plan.close_timeout {
        builder = builder.close_timeout(span);
    }
    if plan.strikes > 0 {
        builder = builder.ban(Ban {
            strikes: u8::try_from(plan.strikes).unwrap_or(u8::MAX),
            within: plan.strikes_within,
        });
    }
    builder
}

#[cfg(test)]
mod tests {
    use ringfence_orchestrator::{Priority, Weight};

    use super::*;

    const PLAN: &str = r#"
name = "one queue"
[orchestrator]
[[queue]]
name = "a"
[[stream]]
name = "jobs"
queue = "a"
jobs = 1
work = "copy"
"#;

    #[test]
    fn a_change_while_a_queue_is_replaced_is_for_the_new_one_too() {
        let plan = plan::Plan::parse("plan", PLAN).expect("a good plan");
        let machine = Machine::build(&plan, None, None).expect("the device starts");
        let next = machine.open(0).expect("room for another");
        machine.change(0, Some(Priority::High), Weight::new(300));
        machine.put(0, &next);
        let seat = next.seat.as_ref().expect("there is an orchestrator");
        let seat = seat.snapshot().expect("its queue is alive");
        assert_eq!((seat.priority, seat.weight), ("high", 300));
    }
}
