// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Timeouts, as they went wrong in drm_sched.
