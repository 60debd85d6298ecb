// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From a planned job to commands for the device, and to what they must leave in memory.

use std::ops::Range;

use ringfence_softgpu::driver::Batch;
use ringfence_softgpu::{reference, Command, VA_LIMIT};

use crate::plan::{self, FaultKind, JobPlan, Prng, StreamPlan};

/// Bytes of a word.
const WORD: u64 = 4;

/// An address that no context maps: they map from the bottom up.
const NOWHERE: u64 = VA_LIMIT - 4096;

/// A header that names no operation.
const NO_OPERATION: u32 = 0x00ff_0001;

/// The header of a padding longer than any plan's jobs fill the ring with.
const BEYOND_THE_RING: u32 = 0x0001_ffff;

/// A job made concrete, at an address.
pub(super) struct Work {
    /// What its memory holds before.
    pub(super) image: Vec<u32>,
    /// What its memory holds after.
    pub(super) expected: Vec<u32>,
    /// Where the device writes the time: words in the image, two each.
    pub(super) stamps: Vec<usize>,
    /// The commands, encoded.
    pub(super) batch: Batch,
}

/// Lays out operands one after the other.
struct Layout {
    base: u64,
    words: u64,
}

impl Layout {
    /// The address of the next `words` words.
    fn next(&mut self, words: u64) -> u64 {
        let address = self.base + self.words * WORD;
        self.words += words;
        address
    }
}

impl Work {
    /// Makes the job at the address `base`.
    pub(super) fn new(job: &JobPlan, base: u64) -> Self {
        let mut random = Prng::at(job.data_seed, &[]);
        let mut layout = Layout { base, words: 0 };
        let mut commands = Vec::with_capacity(job.commands.len() + 2);
        let mut stamps = Vec::new();
        for command in &job.commands {
            let at = layout.words;
            if matches!(command, plan::Command::Timestamp) {
                // A word count of a job's memory fits: the plan's sizes are bounded.
                stamps.push(at as usize);
            }
            translate(command, &mut layout, &mut random, &mut commands);
        }
        let mut image = Vec::with_capacity(layout.words as usize);
        while (image.len() as u64) < layout.words {
            let pair = random.next_u64();
            image.push(pair as u32);
            image.push((pair >> 32) as u32);
        }
        image.truncate(layout.words as usize);
        let mut expected = image.clone();
        for command in &commands {
            let done = reference::apply(command, &mut expected, base);
            debug_assert!(done, "{command:?} leaves the job's memory");
        }
        let batch = batch(&mut commands, job.fault);
        Self {
            image,
            expected,
            stamps,
            batch,
        }
    }

    /// The words that are compared: all but those that hold a time.
    pub(super) fn compared(words: usize, stamps: &[usize]) -> Vec<Range<usize>> {
        let mut ranges = Vec::with_capacity(stamps.len() + 1);
        let mut from = 0;
        for &stamp in stamps {
            ranges.push(from..stamp);
            from = stamp + 2;
        }
        ranges.push(from..words);
        ranges
    }
}

/// The most words that one job of the stream takes in the ring.
pub(super) fn ring_words(stream: &StreamPlan) -> usize {
    // Sizes change operands, not the length of packets: any job will do. Faults add a few words.
    let job = stream.job(0, 0);
    let commands = job.commands.iter().map(|command| match command {
        plan::Command::Semaphore => 8,
        plan::Command::Fill { .. } => 5,
        plan::Command::Copy { .. } | plan::Command::Checksum { .. } => 6,
        plan::Command::Add { .. } => 8,
        plan::Command::Matmul { .. } => 10,
        plan::Command::Spin { .. } | plan::Command::Timestamp => 3,
    });
    commands.sum::<usize>() + Batch::FRAME_WORDS + 5
}

fn translate(
    command: &plan::Command,
    layout: &mut Layout,
    random: &mut Prng,
    commands: &mut Vec<Command>,
) {
    // Sizes are at most 1 MiB, and sides at most 512.
    let words = |bytes: u64| (bytes / WORD) as u32;
    match *command {
        plan::Command::Fill { bytes } => commands.push(Command::Fill {
            dst: layout.next(bytes / WORD),
            words: words(bytes),
            value: random.next_u64() as u32,
        }),
        plan::Command::Copy { bytes } => commands.push(Command::Copy {
            src: layout.next(bytes / WORD),
            dst: layout.next(bytes / WORD),
            words: words(bytes),
        }),
        plan::Command::Add { bytes } => commands.push(Command::Add {
            a: layout.next(bytes / WORD),
            b: layout.next(bytes / WORD),
            dst: layout.next(bytes / WORD),
            words: words(bytes),
        }),
        plan::Command::Checksum { bytes } => commands.push(Command::Checksum {
            src: layout.next(bytes / WORD),
            dst: layout.next(2),
            words: words(bytes),
        }),
        plan::Command::Matmul { n } => {
            let square = u64::from(n) * u64::from(n);
            commands.push(Command::MatMul {
                a: layout.next(square),
                b: layout.next(square),
                dst: layout.next(square),
                rows: n,
                inner: n,
                columns: n,
            });
        }
        plan::Command::Spin { duration } => commands.push(Command::Spin {
            ns: u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
        }),
        plan::Command::Timestamp => commands.push(Command::Timestamp {
            dst: layout.next(2),
        }),
        plan::Command::Semaphore => {
            let address = layout.next(2);
            let value = random.next_u64() as u32;
            commands.push(Command::SemaphoreWrite { address, value });
            commands.push(Command::SemaphoreWait { address, value });
        }
    }
}

/// Encodes the commands, with what goes wrong at their end.
fn batch(commands: &mut Vec<Command>, fault: Option<FaultKind>) -> Batch {
    let raw = match fault {
        Some(FaultKind::BadOpcode) => Some(NO_OPERATION),
        Some(FaultKind::RingOverrun) => Some(BEYOND_THE_RING),
        _ => None,
    };
    if let Some(header) = raw {
        let mut words = Vec::new();
        for command in commands {
            command.encode(&mut words);
        }
        words.push(header);
        return Batch::from_words(&words);
    }
    match fault {
        Some(FaultKind::Hang | FaultKind::SlowReset { .. } | FaultKind::FailingReset { .. }) => {
            commands.push(Command::Hang);
        }
        Some(FaultKind::Fault) => commands.push(Command::Fault { address: NOWHERE }),
        Some(FaultKind::BadAddress) => commands.push(Command::Fill {
            dst: NOWHERE,
            words: 1,
            value: 0,
        }),
        _ => {}
    }
    Batch::new(commands)
}
