// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The public handle of a queue.

mod builder;
mod inspect;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use ringfence_core::{Cancelled, ClosePolicy, JobId, Refused, Request, Standing, Stats};

pub use builder::{BuildError, Builder};
pub use inspect::{InspectError, Inspection};

use crate::clock::monotonic;
use crate::driver::Driver;
use crate::fence::Fence;
use crate::job::{sealed, Guarded, PrepareFailed, Prepared, SubmissionGuard, SubmitLock};
use crate::shared::Shared;
use crate::stop::{StopError, StopGuard};
use crate::Errno;

mod mode {
    pub trait Sealed {}
}

/// What a queue gives out for a job: a fence, or nothing.
pub trait Mode: mode::Sealed + 'static {
    /// What submit returns.
    type OutFence;

    #[doc(hidden)]
    fn out_fence(fence: Fence) -> Self::OutFence;
}

/// Jobs end in finite time and give out a finished fence.
#[derive(Debug)]
pub enum Normal {}

/// Jobs may run for ever. Nobody may wait for one with a fence, so there is none to get:
/// memory management would wait for it without end
/// (`Documentation/driver-api/dma-buf.rst`, "Indefinite DMA Fences").
#[derive(Debug)]
pub enum LongRunning {}

impl mode::Sealed for Normal {}
impl mode::Sealed for LongRunning {}

impl Mode for Normal {
    type OutFence = Fence;

    #[inline]
    fn out_fence(fence: Fence) -> Fence {
        fence
    }
}

impl Mode for LongRunning {
    type OutFence = ();

    fn out_fence(fence: Fence) {
        drop(fence);
    }
}

/// The ordered line of jobs of one context.
///
/// Jobs run in the order in which they are submitted, and their fences signal in that order,
/// exactly once, whatever goes wrong. Dropping the handle closes the queue as its builder said and
/// takes back all suspends; jobs that are left go on by themselves, if it has no [gate](crate::Gate) that
/// is not open. All methods may be called from
/// driver and fence callbacks of the same queue, unless they say that they wait.
pub struct Queue<D: Driver, M: Mode = Normal> {
    shared: Arc<Shared<D>>,
    close_policy: ClosePolicy,
    closed: Fence,
    _mode: PhantomData<fn() -> M>,
}

impl<D: Driver, M: Mode> fmt::Debug for Queue<D, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("name", &self.shared.name())
            .finish_non_exhaustive()
    }
}

/// There is no such job: it was never armed, or is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no such job")]
pub struct NoSuchJob;

impl<D: Driver> Queue<D> {
    /// Begins to make a queue. `name` is for people: traces, snapshots, messages.
    pub fn builder(name: &str) -> Builder {
        Builder::new(name)
    }
}

impl<D: Driver, M: Mode> Queue<D, M> {
    /// Makes a job: takes all the memory and room it will ever need. The only step that can fail.
    ///
    /// # Errors
    ///
    /// The queue is full, closed or killed, or the job costs more credits than there are. Gives
    /// the payload back.
    #[inline]
    pub fn prepare(
        &self,
        payload: D::Payload,
        cost: u32,
    ) -> Result<Prepared<'_, D, M>, PrepareFailed<D::Payload>> {
        self.prepare_with(
            payload,
            Request {
                cost,
                ..Request::default()
            },
        )
    }

    /// As [`Queue::prepare`], with a timeout and a way with failed dependencies of its own.
    ///
    /// # Errors
    ///
    /// As [`Queue::prepare`].
    #[inline]
    pub fn prepare_with(
        &self,
        payload: D::Payload,
        request: Request,
    ) -> Result<Prepared<'_, D, M>, PrepareFailed<D::Payload>> {
        match self.shared.prepare(request) {
            Ok(reservation) => Ok(Prepared::new(&self.shared, payload, reservation)),
            Err(error) => Err(PrepareFailed { payload, error }),
        }
    }

    /// Waits until no other guard covers this queue. Sleeps.
    pub fn submission_guard(&self) -> SubmissionGuard<'_> {
        SubmissionGuard::over(&[self])
    }

    /// Asks that a job not run. If it has not begun to, its fence signals `error` in its turn,
    /// once everything it waits for has signalled.
    ///
    /// # Errors
    ///
    /// [`NoSuchJob`].
    pub fn cancel(&self, seqno: u64, error: Errno) -> Result<Cancelled, NoSuchJob> {
        match self
            .shared
            .urgent_event(|core| core.cancel(JobId::from_seqno(seqno), error))
        {
            Ok(cancelled) => Ok(cancelled),
            Err(Refused::Unknown) => Err(NoSuchJob),
            Err(_) => Ok(Cancelled::TooLate),
        }
    }

    /// Ends every job now, in order, with `error`, wherever it is: the hardware must have let go
    /// of them. Later completions are ignored. The queue takes no more jobs.
    pub fn kill(&self, error: Errno) {
        self.shared.urgent_event(|core| core.kill(error));
    }

    /// Takes no more jobs, and ends those there are by the queue's policy. Does not wait.
    pub fn close(&self) {
        self.close_with(self.close_policy);
    }

    /// As [`Queue::close`], by another policy. Closing again can only turn draining into
    /// cancelling.
    pub fn close_with(&self, policy: ClosePolicy) {
        self.shared
            .urgent_event(|core| core.close(policy, monotonic()));
    }

    /// Signals when the queue is closed or killed and has no job left.
    pub fn closed(&self) -> Fence {
        self.closed.clone()
    }

    /// Begins no driver callback until resumed as often as suspended. One that is running ends
    /// in its own time. The head of the line's clock stands still.
    pub fn suspend(&self) {
        self.shared.urgent_event(|core| core.suspend(monotonic()));
    }

    /// Takes back one [`Queue::suspend`]. Returns false if there is none to take back.
    pub fn resume(&self) -> bool {
        self.shared.urgent_event(|core| core.resume(monotonic()))
    }

    /// Ends the time of the job at the head of the line now, so that the driver is asked about
    /// it. Returns whether there is such a job on the hardware.
    pub fn trigger_timeout(&self) -> bool {
        self.shared.urgent_event(|core| core.trigger_timeout())
    }

    /// Stops the queue: returns once none of its driver callbacks is running; none begins before
    /// what is returned is dropped. Jobs that have not run stay in line. Waits until nobody else
    /// has stopped a queue of the device. Does not allocate.
    ///
    /// # Errors
    ///
    /// [`StopError`]; nothing is stopped.
    pub fn stop(&self) -> Result<StopGuard<'_, D>, StopError> {
        StopGuard::begin(&self.shared)
    }

    /// How the queue stands: strikes, or banned. Once banned, [`Queue::prepare`] fails with
    /// [`PrepareError::Banned`](crate::PrepareError::Banned), jobs that have not run end with
    /// `ECANCELED`, and those on the hardware go on.
    pub fn standing(&self) -> Standing {
        self.shared.lock().core.standing()
    }

    /// What has happened so far.
    pub fn stats(&self) -> Stats {
        self.shared.lock().core.stats()
    }

    /// Jobs armed whose payload has not been dropped.
    pub fn len(&self) -> u64 {
        self.shared.lock().core.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name given to the builder.
    pub fn name(&self) -> &str {
        self.shared.name()
    }

    /// The fence context of the queue's jobs.
    pub fn context(&self) -> u64 {
        self.shared.context()
    }

    /// Checks core's invariants; for tests.
    ///
    /// # Errors
    ///
    /// The first that does not hold.
    pub fn check_invariants(&self) -> Result<(), ringfence_core::Violation> {
        self.shared.lock().core.check_invariants()
    }
}

impl<D: Driver, M: Mode> Drop for Queue<D, M> {
    fn drop(&mut self) {
        let policy = self.close_policy;
        self.shared
            .urgent_event(|core| core.abandon(policy, monotonic()));
    }
}

impl<D: Driver, M: Mode> sealed::HasSubmitLock for Queue<D, M> {
    #[allow(private_interfaces)]
    fn submit_lock(&self) -> &SubmitLock {
        self.shared.submit_lock()
    }
}

impl<D: Driver, M: Mode> Guarded for Queue<D, M> {}
