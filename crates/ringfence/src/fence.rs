// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Fences: one-shot signals that carry a result.
//!
//! A [`Timeline`] numbers fences. Each is signalled by its unique [`Signaller`] and watched through
//! any number of [`Fence`]s, which cannot signal. A fence signals once, with a result, and stays
//! signalled. The rules are those of the kernel's `dma_fence`, with the ownership made explicit.
//!
//! What runs when a fence signals, in this order, on the signalling thread:
//!
//! 1. The result and timestamp are stored and the fence stops accepting callbacks.
//! 2. The callbacks run in the order of registration, inside a
//!    [`SignallingSection`](crate::section::SignallingSection), with no lock held.
//! 3. The fence becomes signalled for every thread: [`Fence::is_signaled`].
//! 4. Waiters, futures and event descriptors are woken.
//!
//! A fence signalled from inside a callback goes through 1 at once, and through the rest when that
//! callback's fence is done. So callbacks never nest, and chains of fences need no stack.
//!
//! A fence that is signalled in an [interrupt handler](crate::irq) goes through all of it there,
//! in the middle of whatever the thread was doing. Its callbacks must be interrupt-safe. Threads and
//! event descriptors are woken by the handler; futures by the bottom half's thread, since a waker is
//! foreign code that may lock and allocate.

use crate::counted::{Bury, Counted, Inner};
use std::fmt;
use std::ptr::NonNull;

mod callback;
mod combine;
mod core;
mod dispatch;
mod eventfd;
mod future;
mod node;
mod timeline;
mod wait;

#[cfg(all(test, feature = "loom"))]
mod loom_tests;
#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests;

pub use self::callback::{Callback, Registration, RejectedCallback};
pub use self::eventfd::EventFd;
pub use self::future::FenceFuture;
pub use self::timeline::{PreparedFence, Signaller, Timeline};
pub use self::wait::TimedOut;

// What the queue embeds in its jobs; most of it has no other user in this crate.
#[allow(unused_imports)]
pub(crate) use self::{
    core::{FenceCore, FenceNode},
    dispatch::in_callback,
    node::{FenceCallback, Node, Refused},
    timeline::{monotonic_ns, TimelineName},
};

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(crate) use self::dispatch::run_put_off;

/// Has an interrupt handler signal apart from what it has interrupted, until dropped.
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(crate) fn suspend_dispatch() -> impl Drop {
    dispatch::Suspended::new()
}

use ringfence_core::Errno;

/// How a fence signalled.
pub type Status = Result<(), Errno>;

/// The fence has signalled already, so the callback was not registered and will not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fence has already signalled")]
pub struct AlreadySignaled {
    /// How the fence signalled.
    pub result: Status,
}

/// A shared view of a one-shot signal. Can be watched, not signalled.
///
/// Cheap to clone. Every method may be called from any thread and any context, inside signalling
/// sections too, unless it says that it sleeps or allocates.
#[derive(Clone)]
pub struct Fence(Counted<dyn FenceNode>);

impl Fence {
    /// Makes a handle on the fence embedded in `node`.
    #[inline]
    pub(crate) fn from_node<N: FenceNode + Bury>(node: Counted<N>) -> Self {
        Self(node.map_raw(|raw| raw as NonNull<Inner<dyn FenceNode>>))
    }

    /// Makes a fence that has signalled with `result`, on a timeline of its own. Allocates.
    pub fn already_signalled(result: Status) -> Self {
        timeline::stub(result)
    }

    /// The reference itself.
    pub(crate) fn into_inner(self) -> Counted<dyn FenceNode> {
        self.0
    }

    #[inline]
    fn core(&self) -> &FenceCore {
        self.0.fence()
    }

    /// Whether the fence has signalled and every callback registered with it has returned.
    ///
    /// So what `true` allows can be relied on: the result and the timestamp are there, and nothing
    /// that was to happen on the signal is still happening (waiters and futures may still be being
    /// woken). The kernel's flag is set before its callbacks run, and code that frees on seeing it
    /// frees too early. Callbacks of *other* fences that were signalled from this one's may be
    /// outstanding. Inside a callback of this very fence the answer is `true`.
    #[inline]
    pub fn is_signaled(&self) -> bool {
        self.core().is_signaled()
    }

    /// How the fence signalled; `None` until [`is_signaled`](Self::is_signaled).
    #[inline]
    pub fn status(&self) -> Option<Status> {
        self.core().status()
    }

    /// The error the fence signalled with; `None` if it has not signalled, or has without error.
    pub fn error(&self) -> Option<Errno> {
        self.status().and_then(Result::err)
    }

    /// When the fence signalled, in nanoseconds of `CLOCK_MONOTONIC`; `None` until
    /// [`is_signaled`](Self::is_signaled).
    pub fn timestamp(&self) -> Option<u64> {
        self.core().timestamp()
    }

    /// The fence's place in its timeline.
    pub fn seqno(&self) -> u64 {
        self.core().seqno()
    }

    /// The number of the fence's timeline, unique in the process.
    pub fn context(&self) -> u64 {
        self.core().context()
    }

    /// The name of the fence's timeline, for messages. Allocates and takes a process-wide lock.
    ///
    /// A fence may outlive its timeline, and then still has an answer: `signaled-timeline` if it
    /// has signalled, `gone-timeline` if not.
    pub fn timeline_name(&self) -> String {
        timeline::with_name(self.context(), |name| match name {
            Some(name) => name.to_owned(),
            None if self.is_signaled() => "signaled-timeline".to_owned(),
            None => "gone-timeline".to_owned(),
        })
    }

    /// Whether the fence comes after `other` on the timeline they share; `false` if they share
    /// none. Numbers may wrap: of two fences less than 2^63 apart the later one is found.
    pub fn is_later_than(&self, other: &Self) -> bool {
        self.context() == other.context() && (self.seqno().wrapping_sub(other.seqno()) as i64) > 0
    }

    /// Says that somebody needs the fence signalled by `deadline_ns` (`CLOCK_MONOTONIC`).
    ///
    /// A hint. The earliest is kept and passed on to whoever will signal, if he observes it; later
    /// ones, and any after the signal, change nothing.
    pub fn set_deadline(&self, deadline_ns: u64) {
        if self.core().set_deadline(deadline_ns) {
            self.0.deadline_changed(deadline_ns);
        }
    }

    /// The earliest deadline anybody has set; `None` if nobody has or the fence has signalled.
    pub fn deadline(&self) -> Option<u64> {
        self.core().deadline()
    }

    /// Whether both are the same fence.
    pub fn same(&self, other: &Self) -> bool {
        std::ptr::eq(self.core(), other.core())
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fence({}:{}, ", self.context(), self.seqno())?;
        match self.status() {
            None => f.write_str("unsignalled)"),
            Some(Ok(())) => f.write_str("signalled)"),
            Some(Err(error)) => write!(f, "{error})"),
        }
    }
}
