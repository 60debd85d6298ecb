// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Recoveries of queues and devices.
