// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where jobs begin and end: fences, interrupts, and what was injected.

use super::{Env, Exec, Step, Wait};
use crate::clock::now_ns;
use crate::command::Command;
use crate::fault::{Fault, FaultKind, Injection, Moment};
use crate::interrupt::Interrupt;
use crate::observer::{SlotEvent, SlotEventKind};

impl Exec {
    /// Ends a job.
    pub(super) fn fence(&mut self, env: &Env<'_>, value: u64) {
        self.note(env, SlotEventKind::JobEnd { value });
        self.in_job = false;
        self.job = None;
        // Who sees the fence finds room in the ring, and everything counted.
        self.retire();
        env.device.counters.jobs.add();
        let injected = self.injected(env, Moment::Fence { value });
        self.shared.line.write_fence(value);
        let interrupts = &env.device.interrupts;
        let slot = &self.shared.line.handler;
        let reached = Interrupt::FenceReached {
            context: self.shared.id,
            value,
        };
        match injected {
            Some(Injection::LostInterrupt) => {}
            Some(Injection::LateInterrupt(delay)) => interrupts.raise_late(slot, reached, delay),
            Some(Injection::DoubleInterrupt) => {
                interrupts.raise(slot, reached);
                interrupts.raise(slot, reached);
            }
            _ => interrupts.raise_fence(&self.shared.line),
        }
    }

    /// Does what has been injected before `command`.
    pub(super) fn inject_before(
        &mut self,
        env: &Env<'_>,
        command: &Command,
    ) -> Result<Option<Step>, Fault> {
        let value = match *command {
            Command::BeginJob { value } | Command::Fence { value } => Some(value),
            _ => None,
        };
        Ok(
            match self.injected(
                env,
                Moment::Command {
                    first: !self.in_job,
                    value,
                },
            ) {
                Some(Injection::Hang) => {
                    self.wait = Wait::Hung;
                    Some(Step::Wait)
                }
                Some(Injection::FaultAddress(address)) => {
                    return Err(Fault {
                        kind: FaultKind::Unmapped,
                        address,
                    });
                }
                Some(Injection::FirmwareDeath { silent }) => Some(Step::Died {
                    silent,
                    job: value.or(self.job),
                }),
                Some(Injection::Unplug { announced }) => Some(Step::Unplugged { announced }),
                Some(Injection::SpuriousInterrupt(value)) => {
                    let reached = Interrupt::FenceReached {
                        context: self.shared.id,
                        value,
                    };
                    env.device
                        .interrupts
                        .raise(&self.shared.line.handler, reached);
                    None
                }
                _ => None,
            },
        )
    }

    fn injected(&self, env: &Env<'_>, moment: Moment) -> Option<Injection> {
        let own = self.shared.injections.take(moment);
        own.or_else(|| env.device.injections.take(moment))
    }

    pub(super) fn note(&self, env: &Env<'_>, kind: SlotEventKind) {
        if let Some(observer) = env.observer {
            let context = self.shared.id;
            observer(&SlotEvent {
                at: now_ns(),
                slot: env.slot,
                context,
                kind,
            });
        }
    }
}
