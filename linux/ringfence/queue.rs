// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The public handle of a queue.

mod builder;

use core::marker::PhantomData;

use kernel::alloc::Flags;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use ringfence_core::{
    Cancelled, ClosePolicy, JobId, Refused, Request, Reservation, Standing, Stats,
};

pub use builder::{BuildError, Builder};

use crate::clock::monotonic;
use crate::dependency::HardwareWait;
use crate::device::Member;
use crate::driver::Driver;
use crate::fence::{Draft, Fence, Timeline};
use crate::job::{no_memory, sealed, Guarded, Job, JobFence, Parts, PrepareError, PrepareFailed};
use crate::job::{Prepared, SubmissionGuard};
use crate::lock::Gate;
use crate::shared::Ref;
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
    fn out_fence(fence: ARef<Fence>) -> Self::OutFence;
}

/// Jobs end in finite time and give out a finished fence.
pub enum Normal {}

/// Jobs may run for ever. Nobody may wait for one with a fence, so there is none to get: memory
/// management would wait for it without end (`Documentation/driver-api/dma-buf.rst`, "Indefinite
/// DMA Fences").
pub enum LongRunning {}

impl mode::Sealed for Normal {}
impl mode::Sealed for LongRunning {}

impl Mode for Normal {
    type OutFence = ARef<Fence>;

    #[inline]
    fn out_fence(fence: ARef<Fence>) -> ARef<Fence> {
        fence
    }
}

impl Mode for LongRunning {
    type OutFence = ();

    fn out_fence(fence: ARef<Fence>) {
        drop(fence);
    }
}

/// The ordered line of jobs of one context.
///
/// Jobs run in the order in which they are submitted, and their fences signal in that order,
/// exactly once, whatever goes wrong. Dropping the handle closes the queue as its builder said and
/// takes back all suspends; jobs that are left go on by themselves. Methods may be called in any
/// context but a fence callback, unless they say that they sleep.
pub struct Queue<D: Driver, M: Mode = Normal> {
    shared: Ref<D>,
    close_policy: ClosePolicy,
    _mode: PhantomData<fn() -> M>,
}

/// There is no such job: it was never armed, or is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoSuchJob;

impl<D: Driver> Queue<D> {
    /// Begins to make a queue. `name` is for people: traces, snapshots, messages. It is cut after
    /// 31 bytes.
    pub fn builder(name: &CStr) -> Builder<'_> {
        Builder::new(name)
    }
}

impl<D: Driver, M: Mode> Queue<D, M> {
    fn new(shared: Ref<D>, close_policy: ClosePolicy) -> Self {
        Self {
            shared,
            close_policy,
            _mode: PhantomData,
        }
    }

    /// Makes a job: takes all the memory and room it will ever need, by `flags`. The only step that
    /// can fail. The ring grows here, up to the queue's capacity, where `flags` has all of
    /// `GFP_KERNEL`.
    ///
    /// # Errors
    ///
    /// No memory; the queue is full, closed or killed; or the job costs more credits than there
    /// are. Gives the payload back.
    #[inline]
    pub fn prepare(
        &self,
        payload: D::Payload,
        cost: u32,
        flags: Flags,
    ) -> Result<Prepared<'_, D, M>, PrepareFailed<D::Payload>> {
        let request = Request {
            cost,
            ..Request::default()
        };
        self.prepare_with(payload, request, flags)
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
        flags: Flags,
    ) -> Result<Prepared<'_, D, M>, PrepareFailed<D::Payload>> {
        let Ok(draft) = Draft::new(flags) else {
            return Err(no_memory(payload));
        };
        let hardware = match D::NAMES_FENCES {
            true => match KBox::new(HardwareWait::new(), flags) {
                Ok(hardware) => Some(hardware),
                Err(_) => return Err(no_memory(payload)),
            },
            false => None,
        };
        let Ok(memory) = KBox::<Job<D>>::new_uninit(flags) else {
            return Err(no_memory(payload));
        };
        let reservation = match self.reserve(request, flags) {
            Ok(reservation) => reservation,
            Err(error) => return Err(PrepareFailed { payload, error }),
        };
        let job = KBox::write(
            memory,
            Job {
                fence: JobFence::Draft(draft),
                cost: reservation.cost(),
                payload,
                replay_data: None,
                dependencies: None,
                hardware,
                queue: self.shared.clone(),
            },
        );
        Ok(Prepared::new(Parts { job, reservation }))
    }

    /// Takes room for a job; makes some where the ring may grow.
    #[inline]
    fn reserve(&self, request: Request, flags: Flags) -> Result<Reservation, PrepareError> {
        match self.shared.prepare(request) {
            Ok(reservation) => Ok(reservation),
            Err(error) => self.reserve_more(request, flags, error),
        }
    }

    #[cold]
    fn reserve_more(
        &self,
        request: Request,
        flags: Flags,
        mut error: ringfence_core::PrepareError,
    ) -> Result<Reservation, PrepareError> {
        let mut may_grow = flags.contains(GFP_KERNEL);
        while may_grow && error == ringfence_core::PrepareError::Full {
            // Once more where it cannot grow: somebody else may have had it grow to its end.
            may_grow = self
                .shared
                .grow(flags)
                .map_err(|_| PrepareError::NoMemory)?;
            match self.shared.prepare(request) {
                Ok(reservation) => return Ok(reservation),
                Err(again) => error = again,
            }
        }
        Err(PrepareError::Refused(error))
    }

    /// Waits until no other guard covers this queue. Sleeps.
    ///
    /// # Errors
    ///
    /// None for a single queue; the result is that of [`SubmissionGuard::over`].
    pub fn submission_guard(&self) -> Result<SubmissionGuard<'_>> {
        SubmissionGuard::over(&[self])
    }

    /// Asks that a job not run. If it has not begun to, its fence signals `error` in its turn, once
    /// everything it waits for has signalled.
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

    /// Ends every job now, in order, with `error`, wherever it is: the hardware must have let go of
    /// them. Later completions are ignored. The queue takes no more jobs.
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

    /// Signals when the queue is closed or killed and has no job left. Made when it is asked for,
    /// so that a queue that nobody asks pays nothing.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn closed(&self, flags: Flags) -> Result<ARef<Fence>> {
        let timeline = Timeline::new(c"ringfence", c"closed", flags)?;
        let (signaller, fence) = timeline.signaller(flags)?;
        let mut state = self.shared.lock();
        if state.is_over() {
            drop(state);
            signaller.signal(Ok(()));
            return Ok(fence);
        }
        let known = state.keep_closed(signaller);
        drop(state);
        // Whoever asked before has the first one, which now follows.
        match known {
            None => Ok(fence),
            Some((signaller, known)) => {
                signaller.signal(Ok(()));
                Ok(known)
            }
        }
    }

    /// Waits until the queue is closed or killed and has no job left. Sleeps.
    pub fn wait_closed(&self) {
        self.shared.wait_until_over();
    }

    /// Begins no driver callback until resumed as often as suspended. One that is running ends in
    /// its own time. The head of the line's clock stands still.
    pub fn suspend(&self) {
        self.shared.urgent_event(|core| core.suspend(monotonic()));
    }

    /// Takes back one [`Queue::suspend`]. Returns false if there is none to take back.
    pub fn resume(&self) -> bool {
        self.shared.urgent_event(|core| core.resume(monotonic()))
    }

    /// Ends the time of the job at the head of the line now, so that the driver is asked about it.
    /// Returns whether there is such a job on the hardware.
    pub fn trigger_timeout(&self) -> bool {
        self.shared.urgent_event(|core| core.trigger_timeout())
    }

    /// Stops the queue: returns once none of its driver callbacks is running; none begins before
    /// what is returned is dropped. Jobs that have not run stay in line. Waits until nobody else
    /// has stopped a queue of the device. Sleeps; does not allocate.
    ///
    /// # Errors
    ///
    /// [`StopError`]; nothing is stopped.
    pub fn stop(&self) -> Result<StopGuard<'_, D>, StopError> {
        StopGuard::begin(&self.shared)
    }

    /// How the queue stands: strikes, or banned. Once banned, [`Queue::prepare`] fails, jobs that
    /// have not run end with `ECANCELED`, and those on the hardware go on.
    pub fn standing(&self) -> Standing {
        self.shared.lock().core.standing()
    }

    /// What has happened so far.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
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
        self.shared.queue_name()
    }

    /// The fence context of the queue's jobs.
    pub fn context(&self) -> u64 {
        (*self.shared).context()
    }

    /// Prints the queue, its jobs and its last events. Allocates; the queue goes on.
    ///
    /// # Errors
    ///
    /// What `out` returns.
    pub fn snapshot(&self, out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        Member::snapshot(&*self.shared, out)
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

impl<D: Driver, M: Mode> sealed::Gated for Queue<D, M> {
    #[allow(private_interfaces)]
    fn gate(&self) -> &Gate {
        self.shared.gate()
    }
}

impl<D: Driver, M: Mode> Guarded for Queue<D, M> {}
