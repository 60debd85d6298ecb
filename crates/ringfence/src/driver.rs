// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a driver implements, and what it is given.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ringfence_core::{self as core_queue, Attempt, JobId};

use crate::fence::Fence;
use crate::irq::Reaping;
use crate::job::Job;
use crate::shared::Shared;
use crate::Errno;

/// The driver's side of one queue.
///
/// The queue owns the value and hands out `&mut self`: callbacks of one queue never overlap. They
/// are called with no lock held, on a worker of the queue's executor or, with bypass, on the
/// submitting thread, always inside a [signalling section](crate::section): they must not
/// allocate, take a sleeping lock or wait for a fence. After [`Device::unbind`] has returned,
/// none is running or will run, and the value has been dropped. Without unbind it is dropped when
/// the queue is closed and has no job left, on a thread that may sleep.
///
/// A callback that panics poisons its queue: the queue is killed with `EOWNERDEAD`, as by
/// [`Queue::kill`](crate::Queue::kill), which a line on standard error says once. Other queues go on.
///
/// [`Device::unbind`]: crate::Device::unbind
pub trait Driver: Send + Sized + 'static {
    /// One job's data, owned by the queue from submit on and lent to the callbacks. Dropped after
    /// the job's fence has signalled, outside any signalling section. Its drop must not wait for
    /// a fence of its own queue: other effects of the same visit may come after it.
    type Payload: Send + 'static;

    /// What it takes to put a job that is on the hardware there once more, after a reset or on
    /// another device: ring positions, encoded words, addresses. `run` leaves it with its answer;
    /// it stays with the job until its fence has signalled, and is dropped like the payload. `()`
    /// where nothing is needed, or where jobs cannot be replayed.
    type ReplayData: Send + 'static;

    /// Whether `run` answers [`Submission::follow`] or [`Submission::no_resources`], for which
    /// each job then has memory prepared.
    const NAMES_FENCES: bool = false;

    /// Where payloads may be dropped: on threads alone, or in interrupt handlers and driver
    /// callbacks too, for which their type must be [`DropInIrq`](crate::irq::DropInIrq).
    const REAPING: Reaping<Self::Payload> = Reaping::ON_THREADS;

    /// Puts a job on the hardware.
    fn run(&mut self, submission: Submission<'_, Self>) -> RunOutcome;

    /// The job at the head of the line has had its time. Nothing has been done about it: the
    /// driver finds out, and resets what must be reset.
    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome;

    /// Puts a job on the hardware again that a reset or a move to another device took off it. The
    /// job has run, and keeps its fence: `run` is never called again for it. Called only on behalf
    /// of who has [stopped](crate::Queue::stop) the queue, on that thread, jobs in order.
    ///
    /// If not implemented, jobs cannot be replayed: they fail with `ENODATA`.
    fn replay(&mut self, replay: Replay<'_, Self>) -> ReplayOutcome {
        replay.failed(Errno::ENODATA)
    }
}

/// A job in its run callback: a loan that ends with the callback, and the one way to answer.
pub struct Submission<'run, D: Driver> {
    pub(crate) queue: &'run Arc<Shared<D>>,
    pub(crate) id: JobId,
    pub(crate) job: &'run Job<D>,
    pub(crate) payload: &'run mut D::Payload,
    pub(crate) data: &'run mut Option<D::ReplayData>,
}

impl<D: Driver> fmt::Debug for Submission<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Submission({:?})", self.id)
    }
}

impl<D: Driver> Submission<'_, D> {
    /// The job's data.
    #[inline]
    pub fn payload(&mut self) -> &mut D::Payload {
        self.payload
    }

    /// The job's sequence number.
    #[inline]
    pub fn seqno(&self) -> u64 {
        self.id.seqno()
    }

    /// Credits the job holds.
    pub fn cost(&self) -> u32 {
        self.job.cost
    }

    /// It is on the hardware: the token completes it, from any thread, also before this callback
    /// has returned.
    #[inline]
    pub fn pending(self) -> (Completion<D>, RunOutcome)
    where
        D::ReplayData: Default,
    {
        self.pending_with(D::ReplayData::default())
    }

    /// As [`Submission::pending`], with what a replay of the job needs.
    #[inline]
    pub fn pending_with(self, data: D::ReplayData) -> (Completion<D>, RunOutcome) {
        *self.data = Some(data);
        let completion = Completion::new(self.queue, self.id, Attempt::FIRST);
        (completion, RunOutcome(Answer::Pending))
    }

    /// Its work has been done at once.
    #[inline]
    pub fn done(self) -> RunOutcome {
        RunOutcome(Answer::Done)
    }

    /// It could not be put on the hardware.
    pub fn failed(self, error: Errno) -> RunOutcome {
        RunOutcome(Answer::Failed(error))
    }

    /// It is on the hardware, whose own `fence` completes it with its result. Needs
    /// [`Driver::NAMES_FENCES`].
    pub fn follow(self, fence: Fence) -> RunOutcome
    where
        D::ReplayData: Default,
    {
        self.follow_with(fence, D::ReplayData::default())
    }

    /// As [`Submission::follow`], with what a replay of the job needs. The fence counts for this
    /// attempt only: once the job is replayed, what it says is late.
    pub fn follow_with(self, fence: Fence, data: D::ReplayData) -> RunOutcome {
        *self.data = Some(data);
        const { assert!(D::NAMES_FENCES, "set Driver::NAMES_FENCES to follow fences") };
        RunOutcome(Answer::Follow(fence))
    }

    /// There is no room for it until `fence` signals; then run is called again. Needs
    /// [`Driver::NAMES_FENCES`].
    pub fn no_resources(self, fence: Fence) -> RunOutcome {
        const { assert!(D::NAMES_FENCES, "set Driver::NAMES_FENCES to name a fence") };
        RunOutcome(Answer::NoResources(fence))
    }
}

/// A run callback's answer. Made by consuming its [`Submission`].
#[derive(Debug)]
#[must_use]
pub struct RunOutcome(pub(crate) Answer);

#[derive(Debug)]
pub(crate) enum Answer {
    Pending,
    Done,
    Failed(Errno),
    Follow(Fence),
    NoResources(Fence),
}

/// The right to complete one attempt at a job, once.
///
/// Dropped without completing, it fails the job with `ECANCELED`: the hardware side has lost it.
/// Once the job has been replayed, the tokens of earlier attempts are void: completed or dropped,
/// they are counted as late and change nothing.
#[must_use = "dropping the token fails the job"]
pub struct Completion<D: Driver> {
    queue: Option<Arc<Shared<D>>>,
    id: JobId,
    attempt: Attempt,
}

impl<D: Driver> fmt::Debug for Completion<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Completion({:?})", self.id)
    }
}

impl<D: Driver> Completion<D> {
    #[inline]
    fn new(queue: &Arc<Shared<D>>, id: JobId, attempt: Attempt) -> Self {
        Self {
            queue: Some(Arc::clone(queue)),
            id,
            attempt,
        }
    }

    /// The job's sequence number.
    pub fn seqno(&self) -> u64 {
        self.id.seqno()
    }

    /// The attempt it completes.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// Says that the hardware is done with the job, with `result`. If the job is over already, as
    /// after a timeout or a kill, this is counted and ignored.
    ///
    /// Signals the job's fence on this thread when its turn has come, with callbacks, and may drop
    /// payloads of finished jobs here. Takes short locks only; may be called in a signalling
    /// section and from fence callbacks.
    #[inline]
    pub fn complete(mut self, result: Result<(), Errno>) {
        if let Some(queue) = self.queue.take() {
            queue.complete(self.id, self.attempt, result, core_queue::Context::Task);
        }
    }

    /// As [`Completion::complete`], from an interrupt handler, or from a thread that should do as
    /// little as possible: payloads are left for the worker to drop, unless
    /// [the driver says otherwise](Driver::REAPING). Interrupt-safe in handlers that a
    /// [line](crate::irq::InterruptLine) runs, and so is dropping the token.
    pub fn complete_in_irq(mut self, result: Result<(), Errno>) {
        if let Some(queue) = self.queue.take() {
            queue.complete(self.id, self.attempt, result, core_queue::Context::Irq);
        }
    }
}

impl<D: Driver> Drop for Completion<D> {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.complete(
                self.id,
                self.attempt,
                Err(Errno::ECANCELED),
                core_queue::Context::Task,
            );
        }
    }
}

/// A job whose time is up, in its timeout callback: a loan that ends with the callback.
///
/// The job may complete meanwhile; then the answer does not matter.
pub struct TimedOutJob<'ask, D: Driver> {
    pub(crate) queue: &'ask Shared<D>,
    pub(crate) id: JobId,
    pub(crate) payload: &'ask mut D::Payload,
    pub(crate) extensions_left: u8,
}

impl<D: Driver> fmt::Debug for TimedOutJob<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimedOutJob({:?})", self.id)
    }
}

impl<D: Driver> TimedOutJob<'_, D> {
    /// The job's data.
    pub fn payload(&mut self) -> &mut D::Payload {
        self.payload
    }

    /// The job's sequence number.
    pub fn seqno(&self) -> u64 {
        self.id.seqno()
    }

    /// How many more extensions the job can have.
    pub fn extensions_left(&self) -> u8 {
        self.extensions_left
    }

    /// There is no hang: the job has completed or is about to. It stays, with its whole time.
    pub fn no_hang(self) -> TimeoutOutcome {
        TimeoutOutcome(core_queue::TimeoutOutcome::NoHang)
    }

    /// The job makes progress and gets this much longer.
    ///
    /// # Errors
    ///
    /// Gives the job back if it has had all its extensions.
    pub fn extend(self, span: Duration) -> Result<TimeoutOutcome, Self> {
        if self.extensions_left == 0 {
            return Err(self);
        }
        Ok(TimeoutOutcome(core_queue::TimeoutOutcome::Extend(span)))
    }

    /// The hardware has let go of the job: it fails with `error`.
    pub fn handled(self, error: Errno) -> TimeoutOutcome {
        TimeoutOutcome(core_queue::TimeoutOutcome::Handled(error))
    }

    /// The job hangs, and it takes more than this callback may do: the job stays, the queue holds
    /// still, and the device's [`Recovery`](crate::Recovery) is called for it.
    ///
    /// # Errors
    ///
    /// Gives the job back if the device has no recovery, or none any more.
    pub fn reset(self) -> Result<TimeoutOutcome, Self> {
        if !self.queue.has_recovery() {
            return Err(self);
        }
        Ok(TimeoutOutcome(core_queue::TimeoutOutcome::Reset))
    }

    /// The device is gone: all jobs of the queue fail with `ENODEV`.
    pub fn device_gone(self) -> TimeoutOutcome {
        TimeoutOutcome(core_queue::TimeoutOutcome::DeviceGone)
    }
}

/// A timeout callback's answer. Made by consuming its [`TimedOutJob`].
#[derive(Debug)]
#[must_use]
pub struct TimeoutOutcome(pub(crate) core_queue::TimeoutOutcome);

/// A job in its replay callback: a loan that ends with the callback, and the one way to answer.
pub struct Replay<'again, D: Driver> {
    pub(crate) queue: &'again Arc<Shared<D>>,
    pub(crate) id: JobId,
    pub(crate) attempt: Attempt,
    pub(crate) cost: u32,
    pub(crate) payload: &'again mut D::Payload,
    pub(crate) data: &'again mut D::ReplayData,
}

impl<D: Driver> fmt::Debug for Replay<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replay({:?}, {:?})", self.id, self.attempt)
    }
}

impl<D: Driver> Replay<'_, D> {
    /// The job's data.
    pub fn payload(&mut self) -> &mut D::Payload {
        self.payload
    }

    /// What `run` left for this, as the last replay left it.
    pub fn data(&mut self) -> &mut D::ReplayData {
        self.data
    }

    /// Both at once.
    pub fn parts(&mut self) -> (&mut D::Payload, &mut D::ReplayData) {
        (self.payload, self.data)
    }

    /// The job's sequence number.
    pub fn seqno(&self) -> u64 {
        self.id.seqno()
    }

    /// Credits the job holds.
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// Which attempt this is. The first was run's.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// It is on the hardware again: the token completes it. Those of earlier attempts are void.
    pub fn pending(self) -> (Completion<D>, ReplayOutcome) {
        let completion = Completion::new(self.queue, self.id, self.attempt);
        (
            completion,
            ReplayOutcome(core_queue::ReplayOutcome::Pending),
        )
    }

    /// Its work has been done, now or before the reset.
    pub fn done(self) -> ReplayOutcome {
        ReplayOutcome(core_queue::ReplayOutcome::Done)
    }

    /// It could not be put on the hardware again.
    pub fn failed(self, error: Errno) -> ReplayOutcome {
        ReplayOutcome(core_queue::ReplayOutcome::Failed(error))
    }
}

/// A replay callback's answer. Made by consuming its [`Replay`].
#[derive(Debug)]
#[must_use]
pub struct ReplayOutcome(pub(crate) core_queue::ReplayOutcome);
