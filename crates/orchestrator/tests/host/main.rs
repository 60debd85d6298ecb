// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Queues on slots, with threads.

mod groups;
// Another package's, of which not all is needed here.
#[path = "../../../ringfence/tests/common/manual.rs"]
#[allow(dead_code, unreachable_pub)]
mod manual;
mod rig;
mod seats;
mod trouble;
