// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What holds a queue up: suspends, a stop, a recovery to come, its gate.

use super::{Queue, Recovery};
use crate::entry::HasEntry;
use crate::gate::Gate;
use crate::time::Time;

/// What may be held up.
pub(super) struct Hold;

impl Hold {
    /// No driver callback is handed out: suspended, stopped, waiting for a recovery, gate shut.
    pub(super) const CALLBACKS: u8 = 1;
    /// No run is handed out: any of these, or the gate yields.
    pub(super) const RUNS: u8 = 2;
    /// Nothing is because of this alone; but there is a gate, so there may be something to report.
    pub(super) const GATED: u8 = 4;
}

impl<S: AsRef<[P]> + AsMut<[P]>, P: HasEntry> Queue<S, P> {
    /// True while no driver callback may be handed out, for whatever reason.
    #[inline]
    pub(super) fn is_held(&self) -> bool {
        self.hold & Hold::CALLBACKS != 0
    }

    /// True while no run may be handed out, for whatever reason.
    #[inline]
    pub(super) fn runs_are_held(&self) -> bool {
        self.hold & Hold::RUNS != 0
    }

    /// True if nothing is held up and there is no gate.
    #[inline]
    pub(super) fn is_free(&self) -> bool {
        self.hold == 0
    }

    /// True if somebody outside says when the queue may run.
    #[inline]
    pub(super) fn is_gated(&self) -> bool {
        self.hold & Hold::GATED != 0
    }

    /// True while driver callbacks are held up for another reason than the gate.
    pub(super) fn is_held_otherwise(&self) -> bool {
        self.suspends != 0 || self.stopped || self.recovery != Recovery::None
    }

    /// To be called when any reason to hold driver callbacks up comes or goes.
    pub(super) fn update_held(&mut self) {
        let (otherwise, gate) = (self.is_held_otherwise(), self.gate.gate);
        let bit = |holds: bool, bit: u8| if holds { bit } else { 0 };
        self.hold = bit(otherwise || gate == Gate::Shut, Hold::CALLBACKS)
            | bit(otherwise || gate != Gate::Open, Hold::RUNS)
            | bit(self.config.gated, Hold::GATED);
    }

    /// Changes something that holds driver callbacks up; the clock stands still while one does.
    pub(super) fn change_hold(&mut self, now: Time, change: impl FnOnce(&mut Self)) {
        let before = self.is_held();
        change(self);
        self.update_held();
        self.log_head.now = now;
        match (before, self.is_held()) {
            (false, true) => self.clock.suspend(now),
            (true, false) => self.clock.resume(now),
            _ => {}
        }
    }
}
