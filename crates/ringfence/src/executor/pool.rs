// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A few threads that run any number of queues.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::iter::repeat_n;
use std::sync::{Arc, Weak};

use ringfence_core::Time;

use super::builder::PoolBuilder;
use super::scheduling::{Granted, Refusal, Scheduling};
use super::timers::Timers;
use super::{Executor, Place, Rest, Runnable};
use crate::clock::monotonic;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{thread, Event, SpinGuard, SpinLock};

/// How often a worker that finds nothing yields before it sleeps: a kick that comes within that
/// costs no wake-up. Real-time workers sleep at once: they would yield to each other alone.
pub(super) const LINGER_YIELDS: usize = if cfg!(any(feature = "loom", feature = "shuttle")) {
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
    owner: Arc<Owner>,
}

struct Owner {
    shared: Arc<Shared>,
    granted: Granted,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

pub(super) struct Shared {
    /// A spin lock, and sleeping by a futex: a signal handler may schedule.
    state: SpinLock<State>,
    wake: Event,
    /// The length of the run list, for lingering workers to look at without the lock.
    ready: AtomicUsize,
    linger: usize,
}

/// # Invariants
///
/// `run` has room for every registered runnable, each of which is in it at most once. `sleepers` are
/// the workers that sleep and have not been called; each call is one of `calls` until a worker has
/// heard it.
struct State {
    run: VecDeque<Arc<dyn Runnable>>,
    timers: Timers,
    /// Workers that sleep and that nobody has called, the one on watch included.
    sleepers: usize,
    /// Calls that no worker has heard yet.
    calls: usize,
    /// When the one sleeper wakes that watches the timers, if one does.
    watch: Option<Time>,
    stop: bool,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("scheduling", &self.scheduling())
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Starts `threads` worker threads (at least one).
    ///
    /// # Errors
    ///
    /// What the system says when it cannot start a thread.
    pub fn new(threads: usize) -> io::Result<Self> {
        Self::builder().threads(threads).build()
    }

    /// Starts a pool that is not like any other: with real-time workers, or with names of its own.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }

    /// The pool whose workers have been started and given `granted`; stops them when dropped.
    pub(super) fn of(shared: Arc<Shared>, granted: Granted) -> Self {
        let owner = Owner {
            shared: Arc::clone(&shared),
            granted,
        };
        Self {
            shared,
            owner: Arc::new(owner),
        }
    }

    /// How the system schedules the workers, by its own account when they were started. Of threads that
    /// were given different things, the least.
    pub fn scheduling(&self) -> Scheduling {
        self.owner.granted.scheduling
    }

    /// What the system has refused, if the workers have not what the pool was made for.
    pub fn refusal(&self) -> Option<Refusal> {
        self.owner.granted.refusal
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
        while state.timers.is_full() {
            // Memory is asked for, and given back, without the lock: a handler may be waiting.
            let room = (state.timers.room() * 2).max(8);
            drop(state);
            let (mut timers, mut run) = (Timers::with_room(room), VecDeque::with_capacity(room));
            state = self.shared.state.lock();
            if state.timers.room() < room {
                timers.take_over(&mut state.timers);
                run.append(&mut state.run);
                std::mem::swap(&mut state.timers, &mut timers);
                std::mem::swap(&mut state.run, &mut run);
            }
            drop(state);
            drop((timers, run));
            state = self.shared.state.lock();
        }
        state.timers.register(runnable)
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
        self.shared.call(state, true);
    }

    fn arm_timer(&self, place: Place, at: Time) {
        let mut state = self.shared.state.lock();
        state.timers.arm(place, at);
        let unwatched = state.wants_watch();
        self.shared.call(state, unwatched);
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
    /// What workers need, with nothing to do. They yield `linger` times before they sleep.
    pub(super) fn new(linger: usize) -> Arc<Self> {
        Arc::new(Self {
            state: SpinLock::new(State {
                run: VecDeque::new(),
                timers: Timers::default(),
                sleepers: 0,
                calls: 0,
                watch: None,
                stop: false,
            }),
            wake: Event::new(),
            ready: AtomicUsize::new(0),
            linger,
        })
    }

    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.stop = true;
        // Who is about to sleep looks at this first; who sleeps is woken, called or not.
        self.wake.announce();
        drop(state);
        self.wake.notify_all();
    }

    /// Unlocks, and first calls one of those who sleep, if there is one and that is `wanted`.
    ///
    /// A call is made once: the caller counts the sleeper out, so that whoever comes next makes no
    /// system call for him again.
    fn call(&self, mut state: SpinGuard<'_, State>, wanted: bool) {
        if !wanted || state.sleepers == 0 {
            return;
        }
        state.sleepers -= 1;
        state.calls += 1;
        self.wake.announce();
        drop(state);
        self.wake.wake_one();
    }

    /// A worker thread's life.
    pub(super) fn work(&self) {
        let mut state = self.state.lock();
        loop {
            state = self.fire_timers(state);
            if let Some(runnable) = state.run.pop_front() {
                self.ready.store(state.run.len(), Ordering::Relaxed);
                let unwatched = state.wants_watch();
                self.call(state, unwatched);
                // Not under the lock: it may be the queue's end.
                let rest = runnable.work();
                state = self.state.lock();
                if let Rest::Again(runnable) = rest {
                    state.run.push_back(runnable);
                    self.ready.store(state.run.len(), Ordering::Relaxed);
                }
                continue;
            }
            if state.stop {
                return;
            }
            state = self.sleep(state);
        }
    }

    /// Fires what is due, without the lock.
    fn fire_timers<'a>(&'a self, mut state: SpinGuard<'a, State>) -> SpinGuard<'a, State> {
        if state.timers.next().is_none() {
            return state;
        }
        let now = monotonic();
        while let Some(due) = state.timers.take_due(now) {
            drop(state);
            if let Some(runnable) = due.upgrade() {
                runnable.timer_fired(now);
            }
            // It may be the last that knows of a queue that is gone: not under the lock.
            drop(due);
            state = self.state.lock();
        }
        state
    }

    fn sleep<'a>(&'a self, mut state: SpinGuard<'a, State>) -> SpinGuard<'a, State> {
        for () in repeat_n((), self.linger) {
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
        // One is enough. If a kick calls it, it hands the watch on before it goes to work.
        let watch = state
            .timers
            .next()
            .filter(|at| state.watch.is_none_or(|watched| *at < watched));
        if watch.is_some() {
            state.watch = watch;
        }
        loop {
            let seen = self.wake.current();
            drop(state);
            let left = watch.map(|at| at.since(monotonic()));
            self.wake.wait(seen, left);
            state = self.state.lock();
            if state.calls > 0 {
                // The caller has counted one sleeper out. Any will do.
                state.calls -= 1;
                break;
            }
            // Woken for somebody else's call, or for nothing.
            let time_up = watch.is_some_and(|at| at <= monotonic());
            if time_up || state.stop {
                state.sleepers -= 1;
                break;
            }
        }
        if watch.is_some() && state.watch == watch {
            state.watch = None;
        }
        state
    }
}
