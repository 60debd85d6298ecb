// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Slots that the host manages.

use std::sync::Arc;
use std::time::Duration;

use super::exec::{Standing, Wait};
use super::{Firmware, Request, Seat};
use crate::clock::now_ns;
use crate::config::GpuConfig;
use crate::error::GpuError;
use crate::fault::{Injection, Moment};
use crate::interrupt::Line;
use crate::observer::SlotEventKind;
use crate::slots::{Duty, Loss, LossCause, Scheduling, SlotAnswer, Stay, Word};

/// What the host's scheduling is like.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    preemption: bool,
    switch_ns: u64,
}

impl Rules {
    pub(super) fn of(config: &GpuConfig) -> Option<Self> {
        let Scheduling::Host { preemption } = config.scheduling else {
            return None;
        };
        Some(Self {
            preemption,
            switch_ns: u64::try_from(config.switch_cost.as_nanos()).unwrap_or(u64::MAX),
        })
    }
}

/// Where a context on a slot that the host gave it stands, and who is to be told.
pub(super) enum Tenancy {
    /// The slot switches to it.
    Switching { until: u64, bind: Duty },
    /// It executes, or has nothing to do.
    Settled { holder: Holder },
    /// It executes until its ring is empty, and leaves.
    Leaving { holder: Holder, vacate: Duty },
    /// Injected: it can neither execute nor leave.
    Stuck { holder: Holder, vacate: Duty },
}

/// Who is told how the stay ends.
type Holder = Arc<dyn SlotAnswer>;

impl Tenancy {
    /// When the slot has switched, if it does.
    pub(super) fn switching(&self) -> Option<u64> {
        match self {
            Self::Switching { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// Whether the context may execute.
    pub(super) fn executes(&self) -> bool {
        matches!(self, Self::Settled { .. } | Self::Leaving { .. })
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self, Self::Leaving { .. })
    }

    /// The context is off the slot because it was asked to.
    fn leave(self, stay: Stay) {
        match self {
            Self::Leaving { vacate, .. } | Self::Stuck { vacate, .. } => vacate.vacated(stay),
            // Nobody has asked; see `Duty` for what becomes of the bind.
            Self::Switching { .. } | Self::Settled { .. } => debug_assert!(false, "nobody asked"),
        }
    }
}

/// A stay that ended, of which nobody has been told.
pub(super) struct Ended {
    tenancy: Tenancy,
    stay: Stay,
}

/// Why a context leaves its slot.
pub(super) enum Why {
    /// The firmware schedules.
    Turn,
    /// The host asked for it.
    Asked,
    /// Something else took it away.
    Lost(LossCause),
    /// The firmware has died, and says nothing for now.
    Death,
}

impl Firmware {
    /// Whether the host schedules.
    pub(super) fn is_hosted(&self) -> bool {
        self.rules.is_some()
    }

    /// The host wants a context on a slot.
    pub(super) fn bind(&mut self, index: usize, slot: usize, duty: Duty) {
        let Some((rules, exec)) = self.rules.zip(self.exec(index)) else {
            return duty.fail(GpuError::SlotLost);
        };
        match exec.standing {
            Standing::Resident(slot) | Standing::Switching(slot) => {
                let slot = slot as u32;
                return duty.fail(GpuError::AlreadyBound { slot });
            }
            Standing::Faulted | Standing::Resetting => return duty.fail(GpuError::NeedsReset),
            Standing::Idle | Standing::Waiting => {}
        }
        let stayed = exec.last_slot == Some(slot) && self.last_on[slot] == Some(exec.shared.id);
        if self.slots[slot].is_some() {
            return duty.fail(GpuError::SlotTaken { slot: slot as u32 });
        }
        let now = now_ns();
        let cost = if stayed { 0 } else { rules.switch_ns };
        self.slots[slot] = Some(Seat {
            context: index,
            slice_end: u64::MAX,
            from: now,
            busy: 0,
            tenancy: Some(Tenancy::Switching {
                until: now.saturating_add(cost),
                bind: duty,
            }),
        });
        if let Some(exec) = self.exec_mut(index) {
            exec.stand(Standing::Switching(slot));
        }
        self.switching += 1;
        self.settle(slot, now);
    }

    /// Lets contexts execute to which their slots have switched.
    pub(super) fn settle_all(&mut self, now: u64) {
        if self.switching == 0 {
            return;
        }
        for slot in 0..self.slots.len() {
            self.settle(slot, now);
        }
    }

    fn settle(&mut self, slot: usize, now: u64) {
        let Some(seat) = &mut self.slots[slot] else {
            return;
        };
        let Some(until) = seat.switching().filter(|&until| until <= now) else {
            return;
        };
        let Some(Tenancy::Switching { bind, .. }) = seat.tenancy.take() else {
            return;
        };
        self.switching -= 1;
        let (index, began) = (seat.context, seat.from);
        self.arrive(slot, index);
        if let Some(seat) = &mut self.slots[slot] {
            if until > began {
                self.device.slots[slot].switched(seat.from.saturating_sub(began));
            }
            seat.tenancy = bind.bound().map(|holder| Tenancy::Settled { holder });
        }
    }

    /// The context begins its stay on its seat.
    pub(super) fn arrive(&mut self, slot: usize, index: usize) {
        // The round's time is too old: what it has been on the slot counts to the nanosecond.
        let now = now_ns();
        let Some(exec) = self.contexts.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        let busy = exec.shared.busy_ns();
        exec.arrive(now);
        exec.last_slot = Some(slot);
        exec.shared.stays_once_more();
        exec.stand(Standing::Resident(slot));
        let (job, id) = (exec.job, exec.shared.id);
        self.last_on[slot] = Some(id);
        if let Some(seat) = &mut self.slots[slot] {
            seat.from = now;
            seat.busy = busy;
        }
        self.device.counters.slot_switches.add();
        self.note(slot, now, SlotEventKind::Resident { job });
    }

    /// The host wants a context off its slot.
    pub(super) fn ask_to_leave(&mut self, index: usize, vacate: Duty) {
        let Some((rules, exec)) = self.rules.zip(self.exec(index)) else {
            return vacate.fail(GpuError::SlotLost);
        };
        let Standing::Resident(slot) = exec.standing else {
            return vacate.fail(GpuError::NotBound);
        };
        let lists = [&exec.shared.injections, &self.device.injections];
        let injected = lists.iter().find_map(|list| list.take(Moment::Vacate));
        let stuck = matches!(injected, Some(Injection::StuckPreemption));
        let free_to_go = rules.preemption || !exec.has_work();
        let Some(seat) = &mut self.slots[slot] else {
            return vacate.fail(GpuError::NotBound);
        };
        let holder = match seat.tenancy.take() {
            Some(Tenancy::Settled { holder }) => holder,
            // It has one request under way at a time, so it cannot have been asked before.
            other => {
                seat.tenancy = other;
                return vacate.fail(GpuError::SlotRequestPending);
            }
        };
        if stuck {
            seat.tenancy = Some(Tenancy::Stuck { holder, vacate });
            if let Some(exec) = self.exec_mut(index) {
                exec.leave(now_ns());
            }
            return;
        }
        seat.tenancy = Some(Tenancy::Leaving { holder, vacate });
        if free_to_go {
            self.vacate(slot, Why::Asked);
        }
    }

    /// The context on `slot` has nothing more in its ring.
    pub(super) fn run_dry(&mut self, slot: usize, index: usize) {
        let seat = self.slots[slot].as_ref();
        let tenancy = seat.and_then(|seat| seat.tenancy.as_ref());
        if tenancy.is_some_and(Tenancy::is_leaving) {
            self.vacate(slot, Why::Asked);
        } else if let Some(exec) = self.exec_mut(index) {
            exec.wait = Wait::Doorbell;
        }
    }

    /// A stay has ended, and the slot is free.
    pub(super) fn end_stay(&mut self, slot: usize, now: u64, seat: Seat, why: Why) {
        let switching = seat.switching();
        let Some(exec) = self.exec(seat.context) else {
            return;
        };
        let busy = match switching {
            Some(_) => 0,
            None => exec.shared.busy_ns().saturating_sub(seat.busy),
        };
        let meter = &self.device.slots[slot];
        meter.executed(busy);
        if switching.is_some() {
            meter.switched(now.saturating_sub(seat.from));
        }
        let stay = Stay {
            context: exec.shared.id,
            slot: slot as u32,
            from: seat.from,
            to: now,
            busy: Duration::from_nanos(busy),
            work_left: exec.has_work(),
        };
        self.switching -= usize::from(switching.is_some());
        let Some(tenancy) = seat.tenancy else {
            return;
        };
        match why {
            Why::Turn => {}
            Why::Asked => tenancy.leave(stay),
            Why::Lost(cause) => self.tell_loss(Ended { tenancy, stay }, cause),
            Why::Death => self.untold.push(Ended { tenancy, stay }),
        }
    }

    fn tell_loss(&self, ended: Ended, cause: LossCause) {
        let Ended { tenancy, stay } = ended;
        let holder = match tenancy {
            Tenancy::Switching { bind, .. } => return bind.fail(cause.error()),
            Tenancy::Settled { holder } => holder,
            Tenancy::Leaving { holder, vacate } | Tenancy::Stuck { holder, vacate } => {
                vacate.fail(cause.error());
                holder
            }
        };
        let loss = Loss { stay, cause };
        self.device.interrupts.answer(Word::lost(holder, loss));
    }

    /// Tells of the stays that ended when the firmware died.
    pub(super) fn tell_untold(&mut self, cause: LossCause) {
        for ended in std::mem::take(&mut self.untold) {
            self.tell_loss(ended, cause);
        }
    }

    /// A context is dropped: a dead firmware keeps nothing of it either.
    pub(super) fn forget_tenant(&mut self, line: &Arc<Line>) {
        while let Some(place) = self
            .untold
            .iter()
            .position(|ended| ended.stay.context == line.context)
        {
            let ended = self.untold.remove(place);
            self.tell_loss(ended, LossCause::Dropped);
        }
        while let Some(place) = self.unanswered.iter().position(|request| match request {
            Request::Bind { duty, .. } | Request::Vacate { duty, .. } => duty.is_of(line),
            _ => false,
        }) {
            if let Request::Bind { duty, .. } | Request::Vacate { duty, .. } =
                self.unanswered.remove(place)
            {
                duty.fail(GpuError::SlotLost);
            }
        }
    }

    /// The device ends, in whatever state: every stay does.
    pub(super) fn lose_all(&mut self) {
        let cause = if self.device.is_gone() {
            LossCause::Gone
        } else {
            LossCause::Stopped
        };
        for slot in 0..self.slots.len() {
            self.vacate(slot, Why::Lost(cause));
        }
        self.tell_untold(cause);
    }
}
