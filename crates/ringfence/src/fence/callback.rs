// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Callbacks for users of fences.

use super::node::{FenceCallback, Node, Refused, Target};
use super::{dispatch, Fence, Status};
use crate::counted::{Bury, Counted, Inner};
use crate::sync::UnsafeCell;
use std::fmt;
use std::ptr::NonNull;

/// A closure in memory of its own, ready to be registered with a fence.
///
/// Made beforehand, so that registering allocates nothing. The closure is only borrowed when it
/// runs: what it owns is dropped where the [`Callback`] or [`Registration`] is dropped, not where
/// the fence is signalled.
pub struct Callback<F: FnMut(Status) + Send + 'static> {
    cell: Counted<CallbackCell<F>>,
}

struct CallbackCell<F> {
    node: Node,
    function: UnsafeCell<F>,
}

// SAFETY: Only one thread at a time gets at `function`: the one that runs the node, or the owner of
// the only handle while the node is idle. So `Send` suffices for `F`.
unsafe impl<F: Send> Sync for CallbackCell<F> {}

impl<F: FnMut(Status) + Send + 'static> fmt::Debug for Callback<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").finish_non_exhaustive()
    }
}

impl<F: FnMut(Status) + Send + 'static> Callback<F> {
    /// Puts `function` where a fence can call it. Allocates.
    ///
    /// It will run on the signalling thread, inside a signalling section, with no fence's lock
    /// held: it must neither sleep nor allocate; it may query and signal fences, register and
    /// remove callbacks, and drop references to fences. If the fence may be signalled in an
    /// [interrupt handler](crate::irq), it must be interrupt-safe, and not remove callbacks.
    pub fn new(function: F) -> Self {
        let cell = CallbackCell {
            node: Node::new(),
            function: UnsafeCell::new(function),
        };
        Self {
            cell: Counted::new(cell),
        }
    }

    /// The closure back, with whatever it has collected.
    pub fn into_inner(self) -> F {
        match Counted::into_inner(self.cell) {
            Some(cell) => cell.function.into_inner(),
            None => unreachable!("a callback in nobody's list has one handle"),
        }
    }
}

impl<F: FnMut(Status) + Send + 'static> Bury for CallbackCell<F> {
    fn bury(this: Counted<Self>) {
        Bury::bury(<dyn FenceCallback>::erase(this));
    }
}

impl<F: FnMut(Status) + Send + 'static> FenceCallback for CallbackCell<F> {
    fn node(&self, _index: usize) -> &Node {
        &self.node
    }

    fn on_signal(&self, _index: usize, result: Status) {
        // SAFETY: The node is running: nobody else has access until it is finished.
        self.function
            .with_mut(|function| unsafe { (*function)(result) });
    }
}

/// Why a callback was not registered; gives the callback back, uncalled.
pub struct RejectedCallback<F: FnMut(Status) + Send + 'static> {
    /// How the fence signalled.
    pub result: Status,
    /// The callback, unchanged.
    pub callback: Callback<F>,
}

impl<F: FnMut(Status) + Send + 'static> fmt::Debug for RejectedCallback<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RejectedCallback")
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}

impl<F: FnMut(Status) + Send + 'static> fmt::Display for RejectedCallback<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::AlreadySignaled {
            result: self.result,
        }
        .fmt(f)
    }
}

impl<F: FnMut(Status) + Send + 'static> std::error::Error for RejectedCallback<F> {}

impl Fence {
    /// Has `callback` called when the fence signals, unless the registration is dropped before.
    ///
    /// Allocates nothing and takes no sleeping lock; may be called in signalling sections and in
    /// callbacks. Callbacks of a fence run in the order of registration.
    ///
    /// # Errors
    ///
    /// If the fence has signalled, the callback comes back and is *not* called.
    pub fn add_callback<F: FnMut(Status) + Send + 'static>(
        &self,
        callback: Callback<F>,
    ) -> Result<Registration<F>, RejectedCallback<F>> {
        if let Some(result) = self.core().decided() {
            return Err(RejectedCallback { result, callback });
        }
        let cell = callback.cell;
        let target = Target {
            callback: cell.as_raw() as NonNull<Inner<dyn FenceCallback>>,
            index: 0,
            owned: false,
        };
        // SAFETY: The registration made below keeps the cell alive until the node is out of the
        // fence's hands: by waiting in its drop, or by leaving a reference behind, or, forgotten,
        // for ever.
        match unsafe { self.register_raw(&cell.node, target, false) } {
            Ok(()) => Ok(Registration { cell: Some(cell) }),
            Err(Refused::AlreadySignaled(signaled)) => Err(RejectedCallback {
                result: signaled.result,
                callback: Callback { cell },
            }),
            Err(Refused::Busy) => unreachable!("a callback not registered has an idle node"),
        }
    }
}

/// A callback in a fence's hands. Dropping it removes the callback.
///
/// Removal waits for the callback if that is running, so afterwards it neither runs nor will. The
/// exception is removal from inside the callback itself, which cannot wait for its own return.
#[must_use = "dropping it removes the callback"]
pub struct Registration<F: FnMut(Status) + Send + 'static> {
    /// `None` only while being taken apart.
    cell: Option<Counted<CallbackCell<F>>>,
}

impl<F: FnMut(Status) + Send + 'static> fmt::Debug for Registration<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").finish_non_exhaustive()
    }
}

impl<F: FnMut(Status) + Send + 'static> Registration<F> {
    /// Takes the callback off the fence.
    ///
    /// `true`: it has not been called and will not be. `false`: it has been called, or was removed
    /// before; a call that was under way on another thread has returned. Called from inside the
    /// callback itself it returns `false` at once.
    pub fn remove(&mut self) -> bool {
        self.cell.as_ref().is_some_and(|cell| cell.node.remove())
    }

    /// Removes the callback and gives its memory back, for the next registration.
    ///
    /// `None` from inside the callback itself: it is still using the memory, which is then freed
    /// when it has returned.
    pub fn into_callback(mut self) -> Option<Callback<F>> {
        if self.is_running_here() {
            return None;
        }
        self.remove();
        self.cell.take().map(|cell| Callback { cell })
    }

    fn is_running_here(&self) -> bool {
        self.cell
            .as_ref()
            .is_some_and(|cell| dispatch::is_running(&cell.node))
    }
}

impl<F: FnMut(Status) + Send + 'static> Drop for Registration<F> {
    fn drop(&mut self) {
        let Some(cell) = self.cell.take() else { return };
        if dispatch::is_running(&cell.node) {
            // The dispatcher frees the memory when the callback has returned.
            cell.node.adopt();
            let _adopted = cell.into_raw();
        } else {
            cell.node.remove();
        }
    }
}
