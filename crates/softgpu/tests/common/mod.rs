// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the tests of the device share.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

pub mod told;

use std::time::{Duration, Instant};

use proptest::test_runner::Config as ProptestConfig;
use ringfence_softgpu::{Buffer, Command, Context, ContextState, Gpu, GpuConfig, Permissions};

/// How long a test waits for what must come. Only a broken device makes a test wait this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A small device with `slots` slots.
pub fn gpu(slots: u32) -> Gpu {
    Gpu::start(config(slots)).expect("the device starts")
}

/// Its configuration: short slices, little memory.
pub fn config(slots: u32) -> GpuConfig {
    GpuConfig {
        slots,
        time_slice: Duration::from_micros(500),
        vram_bytes: 4 << 20,
        page_bytes: 256,
        answer_timeout: PATIENCE,
        ..GpuConfig::default()
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_micros(20));
    }
}

/// Pushes `commands` and rings the doorbell.
#[track_caller]
pub fn submit(context: &Context, commands: &[Command]) {
    context.ring().push(commands).expect("the ring has room");
    context.doorbell();
}

/// Waits for the context's fence.
#[track_caller]
pub fn reached(context: &Context, value: u64) {
    until(&format!("fence {value} of {context:?}"), || {
        context.fence_value() >= value
    });
}

/// Waits until the context has nothing to do, or faulted.
#[track_caller]
pub fn settled(context: &Context) -> ContextState {
    until(&format!("{context:?} to settle"), || {
        let done = context.ring().get() == context.ring().put();
        match context.state() {
            ContextState::Faulted => true,
            ContextState::Idle => done,
            _ => false,
        }
    });
    context.state()
}

/// A mapped buffer of `words` words.
pub fn mapped(gpu: &Gpu, context: &Context, words: usize) -> (Buffer, u64) {
    let buffer = gpu.alloc(words as u64 * 4).expect("memory");
    let address = context
        .map(&buffer, Permissions::READ_WRITE)
        .expect("address space");
    (buffer, address)
}

/// A property test of `cases` cases. What fails is printed; it is not written to a file.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
