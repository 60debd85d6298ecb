// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Every interleaving of schedule, kick and sleep, and of small queues on a pool.
//!
//! `cargo test -p ringfence --features loom --lib --release loom_`. A wake-up that is lost leaves
//! everybody asleep, which loom reports as a deadlock.

use super::{Executor, Place, Pool, Rest, Runnable};
use crate::sync::{thread, Condvar, Mutex};
use crate::{Device, Driver, Errno, Queue, RunOutcome, Submission, TimedOutJob, TimeoutOutcome};
use ringfence_core::Time;
use std::sync::{Arc, Weak};

/// Runs a model with so many preemptions at most.
fn model(preemptions: usize, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

/// The least that is a queue to an executor: work to do, and a worker that is idle or not.
struct Tiny {
    state: Mutex<Work>,
    all_done: Condvar,
    pool: Pool,
}

#[derive(Default)]
struct Work {
    waiting: u32,
    done: u32,
    /// Kicked, or at work.
    busy: bool,
    inside: bool,
    fired: u32,
}

impl Tiny {
    /// On the pool, at its place.
    fn new() -> (Arc<Self>, Place) {
        let tiny = Arc::new(Self {
            state: Mutex::new(Work::default()),
            all_done: Condvar::new(),
            pool: Pool::new(1).unwrap(),
        });
        let runnable: Weak<dyn Runnable> = Arc::downgrade(&tiny) as Weak<dyn Runnable>;
        let place = tiny.pool.register(runnable);
        (tiny, place)
    }

    fn add(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.waiting += 1;
        let kick = !std::mem::replace(&mut state.busy, true);
        drop(state);
        if kick {
            self.pool.schedule(Arc::clone(self) as Arc<dyn Runnable>);
        }
    }

    fn wait_for(&self, done: u32) {
        let mut state = self.state.lock();
        while state.done + state.fired < done {
            state = self.all_done.wait(state);
        }
        assert_eq!(state.waiting, 0);
    }
}

impl Runnable for Tiny {
    /// Does one thing at a time, so that it must come again.
    fn work(self: Arc<Self>) -> Rest {
        let mut state = self.state.lock();
        assert!(state.busy && !state.inside, "one worker at a time");
        state.inside = true;
        state.waiting -= 1;
        drop(state);
        let mut state = self.state.lock();
        state.inside = false;
        state.done += 1;
        self.all_done.notify_one();
        if state.waiting > 0 {
            drop(state);
            return Rest::Again(self);
        }
        state.busy = false;
        Rest::Idle
    }

    fn timer_fired(self: Arc<Self>, _now: Time) {
        self.state.lock().fired += 1;
        self.all_done.notify_one();
    }
}

/// Takes the runnable off its pool, which ends with its last owner.
fn end(tiny: Arc<Tiny>, place: Place) {
    tiny.pool.unregister(place);
    drop(tiny);
}

#[test]
fn loom_a_kick_wakes_a_worker_that_goes_to_sleep() {
    model(3, || {
        let (tiny, place) = Tiny::new();
        tiny.add();
        tiny.wait_for(1);
        // It is going to sleep, or asleep, or has not begun to.
        tiny.add();
        tiny.wait_for(2);
        end(tiny, place);
    });
}

#[test]
fn loom_kicks_of_two_threads_are_not_lost() {
    model(2, || {
        let (tiny, place) = Tiny::new();
        let other = Arc::clone(&tiny);
        let thread = thread::spawn(move || other.add());
        tiny.add();
        thread.join().unwrap();
        tiny.wait_for(2);
        end(tiny, place);
    });
}

#[test]
fn loom_a_timer_armed_meanwhile_fires() {
    model(3, || {
        let (tiny, place) = Tiny::new();
        // Its time has come already; there is no clock to wait for another.
        tiny.pool.arm_timer(place, Time::ZERO);
        tiny.wait_for(1);
        end(tiny, place);
    });
}

#[test]
fn loom_a_pool_ends_with_its_owner() {
    model(3, || {
        let pool = Pool::new(2).unwrap();
        let clone = pool.clone();
        drop(pool);
        clone.shut_down();
        drop(clone);
        // Loom fails where a thread is left asleep.
    });
}

/// As `model`, on a stack with room for a queue: it is moved about when it is made.
fn model_with_queue(preemptions: usize, f: impl Fn() + Send + Sync + 'static) {
    const WORDS: usize = 1 << 17;
    let f = Arc::new(f);
    model(preemptions, move || {
        let f = Arc::clone(&f);
        let thread = thread::Builder::new().stack_size(WORDS);
        thread.spawn(move || f()).unwrap().join().unwrap();
    });
}

struct Null;

impl Driver for Null {
    type Payload = ();
    type ReplayData = ();

    fn run(&mut self, submission: Submission<'_, Self>) -> RunOutcome {
        submission.done()
    }

    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        job.no_hang()
    }
}

fn queue(bypass: bool) -> Queue<Null> {
    let device = Device::new("d");
    let pool = Pool::new(1).unwrap();
    let builder = Queue::<Null>::builder("q").capacity(2).bypass(bypass);
    builder.build(&device, &pool, Null).unwrap()
}

#[test]
fn loom_a_submitted_job_ends() {
    model_with_queue(1, || {
        let queue = queue(false);
        let fence = queue.prepare((), 1).unwrap().submit();
        assert_eq!(fence.wait(), Ok(()));
    });
}

#[test]
fn loom_submit_races_with_kill() {
    model_with_queue(1, || {
        let queue = Arc::new(queue(true));
        let killed = Arc::clone(&queue);
        let thread = thread::spawn(move || killed.kill(Errno::EIO));
        if let Ok(job) = queue.prepare((), 1) {
            let result = job.submit().wait();
            assert!(result == Ok(()) || result == Err(Errno::EIO));
        }
        thread.join().unwrap();
    });
}
