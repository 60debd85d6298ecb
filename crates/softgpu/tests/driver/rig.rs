// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A device, its driver, and queues whose jobs leave data that can be checked.

use std::sync::Arc;
use std::time::Duration;

use ringfence::{Device, Errno, Fence, Pool, PrepareError, Queue};
use ringfence_softgpu::driver::{Batch, SoftDevice, SoftDriver};
use ringfence_softgpu::{Buffer, Command, Context, Gpu, GpuConfig, Permissions};

use crate::common::{config, until, PATIENCE};

/// Words that each job fills.
pub(crate) const WORDS: u32 = 64;

pub(crate) struct Rig {
    pub(crate) gpu: Arc<Gpu>,
    pub(crate) soft: SoftDevice,
    pub(crate) scope: Device,
    pub(crate) pool: Pool,
}

/// A queue with memory for `jobs` jobs.
pub(crate) struct Lane {
    pub(crate) context: Arc<Context>,
    pub(crate) queue: Queue<SoftDriver>,
    pub(crate) buffer: Buffer,
    pub(crate) base: u64,
    pub(crate) held: Arc<()>,
}

impl Rig {
    pub(crate) fn new(slots: u32) -> Self {
        Self::with(config(slots))
    }

    pub(crate) fn with(config: GpuConfig) -> Self {
        let gpu = Arc::new(Gpu::start(config).expect("the device starts"));
        Self {
            soft: SoftDevice::new(Arc::clone(&gpu)).expect("nobody else drives it"),
            gpu,
            scope: Device::new("soft"),
            pool: Pool::new(2).expect("threads"),
        }
    }

    pub(crate) fn lane(&self, timeout: Duration, extensions: u8, bypass: bool) -> Lane {
        let context = Arc::new(self.gpu.create_context(4096).expect("a context"));
        let driver = self
            .soft
            .driver(Arc::clone(&context), 64)
            .expect("the first driver");
        let queue = Queue::<SoftDriver>::builder("lane")
            .capacity(64)
            .timeout(timeout)
            .extensions(extensions)
            .bypass(bypass)
            .build(&self.scope, &self.pool, driver.patience(timeout))
            .expect("a queue");
        let buffer = self.gpu.alloc(64 * u64::from(WORDS) * 4).expect("memory");
        let base = context
            .map(&buffer, Permissions::READ_WRITE)
            .expect("addresses");
        Lane {
            context,
            queue,
            buffer,
            base,
            held: Arc::new(()),
        }
    }

    /// Unbinds, drops everything, and looks for what is left.
    #[track_caller]
    pub(crate) fn end(self, lanes: Vec<Lane>) {
        self.soft.stop(&self.scope).expect("not from a callback");
        let held: Vec<_> = lanes.iter().map(|lane| Arc::clone(&lane.held)).collect();
        for lane in &lanes {
            assert_eq!(lane.queue.len(), 0, "{}", lane.queue.snapshot());
            lane.queue.check_invariants().expect("core is sound");
        }
        let Self { gpu, soft, .. } = self;
        drop((lanes, soft));
        // A worker may be dropping its last payload: that is no callback of the driver's.
        until("all payloads to be dropped", || {
            held.iter().all(|held| Arc::strong_count(held) == 1)
        });
        // The recovery thread may be letting go of its last context.
        until("memory to be free", || gpu.memory_in_use() == 0);
    }
}

impl Lane {
    pub(crate) fn address(&self, place: u32) -> u64 {
        self.base + u64::from(place * WORDS * 4)
    }

    pub(crate) fn fill(&self, place: u32) -> Command {
        Command::Fill {
            dst: self.address(place),
            words: WORDS,
            value: place + 1,
        }
    }

    pub(crate) fn submit(&self, commands: &[Command]) -> Fence {
        self.submit_after(commands, &[])
    }

    pub(crate) fn submit_after(&self, commands: &[Command], after: &[&Fence]) -> Fence {
        let held = Arc::clone(&self.held) as Arc<dyn Send + Sync>;
        let mut batch = Batch::new(commands).holding(held);
        let mut job = loop {
            match self.queue.prepare(batch, 1) {
                Ok(job) => break job,
                // A fence signals before its job's room is free again.
                Err(full) => {
                    assert_eq!(full.error, PrepareError::Full);
                    batch = full.payload;
                    std::thread::yield_now();
                }
            }
        };
        for fence in after {
            job.depends_on(fence).expect("memory");
        }
        job.submit()
    }

    pub(crate) fn fills(&self, places: std::ops::Range<u32>) -> Vec<Fence> {
        places
            .map(|place| self.submit(&[self.fill(place)]))
            .collect()
    }

    /// Every word of these places is what their jobs filled in.
    #[track_caller]
    pub(crate) fn check(&self, places: std::ops::Range<u32>) {
        let words = self.buffer.to_vec();
        for place in places {
            let from = (place * WORDS) as usize;
            let own = &words[from..from + WORDS as usize];
            assert!(
                own.iter().all(|&word| word == place + 1),
                "place {place}: {own:?}"
            );
        }
    }
}

#[track_caller]
pub(crate) fn ended(fence: &Fence) -> Result<(), Errno> {
    fence.wait_timeout(PATIENCE).expect("the fence signals")
}

#[track_caller]
pub(crate) fn all_well(fences: &[Fence]) {
    for fence in fences {
        assert_eq!(ended(fence), Ok(()));
    }
}
