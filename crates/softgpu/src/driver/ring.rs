// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the callbacks, the interrupts and the recovery of one queue share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ringfence::{Completion, Device};

use super::{SoftContext, SoftDriver};
use crate::sync::lock;
use crate::Interrupt;

type Token = Completion<SoftDriver>;

/// A context's ring, and the tokens of the attempts that are in it.
///
/// There is no list of jobs here: the queue has that. A token is what an interrupt needs to say that
/// an attempt is over, and no more.
pub(crate) struct ContextRing {
    pub(super) context: Arc<SoftContext>,
    /// Of whom recovery is asked for.
    scope: Device,
    /// The queue's fence context; 0 before there is one.
    queue: AtomicU64,
    /// Held for moments only.
    tokens: Mutex<Tokens>,
    /// The job at the head has had all its time, though it makes progress.
    pub(super) exhausted: AtomicBool,
}

/// # Invariants
///
/// Both have room for as many tokens as the queue has jobs: adding does not allocate.
struct Tokens {
    /// In the order of their fence values.
    line: VecDeque<Token>,
    spare: VecDeque<Token>,
    room: usize,
}

impl ContextRing {
    pub(super) fn new(context: Arc<SoftContext>, scope: Device, room: usize) -> Self {
        Self {
            context,
            scope,
            queue: AtomicU64::new(0),
            tokens: Mutex::new(Tokens {
                line: VecDeque::with_capacity(room),
                spare: VecDeque::with_capacity(room),
                room,
            }),
            exhausted: AtomicBool::new(false),
        }
    }

    /// Says which queue this is, before it has a job.
    pub(super) fn set_queue(&self, context: u64) {
        self.queue.store(context, Ordering::Release);
    }

    /// Has the recovery look at this queue. For interrupts.
    pub(super) fn call_recovery(&self) {
        // Refused if the queue or the device is about to go, and with them what was wrong.
        let _ = self
            .scope
            .request_recovery(self.queue.load(Ordering::Acquire));
    }

    pub(super) fn has_room(&self) -> bool {
        let tokens = lock(&self.tokens);
        tokens.line.len() < tokens.room
    }

    pub(super) fn add(&self, token: Token) {
        let mut tokens = lock(&self.tokens);
        let value = token.seqno();
        let place = tokens.line.partition_point(|other| other.seqno() < value);
        tokens.line.insert(place, token);
    }

    pub(super) fn contains(&self, value: u64) -> bool {
        let tokens = lock(&self.tokens);
        tokens.line.iter().any(|token| token.seqno() == value)
    }

    /// Takes all tokens out, because what they stand for is on no hardware any more.
    pub(super) fn take_tokens(&self) -> VecDeque<Token> {
        let mut tokens = lock(&self.tokens);
        let spare = std::mem::take(&mut tokens.spare);
        std::mem::replace(&mut tokens.line, spare)
    }

    /// Drops tokens that were taken out, now that their jobs have ended or begun anew.
    pub(super) fn drop_tokens(&self, mut old: VecDeque<Token>) {
        // They are void, which is counted; the lock must not be held while that is done.
        old.clear();
        lock(&self.tokens).spare = old;
    }

    /// Completes, in order, the jobs whose fence value the context has reached.
    pub(super) fn complete_reached(&self) {
        loop {
            let reached = self.context.now().fence_value();
            let token = {
                let mut tokens = lock(&self.tokens);
                match tokens.line.front() {
                    Some(token) if token.seqno() <= reached => tokens.line.pop_front(),
                    _ => None,
                }
            };
            // Without the lock: completing runs other people's code.
            match token {
                Some(token) => token.complete_in_irq(Ok(())),
                None => return,
            }
        }
    }

    /// The interrupt handler: looks, and leaves what takes longer to the recovery.
    pub(super) fn interrupt(&self, interrupt: &Interrupt) {
        self.complete_reached();
        match interrupt {
            // The first says no more than the fence in memory, the second is the device's affair.
            Interrupt::FenceReached { .. } | Interrupt::FirmwareDied => {}
            _ => self.call_recovery(),
        }
    }
}
