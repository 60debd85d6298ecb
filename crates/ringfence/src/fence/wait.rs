// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Waiting for fences with the thread.

use super::node::{FenceCallback, Node, Refused};
use super::{AlreadySignaled, Fence, Status};
use crate::counted::{Bury, Counted};
use crate::section::might_sleep;
use crate::sync::{thread, Event, SpinLock};
use std::iter::repeat_n;
use std::time::{Duration, Instant};

/// How often who waits lets other threads run before it sleeps: a fence that signals within that
/// costs neither a wake-up nor a waiter's memory.
const LINGER_YIELDS: usize = if cfg!(any(feature = "loom", feature = "shuttle")) {
    0
} else {
    4
};

/// No fence waited for has signalled in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fence has not signalled in time")]
pub struct TimedOut;

/// One sleeping thread, with a node for each fence it waits for.
///
/// It is a late listener: who wakes finds the fence signalled and its callbacks done.
struct Waiter<N> {
    nodes: N,
    /// The first fence that signalled.
    first: SpinLock<Option<(usize, Status)>>,
    signalled: Event,
}

impl<N> Bury for Waiter<N>
where
    N: AsRef<[Node]> + Send + Sync + 'static,
{
    fn bury(this: Counted<Self>) {
        Bury::bury(<dyn FenceCallback>::erase(this));
    }
}

impl<N> FenceCallback for Waiter<N>
where
    N: AsRef<[Node]> + Send + Sync + 'static,
{
    fn node(&self, index: usize) -> &Node {
        &self.nodes.as_ref()[index]
    }

    fn on_signal(&self, index: usize, result: Status) {
        self.first.lock().get_or_insert((index, result));
        self.signalled.notify_one();
    }
}

impl<N> Waiter<N>
where
    N: AsRef<[Node]> + Send + Sync + 'static,
{
    /// Sleeps until one of `fences`, as many as there are nodes, signals or the deadline passes.
    fn wait(nodes: N, fences: &[Fence], deadline: Option<Instant>) -> Option<(usize, Status)> {
        let waiter = Counted::new(Self {
            nodes,
            first: SpinLock::new(None),
            signalled: Event::new(),
        });
        let mut found = None;
        for (index, fence) in fences.iter().enumerate() {
            match fence.register_late(waiter.clone(), index) {
                Ok(()) => {}
                Err(Refused::AlreadySignaled(AlreadySignaled { result })) => {
                    found = Some((index, result));
                    break;
                }
                Err(Refused::Busy) => unreachable!("each fence has a new node"),
            }
        }
        if found.is_none() {
            found = waiter.sleep(deadline);
        }
        // Takes back the references the nodes hold; a fence that has called has given up its own.
        for node in waiter.nodes.as_ref() {
            node.remove();
        }
        // A fence may have signalled between the deadline and the removal.
        found.or_else(|| *waiter.first.lock())
    }

    fn sleep(&self, deadline: Option<Instant>) -> Option<(usize, Status)> {
        loop {
            let seen = self.signalled.current();
            let first = *self.first.lock();
            if first.is_some() {
                return first;
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return None;
            }
            self.signalled.wait(seen, left);
        }
    }
}

/// The end of a wait; `None`, for ever, if it is too far off to name.
fn after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

impl Fence {
    /// Sleeps until the fence [`is_signaled`](Self::is_signaled); returns how it signalled.
    ///
    /// Sleeps and allocates: never in a signalling section, where it fails loudly in builds that
    /// [check](crate::section::CHECKED).
    #[track_caller]
    pub fn wait(&self) -> Status {
        might_sleep("Fence::wait");
        loop {
            // Nothing but a signal ends a wait without a deadline.
            if let Some(status) = self.wait_until(None) {
                return status;
            }
        }
    }

    /// As [`wait`](Self::wait), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`TimedOut`] if the fence has not signalled by then.
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Status, TimedOut> {
        might_sleep("Fence::wait_timeout");
        self.wait_until(after(timeout)).ok_or(TimedOut)
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Option<Status> {
        if let Some(status) = self.status() {
            return Some(status);
        }
        for () in repeat_n((), LINGER_YIELDS) {
            thread::yield_now();
            if let Some(status) = self.status() {
                return Some(status);
            }
        }
        let found = Waiter::wait([Node::new()], std::slice::from_ref(self), deadline);
        found.map(|(_, status)| status)
    }

    /// Sleeps until one of `fences` has signalled; returns its place in the slice, and how it
    /// signalled. Of several the first in the slice that had signalled at the time of the call, or
    /// else the first to signal. `None` at once if there are no fences.
    ///
    /// Sleeps and allocates, as [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_any(fences: &[Self]) -> Option<(usize, Status)> {
        might_sleep("Fence::wait_any");
        if fences.is_empty() {
            return None;
        }
        loop {
            if let Some(found) = Self::wait_any_until(fences, None) {
                return Some(found);
            }
        }
    }

    /// As [`wait_any`](Self::wait_any), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`TimedOut`] if none has signalled by then; if there are no fences, that is certain, and
    /// said at once.
    #[track_caller]
    pub fn wait_any_timeout(
        fences: &[Self],
        timeout: Duration,
    ) -> Result<(usize, Status), TimedOut> {
        might_sleep("Fence::wait_any_timeout");
        if fences.is_empty() {
            return Err(TimedOut);
        }
        Self::wait_any_until(fences, after(timeout)).ok_or(TimedOut)
    }

    fn wait_any_until(fences: &[Self], deadline: Option<Instant>) -> Option<(usize, Status)> {
        let done = |(index, fence): (usize, &Self)| fence.status().map(|status| (index, status));
        if let Some(found) = fences.iter().enumerate().find_map(done) {
            return Some(found);
        }
        let nodes: Box<[Node]> = fences.iter().map(|_| Node::new()).collect();
        Waiter::wait(nodes, fences, deadline)
    }
}
