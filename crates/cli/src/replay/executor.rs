// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The executor of a replay: a queue goes on where its job was completed.
//!
//! A pool wakes a thread when a queue has something to do, which takes longer than the doing. The
//! interrupt thread is awake when it completes a job: once it has told everybody, it visits the
//! queues that this has set in motion itself. What others set in motion goes to the pool.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use ringfence::executor::{Place, Rest, Runnable};
use ringfence::{Executor, Pool, Time};

/// How many visits an interrupt may lead to, and how many queues may wait for theirs.
const VISITS: usize = 64;

thread_local! {
    /// The queues to visit on this thread, where it collects them.
    static HERE: RefCell<Option<VecDeque<Arc<dyn Runnable>>>> = const { RefCell::new(None) };
}

/// A pool, and threads that lend a hand.
#[derive(Clone, Debug)]
pub(super) struct HereFirst(pub(super) Pool);

impl HereFirst {
    /// Calls `f`, then visits the queues that it has set in motion. Must not be called inside a
    /// signalling section.
    pub(super) fn lend_a_hand(&self, f: impl FnOnce()) {
        HERE.set(Some(VecDeque::with_capacity(VISITS)));
        f();
        for _ in 0..VISITS {
            let next = HERE.with_borrow_mut(|list| list.as_mut().and_then(VecDeque::pop_front));
            let Some(runnable) = next else { break };
            if let Rest::Again(runnable) = runnable.work() {
                self.0.schedule(runnable);
            }
        }
        for runnable in HERE.take().into_iter().flatten() {
            self.0.schedule(runnable);
        }
    }
}

impl Executor for HereFirst {
    fn register(&self, runnable: Weak<dyn Runnable>) -> Place {
        self.0.register(runnable)
    }

    fn unregister(&self, place: Place) {
        self.0.unregister(place);
    }

    fn schedule(&self, runnable: Arc<dyn Runnable>) {
        let elsewhere = HERE.with_borrow_mut(|list| match list {
            // It must not grow: this may be a signalling section.
            Some(list) if list.len() < VISITS => {
                list.push_back(runnable);
                None
            }
            _ => Some(runnable),
        });
        if let Some(runnable) = elsewhere {
            self.0.schedule(runnable);
        }
    }

    fn arm_timer(&self, place: Place, at: Time) {
        self.0.arm_timer(place, at);
    }
}
