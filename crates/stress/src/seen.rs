// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How often each thing has happened: a stress that never comes to something proves nothing of it.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! seen {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Seen { $($(#[$doc])* $name,)* }

        impl Seen {
            pub(crate) const NAMES: &'static [&'static str] = &[$($text,)*];
        }
    };
}

seen! {
    Submitted = "submitted";
    Guarded = "submitted through a guard";
    Gang = "submitted through a guard over two queues";
    InCallback = "submitted in a fence callback";
    Outlived = "submitted after its queue's handle was dropped";
    PreparedDropped = "dropped prepared";
    ArmedDropped = "dropped armed";
    Refused = "refused: full, closed or banned";
    Banned = "refused: banned";
    Run = "run";
    Bypassed = "run in submit";
    Followed = "followed a fence of the hardware";
    NoResources = "found no resources";
    Panicked = "panicked in a callback";
    Completed = "completed";
    CompletedInIrq = "completed as in an interrupt";
    CompletedInHandler = "completed in a signal handler";
    TokenDropped = "completion dropped";
    Late = "completion of an attempt that was replaced";
    TimedOut = "timed out";
    Extended = "extended";
    Reset = "asked for recovery in a timeout";
    DeviceGone = "device gone";
    Cancelled = "cancelled";
    Killed = "killed";
    ClosedCancel = "closed by cancelling";
    ClosedDrain = "closed by draining";
    ClosedInDriver = "closed in a driver callback";
    ClosedInFence = "closed in a fence callback";
    HandleDropped = "handle dropped in mid-use";
    HandleInCallback = "last handle dropped in a callback";
    Suspended = "suspended and resumed";
    Triggered = "timeout triggered";
    Snapshot = "looked at";
    QueueMade = "queue made in mid-round";
    QueueRefused = "queue refused by its device";
    Unbound = "unbound in mid-round";
    UnbindRefused = "unbind refused in a callback";
    StopRefused = "stop refused in a callback";
    Stopped = "stopped";
    StoppedAll = "stopped all";
    Kept = "kept by a walk";
    Ended = "ended by a walk";
    WalkTimedOut = "ended as guilty by a walk";
    Replayed = "replayed";
    ReplayFailed = "replay failed";
    EndedMeanwhile = "ended by itself in a walk";
    Recovered = "recovered";
    RecoveryDeclined = "recovery that did nothing";
    Requested = "recovery requested";
    Waited = "waited to the end";
    WaitTimedOut = "waited in vain";
    WaitedAny = "waited for any";
    Awaited = "awaited";
    FutureDropped = "future dropped";
    Polled = "polled an eventfd";
    CombinedAny = "combined any";
    CombinedAll = "combined all";
    Unregistered = "callback removed";
    RemovedLate = "callback removed too late";
    BoundedClose = "closed without the hardware's help";
}

/// Counts of all of them.
pub(crate) struct Tally([AtomicU64; Seen::NAMES.len()]);

impl Default for Tally {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Tally {
    pub(crate) fn saw(&self, what: Seen) {
        self.0[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, other: &Self) {
        for (sum, more) in self.0.iter().zip(&other.0) {
            sum.fetch_add(more.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        Seen::NAMES.iter().copied().zip(counts)
    }
}
