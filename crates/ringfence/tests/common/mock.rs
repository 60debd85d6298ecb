// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The mock GPU: hardware that completes jobs by hand, by its own clock, at once, or never.

mod driver;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use ringfence::{
    Completion, Errno, Fence, Replay, ReplayOutcome, RunOutcome, Submission, TimedOutJob,
    TimeoutOutcome,
};

use super::LONG;
pub use driver::Mock;

pub type Run = Box<dyn FnMut(Submission<'_, Mock>) -> RunOutcome + Send>;
pub type TimedOut = Box<dyn FnMut(TimedOutJob<'_, Mock>) -> TimeoutOutcome + Send>;
pub type Again = Box<dyn FnMut(Replay<'_, Mock>) -> ReplayOutcome + Send>;

/// What the hardware does with a job.
pub enum Does {
    /// Completes it inside the run callback.
    Done,
    /// Does not take it.
    Fails(Errno),
    /// Keeps it until told to complete it, or for ever: a hang.
    Waits,
    /// Keeps it for so many ticks of the GPU's clock, one after the other on each queue.
    Takes(u64),
    /// Has a fence of its own.
    Follows(Fence),
    /// Finds no room until the fence signals, then does the next thing.
    NoRoom(Fence, Box<Does>),
    /// Whatever the test wants.
    Calls(Run),
}

/// One job's payload.
pub struct Work {
    /// A number for the test.
    pub tag: u64,
    does: Option<Does>,
    timed_out: Option<TimedOut>,
    replay: Option<Again>,
    on_drop: Option<Box<dyn FnOnce() + Send>>,
    gpu: Arc<Gpu>,
}

impl Work {
    /// Has `timed_out` called when the job's time is up, instead of the default `ETIME`.
    pub fn when_timed_out(
        mut self,
        timed_out: impl FnMut(TimedOutJob<'_, Mock>) -> TimeoutOutcome + Send + 'static,
    ) -> Self {
        self.timed_out = Some(Box::new(timed_out));
        self
    }

    /// As [`Work::when_timed_out`], from inside a callback.
    pub fn set_timed_out(
        &mut self,
        timed_out: impl FnMut(TimedOutJob<'_, Mock>) -> TimeoutOutcome + Send + 'static,
    ) {
        self.timed_out = Some(Box::new(timed_out));
    }

    /// Has `replay` called when the job is replayed first, instead of the default, which puts it on
    /// the hardware again.
    pub fn when_replayed(
        mut self,
        replay: impl FnMut(Replay<'_, Mock>) -> ReplayOutcome + Send + 'static,
    ) -> Self {
        self.replay = Some(Box::new(replay));
        self
    }

    /// Has `on_drop` called when the payload is dropped.
    pub fn when_dropped(mut self, on_drop: impl FnOnce() + Send + 'static) -> Self {
        self.on_drop = Some(Box::new(on_drop));
        self
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.gpu.note(self.tag, What::Dropped);
        self.gpu.works.fetch_sub(1, Ordering::SeqCst);
        if let Some(on_drop) = self.on_drop.take() {
            on_drop();
        }
    }
}

/// Something that happened to a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    RunBegins,
    RunEnds,
    TimedOutBegins,
    TimedOutEnds,
    Replay,
    Dropped,
}

/// When and where it happened.
#[derive(Clone, Debug)]
pub struct Seen {
    pub tag: u64,
    pub what: What,
    pub thread: ThreadId,
    pub pool: bool,
}

/// The mock GPU.
pub struct Gpu {
    state: Mutex<Hardware>,
    changed: Condvar,
    works: AtomicI64,
    drivers: AtomicI64,
    lanes: AtomicU64,
}

#[derive(Default)]
struct Hardware {
    on: Vec<OnHardware>,
    clock: u64,
    /// When each queue's lane is free again.
    free_at: Vec<(u64, u64)>,
    seen: Vec<Seen>,
    complaints: Vec<String>,
    stop_clock: bool,
}

struct OnHardware {
    tag: u64,
    /// On the GPU's clock, for jobs that take so long.
    at: Option<u64>,
    completion: Completion<Mock>,
}

impl Gpu {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            works: AtomicI64::new(0),
            drivers: AtomicI64::new(0),
            lanes: AtomicU64::new(0),
        })
    }

    /// Makes a payload.
    pub fn work(self: &Arc<Self>, tag: u64, does: Does) -> Work {
        self.works.fetch_add(1, Ordering::SeqCst);
        Work {
            tag,
            does: Some(does),
            timed_out: None,
            replay: None,
            on_drop: None,
            gpu: Arc::clone(self),
        }
    }

    pub fn done(self: &Arc<Self>, tag: u64) -> Work {
        self.work(tag, Does::Done)
    }

    pub fn waits(self: &Arc<Self>, tag: u64) -> Work {
        self.work(tag, Does::Waits)
    }

    pub fn calls(
        self: &Arc<Self>,
        tag: u64,
        run: impl FnMut(Submission<'_, Mock>) -> RunOutcome + Send + 'static,
    ) -> Work {
        self.work(tag, Does::Calls(Box::new(run)))
    }

    /// Makes the driver of one queue.
    pub fn driver(self: &Arc<Self>) -> Mock {
        self.drivers.fetch_add(1, Ordering::SeqCst);
        Mock {
            gpu: Arc::clone(self),
            inside: AtomicBool::new(false),
            lane: self.lanes.fetch_add(1, Ordering::SeqCst),
            hardware: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Hardware> {
        self.state.lock().unwrap()
    }

    fn note(&self, tag: u64, what: What) {
        let current = thread::current();
        self.lock().seen.push(Seen {
            tag,
            what,
            thread: current.id(),
            pool: current
                .name()
                .is_some_and(|name| name.starts_with("ringfence-")),
        });
        self.changed.notify_all();
    }

    fn complain(&self, what: String) {
        self.lock().complaints.push(what);
    }

    /// Rules that callbacks broke.
    pub fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    /// Payloads and drivers that exist.
    pub fn leftovers(&self) -> (i64, i64) {
        (
            self.works.load(Ordering::SeqCst),
            self.drivers.load(Ordering::SeqCst),
        )
    }

    /// All that happened.
    pub fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// The tags to which `what` happened, in order.
    pub fn tags(&self, what: What) -> Vec<u64> {
        let state = self.lock();
        state
            .seen
            .iter()
            .filter(|seen| seen.what == what)
            .map(|seen| seen.tag)
            .collect()
    }

    /// How often `what` happened to `tag`.
    pub fn count(&self, tag: u64, what: What) -> usize {
        self.tags(what)
            .into_iter()
            .filter(|seen| *seen == tag)
            .count()
    }

    /// Waits until `what` has happened to `tag`.
    #[track_caller]
    pub fn wait_for(&self, tag: u64, what: What) {
        self.wait_until(|hardware| {
            hardware
                .seen
                .iter()
                .any(|seen| seen.tag == tag && seen.what == what)
        });
    }

    /// Waits until job `tag` is on the hardware.
    #[track_caller]
    pub fn wait_running(&self, tag: u64) {
        self.wait_until(|hardware| hardware.on.iter().any(|job| job.tag == tag));
    }

    #[track_caller]
    fn wait_until(&self, holds: impl Fn(&Hardware) -> bool) {
        let end = Instant::now() + LONG;
        let mut state = self.lock();
        while !holds(&state) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not in {LONG:?}; seen: {:?}", state.seen);
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// The tags on the hardware.
    pub fn running(&self) -> Vec<u64> {
        self.lock().on.iter().map(|job| job.tag).collect()
    }

    /// Takes the completion token of job `tag`, once it is on the hardware.
    #[track_caller]
    pub fn take(&self, tag: u64) -> Completion<Mock> {
        self.wait_running(tag);
        let mut state = self.lock();
        let index = state.on.iter().position(|job| job.tag == tag).unwrap();
        state.on.remove(index).completion
    }

    /// Takes the completion token of job `tag`, if it is on the hardware.
    pub fn try_take(&self, tag: u64) -> Option<Completion<Mock>> {
        let mut state = self.lock();
        let index = state.on.iter().position(|job| job.tag == tag)?;
        Some(state.on.remove(index).completion)
    }

    /// Completes job `tag`, once it is on the hardware.
    #[track_caller]
    pub fn complete(&self, tag: u64, result: Result<(), Errno>) {
        self.take(tag).complete(result);
    }

    /// The hardware forgets everything.
    pub fn drop_hardware(&self) {
        let on = std::mem::take(&mut self.lock().on);
        drop(on);
    }

    fn put(&self, tag: u64, at: Option<u64>, completion: Completion<Mock>) {
        self.lock().on.push(OnHardware {
            tag,
            at,
            completion,
        });
        self.changed.notify_all();
    }

    /// When a job that takes `ticks` is done, on a lane that does one job at a time.
    fn schedule(&self, lane: u64, ticks: u64) -> u64 {
        let mut state = self.lock();
        let clock = state.clock;
        match state.free_at.iter_mut().find(|(known, _)| *known == lane) {
            Some((_, at)) => {
                *at = clock.max(*at) + ticks;
                *at
            }
            None => {
                state.free_at.push((lane, clock + ticks));
                clock + ticks
            }
        }
    }

    /// Moves the GPU's clock, which completes what is due, in the order of its time.
    pub fn advance(&self, ticks: u64) {
        let end = {
            let mut state = self.lock();
            state.clock += ticks;
            state.clock
        };
        loop {
            let due = {
                let mut state = self.lock();
                let first = (0..state.on.len())
                    .filter(|&index| state.on[index].at.is_some_and(|at| at <= end))
                    .min_by_key(|&index| state.on[index].at);
                first.map(|index| state.on.remove(index))
            };
            match due {
                Some(job) => job.completion.complete(Ok(())),
                None => return,
            }
        }
    }

    /// Starts a thread that moves the GPU's clock as fast as it can, until dropped.
    pub fn start_clock(self: &Arc<Self>) -> Clock {
        let gpu = Arc::clone(self);
        gpu.lock().stop_clock = false;
        let thread = thread::spawn(move || {
            while !gpu.lock().stop_clock {
                gpu.advance(1);
                thread::yield_now();
            }
        });
        Clock {
            gpu: Arc::clone(self),
            thread: Some(thread),
        }
    }
}

/// The GPU's clock ticks by itself until this is dropped.
pub struct Clock {
    gpu: Arc<Gpu>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.gpu.lock().stop_clock = true;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A duration that is up at once.
pub const AT_ONCE: Duration = Duration::from_nanos(1);
