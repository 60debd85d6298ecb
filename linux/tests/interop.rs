// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Fences of ours in C's hands, and C's in ours.
