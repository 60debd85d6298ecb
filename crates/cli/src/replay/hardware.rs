// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The rings of a recording on the software GPU, and the driver that feeds them.
//!
//! A ring is one context of the device, which executes its jobs one after the other. Several
//! queues may feed it. What it holds at one time is limited; a queue that finds no room is told
//! when there is, and the room is kept for it until it comes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringfence::{
    monotonic, Completion, Driver, Errno, Fence, RunOutcome, Signaller, Submission, TimedOutJob,
    Timeline, TimeoutOutcome,
};
use ringfence_softgpu::{
    Command, Context, Gpu, GpuConfig, GpuError, HandlerGuard, Interrupt, RingFull,
};

use super::executor::HereFirst;
use super::pacer::{Begun, Pace, Pacer};
use super::script::RingScript;

/// How long threads may take to let go of the last things, once everything has ended.
const LETTING_GO: Duration = Duration::from_secs(2);

/// Words of one job in a ring: its beginning, its time, its fence.
const JOB_WORDS: usize = 9;
/// Jobs that stand in the device's ring at one time. The others of the ring are kept here, so that
/// the time they get is decided late.
const AHEAD: usize = 16;
/// Words of a ring in which that many fit.
const RING_WORDS: usize = (AHEAD * JOB_WORDS).next_power_of_two();

/// The device with its rings.
pub(super) struct Hardware {
    // In this order: no handler outlives the contexts, no context the device.
    handlers: Vec<HandlerGuard>,
    rings: Vec<Arc<Ring>>,
    gpu: Gpu,
}

impl Hardware {
    /// Starts a device with a slot and a context for each of `rings`. Its interrupt thread lends
    /// `executor` a hand.
    ///
    /// # Errors
    ///
    /// What the device says.
    pub(super) fn start(rings: &[RingScript], executor: &HereFirst) -> Result<Self, GpuError> {
        let page = GpuConfig::default().page_bytes;
        let bytes = (RING_WORDS as u64 * 4).next_multiple_of(page);
        let gpu = Gpu::start(GpuConfig {
            slots: u32::try_from(rings.len().clamp(1, 1024)).unwrap_or(1024),
            vram_bytes: bytes * rings.len().max(1) as u64,
            ..GpuConfig::default()
        })?;
        let mut hardware = Self {
            handlers: Vec::new(),
            rings: Vec::new(),
            gpu,
        };
        for script in rings {
            let ring = Arc::new(Ring {
                context: hardware.gpu.create_context(RING_WORDS)?,
                room: script.room,
                contended: script.contended,
                turns: Timeline::new("room on a ring"),
                executor: executor.clone(),
                state: Mutex::new(State {
                    // Neither grows: they are filled inside signalling sections.
                    flying: VecDeque::with_capacity(script.room as usize),
                    waiting: VecDeque::with_capacity(script.users),
                    ..State::default()
                }),
            });
            let handler = Arc::clone(&ring);
            let guard = ring
                .context
                .on_interrupt(move |interrupt| handler.interrupt(interrupt))?;
            hardware.handlers.push(guard);
            hardware.rings.push(ring);
        }
        Ok(hardware)
    }

    /// A ring.
    pub(super) fn ring(&self, number: usize) -> Option<&Arc<Ring>> {
        self.rings.get(number)
    }

    /// Stops the device. Returns what is left behind: jobs on rings, bytes of video memory.
    pub(super) fn stop(self) -> (u64, u64) {
        let Self {
            handlers,
            rings,
            gpu,
        } = self;
        drop(handlers);
        let jobs = rings.iter().map(|ring| ring.lock().flying.len() as u64);
        let jobs = jobs.sum();
        drop(rings);
        // A worker may be letting go of its last ring.
        let patience = Instant::now() + LETTING_GO;
        while gpu.memory_in_use() > 0 && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        let bytes = gpu.memory_in_use();
        gpu.stop();
        (jobs, bytes)
    }
}

/// A ring of the device.
pub(super) struct Ring {
    context: Context,
    room: u32,
    contended: bool,
    turns: Timeline,
    executor: HereFirst,
    state: Mutex<State>,
}

/// # Invariants
///
/// The first `pushed` of `flying` stand in the device's ring, in the order of their fence values.
/// On a contended ring `flying.len() + granted` is at most the ring's room, and less only if nobody
/// waits for his turn.
#[derive(Default)]
struct State {
    last_value: u64,
    /// Jobs on the ring.
    flying: VecDeque<Flying>,
    pushed: usize,
    pacer: Pacer,
    /// Rooms kept for jobs that have been told to come.
    granted: usize,
    /// Jobs that wait for their turn.
    waiting: VecDeque<(u32, Signaller)>,
}

/// A job on the ring.
struct Flying {
    entered: u64,
    busy_ns: u64,
    /// Once it has been pushed.
    value: u64,
    /// Once it has been pushed, if it is to take any time.
    pace: Option<Pace>,
    completion: Completion<RingDriver>,
}

impl Ring {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job on the ring, if it may enter.
    fn enter(&self, mut submission: Submission<'_, RingDriver>) -> RunOutcome {
        let mut state = self.lock();
        let payload = submission.payload();
        if self.contended {
            if let Some(turn) = state.admit(payload, self.room as usize) {
                drop(state);
                return submission.no_resources(turn);
            }
        }
        let busy_ns = payload.busy_ns;
        let (completion, outcome) = submission.pending();
        let now = monotonic().as_ns();
        state.flying.push_back(Flying {
            entered: now,
            busy_ns,
            value: 0,
            pace: None,
            completion,
        });
        let idle = state.pushed == 0;
        self.feed(&mut state, now);
        drop(state);
        if idle {
            // Otherwise there is an interrupt to come, which does it.
            self.context.doorbell();
        }
        outcome
    }

    /// Puts jobs into the device's ring, as far ahead as is wanted.
    fn feed(&self, state: &mut State, now: u64) {
        let State {
            last_value,
            flying,
            pushed,
            pacer,
            ..
        } = state;
        while *pushed < AHEAD {
            let idle = *pushed == 0;
            let Some(job) = flying.get_mut(*pushed) else {
                return;
            };
            job.value = *last_value + 1;
            let begun = Begun {
                now,
                entered: job.entered,
                idle,
            };
            job.pace = (job.busy_ns > 0).then(|| pacer.begin(begun, job.busy_ns));
            if self
                .push(job.value, job.pace.map_or(0, Pace::spin))
                .is_err()
            {
                // There is room for that many, so the device has lost words. The replay ends
                // without this job, which is then told.
                return;
            }
            *last_value = job.value;
            *pushed += 1;
        }
    }

    fn push(&self, value: u64, spin: u64) -> Result<(), RingFull> {
        let begin = Command::BeginJob { value };
        let end = Command::Fence { value };
        if spin == 0 {
            return self.context.ring().push(&[begin, end]);
        }
        let spin = Command::Spin { ns: spin };
        self.context.ring().push(&[begin, spin, end])
    }

    fn interrupt(&self, interrupt: &Interrupt) {
        self.executor.lend_a_hand(|| match interrupt {
            Interrupt::FenceReached { .. } => self.retire(self.context.fence_value()),
            // Nothing here can fault: the device is broken, and so is the replay.
            _ => self.lose_all(),
        });
    }

    /// Completes the jobs up to fence value `value`.
    fn retire(&self, value: u64) {
        let now = monotonic().as_ns();
        loop {
            let mut state = self.lock();
            let reached = state.flying.front().is_some_and(|job| job.value <= value);
            if state.pushed == 0 || !reached {
                break;
            }
            let Some(job) = state.flying.pop_front() else {
                break;
            };
            state.pushed -= 1;
            if let Some(pace) = job.pace {
                state.pacer.end(now, pace);
            }
            let turn = self.next_turn(&mut state);
            drop(state);
            job.completion.complete(Ok(()));
            give(turn);
        }
        let mut state = self.lock();
        self.feed(&mut state, now);
        let more = state.pushed > 0;
        drop(state);
        if more {
            // The device may have run dry before they were pushed.
            self.context.doorbell();
        }
    }

    fn lose_all(&self) {
        loop {
            let mut state = self.lock();
            let Some(job) = state.flying.pop_front() else {
                return;
            };
            state.pushed = state.pushed.saturating_sub(1);
            let turn = self.next_turn(&mut state);
            drop(state);
            job.completion.complete(Err(Errno::EIO));
            give(turn);
        }
    }

    /// Keeps the room that has become free for the one that has waited longest.
    fn next_turn(&self, state: &mut State) -> Option<Signaller> {
        if !self.contended || state.flying.len() + state.granted >= self.room as usize {
            return None;
        }
        let (_, turn) = state.waiting.pop_front()?;
        state.granted += 1;
        Some(turn)
    }

    /// A job that had asked for its turn has gone without using it.
    fn withdraw(&self, number: u32) {
        let mut state = self.lock();
        let place = state.waiting.iter().position(|(own, _)| *own == number);
        let own = place.and_then(|place| state.waiting.remove(place));
        if own.is_none() {
            state.granted = state.granted.saturating_sub(1);
        }
        let next = self.next_turn(&mut state);
        drop(state);
        give(own.map(|(_, turn)| turn));
        give(next);
    }
}

impl State {
    /// Lets a job in, or says what it must wait for.
    fn admit(&mut self, payload: &mut Payload, room: usize) -> Option<Fence> {
        match std::mem::replace(&mut payload.ticket, Ticket::None) {
            Ticket::Ready(turn) if self.flying.len() + self.granted >= room => {
                let fence = turn.fence();
                self.waiting.push_back((payload.number, turn));
                payload.ticket = Ticket::Asked;
                Some(fence)
            }
            Ticket::Asked => {
                let mut waiting = self.waiting.iter();
                let early = waiting.find(|(own, _)| *own == payload.number);
                if let Some((_, turn)) = early {
                    payload.ticket = Ticket::Asked;
                    return Some(turn.fence());
                }
                self.granted = self.granted.saturating_sub(1);
                None
            }
            unused => {
                payload.ticket = unused;
                None
            }
        }
    }
}

fn give(turn: Option<Signaller>) {
    if let Some(turn) = turn {
        turn.signal(Ok(()));
    }
}

/// A job's right to be told when there is room.
enum Ticket {
    /// It needs none, or has used it.
    None,
    Ready(Signaller),
    /// It is in the ring's list, or has been told to come.
    Asked,
}

/// What a queue keeps of a job.
pub(super) struct Payload {
    number: u32,
    busy_ns: u64,
    ring: Arc<Ring>,
    ticket: Ticket,
    alive: Arc<AtomicU64>,
}

impl Payload {
    /// Job `number`, which occupies `ring` for `busy_ns`. Counted in `alive` until it is dropped.
    pub(super) fn new(number: u32, busy_ns: u64, ring: &Arc<Ring>, alive: &Arc<AtomicU64>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        let ticket = if ring.contended {
            Ticket::Ready(ring.turns.signaller().0)
        } else {
            Ticket::None
        };
        Self {
            number,
            busy_ns,
            ring: Arc::clone(ring),
            ticket,
            alive: Arc::clone(alive),
        }
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.ticket, Ticket::None) {
            Ticket::None => {}
            // Nobody waits for it.
            Ticket::Ready(turn) => turn.signal(Ok(())),
            Ticket::Asked => self.ring.withdraw(self.number),
        }
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Puts the jobs of one queue on their rings.
pub(super) struct RingDriver;

impl Driver for RingDriver {
    type Payload = Payload;
    type ReplayData = ();

    const NAMES_FENCES: bool = true;

    fn run(&mut self, mut submission: Submission<'_, Self>) -> RunOutcome {
        let ring = Arc::clone(&submission.payload().ring);
        ring.enter(submission)
    }

    /// The queues of a replay have no timeout, for recorded jobs may take long; the replay as a
    /// whole has one.
    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        job.no_hang()
    }
}

#[cfg(test)]
mod tests;
