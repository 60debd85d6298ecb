// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Acting on a batch of effects, with no lock held, and the answers.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

use arrayvec::ArrayVec;
use ringfence_core::{self as core_queue, Context, JobId, Outcome, Time, Visit};

use super::{Action, Batch, Shared, State, BATCH};
use crate::clock::LazyNow;
use crate::counted::Counted;
use crate::dependency::{HardwareWait, WaitKind};
use crate::device::callback;
use crate::driver::{Answer, Driver, Submission, TimedOutJob};
use crate::fence::Fence;
use crate::irq;
use crate::job::{Cargo, Job};
use crate::observe::EventKind;
use crate::section::SignallingSection;
use crate::sync::atomic::Ordering;
use crate::sync::SpinGuard;
use crate::Errno;

/// What core is told about an effect.
#[derive(Clone, Copy)]
enum Report {
    Signalled(JobId),
    Ran(JobId, core_queue::RunOutcome),
    TimedOut(JobId, core_queue::TimeoutOutcome),
}

/// What a batch came to.
struct Reports<D: Driver> {
    list: ArrayVec<Report, BATCH>,
    /// A run callback wants to be called again when this fence signals.
    resource: Option<(JobId, Counted<HardwareWait<D>>, Fence)>,
    /// A callback panicked.
    poisoned: bool,
    /// Runs that follow are not begun.
    stopped: bool,
}

impl<D: Driver> Shared<D> {
    /// Acts on effects that want no answer.
    #[inline]
    pub(super) fn hand_over(self: &Arc<Self>, batch: &mut Batch<D>) {
        for &action in batch.iter() {
            match action {
                // SAFETY: The action carries a count and is acted on once.
                Action::Reap(job) => reap(unsafe { Counted::from_raw(job) }),
                Action::ArmTimer(at) => self.executor.arm_timer(self.place, at),
                Action::Recover => self.call_recovery(),
                Action::Gate(report) => self.report(report),
                Action::Kick => self.kick(),
                Action::Closed => self.tell_closed(),
                Action::Signal { .. } | Action::Run { .. } | Action::TimedOut { .. } => {
                    debug_assert!(false, "an effect that wants an answer was handed over");
                }
            }
        }
        batch.clear();
    }

    /// Acts on a batch in order, then answers. Returns the lock for the next one.
    pub(super) fn act<'a>(
        self: &'a Arc<Self>,
        batch: &mut Batch<D>,
        visit: &mut Visit,
    ) -> SpinGuard<'a, State<D>> {
        let mut reports = Reports {
            list: ArrayVec::new(),
            resource: None,
            poisoned: false,
            stopped: false,
        };
        let bypass = visit.context() == Context::Submit;
        // Answers are owed: neither a driver callback nor a fence callback or a payload's drop
        // between two of them may wait for the end of this visit.
        callback::enter(self.scope.id(), || self.act_on(batch, bypass, &mut reports));
        batch.clear();
        self.answer(&mut reports, visit)
    }

    #[inline]
    fn act_on(self: &Arc<Self>, batch: &Batch<D>, bypass: bool, reports: &mut Reports<D>) {
        for &action in batch.iter() {
            match action {
                Action::Signal {
                    id,
                    job,
                    outcome,
                    time,
                } => {
                    // SAFETY: A job whose `Signal` is not answered is not reaped.
                    let job = unsafe { &*job };
                    self.signal(id, job, outcome, time);
                    reports.list.push(Report::Signalled(id));
                }
                Action::Run { id, job } => self.run(id, job, bypass, reports),
                Action::TimedOut {
                    id,
                    job,
                    extensions_left,
                } => {
                    self.timed_out(id, job, extensions_left, reports);
                }
                // SAFETY: The action carries a count and is acted on once.
                Action::Reap(job) => reap(unsafe { Counted::from_raw(job) }),
                Action::ArmTimer(at) => self.executor.arm_timer(self.place, at),
                Action::Recover => self.call_recovery(),
                Action::Gate(report) => self.report(report),
                Action::Kick => self.kick(),
                Action::Closed => self.tell_closed(),
            }
        }
    }

    /// Signals a job's fence. A callback of somebody's that panics has said so; it must not take
    /// the batons along.
    fn signal(&self, id: JobId, job: &Job<D>, outcome: Outcome, time: Time) {
        let _section = SignallingSection::enter();
        let _panic = catch_unwind(AssertUnwindSafe(|| {
            self.observe(id, EventKind::Done { outcome }, Some(time));
            job.fence().signal(outcome.result(), time.as_ns());
        }));
    }

    #[inline]
    fn run(
        self: &Arc<Self>,
        id: JobId,
        job: *const Job<D>,
        bypass: bool,
        reports: &mut Reports<D>,
    ) {
        if reports.stopped || self.interrupt.load(Ordering::Relaxed) {
            reports.stopped = true;
            return;
        }
        // SAFETY: A job whose `Run` is not answered is not reaped.
        let job = unsafe { &*job };
        // SAFETY: It is lent to this visit, which therefore has the cargo and the driver.
        let (cargo, driver) = unsafe { (job.cargo(), &mut *self.driver.get()) };
        let (Some(cargo), Some(driver)) = (cargo, driver) else {
            debug_assert!(false, "a job that runs has its cargo and a driver");
            reports.list.push(Report::Ran(
                id,
                core_queue::RunOutcome::Failed(Errno::ENODEV),
            ));
            return;
        };
        let _section = SignallingSection::enter();
        self.observe(id, EventKind::Run { bypass }, None);
        let submission = Submission {
            queue: self,
            id,
            job,
            payload: &mut cargo.payload,
            // SAFETY: As for the cargo.
            data: unsafe { job.replay_data() },
        };
        let answer = catch_unwind(AssertUnwindSafe(|| driver.run(submission).0));
        let outcome = match answer {
            Ok(Answer::Pending) => core_queue::RunOutcome::Pending,
            Ok(Answer::Done) => core_queue::RunOutcome::Done,
            Ok(Answer::Failed(error)) => core_queue::RunOutcome::Failed(error),
            Ok(Answer::Follow(fence)) => follow(id, cargo.hardware.as_ref(), &fence),
            Ok(Answer::NoResources(fence)) => match &cargo.hardware {
                Some(wait) => {
                    let (context, seqno) = (fence.context(), fence.seqno());
                    self.observe(id, EventKind::Unschedulable { context, seqno }, None);
                    reports.resource = Some((id, wait.clone(), fence));
                    reports.stopped = true;
                    core_queue::RunOutcome::NoResources
                }
                // Kept from compiling by `Submission::no_resources`.
                None => core_queue::RunOutcome::Failed(Errno::EINVAL),
            },
            Err(_panic) => {
                self.tell_poisoned("run");
                reports.poisoned = true;
                reports.stopped = true;
                core_queue::RunOutcome::Failed(Errno::EOWNERDEAD)
            }
        };
        reports.list.push(Report::Ran(id, outcome));
    }

    fn timed_out(
        self: &Arc<Self>,
        id: JobId,
        job: *const Job<D>,
        extensions_left: u8,
        reports: &mut Reports<D>,
    ) {
        // SAFETY: A job whose `TimedOut` is not answered is not reaped.
        let job = unsafe { &*job };
        // SAFETY: It is lent to this visit, which therefore has the cargo and the driver.
        let (cargo, driver) = unsafe { (job.cargo(), &mut *self.driver.get()) };
        let (Some(cargo), Some(driver)) = (cargo, driver) else {
            debug_assert!(
                false,
                "a job that is asked about has its cargo and a driver"
            );
            let gone = core_queue::TimeoutOutcome::DeviceGone;
            reports.list.push(Report::TimedOut(id, gone));
            return;
        };
        let _section = SignallingSection::enter();
        self.observe(id, EventKind::TimedOut, None);
        let asked = TimedOutJob {
            queue: self,
            id,
            payload: &mut cargo.payload,
            extensions_left,
        };
        let answer = catch_unwind(AssertUnwindSafe(|| driver.timed_out(asked).0));
        let outcome = answer.unwrap_or_else(|_panic| {
            self.tell_poisoned("timed_out");
            reports.poisoned = true;
            // Nobody knows whether it hangs. The kill that follows ends it.
            core_queue::TimeoutOutcome::NoHang
        });
        reports.list.push(Report::TimedOut(id, outcome));
    }

    /// Tells core what came of a batch.
    fn answer<'a>(
        self: &'a Arc<Self>,
        reports: &mut Reports<D>,
        visit: &mut Visit,
    ) -> SpinGuard<'a, State<D>> {
        let mut now = LazyNow::new();
        let mut state = self.lock();
        let core = &mut state.core;
        for &report in &reports.list {
            let answered = match report {
                Report::Signalled(id) => core.signalled(visit, id),
                Report::Ran(id, outcome) => core.run_returned(visit, id, outcome),
                Report::TimedOut(id, outcome) => {
                    if reports.poisoned {
                        core.kill(Errno::EOWNERDEAD);
                    }
                    core.timed_out_returned(visit, id, outcome, &mut now)
                }
            };
            debug_assert_eq!(answered, Ok(()));
        }
        if reports.stopped {
            let handed_back = core.hand_back_runs(visit);
            debug_assert_eq!(handed_back, Ok(()));
        }
        if reports.poisoned {
            core.kill(Errno::EOWNERDEAD);
        }
        self.tell_outside(&state);
        let Some((id, wait, fence)) = reports.resource.take() else {
            return state;
        };
        // Only now is the job back in line, where the signal can find it.
        drop(state);
        let already = HardwareWait::register(&wait, id, WaitKind::Resource, &fence).is_err();
        let mut state = self.lock();
        if already {
            // A job that was killed meanwhile does not wait any more.
            let _ = state.core.resource_signalled(id);
        } else if state.core.state(id) != core_queue::State::Queued {
            // Killed and reaped before there was anything to forget.
            drop(state);
            wait.forget();
            state = self.lock();
        }
        state
    }

    /// Says that a callback has panicked. Once: the queue is killed next.
    pub(super) fn tell_poisoned(&self, callback: &str) {
        eprintln!(
            "ringfence: the driver of queue {} panicked in `{callback}`: its jobs end with EOWNERDEAD",
            self.name
        );
    }

    #[cold]
    fn call_recovery(&self) {
        if let Some(desk) = self.scope.desk() {
            desk.wake();
        }
    }

    fn kick(self: &Arc<Self>) {
        self.executor
            .schedule(Arc::clone(self) as Arc<dyn crate::executor::Runnable>);
    }

    /// No driver callback comes any more: lets go of the driver, and says that it is over.
    fn tell_closed(&self) {
        self.let_driver_go(self.lock());
        let signaller = self.closed.lock().take();
        if let Some(signaller) = signaller {
            signaller.signal(Ok(()));
        }
    }
}

/// Has the hardware's fence complete the job.
fn follow<D: Driver>(
    id: JobId,
    wait: Option<&Counted<HardwareWait<D>>>,
    fence: &Fence,
) -> core_queue::RunOutcome {
    // Kept from compiling by `Submission::follow`.
    let Some(wait) = wait else {
        return core_queue::RunOutcome::Failed(Errno::EINVAL);
    };
    match HardwareWait::register(wait, id, WaitKind::Hardware, fence) {
        Ok(()) => core_queue::RunOutcome::Pending,
        Err(Ok(())) => core_queue::RunOutcome::Done,
        Err(Err(error)) => core_queue::RunOutcome::Failed(error),
    }
}

/// Drops what a job carried. Its fence lives on.
#[inline]
fn reap<D: Driver>(job: Counted<Job<D>>) {
    if D::REAPING.is_in_irq() && irq::in_handler() {
        reap_in_handler(job);
        return;
    }
    reap_rest(&job);
}

/// The payload may be dropped here, says its driver; memory may not be freed. What else the job
/// carries has some.
#[cold]
fn reap_in_handler<D: Driver>(job: Counted<Job<D>>) {
    // SAFETY: `Reap` gave the cargo to this visit.
    let cargo = unsafe { job.cargo() };
    let plain = |cargo: &mut Cargo<D>| cargo.dependencies.is_none() && cargo.hardware.is_none();
    if !std::mem::needs_drop::<D::ReplayData>() && cargo.as_mut().is_some_and(plain) {
        *cargo = None;
    } else {
        irq::later::fence(Fence::from_node(job));
    }
}

/// Drops what is left of the cargo of a job that is the caller's to reap.
#[inline]
pub(crate) fn reap_rest<D: Driver>(job: &Job<D>) {
    // SAFETY: `Reap` gave the cargo to the caller.
    let cargo = unsafe { job.cargo() }.take();
    let Some(cargo) = cargo else { return };
    // A payload that panics when dropped has said so; it must not take the batons along.
    let _panic = catch_unwind(AssertUnwindSafe(|| let_go(cargo)));
    if std::mem::needs_drop::<D::ReplayData>() {
        // SAFETY: As above.
        let data = unsafe { job.replay_data() }.take();
        let _panic = catch_unwind(AssertUnwindSafe(|| drop(data)));
    }
}

fn let_go<D: Driver>(cargo: Cargo<D>) {
    if let Some(dependencies) = &cargo.dependencies {
        dependencies.forget();
    }
    if let Some(hardware) = &cargo.hardware {
        hardware.forget();
    }
    drop(cargo);
}
