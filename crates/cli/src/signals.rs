// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What people tell a run that works: Ctrl-C, and SIGUSR1.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

use crate::EXIT_INTERRUPTED;

/// Signals that have come, as flags: the handlers do nothing but set them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    interrupted: Arc<AtomicBool>,
    asked: Arc<AtomicBool>,
}

impl Signals {
    /// Has SIGINT, SIGTERM and SIGUSR1 set flags from now on, for the rest of the process. Who
    /// interrupts for the second time ends the process at once, with [`EXIT_INTERRUPTED`].
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn watch() -> io::Result<Self> {
        let signals = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first looks at the flag before the second sets it.
            let again = Arc::clone(&signals.interrupted);
            flag::register_conditional_shutdown(signal, i32::from(EXIT_INTERRUPTED), again)?;
            flag::register(signal, Arc::clone(&signals.interrupted))?;
        }
        // Last: who sees that this one is caught knows that all are.
        flag::register(SIGUSR1, Arc::clone(&signals.asked))?;
        Ok(signals)
    }

    /// True once somebody has interrupted the process.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// True if SIGUSR1 has come since the last call.
    pub(crate) fn take_asked(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Signals {
    /// As if SIGUSR1 had come.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }
}
