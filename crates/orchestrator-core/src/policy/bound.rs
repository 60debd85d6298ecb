// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How long somebody who waits for slots waits at most under the policy of fair shares.
//!
//! # Why there is a bound
//!
//! While a unit waits, each slot that it may be on is held by somebody with work, or changes hands. Let
//! there be `S` of them (for a group of `g` seats `S - g + 1`, since the last of its slots is what it
//! waits for). A turn is a *slice*, and what it takes to end it, the *drain*: driver callbacks that are
//! out, jobs that cannot be preempted, taking a context off and another one on.
//!
//! *Among equals.* Who waits goes before all that are not behind it in virtual time. When it left its
//! slots, it was ahead of the others by at most what its last turn had brought it, `slice + drain` at
//! its weight `w`. Another, of weight `u`, is behind that by at most the slice that it is owed when it
//! wakes, and, where there is more than one slot, by the `lag` that is left to who could not use more
//! than it had. So it holds slots, before it has come so far, for at most
//!
//! ```text
//!   ahead(u) = (slice + drain) * u / w  +  lag * u / 100  +  2 slices + drain
//! ```
//!
//! the last for the turn in which it comes so far, which it may finish. All of them together do that
//! on `S` slots at a time.
//!
//! *Groups* have slots kept for them, up to a slice and a drain before each turn, in which nobody uses
//! those.
//!
//! *Lower priorities* get one part in `G` (the guarantee) of what higher ones hold, each of them: of
//! the time that passes `1 + lower / G` times as much is needed; twice that part where there are groups.
//!
//! *Higher priorities* leave one part in `G + 1`, so all that is said so far takes `G + 1` times as
//! long. It begins when the first slice is owed, after `G` slices of slot time, and each turn begins
//! when somebody higher has had its least run, or somebody lower its slice, and has drained. A turn that
//! took longer than a slice is paid for, by at most the lag, before the next one begins.
//!
//! *Trouble*, when nobody can use a slot since it is broken or the device owes an answer, passes like a
//! turn: it is waited for, and whose turn it was, its priority has had that time. So lower priorities
//! are owed a part of it, and who has higher ones pays for it `G` times.

use core::time::Duration;

use super::fair::{ns, FairConfig};
use crate::priority::{Priority, Weight};

/// Somebody who wants slots, as far as it matters to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rival {
    /// How important it is.
    pub priority: Priority,
    /// Its share.
    pub weight: Weight,
    /// How many slots it needs at a time.
    pub seats: u16,
}

/// Where they meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stage {
    /// Slots that the one who waits may be on.
    pub slots: u16,
    /// Whether rivals may be on other slots, too.
    pub elsewhere: bool,
    /// The longest time from when somebody is to leave until somebody else runs on its slots: callbacks,
    /// jobs that cannot be preempted, taking contexts off and on.
    pub drain: Duration,
    /// For how long, all together, slots were broken or the device did not answer. Nothing, where it
    /// works.
    pub trouble: Duration,
}

impl FairConfig {
    /// The longest time that `waiter` waits for its slots, if `rivals` are all others that may be on a
    /// slot that it may be on, whatever they do. This module's documentation says why.
    pub fn longest_wait(
        &self,
        waiter: Rival,
        rivals: impl Iterator<Item = Rival>,
        stage: &Stage,
    ) -> Duration {
        let slice = u128::from(ns(self.slice).max(1));
        let drain = u128::from(ns(stage.drain));
        let least = u128::from(ns(self.min_run)).min(slice);
        let part = u128::from(self.guarantee.max(2));
        let slots = u128::from(stage.slots.saturating_sub(waiter.seats.max(1) - 1).max(1));
        let lag = match stage.slots > 1 || stage.elsewhere {
            true => u128::from(ns(self.lag)),
            false => 0,
        };
        let own = u128::from(waiter.weight.get());
        let (mut all, mut turns, mut longest) = (0, 0, 0);
        let (mut higher, mut lower) = (false, [0; Priority::COUNT]);
        // Until somebody who must not be disturbed has drained.
        let change = slice + drain;
        let mut kept = 0;
        for rival in rivals {
            if rival.priority < waiter.priority {
                higher = true;
            } else if rival.priority > waiter.priority {
                let parts = if rival.seats > 1 { 2 } else { 1 };
                let most = &mut lower[rival.priority.level()];
                *most = parts.max(*most);
            } else {
                let weight = u128::from(rival.weight.get());
                let ahead = ((slice + drain) * weight).div_ceil(own)
                    + (lag * weight).div_ceil(100)
                    + 2 * slice
                    + drain;
                let rounds = ahead.div_ceil(slice);
                all = ahead
                    .saturating_mul(u128::from(rival.seats.max(1)))
                    .saturating_add(all);
                turns = rounds.saturating_add(turns);
                if rival.seats > 1 {
                    kept = rounds.saturating_mul(change).saturating_add(kept);
                }
                longest = longest.max(ahead);
            }
        }
        let lower: u128 = lower.iter().sum();
        // Of spans as long as there are, more than fits here, and far more than a wait can be said to be.
        let drains = turns.saturating_mul(drain);
        let mut wait = all.saturating_add(drains).div_ceil(slots);
        wait = wait.saturating_add(kept).saturating_add(longest);
        wait = wait.saturating_add(2 * change + u128::from(ns(stage.trouble)));
        wait = wait.saturating_mul(part + lower) / part;
        wait = wait.saturating_add(change * lower);
        if higher {
            let paid = drain.min(u128::from(ns(self.lag)));
            let turn = least + change + paid * part;
            let turns = turns.saturating_add(1).saturating_mul(turn);
            wait = wait.saturating_mul(part + 1);
            wait = wait.saturating_add(slice * part).saturating_add(turns);
        }
        Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}
