// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The bottom half: what a handler must not do itself is done by a thread.
//!
//! Last references, which would free memory, and callbacks that are foreign code. The lists are linked
//! through what is on them, so putting something there cannot fail: a fence through the place where
//! a signalling thread would queue it, and a callback through its node, neither of which anybody
//! else uses any more.

use crate::fence::{Fence, Node};
use std::io;
use std::sync::Arc;

/// Something that a handler may have had the last count of, with a place for a link to the next. On
/// the list once at most.
pub(crate) trait Buried: Send + Sync {
    /// The place; belongs to the list, and to who has taken it off until `off_the_list`.
    #[cfg_attr(any(feature = "loom", feature = "shuttle"), allow(dead_code))]
    fn link(&self) -> &crate::sync::UnsafeCell<Option<Arc<dyn Buried>>>;

    /// The place is free for another time. Drops the count.
    #[cfg_attr(any(feature = "loom", feature = "shuttle"), allow(dead_code))]
    fn off_the_list(self: Arc<Self>);
}

#[cfg(any(feature = "loom", feature = "shuttle"))]
pub(super) fn start() -> io::Result<()> {
    Ok(())
}

/// Nothing is put off under a model checker.
#[cfg(any(feature = "loom", feature = "shuttle"))]
pub fn flush() {}

/// Drops it here: a model checker has no handlers.
#[cfg(any(feature = "loom", feature = "shuttle"))]
pub(crate) fn fence(fence: Fence) {
    fence.exhume();
}

#[cfg(any(feature = "loom", feature = "shuttle"))]
pub(crate) unsafe fn node(_node: *const Node) {
    unreachable!("a model checker has no handlers");
}

#[cfg(any(feature = "loom", feature = "shuttle"))]
pub(crate) fn count(count: Arc<dyn Buried>) {
    drop(count);
}

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub use real::flush;
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(super) use real::start;
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(crate) use real::{count, fence, node};

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
mod real {
    use super::{io, Arc, Buried, Fence, Node};
    use crate::sync::{thread, Event, SpinLock};
    use std::panic::{catch_unwind, AssertUnwindSafe};
    use std::sync::{Mutex, PoisonError};

    /// What waits for a thread.
    struct Lists {
        fences: Option<Fence>,
        nodes: *const Node,
        counts: Option<Arc<dyn Buried>>,
        /// The bottom half sleeps, or is about to.
        asleep: bool,
    }

    // SAFETY: The nodes are `Send`, and on this list nobody else's.
    unsafe impl Send for Lists {}

    static LISTS: SpinLock<Lists> = SpinLock::new(Lists {
        fences: None,
        nodes: std::ptr::null(),
        counts: None,
        asleep: false,
    });

    static WAKE: Event = Event::new();

    /// Whether the thread has been started.
    static STARTED: Mutex<bool> = Mutex::new(false);

    /// Held by whoever works the lists off.
    static WORKING: Mutex<()> = Mutex::new(());

    pub(crate) fn fence(fence: Fence) {
        put(|lists| {
            let next = lists.fences.take();
            fence.set_next_buried(next);
            lists.fences = Some(fence);
        });
    }

    /// Has a started node's callback called, or a buried one's memory dropped.
    ///
    /// # Safety
    ///
    /// The node is `RUNNING` and its callback has not been called, or it holds the last count of
    /// its own memory; this hands it over.
    pub(crate) unsafe fn node(node: *const Node) {
        put(|lists| {
            // SAFETY: The caller's, who gives it away.
            unsafe { (*node).set_next_put_off(lists.nodes) };
            lists.nodes = node;
        });
    }

    /// Has a count dropped of something that is not on the list.
    pub(crate) fn count(count: Arc<dyn Buried>) {
        put(|lists| {
            count.link().with_mut(|link| {
                // SAFETY: The list's lock is held, and the link is used under it alone.
                let before = unsafe { std::mem::replace(&mut *link, lists.counts.take()) };
                debug_assert!(before.is_none(), "on the list twice");
                std::mem::forget(before);
            });
            lists.counts = Some(count);
        });
    }

    fn put(add: impl FnOnce(&mut Lists)) {
        let mut lists = LISTS.lock();
        add(&mut lists);
        let asleep = std::mem::replace(&mut lists.asleep, false);
        drop(lists);
        if asleep {
            WAKE.notify_one();
        }
    }

    /// Starts the thread, once.
    pub(in crate::irq) fn start() -> io::Result<()> {
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        if !*started {
            // Not joined: it stays as long as the process.
            let _detached = thread::Builder::new()
                .name("ringfence-later".to_owned())
                .spawn(bottom_half)?;
            *started = true;
        }
        Ok(())
    }

    fn bottom_half() {
        loop {
            let seen = WAKE.current();
            flush();
            let mut lists = LISTS.lock();
            lists.asleep = lists.is_empty();
            let asleep = lists.asleep;
            drop(lists);
            if asleep {
                WAKE.wait(seen, None);
            }
        }
    }

    impl Lists {
        fn is_empty(&self) -> bool {
            self.fences.is_none() && self.nodes.is_null() && self.counts.is_none()
        }
    }

    /// Does here and now what handlers have put off so far, and waits for what the bottom half is
    /// about to do. For tests and orderly ends; not needed otherwise. Sleeps.
    pub fn flush() {
        crate::section::might_sleep("irq::flush");
        let _working = WORKING.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut lists = LISTS.lock();
            if lists.is_empty() {
                return;
            }
            let (mut fences, mut counts) = (lists.fences.take(), lists.counts.take());
            let mut nodes = std::mem::replace(&mut lists.nodes, std::ptr::null());
            drop(lists);
            while !nodes.is_null() {
                // SAFETY: It was handed over with `node`, and is out of the list's hands.
                let next = unsafe { (*nodes).next_put_off() };
                // SAFETY: As above; not touched after.
                guard(|| unsafe { crate::fence::run_put_off(nodes) });
                nodes = next;
            }
            while let Some(fence) = fences {
                fences = fence.take_next_buried();
                guard(|| {
                    fence.exhume();
                    drop(fence);
                });
            }
            while let Some(count) = counts {
                // SAFETY: It is off the list: the link is this thread's.
                counts = count.link().with_mut(|link| unsafe { (*link).take() });
                guard(|| count.off_the_list());
            }
        }
    }

    /// Foreign code that panics has said so; the rest goes on.
    fn guard(f: impl FnOnce()) {
        let _panic = catch_unwind(AssertUnwindSafe(f));
    }
}
