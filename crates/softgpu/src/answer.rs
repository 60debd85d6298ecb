// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Answers to requests that must be asked without allocating: resets, which drivers ask for where
//! memory reclaim may wait for them.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::GpuError;
use crate::sync::lock;

/// Where answers of one sort arrive. Made beforehand; any number of threads may ask and wait.
pub(crate) struct Mailbox<T> {
    /// Held while a request gets its number and is sent, so that they arrive in order.
    order: Mutex<()>,
    state: Mutex<State<T>>,
    arrived: Condvar,
}

struct State<T> {
    asked: u64,
    /// The highest number answered, refused or given up, and what was said last.
    answered: u64,
    answer: Option<T>,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self {
            order: Mutex::new(()),
            state: Mutex::new(State {
                asked: 0,
                answered: 0,
                answer: None,
            }),
            arrived: Condvar::new(),
        }
    }
}

/// The duty to answer one request. Dropped, it says that there will be no answer.
pub(crate) struct Answer<T> {
    mailbox: Arc<Mailbox<T>>,
    number: u64,
}

impl<T> Answer<T> {
    /// Answers.
    pub(crate) fn give(self, answer: T) {
        self.put(Some(answer));
    }

    /// Whether who asked still waits.
    pub(crate) fn is_awaited(&self) -> bool {
        lock(&self.mailbox.state).answered < self.number
    }

    fn put(&self, answer: Option<T>) {
        let mut state = lock(&self.mailbox.state);
        if state.answered < self.number {
            state.answered = self.number;
            state.answer = answer;
            self.mailbox.arrived.notify_all();
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        self.put(None);
    }
}

impl<T: Copy> Mailbox<T> {
    /// Makes the duty, hands it to `send` and waits for the answer. Does not allocate.
    ///
    /// An answer to a later request answers the earlier ones too: it happened after both.
    pub(crate) fn ask(
        self: &Arc<Self>,
        timeout: Duration,
        send: impl FnOnce(Answer<T>) -> Result<(), GpuError>,
    ) -> Result<T, GpuError> {
        let number = self.send(send)?;
        let end = Instant::now() + timeout;
        let mut state = lock(&self.state);
        while state.answered < number {
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                // What is answered after this is answered to nobody.
                state.answered = number;
                state.answer = None;
                return Err(GpuError::NotResponding);
            }
            let waited = self.arrived.wait_timeout(state, rest);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.answer.ok_or(GpuError::NotResponding)
    }

    fn send(
        self: &Arc<Self>,
        send: impl FnOnce(Answer<T>) -> Result<(), GpuError>,
    ) -> Result<u64, GpuError> {
        let _order = lock(&self.order);
        let number = {
            let mut state = lock(&self.state);
            state.asked += 1;
            state.asked
        };
        send(Answer {
            mailbox: Arc::clone(self),
            number,
        })?;
        Ok(number)
    }
}
