// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Making a pool.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use super::pool::{Pool, Shared, LINGER_YIELDS};
use super::scheduling::{apply, Granted, RealTimePriority, Wish};
use crate::sync::{thread, Event, SpinLock};

/// Makes a [`Pool`].
#[derive(Clone, Debug)]
#[must_use = "no thread is started before `build`"]
pub struct PoolBuilder {
    threads: usize,
    name: Option<String>,
    wish: Wish,
}

impl PoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            threads: 1,
            name: None,
            wish: Wish::Inherit,
        }
    }

    /// How many worker threads: at least one, and one if not said. So many queues can be in a driver
    /// callback at a time.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// What the threads are called, before their numbers. The system cuts names after 15 bytes; zero
    /// bytes, which it does not have in names, are left out. If not said, `ringfence-`, or
    /// `ringfence-rt-` for real-time workers.
    pub fn name(mut self, prefix: &str) -> Self {
        self.name = Some(prefix.replace('\0', ""));
        self
    }

    /// Real-time workers: they go before every ordinary thread (`SCHED_FIFO`), and sleep as soon as
    /// there is nothing to do. What they run holds up all of lower priority on that processor, so
    /// driver callbacks must be short. Threads that these start are ordinary ones.
    ///
    /// Where the system refuses, the pool has the best that it may have: a lower real-time priority,
    /// a lower nice, or nothing. A process says so once, on standard error, and
    /// [`Pool::scheduling`] and [`Pool::refusal`] always do.
    pub fn real_time(mut self, priority: RealTimePriority) -> Self {
        self.wish = Wish::Fifo(priority);
        self
    }

    /// Ordinary workers with this nice, -20 to 19, the first being the greatest share of a
    /// processor. What is less than 0 the system may refuse, as above.
    pub fn nice(mut self, nice: i8) -> Self {
        self.wish = Wish::Nice(nice.clamp(-20, 19));
        self
    }

    /// Ordinary workers, even if a real-time thread makes the pool. If nothing is said, they have
    /// what that thread has.
    pub fn ordinary(mut self) -> Self {
        self.wish = Wish::Ordinary;
        self
    }

    /// Starts the workers, and waits until each knows how it is scheduled. Allocates and sleeps.
    ///
    /// # Errors
    ///
    /// What the system says when it cannot start a thread. Refused scheduling is no error.
    pub fn build(self) -> io::Result<Pool> {
        let real_time = matches!(self.wish, Wish::Fifo(_));
        let shared = Shared::new(if real_time { 0 } else { LINGER_YIELDS });
        let prefix = self.name.as_deref().unwrap_or(match real_time {
            true => "ringfence-rt-",
            false => "ringfence-",
        });
        let granted = start(&shared, self.threads.max(1), prefix, self.wish);
        if granted.is_err() {
            // Some may have been started.
            shared.stop();
        }
        let granted = granted?;
        warn(granted);
        Ok(Pool::of(shared, granted))
    }
}

/// What the threads say of themselves when they start. With this crate's lock and event, which race
/// detectors can follow.
struct Heard {
    answers: SpinLock<(usize, Option<Granted>)>,
    more: Event,
}

impl Heard {
    fn tell(&self, granted: Granted) {
        let mut answers = self.answers.lock();
        let so_far = answers.1;
        answers.0 += 1;
        answers.1 = Some(so_far.map_or(granted, |other| other.lesser(granted)));
        drop(answers);
        self.more.notify_all();
    }

    /// Waits for so many answers. Sleeps.
    fn wait(&self, threads: usize) -> Option<Granted> {
        loop {
            let seen = self.more.current();
            let (answers, granted) = *self.answers.lock();
            if answers == threads {
                return granted;
            }
            self.more.wait(seen, None);
        }
    }
}

/// Starts the threads, and says what they have been given.
fn start(shared: &Arc<Shared>, threads: usize, prefix: &str, wish: Wish) -> io::Result<Granted> {
    let heard = Arc::new(Heard {
        answers: SpinLock::new((0, None)),
        more: Event::new(),
    });
    for number in 0..threads {
        let (shared, heard) = (Arc::clone(shared), Arc::clone(&heard));
        // Not joined: the thread ends by itself once it is told to stop.
        let _detached = thread::Builder::new()
            .name(format!("{prefix}{number}"))
            .spawn(move || {
                if !MODEL {
                    heard.tell(apply(wish));
                }
                drop(heard);
                shared.work();
            })?;
    }
    if MODEL {
        return Ok(apply(Wish::Inherit));
    }
    let granted = heard.wait(threads);
    granted.ok_or_else(|| io::Error::other("no worker has started"))
}

/// A model checker's threads are not the system's.
const MODEL: bool = cfg!(any(feature = "loom", feature = "shuttle"));

/// Says what was refused, once in the life of a process.
fn warn(granted: Granted) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if let Some(refusal) = granted.refusal {
        if !SAID.swap(true, Ordering::Relaxed) {
            eprintln!(
                "ringfence: workers have {} instead, since {refusal}. Allow it by CAP_SYS_NICE or \
                 by limits (RLIMIT_RTPRIO, RLIMIT_NICE). This is said once; ask pools for the rest",
                granted.scheduling
            );
        }
    }
}
