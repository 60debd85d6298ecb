// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Interrupts: POSIX signal handlers that complete jobs.
//!
//! A driver in user space learns that its hardware is done from a signal: a timer's, an I/O
//! completion's, one that another process sends. A handler may interrupt its thread anywhere, in the
//! middle of `malloc` or of a lock hold, so it may take no lock that its own thread may hold, and
//! neither allocate nor free. Here is what makes that so:
//!
//! - **Masking.** Each thread has a count of reasons why it must not be interrupted. Spin locks raise
//!   it for as long as they are held, as the kernel's `spin_lock_irqsave` turns interrupts off; so
//!   does [`mask`]. The signal itself arrives all the same, and costs no system call to hold back:
//!   [`InterruptLine::raise`] only notes it, and the thread runs the handler when its count drops to
//!   0. Raising and lowering are a few plain instructions.
//! - **A context of its own.** A handler does not see what its thread was doing: no callback is
//!   running, no section is entered. Handlers do not nest: what is raised in one waits for its end.
//! - **Nothing sleeps, nothing is allocated, nothing is freed.** What is on the way of a completion
//!   takes spin locks and wakes by `futex(2)` alone. The last reference to something that goes away
//!   in a handler is handed to a thread, the *bottom half*, which drops it; so is the waking of
//!   futures, whose wakers are foreign code that may lock and allocate. A payload is dropped in a
//!   handler only if its type [says that this is right](DropInIrq).
//!
//! What may be called in a handler says "interrupt-safe" in its documentation. Above all
//! [`Completion::complete_in_irq`](crate::Completion::complete_in_irq),
//! [`Signaller::signal`](crate::Signaller::signal), everything [`Fence`](crate::Fence) has that
//! neither waits nor allocates, [`monotonic`](crate::monotonic) and [`IrqLock`]. Callbacks of fences
//! that are signalled there run there, and so do the observers of their queues and the executor's
//! `schedule` and `arm_timer`: they must be interrupt-safe too. In a handler no callback may be
//! removed from a fence, since that may wait for one that the handler has interrupted.
//!
//! Only handlers that are run by a line have all this. A signal handler that completes jobs by
//! itself is not masked, and may deadlock.
//!
//! ```
//! use ringfence::irq::InterruptLine;
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use std::sync::Arc;
//!
//! let seen = Arc::new(AtomicU32::new(0));
//! let hardware = Arc::clone(&seen);
//! let line = InterruptLine::new(move || _ = hardware.fetch_add(1, Ordering::Relaxed))?;
//! // The handler given to `sigaction` does this and no more:
//! line.raise();
//! assert_eq!(seen.load(Ordering::Relaxed), 1);
//! # Ok::<(), std::io::Error>(())
//! ```

pub(crate) mod audit;
mod count;
mod cpu;
pub(crate) mod later;
mod line;
mod lock;

use std::marker::PhantomData;

pub use audit::{violations, CountViolations, Violations};
pub use count::{give_up, CountPlace, Countable};
pub use cpu::{in_handler, mask, Masked};
pub use later::flush;
pub use line::{raise, InterruptLine, LineNumber, LineStats};
pub use lock::{IrqLock, IrqLockGuard};

pub(crate) use cpu::is_masked;
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(crate) use cpu::{raise_mask, unmask};

/// May be dropped in a signal handler.
///
/// # Safety
///
/// Dropping a value, wherever it came from, takes no lock, neither allocates nor frees memory, does
/// not wait, and calls nothing that is not async-signal-safe (`signal-safety(7)`). So plain data,
/// indices and handles may be dropped there; a `Box`, a `Vec`, an `Arc` must not.
pub unsafe trait DropInIrq {}

macro_rules! plain_data {
    ($($plain:ty)*) => {$(
        // SAFETY: It has nothing to drop.
        unsafe impl DropInIrq for $plain {}
    )*};
}
plain_data!(() bool u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);

// SAFETY: Dropping it drops its parts, which may be.
unsafe impl<T: DropInIrq, const N: usize> DropInIrq for [T; N] {}
// SAFETY: As above.
unsafe impl<T: DropInIrq> DropInIrq for Option<T> {}

/// Where payloads are dropped: what [`Driver::REAPING`](crate::Driver::REAPING) says.
#[derive(Debug)]
pub struct Reaping<P> {
    in_irq: bool,
    _payload: PhantomData<fn(P)>,
}

impl<P> Reaping<P> {
    /// On threads: the worker, or who submits or completes.
    pub const ON_THREADS: Self = Self {
        in_irq: false,
        _payload: PhantomData,
    };

    /// What core is to be told.
    pub(crate) const fn is_in_irq(&self) -> bool {
        self.in_irq
    }
}

impl<P: DropInIrq> Reaping<P> {
    /// In interrupt handlers and driver callbacks too, which spares the worker a visit.
    pub const IN_IRQ: Self = Self {
        in_irq: true,
        _payload: PhantomData,
    };
}
