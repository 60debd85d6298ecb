// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Timelines, and the fences they make.

use super::{Fence, FenceCore, FenceNode, Status};
use crate::counted::{Bury, Counted};
use crate::irq::{self, audit};
use ringfence_core::Errno;
use std::collections::HashMap;
use std::fmt;
// Not a model checker's: nothing here is worth its time.
#[cfg(feature = "watched")]
use crate::sync::watched::posix::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
#[cfg(not(feature = "watched"))]
use std::sync::{Mutex, MutexGuard};

/// The clock of all timestamps and deadlines: `CLOCK_MONOTONIC`, in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The monotonic clock starts at 0 and lasts 292 years in 63 bits of nanoseconds.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

pub(super) fn next_context() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The names of the timelines that exist. Fences carry only the number, so that they neither hold
/// nor dangle from a timeline; whoever wants a name asks here.
fn names() -> MutexGuard<'static, Option<HashMap<u64, String>>> {
    static NAMES: Mutex<Option<HashMap<u64, String>>> = Mutex::new(None);
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `f` with the name of timeline `context`, if that still exists and this is no interrupt
/// handler. Allocates nothing.
pub(super) fn with_name<R>(context: u64, f: impl FnOnce(Option<&str>) -> R) -> R {
    if irq::in_handler() {
        // The names' lock may be this very thread's.
        return f(None);
    }
    f(names()
        .as_ref()
        .and_then(|names| names.get(&context))
        .map(String::as_str))
}

/// A named context number: what a timeline is, less the counting.
#[derive(Debug)]
pub(crate) struct TimelineName {
    context: u64,
}

impl TimelineName {
    /// Takes a new context number and makes `name` known for it until dropped. Allocates.
    pub(crate) fn new(name: &str) -> Self {
        let context = next_context();
        names()
            .get_or_insert_default()
            .insert(context, name.to_owned());
        Self { context }
    }

    pub(crate) fn context(&self) -> u64 {
        self.context
    }
}

impl Drop for TimelineName {
    fn drop(&mut self) {
        if let Some(names) = names().as_mut() {
            names.remove(&self.context);
        }
    }
}

/// An ordered series of fences.
///
/// Its fences do not hold it: it may go while they live.
///
/// They must signal in order: whoever waits for a fence relies on those before it, and a job that
/// depends on several fences of one timeline waits for the latest alone. The signallers may be on
/// many threads, which then see to the order between them. A signal that comes while an older
/// fence is open is performed all the same, since somebody may be waiting for it, but it is counted
/// ([`out_of_order`](Self::out_of_order)), and the first of a timeline is reported on standard
/// error. It is not an assertion: the driver may be in an interrupt handler, and his waiters are
/// not to blame.
#[derive(Debug)]
pub struct Timeline {
    name: TimelineName,
    next: AtomicU64,
    order: Arc<Order>,
}

/// What the fences of a timeline share: how many have signalled.
#[derive(Debug)]
struct Order {
    first: u64,
    signalled: AtomicU64,
    strays: AtomicU64,
}

impl Order {
    /// Counts a signal; false for the first that comes too early.
    ///
    /// As many have signalled as are older, or else one of those is open. Once that has happened
    /// the count may miss others, but it never takes a fence for early that is not.
    fn note(&self, seqno: u64) -> bool {
        let older = seqno.wrapping_sub(self.first);
        // Relaxed: who signals in order from several threads has ordered them himself.
        let signalled = self.signalled.fetch_add(1, Ordering::Relaxed);
        signalled >= older || self.strays.fetch_add(1, Ordering::Relaxed) != 0
    }
}

impl Timeline {
    /// Makes a timeline whose first fence has seqno 1. Allocates; takes a process-wide lock.
    pub fn new(name: &str) -> Self {
        Self::with_first_seqno(name, 1)
    }

    /// As [`new`](Self::new), with the first seqno given. Numbers wrap after `u64::MAX`.
    pub fn with_first_seqno(name: &str, first: u64) -> Self {
        Self {
            name: TimelineName::new(name),
            next: AtomicU64::new(first),
            order: Arc::new(Order {
                first,
                signalled: AtomicU64::new(0),
                strays: AtomicU64::new(0),
            }),
        }
    }

    /// How many fences have signalled while an older one of the timeline was open: a driver's bug.
    /// At least 1 if any has; of further ones some may be missed.
    pub fn out_of_order(&self) -> u64 {
        self.order.strays.load(Ordering::Relaxed)
    }

    /// The timeline's number, unique in the process.
    pub fn context(&self) -> u64 {
        self.name.context()
    }

    /// Allocates a fence without a place in the timeline; dropping it leaves no gap.
    pub fn prepare(&self) -> PreparedFence<'_> {
        let core = FenceCore::new(self.context());
        PreparedFence {
            timeline: self,
            node: Counted::new(PlainFence {
                core,
                order: Some(Arc::clone(&self.order)),
                observer: None,
            }),
        }
    }

    /// Makes the timeline's next fence. Allocates; [`prepare`](Self::prepare) does that beforehand.
    pub fn signaller(&self) -> (Signaller, Fence) {
        self.prepare().publish()
    }
}

/// A fence whose memory is there but which nobody can see yet.
pub struct PreparedFence<'t> {
    timeline: &'t Timeline,
    node: Counted<PlainFence>,
}

impl fmt::Debug for PreparedFence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedFence")
            .field("timeline", self.timeline)
            .finish_non_exhaustive()
    }
}

impl PreparedFence<'_> {
    /// Has `observer` called with each new earliest deadline.
    ///
    /// It runs in the context of whoever sets one, signalling sections included, without locks, and
    /// possibly on several threads at once.
    pub fn observe_deadline(mut self, observer: impl Fn(u64) + Send + Sync + 'static) -> Self {
        // Prepared means unshared, so there is always a node to change.
        if let Some(node) = self.node.get_mut() {
            node.observer = Some(Box::new(observer));
        }
        self
    }

    /// Takes the timeline's next seqno and publishes the fence. Neither allocates nor fails.
    ///
    /// From here on somebody may wait: the signaller must make progress without allocating or
    /// waiting for anything that waits for this fence.
    pub fn publish(mut self) -> (Signaller, Fence) {
        self.node
            .core
            .publish(self.timeline.next.fetch_add(1, Ordering::Relaxed));
        let fence = Fence::from_node(self.node.second());
        (Signaller { node: self.node }, fence)
    }
}

/// A fence on its own.
struct PlainFence {
    core: FenceCore,
    /// Its timeline's; a fence that is made signalled has none.
    order: Option<Arc<Order>>,
    observer: Option<Box<dyn Fn(u64) + Send + Sync>>,
}

impl PlainFence {
    /// Signals the fence, and says so if an older one is open.
    fn signal(&self, result: Status, timestamp_ns: u64) {
        let core = &self.core;
        // Before the signal: its callbacks may signal the next.
        if !self.order.as_ref().is_none_or(|o| o.note(core.seqno())) {
            with_name(core.context(), |name| {
                audit::say(format_args!(
                    "ringfence: fence {} on timeline {} (context {}) signals before an older one\n",
                    core.seqno(),
                    name.unwrap_or("of unknown name"),
                    core.context(),
                ));
            });
        }
        core.signal(result, timestamp_ns);
    }
}

impl Bury for PlainFence {
    fn bury(this: Counted<Self>) {
        Bury::bury(Fence::from_node(this).0);
    }
}

impl FenceNode for PlainFence {
    fn fence(&self) -> &FenceCore {
        &self.core
    }

    fn deadline_changed(&self, deadline_ns: u64) {
        if let Some(observer) = &self.observer {
            observer(deadline_ns);
        }
    }
}

/// A fence that has signalled, on a timeline of its own.
pub(super) fn stub(result: Status) -> Fence {
    let core = FenceCore::new(next_context());
    core.publish(1);
    core.try_signal_quietly(result, monotonic_ns());
    Fence::from_node(Counted::new(PlainFence {
        core,
        order: None,
        observer: None,
    }))
}

/// The right, and the duty, to signal one fence.
///
/// There is one per fence. Dropped unsignalled it signals `ECANCELED` and complains on standard
/// error: a waiter must not hang, but its owner has a bug.
#[must_use = "dropping it unsignalled cancels the fence"]
pub struct Signaller {
    node: Counted<PlainFence>,
}

impl fmt::Debug for Signaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signaller").field(&self.node.core).finish()
    }
}

impl Signaller {
    /// Signals, and runs the callbacks on this thread. Interrupt-safe: neither sleeps nor allocates
    /// by itself. Call it with no lock held that a callback might take.
    ///
    /// # Panics
    ///
    /// With the panic of the first callback that panicked, after all others have run.
    pub fn signal(self, result: Status) {
        self.signal_at(result, monotonic_ns());
    }

    /// As [`signal`](Self::signal), for something that happened at `timestamp_ns`
    /// (`CLOCK_MONOTONIC`).
    ///
    /// # Panics
    ///
    /// As [`signal`](Self::signal).
    pub fn signal_at(self, result: Status, timestamp_ns: u64) {
        self.node.signal(result, timestamp_ns);
    }

    /// A view of the fence to be signalled.
    pub fn fence(&self) -> Fence {
        Fence::from_node(self.node.clone())
    }
}

impl Drop for Signaller {
    fn drop(&mut self) {
        let core = &self.node.core;
        if core.decided().is_some() {
            return;
        }
        with_name(core.context(), |name| {
            audit::say(format_args!(
                "ringfence: signaller of fence {} on timeline {} (context {}) dropped \
                 unsignalled, signalling ECANCELED\n",
                core.seqno(),
                name.unwrap_or("of unknown name"),
                core.context(),
            ));
        });
        self.node.signal(Err(Errno::ECANCELED), monotonic_ns());
    }
}
