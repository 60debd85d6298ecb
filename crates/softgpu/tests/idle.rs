// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A device that has nothing to compute does not compute. One test, for it measures the process.

mod common;

use std::time::Duration;

use common::{mapped, reached, submit};
use ringfence_softgpu::{Command, Gpu, GpuConfig};
use rustix::time::{clock_gettime, ClockId};

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn waiting_and_spinning_contexts_cost_nothing() {
    let gpu = Gpu::start(GpuConfig::default()).expect("the device starts");
    let contexts: Vec<_> = (0..8)
        .map(|_| gpu.create_context(64).expect("a context"))
        .collect();
    let (_semaphore, address) = mapped(&gpu, &contexts[0], 1);
    submit(
        &contexts[0],
        &[Command::SemaphoreWait { address, value: 1 }],
    );
    submit(&contexts[1], &[Command::Hang]);
    let (done, ended) = std::sync::mpsc::channel();
    let _handler = contexts[7].on_interrupt(move |_| done.send(()).unwrap_or(()));
    let before = processor_time();
    for context in &contexts[2..] {
        submit(
            context,
            &[
                Command::Spin { ns: 600_000_000 },
                Command::Fence { value: 1 },
            ],
        );
    }
    ended.recv_timeout(common::PATIENCE).expect("the spin ends");
    let used = processor_time() - before;
    contexts[2..].iter().for_each(|context| reached(context, 1));
    assert!(
        used < Duration::from_millis(200),
        "600 ms of nothing took {used:?}"
    );
}
