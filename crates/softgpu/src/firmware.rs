// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The firmware: the thread that puts contexts on slots and executes what they ask for.
//!
//! It owns all that is not shared with the host and calls nobody but the observer. The host talks
//! to it through its [`Inbox`] (doorbells and requests) and through the words that both see.
//!
//! One round: read the inbox, fill the slots, let every resident context that can run do a
//! quantum. A round in which nothing could run ends asleep, until the earliest time at which
//! something will change by itself (a spin or a time slice ends) or the inbox is rung.
//!
//! Where the host schedules, filling the slots is left out: requests say who is on which, and the
//! run list is empty.

mod exec;
mod host;
mod inbox;
mod matmul;
mod operation;
mod requests;
mod schedule;

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

use crate::clock::now_ns;
use crate::config::GpuConfig;
use crate::context::{ContextId, ContextState};
use crate::device::{Culprit, Device};
use crate::fault::Fault;
use crate::interrupt::Interrupt;
use crate::observer::{Observer, SlotEvent, SlotEventKind};
use crate::slots::LossCause;
use crate::sync::lock;

use exec::{Env, Exec, Standing, Step};
use host::{Ended, Rules, Tenancy, Why};
pub(crate) use inbox::{Inbox, Request};
use requests::{DeviceReset, PendingReset};

/// What remains of a sleep is spent yielding, because sleeping threads wake late.
const SLEEP_MARGIN_NS: u64 = 40_000;

/// A context on a slot.
struct Seat {
    context: usize,
    slice_end: u64,
    /// When the stay began, or the slot began to switch.
    from: u64,
    /// How long the context had been busy then, in nanoseconds.
    busy: u64,
    /// Where the host schedules.
    tenancy: Option<Tenancy>,
}

impl Seat {
    /// Whether the context may execute.
    fn executes(&self) -> bool {
        self.tenancy.as_ref().is_none_or(Tenancy::executes)
    }

    /// When the slot has switched to the context, if it still does.
    fn switching(&self) -> Option<u64> {
        self.tenancy.as_ref().and_then(Tenancy::switching)
    }
}

/// The firmware's own memory.
///
/// # Invariants
///
/// A context is in exactly one place, and its `standing` says which: on one slot, once in
/// `waiting`, or in neither. A dead firmware has no context in either.
pub(crate) struct Firmware {
    device: Arc<Device>,
    observer: Option<Observer>,
    slice_ns: u64,
    /// Where the host schedules.
    rules: Option<Rules>,
    contexts: Vec<Option<Box<Exec>>>,
    slots: Vec<Option<Seat>>,
    /// Who was on each slot last.
    last_on: Vec<Option<ContextId>>,
    /// How many slots switch to a context.
    switching: usize,
    /// Stays that ended when it died.
    untold: Vec<Ended>,
    /// The run list: contexts with work and without a slot, in the order of their turns.
    waiting: VecDeque<usize>,
    resets: Vec<PendingReset>,
    device_reset: Option<DeviceReset>,
    dead: bool,
    /// What it was dealing with when it died.
    culprit: Option<Culprit>,
    stop: bool,
    /// What a dead firmware was asked; kept so that who asks waits in vain.
    unanswered: Vec<Request>,
    doorbells: Vec<usize>,
    requests: Vec<Request>,
}

impl Firmware {
    pub(crate) fn new(device: Arc<Device>, config: &GpuConfig) -> Self {
        Self {
            device,
            observer: config.observer.clone(),
            slice_ns: u64::try_from(config.time_slice.as_nanos()).unwrap_or(u64::MAX),
            rules: Rules::of(config),
            contexts: Vec::new(),
            slots: (0..config.slots).map(|_| None).collect(),
            last_on: vec![None; config.slots as usize],
            switching: 0,
            untold: Vec::new(),
            waiting: VecDeque::new(),
            resets: Vec::new(),
            device_reset: None,
            dead: false,
            culprit: None,
            stop: false,
            unanswered: Vec::new(),
            doorbells: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// The thread: works until it is told to stop.
    pub(crate) fn run(mut self) {
        #[cfg(target_os = "linux")]
        {
            // By default the kernel may add 50 microseconds to each sleep. If it refuses, spins
            // end a little late.
            let slack = std::num::NonZeroU64::new(1_000);
            let _ = rustix::thread::set_current_timer_slack(slack);
        }
        loop {
            self.read_inbox();
            if self.stop || self.device.is_gone() {
                break;
            }
            let now = now_ns();
            self.finish_resets(now);
            if self.dead {
                self.device
                    .inbox
                    .wait(self.device_reset.as_ref().map(DeviceReset::due));
                continue;
            }
            self.settle_all(now);
            self.fill_slots(now);
            if !self.execute(now) {
                self.rest();
            }
        }
        self.lose_all();
        for exec in self.contexts.iter().flatten() {
            exec.shared.set_state(ContextState::Stopped);
        }
    }

    /// Lets each resident context that can run do a quantum. `false` if there was none.
    fn execute(&mut self, now: u64) -> bool {
        let mut busy = false;
        let hosted = self.is_hosted();
        for slot in 0..self.slots.len() {
            let Some(seat) = &self.slots[slot] else {
                continue;
            };
            if !seat.executes() {
                continue;
            }
            let index = seat.context;
            let Some(exec) = self.contexts.get_mut(index).and_then(Option::as_mut) else {
                continue;
            };
            let env = Env {
                device: &self.device,
                observer: self.observer.as_ref(),
                slot: slot as u32,
            };
            if !exec.can_run(&self.device, now) {
                continue;
            }
            busy = true;
            match exec.step(&env) {
                Step::Yield | Step::Wait => {}
                Step::Empty if hosted => self.run_dry(slot, index),
                Step::Empty => self.idle(slot, index),
                Step::Fault(fault) => self.fault(slot, index, fault),
                Step::Died { silent, job } => {
                    self.culprit = Some(Culprit {
                        context: exec.shared.id,
                        job,
                    });
                    self.die(silent);
                    break;
                }
                Step::Unplugged { announced } => {
                    self.device.unplug(announced);
                    break;
                }
            }
        }
        busy
    }

    /// Takes the context off its slot because it has nothing to do.
    fn idle(&mut self, slot: usize, index: usize) {
        self.vacate(slot, Why::Turn);
        if let Some(exec) = self.contexts.get_mut(index).and_then(Option::as_mut) {
            exec.stand(Standing::Idle);
        }
    }

    fn fault(&mut self, slot: usize, index: usize, fault: Fault) {
        let Some(exec) = self.contexts.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        exec.kill();
        let shared = Arc::clone(&exec.shared);
        *lock(&shared.fault) = Some(fault);
        self.note(slot, now_ns(), SlotEventKind::Fault(fault));
        self.device.counters.faults.add();
        self.vacate(slot, Why::Lost(LossCause::Fault(fault)));
        let interrupt = Interrupt::Fault {
            context: shared.id,
            fault,
        };
        self.device
            .interrupts
            .raise(&shared.line.handler, interrupt);
    }

    /// Stops everything. What the host sees of the contexts stays as it is.
    fn die(&mut self, silent: bool) {
        self.halt();
        if silent {
            return;
        }
        let interrupts = &self.device.interrupts;
        interrupts.raise(&interrupts.device, Interrupt::FirmwareDied);
        for exec in self.contexts.iter().flatten() {
            interrupts.raise(&exec.shared.line.handler, Interrupt::FirmwareDied);
        }
    }

    /// Empties slots and run list, and stops.
    fn halt(&mut self) {
        for slot in 0..self.slots.len() {
            self.vacate(slot, Why::Death);
        }
        self.waiting.clear();
        for exec in self.contexts.iter_mut().flatten() {
            exec.standing = Standing::Idle;
        }
        self.dead = true;
    }

    /// Sleeps until something can change.
    fn rest(&mut self) {
        let until = self.next_change();
        let watches = self.any_semaphore();
        if watches {
            self.device.memory.watch(true);
        }
        if !(watches && self.any_satisfied()) {
            let now = now_ns();
            match until {
                Some(until) if until <= now => {}
                Some(until) if until - now <= SLEEP_MARGIN_NS => thread::yield_now(),
                Some(until) => self.device.inbox.wait(Some(until - SLEEP_MARGIN_NS)),
                None => self.device.inbox.wait(None),
            }
        }
        if watches {
            self.device.memory.watch(false);
        }
    }

    /// Tells the observer about the context on `slot`, if there is one.
    fn note(&self, slot: usize, at: u64, kind: SlotEventKind) {
        let Some(seat) = &self.slots[slot] else {
            return;
        };
        let Some(exec) = self.contexts.get(seat.context).and_then(Option::as_ref) else {
            return;
        };
        if let Some(observer) = &self.observer {
            let context = exec.shared.id;
            observer(&SlotEvent {
                at,
                slot: slot as u32,
                context,
                kind,
            });
        }
    }
}

impl Drop for Firmware {
    /// However the thread ends, nobody shall wait for it.
    fn drop(&mut self) {
        // It may be the observer that has panicked.
        self.observer = None;
        self.lose_all();
        self.device.inbox.close();
    }
}
