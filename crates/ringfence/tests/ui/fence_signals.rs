// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A fence can be watched, not signalled.
use ringfence::*;

fn misuse(fence: &Fence) {
    fence.signal(Ok(()));
}

fn main() {}
