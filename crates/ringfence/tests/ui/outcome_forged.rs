// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Answers are made of what was asked.
use ringfence::*;

fn misuse() -> (RunOutcome, TimeoutOutcome) {
    (RunOutcome(()), TimeoutOutcome(()))
}

fn main() {}
