// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Mistakes on purpose: each must turn a run red.
