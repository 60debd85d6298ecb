// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Acting on a batch of effects, with no lock held, and the answers.

use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::Relaxed;
use ringfence_core::{self as core_queue, JobId, Outcome, Time, Visit};

use super::batch::{Action, Batch, Few};
use super::{read, Ref, Shared, State};
use crate::callback::{self, Marking};
use crate::clock::LazyNow;
use crate::dependency::HardwareWait;
use crate::driver::{Answer, Driver, Submission, TimedOutJob};
use crate::fence::{self, Fence};
use crate::job::{Job, JobFence};
use crate::lock::Irqs;
use crate::section::SignallingSection;
use crate::sys;
use crate::trace;
use crate::Errno;

/// What core is told about an effect.
#[derive(Clone, Copy)]
enum Report {
    Signalled(JobId),
    Ran(JobId, core_queue::RunOutcome),
    TimedOut(JobId, core_queue::TimeoutOutcome),
}

/// What a batch came to.
pub(super) struct Reports<D: Driver> {
    list: Few<Report>,
    /// A run callback wants to be called again when a fence signals, with which this is registered.
    resource: Option<(JobId, *mut HardwareWait<D>)>,
    /// Runs that follow are not begun.
    stopped: bool,
}

impl<D: Driver> Ref<D> {
    /// Acts on effects that want no answer.
    #[inline]
    pub(super) fn hand_over(&self, batch: &mut Batch<D>, irqs: &mut Irqs) {
        self.let_fences_go(batch);
        for action in batch.iter() {
            match action {
                // SAFETY: The action carries the job and is acted on once.
                Action::Reap(job) => unsafe { reap(job, irqs) },
                Action::Signal { .. } | Action::Run { .. } | Action::TimedOut { .. } => {
                    debug_assert!(false, "an effect that wants an answer was handed over");
                }
                plain => self.do_plain(plain, irqs),
            }
        }
        batch.clear();
    }

    /// What is the same whoever waits for answers.
    #[inline]
    fn do_plain(&self, action: Action<D>, irqs: &mut Irqs) {
        match action {
            Action::ArmTimer(at) => self.arm_timer(at),
            Action::Recover => self.scope.wake_recovery(),
            Action::Kick => self.kick(),
            Action::Closed => {
                irqs.restore();
                self.tell_closed();
            }
            _ => {}
        }
    }

    /// Gives up the fences of jobs that are about to be dropped, while interrupts are off: freeing
    /// one turns them off by itself.
    #[inline]
    fn let_fences_go(&self, batch: &Batch<D>) {
        for action in batch.iter() {
            if let Action::Reap(job) = action {
                // SAFETY: The action carries the job.
                let fence = unsafe { &mut (*job.as_ptr()).fence };
                drop(core::mem::replace(fence, JobFence::Nothing));
            }
        }
    }

    /// Acts on a batch in order. Interrupts are off where nothing must be done with them on.
    #[inline]
    pub(super) fn act(&self, batch: &mut Batch<D>, irqs: &mut Irqs) -> Reports<D> {
        let mut reports = Reports {
            list: Few::new(),
            resource: None,
            stopped: false,
        };
        let traced = trace::is_on();
        let lends = batch
            .iter()
            .any(|action| matches!(action, Action::Run { .. } | Action::TimedOut { .. }));
        self.let_fences_go(batch);
        for action in batch.iter() {
            match action {
                Action::Signal {
                    id,
                    job,
                    outcome,
                    time,
                } => {
                    // SAFETY: A job whose `Signal` is not answered is not reaped.
                    unsafe { self.signal(id, job, outcome, time, traced) };
                    reports.list.push(Report::Signalled(id));
                }
                Action::Run { id, job } => {
                    match D::RUNS_WITH_IRQS_OFF {
                        true => irqs.turn_off(),
                        false => irqs.restore(),
                    }
                    // SAFETY: It is lent to this visit, which answers once it has.
                    unsafe { self.run(id, job, &mut reports, traced) };
                }
                Action::TimedOut {
                    id,
                    job,
                    extensions_left,
                } => {
                    irqs.restore();
                    // SAFETY: It is lent to this visit, which answers once it has.
                    let outcome = unsafe { self.timed_out(id, job, extensions_left) };
                    reports.list.push(Report::TimedOut(id, outcome));
                }
                Action::Reap(job) if lends && !Shared::<D>::DROPS_IN_IRQ => {
                    irqs.restore();
                    // A stop in the payload's drop would wait for what this visit is still to
                    // answer.
                    // SAFETY: The action carries the job and is acted on once.
                    self.as_in_a_callback(|| unsafe { reap(job, irqs) });
                }
                // SAFETY: The action carries the job and is acted on once.
                Action::Reap(job) => unsafe { reap(job, irqs) },
                plain => self.do_plain(plain, irqs),
            }
        }
        irqs.did(batch.len());
        batch.clear();
        reports
    }

    /// # Safety
    ///
    /// The job is not reaped meanwhile.
    #[inline]
    unsafe fn signal(
        &self,
        id: JobId,
        job: NonNull<Job<D>>,
        outcome: Outcome,
        time: Time,
        traced: bool,
    ) {
        if traced {
            trace::done(self.context(), id.seqno(), outcome.result());
        }
        // SAFETY: From arm to reap the fence is there and is not changed.
        if let Some(fence) = unsafe { (*job.as_ptr()).fence.get() } {
            fence::signal(fence, outcome.result(), time);
        }
    }

    /// # Safety
    ///
    /// Core has lent the job to this visit.
    #[inline]
    unsafe fn run(&self, id: JobId, job: NonNull<Job<D>>, reports: &mut Reports<D>, traced: bool) {
        if reports.stopped || read(&self.interrupt) != 0 {
            reports.stopped = true;
            return;
        }
        let job = job.as_ptr();
        // SAFETY: Lent, says the caller; and so is the driver. Field by field: another visit may
        // signal the job's fence meanwhile, and only looks at that.
        let (payload, data, hardware, fence, cost, driver) = unsafe {
            (
                &mut (*job).payload,
                &mut (*job).replay_data,
                &mut (*job).hardware,
                &(*job).fence,
                (*job).cost,
                &mut *self.driver.get(),
            )
        };
        let Some(driver) = driver else {
            debug_assert!(false, "a job that runs has a driver");
            let failed = core_queue::RunOutcome::Failed(Errno::ENODEV);
            reports.list.push(Report::Ran(id, failed));
            return;
        };
        let _section = SignallingSection::enter();
        if traced {
            self.trace_run(id);
        }
        let Some(fence) = fence.get() else { return };
        let submission = Submission {
            queue: self,
            id,
            cost,
            payload,
            data,
            fence,
        };
        let answer = match D::RUNS_WITH_IRQS_OFF {
            // With interrupts off everybody sees that this is no place to sleep or to nest.
            true => driver.run(submission).0,
            false => self.inside(|| driver.run(submission).0),
        };
        let outcome = match answer {
            Answer::Pending => core_queue::RunOutcome::Pending,
            Answer::Done => core_queue::RunOutcome::Done,
            Answer::Failed(error) => core_queue::RunOutcome::Failed(error),
            Answer::Follow(fence) => self.follow(id, hardware.as_deref_mut(), fence),
            Answer::NoResources(fence) => {
                self.no_resources(id, hardware.as_deref_mut(), fence, reports, traced)
            }
        };
        reports.list.push(Report::Ran(id, outcome));
    }

    /// Has the hardware's fence complete the job.
    fn follow(
        &self,
        id: JobId,
        wait: Option<&mut HardwareWait<D>>,
        fence: ARef<Fence>,
    ) -> core_queue::RunOutcome {
        // Kept from compiling by `Submission::follow`.
        let Some(wait) = wait else {
            return core_queue::RunOutcome::Failed(Errno::EINVAL);
        };
        // SAFETY: The memory stays until the job is reaped, which forgets the wait first.
        match unsafe { HardwareWait::follow(wait, id, self.as_ptr(), fence) } {
            Ok(()) => core_queue::RunOutcome::Pending,
            Err(Ok(())) => core_queue::RunOutcome::Done,
            Err(Err(error)) => core_queue::RunOutcome::Failed(error),
        }
    }

    /// Has the fence say when to run the job again.
    fn no_resources(
        &self,
        id: JobId,
        wait: Option<&mut HardwareWait<D>>,
        fence: ARef<Fence>,
        reports: &mut Reports<D>,
        traced: bool,
    ) -> core_queue::RunOutcome {
        // Kept from compiling by `Submission::no_resources`.
        let Some(wait) = wait else {
            return core_queue::RunOutcome::Failed(Errno::EINVAL);
        };
        if traced {
            let on = (fence.context(), fence.seqno());
            trace::unschedulable(self.context(), id.seqno(), on);
        }
        let wait: *mut _ = wait;
        // Before core is told that the job waits: from then on it may be ended and reaped.
        // SAFETY: As in `follow`.
        if !unsafe { HardwareWait::wait_for_resource(wait, id, self.as_ptr(), fence) } {
            reports.resource = Some((id, core::ptr::null_mut()));
        } else {
            reports.resource = Some((id, wait));
        }
        reports.stopped = true;
        core_queue::RunOutcome::NoResources
    }

    /// # Safety
    ///
    /// Core has lent the job to this visit.
    unsafe fn timed_out(
        &self,
        id: JobId,
        job: NonNull<Job<D>>,
        extensions_left: u8,
    ) -> core_queue::TimeoutOutcome {
        // SAFETY: Lent, says the caller; and so is the driver.
        let (payload, driver) = unsafe { (&mut (*job.as_ptr()).payload, &mut *self.driver.get()) };
        let Some(driver) = driver else {
            debug_assert!(false, "a job that is asked about has a driver");
            return core_queue::TimeoutOutcome::DeviceGone;
        };
        let _section = SignallingSection::enter();
        let asked = TimedOutJob {
            queue: self,
            id,
            payload,
            extensions_left,
        };
        self.inside(|| driver.timed_out(asked).0)
    }

    /// Calls a driver callback with interrupts on.
    #[inline]
    pub(super) fn inside<R>(&self, callback: impl FnOnce() -> R) -> R {
        // Where run marks nothing, nobody looks for marks but while there is one.
        let _marking = D::RUNS_WITH_IRQS_OFF.then(Marking::new);
        let mark = callback::enter();
        // SAFETY: A thread has itself.
        self.inside
            .store(unsafe { sys::ringfence_current() }, Relaxed);
        let answer = callback();
        self.inside.store(core::ptr::null_mut(), Relaxed);
        drop(mark);
        answer
    }

    /// So that whoever asks finds this thread in a callback of the queue. The caller has the run
    /// baton.
    fn as_in_a_callback(&self, f: impl FnOnce()) {
        // SAFETY: A thread has itself.
        self.inside
            .store(unsafe { sys::ringfence_current() }, Relaxed);
        f();
        self.inside.store(core::ptr::null_mut(), Relaxed);
    }

    #[cold]
    fn trace_run(&self, id: JobId) {
        let state = self.state.lock();
        let queued = u32::try_from(state.core.queued()).unwrap_or(u32::MAX);
        let on_hardware = state.core.credits_used();
        drop(state);
        trace::run(
            &self.trace_ring(),
            id.seqno(),
            queued,
            on_hardware,
            self.client,
        );
    }

    /// Tells core what came of a batch.
    #[inline]
    pub(super) fn answer(&self, state: &mut State<D>, reports: &mut Reports<D>, visit: &mut Visit) {
        let mut now = LazyNow::new();
        let core = &mut state.core;
        for report in reports.list.iter() {
            let answered = match report {
                Report::Signalled(id) => core.signalled(visit, id),
                Report::Ran(id, outcome) => core.run_returned(visit, id, outcome),
                Report::TimedOut(id, outcome) => {
                    core.timed_out_returned(visit, id, outcome, &mut now)
                }
            };
            debug_assert!(answered.is_ok());
        }
        if reports.stopped {
            let handed_back = core.hand_back_runs(visit);
            debug_assert!(handed_back.is_ok());
        }
        if let Some((id, wait)) = reports.resource.take() {
            // SAFETY: Under the lock a job that was just lent to this visit is not reaped.
            if wait.is_null() || unsafe { (*wait).tell_from_now_on() } {
                // A job that was killed meanwhile does not wait any more.
                let _ = core.resource_signalled(id);
            }
        }
        self.tell_outside(state);
    }

    fn arm_timer(&self, at: Time) {
        // SAFETY: It was initialised, and is not shut down: somebody has a count.
        unsafe { sys::ringfence_timer_set(self.timer.get(), at.as_ns()) };
    }
}

impl<D: Driver> Shared<D> {
    /// Wakes those who wait for the driver to be outside, where it is.
    #[inline]
    pub(super) fn tell_outside(&self, state: &State<D>) {
        if state.waiting_outside == 0 {
            return;
        }
        if !state.core.driver_is_inside() && !state.driver_leaving {
            self.wake_outside();
        }
    }

    pub(super) fn wake_outside(&self) {
        self.outside.fetch_add(1, kernel::sync::atomic::Full);
        // SAFETY: The variable's address is only a key.
        unsafe { sys::ringfence_wake_var(self.outside.as_ptr()) };
    }
}

/// Drops a job. Its fence lives on.
///
/// # Safety
///
/// `Reap` has given the job to the caller.
#[inline]
unsafe fn reap<D: Driver>(job: NonNull<Job<D>>, irqs: &mut Irqs) {
    if !Shared::<D>::DROPS_IN_IRQ {
        irqs.restore();
    }
    // SAFETY: It came out of a box, and is the caller's.
    let mut job = unsafe { KBox::from_raw(job.as_ptr()) };
    if let Some(dependencies) = &mut job.dependencies {
        dependencies.forget();
    }
    if let Some(hardware) = &mut job.hardware {
        hardware.forget();
    }
    drop(job);
}
