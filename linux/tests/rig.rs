// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What most scenarios need: a device with a mock GPU, fences to watch, threads, and checks that
//! return.

#[macro_use]
mod check;
pub(crate) mod channel;
pub(crate) mod hooks;
pub(crate) mod mock;
mod text;
pub(crate) mod thread;
mod watch;

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::Arc;
use kernel::time::{delay::fsleep, Delta};

use ringfence::fence::Status;
use ringfence::{Builder, Device, Executor, Fence, PrepareError, Prepared, Queue, Recovery};
use ringfence_core::PrepareError::Full;

pub(crate) use mock::{Does, Gpu, Mock, What, Work};
pub(crate) use text::says;
pub(crate) use watch::{on_signal, Order, Watch};

/// A bound on what must happen, in milliseconds, generous enough for a machine that is busy with
/// other things. Nothing waits this long unless something is broken.
pub(crate) const LONG_MS: u32 = 60_000;

/// Runs a scenario, and sees that it leaves no timeline behind: a leaked fence keeps its timeline.
pub(crate) fn scenario(name: &str, run: fn() -> Result) -> Result {
    let before = ringfence::fence::timelines();
    let result = run();
    if let Err(error) = result {
        pr_err!("{}: {:?}\n", name, error);
        return Err(error);
    }
    eventually("no timeline is left", || {
        ringfence::fence::timelines() == before
    })
}

/// Waits for a fence that must signal.
pub(crate) fn done(fence: &Fence) -> Result<Status> {
    fence.wait_timeout(LONG_MS).ok_or_else(|| {
        pr_err!("{:?} has not signalled in {} ms\n", fence, LONG_MS);
        ETIMEDOUT
    })
}

/// Waits for something that must become true, and that nobody announces.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Result {
    let end = ringfence::monotonic().as_ns() + u64::from(LONG_MS) * 1_000_000;
    while !holds() {
        if ringfence::monotonic().as_ns() > end {
            pr_err!("not in {} ms: {}\n", LONG_MS, what);
            return Err(ETIMEDOUT);
        }
        fsleep(Delta::from_micros(100));
    }
    Ok(())
}

/// A device, an executor and a mock GPU.
pub(crate) struct Rig {
    /// Goes first.
    end: End,
    pub(crate) device: Arc<Device>,
    pub(crate) executor: Arc<Executor>,
    pub(crate) gpu: Arc<Gpu>,
}

impl Rig {
    pub(crate) fn new() -> Result<Self> {
        Self::on(Device::new(c"mock")?)
    }

    pub(crate) fn with_recovery(recovery: impl Recovery) -> Result<Self> {
        Self::on(Device::builder(c"mock").recovery(recovery)?)
    }

    pub(crate) fn on(device: Device) -> Result<Self> {
        let (device, gpu) = (Arc::new(device, GFP_KERNEL)?, Gpu::new()?);
        Ok(Self {
            end: End {
                device: device.clone(),
                gpu: gpu.clone(),
            },
            device,
            executor: Executor::new(c"ringfence-kunit")?,
            gpu,
        })
    }

    /// A queue of the defaults.
    pub(crate) fn queue(&self, name: &CStr) -> Result<Queue<Mock>> {
        self.build(Queue::<Mock>::builder(name))
    }

    pub(crate) fn build(&self, builder: Builder<'_>) -> Result<Queue<Mock>> {
        Ok(builder.build(&self.device, &self.executor, self.gpu.driver(), GFP_KERNEL)?)
    }

    /// Ends the device; nothing may be left, and no rule of callbacks was broken. Drop queues
    /// first.
    pub(crate) fn finish(self) -> Result {
        let Self {
            end,
            device,
            executor,
            gpu,
        } = self;
        drop(end);
        // Whoever keeps it would end it, on a thread that the end may wait for.
        let device = Arc::into_unique_or_drop(device);
        ensure!(device.is_some());
        drop(device);
        drop(executor);
        ensure_eq!(gpu.complaints(), 0);
        ensure_eq!(gpu.leftovers(), (0, 0));
        Ok(())
    }
}

/// What ends first, where a scenario fails as well: what the hardware has keeps its queue, for
/// which the device would wait.
struct End {
    device: Arc<Device>,
    gpu: Arc<Gpu>,
}

impl Drop for End {
    fn drop(&mut self) {
        if self.device.unbind().is_err() {
            pr_err!("the device cannot be unbound here\n");
        }
        self.gpu.drop_hardware();
    }
}

/// Makes so many of something.
pub(crate) fn many<T>(count: u64, mut make: impl FnMut(u64) -> Result<T>) -> Result<KVVec<T>> {
    let mut all = KVVec::with_capacity(count as usize, GFP_KERNEL)?;
    for number in 0..count {
        all.push(make(number)?, GFP_KERNEL)?;
    }
    Ok(all)
}

/// Prepares a job, once there is room for it.
pub(crate) fn prepare_when_room<'queue>(
    queue: &'queue Queue<Mock>,
    work: Work,
) -> Result<Prepared<'queue, Mock>> {
    let (mut work, mut job, mut error) = (Some(work), None, None);
    let mut pause = 100;
    eventually("there is room", || {
        let Some(next) = work.take() else { return true };
        if pause > 100 {
            // Each try takes and frees memory, which keeps a debug kernel from all else.
            fsleep(Delta::from_micros(pause));
        }
        pause = (2 * pause).min(5_000);
        match queue.prepare(next, 1, GFP_KERNEL) {
            Ok(prepared) => job = Some(prepared),
            Err(failed) if failed.error == PrepareError::Refused(Full) => {
                work = Some(failed.payload)
            }
            Err(failed) => error = Some(failed.to_error()),
        }
        work.is_none()
    })?;
    job.ok_or(error.unwrap_or(EINVAL))
}

/// Prepares and submits a job after others.
pub(crate) fn submit(queue: &Queue<Mock>, work: Work, after: &[&Fence]) -> Result<ARef<Fence>> {
    let mut job = queue
        .prepare(work, 1, GFP_KERNEL)
        .map_err(|failed| failed.to_error())?;
    for fence in after {
        job.depends_on(fence, GFP_KERNEL)?;
    }
    Ok(job.submit())
}

/// Submits a job, and waits for its end.
pub(crate) fn outcome(queue: &Queue<Mock>, work: Work) -> Result<Status> {
    let fence = submit(queue, work, &[])?;
    done(&fence)
}
