// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Commands, and how they stand in a ring.
//!
//! A command is a packet of 32-bit words. The first is the header: the packet's length in words
//! (header included) in bits 0 to 15, the opcode in bits 16 to 23, zero in the rest. Operands
//! follow in the order of the fields of [`Command`]; 64-bit ones take two words, low word first.
//! A packet may wrap around the end of the ring.
//!
//! | opcode | command | words |
//! |---|---|---|
//! | 0x01 | [`Nop`](Command::Nop) | 1 + padding |
//! | 0x02 | [`BeginJob`](Command::BeginJob) | 3 |
//! | 0x03 | [`Fence`](Command::Fence) | 3 |
//! | 0x10 | [`Fill`](Command::Fill) | 5 |
//! | 0x11 | [`Copy`](Command::Copy) | 6 |
//! | 0x12 | [`Add`](Command::Add) | 8 |
//! | 0x13 | [`Checksum`](Command::Checksum) | 6 |
//! | 0x14 | [`MatMul`](Command::MatMul) | 10 |
//! | 0x20 | [`SemaphoreWait`](Command::SemaphoreWait) | 4 |
//! | 0x21 | [`SemaphoreWrite`](Command::SemaphoreWrite) | 4 |
//! | 0x22 | [`Timestamp`](Command::Timestamp) | 3 |
//! | 0x30 | [`Spin`](Command::Spin) | 3 |
//! | 0x31 | [`Fault`](Command::Fault) | 3 |
//! | 0x32 | [`Hang`](Command::Hang) | 1 |

mod decode;
#[cfg(test)]
mod tests;

pub(crate) use decode::{check, decode, header};

/// The most words a packet with operands has. (A [`Command::Nop`] may be longer.)
pub const MAX_PACKET_WORDS: usize = 10;

/// The most words that a [`Command::Nop`] can skip.
pub const MAX_PADDING: u16 = u16::MAX - 1;

/// The largest side of a matrix.
pub const MAX_MATRIX_SIDE: u32 = 4096;

/// One command.
///
/// Addresses are virtual, in bytes, and multiples of 4. Lengths are in words. Arithmetic wraps.
/// Operands may overlap: every command works word by word from the lowest address, except that
/// [`MatMul`](Self::MatMul) writes each row of the result when the row is complete. A range of no
/// words touches nothing. A command that faults half way has written what came before.
///
/// [`crate::reference::apply`] says exactly what each leaves in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Nothing, `padding` words long beside the header.
    Nop {
        /// Words that are skipped, [`MAX_PADDING`] at most.
        padding: u16,
    },
    /// Says which job the commands up to the next fence belong to. It may be left out: it names
    /// the job for [`SlotEvent`](crate::SlotEvent)s and for faults injected at a fence value.
    BeginJob {
        /// The value of the fence that will end the job.
        value: u64,
    },
    /// Ends a job: writes `value` to the context's fence and raises an interrupt.
    Fence {
        /// What [`Context::fence_value`](crate::Context::fence_value) will return.
        value: u64,
    },
    /// `dst[i] = value`.
    Fill {
        /// Where to write.
        dst: u64,
        /// How many words.
        words: u32,
        /// The word to write.
        value: u32,
    },
    /// `dst[i] = src[i]`.
    Copy {
        /// Where to write.
        dst: u64,
        /// Where to read.
        src: u64,
        /// How many words.
        words: u32,
    },
    /// `dst[i] = a[i] + b[i]`.
    Add {
        /// Where to write.
        dst: u64,
        /// Where to read the first operand.
        a: u64,
        /// Where to read the second operand.
        b: u64,
        /// How many words.
        words: u32,
    },
    /// Writes [`crate::reference::checksum`] of `words` words to `dst`, low word first.
    Checksum {
        /// Where to write two words.
        dst: u64,
        /// Where to read.
        src: u64,
        /// How many words to read.
        words: u32,
    },
    /// `dst = a * b` for matrices in row-major order: `a` has `rows` x `inner` words, `b` has
    /// `inner` x `columns`, `dst` has `rows` x `columns`.
    MatMul {
        /// Where to write.
        dst: u64,
        /// Where to read the left matrix.
        a: u64,
        /// Where to read the right matrix.
        b: u64,
        /// Rows of `a` and `dst`, 1 to [`MAX_MATRIX_SIDE`].
        rows: u32,
        /// Columns of `a`, rows of `b`, 1 to [`MAX_MATRIX_SIDE`].
        inner: u32,
        /// Columns of `b` and `dst`, 1 to [`MAX_MATRIX_SIDE`].
        columns: u32,
    },
    /// Waits until the word at `address` is at least `value` (unsigned). The context gives its
    /// slot to one that can run in the meantime.
    SemaphoreWait {
        /// The semaphore.
        address: u64,
        /// What it must reach.
        value: u32,
    },
    /// Writes `value` to `address`, after everything that came before.
    SemaphoreWrite {
        /// The semaphore.
        address: u64,
        /// What to write.
        value: u32,
    },
    /// Writes the device's time ([`crate::now_ns`]) to `dst`, low word first.
    Timestamp {
        /// Where to write two words.
        dst: u64,
    },
    /// Occupies the slot for `ns` nanoseconds of time on a slot, without work.
    Spin {
        /// How long.
        ns: u64,
    },
    /// Touches `address` as though nothing were mapped there: always faults.
    Fault {
        /// The address that the fault will name.
        address: u64,
    },
    /// Never ends. Only a reset helps.
    Hang,
}

/// The operation in a packet's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    Nop = 0x01,
    BeginJob = 0x02,
    Fence = 0x03,
    Fill = 0x10,
    Copy = 0x11,
    Add = 0x12,
    Checksum = 0x13,
    MatMul = 0x14,
    SemaphoreWait = 0x20,
    SemaphoreWrite = 0x21,
    Timestamp = 0x22,
    Spin = 0x30,
    Fault = 0x31,
    Hang = 0x32,
}

pub(crate) const OPCODE_SHIFT: u32 = 16;

const fn clamped(padding: u16) -> u16 {
    if padding > MAX_PADDING {
        MAX_PADDING
    } else {
        padding
    }
}

impl Command {
    /// The length of the packet in words, header included.
    pub const fn words(&self) -> usize {
        match self {
            Self::Nop { padding } => 1 + clamped(*padding) as usize,
            Self::Hang => 1,
            Self::BeginJob { .. }
            | Self::Fence { .. }
            | Self::Timestamp { .. }
            | Self::Spin { .. }
            | Self::Fault { .. } => 3,
            Self::SemaphoreWait { .. } | Self::SemaphoreWrite { .. } => 4,
            Self::Fill { .. } => 5,
            Self::Copy { .. } | Self::Checksum { .. } => 6,
            Self::Add { .. } => 8,
            Self::MatMul { .. } => 10,
        }
    }

    /// Appends the packet to `out`.
    pub fn encode(&self, out: &mut Vec<u32>) {
        self.emit(&mut |word| out.push(word));
    }

    /// Hands the packet's words to `put`, one by one. Does not allocate.
    pub(crate) fn emit(&self, put: &mut dyn FnMut(u32)) {
        let length = self.words() as u32 & 0xffff;
        put(length | (u32::from(self.opcode() as u8) << OPCODE_SHIFT));
        let mut wide = |value: u64| {
            put(value as u32);
            put((value >> 32) as u32);
        };
        match *self {
            Self::Nop { padding } => (0..clamped(padding)).for_each(|_| put(0)),
            Self::Hang => {}
            Self::BeginJob { value } | Self::Fence { value } => wide(value),
            Self::Timestamp { dst } => wide(dst),
            Self::Spin { ns } => wide(ns),
            Self::Fault { address } => wide(address),
            Self::Fill { dst, words, value } => {
                wide(dst);
                put(words);
                put(value);
            }
            Self::Copy { dst, src, words } | Self::Checksum { dst, src, words } => {
                wide(dst);
                wide(src);
                put(words);
            }
            Self::Add { dst, a, b, words } => {
                wide(dst);
                wide(a);
                wide(b);
                put(words);
            }
            Self::MatMul {
                dst,
                a,
                b,
                rows,
                inner,
                columns,
            } => {
                wide(dst);
                wide(a);
                wide(b);
                put(rows);
                put(inner);
                put(columns);
            }
            Self::SemaphoreWait { address, value } | Self::SemaphoreWrite { address, value } => {
                wide(address);
                put(value);
            }
        }
    }

    pub(crate) const fn opcode(&self) -> Opcode {
        match self {
            Self::Nop { .. } => Opcode::Nop,
            Self::BeginJob { .. } => Opcode::BeginJob,
            Self::Fence { .. } => Opcode::Fence,
            Self::Fill { .. } => Opcode::Fill,
            Self::Copy { .. } => Opcode::Copy,
            Self::Add { .. } => Opcode::Add,
            Self::Checksum { .. } => Opcode::Checksum,
            Self::MatMul { .. } => Opcode::MatMul,
            Self::SemaphoreWait { .. } => Opcode::SemaphoreWait,
            Self::SemaphoreWrite { .. } => Opcode::SemaphoreWrite,
            Self::Timestamp { .. } => Opcode::Timestamp,
            Self::Spin { .. } => Opcode::Spin,
            Self::Fault { .. } => Opcode::Fault,
            Self::Hang => Opcode::Hang,
        }
    }
}
