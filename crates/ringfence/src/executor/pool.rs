// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A few threads that run any number of queues.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};

use ringfence_core::Time;

use super::timers::Timers;
use super::{Executor, Place, Rest, Runnable};
use crate::clock::monotonic;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{thread, Condvar, Mutex, MutexGuard};

/// How often a worker that finds nothing yields before it sleeps: a kick that comes within that
/// costs no wake-up.
const LINGER_YIELDS: u32 = if cfg!(any(feature = "loom", feature = "shuttle")) {
    0
} else {
    4
};

/// A shared pool of worker threads. A queue runs on one of them at a time, in order.
///
/// Clones are the same pool. Its threads end when the last clone and the last queue on it are
/// gone, or with [`Pool::shut_down`].
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    /// Stops the threads when the last owner goes; the threads themselves do not hold it.
    _owner: Arc<Owner>,
}

struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.stop();
    }
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// The length of the run list, for lingering workers to look at without the lock.
    ready: AtomicUsize,
}

/// # Invariants
///
/// `run` has room for every registered runnable, each of which is in it at most once.
struct State {
    run: VecDeque<Arc<dyn Runnable>>,
    timers: Timers,
    /// Workers that sleep, the one on watch included.
    sleepers: usize,
    /// When the one sleeper wakes that watches the timers, if one does.
    watch: Option<Time>,
    stop: bool,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    /// Starts `threads` worker threads (at least one).
    ///
    /// # Errors
    ///
    /// What the system says when it cannot start a thread.
    pub fn new(threads: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                run: VecDeque::new(),
                timers: Timers::default(),
                sleepers: 0,
                watch: None,
                stop: false,
            }),
            wake: Condvar::new(),
            ready: AtomicUsize::new(0),
        });
        let owner = Arc::new(Owner(Arc::clone(&shared)));
        for number in 0..threads.max(1) {
            let shared = Arc::clone(&shared);
            // Not joined: the thread ends by itself once it is told to stop.
            let _detached = thread::Builder::new()
                .name(format!("ringfence-{number}"))
                .spawn(move || shared.work())?;
        }
        Ok(Self {
            shared,
            _owner: owner,
        })
    }

    /// The pool as any executor.
    pub fn executor(&self) -> Arc<dyn Executor> {
        Arc::new(self.clone())
    }

    /// Tells the threads to end once the run list is empty. Queues on this pool do not run any
    /// more after that.
    pub fn shut_down(&self) {
        self.shared.stop();
    }
}

impl From<&Pool> for Arc<dyn Executor> {
    fn from(pool: &Pool) -> Self {
        pool.executor()
    }
}

impl Executor for Pool {
    fn register(&self, runnable: Weak<dyn Runnable>) -> Place {
        let mut state = self.shared.state.lock();
        let place = state.timers.register(runnable);
        let missing = state.timers.places().saturating_sub(state.run.len());
        state.run.reserve(missing);
        place
    }

    fn unregister(&self, place: Place) {
        let gone = self.shared.state.lock().timers.unregister(place);
        // The last reference may be this one: dropped without the lock.
        drop(gone);
    }

    fn schedule(&self, runnable: Arc<dyn Runnable>) {
        let mut state = self.shared.state.lock();
        state.run.push_back(runnable);
        self.shared.ready.store(state.run.len(), Ordering::Relaxed);
        let asleep = state.sleepers > 0;
        drop(state);
        if asleep {
            self.shared.wake.notify_one();
        }
    }

    fn arm_timer(&self, place: Place, at: Time) {
        let mut state = self.shared.state.lock();
        state.timers.arm(place, at);
        let unwatched = state.wants_watch();
        drop(state);
        if unwatched {
            self.shared.wake.notify_one();
        }
    }
}

impl State {
    /// True if somebody sleeps, and nobody who sleeps will wake for the next timer. A worker
    /// that is awake looks at the timers before it sleeps, but may be long at work.
    fn wants_watch(&self) -> bool {
        self.sleepers > 0
            && self
                .timers
                .next()
                .is_some_and(|at| self.watch.is_none_or(|watched| at < watched))
    }
}

impl Shared {
    fn stop(&self) {
        self.state.lock().stop = true;
        self.wake.notify_all();
    }

    /// A worker thread's life.
    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            state = self.fire_timers(state);
            if let Some(runnable) = state.run.pop_front() {
                self.ready.store(state.run.len(), Ordering::Relaxed);
                let unwatched = state.wants_watch();
                drop(state);
                if unwatched {
                    self.wake.notify_one();
                }
                state = match Arc::clone(&runnable).work() {
                    Rest::Idle => {
                        // This may be the queue's end, which must not run under the pool's lock.
                        drop(runnable);
                        self.state.lock()
                    }
                    Rest::Again => {
                        let mut state = self.state.lock();
                        state.run.push_back(runnable);
                        self.ready.store(state.run.len(), Ordering::Relaxed);
                        state
                    }
                };
                continue;
            }
            if state.stop {
                return;
            }
            state = self.sleep(state);
        }
    }

    /// Fires what is due, without the lock.
    fn fire_timers<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if state.timers.next().is_none() {
            return state;
        }
        let now = monotonic();
        while let Some(due) = state.timers.take_due(now) {
            drop(state);
            if let Some(runnable) = due.upgrade() {
                runnable.timer_fired(now);
            }
            state = self.state.lock();
        }
        state
    }

    fn sleep<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        for _ in 0..LINGER_YIELDS {
            drop(state);
            thread::yield_now();
            if self.ready.load(Ordering::Relaxed) != 0 {
                return self.state.lock();
            }
            state = self.state.lock();
            if !state.run.is_empty() || state.stop {
                return state;
            }
        }
        state.sleepers += 1;
        state = match state.timers.next() {
            // One is enough. If a kick wakes it, it hands the watch on before it goes to work.
            Some(at) if state.watch.is_none_or(|watched| at < watched) => {
                state.watch = Some(at);
                let mut state = self.wake.wait_timeout(state, at.since(monotonic())).0;
                if state.watch == Some(at) {
                    state.watch = None;
                }
                state
            }
            _ => self.wake.wait(state),
        };
        state.sleepers -= 1;
        state
    }
}
