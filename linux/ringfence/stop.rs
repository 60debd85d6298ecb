// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The stop guard: no driver callback runs, so what is on the hardware can be walked, ended and
//! replayed.
//!
//! A recovery is always the same: stop, have the hardware let go, walk the jobs that were on it
//! (end the guilty one, replay or end the others, each with the fence it has), let go. Everything
//! else goes on meanwhile: jobs are submitted and queue up, completions on their way arrive, fences
//! signal. A job that completes while the walk has it is not punished and not freed.
//!
//! Queues of one device are stopped by one thread at a time, so that two recoveries of a device
//! never overlap, whoever begins them. A wish for a recovery that another thread's stop gets in the
//! way of is not lost: unless that has ended or replayed the job, the driver is asked again after.

mod device;
mod walk;

use core::marker::PhantomData;
use core::ops::AddAssign;
use core::ptr::NonNull;

use ringfence_core::{JobId, Standing, Walked};

pub use device::{DeviceStop, QueueStop, StoppedQueue};
pub use walk::{PendingJob, Replayed, Walk};

use crate::device::{Hold, Member};
use crate::driver::Driver;
use crate::job::Job;
use crate::shared::Ref;
use crate::Errno;

/// Why a queue or a device could not be stopped. Nothing is stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StopError {
    /// Called from a driver callback of the device, for whose end it would wait.
    InCallback,
    /// This thread has stopped queues of the device already.
    Nested,
    /// The device is unbound: there is no driver any more.
    Unbound,
    /// The queue is closed and has no job left, or is about to be told so: there is no driver.
    Closed,
}

/// A stopped queue: no driver callback runs, and none begins before this is dropped.
///
/// Jobs may be submitted, completed and cancelled meanwhile, and the queue killed, closed or
/// suspended, by any thread; an unbind of the device waits. The clock of the head of the line
/// stands still. Stays on its thread. One that is forgotten stops the queue for ever.
#[must_use = "dropping it restarts the queue"]
pub struct StopGuard<'stop, D: Driver> {
    body: Body<D>,
    /// `None` where something else restarts the queue.
    hold: Option<Hold>,
    _stop: PhantomData<&'stop mut D>,
    // The right to stop belongs to a thread.
    _not_send: PhantomData<*const ()>,
}

/// What a guard works with.
///
/// # Invariants
///
/// The queue is stopped and quiet for as long as this lives, and `driver` points to the driver's
/// value, which nobody else uses.
struct Body<D: Driver> {
    queue: Ref<D>,
    driver: NonNull<D>,
}

/// A job that is to blame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guilty {
    /// Its sequence number.
    pub seqno: u64,
    /// What its fence says.
    pub error: Errno,
}

/// What a ready-made policy does with jobs on the hardware that are not to blame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// They are replayed, in order: [`Driver::replay`]. One that cannot be any more fails: with
    /// `ETIME` where the queue's time for closing is up, with `ECANCELED` after 255 replays.
    Replay,
    /// They fail with `ECANCELED`.
    Cancel,
    /// They stay: the hardware still has them.
    Keep,
}

/// What came of the jobs that a policy dealt with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// Ended well: the replay callback found them done, or they completed while they were looked
    /// at.
    pub completed: u64,
    /// On the hardware again.
    pub replayed: u64,
    /// Failed with `ECANCELED`, as [`Rest::Cancel`] has it.
    pub cancelled: u64,
    /// Failed: the guilty ones, and those that could not be replayed.
    pub failed: u64,
    /// Left where they were.
    pub kept: u64,
}

impl AddAssign for Recovered {
    fn add_assign(&mut self, other: Self) {
        self.completed += other.completed;
        self.replayed += other.replayed;
        self.cancelled += other.cancelled;
        self.failed += other.failed;
        self.kept += other.kept;
    }
}

/// Guilty jobs of any queue: fence context, sequence number, error.
#[derive(Clone, Copy)]
pub(crate) struct Guilt<'a>(pub(crate) &'a [(u64, u64, Errno)]);

impl Guilt<'_> {
    fn error_of(self, context: u64, seqno: u64) -> Option<Errno> {
        let is_it = |guilty: &&(u64, u64, Errno)| guilty.0 == context && guilty.1 == seqno;
        self.0.iter().find(is_it).map(|guilty| guilty.2)
    }
}

impl<'stop, D: Driver> StopGuard<'stop, D> {
    /// Stops a queue.
    pub(crate) fn begin(queue: &'stop Ref<D>) -> Result<Self, StopError> {
        let hold = queue.scope().hold()?;
        queue.hold_still()?;
        queue.await_quiet();
        Ok(Self::new(queue.clone(), Some(hold)))
    }

    /// A view of a queue that is stopped and quiet, says the caller, for `'stop`.
    pub(crate) fn view(queue: Ref<D>) -> Self {
        Self::new(queue, None)
    }

    fn new(queue: Ref<D>, hold: Option<Hold>) -> Self {
        let driver = queue.driver_while_stopped();
        Self {
            body: Body { queue, driver },
            hold,
            _stop: PhantomData,
            _not_send: PhantomData,
        }
    }

    /// The queue's name.
    pub fn name(&self) -> &str {
        self.body.queue.queue_name()
    }

    /// The fence context of the queue's jobs.
    pub fn context(&self) -> u64 {
        (*self.body.queue).context()
    }

    /// The driver's value: to reset what it drives, or to move it to other hardware.
    pub fn driver(&mut self) -> &mut D {
        self.body.driver()
    }

    /// The job because of which a timeout callback has asked for a recovery, while that is wanted.
    pub fn wants_recovery(&self) -> Option<u64> {
        Member::wants_recovery(&*self.body.queue)
    }

    /// Walks the jobs on the hardware, oldest first. Jobs that have not run do not come up: they
    /// stay in line.
    pub fn pending(&mut self) -> Walk<'_, D> {
        Walk::new(&mut self.body)
    }

    /// The ready-made policy: the guilty job, if it has not ended, ends as timed out, which is a
    /// strike; then the others by `rest`, in order. The hardware must have let go of what is to be
    /// ended or replayed.
    pub fn recover(&mut self, guilty: Option<Guilty>, rest: Rest) -> Recovered {
        let context = self.context();
        match guilty {
            None => self.recover_by(Guilt(&[]), rest),
            Some(Guilty { seqno, error }) => {
                self.recover_by(Guilt(&[(context, seqno, error)]), rest)
            }
        }
    }

    pub(crate) fn recover_by(&mut self, guilty: Guilt<'_>, rest: Rest) -> Recovered {
        let context = self.context();
        let mut sum = Recovered::default();
        let mut walk = self.pending();
        while let Some(job) = walk.next() {
            let ended = match (guilty.error_of(context, job.seqno()), rest) {
                (Some(error), _) => {
                    let ended = job.time_out(error);
                    sum.failed += u64::from(ended);
                    ended
                }
                (None, Rest::Keep) => {
                    job.keep();
                    sum.kept += 1;
                    true
                }
                (None, Rest::Cancel) => {
                    let ended = job.fail(Errno::ECANCELED);
                    sum.cancelled += u64::from(ended);
                    ended
                }
                (None, Rest::Replay) => match job.replay() {
                    Replayed::Pending => {
                        sum.replayed += 1;
                        true
                    }
                    Replayed::Failed(_) => {
                        sum.failed += 1;
                        true
                    }
                    Replayed::Done | Replayed::Ended => false,
                },
            };
            sum.completed += u64::from(!ended);
        }
        sum
    }

    /// A job of this queue was guilty of something that no outcome says, as a fault that took
    /// others along. Enough strikes ban the queue: [`Builder::ban`](crate::Builder::ban).
    pub fn strike(&mut self) -> Standing {
        Member::strike(&*self.body.queue)
    }

    /// As [`Queue::kill`](crate::Queue::kill).
    pub fn kill(&mut self, error: Errno) {
        Member::kill(&*self.body.queue, error);
    }
}

impl<D: Driver> Drop for StopGuard<'_, D> {
    fn drop(&mut self) {
        self.body.queue.settle();
        if let Some(hold) = self.hold.take() {
            self.body.queue.restart();
            // Last: until then nobody else stops it.
            drop(hold);
        }
    }
}

impl<D: Driver> Body<D> {
    fn driver(&mut self) -> &mut D {
        // SAFETY: By the type's invariant nobody else uses it, and `self` is borrowed exclusively.
        unsafe { self.driver.as_mut() }
    }

    /// Replays the job that is lent, and so answers the loan.
    fn replay(&mut self, id: JobId, job: NonNull<Job<D>>) -> Replayed {
        // SAFETY: By the type's invariant nobody else uses the driver; `self` is borrowed
        // exclusively.
        let driver = unsafe { self.driver.as_mut() };
        // SAFETY: The queue is stopped, and the job is lent to this walk, says the caller.
        unsafe { self.queue.replay(driver, id, job) }
    }

    /// Answers a loan. False if the job had ended by itself.
    fn give_back(&mut self, job: JobId, what: Walked) -> bool {
        self.queue.walked(job, what)
    }
}
