// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A driver to copy, for a GPU that is not there.
//!
//! The hardware (`hardware.rs`) is a ring for each context, worked off one job after the other,
//! with a hard interrupt for each. It can hang, lose an interrupt and send one that means nothing.
//! The driver (`driver.rs`) is what a driver of a real one would be: [`ringfence::Driver`] for each
//! queue, and a recovery for the device. This file binds both to a device and gives user space
//! `/dev/ringfence_mock` (`mock_gpu_uapi.h`): each open file is a queue.
//!
//! The order of the end matters: no new files ([`MockGpu`]); then the device is unbound, which ends
//! the scope; then no queues of our own; and last the scope itself waits until no code of ours can
//! be called any more ([`Bound`]).

mod driver;
mod file;
mod hardware;

use kernel::debugfs;
use kernel::faux;
use kernel::miscdevice::{MiscDeviceOptions, MiscDeviceRegistration};
use kernel::prelude::*;
use kernel::sync::Arc;

use ringfence::{Device, Executor, Queue};

use driver::{recover, Command, MockDriver};
use hardware::Fault;

module! {
    type: MockGpu,
    name: "ringfence_mock_gpu",
    authors: ["The Ringfence authors"],
    description: "A driver to copy, for a GPU that is not there",
    license: "Dual MIT/GPL",
    params: {
        selfload: u32 {
            default: 0,
            description: "Begin jobs when loaded, of which some are in flight when unloaded",
        },
    },
}

/// What the driver has while it is bound.
pub(crate) struct Gpu {
    pub(crate) device: Device,
    pub(crate) executor: Arc<Executor>,
}

impl Gpu {
    fn new() -> Result<Self> {
        Ok(Self {
            device: Device::builder(c"mock_gpu")
                .timeout(core::time::Duration::from_millis(100))
                .recovery(recover)?,
            executor: Executor::new(c"ringfence-mock")?,
        })
    }

    /// Makes a context: a ring of the hardware, and the queue that feeds it.
    pub(crate) fn context(&self, name: &CStr) -> Result<Queue<MockDriver>> {
        let builder = Queue::<MockDriver>::builder(name).credits(hardware::SLOTS as u32);
        Ok(builder.build(&self.device, &self.executor, MockDriver::new()?, GFP_KERNEL)?)
    }
}

#[pin_data]
struct MockGpu {
    #[pin]
    files: MiscDeviceRegistration<file::Context>,
    /// `<debugfs>/ringfence_mock/queues`: every queue, its jobs, their states and ages, its last
    /// events.
    #[pin]
    queues: debugfs::File<Arc<Gpu>>,
    rest: Bound,
}

/// What there is besides files.
struct Bound {
    queues: KVec<Queue<MockDriver>>,
    device: Option<faux::Registration>,
}

impl kernel::InPlaceModule for MockGpu {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: Once, before anybody uses it.
        unsafe { file::GPU.init() };
        try_pin_init!(Self {
            rest: Bound::new(module_parameters::selfload.value() != 0)?,
            queues <- debugfs::Dir::new(c"ringfence_mock").read_callback_file(
                c"queues",
                file::GPU.lock().clone().ok_or(ENODEV)?,
                &|gpu: &Arc<Gpu>, out: &mut kernel::fmt::Formatter<'_>| gpu.device.snapshot(out),
            ),
            files <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"ringfence_mock" }),
        })
    }
}

impl Bound {
    fn new(selfload: bool) -> Result<Self> {
        let mut this = Self {
            queues: KVec::new(),
            device: Some(bind()?),
        };
        this.queues = load(selfload)?;
        Ok(this)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // Unbinds the scope: every job ends, no callback comes any more.
        drop(self.device.take());
        self.queues.clear();
        // Waits for tokens, callbacks, work and timers: the last one has the device. Without the
        // lock.
        let gpu = file::GPU.lock().take();
        drop(gpu);
    }
}

/// Makes the device and binds its scope to it.
fn bind() -> Result<faux::Registration> {
    let gpu = Arc::new(Gpu::new()?, GFP_KERNEL)?;
    let bound = faux::Registration::new(c"ringfence_mock", None)?;
    gpu.device.bind_to(bound.as_ref().as_ref())?;
    *file::GPU.lock() = Some(gpu);
    Ok(bound)
}

/// Queues with jobs that are in flight for a while.
fn load(wanted: bool) -> Result<KVec<Queue<MockDriver>>> {
    let mut queues = KVec::new();
    let gpu = file::GPU.lock().clone();
    let Some(gpu) = gpu.filter(|_| wanted) else {
        return Ok(queues);
    };
    let mut last: Option<kernel::sync::aref::ARef<ringfence::Fence>> = None;
    for index in 0..4u64 {
        let queue = gpu.context(c"selfload")?;
        for at in 0..16u64 {
            let fault = match (index, at) {
                (1, 3) => Fault::LostInterrupt,
                (2, 5) => Fault::Hang,
                (3, 7) => Fault::SpuriousInterrupt,
                _ => Fault::None,
            };
            let command = Command::new(200_000 * (at + 1), fault);
            let mut job = queue.prepare(command, 1, GFP_KERNEL)?;
            if let Some(last) = &last {
                job.depends_on(last, GFP_KERNEL)?;
            }
            let fence = job.submit();
            if at % 4 == 0 {
                last = Some(fence);
            }
        }
        queues.push(queue, GFP_KERNEL)?;
    }
    Ok(queues)
}
