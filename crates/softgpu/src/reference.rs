// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What each command must leave in memory, computed by the processor in the plainest way.
//!
//! Written apart from the device's own code, so that the two check each other.

use crate::command::Command;

/// Sets every word of `dst` to `value`.
pub fn fill(dst: &mut [u32], value: u32) {
    for word in dst {
        *word = value;
    }
}

/// Copies `src` to `dst`, as many words as the shorter has.
pub fn copy(dst: &mut [u32], src: &[u32]) {
    for (to, from) in dst.iter_mut().zip(src) {
        *to = *from;
    }
}

/// Writes the wrapping sums of `a` and `b` to `dst`, as many words as the shortest has.
pub fn add(dst: &mut [u32], a: &[u32], b: &[u32]) {
    for ((to, a), b) in dst.iter_mut().zip(a).zip(b) {
        *to = a.wrapping_add(*b);
    }
}

/// A checksum of `words`: FNV-1a with 64 bits, taking a word (not a byte) at a time.
pub fn checksum(words: &[u32]) -> u64 {
    words.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &word| {
        (hash ^ u64::from(word)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The product of `a` (rows of `inner` words) and `b` (rows of `columns` words), row by row, in
/// wrapping arithmetic. Words that `a` or `b` lacks count as zero.
pub fn matmul(a: &[u32], b: &[u32], rows: usize, inner: usize, columns: usize) -> Vec<u32> {
    let at = |matrix: &[u32], index: usize| matrix.get(index).copied().unwrap_or(0);
    let mut product = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let terms = (0..inner)
                .map(|k| at(a, row * inner + k).wrapping_mul(at(b, k * columns + column)));
            product.push(terms.fold(0, u32::wrapping_add));
        }
    }
    product
}

/// Does to `memory`, which stands at address `base`, what `command` would do, and says whether it
/// could: `false`, with `memory` unchanged, if an operand does not lie in `memory`.
///
/// It covers the commands with a fixed effect on memory. The others (timestamps, waits, hangs,
/// fences ...) change nothing and count as done.
pub fn apply(command: &Command, memory: &mut [u32], base: u64) -> bool {
    applied(command, memory, base).is_some()
}

/// The index in `memory` of the range of `words` words at `address`.
fn index(memory: &[u32], base: u64, address: u64, words: usize) -> Option<usize> {
    let offset = address.checked_sub(base)?;
    let first = usize::try_from(offset / 4).ok()?;
    (offset % 4 == 0 && first.checked_add(words)? <= memory.len()).then_some(first)
}

fn applied(command: &Command, memory: &mut [u32], base: u64) -> Option<()> {
    match *command {
        Command::Fill { dst, words, value } => {
            let dst = index(memory, base, dst, words as usize)?;
            fill(memory.get_mut(dst..dst + words as usize)?, value);
        }
        Command::Copy { dst, src, words } => {
            let dst = index(memory, base, dst, words as usize)?;
            let src = index(memory, base, src, words as usize)?;
            for i in 0..words as usize {
                memory[dst + i] = memory[src + i];
            }
        }
        Command::Add { dst, a, b, words } => {
            let dst = index(memory, base, dst, words as usize)?;
            let a = index(memory, base, a, words as usize)?;
            let b = index(memory, base, b, words as usize)?;
            for i in 0..words as usize {
                memory[dst + i] = memory[a + i].wrapping_add(memory[b + i]);
            }
        }
        Command::Checksum { dst, src, words } => {
            let dst = index(memory, base, dst, 2)?;
            let src = index(memory, base, src, words as usize)?;
            let sum = checksum(memory.get(src..src + words as usize)?);
            memory[dst] = sum as u32;
            memory[dst + 1] = (sum >> 32) as u32;
        }
        Command::MatMul {
            dst,
            a,
            b,
            rows,
            inner,
            columns,
        } => {
            let [rows, inner, columns] = [rows as usize, inner as usize, columns as usize];
            let dst = index(memory, base, dst, rows * columns)?;
            let a = index(memory, base, a, rows * inner)?;
            let b = index(memory, base, b, inner * columns)?;
            for row in 0..rows {
                let left = &memory[a + row * inner..][..inner];
                let product = matmul(left, &memory[b..][..inner * columns], 1, inner, columns);
                memory[dst + row * columns..][..columns].copy_from_slice(&product);
            }
        }
        Command::SemaphoreWrite { address, value } => {
            let address = index(memory, base, address, 1)?;
            memory[address] = value;
        }
        Command::Nop { .. }
        | Command::BeginJob { .. }
        | Command::Fence { .. }
        | Command::SemaphoreWait { .. }
        | Command::Timestamp { .. }
        | Command::Spin { .. }
        | Command::Fault { .. }
        | Command::Hang => {}
    }
    Some(())
}
