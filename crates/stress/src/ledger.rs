// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is written down during a round, and the rules that are checked on the spot.
//!
//! None of it believes a queue: it is kept by payloads, drivers and fence callbacks. Plain numbers
//! and fixed texts, since much of it happens where nothing may be allocated.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

use ringfence::fence::Status;
use ringfence::{Errno, Fence};

use crate::seen::{Seen, Tally};
use crate::sync::Mutex;

const SEQ: Ordering = Ordering::SeqCst;

/// What the completion of an attempt says that has been replaced by a later one. No fence may.
pub(crate) const LATE: Errno = Errno::EBADMSG;

/// A rule that was broken: which, in which queue, by which job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken {
    pub(crate) rule: &'static str,
    pub(crate) context: u64,
    pub(crate) seqno: u64,
}

/// One round's record.
#[derive(Default)]
pub(crate) struct Ledger {
    broken: Mutex<Option<Broken>>,
    /// Of each, those that exist.
    pub(crate) payloads: AtomicI64,
    pub(crate) replay_data: AtomicI64,
    pub(crate) drivers: AtomicI64,
    pub(crate) recoveries: AtomicI64,
    pub(crate) tally: Tally,
}

impl Ledger {
    /// Writes down that a rule is broken, if it is. The first one counts.
    pub(crate) fn check(&self, holds: bool, rule: &'static str, context: u64, seqno: u64) {
        if !holds {
            self.broken.lock().get_or_insert(Broken {
                rule,
                context,
                seqno,
            });
        }
    }

    pub(crate) fn broken(&self) -> Option<Broken> {
        *self.broken.lock()
    }

    pub(crate) fn saw(&self, what: Seen) {
        self.tally.saw(what);
    }
}

/// What is known of one device scope.
#[derive(Default)]
pub(crate) struct Scope {
    /// An unbind has begun, and one has returned.
    pub(crate) unbinding: AtomicBool,
    pub(crate) unbound: AtomicBool,
    pub(crate) gone: AtomicBool,
    /// Somebody's recovery or walk is at work.
    recovering: AtomicBool,
    /// The recovery has panicked.
    pub(crate) poisoned: AtomicBool,
}

/// What is known of one queue.
pub(crate) struct Watch {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) scope: Arc<Scope>,
    pub(crate) context: AtomicU64,
    inside: AtomicBool,
    stopped: AtomicBool,
    last_signalled: AtomicU64,
    pub(crate) killed: AtomicBool,
    pub(crate) poisoned: AtomicBool,
}

impl Watch {
    pub(crate) fn new(ledger: Arc<Ledger>, scope: Arc<Scope>) -> Arc<Self> {
        Arc::new(Self {
            ledger,
            scope,
            context: AtomicU64::new(0),
            inside: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            last_signalled: AtomicU64::new(0),
            killed: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
        })
    }

    pub(crate) fn check(&self, holds: bool, rule: &'static str, seqno: u64) {
        self.ledger
            .check(holds, rule, self.context.load(SEQ), seqno);
    }

    pub(crate) fn saw(&self, what: Seen) {
        self.ledger.saw(what);
    }

    /// A run or timeout callback begins.
    pub(crate) fn enter(&self, seqno: u64) {
        self.enter_stopped(seqno);
        self.check(
            !self.stopped.load(SEQ),
            "a callback of a stopped queue",
            seqno,
        );
    }

    /// A callback begins that may do so while the queue is stopped.
    pub(crate) fn enter_stopped(&self, seqno: u64) {
        self.check(!self.inside.swap(true, SEQ), "callbacks overlap", seqno);
        self.check(
            !self.scope.unbound.load(SEQ),
            "a callback after unbind",
            seqno,
        );
    }

    pub(crate) fn leave(&self, seqno: u64) {
        self.check(!self.scope.unbound.load(SEQ), "unbind did not wait", seqno);
        self.inside.store(false, SEQ);
    }

    /// Somebody holds the queue stopped from here on.
    pub(crate) fn stop(&self) {
        let inside = self.inside.load(SEQ);
        self.check(!inside, "stop did not wait for a callback", 0);
        let stopped = self.stopped.swap(true, SEQ);
        self.check(!stopped, "two hold one queue stopped", 0);
        let unbound = self.scope.unbound.load(SEQ);
        self.check(!unbound, "a stop after unbind", 0);
    }

    pub(crate) fn restart(&self) {
        self.check(
            !self.scope.unbound.load(SEQ),
            "unbind did not wait for a stop",
            0,
        );
        self.stopped.store(false, SEQ);
    }

    /// The driver's value goes.
    pub(crate) fn driver_goes(&self) {
        // One whose queue was refused goes at any time.
        if self.context.load(SEQ) != 0 {
            self.check(!self.inside.load(SEQ), "the driver goes in mid-callback", 0);
            self.check(
                !self.scope.unbound.load(SEQ),
                "the driver goes after unbind",
                0,
            );
            self.check(
                !self.stopped.load(SEQ),
                "the driver of a stopped queue goes",
                0,
            );
        }
        self.ledger.drivers.fetch_sub(1, SEQ);
    }

    /// A fence of the queue signals.
    fn signals(&self, seqno: u64) {
        let before = self.last_signalled.swap(seqno, SEQ);
        self.check(before < seqno, "fences out of order", seqno);
    }
}

impl Scope {
    pub(crate) fn recovery_begins(&self, ledger: &Ledger) {
        let overlaps = self.recovering.swap(true, SEQ);
        ledger.check(!overlaps, "recoveries of a device overlap", 0, 0);
        ledger.check(!self.unbound.load(SEQ), "a recovery after unbind", 0, 0);
    }

    pub(crate) fn recovery_ends(&self, ledger: &Ledger) {
        ledger.check(
            !self.unbound.load(SEQ),
            "unbind did not wait for recovery",
            0,
            0,
        );
        self.recovering.store(false, SEQ);
    }
}

/// One job's record. Outlives the job.
pub(crate) struct Ticket {
    pub(crate) watch: Arc<Watch>,
    pub(crate) seqno: AtomicU64,
    /// Callbacks that ran it, those without resources not counted.
    pub(crate) runs: AtomicU32,
    lent: AtomicBool,
    dropped: AtomicU32,
    pub(crate) signals: AtomicU32,
    /// It waits for nothing, so no error of others becomes its own.
    pub(crate) alone: AtomicBool,
    /// What the hardware or a walk said about it: some outcome `Ok`.
    pub(crate) ended_well: AtomicBool,
    /// The result that its callback was told, 1 before that.
    told: AtomicI32,
}

impl Ticket {
    pub(crate) fn new(watch: &Arc<Watch>) -> Arc<Self> {
        Arc::new(Self {
            watch: Arc::clone(watch),
            seqno: AtomicU64::new(0),
            runs: AtomicU32::new(0),
            lent: AtomicBool::new(false),
            dropped: AtomicU32::new(0),
            signals: AtomicU32::new(0),
            alone: AtomicBool::new(false),
            ended_well: AtomicBool::new(false),
            told: AtomicI32::new(1),
        })
    }

    pub(crate) fn check(&self, holds: bool, rule: &'static str) {
        self.watch.check(holds, rule, self.seqno.load(SEQ));
    }

    /// The payload is in somebody's hands.
    pub(crate) fn lend(&self) {
        self.check(!self.lent.swap(true, SEQ), "a payload lent twice");
        self.check(self.dropped.load(SEQ) == 0, "a payload lent after its drop");
    }

    pub(crate) fn give_back(&self) {
        self.lent.store(false, SEQ);
    }

    pub(crate) fn payload_drops(&self) {
        self.check(!self.lent.load(SEQ), "a payload dropped while lent");
        let before = self.dropped.fetch_add(1, SEQ);
        self.check(before == 0, "a payload dropped twice");
        self.watch.ledger.payloads.fetch_sub(1, SEQ);
    }

    /// Its fence's callback is called.
    pub(crate) fn signals(&self, seqno: u64, status: Status) {
        let before = self.signals.fetch_add(1, SEQ);
        self.check(before == 0, "a callback called twice");
        self.watch.signals(seqno);
        self.told.store(status.err().map_or(0, Errno::get), SEQ);
    }

    /// Looks at what became of the job, when all is over. `listened`: a callback was registered
    /// before it could signal, and not removed.
    pub(crate) fn judge(&self, fence: &Fence, listened: bool) {
        let status = fence.status();
        self.check(status.is_some(), "a fence that never signalled");
        let Some(status) = status else { return };
        if listened {
            self.check(self.signals.load(SEQ) == 1, "a callback not called");
            let told = self.told.load(SEQ);
            let is = status.err().map_or(0, Errno::get);
            self.check(told == is, "a callback was told another result");
        }
        self.check(self.dropped.load(SEQ) == 1, "a payload not dropped");
        let ran = self.runs.load(SEQ);
        self.check(ran <= 1, "a job ran twice");
        match status {
            Ok(()) => {
                self.check(ran == 1, "success of a job that never ran");
                let well = self.ended_well.load(SEQ);
                self.check(well, "success that nobody reported");
            }
            Err(error) => self.judge_error(error),
        }
    }

    fn judge_error(&self, error: Errno) {
        let scope = &self.watch.scope;
        self.check(error != LATE, "a late completion ended a job");
        if !self.alone.load(SEQ) {
            return;
        }
        let gone = scope.unbinding.load(SEQ) || scope.gone.load(SEQ);
        self.check(
            error != Errno::ENODEV || gone,
            "ENODEV with the device there",
        );
        let killed = self.watch.killed.load(SEQ);
        self.check(
            error != Errno::EIO || killed,
            "EIO of a queue nobody killed",
        );
        let panicked = self.watch.poisoned.load(SEQ) || scope.poisoned.load(SEQ);
        self.check(
            error != Errno::EOWNERDEAD || panicked,
            "EOWNERDEAD without a panic",
        );
    }
}
