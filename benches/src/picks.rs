// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What it costs to pick the next queue for a slot.

use std::time::Duration;

use ringfence_core::{GateReport, Out, Time};
use ringfence_orchestrator_core::{
    Answer, Config, Effect, Fair, Orchestrator, Seat, SeatConfig, Slot, SlotKind,
};

/// Slots of the device.
const SLOTS: usize = 8;

/// A device that does everything at once, with so many queues that always want a slot. A pick is one
/// queue's way from its slot and another's to it, with all that is decided, charged and said.
pub(crate) struct Picks {
    core: Orchestrator<Vec<Seat>, Vec<Slot>, Fair>,
    now: Time,
    version: u64,
}

impl Picks {
    pub(crate) fn new(queues: usize) -> Self {
        let (seats, slots) = (
            vec![Seat::FREE; queues],
            vec![Slot::new(SlotKind::default()); SLOTS],
        );
        let Ok(core) = Orchestrator::new(Config::default(), Fair::default(), seats, slots) else {
            unreachable!("there are slots");
        };
        let mut picks = Self {
            core,
            now: Time::ZERO,
            version: 0,
        };
        for queue in 0..queues {
            let Ok(seat) = picks.core.add(SeatConfig::default()) else {
                unreachable!("there is room");
            };
            let report = picks.report(Out::Nothing);
            let known = picks.core.report(seat, report, picks.now);
            assert!(known.is_ok());
            if queue < SLOTS {
                // They come one after the other, as they would in life.
                picks.now = picks.now.after(Duration::from_micros(250));
                picks.act();
            }
        }
        picks.run(queues as u32);
        picks
    }

    /// Picks so many times.
    pub(crate) fn run(&mut self, picks: u32) {
        let mut done = 0;
        while done < picks {
            self.now = self.now.after(Duration::from_micros(250));
            self.core.timer_fired();
            done += self.act();
        }
    }

    /// Does what is to be done; returns how many came to a slot.
    fn act(&mut self) -> u32 {
        let mut bound = 0;
        while let Some(effect) = self.core.next(self.now) {
            match effect {
                Effect::Bind { seat, .. } => {
                    bound += 1;
                    let answered = self.core.bound(seat, Answer::Done, self.now);
                    assert!(answered.is_ok());
                }
                Effect::Yield { seat } => {
                    let report = self.report(Out::OnHardware);
                    let yielded = self.core.yielded(seat, report, self.now);
                    assert!(yielded.is_ok());
                }
                Effect::Vacate { seat, .. } => {
                    let answered = self.core.vacated(seat, Answer::Done, None, self.now);
                    assert!(answered.is_ok());
                }
                _ => {}
            }
        }
        bound
    }

    fn report(&mut self, out: Out) -> GateReport {
        self.version += 1;
        GateReport {
            version: self.version,
            wants: true,
            out,
        }
    }
}
