// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A device, its driver, and queues whose jobs leave data that can be checked.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use ringfence::{Ban, Builder, Errno, Fence, Pool, PrepareError, Queue, Rest};
use ringfence_softgpu::driver::{
    Batch, Reset, SoftBuffer, SoftConfig, SoftContext, SoftDevice, SoftDriver,
};
use ringfence_softgpu::{Command, Gpu, GpuConfig, Injection, Permissions, When};

use crate::common::{config, until, PATIENCE};

/// Words that each job fills.
pub(crate) const WORDS: u32 = 64;

/// Jobs that a queue has room for.
const ROOM: u32 = 64;

pub(crate) struct Rig {
    pub(crate) soft: SoftDevice,
    pub(crate) pool: Pool,
}

/// A queue with memory for `jobs` jobs.
pub(crate) struct Lane {
    pub(crate) context: Arc<SoftContext>,
    pub(crate) queue: Queue<SoftDriver>,
    pub(crate) buffer: SoftBuffer,
    pub(crate) base: u64,
    pub(crate) held: Arc<()>,
}

impl Rig {
    pub(crate) fn new(slots: u32) -> Self {
        Self::with(config(slots))
    }

    pub(crate) fn with(config: GpuConfig) -> Self {
        Self::standing_by(config, 0, Reset::Queue)
    }

    pub(crate) fn standing_by(config: GpuConfig, standby: usize, reset: Reset) -> Self {
        let gpu = || Gpu::start(config.clone()).expect("the device starts");
        Self {
            soft: SoftDevice::start(SoftConfig {
                standby: (0..standby).map(|_| gpu()).collect(),
                reset,
                ..SoftConfig::new(gpu())
            })
            .expect("nobody else drives it"),
            pool: Pool::new(2).expect("threads"),
        }
    }

    pub(crate) fn lane(&self, timeout: Duration, extensions: u8, bypass: bool) -> Lane {
        let builder = Queue::<SoftDriver>::builder("lane")
            .timeout(timeout)
            .extensions(extensions)
            .bypass(bypass);
        self.lane_of(builder, timeout, Rest::Replay)
    }

    /// A lane that is banned after so many strikes.
    pub(crate) fn lane_with_ban(&self, timeout: Duration, strikes: u8) -> Lane {
        let ban = Ban {
            strikes,
            within: None,
        };
        let builder = Queue::<SoftDriver>::builder("lane")
            .timeout(timeout)
            .ban(ban);
        self.lane_of(builder, timeout, Rest::Replay)
    }

    pub(crate) fn lane_of(&self, builder: Builder, patience: Duration, rest: Rest) -> Lane {
        let context = self.soft.create_context(4096).expect("a context");
        let driver = self
            .soft
            .driver(&context, ROOM as usize)
            .expect("the first driver")
            .patience(patience)
            .rest(rest);
        self.lane_with(context, driver, builder)
    }

    pub(crate) fn lane_with(
        &self,
        context: Arc<SoftContext>,
        driver: SoftDriver,
        builder: Builder,
    ) -> Lane {
        let builder = builder.capacity(ROOM as usize);
        let queue = self
            .soft
            .build(builder, &self.pool, driver)
            .expect("a queue");
        let bytes = u64::from(ROOM * WORDS) * 4;
        let buffer = self.soft.alloc(bytes).expect("memory");
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
        self.end_after(lanes, || {});
    }

    /// As [`Rig::end`], with something to be done when the queues are dropped.
    #[track_caller]
    pub(crate) fn end_after(self, lanes: Vec<Lane>, last: impl FnOnce()) {
        self.soft.stop().expect("not from a callback");
        let held: Vec<_> = lanes.iter().map(|lane| Arc::clone(&lane.held)).collect();
        for lane in &lanes {
            assert_eq!(lane.queue.len(), 0, "{}", lane.queue.snapshot());
            lane.queue.check_invariants().expect("core is sound");
        }
        drop(lanes);
        last();
        // A worker may be dropping its last payload: that is no callback of the driver's.
        until("all payloads to be dropped", || {
            held.iter().all(|held| Arc::strong_count(held) == 1)
        });
        until("memory to be free", || {
            self.soft.gpus().iter().all(|gpu| gpu.memory_in_use() == 0)
        });
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

    /// A command that ends when [`Lane::open`] was called with the same `value`.
    pub(crate) fn gate(&self, value: u32) -> Command {
        Command::SemaphoreWait {
            address: self.address(ROOM - 1),
            value,
        }
    }

    pub(crate) fn open(&self, value: u32) {
        let first = ((ROOM - 1) * WORDS) as usize;
        self.buffer.write(first, &[value]).expect("in range");
    }

    pub(crate) fn inject(&self, injection: Injection, when: When) {
        let context = self.context.now();
        context.inject(injection, when).expect("possible");
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
        let mut words = vec![0; (ROOM * WORDS) as usize];
        self.buffer.read(0, &mut words).expect("in range");
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
