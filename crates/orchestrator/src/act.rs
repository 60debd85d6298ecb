// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Acting on effects.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ringfence::fence::{Callback, Registration, Status};
use ringfence::irq::give_up;
use ringfence::section::SignallingSection;
use ringfence::{Fence, GateControl, GateReport, Out};
use ringfence_orchestrator_core::{Answer, Checked, Effect, SeatId};

use crate::device::{Answers, Binding, Check, SlotDevice, Vacating};
use crate::seat::Entry;
use crate::shared::{Action, Shared, LAST_WORD, NO_QUEUE_YET};

type Wake = Box<dyn FnMut(Status) + Send>;

/// The memory that it takes to wait for a fence, made beforehand.
pub(crate) enum Wait {
    /// It waits for none.
    Idle(Callback<Wake>),
    /// It waits for one, or did.
    Registered(Registration<Wake>),
    /// Somebody has it in hand.
    Taken,
}

impl Wait {
    /// Makes the memory for seat `id`.
    pub(crate) fn new<V: SlotDevice>(shared: &Arc<Shared<V>>, id: SeatId) -> Self {
        let shared: Weak<Shared<V>> = Arc::downgrade(shared);
        Self::Idle(Callback::new(Box::new(move |_| {
            if let Some(shared) = shared.upgrade() {
                // Not here: what follows may want this callback's memory.
                let _gone = shared.event_for_later(|core, now| core.ready(id, now));
                give_up(shared);
            }
        })))
    }
}

impl<V: SlotDevice> Shared<V> {
    /// Acts on a batch, in order. No lock is held.
    pub(crate) fn act(&self, batch: impl IntoIterator<Item = Action<V>>) {
        // Job fences wait for what is done here.
        let _section = SignallingSection::enter();
        for (effect, entry) in batch {
            match (effect, &entry) {
                (Effect::ArmTimer { at }, _) => self.executor.arm_timer(self.place, at),
                (_, Some(entry)) => self.act_on(effect, entry),
                (_, None) => debug_assert!(false, "{effect:?} is about nobody"),
            }
        }
    }

    fn act_on(&self, effect: Effect, entry: &Arc<Entry<V>>) {
        let seat = entry.id;
        match effect {
            Effect::Check { .. } => self.check(entry),
            Effect::Bind { slot, .. } => {
                let Some(answers) = self.answers() else {
                    return;
                };
                let binding = Binding::new(answers, seat);
                self.call(|device| device.bind(slot, &entry.context, binding));
            }
            Effect::Run { .. } => {
                // A queue that is gone is about to say so, and one that is not there yet will.
                let _version = entry.control.get().and_then(|gate| gate.open());
            }
            Effect::Yield { .. } => {
                let report = match entry.control.get().map(GateControl::yield_now) {
                    // What it was before; what it is now follows, if it has not come already.
                    Some(Some(version)) => GateReport {
                        version,
                        wants: true,
                        out: Out::Inside,
                    },
                    // The queue is gone.
                    Some(None) => LAST_WORD,
                    None => NO_QUEUE_YET,
                };
                let answered = self.event(|core, now| core.yielded(seat, report, now));
                debug_assert_eq!(answered, Ok(()));
            }
            Effect::Shut { .. } => {
                let _version = entry.control.get().and_then(|gate| gate.shut());
            }
            Effect::Vacate { slot, .. } => {
                let _version = entry.control.get().and_then(|gate| gate.shut());
                let Some(answers) = self.answers() else {
                    return;
                };
                let vacating = Vacating::new(answers, seat);
                self.call(|device| device.vacate(slot, &entry.context, vacating));
            }
            Effect::Stuck { slot, .. } => self.call(|device| device.stuck(slot, &entry.context)),
            Effect::Gone { .. } | Effect::ArmTimer { .. } => {
                debug_assert!(false, "{effect:?} is acted on elsewhere");
            }
        }
    }

    fn answers(&self) -> Option<Arc<dyn Answers>> {
        // Whoever acts on behalf of a seat has a count.
        self.this().map(|this| this as Arc<dyn Answers>)
    }

    /// Calls the driver. If that panics, what it was given to answer is dropped, and so answered.
    fn call(&self, call: impl FnOnce(&V)) {
        let _panic = catch_unwind(AssertUnwindSafe(|| call(&self.device)));
    }

    fn check(&self, entry: &Arc<Entry<V>>) {
        let checked = catch_unwind(AssertUnwindSafe(|| self.device.check(&entry.context)));
        let fence = match checked {
            // It has panicked, and said so; the bind will show.
            Ok(Check::Ready) | Err(_) => {
                self.checked(entry, Checked::Ready);
                return;
            }
            Ok(Check::WaitFor(fence)) => fence,
        };
        // First this, or the fence may be there before anybody waits.
        self.checked(entry, Checked::NotYet);
        if !self.wait_for(entry, &fence) {
            let _gone = self.event(|core, now| core.ready(entry.id, now));
        }
    }

    fn checked(&self, entry: &Entry<V>, checked: Checked) {
        let answered = self.event(|core, now| core.checked(entry.id, checked, now));
        debug_assert_eq!(answered, Ok(()));
    }

    /// Has the seat woken when `fence` signals. `false` if it has.
    fn wait_for(&self, entry: &Arc<Entry<V>>, fence: &Fence) -> bool {
        let wait = std::mem::replace(&mut *entry.wait.lock(), Wait::Taken);
        let callback = match wait {
            Wait::Idle(callback) => Some(callback),
            Wait::Registered(registration) => registration.into_callback(),
            Wait::Taken => None,
        };
        let Some(callback) = callback else {
            debug_assert!(false, "one thread acts, and not in the callback");
            return false;
        };
        let (wait, waits) = match fence.add_callback(callback) {
            Ok(registration) => (Wait::Registered(registration), true),
            Err(rejected) => (Wait::Idle(rejected.callback), false),
        };
        let taken = std::mem::replace(&mut *entry.wait.lock(), wait);
        debug_assert!(matches!(taken, Wait::Taken));
        waits
    }
}

impl<V: SlotDevice> Answers for Shared<V> {
    fn bound(self: Arc<Self>, seat: SeatId, answer: Answer) {
        let answered = self.event(|core, now| core.bound(seat, answer, now));
        debug_assert_eq!(answered, Ok(()));
        give_up(self);
    }

    fn vacated(self: Arc<Self>, seat: SeatId, answer: Answer, measured: Option<Duration>) {
        let answered = self.event(|core, now| core.vacated(seat, answer, measured, now));
        debug_assert_eq!(answered, Ok(()));
        give_up(self);
    }
}
