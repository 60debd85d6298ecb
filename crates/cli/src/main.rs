// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The `ringfence` command.

use std::process::ExitCode;

use ringfence::section::CheckedAllocator;

/// Debug builds end loudly when anything allocates where a fence's signal may wait for it.
#[global_allocator]
static ALLOCATOR: CheckedAllocator = CheckedAllocator::system();

fn main() -> ExitCode {
    ringfence_cli::main()
}
