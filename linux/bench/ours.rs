// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Our side of each measure, step for step as `linux/bench/peer.c` takes them.

use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Release};
use kernel::sync::Arc;

use ringfence::fence::{Callback, FenceCallback, Status};
use ringfence::{
    Completion, Device, Driver, Errno, Executor, Lock, Queue, Reaping, RunOutcome, Submission,
    TimedOutJob, Timeline, TimeoutOutcome,
};

use crate::peer::{self, Seat, Stamps, Window};

/// Jobs are done when run returns.
struct Plain;

impl Driver for Plain {
    type Payload = Seat;
    type ReplayData = ();

    const REAPING: Reaping<Seat> = Reaping::IN_IRQ;
    const RUNS_WITH_IRQS_OFF: bool = true;

    #[inline]
    fn run(&mut self, submission: Submission<'_, Self>) -> RunOutcome {
        submission.done()
    }

    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        job.handled(Errno::ETIME)
    }
}

/// What a driver that takes stamps shares with the bench.
struct Bell {
    /// When run was entered, or 0.
    ran: Atomic<u64>,
    completion: Lock<Option<Completion<Stamping>>>,
}

/// Says when run is entered, and keeps the job on the hardware if it is to be completed later.
struct Stamping {
    bell: Arc<Bell>,
    keeps: bool,
}

impl Driver for Stamping {
    type Payload = Seat;
    type ReplayData = ();

    const RUNS_WITH_IRQS_OFF: bool = true;

    fn run(&mut self, submission: Submission<'_, Self>) -> RunOutcome {
        let now = peer::cycles();
        let outcome = if self.keeps {
            let (completion, outcome) = submission.pending();
            *self.bell.completion.lock() = Some(completion);
            outcome
        } else {
            submission.done()
        };
        self.bell.ran.store(now, Release);
        outcome
    }

    fn timed_out(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        job.handled(Errno::ETIME)
    }
}

/// A device with one queue whose driver takes stamps.
struct Bench {
    queue: Queue<Stamping>,
    bell: Arc<Bell>,
    window: Window,
    // Last: it waits for the queue.
    _device: Device,
}

impl Bench {
    fn new(bypass: bool, keeps: bool) -> Result<Self> {
        let device = Device::new(c"bench")?;
        let executor = Executor::new(c"ringfence-bench")?;
        let bell = Bell {
            ran: Atomic::new(0),
            completion: Lock::new(None),
        };
        let bell = Arc::new(bell, GFP_KERNEL)?;
        let driver = Stamping {
            bell: bell.clone(),
            keeps,
        };
        let queue = Queue::<Stamping>::builder(c"bench")
            .bypass(bypass)
            .build(&device, &executor, driver, GFP_KERNEL)?;
        Ok(Self {
            queue,
            bell,
            window: Window::new(64)?,
            _device: device,
        })
    }

    /// When the job ran, once the queue is idle again.
    fn settled(&self) -> u64 {
        self.window.drain();
        peer::settle();
        self.bell.ran.xchg(0, kernel::sync::atomic::Full)
    }
}

/// From prepare and from submit to run, one job at a time.
pub(crate) fn push_to_run(bypass: bool, stamps: &mut Stamps) -> Result {
    let bench = Bench::new(bypass, false)?;
    for stamp in stamps.iter_mut() {
        let seat = bench.window.enter();
        stamp.alloc = peer::cycles();
        let job = bench.queue.prepare(seat, 1, GFP_KERNEL)?;
        stamp.push = peer::cycles();
        let fence = job.submit();
        stamp.pushed = peer::cycles();
        fence.wait().map_err(ringfence::to_error)?;
        drop(fence);
        stamp.run = bench.settled();
    }
    Ok(())
}

/// From the signal of the last of two dependencies to run.
pub(crate) fn dependency_to_run(stamps: &mut Stamps) -> Result {
    let bench = Bench::new(false, false)?;
    let timelines = [
        Timeline::new(c"bench", c"before", GFP_KERNEL)?,
        Timeline::new(c"bench", c"after", GFP_KERNEL)?,
    ];
    for stamp in stamps.iter_mut() {
        let (before, signalled) = timelines[0].signaller(GFP_KERNEL)?;
        let (after, open) = timelines[1].signaller(GFP_KERNEL)?;
        before.signal(Ok(()));
        let seat = bench.window.enter();
        stamp.alloc = peer::cycles();
        let mut job = bench.queue.prepare(seat, 1, GFP_KERNEL)?;
        job.depends_on(&signalled, GFP_KERNEL)?;
        job.depends_on(&open, GFP_KERNEL)?;
        stamp.push = peer::cycles();
        let fence = job.submit();
        stamp.pushed = peer::cycles();
        peer::settle();
        stamp.signal = peer::cycles();
        after.signal(Ok(()));
        fence.wait().map_err(ringfence::to_error)?;
        stamp.run = bench.settled();
    }
    Ok(())
}

/// When a fence has signalled.
struct Stamped(Arc<Atomic<u64>>);

impl FenceCallback for Stamped {
    fn on_signal(&mut self, _status: Status) {
        self.0.store(peer::cycles(), Release);
    }
}

/// From the completion in a hard interrupt to a callback of the finished fence.
pub(crate) fn completion_to_finished(stamps: &mut Stamps) -> Result {
    let bench = Bench::new(false, true)?;
    let finished = Arc::new(Atomic::new(0), GFP_KERNEL)?;
    for stamp in stamps.iter_mut() {
        let callback = Callback::new(Stamped(finished.clone()), GFP_KERNEL)?;
        let job = bench.queue.prepare(bench.window.enter(), 1, GFP_KERNEL)?;
        let fence = job.submit();
        let registration = fence.add_callback(callback).map_err(|_| EIO)?;
        while bench.bell.ran.load(Acquire) == 0 {
            peer::settle();
        }
        peer::settle();
        let mut completion = bench.bell.completion.lock().take();
        peer::call_in_irq(|| {
            if let Some(completion) = completion.take() {
                stamp.signal = peer::cycles();
                completion.complete_in_irq(Ok(()));
            }
        })?;
        stamp.run = bench.settled();
        drop(registration);
        stamp.finished = finished.xchg(0, kernel::sync::atomic::Full);
    }
    Ok(())
}

/// The cycles from before the first submit until the last job was freed, dealt out in turn. The
/// executor is one for throughput, as a driver that wants it would choose; that of the latencies is
/// prompt.
pub(crate) fn throughput(
    queues: u32,
    bypass: bool,
    credits: u32,
    jobs: u32,
    outstanding: u32,
) -> Result<u64> {
    let device = Device::new(c"bench")?;
    let executor = Executor::batching(c"ringfence-bench")?;
    let window = Window::new(outstanding)?;
    let mut lines = KVVec::with_capacity(queues as usize, GFP_KERNEL)?;
    for _ in 0..queues {
        let queue = Queue::<Plain>::builder(c"bench")
            .capacity(outstanding.next_power_of_two() as usize)
            .credits(credits)
            .bypass(bypass)
            .build(&device, &executor, Plain, GFP_KERNEL)?;
        lines.push(queue, GFP_KERNEL)?;
    }
    let began = peer::cycles();
    let mut turn = lines.iter().cycle();
    for _ in 0..jobs {
        let Some(queue) = turn.next() else { break };
        let job = queue.prepare(window.enter(), 1, GFP_KERNEL)?;
        job.submit_and_forget();
    }
    window.drain();
    Ok(peer::cycles() - began)
}

/// What idle queues cost that share an executor, each with a driver's value of no size: bytes each.
/// Rings begin with four entries.
pub(crate) fn bytes_per_queue(queues: u32) -> Result<u64> {
    let device = Device::new(c"bench")?;
    let executor = Executor::batching(c"ringfence-bench")?;
    let mut lines = KVVec::with_capacity(queues as usize, GFP_KERNEL)?;
    let before = peer::free_bytes();
    for _ in 0..queues {
        let queue =
            Queue::<Plain>::builder(c"bench").build(&device, &executor, Plain, GFP_KERNEL)?;
        lines.push(queue, GFP_KERNEL)?;
    }
    let after = peer::free_bytes();
    Ok(before.saturating_sub(after) / u64::from(queues))
}

/// What jobs cost which are queued and wait for a fence: bytes each, their entries in a full ring
/// and what a dependency takes included.
pub(crate) fn bytes_per_job(jobs: u32) -> Result<u64> {
    let device = Device::new(c"bench")?;
    let executor = Executor::batching(c"ringfence-bench")?;
    let window = Window::new(jobs)?;
    let queue = Queue::<Plain>::builder(c"bench")
        .capacity(jobs.next_power_of_two() as usize)
        .build(&device, &executor, Plain, GFP_KERNEL)?;
    let timeline = Timeline::new(c"bench", c"open", GFP_KERNEL)?;
    let (open, fence) = timeline.signaller(GFP_KERNEL)?;
    let before = peer::free_bytes();
    for at in 0..jobs {
        let mut job = queue.prepare(window.enter(), 1, GFP_KERNEL)?;
        // As on the other side, the first waits for the fence and the rest for the first.
        if at == 0 {
            job.depends_on(&fence, GFP_KERNEL)?;
        }
        job.submit_and_forget();
    }
    let after = peer::free_bytes();
    open.signal(Ok(()));
    window.drain();
    Ok(before.saturating_sub(after) / u64::from(jobs))
}
