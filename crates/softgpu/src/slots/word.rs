// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Answers about slots, on their way to the host.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::{Loss, SlotAnswer, Stay};
use crate::device::Device;
use crate::error::GpuError;
use crate::interrupt::Line;

enum Said {
    Bound(Result<(), GpuError>),
    Vacated(Result<Stay, GpuError>),
    Lost(Loss),
}

/// One call of a [`SlotAnswer`], to be delivered exactly once.
pub(crate) struct Word {
    listener: Arc<dyn SlotAnswer>,
    said: Said,
    /// Whose request this answers.
    asked: Option<Arc<Line>>,
}

impl Word {
    /// The loss of a slot, for who had bound the context to it.
    pub(crate) fn lost(listener: Arc<dyn SlotAnswer>, loss: Loss) -> Self {
        Self {
            listener,
            said: Said::Lost(loss),
            asked: None,
        }
    }

    /// Tells it. `None` if the listener panicked. No lock may be held.
    pub(crate) fn deliver(self) -> Option<()> {
        // First the flag: who is told may ask for the next.
        if let Some(line) = self.asked {
            line.asked.store(false, Ordering::Release);
        }
        let Self { listener, said, .. } = self;
        let told = catch_unwind(AssertUnwindSafe(|| {
            match said {
                Said::Bound(result) => listener.bound(result),
                Said::Vacated(result) => listener.vacated(result),
                Said::Lost(loss) => listener.lost(loss),
            }
            drop(listener);
        }));
        told.ok()
    }
}

/// What was asked for.
#[derive(Clone, Copy)]
enum Question {
    Bind,
    Vacate,
}

/// The duty to answer one request for a slot. Dropped, it says that the device is not there any
/// more.
pub(crate) struct Duty {
    /// `None` when the answer is on its way.
    listener: Option<Arc<dyn SlotAnswer>>,
    question: Question,
    line: Arc<Line>,
    device: Arc<Device>,
}

impl Duty {
    /// The duty to answer a bind. `None` if the context has a request under way.
    pub(crate) fn bind(
        device: &Arc<Device>,
        line: &Arc<Line>,
        listener: Arc<dyn SlotAnswer>,
    ) -> Option<Self> {
        Self::new(device, line, listener, Question::Bind)
    }

    /// The duty to answer a vacate. `None` if the context has a request under way.
    pub(crate) fn vacate(
        device: &Arc<Device>,
        line: &Arc<Line>,
        listener: Arc<dyn SlotAnswer>,
    ) -> Option<Self> {
        Self::new(device, line, listener, Question::Vacate)
    }

    fn new(
        device: &Arc<Device>,
        line: &Arc<Line>,
        listener: Arc<dyn SlotAnswer>,
        question: Question,
    ) -> Option<Self> {
        if line.asked.swap(true, Ordering::AcqRel) {
            return None;
        }
        Some(Self {
            listener: Some(listener),
            question,
            line: Arc::clone(line),
            device: Arc::clone(device),
        })
    }

    /// Whether it is a request of the context with this line.
    pub(crate) fn is_of(&self, line: &Arc<Line>) -> bool {
        Arc::ptr_eq(&self.line, line)
    }

    /// The bind has succeeded. Returns who is to be told how the stay ends.
    pub(crate) fn bound(mut self) -> Option<Arc<dyn SlotAnswer>> {
        let listener = self.listener.clone();
        self.say(Said::Bound(Ok(())));
        listener
    }

    /// The vacate has succeeded.
    pub(crate) fn vacated(mut self, stay: Stay) {
        self.say(Said::Vacated(Ok(stay)));
    }

    /// The request has failed.
    pub(crate) fn fail(mut self, error: GpuError) {
        self.refuse(error);
    }

    /// The request was not taken: who asked is told by other means.
    pub(crate) fn take_back(mut self) {
        self.listener = None;
        self.line.asked.store(false, Ordering::Release);
    }

    fn refuse(&mut self, error: GpuError) {
        self.say(match self.question {
            Question::Bind => Said::Bound(Err(error)),
            Question::Vacate => Said::Vacated(Err(error)),
        });
    }

    fn say(&mut self, said: Said) {
        if let Some(listener) = self.listener.take() {
            self.device.interrupts.answer(Word {
                listener,
                said,
                asked: Some(Arc::clone(&self.line)),
            });
        }
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        let absence = self.device.absence();
        self.refuse(absence);
    }
}
