// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The part of a fence that is embedded in what it is a fence of.

use super::node::{FenceCallback, List, Node, Refused, Target};
use super::{dispatch, AlreadySignaled, Fence, Status};
use crate::counted::{Bury, Counted};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{SpinGuard, SpinLock, UnsafeCell};
use ringfence_core::Errno;

/// Something a [`Fence`] can point to: any counted allocation with a [`FenceCore`] in it.
pub(crate) trait FenceNode: Send + Sync + 'static {
    /// The fence inside.
    fn fence(&self) -> &FenceCore;

    /// Somebody needs the fence signalled by `deadline_ns` (`CLOCK_MONOTONIC`), earlier than
    /// anybody did before. Called in any context, with no fence's lock held, any number of times.
    fn deadline_changed(&self, deadline_ns: u64) {
        let _ = deadline_ns;
    }

    /// Called on a thread for what an interrupt handler has put away: drops what was left.
    fn exhume(&self) {}
}

impl Bury for dyn FenceNode {
    fn bury(this: Counted<Self>) {
        crate::irq::later::fence(Fence(this));
    }
}

/// The fence has its seqno.
const PUBLISHED: u32 = 1 << 0;
/// Somebody registered once; signalling must look at the list.
const LISTENED: u32 = 1 << 1;
/// The result is decided; no more callbacks are accepted.
const SIGNALED: u32 = 1 << 2;
/// Every callback has returned.
const SETTLED: u32 = 1 << 3;
/// The magnitude of the error, 0 if none, lies above the flags.
const ERROR_SHIFT: u32 = 16;

/// Marks `stamp` as the time of signalling; before that it is the deadline.
const STAMPED: u64 = 1 << 63;
/// No deadline.
const NO_DEADLINE: u64 = STAMPED - 1;

/// A fence without its reference count: state, result, place in its timeline, callbacks.
///
/// The owner embeds it, publishes it once, and signals it once. It is 64 bytes in ordinary builds.
///
/// # Invariants
///
/// - `state` only gains bits; the error bits come with `SIGNALED`, and `SIGNALED` is set by the
///   one signaller after it has stored `stamp`.
/// - `SETTLED` without a listener comes together with `SIGNALED`; else it is set under the list's
///   lock when no ordinary callback is left or running.
/// - `pending` belongs to the thread that set `SIGNALED` and, when that is done with the fence, to
///   whoever buries it: with its last reference, or as what its reaping has left.
pub(crate) struct FenceCore {
    context: u64,
    seqno: AtomicU64,
    stamp: AtomicU64,
    list: SpinLock<List>,
    state: AtomicU32,
    pending: UnsafeCell<Option<Fence>>,
}

// SAFETY: Every field but `pending` is `Sync`; `pending` is used by the signalling thread alone.
unsafe impl Sync for FenceCore {}

impl std::fmt::Debug for FenceCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FenceCore")
            .field("context", &self.context)
            .field("seqno", &self.seqno())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl FenceCore {
    /// Makes an unpublished fence of timeline `context`. Dropping it unpublished is harmless.
    pub(crate) fn new(context: u64) -> Self {
        Self {
            context,
            seqno: AtomicU64::new(0),
            stamp: AtomicU64::new(NO_DEADLINE),
            list: SpinLock::new(List::new()),
            state: AtomicU32::new(0),
            pending: UnsafeCell::new(None),
        }
    }

    /// Gives the fence its place in the timeline. Once, by the owner, before anybody else has it.
    #[inline]
    pub(crate) fn publish(&self, seqno: u64) {
        debug_assert_eq!(
            self.state.load(Ordering::Relaxed),
            0,
            "fence published twice"
        );
        self.seqno.store(seqno, Ordering::Relaxed);
        // Whoever gets a reference gets it by a hand-over that orders this.
        self.state.store(PUBLISHED, Ordering::Release);
    }

    pub(crate) fn context(&self) -> u64 {
        self.context
    }

    pub(crate) fn seqno(&self) -> u64 {
        self.seqno.load(Ordering::Relaxed)
    }

    /// If nobody listens (no callback, no waiter), signals with one atomic operation and returns
    /// `true`; otherwise changes nothing and returns `false`: call [`signal`](Self::signal) then.
    ///
    /// For the one signaller. Calls nothing out and takes no lock, so any lock may be held.
    /// Returning `false` may have cost the deadline, which nobody needs any more. `timestamp_ns`
    /// is `CLOCK_MONOTONIC`.
    #[inline]
    pub(crate) fn try_signal_quietly(&self, result: Status, timestamp_ns: u64) -> bool {
        if self.peek() != PUBLISHED {
            return false;
        }
        self.stamp.store(timestamp_ns | STAMPED, Ordering::Relaxed);
        // Release: the stamp, and all the signaller did before, is visible with the bit.
        self.state
            .compare_exchange(
                PUBLISHED,
                PUBLISHED | SIGNALED | SETTLED | error_bits(result),
                Ordering::Release,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Signals: decides the result, runs the callbacks and wakes the waiters, on this thread.
    ///
    /// For the one signaller, with no lock held. Called from inside a fence's callback it decides
    /// at once, but the callbacks run when the current one has returned, on this thread: chains of
    /// any length take a constant stack. Returns `false`, and does nothing, if the fence was
    /// signalled before (a bug of the owner's; debug builds assert).
    ///
    /// # Panics
    ///
    /// With the panic of the first callback that panicked, after all others have run.
    pub(crate) fn signal(&self, result: Status, timestamp_ns: u64) -> bool {
        if self.try_signal_quietly(result, timestamp_ns) {
            return true;
        }
        let state = self.state.load(Ordering::Relaxed);
        debug_assert_ne!(
            state & PUBLISHED,
            0,
            "fence signalled before it was published"
        );
        if state & SIGNALED != 0 {
            debug_assert!(
                false,
                "fence {}:{} signalled twice",
                self.context,
                self.seqno()
            );
            return false;
        }
        self.stamp.store(timestamp_ns | STAMPED, Ordering::Relaxed);
        self.state
            .fetch_or(SIGNALED | error_bits(result), Ordering::AcqRel);
        dispatch::run(self);
        true
    }

    /// Whether the fence has signalled and its callbacks have returned; see
    /// [`Fence::is_signaled`](super::Fence::is_signaled).
    #[inline]
    pub(crate) fn is_signaled(&self) -> bool {
        self.settled().is_some()
    }

    /// The result, once [`is_signaled`](Self::is_signaled).
    #[inline]
    pub(crate) fn status(&self) -> Option<Status> {
        self.settled().map(result_of)
    }

    /// When it signalled, once [`is_signaled`](Self::is_signaled).
    pub(crate) fn timestamp(&self) -> Option<u64> {
        self.settled()
            .map(|_| self.stamp.load(Ordering::Relaxed) & !STAMPED)
    }

    /// The result, once decided: callbacks may still be running.
    #[inline]
    pub(crate) fn decided(&self) -> Option<Status> {
        let state = self.state.load(Ordering::Acquire);
        (state & SIGNALED != 0).then(|| result_of(state))
    }

    /// The state, once signalled as far as this thread may see.
    #[inline]
    fn settled(&self) -> Option<u32> {
        let state = self.state.load(Ordering::Acquire);
        if state & SETTLED != 0 || (state & SIGNALED != 0 && dispatch::is_draining(self)) {
            Some(state)
        } else {
            None
        }
    }

    /// Notes a wish to see the fence signalled by `deadline_ns`; `true` if it is the earliest yet.
    pub(crate) fn set_deadline(&self, deadline_ns: u64) -> bool {
        let deadline = deadline_ns.min(NO_DEADLINE);
        // A stamp is greater than any deadline in these terms, but must stay.
        self.stamp
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
                (old & STAMPED == 0 && deadline < old).then_some(deadline)
            })
            .is_ok()
    }

    /// The earliest deadline asked for, until the fence signals.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let stamp = self.stamp.load(Ordering::Relaxed);
        (stamp < NO_DEADLINE).then_some(stamp)
    }

    pub(super) fn list(&self) -> SpinGuard<'_, List> {
        self.list.lock()
    }

    /// Puts a claimed and filled node on the list.
    ///
    /// # Safety
    ///
    /// `node` is claimed and filled with `fence == self`, and stays where it is until its state
    /// says that it is unlinked.
    unsafe fn enlist(&self, node: &Node, late: bool) -> Result<(), AlreadySignaled> {
        let mut list = self.list();
        let state = self.state.fetch_or(LISTENED, Ordering::AcqRel);
        if state & if late { SETTLED } else { SIGNALED } != 0 {
            drop(list);
            node.abandon();
            return Err(AlreadySignaled {
                result: result_of(state),
            });
        }
        // SAFETY: Passed on from the caller.
        unsafe { list.insert(node, late, state & SIGNALED != 0) };
        node.queued();
        Ok(())
    }

    /// Sets `SETTLED`. The list is locked and has no ordinary callback left.
    pub(super) fn settle(&self) {
        self.state.fetch_or(SETTLED, Ordering::AcqRel);
    }

    /// The result, for the signaller, who has decided it.
    pub(super) fn result(&self) -> Status {
        result_of(self.peek())
    }

    /// A look at the state by the signaller.
    #[inline]
    fn peek(&self) -> u32 {
        // Loom remembers only the last access to an atomic: a load just before this thread's own
        // change would hide from it that the change races with other threads' earlier loads.
        #[cfg(feature = "loom")]
        return self.state.fetch_or(0, Ordering::Relaxed);
        #[cfg(not(feature = "loom"))]
        self.state.load(Ordering::Relaxed)
    }

    /// The next fence of the signalling thread's queue.
    ///
    /// # Safety
    ///
    /// Only for the thread that signalled this fence, or that has buried it.
    pub(super) unsafe fn pending<R>(&self, f: impl FnOnce(&mut Option<Fence>) -> R) -> R {
        // SAFETY: One thread, and `f` cannot get here again: the callers only take and replace.
        self.pending.with_mut(|pending| f(unsafe { &mut *pending }))
    }
}

/// How what handlers have put away hangs together.
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
impl Fence {
    /// Links a buried fence to the next. The list it goes on is locked.
    pub(crate) fn set_next_buried(&self, next: Option<Self>) {
        // SAFETY: Buried, so it is nobody else's.
        let before = unsafe {
            self.core()
                .pending(|pending| std::mem::replace(pending, next))
        };
        debug_assert!(before.is_none(), "a fence is buried that is being served");
        // Where it is not: nothing may be dropped here.
        std::mem::forget(before);
    }

    /// The next one, for who has taken the list.
    pub(crate) fn take_next_buried(&self) -> Option<Self> {
        // SAFETY: As above.
        unsafe { self.core().pending(Option::take) }
    }
}

impl Fence {
    /// Drops what the reaping of a job has left to a thread.
    pub(crate) fn exhume(&self) {
        self.0.exhume();
    }

    /// Has `target.on_signal(index, ..)` called when the fence signals.
    ///
    /// Uses the memory of `target.node(index)`: allocates nothing, takes no sleeping lock, and may
    /// be called in a signalling section and from callbacks. The fence and `target` are kept alive
    /// while registered; the reference is dropped on the signalling thread right after
    /// `on_signal`, so an owner that minds where it is destroyed keeps one of its own. Waits for
    /// the node's previous callback if that still runs on another thread.
    pub(crate) fn register<C: FenceCallback + Bury>(
        &self,
        target: Counted<C>,
        index: usize,
    ) -> Result<(), Refused> {
        self.register_at(<dyn FenceCallback>::erase(target), index, false)
    }

    /// As [`register`](Self::register), but called after all ordinary callbacks have returned, when
    /// every thread sees the fence signalled; for waking waiters.
    pub(crate) fn register_late<C: FenceCallback + Bury>(
        &self,
        target: Counted<C>,
        index: usize,
    ) -> Result<(), Refused> {
        self.register_at(<dyn FenceCallback>::erase(target), index, true)
    }

    fn register_at(
        &self,
        target: Counted<dyn FenceCallback>,
        index: usize,
        late: bool,
    ) -> Result<(), Refused> {
        let done = if late {
            self.core().status()
        } else {
            self.core().decided()
        };
        if let Some(result) = done {
            return Err(Refused::AlreadySignaled(AlreadySignaled { result }));
        }
        let callback = target.into_raw();
        // SAFETY: The reference just made raw keeps the node where it is while registered.
        let result = unsafe {
            let node = Counted::peek(callback).node(index);
            self.register_raw(
                node,
                Target {
                    callback,
                    index,
                    owned: true,
                },
                late,
            )
        };
        if result == Err(Refused::Busy) {
            // SAFETY: The count was not used.
            drop(unsafe { Counted::from_raw(callback) });
        }
        result
    }

    /// Registers a node whose memory the caller vouches for.
    ///
    /// # Safety
    ///
    /// `node` is `target.callback`'s node `target.index`, and both stay alive and in place until
    /// the node has been removed or has run. If `target.owned`, one strong count is given away,
    /// except when the answer is `Busy`.
    pub(super) unsafe fn register_raw(
        &self,
        node: &Node,
        target: Target,
        late: bool,
    ) -> Result<(), Refused> {
        if !node.claim() {
            return Err(Refused::Busy);
        }
        node.fill(self.clone(), target);
        // SAFETY: Claimed and filled above; the caller keeps it in place.
        unsafe { self.core().enlist(node, late) }.map_err(Refused::AlreadySignaled)
    }
}

fn error_bits(result: Status) -> u32 {
    match result {
        Ok(()) => 0,
        Err(error) => error.get().unsigned_abs() << ERROR_SHIFT,
    }
}

fn result_of(state: u32) -> Status {
    // The shifted value is at most 4095: it fits, and 0 is no error number.
    match Errno::new(-((state >> ERROR_SHIFT) as i32)) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
