// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Running the callbacks of a signalled fence.
//!
//! One loop per thread. A fence signalled from inside a callback is put on the thread's queue, which
//! is linked through the fences themselves, and served when that callback has returned. So neither
//! the length of a chain nor its fan-out needs stack or memory, and no callback runs inside another.

use super::core::FenceCore;
use super::node::{Node, Target};
use super::Fence;
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

impl Dispatch {
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
            self.running.set(node);
            // SAFETY: A started node and its target stay alive until it is finished.
            keep_first(panic, || unsafe {
                (*target.callback).on_signal(target.index, result)
            });
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
