// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Interrupt handlers: where they are installed, and how they are taken off again.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use super::Interrupt;
use crate::sync::lock;

type Handler = Box<dyn Fn(&Interrupt) + Send + Sync>;

/// A handler and whether it may run.
pub(super) struct Cell {
    handler: Handler,
    state: Mutex<CellState>,
    idle: Condvar,
}

#[derive(Default)]
struct CellState {
    removed: bool,
    running: Option<ThreadId>,
}

impl Cell {
    /// Runs the handler unless it has been removed. `None` if it panicked.
    pub(super) fn call(&self, interrupt: &Interrupt) -> Option<()> {
        {
            let mut state = lock(&self.state);
            if state.removed {
                return Some(());
            }
            state.running = Some(thread::current().id());
        }
        let result = catch_unwind(AssertUnwindSafe(|| (self.handler)(interrupt)));
        lock(&self.state).running = None;
        self.idle.notify_all();
        result.ok()
    }

    fn remove(&self) {
        let mut state = lock(&self.state);
        state.removed = true;
        let this = thread::current().id();
        while state.running.is_some_and(|thread| thread != this) {
            state = self
                .idle
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The place for one handler: a context's or the device's.
#[derive(Default)]
pub(crate) struct HandlerSlot(pub(super) Mutex<Option<Arc<Cell>>>);

impl HandlerSlot {
    /// Installs `handler`; `None` if there is one.
    pub(crate) fn install(self: &Arc<Self>, handler: Handler) -> Option<HandlerGuard> {
        let mut place = lock(&self.0);
        if place.is_some() {
            return None;
        }
        let cell = Arc::new(Cell {
            handler,
            state: Mutex::default(),
            idle: Condvar::new(),
        });
        *place = Some(Arc::clone(&cell));
        Some(HandlerGuard {
            slot: Arc::clone(self),
            cell,
        })
    }

    pub(super) fn get(&self) -> Option<Arc<Cell>> {
        lock(&self.0).clone()
    }
}

/// An installed interrupt handler. Dropping it removes the handler.
///
/// Removal waits for a call in progress: when it has returned, the handler does not run and never
/// will again. The one exception is removal from within the handler itself, which cannot wait for
/// itself; that call is the last.
#[must_use = "dropping it removes the handler"]
pub struct HandlerGuard {
    slot: Arc<HandlerSlot>,
    cell: Arc<Cell>,
}

impl HandlerGuard {
    /// Removes the handler, as dropping does. May sleep.
    pub fn remove(self) {}
}

impl Drop for HandlerGuard {
    fn drop(&mut self) {
        let removed = {
            let mut place = lock(&self.slot.0);
            match &*place {
                Some(cell) if Arc::ptr_eq(cell, &self.cell) => place.take(),
                _ => None,
            }
        };
        self.cell.remove();
        drop(removed);
    }
}
