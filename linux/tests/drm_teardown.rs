// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Teardown, as it went wrong in drm_sched.
