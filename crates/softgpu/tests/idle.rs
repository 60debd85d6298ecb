// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A device that has nothing to compute does not compute. One test, for it measures the process.

mod common;

use std::sync::mpsc::Receiver;
use std::time::Duration;

use common::told::{self, Told};
use common::{mapped, reached, submit};
use ringfence_softgpu::{Command, Context, Gpu, GpuConfig, Injection, When};
use rustix::time::{clock_gettime, ClockId};

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Contexts that have nothing to do, on slots that the host gave them, and one that cannot go on.
fn hosted() -> (Gpu, Vec<Context>, Vec<Receiver<Told>>) {
    let gpu = told::hosted(5, true);
    let contexts: Vec<_> = (0..5)
        .map(|_| gpu.create_context(64).expect("a context"))
        .collect();
    let mut told: Vec<_> = contexts
        .iter()
        .zip(0..)
        .map(|(context, slot)| told::bind(context, slot))
        .collect();
    submit(&contexts[1], &[Command::Fence { value: 1 }]);
    reached(&contexts[1], 1);
    submit(&contexts[2], &[Command::Hang]);
    submit(&contexts[3], &[Command::Spin { ns: u64::MAX }]);
    // Its semaphore is written, and it can do nothing about it.
    let (semaphore, address) = mapped(&gpu, &contexts[4], 1);
    submit(
        &contexts[4],
        &[Command::SemaphoreWait { address, value: 1 }],
    );
    told::a_round(&gpu);
    let stuck = contexts[4].inject(Injection::StuckPreemption, When::Now);
    stuck.expect("possible");
    let (answer, answers) = told::listener();
    contexts[4].vacate(answer).expect("taken");
    told::a_round(&gpu);
    semaphore.write(0, &[1]).expect("in range");
    told.push(answers);
    (gpu, contexts, told)
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
    let _hosted = hosted();
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
