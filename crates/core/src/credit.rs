// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Credits: units of ring room, taken at run and returned at completion.

/// The credits of one queue.
///
/// # Invariants
///
/// `used <= limit`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credits {
    limit: u32,
    used: u32,
}

impl Credits {
    pub(crate) const fn new(limit: u32) -> Self {
        Self { limit, used: 0 }
    }

    pub(crate) const fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) const fn used(&self) -> u32 {
        self.used
    }

    /// True if a job of this cost may run now. One of cost 0 always may.
    #[inline]
    pub(crate) const fn fit(&self, cost: u32) -> bool {
        cost <= self.limit - self.used
    }

    /// Takes what [`Credits::fit`] has allowed.
    #[inline]
    pub(crate) fn take(&mut self, cost: u32) {
        debug_assert!(self.fit(cost));
        self.used = self.used.saturating_add(cost).min(self.limit);
    }

    #[inline]
    pub(crate) fn give_back(&mut self, cost: u32) {
        debug_assert!(cost <= self.used);
        self.used = self.used.saturating_sub(cost);
    }
}
