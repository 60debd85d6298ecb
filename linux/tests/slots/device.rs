// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Slots, and queues that always have work, in virtual time.

use core::time::Duration;

use kernel::prelude::*;

use ringfence_core::{GateReport, Out, Time};
use ringfence_orchestrator_core::{
    Answer, Config, Effect, Orchestrator, Policy, Preemption, Priority, Seat, SeatConfig, SeatId,
    Slot, SlotKind, Weight,
};

/// Slots of the device.
pub(super) const SLOTS: usize = 4;

/// Seats that there is room for.
const ROOM: usize = 32;

/// Memory for seats.
pub(super) struct Seats(KVec<Seat>);

impl AsRef<[Seat]> for Seats {
    fn as_ref(&self) -> &[Seat] {
        &self.0
    }
}

impl AsMut<[Seat]> for Seats {
    fn as_mut(&mut self) -> &mut [Seat] {
        &mut self.0
    }
}

/// A queue.
struct Queue {
    seat: SeatId,
    job: Duration,
    /// When its job ends, while it runs.
    ends: Option<Time>,
    bound: bool,
    leaves: bool,
    /// How many others are in its group.
    group: usize,
}

/// A device and its queues.
pub(super) struct Device<P: Policy> {
    core: Orchestrator<Seats, [Slot; SLOTS], P>,
    queues: KVec<Queue>,
    now: Time,
    timer: Option<Time>,
    version: u64,
    /// The first so many are a group.
    group: usize,
    started: usize,
}

impl<P: Policy> Device<P> {
    pub(super) fn new(preemption: Preemption, policy: P) -> Result<Self> {
        let config = Config {
            preemption,
            ..Config::default()
        };
        let mut seats = KVec::with_capacity(ROOM, GFP_KERNEL)?;
        for _ in 0..ROOM {
            seats.push(Seat::FREE, GFP_KERNEL)?;
        }
        let slots = [Slot::new(SlotKind::default()); SLOTS];
        let core = Orchestrator::new(config, policy, Seats(seats), slots).map_err(|_| EINVAL)?;
        Ok(Self {
            core,
            queues: KVec::with_capacity(ROOM, GFP_KERNEL)?,
            now: Time::ZERO,
            timer: None,
            version: 0,
            group: 0,
            started: 0,
        })
    }

    /// A queue with jobs of so many nanoseconds, one after the other.
    pub(super) fn add(&mut self, priority: Priority, weight: u16, job_ns: u64) -> Result<SeatId> {
        let config = SeatConfig {
            priority,
            weight: Weight::new(weight).ok_or(EINVAL)?,
            ..SeatConfig::default()
        };
        let seat = self.core.add(config).map_err(|_| ENOSPC)?;
        let queue = Queue {
            seat,
            job: Duration::from_nanos(job_ns),
            ends: None,
            bound: false,
            leaves: false,
            group: 0,
        };
        self.queues.push(queue, GFP_KERNEL)?;
        Ok(seat)
    }

    /// Makes the first seats a group.
    pub(super) fn group(&mut self, seats: &[SeatId]) -> Result {
        self.core.group(seats).map_err(|_| EINVAL)?;
        self.group = seats.len();
        for queue in self.queues.iter_mut().take(seats.len()) {
            queue.group = seats.len() - 1;
        }
        Ok(())
    }

    /// Has all queues that are new say that they have work.
    pub(super) fn start(&mut self) -> Result {
        for number in self.started..self.queues.len() {
            self.say(number, Out::Nothing)?;
        }
        self.started = self.queues.len();
        Ok(())
    }

    pub(super) fn busy_ns(&self, number: usize) -> Result<u64> {
        let seat = self.queues.get(number).ok_or(EINVAL)?.seat;
        let view = self.core.view(seat, self.now).map_err(|_| EINVAL)?;
        u64::try_from(view.stats.busy.as_nanos()).map_err(|_| EINVAL)
    }

    fn report(&mut self, out: Out) -> GateReport {
        self.version += 1;
        GateReport {
            version: self.version,
            wants: true,
            out,
        }
    }

    fn say(&mut self, number: usize, out: Out) -> Result {
        let report = self.report(out);
        let seat = self.queues.get(number).ok_or(EINVAL)?.seat;
        self.core.report(seat, report, self.now).map_err(|_| EINVAL)
    }

    fn queue(&mut self, seat: SeatId) -> Result<&mut Queue> {
        self.queues
            .iter_mut()
            .find(|queue| queue.seat == seat)
            .ok_or(EINVAL)
    }

    fn act(&mut self) -> Result {
        while let Some(effect) = self.core.next(self.now) {
            let now = self.now;
            let refused = match effect {
                Effect::Bind { seat, .. } => {
                    self.queue(seat)?.bound = true;
                    self.core.bound(seat, Answer::Done, now)
                }
                Effect::Run { seat } => {
                    let queue = self.queue(seat)?;
                    queue.ends = Some(now.after(queue.job));
                    let grouped = queue.group != 0;
                    let whole = self.queues.iter().take(self.group).all(|queue| queue.bound);
                    ensure!(!grouped || whole);
                    Ok(())
                }
                Effect::Yield { seat } => {
                    self.queue(seat)?.leaves = true;
                    let report = self.report(Out::OnHardware);
                    self.core.yielded(seat, report, now)
                }
                Effect::Vacate { seat, .. } => {
                    let queue = self.queue(seat)?;
                    (queue.ends, queue.bound, queue.leaves) = (None, false, false);
                    self.core.vacated(seat, Answer::Done, None, now)
                }
                Effect::ArmTimer { at } => {
                    self.timer = Some(at);
                    Ok(())
                }
                _ => return Err(EINVAL),
            };
            refused.map_err(|_| EINVAL)?;
        }
        self.core.check_invariants().map_err(|_| EINVAL)
    }

    /// Lets virtual time pass, up to `end` nanoseconds.
    pub(super) fn run_until(&mut self, end: u64) -> Result {
        self.start()?;
        loop {
            self.act()?;
            let job = self.queues.iter().filter_map(|queue| queue.ends).min();
            let next = [job, self.timer].into_iter().flatten().min();
            let Some(next) = next.filter(|next| next.as_ns() <= end) else {
                self.now = Time::from_ns(end);
                return Ok(());
            };
            self.now = self.now.max(next);
            if self.timer.is_some_and(|at| at <= self.now) {
                self.timer = None;
                self.core.timer_fired();
            }
            self.end_jobs()?;
        }
    }

    fn end_jobs(&mut self) -> Result {
        for number in 0..self.queues.len() {
            let now = self.now;
            let queue = self.queues.get_mut(number).ok_or(EINVAL)?;
            if queue.ends.is_none_or(|end| end > now) {
                continue;
            }
            queue.ends = (!queue.leaves).then(|| now.after(queue.job));
            if queue.leaves {
                self.say(number, Out::Nothing)?;
            }
        }
        Ok(())
    }
}
