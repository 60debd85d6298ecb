// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A queue's inside: the lock around core, and acting on effects without it.
//!
//! Every entry has the same shape: lock, feed an event, [`visit`](Shared::visit). A visit takes
//! effects under the lock into a batch on the stack, unlocks, acts on them in order, locks,
//! answers, and goes on until there is nothing left for its context. Nothing is ever called out
//! with the lock held; fences that nobody listens to are the one thing signalled under it, which
//! calls nobody.

mod act;
mod end;
mod gate;
mod stop;
mod submit;

pub(crate) use act::reap_rest;

use std::cell::UnsafeCell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use arrayvec::ArrayVec;
use ringfence_core::queue::BATCH_MAX;
use ringfence_core::{
    Attempt, Context, Effect, Entry, GateReport, HasEntry, JobId, Now, Outcome, PrepareError,
    Request, Reservation, Time, Visit, WorkerRest,
};

use crate::clock::{monotonic, LazyNow};
use crate::counted::{self, Counted};
use crate::dependency::WaitKind;
use crate::device::{callback, Scope};
use crate::driver::Driver;
use crate::executor::{Executor, Place, Rest, Runnable};
use crate::fence::{self, Signaller, TimelineName};
use crate::gate::Gate;
use crate::irq::{self, later::Buried};
use crate::job::{Job, SubmitLock};
use crate::observe::{Event, EventKind, Observer};
use crate::recovery::Desk;
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sync::{Event as Wake, Mutex, SpinGuard, SpinLock};
use crate::Errno;

pub(crate) type Core<D> = ringfence_core::Queue<Box<[Element<D>]>, Element<D>>;

/// What core's storage is made of: its entry and, from arm to reap, the job.
pub(crate) struct Element<D: Driver> {
    entry: Entry,
    job: Option<Counted<Job<D>>>,
}

impl<D: Driver> Element<D> {
    pub(crate) const FREE: Self = Self {
        entry: Entry::FREE,
        job: None,
    };
}

impl<D: Driver> HasEntry for Element<D> {
    type Records = <Entry as HasEntry>::Records;

    #[inline]
    fn entry(&self) -> &Entry {
        &self.entry
    }

    #[inline]
    fn entry_mut(&mut self) -> &mut Entry {
        &mut self.entry
    }
}

/// How many batches a worker does for one queue before it lets others have their turn.
const ROUNDS_MAX: u32 = 4;

/// Effects that one lock hold can hand out.
const BATCH: usize = 2 * BATCH_MAX as usize + 16;

/// A queue's inside, shared by its handle, its jobs on the hardware, and its executor.
///
/// # Invariants
///
/// `driver` belongs to the visit to which core has handed `Run` or `TimedOut` that is not
/// answered, to who has stopped the queue while it is quiet, and at the end to `let_driver_go`.
// In the order of need, as core's queue is: what is seldom needed comes last.
#[repr(C)]
pub(crate) struct Shared<D: Driver> {
    scope: Arc<Scope>,
    timeline: TimelineName,
    observer: Option<Arc<dyn Observer>>,
    executor: Arc<dyn Executor>,
    place: Place,
    /// A batch of runs should stop and hand back what it has not begun.
    interrupt: AtomicBool,
    /// Counts of the queue that interrupt handlers could not drop, for the next visit. There is a
    /// job, and so there will be one. Changed under the lock; it stands here because every visit
    /// looks at it.
    left_behind: AtomicU32,
    driver: UnsafeCell<Option<D>>,
    state: SpinLock<State<D>>,
    /// How often a driver has come out while somebody waited for that.
    outside: Wake,
    name: Box<str>,
    submit_lock: SubmitLock,
    gate: Option<Arc<dyn Gate>>,
    closed: Mutex<Option<Signaller>>,
    /// For a count that an interrupt handler has put away.
    buried: crate::sync::UnsafeCell<Option<Arc<dyn Buried>>>,
}

// SAFETY: Everything but `driver` and `buried` is `Sync`; `driver`, which is `Send`, has one user at a
// time, and `buried` is used under the lock of the list that it links.
unsafe impl<D: Driver> Sync for Shared<D> {}
// SAFETY: As above.
unsafe impl<D: Driver> Send for Shared<D> {}

#[repr(C)]
pub(crate) struct State<D: Driver> {
    pub(crate) core: Core<D>,
    waiting_outside: u32,
    /// Somebody has taken the driver's value and is dropping it.
    driver_leaving: bool,
    /// The driver's value is gone, or whoever was told `Closed` is about to let it go.
    driver_goes: bool,
    /// The thread of the bottom half has a count of this to drop.
    listed: bool,
    /// What core has lent to the walk. It is taken back when its holder is forgotten.
    pub(crate) lent: Option<JobId>,
    /// The wish for a recovery that there was when the queue was stopped.
    wish: Option<(JobId, Attempt)>,
    gate: gate::Seat,
}

/// What a queue is made of.
pub(crate) struct Making<D: Driver> {
    pub(crate) core: Core<D>,
    pub(crate) driver: D,
    pub(crate) timeline: TimelineName,
    pub(crate) name: Box<str>,
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) scope: Arc<Scope>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) gate: Option<Arc<dyn Gate>>,
    pub(crate) closed: Signaller,
}

/// An effect on its way from the lock to its action. Plain data, so that a batch is walked and
/// forgotten without a thought for what it owns.
enum Action<D: Driver> {
    Signal {
        id: JobId,
        job: *const Job<D>,
        outcome: Outcome,
        time: Time,
    },
    Run {
        id: JobId,
        job: *const Job<D>,
    },
    TimedOut {
        id: JobId,
        job: *const Job<D>,
        extensions_left: u8,
    },
    /// Carries the count that the queue had.
    Reap(NonNull<counted::Inner<Job<D>>>),
    ArmTimer(Time),
    Recover,
    Gate(GateReport),
    Kick,
    Closed,
}

impl<D: Driver> Clone for Action<D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Driver> Copy for Action<D> {}

type Batch<D> = ArrayVec<Action<D>, BATCH>;

impl<D: Driver> Shared<D> {
    pub(crate) fn new(mut making: Making<D>) -> Arc<Self> {
        if D::REAPING.is_in_irq() {
            making.core.allow_reap_in_irq();
        }
        Arc::new_cyclic(|shared: &Weak<Self>| {
            let place = making
                .executor
                .register(Weak::clone(shared) as Weak<dyn Runnable>);
            Self {
                state: SpinLock::new(State {
                    core: making.core,
                    waiting_outside: 0,
                    driver_leaving: false,
                    driver_goes: false,
                    listed: false,
                    lent: None,
                    wish: None,
                    gate: gate::Seat::default(),
                }),
                driver: UnsafeCell::new(Some(making.driver)),
                interrupt: AtomicBool::new(false),
                left_behind: AtomicU32::new(0),
                outside: Wake::new(),
                timeline: making.timeline,
                name: making.name,
                submit_lock: SubmitLock {
                    id: crate::device::next_queue_id(),
                    lock: crate::sync::SleepingMutex::new(()),
                },
                gate: making.gate,
                executor: making.executor,
                place,
                scope: making.scope,
                observer: making.observer,
                closed: Mutex::new(Some(making.closed)),
                buried: crate::sync::UnsafeCell::new(None),
            }
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn context(&self) -> u64 {
        self.timeline.context()
    }

    pub(crate) fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    /// Whether somebody would act on a wish for a recovery.
    pub(crate) fn has_recovery(&self) -> bool {
        self.scope.desk().is_some_and(Desk::is_open)
    }

    pub(crate) fn submit_lock(&self) -> &SubmitLock {
        &self.submit_lock
    }

    pub(crate) fn lock(&self) -> SpinGuard<'_, State<D>> {
        self.state.lock()
    }

    #[inline]
    pub(crate) fn prepare(&self, request: Request) -> Result<Reservation, PrepareError> {
        self.lock().core.prepare(request)
    }

    pub(crate) fn release(&self, reservation: Reservation) {
        self.lock().core.release(reservation);
    }

    /// Where this thread may act, if it would like to act in `context`.
    ///
    /// Inside a fence callback a signal would be put off until that has returned, when another
    /// thread may have overtaken it: so the worker does everything. Inside a driver callback this
    /// thread is in a signalling section, where payloads must not be dropped, and driver
    /// callbacks do not nest.
    #[inline]
    fn context_here(&self, context: Context) -> Context {
        if fence::in_callback() {
            Context::Nested
        } else if callback::inside_any() {
            Context::Irq
        } else {
            context
        }
    }

    /// The hardware is done with a job.
    #[inline]
    pub(crate) fn complete(
        self: Arc<Self>,
        id: JobId,
        attempt: Attempt,
        result: Result<(), Errno>,
        context: Context,
    ) {
        let context = self.context_here(context);
        self.event(context, |core| core.complete(id, attempt, result));
        if matches!(context, Context::Irq | Context::Nested) && irq::in_handler() {
            self.leave_behind();
        }
    }

    /// Gives up a count, which may be the last, in an interrupt handler.
    ///
    /// While there is a job the queue will be visited once more, for that to be reaped, by somebody
    /// with a count of his own: he takes this one along. Else a thread must come. The thread's list
    /// has one place for a queue: counts given up while it is there are taken along, too.
    #[cold]
    fn leave_behind(self: Arc<Self>) {
        let mut state = self.lock();
        if state.core.is_empty() && !state.listed {
            state.listed = true;
            drop(state);
            irq::later::count(self);
            return;
        }
        self.left_behind.fetch_add(1, Ordering::Relaxed);
        drop(state);
        std::mem::forget(self);
    }

    /// Drops the counts left behind: never the last, since the caller has one. The queue is locked.
    #[cold]
    fn take_along(self: &Arc<Self>) {
        for _ in 0..self.left_behind.swap(0, Ordering::Relaxed) {
            // SAFETY: Each was forgotten in `leave_behind`.
            unsafe { Arc::decrement_strong_count(Arc::as_ptr(self)) };
        }
    }

    /// A fence that a job waits for has signalled.
    pub(crate) fn wait_is_over(
        self: &Arc<Self>,
        id: JobId,
        kind: WaitKind,
        result: Result<(), Errno>,
    ) {
        let context = self.context_here(Context::Task);
        self.event(context, |core| {
            // A job that was killed meanwhile does not wait any more: refused, and rightly so.
            match kind {
                WaitKind::Dependency => _ = core.dependency_signalled(id, result),
                WaitKind::Resource => _ = core.resource_signalled(id),
                // The fence was named by run. A replayed job has a token.
                WaitKind::Hardware => _ = core.complete(id, Attempt::FIRST, result),
            }
        });
    }

    /// Feeds one event and does what follows from it.
    #[inline]
    pub(crate) fn event<R>(
        self: &Arc<Self>,
        context: Context,
        event: impl FnOnce(&mut Core<D>) -> R,
    ) -> R {
        let mut state = self.lock();
        let answer = event(&mut state.core);
        self.visit(state, &mut Visit::new(context));
        answer
    }

    /// As [`Shared::event`], for one that the driver's worker should notice in mid-batch.
    pub(crate) fn urgent_event<R>(self: &Arc<Self>, event: impl FnOnce(&mut Core<D>) -> R) -> R {
        let context = self.context_here(Context::Task);
        self.event(context, |core| {
            let answer = event(core);
            // Under the lock: a visit that hands out runs after this has seen the event.
            self.interrupt.store(true, Ordering::Relaxed);
            answer
        })
    }

    fn observe(&self, id: JobId, kind: EventKind, time: Option<Time>) {
        if let Some(observer) = &self.observer {
            let time = time.unwrap_or_else(monotonic);
            let (context, seqno) = (self.context(), id.seqno());
            let event = Event {
                time,
                context,
                seqno,
                kind,
            };
            // One that panics has said so; it must not take the batons along.
            let _panic = catch_unwind(AssertUnwindSafe(|| observer.observe(&event)));
        }
    }

    /// Takes effects and acts on them until there is nothing left for `visit`'s context.
    #[inline]
    fn visit<'a>(self: &'a Arc<Self>, mut state: SpinGuard<'a, State<D>>, visit: &mut Visit) {
        let mut batch = Batch::new();
        loop {
            let full = self.take(&mut state, visit, &mut batch);
            if !full && !visit.owes_answers() {
                drop(state);
                self.hand_over(&mut batch);
                return;
            }
            drop(state);
            state = self.act(&mut batch, visit);
        }
    }

    /// A worker's visit: lets go of the queue in the hold in which it finds nothing more to do.
    /// Says whether there is more.
    fn worker_visit(self: &Arc<Self>) -> bool {
        let mut state = self.lock();
        let mut visit = state.core.worker_enters();
        let mut rounds = 0;
        let mut batch = Batch::new();
        loop {
            if rounds < ROUNDS_MAX {
                let full = self.take(&mut state, &mut visit, &mut batch);
                rounds += 1;
                if full || visit.owes_answers() {
                    drop(state);
                    state = self.act(&mut batch, &mut visit);
                    continue;
                }
            }
            let rest = match state.core.worker_leaves(visit) {
                Ok(WorkerRest::Idle) => false,
                Ok(WorkerRest::More) => true,
                // Every answer was given before the lock was kept.
                Err(_) => unreachable!("a worker leaves without owing answers"),
            };
            drop(state);
            self.hand_over(&mut batch);
            return rest;
        }
    }

    /// Fills `batch`. True if it is full and there may be more.
    #[inline]
    fn take(
        self: &Arc<Self>,
        state: &mut State<D>,
        visit: &mut Visit,
        batch: &mut Batch<D>,
    ) -> bool {
        if self.left_behind.load(Ordering::Relaxed) != 0 {
            self.take_along();
        }
        let mut now = LazyNow::new();
        let mut loud = self.observer.is_some();
        if self.interrupt.load(Ordering::Relaxed) && !state.core.driver_is_inside() {
            // Nobody is in mid-batch: core alone says from here on what runs.
            self.interrupt.store(false, Ordering::Relaxed);
        }
        while !batch.is_full() {
            let Some(effect) = state.core.next(visit, &mut now) else {
                return false;
            };
            batch.push(match effect {
                Effect::Signal { job: id, outcome } => {
                    let Some(job) = state.job(id) else { continue };
                    let time = now.now();
                    let result = outcome.result();
                    if !loud && job.fence().try_signal_quietly(result, time.as_ns()) {
                        let answered = state.core.signalled(visit, id);
                        debug_assert_eq!(answered, Ok(()));
                        continue;
                    }
                    // The ones after it must not overtake it.
                    loud = true;
                    Action::Signal {
                        id,
                        job: job.as_ptr(),
                        outcome,
                        time,
                    }
                }
                Effect::Run { job: id } => {
                    let Some(job) = state.job(id) else { continue };
                    Action::Run {
                        id,
                        job: job.as_ptr(),
                    }
                }
                Effect::TimedOut {
                    job: id,
                    extensions_left,
                } => {
                    let Some(job) = state.job(id) else { continue };
                    Action::TimedOut {
                        id,
                        job: job.as_ptr(),
                        extensions_left,
                    }
                }
                Effect::Reap { job: id } => {
                    let element = state.core.element_mut(id);
                    let Some(job) = element.and_then(|element| element.job.take()) else {
                        continue;
                    };
                    Action::Reap(job.into_raw())
                }
                Effect::ArmTimer { at } => Action::ArmTimer(at),
                Effect::Recover { .. } => Action::Recover,
                Effect::Gate {
                    version,
                    wants,
                    out,
                } => {
                    if !state.gate.begins_report() {
                        continue;
                    }
                    Action::Gate(GateReport {
                        version,
                        wants,
                        out,
                    })
                }
                Effect::Kick => Action::Kick,
                Effect::Closed => {
                    state.driver_goes = true;
                    Action::Closed
                }
            });
        }
        true
    }
}

impl<D: Driver> State<D> {
    fn arm(&mut self, job: Counted<Job<D>>, reservation: Reservation) -> JobId {
        let id = match self.core.arm(reservation) {
            Ok(id) => id,
            // A reservation is a promise of room, and cannot be taken to another queue.
            Err(error) => unreachable!("a prepared job has room: {error}"),
        };
        job.fence().publish(id.seqno());
        if let Some(element) = self.core.element_mut(id) {
            element.job = Some(job);
        }
        id
    }

    #[inline]
    pub(crate) fn job(&self, id: JobId) -> Option<&Counted<Job<D>>> {
        let element = self.core.element(id);
        let job = element.and_then(|element| element.job.as_ref());
        debug_assert!(job.is_some(), "{id:?} has no job");
        job
    }
}

impl<D: Driver> Buried for Shared<D> {
    fn link(&self) -> &crate::sync::UnsafeCell<Option<Arc<dyn Buried>>> {
        &self.buried
    }

    fn off_the_list(self: Arc<Self>) {
        let mut state = self.lock();
        state.listed = false;
        self.take_along();
        drop(state);
    }
}

impl<D: Driver> Runnable for Shared<D> {
    fn work(self: Arc<Self>) -> Rest {
        if self.worker_visit() {
            Rest::Again(self)
        } else {
            Rest::Idle
        }
    }

    fn timer_fired(self: Arc<Self>, now: Time) {
        self.event(Context::Task, |core| core.timer_fired(now));
    }
}
