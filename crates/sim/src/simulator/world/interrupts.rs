// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the device does to its driver: interrupts, death, and going away.

use ringfence_core::{Context, Errno};

use super::super::canary::Canary;
use super::super::coverage::Fault;
use super::super::device::Health;
use super::super::log::{Detail, Event};
use super::World;
use crate::judge::Verdict;

impl World {
    /// An interrupt of a ring arrives: its handler reports what was written.
    pub(super) fn interrupt(&mut self, queue: u8) -> Verdict {
        let now = self.now;
        let ring = &mut self.device.rings[usize::from(queue)];
        let raised = ring.irq.take();
        let count = ring.written.len();
        if count == 0 {
            self.coverage.fault(Fault::SpuriousInterrupt);
        } else if raised.is_none() {
            self.coverage.fault(Fault::LostInterrupt);
        } else if raised.is_some_and(|at| now > at) {
            self.coverage.fault(Fault::LateInterrupt);
        }
        self.note(
            queue,
            None,
            Some(Context::Irq),
            Event::Interrupt,
            Detail::Number(count as u64),
        );
        for nth in 0..count {
            let Some(written) = self.device.rings[usize::from(queue)].written.pop_front() else {
                break;
            };
            if nth == 0 || !self.plant.is(Canary::CompletionLost) {
                self.read(queue, written)?;
            }
        }
        if count == 0 && self.plant.is(Canary::SpuriousCompletes) {
            self.complete_oldest(queue)?;
        }
        self.begin(queue, Context::Irq);
        // The ring has room again: who waits for that may try.
        self.resources(queue)
    }

    /// Jobs that found no resources may try again.
    pub(super) fn resources(&mut self, queue: u8) -> Verdict {
        let judge = &self.lines[usize::from(queue)].judge;
        let waits = judge.live().find(|i| judge.facts[*i].resource_wait);
        let Some(i) = waits else { return Ok(()) };
        let seqno = judge.seqno(i);
        self.resource(queue, ringfence_core::JobId::from_seqno(seqno))
    }

    pub(super) fn firmware_dies(&mut self) {
        if self.device.health == Health::Well {
            self.coverage.fault(Fault::FirmwareDeath);
            self.note_all(Event::Fault, Detail::Text("firmware death"));
            self.device.health = Health::FirmwareDead;
        }
    }

    pub(super) fn device_goes(&mut self) {
        if self.device.health != Health::Gone {
            self.coverage.fault(Fault::DeviceGone);
            self.note_all(Event::Fault, Detail::Error(Errno::ENODEV));
            self.device.health = Health::Gone;
            for ring in &mut self.device.rings {
                ring.slots.clear();
            }
        }
    }
}
