// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a thread knows about interrupts: how often they are masked, which wait, whether one runs.
//!
//! All of it belongs to one thread and the handlers that interrupt it, so plain loads and stores in
//! the right order do. Its memory is there from the thread's start: constant values and no
//! destructor, and so nothing that a first use in a handler would have to allocate. (In a library that
//! was loaded by `dlopen` the C library may allocate thread-local memory at first use; there, each
//! thread that a signal may reach calls [`in_handler`] once beforehand.)

use std::marker::PhantomData;

/// Keeps this thread's handlers waiting until dropped; what is raised meanwhile runs then.
///
/// Counts: masks nest. Signals are not blocked, they arrive and are noted.
#[derive(Debug)]
#[must_use = "interrupts are masked until this is dropped"]
pub struct Masked {
    /// The count is one thread's.
    _not_send: PhantomData<*const ()>,
}

/// Masks interrupts on this thread. For short stretches that a handler of the same thread must not
/// see half done. Interrupt-safe.
#[inline]
pub fn mask() -> Masked {
    raise_mask();
    Masked {
        _not_send: PhantomData,
    }
}

impl Drop for Masked {
    #[inline]
    fn drop(&mut self) {
        unmask();
    }
}

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub use here::in_handler;
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(super) use here::take_interrupt;
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(crate) use here::{is_masked, raise_mask, unmask};

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
mod here {
    use crate::irq::line;
    use std::sync::atomic::{compiler_fence, AtomicBool, AtomicU32, AtomicU64, Ordering};

    /// A thread, as its interrupts see it.
    ///
    /// # Invariants
    ///
    /// A handler runs only while `depth` is 1 and `running` is set, and leaves both as it found
    /// them. A bit in `pending` is served before `depth` stays 0.
    struct Cpu {
        /// Reasons why no handler may run.
        depth: AtomicU32,
        running: AtomicBool,
        /// Lines raised while masked, by number.
        pending: AtomicU64,
    }

    std::thread_local! {
        static CPU: Cpu = const {
            Cpu {
                depth: AtomicU32::new(0),
                running: AtomicBool::new(false),
                pending: AtomicU64::new(0),
            }
        };
    }

    /// Raises the count. What follows is not moved before it.
    #[inline]
    pub(crate) fn raise_mask() {
        CPU.with(|cpu| {
            // Not one operation, but a handler in between leaves the count as it was.
            let depth = cpu.depth.load(Ordering::Relaxed);
            cpu.depth.store(depth + 1, Ordering::Relaxed);
        });
        compiler_fence(Ordering::SeqCst);
    }

    /// Lowers the count, and runs what has waited for that.
    #[inline]
    pub(crate) fn unmask() {
        compiler_fence(Ordering::SeqCst);
        CPU.with(|cpu| {
            let depth = cpu.depth.load(Ordering::Relaxed) - 1;
            cpu.depth.store(depth, Ordering::Relaxed);
            // An interrupt before the store is found here; one after it does not wait.
            compiler_fence(Ordering::SeqCst);
            if cpu.pending.load(Ordering::Relaxed) != 0 {
                cpu.serve();
            }
        });
    }

    /// Whether handlers of this thread have to wait, as they do inside one.
    #[inline]
    pub(crate) fn is_masked() -> bool {
        CPU.with(|cpu| cpu.depth.load(Ordering::Relaxed) != 0)
    }

    /// Whether this thread is in an interrupt handler, run by an
    /// [`InterruptLine`](crate::irq::InterruptLine). Interrupt-safe.
    #[inline]
    pub fn in_handler() -> bool {
        CPU.with(|cpu| cpu.running.load(Ordering::Relaxed))
    }

    /// Line `number` has been raised on this thread. Says whether its handler has to wait.
    pub(in crate::irq) fn take_interrupt(number: u32) -> bool {
        CPU.with(|cpu| {
            // One operation: signals interrupt each other here.
            cpu.pending.fetch_or(1 << number, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            let wait = cpu.depth.load(Ordering::Relaxed) != 0;
            cpu.serve();
            wait
        })
    }

    impl Cpu {
        /// Runs what is pending, unless masked.
        #[cold]
        fn serve(&self) {
            while self.pending.load(Ordering::Relaxed) != 0
                && self.depth.load(Ordering::Relaxed) == 0
            {
                // A signal up to here is served whole, and leaves nothing to be done.
                self.depth.store(1, Ordering::Relaxed);
                self.running.store(true, Ordering::Relaxed);
                compiler_fence(Ordering::SeqCst);
                in_own_context(|| loop {
                    match self.pending.swap(0, Ordering::Relaxed) {
                        0 => break,
                        lines => line::handle(lines),
                    }
                });
                compiler_fence(Ordering::SeqCst);
                self.running.store(false, Ordering::Relaxed);
                self.depth.store(0, Ordering::Relaxed);
                compiler_fence(Ordering::SeqCst);
            }
        }
    }

    /// Runs handlers apart from what this thread was doing.
    fn in_own_context(f: impl FnOnce()) {
        // SAFETY: The location is this thread's, always there.
        let errno = unsafe { *libc::__errno_location() };
        let section = crate::section::Suspended::new();
        let dispatch = crate::fence::suspend_dispatch();
        // As in a driver callback: a visit signals here and leaves the rest.
        crate::device::callback::interrupted(f);
        drop(dispatch);
        drop(section);
        // SAFETY: As above.
        unsafe { *libc::__errno_location() = errno };
    }
}

/// A model checker has no signals: nothing is ever masked, and no handler runs on top of a thread.
#[cfg(any(feature = "loom", feature = "shuttle"))]
mod nowhere {
    /// Does nothing.
    pub(crate) fn raise_mask() {}

    /// Does nothing.
    pub(crate) fn unmask() {}

    /// No.
    pub(crate) fn is_masked() -> bool {
        false
    }

    /// No: a model checker has no signals.
    pub fn in_handler() -> bool {
        false
    }

    pub(in crate::irq) fn take_interrupt(number: u32) -> bool {
        crate::irq::line::handle(1 << number);
        false
    }
}

#[cfg(any(feature = "loom", feature = "shuttle"))]
pub use nowhere::in_handler;
#[cfg(any(feature = "loom", feature = "shuttle"))]
pub(crate) use nowhere::is_masked;
#[cfg(any(feature = "loom", feature = "shuttle"))]
pub(super) use nowhere::take_interrupt;
#[cfg(any(feature = "loom", feature = "shuttle"))]
use nowhere::{raise_mask, unmask};
