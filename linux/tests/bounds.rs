// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Bounds: bans, wide timeouts, closing that takes too long.
