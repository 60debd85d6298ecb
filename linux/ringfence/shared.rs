// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A queue's inside: the lock around core, and acting on effects without it.
//!
//! Every entry has the same shape: lock, feed an event, [`visit`](Ref::visit). A visit takes
//! effects under the lock into a batch on the stack, unlocks, acts on them in order, locks,
//! answers, and goes on until there is nothing left for its context. Nothing is ever called out
//! with the lock held.
//!
//! Who holds a queue's memory: its handle, each of its jobs until it is reaped, each token, and
//! work that is queued. The last of them may go in an interrupt; the rest is done by [`end`] in a
//! thread.

mod act;
mod batch;
mod end;
mod stop;
mod submit;

use core::cell::UnsafeCell;
use core::ops::Deref;
use core::ptr::NonNull;

use kernel::alloc::Flags;
use kernel::ffi::c_void;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Atomic, Full, Relaxed};
use kernel::sync::Arc;
use kernel::types::Opaque;
use ringfence_core::{
    Attempt, Context, Effect, Entry, HasEntry, JobId, Now, Request, Reservation, Slot, Stats,
    Terms, Visit, WorkerRest,
};

use crate::callback::{self, Marking};
use crate::clock::{monotonic, LazyNow};
use crate::dependency::{ResourceWait, Wait};
use crate::device::{Place, Scope};
use crate::driver::Driver;
use crate::executor::Executor;
use crate::fence::{Fence, Signaller, Status, Timeline};
use crate::job::Job;
use crate::lock::{Gate, Guard, Irqs, Lock};
use crate::sys;
use crate::trace::Ring as TraceRing;
use crate::Errno;

use batch::{Action, Batch};

/// How many of its last events a queue remembers.
const RECORDS: usize = 12;

pub(crate) type Core<D> = ringfence_core::Queue<Ring<D>, Element<D>>;

/// What core's storage is made of: its entry and, from arm to reap, the job.
pub(crate) struct Element<D: Driver> {
    entry: Entry,
    job: Option<NonNull<Job<D>>>,
}

impl<D: Driver> Element<D> {
    const FREE: Self = Self {
        entry: Entry::FREE,
        job: None,
    };
}

impl<D: Driver> HasEntry for Element<D> {
    type Records = [Slot; RECORDS];

    #[inline]
    fn entry(&self) -> &Entry {
        &self.entry
    }

    #[inline]
    fn entry_mut(&mut self) -> &mut Entry {
        &mut self.entry
    }
}

/// Core's storage.
pub(crate) struct Ring<D: Driver>(KVVec<Element<D>>);

impl<D: Driver> Ring<D> {
    pub(crate) fn new(entries: usize, flags: Flags) -> Result<Self> {
        let mut ring = KVVec::with_capacity(entries, flags)?;
        for _ in 0..entries {
            ring.push(Element::FREE, flags)?;
        }
        Ok(Self(ring))
    }
}

impl<D: Driver> AsRef<[Element<D>]> for Ring<D> {
    #[inline]
    fn as_ref(&self) -> &[Element<D>] {
        &self.0
    }
}

impl<D: Driver> AsMut<[Element<D>]> for Ring<D> {
    #[inline]
    fn as_mut(&mut self) -> &mut [Element<D>] {
        &mut self.0
    }
}

/// How many rooms are set aside at a time.
const ASIDE: u32 = 15;

/// How many batches a worker does for one queue before it lets others have their turn.
const ROUNDS_MAX: u32 = 8;

/// A queue's inside.
///
/// # Invariants
///
/// `driver` belongs to the visit to which core has handed `Run` or `TimedOut` that is not answered,
/// to who has stopped the queue while it is quiet, and at the end to `let_driver_go`.
pub(crate) struct Shared<D: Driver> {
    refs: Atomic<i32>,
    /// A batch of runs should stop and hand back what it has not begun.
    interrupt: Atomic<i32>,
    /// Rooms that were set aside. Raised under the lock, taken without.
    aside: Atomic<i32>,
    terms: Terms,
    state: Lock<State<D>>,
    /// The task that is in a driver callback, or null.
    inside: Atomic<*mut c_void>,
    timeline: Timeline,
    executor: Arc<Executor>,
    scope: Arc<Scope>,
    /// Goes up when a driver comes out while somebody waits for that, and at the end.
    outside: Atomic<u32>,
    /// Who the jobs are for, in traces.
    client: u64,
    driver: UnsafeCell<Option<D>>,
    work: Opaque<sys::Work>,
    timer: Opaque<sys::Timer>,
    end: Opaque<sys::End>,
    place: Place,
    /// Where run is not called with interrupts off, it marks its task.
    _marking: Option<Marking>,
    /// Orders the submissions of guards.
    gate: Gate,
}

// SAFETY: `driver`, which is `Send`, has one user at a time; the rest is made for many threads.
unsafe impl<D: Driver> Sync for Shared<D> {}
// SAFETY: As above.
unsafe impl<D: Driver> Send for Shared<D> {}

/// What the lock protects.
pub(crate) struct State<D: Driver> {
    pub(crate) core: Core<D>,
    waiting_outside: u32,
    /// The most jobs there may be: the ring grows to that.
    capacity: u32,
    /// Somebody has taken the driver's value and is dropping it.
    driver_leaving: bool,
    /// The driver's value is gone, or whoever was told `Closed` is about to let it go.
    driver_goes: bool,
    /// Nothing is left, and whoever waited has been told.
    over: bool,
    /// What core has lent to the walk. It is taken back when its holder is forgotten.
    pub(crate) lent: Option<JobId>,
    /// The wish for a recovery that there was when the queue was stopped.
    wish: Option<(JobId, Attempt)>,
    /// Signals when nothing is left, where somebody has asked for that.
    closed: Option<Signaller>,
}

// SAFETY: The jobs that the ring points to are `Send`, and owned by it.
unsafe impl<D: Driver> Send for State<D> {}

/// What a queue is made of.
pub(crate) struct Making<D: Driver> {
    pub(crate) core: Core<D>,
    pub(crate) capacity: u32,
    pub(crate) driver: D,
    pub(crate) timeline: Timeline,
    pub(crate) executor: Arc<Executor>,
    pub(crate) scope: Arc<Scope>,
    pub(crate) client: u64,
}

/// A count on a queue's memory.
pub(crate) struct Ref<D: Driver>(NonNull<Shared<D>>);

// SAFETY: The inside is `Send` and `Sync`.
unsafe impl<D: Driver> Send for Ref<D> {}
// SAFETY: As above.
unsafe impl<D: Driver> Sync for Ref<D> {}

impl<D: Driver> Clone for Ref<D> {
    #[inline]
    fn clone(&self) -> Self {
        self.refs.add(1, Relaxed);
        Self(self.0)
    }
}

impl<D: Driver> Drop for Ref<D> {
    #[inline]
    fn drop(&mut self) {
        self.give_back();
    }
}

impl<D: Driver> Deref for Ref<D> {
    type Target = Shared<D>;

    #[inline]
    fn deref(&self) -> &Shared<D> {
        // SAFETY: The count keeps it.
        unsafe { self.0.as_ref() }
    }
}

impl<D: Driver> Ref<D> {
    /// Makes a queue's inside.
    pub(crate) fn new(mut making: Making<D>, flags: Flags) -> Result<Self> {
        if Shared::<D>::DROPS_IN_IRQ {
            making.core.allow_reap_in_irq();
        }
        let terms = making.core.terms();
        let state = State {
            core: making.core,
            waiting_outside: 0,
            capacity: making.capacity,
            driver_leaving: false,
            driver_goes: false,
            over: false,
            lent: None,
            wish: None,
            closed: None,
        };
        let shared = Shared {
            refs: Atomic::new(1),
            interrupt: Atomic::new(0),
            aside: Atomic::new(0),
            terms,
            state: Lock::new(state),
            inside: Atomic::new(core::ptr::null_mut()),
            timeline: making.timeline,
            executor: making.executor,
            scope: making.scope,
            outside: Atomic::new(0),
            client: making.client,
            driver: UnsafeCell::new(Some(making.driver)),
            work: Opaque::zeroed(),
            timer: Opaque::zeroed(),
            end: Opaque::zeroed(),
            place: Place::new(),
            _marking: (!D::RUNS_WITH_IRQS_OFF).then(Marking::new),
            gate: Gate::new(),
        };
        // It is not moved from here on: only freed, by `end`.
        let shared = KBox::into_raw(KBox::new(shared, flags)?);
        // SAFETY: The memory is there and stays until `end` has cancelled all three.
        unsafe {
            let this = &*shared;
            this.gate.init();
            sys::ringfence_work_init(this.executor.raw(), this.work.get(), Shared::<D>::work);
            sys::ringfence_timer_init(this.timer.get(), Shared::<D>::timer);
            sys::ringfence_end_init(this.end.get(), end::end::<D>);
            Ok(Self(NonNull::new_unchecked(shared)))
        }
    }

    /// As a count that is in hand already.
    ///
    /// # Safety
    ///
    /// The caller gives a count.
    pub(crate) unsafe fn from_raw(shared: NonNull<Shared<D>>) -> Self {
        Self(shared)
    }

    pub(crate) fn as_ptr(&self) -> NonNull<Shared<D>> {
        self.0
    }

    /// The hardware is done with a job.
    #[inline]
    pub(crate) fn complete(
        &self,
        id: JobId,
        attempt: Attempt,
        result: Result<(), Errno>,
        context: Context,
    ) {
        self.event(self.context_here(context), |core| {
            core.complete(id, attempt, result)
        });
    }

    /// Feeds one event and does what follows from it.
    #[inline]
    pub(crate) fn event<R>(&self, context: Context, event: impl FnOnce(&mut Core<D>) -> R) -> R {
        self.change(context, |state| event(&mut state.core))
    }

    /// As [`Ref::event`], with all that the lock protects.
    #[inline]
    pub(crate) fn change<R>(&self, context: Context, change: impl FnOnce(&mut State<D>) -> R) -> R {
        let mut visit = Visit::new(context);
        let mut batch = Batch::new();
        let mut irqs = Irqs::new();
        let mut state = irqs.lock(&self.state);
        let answer = change(&mut state);
        let full = self.take(&mut state, &mut visit, &mut batch);
        drop(state);
        self.visit(irqs, visit, batch, full);
        answer
    }

    /// As [`Ref::event`], where this thread is.
    pub(crate) fn event_here<R>(&self, event: impl FnOnce(&mut Core<D>) -> R) -> R {
        self.event(self.context_here(Context::Task), event)
    }

    /// As [`Ref::event_here`], for one that the driver's worker should notice in mid-batch.
    pub(crate) fn urgent_event<R>(&self, event: impl FnOnce(&mut Core<D>) -> R) -> R {
        self.event_here(|core| {
            let answer = event(core);
            // Under the lock: a visit that hands out runs after this has seen the event.
            self.interrupt.store(1, Relaxed);
            answer
        })
    }

    /// Acts on effects and takes more until there is nothing left for `visit`'s context.
    #[inline]
    fn visit(&self, mut irqs: Irqs, mut visit: Visit, mut batch: Batch<D>, mut full: bool) {
        while full || visit.owes_answers() {
            let mut reports = self.act(&mut batch, &mut irqs);
            let mut state = irqs.lock(&self.state);
            self.answer(&mut state, &mut reports, &mut visit);
            full = self.take(&mut state, &mut visit, &mut batch);
        }
        self.hand_over(&mut batch, &mut irqs);
    }

    /// A worker's visit: lets go of the queue in the hold in which it finds nothing more to do.
    /// Says whether there is more.
    fn worker_visit(&self) -> bool {
        let mut batch = Batch::new();
        let mut irqs = Irqs::new();
        let mut state = irqs.lock(&self.state);
        let mut visit = state.core.worker_enters();
        let mut rounds = 0;
        let mut lingered = false;
        loop {
            if rounds < ROUNDS_MAX {
                let full = self.take(&mut state, &mut visit, &mut batch);
                rounds += 1;
                if full || visit.owes_answers() {
                    drop(state);
                    let mut reports = self.act(&mut batch, &mut irqs);
                    state = irqs.lock(&self.state);
                    self.answer(&mut state, &mut reports, &mut visit);
                    continue;
                }
                if self.executor.lingers() && !lingered {
                    lingered = true;
                    drop(state);
                    self.hand_over(&mut batch, &mut irqs);
                    irqs.restore();
                    self.executor.linger();
                    state = irqs.lock(&self.state);
                    continue;
                }
            }
            let rest = match state.core.worker_leaves(visit) {
                Ok(WorkerRest::Idle) => false,
                Ok(WorkerRest::More) => true,
                Err(_) => {
                    debug_assert!(false, "every answer was given before the lock was kept");
                    true
                }
            };
            drop(state);
            self.hand_over(&mut batch, &mut irqs);
            return rest;
        }
    }

    /// Fills `batch`. True if it is full and there may be more.
    #[inline]
    fn take(&self, state: &mut State<D>, visit: &mut Visit, batch: &mut Batch<D>) -> bool {
        let mut now = LazyNow::new();
        if !state.core.is_open() && read(&self.aside) != 0 {
            // So that the next job is told why it is refused.
            state.core.put_back(self.aside.xchg(0, Relaxed) as u32);
        }
        if read(&self.interrupt) != 0 && !state.core.driver_is_inside() {
            // Nobody is in mid-batch: core alone says from here on what runs.
            self.interrupt.store(0, Relaxed);
        }
        // Somebody waits for fences: signal those before looking what else there is.
        while !batch.is_full() {
            let Some(Effect::Signal { job: id, outcome }) = state.core.next_signal(visit, &mut now)
            else {
                break;
            };
            let Some(job) = state.job(id) else { continue };
            let time = now.now();
            batch.push(Action::Signal {
                id,
                job,
                outcome,
                time,
            });
        }
        if !batch.is_empty() {
            return batch.is_full();
        }
        while !batch.is_full() {
            let Some(effect) = state.core.next(visit, &mut now) else {
                return false;
            };
            batch.push(match effect {
                Effect::Signal { job: id, outcome } => {
                    let Some(job) = state.job(id) else { continue };
                    let time = now.now();
                    Action::Signal {
                        id,
                        job,
                        outcome,
                        time,
                    }
                }
                Effect::Run { job: id } => {
                    let Some(job) = state.job(id) else { continue };
                    let run = Action::Run { id, job };
                    if visit.context() == Context::Submit {
                        // The submitter's own job, as a rule. What else there is comes after.
                        batch.push(run);
                        return false;
                    }
                    run
                }
                Effect::TimedOut {
                    job: id,
                    extensions_left,
                } => {
                    let Some(job) = state.job(id) else { continue };
                    Action::TimedOut {
                        id,
                        job,
                        extensions_left,
                    }
                }
                Effect::Reap { job: id } => {
                    let element = state.core.element_mut(id);
                    let Some(job) = element.and_then(|element| element.job.take()) else {
                        continue;
                    };
                    Action::Reap(job)
                }
                Effect::ArmTimer { at } => Action::ArmTimer(at),
                Effect::Recover { .. } => Action::Recover,
                // This host makes no gated queues; core tells nothing of others.
                Effect::Gate { .. } => {
                    debug_assert!(false, "a queue without a gate has nothing to report");
                    continue;
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

    /// Has the worker come. The work has a count of its own.
    fn kick(&self) {
        self.refs.add(1, Relaxed);
        // SAFETY: It was initialised with this executor.
        if !unsafe { sys::ringfence_work_queue(self.executor.raw(), self.work.get()) } {
            debug_assert!(false, "core kicks once until the worker has been idle");
            self.give_back();
        }
    }
}

impl<D: Driver> Shared<D> {
    /// Jobs may be dropped with interrupts off.
    const DROPS_IN_IRQ: bool = D::REAPING.is_in_irq() && !core::mem::needs_drop::<D::ReplayData>();

    pub(crate) fn context(&self) -> u64 {
        self.timeline.context()
    }

    pub(crate) fn queue_name(&self) -> &str {
        self.timeline.name()
    }

    pub(crate) fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Whether somebody would act on a wish for a recovery.
    pub(crate) fn has_recovery(&self) -> bool {
        self.scope.has_recovery()
    }

    pub(crate) fn lock(&self) -> Guard<'_, State<D>> {
        self.state.lock()
    }

    fn trace_ring(&self) -> TraceRing {
        TraceRing {
            device: self.scope.name_ptr(),
            name: self.timeline.name_ptr(),
            context: self.timeline.context(),
        }
    }

    /// Takes room for a job: as a rule one that was set aside, for which no lock is taken.
    #[inline]
    pub(crate) fn prepare(
        &self,
        request: Request,
    ) -> Result<Reservation, ringfence_core::PrepareError> {
        // First: a job that could never run takes no room, not even for a moment.
        match self.terms.reservation(request) {
            Ok(reservation) if self.take_aside() => Ok(reservation),
            _ => self.prepare_more(request),
        }
    }

    /// Takes one of the rooms that were set aside, if there is one.
    #[inline]
    fn take_aside(&self) -> bool {
        let mut aside = read(&self.aside);
        while aside > 0 {
            match self.aside.cmpxchg(aside, aside - 1, Relaxed) {
                Ok(_) => return true,
                Err(now) => aside = now,
            }
        }
        false
    }

    #[cold]
    fn prepare_more(&self, request: Request) -> Result<Reservation, ringfence_core::PrepareError> {
        let mut state = self.state.lock();
        let reservation = match state.core.prepare(request) {
            // Whoever had the lock before may have set aside all there was.
            Err(ringfence_core::PrepareError::Full) if self.take_aside() => {
                return self.terms.reservation(request);
            }
            prepared => prepared?,
        };
        let more = state.core.set_aside(ASIDE);
        self.aside.add(more as i32, Relaxed);
        Ok(reservation)
    }

    /// What has happened so far. Rooms that are set aside were not asked for by anybody yet.
    pub(crate) fn stats(&self) -> Stats {
        let state = self.state.lock();
        let mut stats = state.core.stats();
        stats.prepared -= u64::from(self.aside.load(Relaxed).unsigned_abs());
        stats
    }

    pub(crate) fn release(&self, reservation: Reservation) {
        self.state.lock().core.release(reservation);
    }

    /// Makes the ring twice as long, up to the queue's capacity. False if it is as long already.
    #[cold]
    pub(crate) fn grow(&self, flags: Flags) -> Result<bool> {
        let state = self.state.lock();
        let (entries, most) = (state.core.capacity(), u64::from(state.capacity));
        drop(state);
        if entries >= most {
            return Ok(false);
        }
        let ring = Ring::new((2 * entries) as usize, flags)?;
        let mut state = self.state.lock();
        if state.core.capacity() != entries {
            // Somebody else has.
            return Ok(true);
        }
        let old = state.core.move_into(ring);
        drop(state);
        // Freed without the lock.
        drop(old);
        Ok(true)
    }

    /// Where this thread may act, if it would like to act in `context`. Ask before the lock is
    /// taken, with which nothing may sleep.
    ///
    /// In a driver callback, of whichever queue, it is in a signalling section, where payloads must
    /// not be dropped, and callbacks do not nest; in an interrupt nothing may sleep.
    #[inline]
    fn context_here(&self, context: Context) -> Context {
        match context {
            Context::Task | Context::Submit => {
                // SAFETY: Only looks.
                match unsafe { sys::ringfence_may_sleep() } && !callback::is_inside() {
                    true => context,
                    false => Context::Irq,
                }
            }
            Context::Irq | Context::Nested | Context::Worker => context,
        }
    }

    /// Gives a count back.
    #[inline]
    fn give_back(&self) {
        if self.refs.fetch_sub(1, Full) == 1 {
            // SAFETY: It was initialised. Nobody else has the queue any more.
            unsafe { sys::ringfence_end_queue(self.end.get()) };
        }
    }

    /// Takes a count, unless there is none any more.
    fn take_count(&self) -> bool {
        let mut refs = self.refs.load(Relaxed);
        while refs != 0 {
            match self.refs.cmpxchg(refs, refs + 1, Full) {
                Ok(_) => return true,
                Err(now) => refs = now,
            }
        }
        false
    }

    /// As a count of one's own.
    fn upgrade(&self) -> Option<Ref<D>> {
        self.take_count().then(|| {
            // SAFETY: It was just taken.
            unsafe { Ref::from_raw(NonNull::from(self)) }
        })
    }

    /// Runs `f` as if the caller had a count, which somebody has for as long: a job, say.
    fn borrowed<R>(&self, f: impl FnOnce(&Ref<D>) -> R) -> R {
        let this = core::mem::ManuallyDrop::new(Ref(NonNull::from(self)));
        f(&this)
    }

    /// A fence that a job depends on has signalled. Inside its callback: only a kick may follow.
    ///
    /// # Safety
    ///
    /// `wait` is that job's, which is there until this returns.
    pub(crate) unsafe fn dependency_signalled(
        &self,
        id: JobId,
        wait: &UnsafeCell<Wait>,
        status: Status,
    ) {
        self.borrowed(|queue| {
            // SAFETY: Under the queue's lock.
            queue.change(Context::Nested, |state| match unsafe { &mut *wait.get() } {
                Wait::Early { signalled, error } => {
                    *signalled += 1;
                    *error = error.or(status.err());
                }
                // A job that was killed meanwhile does not wait any more: refused, and rightly so.
                Wait::Told => _ = state.core.dependency_signalled(id, status),
            });
        });
    }

    /// The fence that a run callback said is the hardware's has signalled. Inside its callback.
    pub(crate) fn hardware_signalled(&self, id: JobId, status: Status) {
        // The fence was named by run. A replayed job has a token.
        self.borrowed(|queue| queue.complete(id, Attempt::FIRST, status, Context::Nested));
    }

    /// The fence has signalled that a run callback without resources has named. Inside its
    /// callback.
    ///
    /// # Safety
    ///
    /// `wait` is that job's, which is there until this returns.
    pub(crate) unsafe fn resource_signalled(&self, id: JobId, wait: &UnsafeCell<ResourceWait>) {
        self.borrowed(|queue| {
            // SAFETY: Under the queue's lock.
            queue.change(Context::Nested, |state| match unsafe { &mut *wait.get() } {
                wait @ ResourceWait::Early => *wait = ResourceWait::Over,
                // A job that was killed meanwhile does not wait any more.
                _ => _ = state.core.resource_signalled(id),
            });
        });
    }

    /// # Safety
    ///
    /// Called by the executor for work that `kick` has queued with a count.
    unsafe extern "C" fn work(work: *mut sys::Work) {
        // SAFETY: It lies in the queue's inside, and gives its count.
        let this =
            unsafe { Ref::from_raw(Self::around(work.cast(), core::mem::offset_of!(Self, work))) };
        if this.worker_visit() {
            // Its count goes on.
            let this = core::mem::ManuallyDrop::new(this);
            // SAFETY: As in `kick`.
            let queued = unsafe { sys::ringfence_work_queue(this.executor.raw(), this.work.get()) };
            debug_assert!(queued, "a worker that is not idle is not kicked");
        }
    }

    /// # Safety
    ///
    /// Called by the timer before the queue's end has shut it down.
    unsafe extern "C" fn timer(timer: *mut sys::Timer) {
        // SAFETY: It lies in the queue's inside, which the timer's shutdown waits for.
        let this =
            unsafe { Self::around(timer.cast(), core::mem::offset_of!(Self, timer)).as_ref() };
        // Without a count there is no job, and nothing to be late for.
        if let Some(this) = this.upgrade() {
            let now = monotonic();
            this.event(Context::Irq, |core| core.timer_fired(now));
        }
    }

    /// The inside around one of its fields.
    ///
    /// # Safety
    ///
    /// `field` is at `offset` in one.
    unsafe fn around(field: *mut u8, offset: usize) -> NonNull<Self> {
        // SAFETY: Says the caller.
        unsafe { NonNull::new_unchecked(field.sub(offset).cast()) }
    }
}

/// As a relaxed load, which is a call where the kernel's Rust has no atomics of its own inline.
#[inline]
pub(crate) fn read<T: Copy + kernel::sync::atomic::AtomicType>(atomic: &Atomic<T>) -> T {
    // SAFETY: It is there, and others change it by atomic operations only: this is `READ_ONCE()`.
    unsafe { atomic.as_ptr().read_volatile() }
}

impl<D: Driver> State<D> {
    #[inline]
    pub(crate) fn job(&self, id: JobId) -> Option<NonNull<Job<D>>> {
        let job = self.core.element(id).and_then(|element| element.job);
        debug_assert!(job.is_some(), "a job in line is there");
        job
    }

    /// True once nothing is left.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Has `signaller` signal when nothing is left. If there is one already, gives it back, with
    /// that one's fence.
    pub(crate) fn keep_closed(&mut self, signaller: Signaller) -> Option<(Signaller, ARef<Fence>)> {
        match &self.closed {
            Some(known) => Some((signaller, known.fence().clone())),
            None => {
                self.closed = Some(signaller);
                None
            }
        }
    }

    /// Keeps a job that core has just armed.
    #[inline]
    fn keep(&mut self, id: JobId, job: NonNull<Job<D>>) {
        if let Some(element) = self.core.element_mut(id) {
            element.job = Some(job);
        }
    }
}
