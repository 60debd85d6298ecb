// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How long a real-time thread waits for a spin lock whose ordinary holder it has preempted.

use std::hint::black_box;
use std::io;
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

use ringfence::irq::IrqLock;
use ringfence::{monotonic, Executor, Pool};
use rustix::thread::{sched_getaffinity, sched_getcpu, sched_setaffinity, CpuSet};

use super::load::Busy;
use super::{note, priority, runnable, times, Times};

/// Takes the lock, wakes a real-time thread that wants it, and is preempted: all on one processor,
/// which `competitors` busy threads have a share of.
pub(super) fn measure(count: u32, competitors: usize) -> io::Result<Times> {
    let all_cpus = sched_getaffinity(None)?;
    let mut one_cpu = CpuSet::new();
    one_cpu.set(sched_getcpu());
    // Threads inherit the set of the thread that starts them.
    sched_setaffinity(None, &one_cpu)?;
    let busy = Busy::start(competitors);
    let waiter = Pool::builder().real_time(priority(10)).build()?;
    let waits = preempt(count, &waiter);
    drop(busy);
    sched_setaffinity(None, &all_cpus)?;
    Ok(waits)
}

fn preempt(count: u32, waiter: &Pool) -> Times {
    let lock = Arc::new(IrqLock::new(0_u64));
    let (send, receive) = mpsc::channel();
    let wanted = Arc::clone(&lock);
    let waits = runnable(waiter, move || {
        let begin = monotonic();
        *wanted.lock() += 1;
        let _ = send.send(monotonic().since(begin));
    });
    let mut waited = times();
    for _ in 0..count {
        let held = lock.lock();
        waiter.schedule(Arc::clone(&waits));
        // The waiter came when it was woken: this is after its first nap.
        drop(held);
        let wait: Duration = receive.recv().expect("the waiter says how long it took");
        note(&mut waited, wait.as_nanos() as u64);
        // Without sleeping, which would earn the holder a turn.
        let begin = monotonic();
        while monotonic().since(begin) < Duration::from_micros(100) {
            black_box(());
        }
        thread::yield_now();
    }
    waited
}
