// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who asks for slots, and writes down what it is told.

use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::time::Duration;

use ringfence_softgpu::{
    Context, Gpu, GpuConfig, GpuError, Loss, Scheduling, SlotAnswer, Stay, WORD_BYTES,
};

use super::{config, PATIENCE};

/// What was said.
#[derive(Debug)]
pub enum Told {
    Bound(Result<(), GpuError>),
    Vacated(Result<Stay, GpuError>),
    Lost(Loss),
}

struct Listener(Sender<Told>);

impl Listener {
    fn hear(&self, told: Told) {
        // The test may have seen enough.
        let _ = self.0.send(told);
    }
}

impl SlotAnswer for Listener {
    fn bound(&self, result: Result<(), GpuError>) {
        self.hear(Told::Bound(result));
    }

    fn vacated(&self, result: Result<Stay, GpuError>) {
        self.hear(Told::Vacated(result));
    }

    fn lost(&self, loss: Loss) {
        self.hear(Told::Lost(loss));
    }
}

/// One to be told, and what it was told. The channel breaks when the device has let go of it.
pub fn listener() -> (Arc<dyn SlotAnswer>, Receiver<Told>) {
    let (sender, told) = channel();
    (Arc::new(Listener(sender)), told)
}

#[track_caller]
pub fn next(told: &Receiver<Told>) -> Told {
    told.recv_timeout(PATIENCE).expect("an answer comes")
}

/// Binds and waits for the answer. Returns what is said of the stay.
#[track_caller]
pub fn bind(context: &Context, slot: u32) -> Receiver<Told> {
    let (answer, told) = listener();
    context.bind(slot, answer).expect("the request is taken");
    match next(&told) {
        Told::Bound(Ok(())) => told,
        other => panic!("not bound: {other:?}"),
    }
}

/// Binds and waits for the refusal.
#[track_caller]
pub fn refused(context: &Context, slot: u32) -> GpuError {
    let (answer, told) = listener();
    context.bind(slot, answer).expect("the request is taken");
    match next(&told) {
        Told::Bound(Err(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

/// Takes the context off its slot and waits for the answer.
#[track_caller]
pub fn vacate(context: &Context) -> Stay {
    let (answer, told) = listener();
    context.vacate(answer).expect("the request is taken");
    vacated(&told)
}

/// Waits until the context is off its slot, as was asked.
#[track_caller]
pub fn vacated(told: &Receiver<Told>) -> Stay {
    match next(told) {
        Told::Vacated(Ok(stay)) => stay,
        other => panic!("not vacated: {other:?}"),
    }
}

/// Waits until the slot is lost, as the only thing that is said.
#[track_caller]
pub fn lost(told: &Receiver<Told>) -> Loss {
    match next(told) {
        Told::Lost(loss) => {
            over(told);
            loss
        }
        other => panic!("not lost: {other:?}"),
    }
}

/// Nothing more is said, and never will be.
#[track_caller]
pub fn over(told: &Receiver<Told>) {
    let end = told.recv_timeout(PATIENCE);
    let over = matches!(end, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    assert!(over, "said too much, or kept: {end:?}");
}

/// The configuration of a device whose slots the host manages.
pub fn hosted_config(slots: u32, preemption: bool) -> GpuConfig {
    GpuConfig {
        scheduling: Scheduling::Host { preemption },
        ..config(slots)
    }
}

/// A device whose slots the host manages, with preemption or without.
pub fn hosted(slots: u32, preemption: bool) -> Gpu {
    Gpu::start(hosted_config(slots, preemption)).expect("the device starts")
}

/// So much of a context's own work.
pub const SIDE: u32 = 150;

/// Words of three square matrices.
pub const MATRICES: usize = 3 * (SIDE * SIDE) as usize;

/// A product of two matrices that stand from `base` on, behind it.
pub fn product(base: u64) -> ringfence_softgpu::Command {
    let matrix = u64::from(SIDE * SIDE) * WORD_BYTES;
    ringfence_softgpu::Command::MatMul {
        dst: base,
        a: base + matrix,
        b: base + 2 * matrix,
        rows: SIDE,
        inner: SIDE,
        columns: SIDE,
    }
}

/// A firmware that has answered twice has looked at all it was told, and let everybody run.
#[track_caller]
pub fn a_round(gpu: &Gpu) {
    for _ in 0..2 {
        gpu.ping().expect("the firmware answers");
    }
}

/// A time that no test waits for.
pub const LONG: Duration = Duration::from_secs(3600);
