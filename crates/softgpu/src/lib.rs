// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A GPU in software, firmware-scheduled or not, good enough to be wrong in all the ways real ones are.
//!
//! ```text
//!   host                                    device
//!   Context ── push ──► ring in memory ◄─── firmware thread: run list, slots, time slices
//!      │  └── doorbell ─► inbox ──────────►    │    │
//!      │                                       │    └─ executes commands on video memory,
//!      │  ◄── fence value (memory) ────────────┤       through the context's page table
//!      └─ handler ◄── interrupt thread ◄───────┘
//! ```
//!
//! A driver allocates [`Buffer`]s, maps them into a [`Context`], pushes [`Command`]s that end
//! with a [`Command::Fence`] to the context's [`Ring`], rings the doorbell, and is told by an
//! [`Interrupt`] that the fence was reached. There are fewer hardware slots than contexts: the
//! firmware rotates them. Everything a context hands over is checked; what is bad faults that
//! context, which then stands still until it is [reset](Context::reset), and no other.
//!
//! A device can be without a scheduler of its own instead ([`Scheduling::Host`]): then the host says
//! which context is on which slot, by [`Context::bind`] and [`Context::vacate`], and a context
//! executes nowhere else. Requests do not wait; a [`SlotAnswer`] is told what became of them, exactly
//! once, and if a context loses its slot by a fault or a reset. Slots may be of different
//! [kinds](SlotKind) and may take [time to switch](GpuConfig::switch_cost).
//!
//! Whatever the driver's author fears can be [injected](Context::inject).
//!
//! ```
//! use ringfence_softgpu::{Command, Gpu, GpuConfig, Permissions};
//!
//! let gpu = Gpu::start(GpuConfig::default())?;
//! let context = gpu.create_context(1024)?;
//! let (reached, waiting) = std::sync::mpsc::channel();
//! let handler = context.on_interrupt(move |_| reached.send(()).unwrap_or(()))?;
//!
//! let buffer = gpu.alloc(4096)?;
//! let address = context.map(&buffer, Permissions::READ_WRITE)?;
//! context.ring().push(&[
//!     Command::Fill { dst: address, words: 1024, value: 7 },
//!     Command::Fence { value: 1 },
//! ])?;
//! context.doorbell();
//!
//! while context.fence_value() < 1 {
//!     waiting.recv()?;
//! }
//! assert_eq!(buffer.to_vec(), vec![7; 1024]);
//! handler.remove();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod answer;
mod clock;
mod command;
mod config;
mod context;
mod device;
pub mod driver;
mod error;
mod fault;
mod firmware;
mod interrupt;
mod memory;
mod observer;
pub mod reference;
mod ring;
mod slots;
mod sync;

pub use clock::now_ns;
pub use command::{Command, MAX_MATRIX_SIDE, MAX_PACKET_WORDS, MAX_PADDING};
pub use config::GpuConfig;
pub use context::{Context, ContextId, ContextState, ResetReport};
pub use device::{Culprit, DeviceResetReport, Gpu, GpuStats};
pub use error::{GpuError, RingFull};
pub use fault::{Armed, Fault, FaultKind, Injection, InjectionKind, When};
pub use interrupt::{HandlerGuard, Interrupt};
pub use memory::{Buffer, Permissions, VA_LIMIT, WORD_BYTES};
pub use observer::{Observer, SlotEvent, SlotEventKind};
pub use ring::Ring;
pub use slots::{Loss, LossCause, Scheduling, SlotAnswer, SlotKind, SlotUsage, Stay};
