// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the host asks of the firmware.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::exec::{Exec, Standing};
use super::{Firmware, Request};
use crate::answer::Answer;
use crate::clock::now_ns;
use crate::context::{ResetReport, Shared};
use crate::device::DeviceResetReport;
use crate::error::GpuError;
use crate::fault::{Injection, Injections, Moment};
use crate::interrupt::Interrupt;
use crate::slots::LossCause;
use crate::sync::lock;

/// A context that is being reset.
pub(super) struct PendingReset {
    pub(super) due: u64,
    context: Arc<Shared>,
    answer: Answer<Option<ResetReport>>,
    fails: bool,
}

/// The reset of the whole device, in progress.
pub(super) struct DeviceReset {
    due: u64,
    answers: Vec<Answer<Option<DeviceResetReport>>>,
    fails: bool,
}

impl DeviceReset {
    pub(super) fn due(&self) -> u64 {
        self.due
    }
}

/// How much longer a reset takes for what was injected, and whether it fails.
fn trouble(injections: [&Injections; 2]) -> (u64, bool) {
    match injections
        .into_iter()
        .find_map(|list| list.take(Moment::Reset))
    {
        Some(Injection::SlowReset(delay)) => {
            (u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX), false)
        }
        Some(Injection::FailedReset) => (0, true),
        _ => (0, false),
    }
}

impl Firmware {
    /// Deals with what has come in: first requests, then doorbells.
    pub(super) fn read_inbox(&mut self) {
        let mut requests = std::mem::take(&mut self.requests);
        self.device.inbox.read(&mut self.doorbells, &mut requests);
        for request in requests.drain(..) {
            self.handle(request);
        }
        self.requests = requests;
        let mut doorbells = std::mem::take(&mut self.doorbells);
        for index in doorbells.drain(..) {
            if let Some(exec) = self.exec(index) {
                // First the flag, then PUT: what is pushed in between rings again.
                exec.shared.rung.swap(false, Ordering::AcqRel);
                if !self.dead {
                    self.enlist(index);
                }
            }
        }
        self.doorbells = doorbells;
    }

    fn handle(&mut self, request: Request) {
        match request {
            Request::Attach(shared) => {
                let index = shared.index;
                if self.contexts.len() <= index {
                    self.contexts.resize_with(index + 1, || None);
                }
                self.contexts[index] = Some(Box::new(Exec::new(shared)));
            }
            Request::Remove { index, answer } => {
                self.withdraw(index, LossCause::Dropped);
                let exec = self.contexts.get_mut(index).and_then(Option::take);
                if let Some(exec) = &exec {
                    self.resets
                        .retain(|reset| !Arc::ptr_eq(&reset.context, &exec.shared));
                    self.forget_tenant(&exec.shared.line);
                }
                drop(exec);
                let _ = answer.try_send(());
            }
            Request::ResetDevice { answer } => self.begin_device_reset(answer),
            Request::Stop => self.stop = true,
            _ if self.dead => self.unanswered.push(request),
            Request::Bind { index, slot, duty } => self.bind(index, slot, duty),
            Request::Vacate { index, duty } => self.ask_to_leave(index, duty),
            Request::ResetContext { index, answer } => self.begin_reset(index, answer),
            Request::Ping { answer } => answer.give(()),
            Request::Die { silent } => self.die(silent),
        }
    }

    fn begin_reset(&mut self, index: usize, answer: Answer<Option<ResetReport>>) {
        let now = now_ns();
        self.withdraw(index, LossCause::ContextReset);
        let Some(exec) = self.exec_mut(index) else {
            return;
        };
        exec.kill();
        exec.stand(Standing::Resetting);
        let context = Arc::clone(&exec.shared);
        let (slow, fails) = trouble([&context.injections, &self.device.injections]);
        self.resets.push(PendingReset {
            due: now.saturating_add(slow),
            context,
            answer,
            fails,
        });
        self.finish_resets(now);
    }

    fn begin_device_reset(&mut self, answer: Answer<Option<DeviceResetReport>>) {
        self.halt();
        let (slow, fails) = trouble([&self.device.injections, &Injections::default()]);
        let due = now_ns().saturating_add(slow);
        let reset = self.device_reset.get_or_insert_with(|| DeviceReset {
            due,
            answers: Vec::new(),
            fails: false,
        });
        reset.fails |= fails;
        reset.due = reset.due.max(due);
        reset.answers.push(answer);
    }

    /// Ends the resets whose time has come.
    pub(super) fn finish_resets(&mut self, now: u64) {
        if self
            .device_reset
            .as_ref()
            .is_some_and(|reset| reset.due <= now)
        {
            self.finish_device_reset();
        }
        if self.dead {
            return;
        }
        while let Some(place) = self.resets.iter().position(|reset| reset.due <= now) {
            let reset = self.resets.swap_remove(place);
            if reset.fails {
                self.device.counters.failed_resets.add();
                if let Some(exec) = self.exec_mut(reset.context.index) {
                    exec.stand(Standing::Faulted);
                }
                reset.answer.give(None);
                continue;
            }
            self.device.counters.context_resets.add();
            let report = self.finish_reset(&reset.context);
            reset.answer.give(Some(report));
        }
    }

    fn finish_reset(&mut self, context: &Arc<Shared>) -> ResetReport {
        let discarded_words = context.ring.discard();
        let fault = lock(&context.fault).take();
        if let Some(exec) = self.exec_mut(context.index) {
            exec.kill();
            exec.last_slot = None;
            exec.stand(Standing::Idle);
        }
        ResetReport {
            fence_value: context.fence_value(),
            discarded_words,
            fault,
        }
    }

    fn finish_device_reset(&mut self) {
        let Some(reset) = self.device_reset.take() else {
            return;
        };
        if reset.fails {
            self.device.counters.failed_resets.add();
            for answer in reset.answers {
                answer.give(None);
            }
            return;
        }
        self.dead = false;
        let culprit = self.culprit.take();
        // Before any answer: who gets one sees that it was the device's reset.
        self.device.counters.device_resets.add();
        let unanswered = std::mem::take(&mut self.unanswered);
        let mut contexts_lost = 0;
        let contexts: Vec<_> = self
            .contexts
            .iter()
            .flatten()
            .map(|exec| Arc::clone(&exec.shared))
            .collect();
        for context in contexts {
            let report = self.finish_reset(&context);
            let mut was_reset = false;
            // The reset of a context that was in progress ends with this one.
            while let Some(place) = self
                .resets
                .iter()
                .position(|reset| Arc::ptr_eq(&reset.context, &context))
            {
                was_reset = true;
                self.resets.swap_remove(place).answer.give(Some(report));
            }
            if report.discarded_words > 0 {
                contexts_lost += 1;
                let lost = Interrupt::ContextLost {
                    context: context.id,
                };
                self.device.interrupts.raise(&context.line.handler, lost);
                // What is pushed from now on must not overtake what was lost.
                if let Some(exec) = self.exec_mut(context.index).filter(|_| !was_reset) {
                    exec.stand(Standing::Faulted);
                }
            }
        }
        self.tell_untold(LossCause::DeviceReset);
        for request in unanswered {
            match request {
                Request::Bind { duty, .. } | Request::Vacate { duty, .. } => {
                    duty.fail(GpuError::SlotLost);
                }
                Request::ResetContext { index, answer } if answer.is_awaited() => {
                    self.begin_reset(index, answer);
                }
                // The others are dropped: who asked hears that there is no answer.
                _ => {}
            }
        }
        for answer in reset.answers {
            answer.give(Some(DeviceResetReport {
                contexts_lost,
                culprit,
            }));
        }
    }
}
