// SPDX-License-Identifier: GPL-2.0 OR MIT
//! There are two modes.
use ringfence::*;

enum Mine {}

impl Mode for Mine {
    type OutFence = Fence;

    fn out_fence(fence: Fence) -> Fence {
        fence
    }
}

fn main() {}
