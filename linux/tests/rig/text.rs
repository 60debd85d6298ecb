// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Text that tests look into.

use core::fmt::{self, Write};

use kernel::prelude::*;

use ringfence::{Driver, Mode, Queue};

/// Text in memory that grows.
pub(crate) struct Text(KVVec<u8>);

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0
            .extend_from_slice(text.as_bytes(), GFP_KERNEL)
            .map_err(|_| fmt::Error)
    }
}

impl Text {
    pub(crate) const fn new() -> Self {
        Self(KVVec::new())
    }

    pub(crate) fn contains(&self, what: &str) -> bool {
        self.0
            .windows(what.len())
            .any(|part| part == what.as_bytes())
    }
}

/// True if a queue's snapshot says `what` now.
pub(crate) fn says<D: Driver, M: Mode>(queue: &Queue<D, M>, what: &str) -> bool {
    let mut text = Text::new();
    queue.snapshot(&mut text).is_ok() && text.contains(what)
}
