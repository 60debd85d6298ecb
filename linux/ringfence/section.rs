// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Signalling sections: the code on the way to a fence's signal.
//!
//! Memory management may wait for a fence; so nothing on the way to its signal may allocate with
//! more than `GFP_ATOMIC`, take a lock under which others allocate, or wait for a fence
//! (`drivers/dma-buf/dma-fence.c`, "fence signalling annotation"). The queue is in a section from
//! arm to submit, around every driver callback and every signal. Lockdep checks them.

use core::marker::PhantomData;

use crate::sys;

/// This thread is in a signalling section until this is dropped. Sections nest.
#[must_use = "the section ends when this is dropped"]
pub struct SignallingSection {
    cookie: bool,
    // A section belongs to a thread.
    _not_send: PhantomData<*mut ()>,
}

impl SignallingSection {
    /// Enters a section. Any context; costs nothing without lockdep.
    #[inline]
    pub fn enter() -> Self {
        Self {
            // SAFETY: May be called anywhere, says its documentation.
            cookie: unsafe { sys::ringfence_begin_signalling() },
            _not_send: PhantomData,
        }
    }
}

impl Drop for SignallingSection {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The cookie is that of the begin in `enter`, on this thread.
        unsafe { sys::ringfence_end_signalling(self.cookie) };
    }
}
