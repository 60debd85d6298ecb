// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Queues on slots, with threads.

mod groups;
mod rig;
mod seats;
mod trouble;
