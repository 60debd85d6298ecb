// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Matrix multiplication, in pieces of one row.

use std::sync::atomic::Ordering;

use super::operation::Space;
use crate::fault::Fault;
use crate::memory::{Access, WORD_BYTES};

/// A product in progress: `row` rows are written, and `sums` holds what the first `k` elements of
/// the next row of `a` add to it.
pub(super) struct MatMul {
    dst: u64,
    a: u64,
    b: u64,
    rows: u64,
    inner: u64,
    columns: u64,
    row: u64,
    k: u64,
    sums: Vec<u32>,
}

impl MatMul {
    /// The product of matrices at `[dst, a, b]` with sides `[rows, inner, columns]`.
    pub(super) fn new([dst, a, b]: [u64; 3], sides: [u32; 3]) -> Self {
        let [rows, inner, columns] = sides.map(u64::from);
        let sums = vec![0; columns as usize];
        Self {
            dst,
            a,
            b,
            rows,
            inner,
            columns,
            row: 0,
            k: 0,
            sums,
        }
    }

    /// See [`Operation::advance`](super::operation::Operation::advance).
    pub(super) fn advance(&mut self, space: &Space<'_>, budget: &mut usize) -> Result<bool, Fault> {
        while self.row < self.rows {
            if *budget == 0 {
                return Ok(false);
            }
            *budget = budget.saturating_sub(self.sums.len());
            if self.k < self.inner {
                self.add_multiple(space)?;
                self.k += 1;
            } else {
                self.write_row(space)?;
                self.sums.fill(0);
                self.k = 0;
                self.row += 1;
            }
        }
        Ok(true)
    }

    /// Adds row `k` of `b`, times element `k` of the current row of `a`.
    fn add_multiple(&mut self, space: &Space<'_>) -> Result<(), Fault> {
        let element = space.load(self.a + (self.row * self.inner + self.k) * WORD_BYTES)?;
        let mut address = self.b + self.k * self.columns * WORD_BYTES;
        let mut sums = self.sums.as_mut_slice();
        while !sums.is_empty() {
            let words = space.words(address, sums.len(), Access::Read)?;
            for (sum, word) in sums.iter_mut().zip(words) {
                let product = element.wrapping_mul(word.load(Ordering::Relaxed));
                *sum = sum.wrapping_add(product);
            }
            address += words.len() as u64 * WORD_BYTES;
            sums = &mut sums[words.len()..];
        }
        Ok(())
    }

    fn write_row(&self, space: &Space<'_>) -> Result<(), Fault> {
        let mut address = self.dst + self.row * self.columns * WORD_BYTES;
        let mut sums = self.sums.as_slice();
        while !sums.is_empty() {
            let words = space.words(address, sums.len(), Access::Write)?;
            for (word, &sum) in words.iter().zip(sums) {
                word.store(sum, Ordering::Relaxed);
            }
            address += words.len() as u64 * WORD_BYTES;
            sums = &sums[words.len()..];
        }
        Ok(())
    }
}
