// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Fences made of fences.

use super::node::{FenceCallback, Node, Refused};
use super::timeline::next_context;
use super::{monotonic_ns, AlreadySignaled, Fence, FenceCore, FenceNode, Status};
use crate::counted::{Bury, Counted};
use crate::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use crate::sync::{thread_cell, SpinLock};
use ringfence_core::Errno;
use std::cell::Cell;

/// How deep a deadline travels into fences made of fences. It is a hint, and each level takes
/// stack.
const DEADLINE_DEPTH: u32 = 32;

thread_cell! {
    static DEADLINE_LEVEL: Cell<u32> = Cell::new(0);
}

/// A combined fence: its own core, and one node and one reference for each input.
///
/// Its inputs keep it alive, through their nodes, until they have signalled.
pub(super) struct Combined<R> {
    core: FenceCore,
    rule: R,
    nodes: Box<[Node]>,
    /// For the deadline; each is let go of when it signals, lest chains grow for ever.
    inputs: SpinLock<Box<[Option<Fence>]>>,
}

/// When a combined fence signals.
pub(super) trait Rule: Send + Sync + 'static {
    /// Says that an input has signalled; the result if that decides. Decides at most once.
    fn input(&self, result: Status) -> Option<Status>;

    /// Says that all inputs are registered; the result if that decides.
    fn complete(&self) -> Option<Status>;

    /// Whether the inputs have ceased to matter.
    fn is_decided(&self) -> bool;
}

/// Signals when every input has, with the first error.
struct All {
    /// Inputs that have not signalled, and one for the creation under way.
    remaining: AtomicUsize,
    /// The first error, 0 if none.
    error: AtomicI32,
}

impl Rule for All {
    fn input(&self, result: Status) -> Option<Status> {
        if let Err(error) = result {
            // Ordered by `remaining` below; who loses leaves the first error.
            let _ =
                self.error
                    .compare_exchange(0, error.get(), Ordering::Relaxed, Ordering::Relaxed);
        }
        self.complete()
    }

    fn complete(&self) -> Option<Status> {
        // Acquire and release: the last one sees what every other did before.
        if self.remaining.fetch_sub(1, Ordering::AcqRel) != 1 {
            return None;
        }
        Some(match Errno::new(self.error.load(Ordering::Relaxed)) {
            Some(error) => Err(error),
            None => Ok(()),
        })
    }

    fn is_decided(&self) -> bool {
        self.remaining.load(Ordering::Acquire) == 0
    }
}

/// Signals when the first input does, with its result.
struct Any {
    /// 1 when decided.
    decided: AtomicUsize,
}

impl Rule for Any {
    fn input(&self, result: Status) -> Option<Status> {
        (self.decided.swap(1, Ordering::AcqRel) == 0).then_some(result)
    }

    fn complete(&self) -> Option<Status> {
        None
    }

    fn is_decided(&self) -> bool {
        // Not a plain load: either this sees the decision, or who decides sees what was done before
        // this, namely every registration.
        self.decided.fetch_or(0, Ordering::AcqRel) != 0
    }
}

impl<R: Rule> Combined<R> {
    pub(super) fn make(inputs: &[Fence], rule: R) -> Fence {
        let core = FenceCore::new(next_context());
        core.publish(1);
        let combined = Counted::new(Self {
            core,
            rule,
            nodes: inputs.iter().map(|_| Node::new()).collect(),
            inputs: SpinLock::new(inputs.iter().cloned().map(Some).collect()),
        });
        for (index, input) in inputs.iter().enumerate() {
            match input.register(combined.clone(), index) {
                Ok(()) => {}
                Err(Refused::AlreadySignaled(AlreadySignaled { result })) => {
                    combined.on_signal(index, result);
                }
                Err(Refused::Busy) => unreachable!("each input has a new node"),
            }
        }
        if let Some(result) = combined.rule.complete() {
            combined.core.signal(result, monotonic_ns());
        }
        if combined.rule.is_decided() {
            // Decided during the loop: what was registered after that is still there.
            combined.release_inputs();
        }
        Fence::from_node(Counted::new(Handle(combined)))
    }

    /// Lets go of inputs that cannot matter any more, so that a short-lived combination leaves
    /// nothing behind on a long-lived input.
    fn release_inputs(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            // Not `remove`: two inputs that signal at once would wait for each other.
            node.try_remove();
            self.release_input(index);
        }
    }

    fn release_input(&self, index: usize) {
        let input = self.inputs.lock()[index].take();
        drop(input);
    }
}

/// What fence handles point to; the inputs' nodes point to the rest without it.
struct Handle<R: Rule>(Counted<Combined<R>>);

impl<R: Rule> Bury for Handle<R> {
    fn bury(this: Counted<Self>) {
        Bury::bury(Fence::from_node(this).0);
    }
}

impl<R: Rule> Bury for Combined<R> {
    fn bury(this: Counted<Self>) {
        // A target has a node: one without inputs is nobody's, and dies with its handle.
        Bury::bury(<dyn FenceCallback>::erase(this));
    }
}

impl<R: Rule> FenceNode for Handle<R> {
    fn fence(&self) -> &FenceCore {
        &self.0.core
    }

    fn deadline_changed(&self, deadline_ns: u64) {
        let level = DEADLINE_LEVEL.with(|level| level.replace(level.get() + 1));
        if level < DEADLINE_DEPTH {
            for index in 0..self.0.nodes.len() {
                let input = self.0.inputs.lock()[index].clone();
                if let Some(input) = input {
                    input.set_deadline(deadline_ns);
                }
            }
        }
        DEADLINE_LEVEL.with(|at| at.set(level));
    }
}

impl<R: Rule> FenceCallback for Combined<R> {
    fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    fn on_signal(&self, index: usize, result: Status) {
        self.release_input(index);
        if let Some(result) = self.rule.input(result) {
            self.release_inputs();
            self.core.signal(result, monotonic_ns());
        }
    }
}

impl Fence {
    /// Makes a fence that signals when every one of `fences` has, with the error of the first that
    /// failed, if any did. Without fences it has signalled.
    ///
    /// It does not signal early on an error, so that its signal means that all are over. It is on a
    /// timeline of its own. Allocates; what it will need later is allocated here. A deadline set on
    /// it is passed on to the inputs, through at most 32 levels of combination.
    pub fn all(fences: &[Self]) -> Self {
        let remaining = AtomicUsize::new(fences.len() + 1);
        Combined::make(
            fences,
            All {
                remaining,
                error: AtomicI32::new(0),
            },
        )
    }

    /// Makes a fence that signals when the first of `fences` does, with its result. Without fences
    /// it has signalled, with `ENOENT`, since otherwise it never would.
    ///
    /// For the rest as [`all`](Self::all). Once it has signalled it holds nothing of the others.
    pub fn any(fences: &[Self]) -> Self {
        if fences.is_empty() {
            return Self::already_signalled(Err(Errno::ENOENT));
        }
        Combined::make(
            fences,
            Any {
                decided: AtomicUsize::new(0),
            },
        )
    }
}
