// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Which pages of video memory are free.

use std::collections::BTreeMap;

/// A first-fit allocator of page ranges.
///
/// # Invariants
///
/// The ranges in `free` (first page to number of pages) are not empty, do not overlap, do not touch
/// each other (neighbours are merged) and together hold `pages - used` pages.
pub(super) struct Allocator {
    free: BTreeMap<u32, u32>,
    used: u32,
}

impl Allocator {
    pub(super) fn new(pages: u32) -> Self {
        let mut free = BTreeMap::new();
        if pages > 0 {
            free.insert(0, pages);
        }
        Self { free, used: 0 }
    }

    /// Takes the lowest free range of `pages` pages and returns its first page.
    pub(super) fn allocate(&mut self, pages: u32) -> Option<u32> {
        let (&first, &length) = self.free.iter().find(|(_, &length)| length >= pages)?;
        self.free.remove(&first);
        if length > pages {
            self.free.insert(first + pages, length - pages);
        }
        self.used += pages;
        Some(first)
    }

    /// Gives back a range that [`allocate`](Self::allocate) returned.
    pub(super) fn free(&mut self, first: u32, pages: u32) {
        let mut start = first;
        let mut length = pages;
        if let Some((&before, &before_pages)) = self.free.range(..first).next_back() {
            debug_assert!(before + before_pages <= first, "a page was freed twice");
            if before + before_pages == first {
                self.free.remove(&before);
                start = before;
                length += before_pages;
            }
        }
        if let Some(after_pages) = self.free.remove(&(first + pages)) {
            length += after_pages;
        }
        self.free.insert(start, length);
        self.used -= pages;
    }

    /// Pages that are taken.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    #[cfg(test)]
    pub(super) fn free_ranges(&self) -> Vec<(u32, u32)> {
        self.free
            .iter()
            .map(|(&first, &pages)| (first, pages))
            .collect()
    }
}
