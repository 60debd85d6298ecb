// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From ring words back to a command, believing nothing.

use super::{Command, Opcode, MAX_MATRIX_SIDE, OPCODE_SHIFT};
use crate::fault::{Fault, FaultKind};
use crate::memory::{VA_LIMIT, WORD_BYTES};

/// A header that names an operation and a length that fits it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) opcode: Opcode,
    /// The packet's words, header included.
    pub(crate) words: usize,
}

fn opcode(byte: u32) -> Option<(Opcode, usize)> {
    Some(match byte {
        0x01 => (Opcode::Nop, 0),
        0x02 => (Opcode::BeginJob, 3),
        0x03 => (Opcode::Fence, 3),
        0x10 => (Opcode::Fill, 5),
        0x11 => (Opcode::Copy, 6),
        0x12 => (Opcode::Add, 8),
        0x13 => (Opcode::Checksum, 6),
        0x14 => (Opcode::MatMul, 10),
        0x20 => (Opcode::SemaphoreWait, 4),
        0x21 => (Opcode::SemaphoreWrite, 4),
        0x22 => (Opcode::Timestamp, 3),
        0x30 => (Opcode::Spin, 3),
        0x31 => (Opcode::Fault, 3),
        0x32 => (Opcode::Hang, 1),
        _ => return None,
    })
}

/// Reads a header.
pub(crate) fn header(word: u32) -> Result<Header, FaultKind> {
    let words = (word & 0xffff) as usize;
    let (opcode, expected) = opcode(word >> OPCODE_SHIFT).ok_or(FaultKind::BadOpcode)?;
    let fits = if opcode == Opcode::Nop {
        words >= 1
    } else {
        words == expected
    };
    if !fits {
        return Err(FaultKind::BadLength);
    }
    Ok(Header { opcode, words })
}

/// Reads the command with `header`; `packet` holds its words (of a no-operation, just the header).
/// `None` if `packet` is too short.
pub(crate) fn decode(header: Header, packet: &[u32]) -> Option<Command> {
    let word = |index: usize| packet.get(index).copied();
    let wide = |index: usize| Some(u64::from(word(index)?) | (u64::from(word(index + 1)?) << 32));
    Some(match header.opcode {
        Opcode::Nop => Command::Nop {
            padding: u16::try_from(header.words - 1).ok()?,
        },
        Opcode::BeginJob => Command::BeginJob { value: wide(1)? },
        Opcode::Fence => Command::Fence { value: wide(1)? },
        Opcode::Fill => Command::Fill {
            dst: wide(1)?,
            words: word(3)?,
            value: word(4)?,
        },
        Opcode::Copy => Command::Copy {
            dst: wide(1)?,
            src: wide(3)?,
            words: word(5)?,
        },
        Opcode::Checksum => Command::Checksum {
            dst: wide(1)?,
            src: wide(3)?,
            words: word(5)?,
        },
        Opcode::Add => Command::Add {
            dst: wide(1)?,
            a: wide(3)?,
            b: wide(5)?,
            words: word(7)?,
        },
        Opcode::MatMul => Command::MatMul {
            dst: wide(1)?,
            a: wide(3)?,
            b: wide(5)?,
            rows: word(7)?,
            inner: word(8)?,
            columns: word(9)?,
        },
        Opcode::SemaphoreWait => Command::SemaphoreWait {
            address: wide(1)?,
            value: word(3)?,
        },
        Opcode::SemaphoreWrite => Command::SemaphoreWrite {
            address: wide(1)?,
            value: word(3)?,
        },
        Opcode::Timestamp => Command::Timestamp { dst: wide(1)? },
        Opcode::Spin => Command::Spin { ns: wide(1)? },
        Opcode::Fault => Command::Fault { address: wide(1)? },
        Opcode::Hang => Command::Hang,
    })
}

/// Checks what can be known of a command's operands without a page table: alignment, ranges that
/// leave the address space, matrix sides.
pub(crate) fn check(command: &Command) -> Result<(), Fault> {
    if let Command::MatMul {
        dst,
        rows,
        inner,
        columns,
        ..
    } = *command
    {
        let sides = 1..=MAX_MATRIX_SIDE;
        if ![rows, inner, columns]
            .iter()
            .all(|side| sides.contains(side))
        {
            return Err(Fault {
                kind: FaultKind::BadOperand,
                address: dst,
            });
        }
    }
    for (address, words) in ranges(command).into_iter().flatten() {
        if address % WORD_BYTES != 0 {
            return Err(Fault {
                kind: FaultKind::Misaligned,
                address,
            });
        }
        // At most 2^32 words, so the product does not overflow.
        let end = address.checked_add(words * WORD_BYTES);
        if end.is_none_or(|end| end > VA_LIMIT) {
            return Err(Fault {
                kind: FaultKind::OutOfRange,
                address,
            });
        }
    }
    Ok(())
}

/// The ranges that a command touches, as address and words: first what it writes, then what it
/// reads.
pub(crate) fn ranges(command: &Command) -> [Option<(u64, u64)>; 3] {
    match *command {
        Command::Fill { dst, words, .. } => [Some((dst, words.into())), None, None],
        Command::Copy { dst, src, words } => {
            [Some((dst, words.into())), Some((src, words.into())), None]
        }
        Command::Add { dst, a, b, words } => {
            let words = u64::from(words);
            [Some((dst, words)), Some((a, words)), Some((b, words))]
        }
        Command::Checksum { dst, src, words } => [Some((dst, 2)), Some((src, words.into())), None],
        Command::MatMul {
            dst,
            a,
            b,
            rows,
            inner,
            columns,
        } => {
            let [rows, inner, columns] = [rows, inner, columns].map(u64::from);
            [
                Some((dst, rows * columns)),
                Some((a, rows * inner)),
                Some((b, inner * columns)),
            ]
        }
        Command::SemaphoreWait { address, .. } | Command::SemaphoreWrite { address, .. } => {
            [Some((address, 1)), None, None]
        }
        Command::Timestamp { dst } => [Some((dst, 2)), None, None],
        Command::Nop { .. }
        | Command::BeginJob { .. }
        | Command::Fence { .. }
        | Command::Spin { .. }
        | Command::Fault { .. }
        | Command::Hang => [None; 3],
    }
}
