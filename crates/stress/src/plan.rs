// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What one round is about, drawn from its seed: some things off, others wild.

use crate::random::Random;

/// How a round ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// The hardware completes everything.
    Complete,
    /// The hardware does nothing more: closing has a bound.
    Bounded,
    /// The devices are unbound with all that is on them.
    Unbind,
    /// The devices are gone.
    Gone,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) devices: u64,
    pub(crate) queues: usize,
    pub(crate) workers: usize,
    pub(crate) submitters: usize,
    pub(crate) completers: usize,
    pub(crate) others: usize,
    pub(crate) stoppers: usize,
    /// Operations of each submitter.
    pub(crate) operations: usize,
    pub(crate) bypass: bool,
    pub(crate) recovers: bool,
    /// One in so many jobs hangs; 0: none.
    pub(crate) hangs: usize,
    /// As `hangs`, for tricks in callbacks and for kills and closes from threads.
    pub(crate) tricks: usize,
    pub(crate) panics: bool,
    pub(crate) unbinds: bool,
    pub(crate) ending: Ending,
}

impl Plan {
    /// Draws a plan for at most `threads` threads, workers apart.
    pub(crate) fn draw(dice: &mut Random, threads: usize) -> Self {
        let mut left = threads.saturating_sub(2);
        let mut some = |most: usize, dice: &mut Random| {
            let count = dice.below(most.min(left) + 1);
            left -= count;
            count
        };
        let (others, stoppers) = (some(2, dice), some(2, dice));
        let completers = 1 + some(1, dice);
        Self {
            devices: 1 + dice.below(2) as u64,
            queues: 1 + dice.below(4),
            workers: 1 + dice.below(3),
            submitters: 1 + some(2, dice),
            completers,
            others,
            stoppers,
            operations: dice.pick(&[10, 40, 120]),
            bypass: !dice.once_in(3),
            recovers: !dice.once_in(3),
            hangs: dice.pick(&[0, 4, 16, 64]),
            tricks: dice.pick(&[0, 6, 24, 100]),
            panics: dice.once_in(6),
            unbinds: dice.once_in(3),
            ending: dice.pick(&[
                Ending::Complete,
                Ending::Complete,
                Ending::Bounded,
                Ending::Unbind,
                Ending::Gone,
            ]),
        }
    }
}
