// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The smallest host there is: one thread, a queue, a clock put forward by hand.

use std::time::Duration;

use ringfence_core::{
    Config, Context, Effect, Entry, JobId, Outcome, Queue, Request, Reservation, RunOutcome, Time,
    Timeout, Visit,
};

pub(crate) struct Host {
    pub(crate) queue: Queue<Vec<Entry>>,
    pub(crate) now: Time,
}

/// What most stories begin with: 16 entries, 10 credits, 100 ns until a job times out.
pub(crate) fn config() -> Config {
    Config {
        credits: 10,
        timeout: Some(Duration::from_nanos(100)),
        extensions_max: 2,
        bypass_budget: 3,
        ..Config::default()
    }
}

impl Host {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            queue: Queue::new(config, vec![Entry::FREE; 16]).expect("a queue that can be made"),
            now: Time::ZERO,
        }
    }

    pub(crate) fn prepare(&mut self, cost: u32) -> Reservation {
        let request = Request {
            cost,
            ..Request::default()
        };
        self.queue.prepare(request).expect("room")
    }

    pub(crate) fn arm(&mut self, cost: u32) -> JobId {
        let room = self.prepare(cost);
        self.queue.arm(room).expect("this queue's room")
    }

    pub(crate) fn arm_without_timeout(&mut self) -> JobId {
        let request = Request {
            timeout: Timeout::Never,
            ..Request::default()
        };
        let room = self.queue.prepare(request).expect("room");
        self.queue.arm(room).expect("this queue's room")
    }

    pub(crate) fn submit(&mut self, job: JobId, open: u32) {
        let done = self.queue.submit(job, open, false, self.now);
        done.expect("an armed job");
    }

    /// A job of cost 1 that waits for `open` fences.
    pub(crate) fn push(&mut self, open: u32) -> JobId {
        let job = self.arm(1);
        self.submit(job, open);
        job
    }

    /// So many jobs of cost 1 that a worker has put on the hardware.
    pub(crate) fn pending<const N: usize>(&mut self) -> [JobId; N] {
        let jobs = std::array::from_fn(|_| self.push(0));
        let mut worker = self.queue.worker_enters();
        self.take(&mut worker);
        for job in jobs {
            self.ran(&mut worker, job, RunOutcome::Pending);
        }
        self.take(&mut worker);
        self.queue.worker_leaves(worker).expect("nothing owed");
        jobs
    }

    /// All a visit is told until there is no more; the invariants hold all the while.
    pub(crate) fn take(&mut self, visit: &mut Visit) -> Vec<Effect> {
        let mut told = Vec::new();
        while let Some(effect) = self.queue.next(visit, self.now) {
            told.push(effect);
            self.queue.check_invariants().expect("invariants");
        }
        told
    }

    pub(crate) fn ran(&mut self, visit: &mut Visit, job: JobId, outcome: RunOutcome) {
        let done = self.queue.run_returned(visit, job, outcome);
        done.expect("the oldest run of this visit");
    }

    /// A whole visit in which runs go to the hardware: what it was told, in order.
    pub(crate) fn serve(&mut self, mut visit: Visit) -> Vec<Effect> {
        let mut all = Vec::new();
        loop {
            let told = self.take(&mut visit);
            for effect in &told {
                match *effect {
                    Effect::Run { job } => self.ran(&mut visit, job, RunOutcome::Pending),
                    Effect::Signal { job, .. } => {
                        self.queue.signalled(&mut visit, job).expect("the oldest");
                    }
                    Effect::TimedOut { .. } => panic!("no timeout belongs into this story"),
                    _ => {}
                }
            }
            let over = told.is_empty();
            all.extend(told);
            if over {
                break;
            }
        }
        if visit.context() == Context::Worker {
            self.queue.worker_leaves(visit).expect("nothing owed");
        }
        all
    }

    pub(crate) fn serve_in(&mut self, context: Context) -> Vec<Effect> {
        self.serve(Visit::new(context))
    }

    pub(crate) fn serve_worker(&mut self) -> Vec<Effect> {
        let visit = self.queue.worker_enters();
        self.serve(visit)
    }

    pub(crate) fn pass(&mut self, ns: u64) {
        self.now = self.now.after(Duration::from_nanos(ns));
    }

    /// Time passes and the timer fires.
    pub(crate) fn pass_and_fire(&mut self, ns: u64) {
        self.pass(ns);
        self.queue.timer_fired(self.now);
    }
}

pub(crate) fn run(job: JobId) -> Effect {
    Effect::Run { job }
}

pub(crate) fn reap(job: JobId) -> Effect {
    Effect::Reap { job }
}

pub(crate) fn signal(job: JobId, outcome: Outcome) -> Effect {
    Effect::Signal { job, outcome }
}

pub(crate) fn completed(job: JobId) -> Effect {
    signal(job, Outcome::Completed)
}

/// The signals among effects.
pub(crate) fn signals(effects: &[Effect]) -> Vec<Effect> {
    let is_signal = |effect: &&Effect| matches!(effect, Effect::Signal { .. });
    effects.iter().filter(is_signal).copied().collect()
}

/// The runs among effects.
pub(crate) fn runs(effects: &[Effect]) -> Vec<JobId> {
    let job = |effect: &Effect| match effect {
        Effect::Run { job } => Some(*job),
        _ => None,
    };
    effects.iter().filter_map(job).collect()
}
