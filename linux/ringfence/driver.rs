// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a driver implements, and what it is given.

use core::marker::PhantomData;
use core::time::Duration;

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use ringfence_core::{self as core_queue, Attempt, Context, Errno, JobId};

use crate::fence::Fence;
use crate::shared::{Ref, Shared};

/// The driver's side of one queue.
///
/// The queue owns the value and hands out `&mut self`: callbacks of one queue never overlap. They
/// are called with no lock held, on a worker of the queue's executor or, with bypass, on the
/// submitting thread, always inside a [signalling section](crate::SignallingSection): they must not
/// allocate with more than `GFP_ATOMIC`, take a lock under which others do, or wait for a fence.
/// After [`Device::unbind`] has returned, none is running or will run, and the value has been
/// dropped. Without unbind it is dropped when the queue is closed and has no job left, on a thread
/// that may sleep.
///
/// [`Device::unbind`]: crate::Device::unbind
pub trait Driver: Send + Sized + 'static {
    /// One job's data, owned by the queue from submit on and lent to the callbacks. Dropped after
    /// the job's fence has signalled, outside any signalling section of this queue.
    type Payload: Send + 'static;

    /// What it takes to put a job that is on the hardware there once more, after a reset or on
    /// another device: ring positions, addresses. `run` leaves it with its answer; it stays with
    /// the job until its fence has signalled. `()` where nothing is needed, or where jobs cannot be
    /// replayed.
    type ReplayData: Send + 'static;

    /// Whether `run` answers [`Submission::follow`] or [`Submission::no_resources`], for which each
    /// job then has memory prepared.
    const NAMES_FENCES: bool = false;

    /// Where payloads may be dropped: on threads alone, or in interrupts too.
    const REAPING: Reaping<Self::Payload> = Reaping::ON_THREADS;

    /// Whether [`Driver::run`] does nothing but write memory and registers, and is short: it is
    /// then called with interrupts off, in one go with what comes before and after it, and must
    /// neither sleep nor turn them on.
    const RUNS_WITH_IRQS_OFF: bool = false;

    /// Puts a job on the hardware.
    fn run(&mut self, submission: Submission<'_, Self>) -> RunOutcome;

    /// The job at the head of the line has had its time. Nothing has been done about it: the driver
    /// finds out, and resets what must be reset.
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

/// May be dropped in a hard interrupt.
///
/// # Safety
///
/// Dropping a value, wherever it came from, neither sleeps nor takes a lock that is held with
/// interrupts on. So plain data, boxes of it (`kfree` is safe there) and counts on fences may be; a
/// mutex, a workqueue, memory of `vmalloc` must not.
pub unsafe trait DropInIrq {}

macro_rules! plain_data {
    ($($plain:ty)*) => {$(
        // SAFETY: It has nothing to drop.
        unsafe impl DropInIrq for $plain {}
    )*};
}
plain_data!(() bool u8 u16 u32 u64 usize i8 i16 i32 i64 isize);

// SAFETY: Dropping it drops its parts, which may be.
unsafe impl<T: DropInIrq, const N: usize> DropInIrq for [T; N] {}
// SAFETY: As above.
unsafe impl<T: DropInIrq> DropInIrq for Option<T> {}
// SAFETY: As above, and then `kfree`.
unsafe impl<T: DropInIrq> DropInIrq for KBox<T> {}
// SAFETY: `dma_fence_put()` may be called in any context.
unsafe impl DropInIrq for ARef<Fence> {}

/// Where payloads are dropped: what [`Driver::REAPING`] says.
pub struct Reaping<P> {
    in_irq: bool,
    _payload: PhantomData<fn(P)>,
}

impl<P> Reaping<P> {
    /// On threads: the worker, or who submits or completes.
    pub const ON_THREADS: Self = Self {
        in_irq: false,
        _payload: PhantomData,
    };

    /// What core is to be told.
    pub(crate) const fn is_in_irq(&self) -> bool {
        self.in_irq
    }
}

impl<P: DropInIrq> Reaping<P> {
    /// In interrupts and driver callbacks too, which spares the worker a visit.
    pub const IN_IRQ: Self = Self {
        in_irq: true,
        _payload: PhantomData,
    };
}

/// A job in its run callback: a loan that ends with the callback, and the one way to answer.
pub struct Submission<'run, D: Driver> {
    pub(crate) queue: &'run Ref<D>,
    pub(crate) id: JobId,
    pub(crate) cost: u32,
    pub(crate) payload: &'run mut D::Payload,
    pub(crate) data: &'run mut Option<D::ReplayData>,
    pub(crate) fence: &'run ARef<Fence>,
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
        self.cost
    }

    /// The job's finished fence, as for a reservation object of the driver's own.
    pub fn finished(&self) -> &ARef<Fence> {
        self.fence
    }

    /// It is on the hardware: the token completes it, from any context, also before this callback
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
    pub fn follow(self, fence: ARef<Fence>) -> RunOutcome
    where
        D::ReplayData: Default,
    {
        self.follow_with(fence, D::ReplayData::default())
    }

    /// As [`Submission::follow`], with what a replay of the job needs. The fence counts for this
    /// attempt only: once the job is replayed, what it says is late.
    pub fn follow_with(self, fence: ARef<Fence>, data: D::ReplayData) -> RunOutcome {
        const { assert!(D::NAMES_FENCES) };
        *self.data = Some(data);
        RunOutcome(Answer::Follow(fence))
    }

    /// There is no room for it until `fence` signals; then run is called again. Needs
    /// [`Driver::NAMES_FENCES`].
    pub fn no_resources(self, fence: ARef<Fence>) -> RunOutcome {
        const { assert!(D::NAMES_FENCES) };
        RunOutcome(Answer::NoResources(fence))
    }
}

/// A run callback's answer. Made by consuming its [`Submission`].
#[must_use]
pub struct RunOutcome(pub(crate) Answer);

pub(crate) enum Answer {
    Pending,
    Done,
    Failed(Errno),
    Follow(ARef<Fence>),
    NoResources(ARef<Fence>),
}

/// The right to complete one attempt at a job, once.
///
/// Dropped without completing, it fails the job with `ECANCELED`: the hardware side has lost it.
/// Once the job has been replayed, the tokens of earlier attempts are void: completed or dropped,
/// they are counted as late and change nothing. It holds the queue's memory, and may be dropped in
/// any context but a fence callback.
#[must_use = "dropping the token fails the job"]
pub struct Completion<D: Driver> {
    queue: Option<Ref<D>>,
    id: JobId,
    attempt: Attempt,
}

impl<D: Driver> Completion<D> {
    #[inline]
    fn new(queue: &Ref<D>, id: JobId, attempt: Attempt) -> Self {
        Self {
            queue: Some(queue.clone()),
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

    #[inline]
    fn complete_as(&mut self, result: Result<(), Errno>, context: Context) {
        if let Some(queue) = self.queue.take() {
            queue.complete(self.id, self.attempt, result, context);
        }
    }

    /// Says that the hardware is done with the job, with `result`. If the job is over already, as
    /// after a timeout or a kill, this is counted and ignored.
    ///
    /// Signals the job's fence on this thread when its turn has come, with callbacks, and drops
    /// payloads of finished jobs here, where sleeping is allowed. Any context but a fence callback.
    #[inline]
    pub fn complete(mut self, result: Result<(), Errno>) {
        self.complete_as(result, Context::Task);
    }

    /// As [`Completion::complete`], from an interrupt handler, or from a thread that should do as
    /// little as possible: payloads are left for the worker to drop, unless [the driver says
    /// otherwise](Driver::REAPING).
    #[inline]
    pub fn complete_in_irq(mut self, result: Result<(), Errno>) {
        self.complete_as(result, Context::Irq);
    }

    /// As [`Completion::complete`], inside a callback of another fence, whose lock is held: the
    /// worker signals.
    pub fn complete_in_callback(mut self, result: Result<(), Errno>) {
        self.complete_as(result, Context::Nested);
    }
}

impl<D: Driver> Drop for Completion<D> {
    fn drop(&mut self) {
        self.complete_as(Err(Errno::ECANCELED), Context::Task);
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
#[must_use]
pub struct TimeoutOutcome(pub(crate) core_queue::TimeoutOutcome);

/// A job in its replay callback: a loan that ends with the callback, and the one way to answer.
pub struct Replay<'again, D: Driver> {
    pub(crate) queue: &'again Ref<D>,
    pub(crate) id: JobId,
    pub(crate) attempt: Attempt,
    pub(crate) cost: u32,
    pub(crate) payload: &'again mut D::Payload,
    pub(crate) data: &'again mut D::ReplayData,
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
#[must_use]
pub struct ReplayOutcome(pub(crate) core_queue::ReplayOutcome);
