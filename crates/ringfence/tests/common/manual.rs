// SPDX-License-Identifier: GPL-2.0 OR MIT
//! An executor without threads or clock: the test says when workers work and timers fire.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use ringfence::executor::{Place, Rest, Runnable};
use ringfence::{Executor, Time};

/// The test's executor.
#[derive(Default)]
pub struct Manual {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    run: VecDeque<Arc<dyn Runnable>>,
    places: Vec<Timer>,
    /// Timers armed so far.
    armed: usize,
}

struct Timer {
    runnable: Option<Weak<dyn Runnable>>,
    at: Option<Time>,
}

impl fmt::Debug for Manual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manual").finish_non_exhaustive()
    }
}

impl Manual {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Has one queue's worker work. False if none was scheduled.
    pub fn step(&self) -> bool {
        let next = self.lock().run.pop_front();
        let Some(runnable) = next else { return false };
        if let Rest::Again(runnable) = runnable.work() {
            self.lock().run.push_back(runnable);
        }
        true
    }

    /// Works until nothing is scheduled.
    pub fn work(&self) {
        while self.step() {}
    }

    /// Queues whose workers are on their way.
    pub fn scheduled(&self) -> usize {
        self.lock().run.len()
    }

    /// How often a timer was armed.
    pub fn armed(&self) -> usize {
        self.lock().armed
    }

    /// The time to which the timer of the queue made `nth` is set.
    pub fn timer(&self, nth: usize) -> Option<Time> {
        self.lock().places[nth].at
    }

    /// Fires every armed timer as if its time had come. Returns how many there were.
    pub fn fire(&self) -> usize {
        let due: Vec<_> = {
            let mut state = self.lock();
            let due = |timer: &mut Timer| Some((timer.at.take()?, timer.runnable.clone()?));
            state.places.iter_mut().filter_map(due).collect()
        };
        for (at, runnable) in &due {
            if let Some(runnable) = runnable.upgrade() {
                runnable.timer_fired(*at);
            }
        }
        due.len()
    }

    /// Fires the timer of the queue made `nth`, armed or not, saying that it is `now`.
    pub fn fire_at(&self, nth: usize, now: Time) {
        let runnable = {
            let mut state = self.lock();
            state.places[nth].at = None;
            state.places[nth].runnable.clone()
        };
        if let Some(runnable) = runnable.and_then(|runnable| runnable.upgrade()) {
            runnable.timer_fired(now);
        }
    }
}

impl Executor for Manual {
    fn register(&self, runnable: Weak<dyn Runnable>) -> Place {
        let mut state = self.lock();
        state.places.push(Timer {
            runnable: Some(runnable),
            at: None,
        });
        let room = state.places.len();
        state.run.reserve(room);
        Place::new(room - 1)
    }

    fn unregister(&self, place: Place) {
        let gone = self.lock().places[place.number()].runnable.take();
        drop(gone);
    }

    fn schedule(&self, runnable: Arc<dyn Runnable>) {
        self.lock().run.push_back(runnable);
    }

    fn arm_timer(&self, place: Place, at: Time) {
        let mut state = self.lock();
        state.armed += 1;
        state.places[place.number()].at = Some(at);
    }
}
