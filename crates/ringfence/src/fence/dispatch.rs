// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Running the callbacks of a signalled fence.
//!
//! One loop per thread. A fence signalled from inside a callback is put on the thread's queue, which
//! is linked through the fences themselves, and served when that callback has returned. So neither
//! the length of a chain nor its fan-out needs stack or memory, and no callback runs inside another.

use super::core::FenceCore;
use super::node::{Node, Target};
use super::Fence;
use crate::counted::Counted;
use crate::section::SignallingSection;
use crate::sync::thread_cell;
use std::any::Any;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::ptr;

/// What a thread is signalling.
struct Dispatch {
    /// The fence whose callbacks run; null outside the loop.
    draining: Cell<*const FenceCore>,
    /// The node whose callback runs.
    running: Cell<*const Node>,
    /// The fences to serve next. Not dropped with the thread: it is empty outside the loop, and so
    /// the thread-local needs no destructor (registering one would allocate).
    first: Cell<Option<ManuallyDrop<Fence>>>,
    /// The last of them, if any.
    last: Cell<*const FenceCore>,
}

impl Dispatch {
    const fn new() -> Self {
        Self {
            draining: Cell::new(ptr::null()),
            running: Cell::new(ptr::null()),
            first: Cell::new(None),
            last: Cell::new(ptr::null()),
        }
    }
}

thread_cell! {
    static DISPATCH: Dispatch = Dispatch::new();
}

/// Whether this thread is inside the callback of `node`.
pub(super) fn is_running(node: &Node) -> bool {
    DISPATCH.with(|dispatch| ptr::eq(dispatch.running.get(), node))
}

/// Whether this thread is serving the callbacks of `core`.
pub(super) fn is_draining(core: &FenceCore) -> bool {
    DISPATCH.with(|dispatch| ptr::eq(dispatch.draining.get(), core))
}

/// Whether this thread is inside any fence's callback: what it signals now is served later.
pub(crate) fn in_callback() -> bool {
    DISPATCH.with(|dispatch| !dispatch.draining.get().is_null())
}

/// Serves a fence that this thread has just set signalled, now or, inside a callback, later.
pub(super) fn run(core: &FenceCore) {
    DISPATCH.with(|dispatch| {
        if dispatch.draining.get().is_null() {
            dispatch.serve(core);
        } else {
            dispatch.defer(core);
        }
    });
}

/// While it lives, what an interrupted thread was signalling does not count: the handler serves its
/// own fences at once, and the thread goes on after. So callbacks of a handler may run in the middle
/// of a thread's, as in the kernel, and a thread's lists are never seen half linked.
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(crate) struct Suspended(ManuallyDrop<Dispatch>);

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
impl Suspended {
    pub(super) fn new() -> Self {
        let before = Dispatch::new();
        DISPATCH.with(|dispatch| dispatch.swap(&before));
        Self(ManuallyDrop::new(before))
    }
}

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
impl Drop for Suspended {
    fn drop(&mut self) {
        DISPATCH.with(|dispatch| dispatch.swap(&self.0));
    }
}

/// Calls what an interrupt handler has left to a thread, or drops it.
///
/// # Safety
///
/// The node was handed to [`crate::irq::later::node`], and this thread has taken it from there.
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(crate) unsafe fn run_put_off(node: *const Node) {
    // SAFETY: The caller's; it is not touched after the end of this.
    let node = unsafe { &*node };
    // SAFETY: As above.
    let (Some(target), result) = (unsafe { node.put_off() }) else {
        return;
    };
    let Some(result) = result.filter(|_| target.index != super::node::BURIED) else {
        node.exhume();
        return;
    };
    DISPATCH.with(|dispatch| {
        let mut panic = None;
        let before = dispatch.running.replace(node);
        // SAFETY: A started node and its target stay alive until it is finished.
        keep_first(&mut panic, || unsafe {
            Counted::peek(target.callback).on_signal(target.index, result)
        });
        dispatch.running.set(before);
        node.finish();
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    });
}

impl Dispatch {
    #[cfg(not(any(feature = "loom", feature = "shuttle")))]
    fn swap(&self, other: &Self) {
        self.draining.swap(&other.draining);
        self.running.swap(&other.running);
        self.first.swap(&other.first);
        self.last.swap(&other.last);
    }

    fn serve(&self, core: &FenceCore) {
        let section = SignallingSection::enter();
        let mut panic = None;
        self.drain(core, &mut panic);
        while let Some(fence) = self.next() {
            self.drain(fence.core(), &mut panic);
            keep_first(&mut panic, || drop(fence));
        }
        self.draining.set(ptr::null());
        drop(section);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Queues a fence; one without listeners is settled instead.
    fn defer(&self, core: &FenceCore) {
        let list = core.list();
        // Each node holds its fence, and so provides the reference that keeps it until served.
        let Some(fence) = list.fence() else {
            core.settle();
            return;
        };
        drop(list);
        let last = self.last.replace(core);
        if last.is_null() {
            self.first.set(Some(ManuallyDrop::new(fence)));
        } else {
            // SAFETY: It is in this thread's queue, thus alive and signalled by this thread.
            unsafe { (*last).pending(|pending| *pending = Some(fence)) };
        }
    }

    fn next(&self) -> Option<Fence> {
        let fence = ManuallyDrop::into_inner(self.first.take()?);
        // SAFETY: It was in this thread's queue, thus signalled by this thread.
        match unsafe { fence.core().pending(Option::take) } {
            Some(next) => self.first.set(Some(ManuallyDrop::new(next))),
            None => self.last.set(ptr::null()),
        }
        Some(fence)
    }

    /// Runs the callbacks, then wakes the waiters, of one fence.
    fn drain(&self, core: &FenceCore, panic: &mut Option<Panic>) {
        self.draining.set(core);
        let result = core.result();
        let mut phase = Phase::Start;
        while let Some((node, target)) = next_node(core, &mut phase) {
            // SAFETY: A started node and its target stay alive until it is finished.
            let callback = unsafe { Counted::peek(target.callback) };
            if crate::irq::in_handler() && !callback.is_interrupt_safe() {
                // SAFETY: This thread has started it, and gives it away.
                unsafe { crate::irq::later::node(node) };
                continue;
            }
            self.running.set(node);
            keep_first(panic, || callback.on_signal(target.index, result));
            self.running.set(ptr::null());
            // Dropping an owned target runs its owner's code.
            // SAFETY: As above; not touched after.
            keep_first(panic, || unsafe { (*node).finish() });
        }
    }
}

/// How far the callbacks of a fence have been served.
enum Phase {
    Start,
    Callbacks,
    Waiters,
}

/// Takes the next node off the fence's list and starts it. Settles the fence on the way.
fn next_node(core: &FenceCore, phase: &mut Phase) -> Option<(*const Node, Target)> {
    let mut list = core.list();
    if let Phase::Start = phase {
        list.start_draining();
        *phase = Phase::Callbacks;
    }
    loop {
        match (list.pop(matches!(phase, Phase::Waiters)), &phase) {
            // SAFETY: A node is alive while linked, and this one was until the lock still held.
            (Some(node), _) => match unsafe { (*node).start() } {
                Some(target) => return Some((node, target)),
                // Its removal got in first and only waits for the lock.
                None => continue,
            },
            (None, Phase::Waiters) => return None,
            (None, _) => {
                core.settle();
                *phase = Phase::Waiters;
            }
        }
    }
}

type Panic = Box<dyn Any + Send>;

/// Runs foreign code; keeps the first panic for later, so that every callback runs.
fn keep_first(panic: &mut Option<Panic>, f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        panic.get_or_insert(payload);
    }
}
