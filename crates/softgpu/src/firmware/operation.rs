// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Commands that take time, done in pieces.

use std::sync::atomic::{AtomicU32, Ordering};

use super::matmul::MatMul;
use crate::command::Command;
use crate::fault::Fault;
use crate::memory::{Access, Memory, PageTable, WORD_BYTES};

const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_PRIME: u64 = 0x0000_0100_0000_01b3;

/// A context's view of memory.
pub(super) struct Space<'a> {
    pub(super) memory: &'a Memory,
    pub(super) table: &'a PageTable,
}

impl Space<'_> {
    /// The words from `address` on, `limit` at most, up to the end of its page.
    pub(super) fn words(
        &self,
        address: u64,
        limit: usize,
        access: Access,
    ) -> Result<&[AtomicU32], Fault> {
        let span = self.table.translate(address, access)?;
        Ok(self.memory.words(span.word, span.room.min(limit)))
    }

    pub(super) fn load(&self, address: u64) -> Result<u32, Fault> {
        let words = self.words(address, 1, Access::Read)?;
        Ok(words.first().map_or(0, |word| word.load(Ordering::Acquire)))
    }

    pub(super) fn store(&self, address: u64, value: u32) -> Result<(), Fault> {
        for word in self.words(address, 1, Access::Write)? {
            word.store(value, Ordering::Release);
        }
        Ok(())
    }

    /// Stores two words, low word first.
    pub(super) fn store_wide(&self, address: u64, value: u64) -> Result<(), Fault> {
        self.store(address, value as u32)?;
        self.store(address + WORD_BYTES, (value >> 32) as u32)
    }
}

/// A command in progress. Its operands have been checked, but for the page table.
pub(super) enum Operation {
    Fill {
        dst: u64,
        words: usize,
        value: u32,
    },
    Copy {
        dst: u64,
        src: u64,
        words: usize,
    },
    Add {
        dst: u64,
        a: u64,
        b: u64,
        words: usize,
    },
    Checksum {
        dst: u64,
        src: u64,
        words: usize,
        hash: u64,
    },
    MatMul(Box<MatMul>),
}

impl Operation {
    /// The operation of `command`, if it is one that takes time.
    pub(super) fn of(command: &Command) -> Option<Self> {
        Some(match *command {
            Command::Fill { dst, words, value } => Self::Fill {
                dst,
                words: words as usize,
                value,
            },
            Command::Copy { dst, src, words } => Self::Copy {
                dst,
                src,
                words: words as usize,
            },
            Command::Add { dst, a, b, words } => Self::Add {
                dst,
                a,
                b,
                words: words as usize,
            },
            Command::Checksum { dst, src, words } => Self::Checksum {
                dst,
                src,
                words: words as usize,
                hash: HASH_START,
            },
            Command::MatMul {
                dst,
                a,
                b,
                rows,
                inner,
                columns,
            } => Self::MatMul(Box::new(MatMul::new([dst, a, b], [rows, inner, columns]))),
            _ => return None,
        })
    }

    /// Goes on for about `budget` words, and takes what it did from it. `true` when done.
    pub(super) fn advance(&mut self, space: &Space<'_>, budget: &mut usize) -> Result<bool, Fault> {
        if let Self::MatMul(matmul) = self {
            return matmul.advance(space, budget);
        }
        loop {
            let left = self.words_left();
            if left == 0 {
                break;
            }
            if *budget == 0 {
                return Ok(false);
            }
            let done = self.piece(space, left.min(*budget))?;
            *budget -= done;
        }
        if let Self::Checksum { dst, hash, .. } = self {
            space.store_wide(*dst, *hash)?;
        }
        Ok(true)
    }

    fn words_left(&self) -> usize {
        match self {
            Self::Fill { words, .. }
            | Self::Copy { words, .. }
            | Self::Add { words, .. }
            | Self::Checksum { words, .. } => *words,
            Self::MatMul(_) => 0,
        }
    }

    /// Does `limit` words, or as many as lie in one page of each operand. Returns how many.
    fn piece(&mut self, space: &Space<'_>, limit: usize) -> Result<usize, Fault> {
        match self {
            Self::Fill { dst, words, value } => {
                let to = space.words(*dst, limit, Access::Write)?;
                for word in to {
                    word.store(*value, Ordering::Relaxed);
                }
                Ok(moved(to.len(), words, [dst]))
            }
            Self::Copy { dst, src, words } => {
                let from = space.words(*src, limit, Access::Read)?;
                let to = space.words(*dst, from.len(), Access::Write)?;
                for (to, from) in to.iter().zip(from) {
                    to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
                }
                Ok(moved(to.len(), words, [dst, src]))
            }
            Self::Add { dst, a, b, words } => {
                let left = space.words(*a, limit, Access::Read)?;
                let right = space.words(*b, left.len(), Access::Read)?;
                let to = space.words(*dst, right.len(), Access::Write)?;
                for ((to, a), b) in to.iter().zip(left).zip(right) {
                    let sum = a
                        .load(Ordering::Relaxed)
                        .wrapping_add(b.load(Ordering::Relaxed));
                    to.store(sum, Ordering::Relaxed);
                }
                Ok(moved(to.len(), words, [dst, a, b]))
            }
            Self::Checksum {
                src, words, hash, ..
            } => {
                let from = space.words(*src, limit, Access::Read)?;
                for word in from {
                    let word = u64::from(word.load(Ordering::Relaxed));
                    *hash = (*hash ^ word).wrapping_mul(HASH_PRIME);
                }
                Ok(moved(from.len(), words, [src]))
            }
            Self::MatMul(_) => Ok(0),
        }
    }
}

/// Moves a piece of `done` words on, and returns `done`.
fn moved<const N: usize>(done: usize, words: &mut usize, addresses: [&mut u64; N]) -> usize {
    *words -= done;
    for address in addresses {
        *address += done as u64 * WORD_BYTES;
    }
    done
}
