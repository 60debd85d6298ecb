// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A mock GPU, its driver, and what most tests of the host need.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

pub mod manual;
pub mod mock;

use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mock::{Gpu, Mock, Work};
use ringfence::fence::{Callback, Registration, Status};
use ringfence::{Builder, Device, Executor, Fence, Pool, Queue, Recovery};

/// A bound on what must happen, generous enough for a machine that is busy with other things.
/// Nothing ever waits this long unless something is broken.
pub const LONG: Duration = Duration::from_secs(120);

/// Waits for a fence that must signal.
#[track_caller]
pub fn done(fence: &Fence) -> Status {
    match fence.wait_timeout(LONG) {
        Ok(status) => status,
        Err(_) => panic!("{fence:?} has not signalled in {LONG:?}"),
    }
}

/// Waits for something that must become true, and that nobody announces.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "not in {LONG:?}: {what}");
        thread::sleep(Duration::from_micros(100));
    }
}

/// Runs `body` on a thread of its own and fails if it does not return: a deadlock fails a test
/// instead of hanging it.
#[track_caller]
pub fn without_deadlock<R: Send + 'static>(
    what: &str,
    body: impl FnOnce() -> R + Send + 'static,
) -> R {
    let (send, receive) = mpsc::channel();
    let thread = thread::spawn(move || {
        let _ = send.send(body());
    });
    match receive.recv_timeout(LONG) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("deadlock: {what}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("the thread ended without a result or a panic"),
        },
    }
}

/// What a fence callback of [`Order`] is.
pub type Watch = Registration<Box<dyn FnMut(Status) + Send>>;

/// Notes in which order fences signal, with their results.
#[derive(Clone, Default)]
pub struct Order(Arc<Mutex<Vec<(u64, Status)>>>);

impl Order {
    /// Watches a fence under its sequence number. It must not have signalled.
    #[track_caller]
    pub fn watch(&self, fence: &Fence) -> Watch {
        let (list, seqno) = (Arc::clone(&self.0), fence.seqno());
        on_signal(fence, move |result| {
            list.lock().unwrap().push((seqno, result));
        })
    }

    /// Watches several.
    #[track_caller]
    pub fn watch_all(&self, fences: &[Fence]) -> Vec<Watch> {
        fences.iter().map(|fence| self.watch(fence)).collect()
    }

    /// What has signalled, in order.
    pub fn seen(&self) -> Vec<(u64, Status)> {
        self.0.lock().unwrap().clone()
    }

    /// Checks that `count` fences have signalled, by ascending sequence number.
    #[track_caller]
    pub fn assert_in_order(&self, count: usize) {
        let seen = self.seen();
        assert_eq!(seen.len(), count, "fences that signalled");
        assert!(
            seen.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "out of order: {seen:?}"
        );
    }
}

/// Has `function` called when `fence`, which has not signalled yet, does.
#[track_caller]
pub fn on_signal(fence: &Fence, function: impl FnMut(Status) + Send + 'static) -> Watch {
    let function: Box<dyn FnMut(Status) + Send> = Box::new(function);
    match fence.add_callback(Callback::new(function)) {
        Ok(registration) => registration,
        Err(rejected) => panic!("signalled too early: {rejected:?}"),
    }
}

/// A mock GPU with a device scope and a pool; checks on its end that nothing is left over.
pub struct Rig {
    pub device: Device,
    pub pool: Pool,
    pub gpu: Arc<Gpu>,
}

impl Rig {
    /// A rig whose pool has two threads.
    pub fn new() -> Self {
        Self::with_threads(2)
    }

    pub fn with_threads(threads: usize) -> Self {
        Self {
            device: Device::new("mock"),
            pool: Pool::new(threads).unwrap(),
            gpu: Gpu::new(),
        }
    }

    /// A rig whose device has this recovery.
    pub fn with_recovery(recovery: impl Recovery) -> Self {
        Self {
            device: Device::builder("mock").recovery(recovery).unwrap(),
            pool: Pool::new(2).unwrap(),
            gpu: Gpu::new(),
        }
    }

    /// A queue with the builder's defaults.
    pub fn queue(&self, name: &str) -> Queue<Mock> {
        self.build(Queue::<Mock>::builder(name))
    }

    pub fn build(&self, builder: Builder) -> Queue<Mock> {
        self.build_on(builder, self.pool.executor())
    }

    pub fn build_on(&self, builder: Builder, executor: Arc<dyn Executor>) -> Queue<Mock> {
        builder
            .build(&self.device, executor, self.gpu.driver())
            .unwrap()
    }

    /// Ends the scope and checks that every callback kept the rules, every payload was dropped
    /// and so was every driver.
    #[track_caller]
    pub fn finish(self) {
        self.device.unbind().unwrap();
        let gpu = &self.gpu;
        gpu.drop_hardware();
        eventually("every payload and driver is dropped", || {
            gpu.leftovers() == (0, 0)
        });
        let complaints = gpu.complaints();
        assert!(complaints.is_empty(), "{complaints:?}");
    }
}

/// Submits one job that waits for `after`.
#[track_caller]
pub fn submit(queue: &Queue<Mock>, work: Work, after: &[&Fence]) -> Fence {
    let mut job = queue.prepare(work, 1).unwrap();
    for fence in after {
        job.depends_on(fence).unwrap();
    }
    job.submit()
}
