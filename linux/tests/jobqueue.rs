// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Mistakes of the job queue that was proposed for the kernel.
