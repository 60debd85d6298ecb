// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Traces of GPU submission: what happened to which job, and when.
//!
//! Three things live here, and none of them knows a queue or a device:
//!
//! * [`event`] and [`Recorder`]: plain events that a host or the command line records while jobs
//!   run, and a bounded buffer that takes them from any thread without allocating or blocking.
//! * [`perfetto`]: writes such a recording as a native Perfetto trace.
//! * [`ftrace`]: writes it as the text of the kernel's `gpu_scheduler` events, and reads that text
//!   back, be it from `/sys/kernel/tracing/trace` or from `trace-cmd report`.
//!
//! [`figures`] computes from the times of jobs how long rings were idle while they had work, in one
//! way for a recording of the kernel's scheduler and for our own run of the same work.
//!
//! The formats are described in `docs/trace-format.md`.
#![forbid(unsafe_code)]

pub mod event;
pub mod figures;
pub mod ftrace;
pub mod perfetto;
mod recorder;

pub use event::{
    Event, EventKind, FenceId, InstantKind, Place, QueueTrack, SlotId, SlotTrack, Trace, Tracks,
};
pub use recorder::Recorder;
