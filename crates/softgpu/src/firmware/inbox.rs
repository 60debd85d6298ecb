// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the host tells the firmware.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::answer::Answer;
use crate::clock::now_ns;
use crate::context::{ResetReport, Shared};
use crate::device::DeviceResetReport;
use crate::slots::Duty;
use crate::sync::lock;

/// A request to the firmware. `index` is the context's place in its table.
pub(crate) enum Request {
    /// A new context.
    Attach(Arc<Shared>),
    /// Forget a context. Obeyed even by a dead firmware: the host owns the memory.
    Remove {
        index: usize,
        answer: SyncSender<()>,
    },
    ResetContext {
        index: usize,
        answer: Answer<Option<ResetReport>>,
    },
    /// The reset line: reaches even a dead firmware.
    ResetDevice {
        answer: Answer<Option<DeviceResetReport>>,
    },
    Ping {
        answer: Answer<()>,
    },
    /// Put a context on a free slot.
    Bind {
        index: usize,
        slot: usize,
        duty: Duty,
    },
    /// Take a context off its slot.
    Vacate {
        index: usize,
        duty: Duty,
    },
    /// Injected death.
    Die {
        silent: bool,
    },
    /// Power off.
    Stop,
}

/// Doorbells and requests on their way to the firmware.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
    /// There is something to read, or to look at again. Changes to `true` under the lock.
    attention: AtomicBool,
    stopped: AtomicBool,
}

#[derive(Default)]
struct State {
    doorbells: Vec<usize>,
    requests: Vec<Request>,
    asleep: bool,
}

impl Inbox {
    /// A context's doorbell. Does not allocate: `make_room` was called for it.
    pub(crate) fn ring(&self, index: usize) {
        let mut state = lock(&self.state);
        state.doorbells.push(index);
        self.attend(&mut state);
    }

    /// Makes room for contexts up to `index`: for doorbells, one of its own and one left behind by a
    /// predecessor, and for requests, so that a reset and a slot can be asked for without allocating.
    pub(crate) fn make_room(&self, index: usize) {
        let mut state = lock(&self.state);
        let missing = (2 * (index + 1)).saturating_sub(state.doorbells.len());
        state.doorbells.reserve(missing);
        // A reset of each context and of the device, asked for at the same time, and one request of
        // each context about slots, with its removal.
        let missing = (3 * (index + 1) + 4).saturating_sub(state.requests.len());
        state.requests.reserve(missing);
    }

    /// Sends a request, or gives it back if the firmware takes none any more.
    pub(crate) fn send(&self, request: Request) -> Result<(), Request> {
        let mut state = lock(&self.state);
        if self.is_stopped() {
            return Err(request);
        }
        state.requests.push(request);
        self.attend(&mut state);
        Ok(())
    }

    /// Makes the firmware look again.
    pub(crate) fn wake(&self) {
        self.attend(&mut lock(&self.state));
    }

    fn attend(&self, state: &mut State) {
        self.attention.store(true, Ordering::Release);
        if std::mem::take(&mut state.asleep) {
            self.wake.notify_one();
        }
    }

    /// From now on requests are refused; those on their way are dropped, and the firmware ends.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        self.stopped.store(true, Ordering::Release);
        let requests = std::mem::take(&mut state.requests);
        self.attend(&mut state);
        drop(state);
        drop(requests);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Firmware: moves what there is to the ends of `doorbells` and `requests`.
    pub(super) fn read(&self, doorbells: &mut Vec<usize>, requests: &mut Vec<Request>) {
        if !self.attention.load(Ordering::Acquire) {
            return;
        }
        let mut state = lock(&self.state);
        self.attention.store(false, Ordering::Relaxed);
        doorbells.append(&mut state.doorbells);
        requests.append(&mut state.requests);
    }

    /// Firmware: sleeps until there is something to read, or until the time `until`.
    pub(super) fn wait(&self, until: Option<u64>) {
        let mut state = lock(&self.state);
        while !self.attention.load(Ordering::Relaxed) {
            state.asleep = true;
            state = match until {
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let rest = until.saturating_sub(now_ns());
                    if rest == 0 {
                        break;
                    }
                    let result = self.wake.wait_timeout(state, Duration::from_nanos(rest));
                    result.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.asleep = false;
    }
}
