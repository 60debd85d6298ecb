// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Pools by priority, each shared by all queues of that priority.

use std::io;
use std::sync::Arc;

use super::{Executor, Pool, RealTimePriority};

/// How urgent a queue's jobs are. Its place among the other queues of a program; what the hardware's
/// firmware makes of it is the driver's affair.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Priority {
    /// What nobody waits for: ordinary workers of nice 10.
    Low,
    /// Ordinary workers.
    Normal,
    /// Somebody waits for it: real-time workers.
    High,
    /// Everybody may have to wait for it, such as moves of memory: real-time workers that go
    /// before those of `High`.
    Kernel,
}

impl Priority {
    /// All of them, the least urgent first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Kernel];

    const fn prefix(self) -> &'static str {
        match self {
            Self::Low => "ringfence-l",
            Self::Normal => "ringfence-n",
            Self::High => "ringfence-h",
            Self::Kernel => "ringfence-k",
        }
    }
}

/// A pool for each [`Priority`]. The queues of one priority share its workers, and no others' work
/// is ever before theirs.
///
/// The threads are called `ringfence-k0`, `ringfence-h0`, `ringfence-n0`, `ringfence-l0` and so on.
/// Clones are the same pools.
///
/// ```no_run
/// use ringfence::{Priority, PriorityPools};
///
/// let pools = PriorityPools::builder().threads(Priority::Normal, 4).build()?;
/// if let Some(refusal) = pools.pool(Priority::High).refusal() {
///     eprintln!("jobs may be late: {refusal}");
/// }
/// // Queue::builder("compositor").build(&device, pools.pool(Priority::High), driver)
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PriorityPools {
    /// By [`Priority`].
    pools: [Pool; 4],
}

/// Makes [`PriorityPools`].
#[derive(Clone, Debug)]
#[must_use = "no thread is started before `build`"]
pub struct PriorityPoolsBuilder {
    threads: [usize; 4],
    high: RealTimePriority,
    kernel: RealTimePriority,
}

/// Below the 50 at which Linux has its interrupt threads.
const HIGH: RealTimePriority = real_time(10);
const KERNEL: RealTimePriority = real_time(20);

const fn real_time(number: u8) -> RealTimePriority {
    match RealTimePriority::new(number) {
        Some(priority) => priority,
        None => RealTimePriority::LOWEST,
    }
}

impl PriorityPools {
    /// One worker thread for each priority; otherwise see [`PriorityPools::builder`].
    ///
    /// # Errors
    ///
    /// What the system says when it cannot start a thread.
    pub fn new() -> io::Result<Self> {
        Self::builder().build()
    }

    /// Says more about them first.
    pub fn builder() -> PriorityPoolsBuilder {
        PriorityPoolsBuilder {
            threads: [1; 4],
            high: HIGH,
            kernel: KERNEL,
        }
    }

    /// The pool of a priority, to build queues on.
    pub fn pool(&self, priority: Priority) -> &Pool {
        &self.pools[priority as usize]
    }

    /// As [`PriorityPools::pool`], as any executor.
    pub fn executor(&self, priority: Priority) -> Arc<dyn Executor> {
        self.pool(priority).executor()
    }

    /// As [`Pool::shut_down`], of each.
    pub fn shut_down(&self) {
        self.pools.iter().for_each(Pool::shut_down);
    }
}

impl PriorityPoolsBuilder {
    /// How many workers a priority has: at least one, and one if not said.
    pub fn threads(mut self, priority: Priority, threads: usize) -> Self {
        self.threads[priority as usize] = threads;
        self
    }

    /// The real-time priorities of [`Priority::High`] and [`Priority::Kernel`]. 10 and 20 if not
    /// said.
    pub fn real_time(mut self, high: RealTimePriority, kernel: RealTimePriority) -> Self {
        (self.high, self.kernel) = (high, kernel);
        self
    }

    /// Starts the workers of all priorities. Allocates and sleeps.
    ///
    /// # Errors
    ///
    /// What the system says when it cannot start a thread. Refused scheduling is no error: see
    /// [`Pool::refusal`].
    pub fn build(self) -> io::Result<PriorityPools> {
        let [low, normal, high, kernel] = Priority::ALL.map(|priority| {
            let pool = Pool::builder()
                .threads(self.threads[priority as usize])
                .name(priority.prefix());
            let pool = match priority {
                Priority::Low => pool.nice(10),
                Priority::Normal => pool.ordinary(),
                Priority::High => pool.real_time(self.high),
                Priority::Kernel => pool.real_time(self.kernel),
            };
            pool.build()
        });
        Ok(PriorityPools {
            pools: [low?, normal?, high?, kernel?],
        })
    }
}
