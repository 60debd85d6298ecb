// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Jobs completed by real signal handlers: a million of them, and at every single instruction.
//!
//! `RINGFENCE_IRQ_JOBS` says how many instead of a million.

// Model checkers have no signals.
#![cfg(not(any(feature = "loom", feature = "shuttle")))]

mod million;
mod rig;
mod small;
#[cfg(target_arch = "x86_64")]
mod stepped;

use ringfence::section::CheckedAllocator;

#[global_allocator]
static ALLOCATOR: CheckedAllocator = CheckedAllocator::system();
