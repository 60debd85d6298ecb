// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The mock GPU: hardware that completes jobs by hand, by its own clock, at once, or never.
//!
//! Callbacks are in signalling sections, so all memory is there beforehand, and its lock is a spin
//! lock.

mod driver;

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Arc;

use ringfence::{
    Completion, Errno, Fence, Lock, Replay, ReplayOutcome, RunOutcome, Submission, TimedOutJob,
    TimeoutOutcome,
};

pub(crate) use driver::Mock;

pub(crate) type Run = KBox<dyn FnMut(Submission<'_, Mock>) -> RunOutcome + Send>;
pub(crate) type TimedOut = KBox<dyn FnMut(TimedOutJob<'_, Mock>) -> TimeoutOutcome + Send>;
pub(crate) type Again = KBox<dyn FnMut(Replay<'_, Mock>) -> ReplayOutcome + Send>;

/// How much the GPU remembers, and holds.
const ROOM: usize = 8192;

/// What the hardware does with a job.
pub(crate) enum Does {
    /// Completes it inside the run callback.
    Done,
    /// Does not take it.
    Fails(Errno),
    /// Keeps it until told to complete it, or for ever: a hang.
    Waits,
    /// Keeps it for so many ticks of the GPU's clock, one after the other on each queue.
    Takes(u64),
    /// Has a fence of its own.
    Follows(ARef<Fence>),
    /// Finds no room until the fence signals, then does the next thing.
    NoRoom(ARef<Fence>, KBox<Does>),
    /// Whatever the test wants.
    Calls(Run),
}

/// One job's payload.
pub(crate) struct Work {
    /// A number for the test.
    pub(crate) tag: u64,
    does: Option<Does>,
    timed_out: Option<TimedOut>,
    replay: Option<Again>,
    on_drop: Option<KBox<dyn FnMut() + Send>>,
    gpu: Arc<Gpu>,
}

impl Work {
    /// Has `timed_out` called when the job's time is up, instead of the default `ETIME`.
    pub(crate) fn when_timed_out(
        mut self,
        timed_out: impl FnMut(TimedOutJob<'_, Mock>) -> TimeoutOutcome + Send + 'static,
    ) -> Result<Self> {
        let timed_out: TimedOut = KBox::new(timed_out, GFP_KERNEL)?;
        self.timed_out = Some(timed_out);
        Ok(self)
    }

    /// As [`Work::when_timed_out`], once more, in the callback itself.
    pub(crate) fn set_timed_out(&mut self, timed_out: TimedOut) {
        self.timed_out = Some(timed_out);
    }

    /// Has `replay` called when the job is replayed, instead of the default, which puts it on the
    /// hardware again.
    pub(crate) fn when_replayed(
        mut self,
        replay: impl FnMut(Replay<'_, Mock>) -> ReplayOutcome + Send + 'static,
    ) -> Result<Self> {
        let replay: Again = KBox::new(replay, GFP_KERNEL)?;
        self.replay = Some(replay);
        Ok(self)
    }

    /// Has `on_drop` called when the payload is dropped.
    pub(crate) fn when_dropped(mut self, on_drop: impl FnMut() + Send + 'static) -> Result<Self> {
        let on_drop: KBox<dyn FnMut() + Send> = KBox::new(on_drop, GFP_KERNEL)?;
        self.on_drop = Some(on_drop);
        Ok(self)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.gpu.note(self.tag, What::Dropped);
        self.gpu.works.fetch_sub(1, Relaxed);
        if let Some(mut on_drop) = self.on_drop.take() {
            on_drop();
        }
    }
}

/// Something that happened to a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    RunBegins,
    RunEnds,
    TimedOutBegins,
    TimedOutEnds,
    Replay,
    Dropped,
}

/// When and where it happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) tag: u64,
    pub(crate) what: What,
    /// The task, by address.
    pub(crate) task: usize,
}

/// The mock GPU.
pub(crate) struct Gpu {
    state: Lock<Hardware>,
    works: Atomic<i64>,
    drivers: Atomic<i64>,
    lanes: Atomic<u64>,
    complaints: Atomic<i64>,
}

struct Hardware {
    on: KVVec<OnHardware>,
    clock: u64,
    /// When each queue's lane is free again.
    free_at: KVVec<(u64, u64)>,
    seen: KVVec<Seen>,
}

struct OnHardware {
    tag: u64,
    /// On the GPU's clock, for jobs that take so long.
    at: Option<u64>,
    completion: Completion<Mock>,
}

impl Gpu {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let hardware = Hardware {
            on: KVVec::with_capacity(ROOM, GFP_KERNEL)?,
            clock: 0,
            free_at: KVVec::with_capacity(64, GFP_KERNEL)?,
            seen: KVVec::with_capacity(ROOM, GFP_KERNEL)?,
        };
        Ok(Arc::new(
            Self {
                state: Lock::new(hardware),
                works: Atomic::new(0),
                drivers: Atomic::new(0),
                lanes: Atomic::new(0),
                complaints: Atomic::new(0),
            },
            GFP_KERNEL,
        )?)
    }

    /// Makes a payload.
    pub(crate) fn work(self: &Arc<Self>, tag: u64, does: Does) -> Work {
        self.works.fetch_add(1, Relaxed);
        Work {
            tag,
            does: Some(does),
            timed_out: None,
            replay: None,
            on_drop: None,
            gpu: self.clone(),
        }
    }

    pub(crate) fn done(self: &Arc<Self>, tag: u64) -> Work {
        self.work(tag, Does::Done)
    }

    pub(crate) fn waits(self: &Arc<Self>, tag: u64) -> Work {
        self.work(tag, Does::Waits)
    }

    pub(crate) fn calls(
        self: &Arc<Self>,
        tag: u64,
        run: impl FnMut(Submission<'_, Mock>) -> RunOutcome + Send + 'static,
    ) -> Result<Work> {
        let run: Run = KBox::new(run, GFP_KERNEL)?;
        Ok(self.work(tag, Does::Calls(run)))
    }

    /// Makes the driver of one queue.
    pub(crate) fn driver(self: &Arc<Self>) -> Mock {
        self.drivers.fetch_add(1, Relaxed);
        Mock::new(self.clone(), self.lanes.fetch_add(1, Relaxed))
    }

    fn note(&self, tag: u64, what: What) {
        let task = kernel::current!().as_ptr() as usize;
        let seen = Seen { tag, what, task };
        if self.state.lock().seen.push_within_capacity(seen).is_err() {
            self.complain("more happened than the GPU remembers");
        }
    }

    fn complain(&self, what: &str) {
        pr_err!("mock GPU: {}\n", what);
        self.complaints.fetch_add(1, Relaxed);
    }

    /// How many rules callbacks broke.
    pub(crate) fn complaints(&self) -> i64 {
        self.complaints.load(Relaxed)
    }

    /// Payloads and drivers that exist.
    pub(crate) fn leftovers(&self) -> (i64, i64) {
        (self.works.load(Relaxed), self.drivers.load(Relaxed))
    }

    /// Forgets what has happened, to have room for more.
    pub(crate) fn forget_seen(&self) {
        self.state.lock().seen.clear();
    }

    /// All that happened.
    pub(crate) fn seen(&self) -> Result<KVVec<Seen>> {
        let mut copy = KVVec::with_capacity(ROOM, GFP_KERNEL)?;
        for seen in self.state.lock().seen.iter() {
            let _full = copy.push_within_capacity(*seen);
        }
        Ok(copy)
    }

    /// The tags to which `what` happened, in order.
    pub(crate) fn tags(&self, what: What) -> Result<KVVec<u64>> {
        let mut tags = KVVec::with_capacity(ROOM, GFP_KERNEL)?;
        for seen in self.state.lock().seen.iter() {
            if seen.what == what {
                let _full = tags.push_within_capacity(seen.tag);
            }
        }
        Ok(tags)
    }

    /// How often `what` happened to `tag`.
    pub(crate) fn count(&self, tag: u64, what: What) -> usize {
        let is_it = |seen: &&Seen| seen.tag == tag && seen.what == what;
        self.state.lock().seen.iter().filter(is_it).count()
    }

    /// How often `what` happened at all.
    pub(crate) fn count_all(&self, what: What) -> usize {
        let is_it = |seen: &&Seen| seen.what == what;
        self.state.lock().seen.iter().filter(is_it).count()
    }

    /// Waits until `what` has happened to `tag`.
    pub(crate) fn wait_for(&self, tag: u64, what: What) -> Result {
        super::eventually("it has happened to the job", || self.count(tag, what) != 0)
    }

    /// True while job `tag` is on the hardware.
    pub(crate) fn is_running(&self, tag: u64) -> bool {
        self.state.lock().on.iter().any(|job| job.tag == tag)
    }

    /// Waits until job `tag` is on the hardware.
    pub(crate) fn wait_running(&self, tag: u64) -> Result {
        super::eventually("the job is on the hardware", || self.is_running(tag))
    }

    /// How many jobs are on the hardware.
    pub(crate) fn running(&self) -> usize {
        self.state.lock().on.len()
    }

    /// Takes the completion token of job `tag`, once it is on the hardware.
    pub(crate) fn take(&self, tag: u64) -> Result<Completion<Mock>> {
        self.wait_running(tag)?;
        self.try_take(tag).ok_or(ENOENT)
    }

    /// Takes the completion token of job `tag`, if it is on the hardware.
    pub(crate) fn try_take(&self, tag: u64) -> Option<Completion<Mock>> {
        let mut state = self.state.lock();
        let index = state.on.iter().position(|job| job.tag == tag)?;
        state.on.remove(index).ok().map(|job| job.completion)
    }

    /// Completes job `tag`, once it is on the hardware.
    pub(crate) fn complete(&self, tag: u64, result: Result<(), Errno>) -> Result {
        self.take(tag)?.complete(result);
        Ok(())
    }

    /// The hardware forgets everything.
    pub(crate) fn drop_hardware(&self) {
        loop {
            let forgotten = self.state.lock().on.pop();
            match forgotten {
                // Dropped without the GPU's lock.
                Some(job) => drop(job),
                None => return,
            }
        }
    }

    fn put(&self, tag: u64, at: Option<u64>, completion: Completion<Mock>) {
        let job = OnHardware {
            tag,
            at,
            completion,
        };
        let refused = self.state.lock().on.push_within_capacity(job);
        if refused.is_err() {
            self.complain("more jobs than the GPU holds");
        }
    }

    /// When a job that takes `ticks` is done, on a lane that does one job at a time.
    fn schedule(&self, lane: u64, ticks: u64) -> u64 {
        let mut state = self.state.lock();
        let clock = state.clock;
        if let Some((_, at)) = state.free_at.iter_mut().find(|(known, _)| *known == lane) {
            *at = clock.max(*at) + ticks;
            return *at;
        }
        if state
            .free_at
            .push_within_capacity((lane, clock + ticks))
            .is_err()
        {
            drop(state);
            self.complain("more lanes than the GPU has");
        }
        clock + ticks
    }

    /// Moves the GPU's clock, which completes what is due, in the order of its time.
    pub(crate) fn advance(&self, ticks: u64) {
        let end = {
            let mut state = self.state.lock();
            state.clock += ticks;
            state.clock
        };
        loop {
            let due = {
                let mut state = self.state.lock();
                let first = state
                    .on
                    .iter()
                    .enumerate()
                    .filter(|(_, job)| job.at.is_some_and(|at| at <= end))
                    .min_by_key(|(_, job)| job.at)
                    .map(|(index, _)| index);
                first.and_then(|index| state.on.remove(index).ok())
            };
            match due {
                Some(job) => job.completion.complete(Ok(())),
                None => return,
            }
        }
    }
}
