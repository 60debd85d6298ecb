// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A fence has one signaller.
use ringfence::*;

fn misuse(timeline: &Timeline) {
    let (signaller, _fence) = timeline.signaller();
    let _second = signaller.clone();
}

fn main() {}
