// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Callback nodes: the prepared memory through which a fence calls somebody, and the list of them.

use super::{dispatch, AlreadySignaled, Fence, Status};
use crate::counted::{Bury, Counted, Inner};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Backoff, UnsafeCell};
use std::ptr::{self, NonNull};

/// Somebody a fence can call, with the memory for it embedded: `N` nodes, told apart by an index.
///
/// One counted allocation holds the caller's own state and all its nodes, so that
/// [`Fence::register`] allocates nothing. There is a node 0.
pub(crate) trait FenceCallback: Send + Sync + 'static {
    /// The node for `index`; always the same one, and each index its own.
    fn node(&self, index: usize) -> &Node;

    /// The fence that node `index` was registered with has signalled with `result`.
    ///
    /// Runs on the signalling thread, inside a signalling section, with no lock of any fence held.
    /// It may query and signal fences, register and remove callbacks; it must neither sleep nor
    /// allocate.
    fn on_signal(&self, index: usize, result: Status);

    /// Whether `on_signal` may run in an interrupt handler; otherwise the bottom half calls it.
    fn is_interrupt_safe(&self) -> bool {
        true
    }
}

impl dyn FenceCallback {
    /// Forgets what the target is.
    pub(crate) fn erase<C: FenceCallback + Bury>(target: Counted<C>) -> Counted<Self> {
        target.map_raw(|raw| raw as NonNull<Inner<Self>>)
    }
}

impl Bury for dyn FenceCallback {
    fn bury(this: Counted<Self>) {
        let raw = this.into_raw();
        // SAFETY: Just made raw.
        let node = unsafe { Counted::peek(raw) }.node(0);
        // SAFETY: With the last reference to its memory the node is this thread's, and it is handed
        // over with both.
        node.slot.with_mut(|slot| unsafe {
            (*slot).target = Some(Target {
                callback: raw,
                index: BURIED,
                owned: true,
            });
        });
        // SAFETY: As above.
        unsafe { crate::irq::later::node(node) };
    }
}

/// The index of a target that is not to be called, only dropped.
pub(super) const BURIED: usize = usize::MAX;

/// Why [`Fence::register`] did not register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The fence has signalled; the callback is not, and will not be, called.
    AlreadySignaled(AlreadySignaled),
    /// The node is registered already, or it is its own callback that asks.
    Busy,
}

/// The node is in nobody's hands.
const IDLE: u32 = 0;
/// A registration is under way.
const CLAIMED: u32 = 1;
/// Listed by a fence.
const QUEUED: u32 = 2;
/// Being removed by the thread that took it from `QUEUED` to here.
const REMOVING: u32 = 3;
/// Its callback runs.
const RUNNING: u32 = 4;
/// Its callback has returned; as good as `IDLE`.
const DONE: u32 = 5;

/// Memory for one registration with one fence at a time; reusable after its callback or removal.
///
/// # Invariants
///
/// - `state` moves `IDLE|DONE -> CLAIMED -> QUEUED -> RUNNING -> DONE`, or from `CLAIMED` back to
///   `IDLE` (refused), or `QUEUED -> REMOVING -> IDLE`.
/// - `link` belongs to the lock of the fence that `slot.fence` names while `CLAIMED..=REMOVING`.
/// - `slot` is written only by the thread that moved the state to `CLAIMED`, `RUNNING` or
///   `REMOVING`, the last only once the node is unlinked. While linked it is constant.
/// - While linked, `slot` keeps the fence alive, and whoever registered keeps the node alive.
pub(crate) struct Node {
    state: AtomicU32,
    link: UnsafeCell<Link>,
    slot: UnsafeCell<Slot>,
}

struct Link {
    prev: *const Node,
    next: *const Node,
    linked: bool,
    late: bool,
}

struct Slot {
    target: Option<Target>,
    fence: Option<Fence>,
}

/// Whom to call.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) callback: NonNull<Inner<dyn FenceCallback>>,
    pub(super) index: usize,
    /// Whether the pointer carries a reference.
    pub(super) owned: bool,
}

// SAFETY: The raw pointers are to `Send + Sync` things; who may use them when is the type's
// invariant.
unsafe impl Send for Node {}
// SAFETY: As above; `state` and the fence's lock serialise every access to the cells.
unsafe impl Sync for Node {}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// Makes a node that is not registered.
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU32::new(IDLE),
            link: UnsafeCell::new(Link {
                prev: ptr::null(),
                next: ptr::null(),
                linked: false,
                late: false,
            }),
            slot: UnsafeCell::new(Slot {
                target: None,
                fence: None,
            }),
        }
    }

    /// Takes the node out of its fence's hands and waits until that is certain.
    ///
    /// `true`: it was registered, and its callback has not been called and will not be. `false`: it
    /// was not registered, or its callback has been called; on return that has finished, unless it
    /// is the very callback that asks. May wait for a running callback, but takes no sleeping lock.
    ///
    /// Two callbacks that each remove the other while both run wait for each other; use
    /// [`try_remove`](Self::try_remove) there.
    pub(crate) fn remove(&self) -> bool {
        let mut backoff = Backoff::default();
        loop {
            match self.take_off() {
                Ok(()) => return true,
                Err(IDLE | DONE) => return false,
                Err(RUNNING) if dispatch::is_running(self) => return false,
                Err(_) => {
                    // It may be this very thread that has been interrupted in it.
                    crate::irq::audit::sleeping("a wait for a fence's callback");
                    backoff.snooze();
                }
            }
        }
    }

    /// As [`remove`](Self::remove), but does not wait: `false` may also mean that the callback is
    /// running now.
    pub(crate) fn try_remove(&self) -> bool {
        self.take_off().is_ok()
    }

    /// Removes the node if it is queued; else says its state.
    fn take_off(&self) -> Result<(), u32> {
        self.state
            .compare_exchange(QUEUED, REMOVING, Ordering::AcqRel, Ordering::Acquire)?;
        self.slot.with(|slot| {
            // SAFETY: Constant while linked; unlinked by somebody else, it is this thread's.
            let fence = unsafe { &(*slot).fence };
            if let Some(fence) = fence {
                let mut list = fence.core().list();
                // SAFETY: The node is in this list or in none; the list is locked.
                unsafe { list.unlink(self) };
            }
        });
        let slot = self.take_slot();
        self.state.store(IDLE, Ordering::Release);
        // `self` may live in what this releases: not touched any more.
        slot.release();
        Ok(())
    }

    /// Claims the node for a registration; waits for a callback that runs on another thread.
    pub(super) fn claim(&self) -> bool {
        let mut backoff = Backoff::default();
        loop {
            let state = self.state.load(Ordering::Acquire);
            let claimed = match state {
                IDLE | DONE => self
                    .state
                    .compare_exchange(state, CLAIMED, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok(),
                RUNNING if !dispatch::is_running(self) => {
                    crate::irq::audit::sleeping("a wait for a fence's callback");
                    backoff.snooze();
                    continue;
                }
                _ => return false,
            };
            if claimed {
                return true;
            }
        }
    }

    /// Fills a claimed node.
    pub(super) fn fill(&self, fence: Fence, target: Target) {
        // SAFETY: The caller has claimed the node.
        self.slot.with_mut(|slot| unsafe {
            (*slot).fence = Some(fence);
            (*slot).target = Some(target);
        });
    }

    /// Gives up a claimed and filled node that was refused.
    pub(super) fn abandon(&self) {
        let slot = self.take_slot();
        self.state.store(IDLE, Ordering::Release);
        slot.release();
    }

    /// Hands a claimed, filled and linked node to its fence. The fence is locked.
    pub(super) fn queued(&self) {
        self.state.store(QUEUED, Ordering::Release);
    }

    /// Takes an unlinked node to run it; `None` if a removal got in first. The fence is locked.
    pub(super) fn start(&self) -> Option<Target> {
        self.state
            .compare_exchange(QUEUED, RUNNING, Ordering::AcqRel, Ordering::Relaxed)
            .ok()
            .and_then(|_| {
                // SAFETY: `RUNNING` was set by this thread: the slot is its own.
                self.slot.with(|slot| unsafe { (*slot).target })
            })
    }

    /// Ends a run. The node may be gone when this returns, unless its target is owned.
    pub(super) fn finish(&self) {
        let mut slot = self.take_slot();
        let owned = slot.target.take().filter(|target| target.owned);
        // The dispatcher holds the fence: this is never its last reference.
        drop(slot);
        self.state.store(DONE, Ordering::Release);
        Slot {
            target: owned,
            fence: None,
        }
        .release();
    }

    /// What was handed to [`crate::irq::later::node`], for who has taken it from there.
    ///
    /// # Safety
    ///
    /// Only for that thread.
    #[cfg(not(any(feature = "loom", feature = "shuttle")))]
    pub(super) unsafe fn put_off(&self) -> (Option<Target>, Option<Status>) {
        // SAFETY: The slot is the caller's.
        self.slot.with(|slot| unsafe {
            let fence = (*slot).fence.as_ref();
            ((*slot).target, fence.and_then(|f| f.core().decided()))
        })
    }

    /// Links a node that was put off to the next one.
    ///
    /// # Safety
    ///
    /// The node is in no fence's list and nobody else's.
    #[cfg(not(any(feature = "loom", feature = "shuttle")))]
    pub(crate) unsafe fn set_next_put_off(&self, next: *const Self) {
        // SAFETY: The caller's.
        self.link.with_mut(|link| unsafe { (*link).next = next });
    }

    /// The next one.
    ///
    /// # Safety
    ///
    /// As for [`Node::set_next_put_off`].
    #[cfg(not(any(feature = "loom", feature = "shuttle")))]
    pub(crate) unsafe fn next_put_off(&self) -> *const Self {
        // SAFETY: The caller's.
        self.link.with(|link| unsafe { (*link).next })
    }

    /// Drops a buried target, and with it the node. Only for who has taken it off the list.
    #[cfg(not(any(feature = "loom", feature = "shuttle")))]
    pub(super) fn exhume(&self) {
        self.take_slot().release();
    }

    /// Gives the running dispatcher a reference to the target. Only for the callback itself.
    pub(super) fn adopt(&self) {
        self.slot.with_mut(|slot| {
            // SAFETY: The node runs on this thread, which therefore owns the slot.
            if let Some(target) = unsafe { &mut (*slot).target } {
                target.owned = true;
            }
        });
    }

    /// The fence a linked node is registered with. That fence is locked.
    fn fence(&self) -> Option<Fence> {
        // SAFETY: The slot is constant while linked, and the lock keeps the node linked.
        self.slot.with(|slot| unsafe { (*slot).fence.clone() })
    }

    /// Empties the slot. Only for a thread that owns it.
    fn take_slot(&self) -> Slot {
        // SAFETY: The callers are in `CLAIMED`, `RUNNING` or (unlinked) `REMOVING`, which they set.
        self.slot.with_mut(|slot| unsafe {
            Slot {
                target: (*slot).target.take(),
                fence: (*slot).fence.take(),
            }
        })
    }
}

impl Slot {
    /// Drops the references held.
    fn release(self) {
        if let Some(target) = self.target.filter(|target| target.owned) {
            // SAFETY: An owned target carries one reference, made by `Counted::into_raw`.
            drop(unsafe { Counted::from_raw(target.callback) });
        }
    }
}

/// The nodes registered with one fence; a circle, changed only under the fence's lock.
///
/// `head` stands on the boundary between the ordinary callbacks, in the order of registration, and
/// the late ones (waiters), which run after all of them: on the first late node, else on the first
/// callback. New callbacks go in front of it. [`start_draining`](Self::start_draining) moves it to
/// the first callback; from then on only late nodes are added, at the end.
#[derive(Debug)]
pub(super) struct List {
    head: *const Node,
}

// SAFETY: The list only points to nodes, which are `Send + Sync`.
unsafe impl Send for List {}

impl List {
    pub(super) const fn new() -> Self {
        Self { head: ptr::null() }
    }

    /// Adds a node.
    ///
    /// # Safety
    ///
    /// The node is claimed for this list's fence, is in no list, and stays where it is until
    /// unlinked.
    pub(super) unsafe fn insert(&mut self, node: &Node, late: bool, draining: bool) {
        let new = ptr::from_ref(node);
        let head = self.head;
        // SAFETY: Linked nodes are alive and their links belong to this locked list.
        unsafe {
            let (prev, next) = if head.is_null() {
                (new, new)
            } else {
                ((*head).link.with(|link| (*link).prev), head)
            };
            node.link.with_mut(|link| {
                *link = Link {
                    prev,
                    next,
                    linked: true,
                    late,
                }
            });
            if !head.is_null() {
                (*prev).link.with_mut(|link| (*link).next = new);
                (*next).link.with_mut(|link| (*link).prev = new);
            }
        }
        if head.is_null() || (late && !draining) {
            self.head = new;
        }
    }

    /// Takes a node out, if it is in.
    ///
    /// # Safety
    ///
    /// The node is in this list or in none.
    pub(super) unsafe fn unlink(&mut self, node: &Node) {
        // SAFETY: The node's link belongs to this locked list, and so do its neighbours'.
        unsafe {
            let (linked, prev, next) = node
                .link
                .with(|link| ((*link).linked, (*link).prev, (*link).next));
            if !linked {
                return;
            }
            node.link.with_mut(|link| (*link).linked = false);
            if ptr::eq(next, node) {
                self.head = ptr::null();
                return;
            }
            (*prev).link.with_mut(|link| (*link).next = next);
            (*next).link.with_mut(|link| (*link).prev = prev);
            if ptr::eq(self.head, node) {
                self.head = next;
            }
        }
    }

    /// Moves the head from the boundary to the first ordinary callback.
    pub(super) fn start_draining(&mut self) {
        let first = self.head;
        while let Some((_, true, next)) = self.front() {
            self.head = next;
            if ptr::eq(next, first) {
                break;
            }
        }
    }

    /// Takes out the first node if it is an ordinary one, or if `late` ones are wanted too.
    pub(super) fn pop(&mut self, late: bool) -> Option<*const Node> {
        let (node, is_late, _) = self.front()?;
        if is_late && !late {
            return None;
        }
        // SAFETY: The head is in this list, and alive.
        unsafe { self.unlink(&*node) };
        Some(node)
    }

    fn front(&self) -> Option<(*const Node, bool, *const Node)> {
        let head = self.head;
        if head.is_null() {
            return None;
        }
        // SAFETY: The head is in this locked list, and alive.
        unsafe {
            (*head)
                .link
                .with(|link| Some((head, (*link).late, (*link).next)))
        }
    }

    /// A reference to the fence of this list, if it has a node.
    pub(super) fn fence(&self) -> Option<Fence> {
        // SAFETY: The head is in this locked list, and alive.
        self.front()
            .and_then(|(node, ..)| unsafe { (*node).fence() })
    }
}
