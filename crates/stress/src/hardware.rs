// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What stands for the hardware: a heap of completion tokens, and signallers of fences of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use ringfence::{Completion, Errno, Signaller};

use crate::driver::Mock;
use crate::ledger::{Ticket, LATE};
use crate::random::Random;
use crate::sabotage::{self, Sabotage};
use crate::seen::Seen;
use crate::sync::Mutex;
use crate::wire;

/// Tokens and signallers that there is room for: nothing may be allocated in a callback.
const ROOM: usize = 256;

pub(crate) struct Token {
    pub(crate) completion: Completion<Mock>,
    pub(crate) ticket: Arc<Ticket>,
    /// Not completed before the round is over, unless it is late.
    pub(crate) hangs: bool,
    /// A replay has replaced its attempt.
    late: bool,
}

impl Token {
    /// Puts an attempt on the hardware.
    pub(crate) fn new(completion: Completion<Mock>, ticket: &Arc<Ticket>, hangs: bool) -> Self {
        Self {
            completion,
            ticket: Arc::clone(ticket),
            hangs,
            late: false,
        }
    }

    /// A replay of this job begins, if it is the token's.
    pub(crate) fn replace(&mut self, ticket: &Arc<Ticket>) {
        self.late |= Arc::ptr_eq(&self.ticket, ticket);
    }

    /// Completes it in a signal handler. What is left may not be dropped there.
    pub(crate) fn complete_in_handler(self, fails: bool) -> Arc<Ticket> {
        let result = match (self.late, fails) {
            (true, _) => Err(LATE),
            (false, true) => Err(Errno::EFAULT),
            (false, false) => {
                self.ticket.ended_well.store(true, Ordering::SeqCst);
                Ok(())
            }
        };
        self.ticket.watch.saw(Seen::CompletedInHandler);
        self.completion.complete_in_irq(result);
        self.ticket
    }

    /// The hardware is done with it.
    fn complete(self, dice: &mut Random) {
        let watch = Arc::clone(&self.ticket.watch);
        if sabotage::is(Sabotage::Hang) {
            std::mem::forget(self.completion);
            return;
        }
        if self.late {
            watch.saw(Seen::Late);
            self.completion.complete(Err(LATE));
            return;
        }
        let result = if dice.once_in(16) {
            Err(Errno::EFAULT)
        } else {
            // Before: the fence may signal at once.
            self.ticket.ended_well.store(true, Ordering::SeqCst);
            Ok(())
        };
        match dice.below(8) {
            0 => {
                watch.saw(Seen::TokenDropped);
                drop(self.completion);
            }
            1 | 2 => {
                watch.saw(Seen::CompletedInIrq);
                self.completion.complete_in_irq(result);
            }
            _ => {
                watch.saw(Seen::Completed);
                self.completion.complete(result);
            }
        }
    }
}

#[derive(Default)]
struct Heap {
    tokens: Vec<Token>,
    signallers: Vec<Signaller>,
}

pub(crate) struct Hardware {
    heap: Mutex<Heap>,
    /// From now on even what hangs completes.
    pub(crate) healed: AtomicBool,
}

impl Hardware {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            heap: Mutex::new(Heap {
                tokens: Vec::with_capacity(ROOM),
                signallers: Vec::with_capacity(ROOM),
            }),
            healed: AtomicBool::new(false),
        })
    }

    /// Takes a job. Where there is no room, it is done at once.
    pub(crate) fn put(&self, token: Token, dice: &mut Random) {
        let token = match token.hangs || !dice.once_in(4) {
            true => token,
            false => match wire::put(token) {
                Ok(()) => return,
                Err(token) => token,
            },
        };
        let mut heap = self.heap.lock();
        if heap.tokens.len() < ROOM {
            heap.tokens.push(token);
            return;
        }
        drop(heap);
        token.complete(dice);
    }

    pub(crate) fn put_signaller(&self, signaller: Signaller) {
        let mut heap = self.heap.lock();
        if heap.signallers.len() < ROOM {
            heap.signallers.push(signaller);
            return;
        }
        drop(heap);
        signaller.signal(Ok(()));
    }

    /// A replay of this job begins: what its earlier attempts say is late.
    pub(crate) fn replace(&self, ticket: &Arc<Ticket>) {
        let mut heap = self.heap.lock();
        for token in &mut heap.tokens {
            token.replace(ticket);
        }
        drop(heap);
        wire::replace(ticket);
    }

    /// Completes something, by dice. False if there was nothing.
    pub(crate) fn step(&self, dice: &mut Random) -> bool {
        let token = {
            let mut heap = self.heap.lock();
            let healed = self.healed.load(Ordering::SeqCst);
            let some = match heap.tokens.len() {
                0 => None,
                count => Some(dice.below(count)),
            };
            some.filter(|at| healed || heap.tokens[*at].late || !heap.tokens[*at].hangs)
                .map(|at| heap.tokens.swap_remove(at))
        };
        let did = token.is_some();
        if let Some(token) = token {
            token.complete(dice);
        }
        self.signal(dice) || did
    }

    /// Signals one of the fences of its own.
    pub(crate) fn signal(&self, dice: &mut Random) -> bool {
        let signaller = {
            let mut heap = self.heap.lock();
            match heap.signallers.len() {
                0 => None,
                count => Some(dice.below(count)),
            }
            .map(|at| heap.signallers.swap_remove(at))
        };
        match signaller {
            None => return false,
            Some(signaller) if dice.once_in(16) => signaller.signal(Err(Errno::EFAULT)),
            // Dropped, it says that it was cancelled, and a line on standard error.
            Some(signaller) if dice.once_in(256) => drop(signaller),
            Some(signaller) => signaller.signal(Ok(())),
        }
        true
    }

    /// Lets go of everything.
    pub(crate) fn clear(&self) {
        let tokens = std::mem::take(&mut self.heap.lock().tokens);
        let signallers = std::mem::take(&mut self.heap.lock().signallers);
        drop(tokens);
        drop(signallers);
    }
}
