// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Interrupts: tokens that a real signal handler completes, on whatever thread the signal hits.
//!
//! The handler may neither allocate, free nor take a lock of ours; the library's checks abort if it
//! does. What it has used up is left for threads.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use ringfence::irq::{self, InterruptLine, IrqLock};

use crate::hardware::Token;
use crate::ledger::Ticket;
use crate::random::Random;

const ROOM: usize = 128;
const THREADS: usize = 64;

struct Wire {
    tokens: Vec<Token>,
    /// Of tokens that are gone: dropping them may free memory.
    spent: Vec<Arc<Ticket>>,
    /// Handlers that will leave something in `spent`.
    reserved: usize,
}

static WIRE: OnceLock<IrqLock<Wire>> = OnceLock::new();
static LINE: OnceLock<InterruptLine> = OnceLock::new();
/// Threads to interrupt, by number; those that have ended do no harm.
static TARGETS: [AtomicI32; THREADS] = [const { AtomicI32::new(0) }; THREADS];
static RUNS: AtomicU32 = AtomicU32::new(0);

extern "C" fn on_signal(_signal: libc::c_int) {
    if let Some(line) = LINE.get() {
        line.raise();
    }
}

/// Puts the signal's handler in place.
pub(crate) fn start() {
    let wire = Wire {
        tokens: Vec::with_capacity(ROOM),
        spent: Vec::with_capacity(ROOM),
        reserved: 0,
    };
    let _first = WIRE.set(IrqLock::new(wire));
    let line = InterruptLine::new(handle).expect("a line is free");
    let _first = LINE.set(line);
    // SAFETY: All zeroes is a valid one: no flags, nothing blocked.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: The handler does what a handler may: it raises a line.
    let done = unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) };
    assert_eq!(done, 0, "the signal can be handled");
}

/// In the signal's handler: completes a few.
fn handle() {
    let Some(wire) = WIRE.get() else { return };
    for _ in 0..4 {
        let mut held = wire.lock();
        if held.spent.len() + held.reserved == ROOM {
            return;
        }
        let Some(token) = held.tokens.pop() else {
            return;
        };
        held.reserved += 1;
        drop(held);
        let ticket =
            token.complete_in_handler(RUNS.fetch_add(1, Ordering::Relaxed).is_multiple_of(16));
        let mut held = wire.lock();
        held.reserved -= 1;
        held.spent.push(ticket);
    }
}

/// Takes a token, or gives it back if there is no room.
pub(crate) fn put(token: Token) -> Result<(), Token> {
    let Some(wire) = WIRE.get() else {
        return Err(token);
    };
    let mut held = wire.lock();
    if held.tokens.len() == ROOM {
        drop(held);
        return Err(token);
    }
    held.tokens.push(token);
    Ok(())
}

/// See `Hardware::replace`.
pub(crate) fn replace(ticket: &Arc<Ticket>) {
    if let Some(wire) = WIRE.get() {
        let mut held = wire.lock();
        for token in &mut held.tokens {
            token.replace(ticket);
        }
    }
}

/// This thread may be interrupted from now on.
pub(crate) fn register() {
    // SAFETY: It cannot fail.
    let thread = unsafe { libc::gettid() };
    let slot = thread.unsigned_abs() as usize % THREADS;
    // No store: DRD knows that an exchange is atomic, and takes a plain store for a race.
    TARGETS[slot].swap(thread, Ordering::Relaxed);
}

/// Sends the signal to some thread, and cleans up.
pub(crate) fn ring(dice: &mut Random) {
    let thread = TARGETS[dice.below(THREADS)].load(Ordering::Relaxed);
    if thread != 0 {
        // SAFETY: A signal of our own, to a thread of ours, or to nobody.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGUSR1) };
    }
    if dice.once_in(16) {
        clean();
    }
}

/// An interrupt of this thread.
pub(crate) fn pump() {
    if let Some(line) = LINE.get() {
        line.raise();
    }
    clean();
}

fn clean() {
    let Some(wire) = WIRE.get() else { return };
    let room = Vec::with_capacity(ROOM);
    let spent = std::mem::replace(&mut wire.lock().spent, room);
    drop(spent);
}

/// Drops what was not completed.
pub(crate) fn clear() {
    let Some(wire) = WIRE.get() else { return };
    let room = Vec::with_capacity(ROOM);
    let tokens = std::mem::replace(&mut wire.lock().tokens, room);
    drop(tokens);
    clean();
}

/// Whether this is a handler, where little may be done.
pub(crate) fn in_handler() -> bool {
    irq::in_handler()
}
