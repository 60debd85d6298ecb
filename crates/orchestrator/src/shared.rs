// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The orchestrator behind its handles: the lock, and who acts.
//!
//! Whoever feeds an event acts on what follows from it, with the lock released, unless somebody is
//! acting already: he looks again before he is done. So one thread acts at a time, effects are acted on
//! in their order, and an answer that is given at once does not recurse.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Weak};

use arrayvec::ArrayVec;
use ringfence::executor::{Place, Rest, Runnable};
use ringfence::irq::{self, CountPlace, Countable, IrqLock, IrqLockGuard};
use ringfence::{monotonic, Executor, GateReport, Out, Time};
use ringfence_orchestrator_core::{self as core, Effect, SeatId, SeatView};

use crate::client::Client;
use crate::device::SlotDevice;
use crate::policy::AnyPolicy;
use crate::seat::Entry;

pub(crate) type Core = core::Orchestrator<Box<[core::Seat]>, Box<[core::Slot]>, AnyPolicy>;

/// Effects acted on between two lock holds.
const BATCH: usize = 16;

/// What is said of a queue that has ended, and says nothing itself any more: nothing comes after it.
pub(crate) const LAST_WORD: GateReport = GateReport {
    version: u64::MAX,
    wants: false,
    out: Out::Nothing,
};

/// What is said for a seat that others of its group have brought to a slot before it has a queue. That
/// has a gate that was never opened, and its reports are all of after this.
pub(crate) const NO_QUEUE_YET: GateReport = GateReport {
    version: 0,
    wants: false,
    out: Out::Nothing,
};

/// Batches that one thread acts on before it leaves the rest to the executor.
const ROUNDS_MAX: usize = 32;

pub(crate) struct Shared<V: SlotDevice> {
    pub(crate) device: V,
    pub(crate) name: String,
    /// What each kind of slot is called; none for kinds that the device does not have.
    pub(crate) engines: Vec<Option<String>>,
    pub(crate) executor: Arc<dyn Executor>,
    /// Nobody but the executor acts.
    by_executor: bool,
    pub(crate) place: Place,
    pub(crate) state: IrqLock<State<V>>,
    this: Weak<Self>,
    undertaker: Arc<Undertaker<V>>,
    undertaker_place: Place,
    /// For a count that an interrupt handler has had last.
    count: CountPlace,
}

// SAFETY: It is a field.
unsafe impl<V: SlotDevice> Countable for Shared<V> {
    fn place(&self) -> &CountPlace {
        &self.count
    }
}

/// # Invariants
///
/// `entries` has a place for each of core's seats, and an entry for each that core knows, which may
/// be about to be made. `graves` has room for all seats that there are, besides what is in it.
pub(crate) struct State<V: SlotDevice> {
    pub(crate) core: Core,
    pub(crate) entries: Vec<Option<Arc<Entry<V>>>>,
    /// Entries of seats that have gone, to be dropped by a thread that may sleep.
    graves: Vec<Arc<Entry<V>>>,
    /// What comes next, and was not for an interrupt handler to act on.
    put_off: Option<Effect>,
    /// Somebody acts, or the executor was told to.
    acting: bool,
    /// The executor drops what is in `graves`, or was told to.
    burying: bool,
    pub(crate) last_client: u64,
}

/// An effect on its way from the lock to its action.
pub(crate) type Action<V> = (Effect, Option<Arc<Entry<V>>>);

impl<V: SlotDevice> Shared<V> {
    pub(crate) fn new(
        device: V,
        name: String,
        engines: Vec<Option<String>>,
        executor: Arc<dyn Executor>,
        by_executor: bool,
        core: Core,
    ) -> Arc<Self> {
        let room = core.capacity();
        Arc::new_cyclic(|this: &Weak<Self>| {
            let place = executor.register(Weak::clone(this) as Weak<dyn Runnable>);
            let undertaker = Arc::new(Undertaker {
                shared: IrqLock::new(None),
            });
            let runnable = Arc::downgrade(&undertaker);
            let undertaker_place = executor.register(runnable as Weak<dyn Runnable>);
            Self {
                device,
                name,
                engines,
                executor,
                by_executor,
                place,
                state: IrqLock::new(State {
                    core,
                    entries: std::iter::repeat_with(|| None).take(room).collect(),
                    graves: Vec::with_capacity(room),
                    put_off: None,
                    acting: false,
                    burying: false,
                    last_client: 0,
                }),
                this: Weak::clone(this),
                undertaker,
                undertaker_place,
                count: CountPlace::default(),
            }
        })
    }

    /// Feeds an event, and sees to it that somebody acts on what follows.
    pub(crate) fn event<R>(&self, event: impl FnOnce(&mut Core, Time) -> R) -> R {
        let mut state = self.state.lock();
        let answer = event(&mut state.core, monotonic());
        if state.acting {
            return answer;
        }
        state.acting = true;
        if self.by_executor {
            drop(state);
            self.hand_over();
        } else if self.act_until_done(state) {
            self.hand_over();
        }
        answer
    }

    /// As [`Self::event`], but the executor acts: for where this thread should not.
    pub(crate) fn event_for_later<R>(&self, event: impl FnOnce(&mut Core, Time) -> R) -> R {
        let mut state = self.state.lock();
        let answer = event(&mut state.core, monotonic());
        if !std::mem::replace(&mut state.acting, true) {
            drop(state);
            self.hand_over();
        }
        answer
    }

    pub(crate) fn this(&self) -> Option<Arc<Self>> {
        self.this.upgrade()
    }

    /// Leaves what is to be done to the executor. The caller is who acts.
    fn hand_over(&self) {
        if let Some(this) = self.this() {
            self.executor.schedule(this);
        }
    }

    /// Acts until there is nothing to do; the caller is who acts. True if the rest must be left to
    /// the executor: there is too much, or something that is not for an interrupt handler.
    fn act_until_done<'a>(&'a self, mut state: IrqLockGuard<'a, State<V>>) -> bool {
        for _ in 0..ROUNDS_MAX {
            let mut batch = ArrayVec::<Action<V>, BATCH>::new();
            let now = monotonic();
            while !batch.is_full() {
                let Some(effect) = state.next(now) else {
                    break;
                };
                match state.about(effect) {
                    Some(action) => batch.push(action),
                    None => continue,
                }
            }
            // Who acts does not drop them himself: that may take its time, and others wait.
            let buries = !state.graves.is_empty() && !std::mem::replace(&mut state.burying, true);
            if batch.is_empty() && !buries {
                let put_off = state.put_off.is_some();
                state.acting = put_off;
                return put_off;
            }
            drop(state);
            if buries {
                self.call_undertaker();
            }
            self.act(batch);
            state = self.state.lock();
        }
        true
    }

    /// A seat's queue has ended, or there never will be one.
    pub(crate) fn remove(&self, seat: SeatId) {
        // Refused if it was removed before.
        let _twice = self.event(|core, now| {
            core.report(seat, LAST_WORD, now)?;
            core.remove(seat, now)
        });
    }

    /// Has the executor drop what is left of seats that have gone. Only for who has set `burying`.
    fn call_undertaker(&self) {
        // Nothing was there: it was taken before `burying` was cleared.
        *self.undertaker.shared.lock() = self.this();
        let undertaker = Arc::clone(&self.undertaker);
        self.executor.schedule(undertaker);
    }

    /// Drops what is left of seats that have gone, on a thread that may sleep.
    fn bury(&self) {
        loop {
            let mut state = self.state.lock();
            let Some(entry) = state.graves.pop() else {
                state.burying = false;
                return;
            };
            drop(state);
            // The driver's context goes with it. If that panics, it has said so.
            let _panic = catch_unwind(AssertUnwindSafe(|| drop(entry)));
        }
    }

    pub(crate) fn view(&self, seat: SeatId) -> Option<SeatView> {
        let state = self.state.lock();
        state.core.view(seat, monotonic()).ok()
    }

    /// A client with a number of its own.
    pub(crate) fn client(&self, name: &str) -> Client {
        let mut state = self.state.lock();
        state.last_client += 1;
        let id = state.last_client;
        drop(state);
        Client::new(id, name)
    }
}

impl<V: SlotDevice> State<V> {
    /// What is to be done next, here. A check may have to wait for the callback of the fence before: in a
    /// handler that may be the one that it has interrupted.
    fn next(&mut self, now: Time) -> Option<Effect> {
        let effect = self.put_off.take().or_else(|| self.core.next(now))?;
        if matches!(effect, Effect::Check { .. }) && irq::in_handler() {
            self.put_off = Some(effect);
            return None;
        }
        Some(effect)
    }

    /// What an effect is about. `None` where there is nothing to act on.
    fn about(&mut self, effect: Effect) -> Option<Action<V>> {
        let seat = match effect {
            Effect::Check { seat, .. }
            | Effect::Bind { seat, .. }
            | Effect::Run { seat }
            | Effect::Yield { seat }
            | Effect::Shut { seat }
            | Effect::Vacate { seat, .. }
            | Effect::Stuck { seat, .. } => seat,
            Effect::Gone { seat, stats } => {
                let entry = self.entries[seat.place()].take();
                debug_assert!(entry.is_some(), "{seat:?} has no entry");
                if let Some(entry) = entry {
                    entry.client.keep(&stats);
                    self.graves.push(entry);
                }
                return None;
            }
            Effect::ArmTimer { .. } => return Some((effect, None)),
        };
        let entry = self.entries[seat.place()].clone();
        debug_assert!(entry.is_some(), "{seat:?} has no entry");
        Some((effect, entry))
    }

    /// Makes a seat, if there is room for it, and for it to be buried.
    pub(crate) fn add(&mut self, config: core::SeatConfig) -> Result<SeatId, core::AddError> {
        if self.graves.len() + self.core.len() >= self.graves.capacity() {
            return Err(core::AddError::Full);
        }
        self.core.add(config)
    }

    /// Makes room for more seats, with memory that the caller brings; gives back what is not needed
    /// any more.
    pub(crate) fn grow(&mut self, room: Room<V>) -> Room<V> {
        let mut room = room;
        if room.seats.len() <= self.core.capacity() {
            return room;
        }
        match self.core.move_into(room.seats) {
            Ok(old) => room.seats = old,
            Err((_, seats)) => {
                room.seats = seats;
                return room;
            }
        }
        let places = self.core.capacity();
        room.entries.append(&mut self.entries);
        room.entries.resize_with(places, || None);
        std::mem::swap(&mut self.entries, &mut room.entries);
        room.graves.append(&mut self.graves);
        std::mem::swap(&mut self.graves, &mut room.graves);
        room
    }
}

/// Memory for more seats.
pub(crate) struct Room<V: SlotDevice> {
    seats: Box<[core::Seat]>,
    entries: Vec<Option<Arc<Entry<V>>>>,
    graves: Vec<Arc<Entry<V>>>,
}

impl<V: SlotDevice> Room<V> {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            seats: vec![core::Seat::FREE; places].into_boxed_slice(),
            entries: Vec::with_capacity(places),
            graves: Vec::with_capacity(places),
        }
    }
}

impl<V: SlotDevice> Runnable for Shared<V> {
    fn work(self: Arc<Self>) -> Rest {
        let state = self.state.lock();
        // It was handed over: this is who acts.
        match self.act_until_done(state) {
            true => Rest::Again(Arc::clone(&self) as Arc<dyn Runnable>),
            false => Rest::Idle,
        }
    }

    fn timer_fired(self: Arc<Self>, _now: Time) {
        self.event(|core, _now| core.timer_fired());
    }
}

impl<V: SlotDevice> Drop for Shared<V> {
    fn drop(&mut self) {
        self.executor.unregister(self.place);
        self.executor.unregister(self.undertaker_place);
    }
}

/// Drops what is left of seats that have gone, apart from who acts: a driver's context may take its
/// time, and wait for what others do on slots.
struct Undertaker<V: SlotDevice> {
    /// While it is called.
    shared: IrqLock<Option<Arc<Shared<V>>>>,
}

impl<V: SlotDevice> Runnable for Undertaker<V> {
    fn work(self: Arc<Self>) -> Rest {
        let shared = self.shared.lock().take();
        if let Some(shared) = shared {
            shared.bury();
        }
        Rest::Idle
    }

    fn timer_fired(self: Arc<Self>, _now: Time) {}
}
