// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A fence is signalled once.
use ringfence::*;

fn misuse(timeline: &Timeline) {
    let (signaller, _fence) = timeline.signaller();
    signaller.signal(Ok(()));
    signaller.signal(Ok(()));
}

fn main() {}
