// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The scenarios of the kernel's own scheduler (`drivers/gpu/drm/scheduler/tests`).
