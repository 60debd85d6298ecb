// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What interrupt context means, tested from inside; with real signals: `tests/irq`.
