// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Each command leaves in memory what the reference says.

mod common;

use std::time::Duration;

use common::{gpu, mapped, reached, submit};
use proptest::prelude::*;
use ringfence_softgpu::{now_ns, reference, Command, Context, Gpu, GpuConfig};

const WORDS: u32 = 600;
const BASE: u64 = 0x4000_0000;

/// A command whose operands lie in `WORDS` words at `BASE`, overlapping or not.
fn command() -> impl Strategy<Value = Command> {
    let range = (0..WORDS).prop_flat_map(|words| (Just(words), 0..=(WORDS - words)));
    let at = |word: u32| BASE + u64::from(word) * 4;
    let other = 0..=WORDS;
    prop_oneof![
        (range.clone(), any::<u32>()).prop_map(move |((words, dst), value)| Command::Fill {
            dst: at(dst),
            words,
            value
        }),
        (range.clone(), other.clone()).prop_map(move |((words, dst), src)| Command::Copy {
            dst: at(dst),
            src: at(src.min(WORDS - words)),
            words
        }),
        (range.clone(), other.clone(), other.clone()).prop_map(move |((words, dst), a, b)| {
            let fit = |word: u32| at(word.min(WORDS - words));
            Command::Add {
                dst: at(dst),
                a: fit(a),
                b: fit(b),
                words,
            }
        }),
        (range, 0..WORDS - 1).prop_map(move |((words, src), dst)| Command::Checksum {
            dst: at(dst),
            src: at(src),
            words
        }),
        (
            prop::array::uniform3(1..20_u32),
            prop::array::uniform3(0..200_u32)
        )
            .prop_map(
                move |([rows, inner, columns], [dst, a, b])| Command::MatMul {
                    dst: at(dst),
                    a: at(a),
                    b: at(b),
                    rows,
                    inner,
                    columns
                }
            ),
        (0..WORDS, any::<u32>()).prop_map(move |(word, value)| Command::SemaphoreWrite {
            address: at(word),
            value
        }),
        (0..9_u16).prop_map(|padding| Command::Nop { padding }),
    ]
}

/// Runs `commands` on the device and on the reference, in equal memory.
fn compare(gpu: &Gpu, context: &Context, commands: &[Command], seed: u32) {
    let buffer = gpu.alloc(u64::from(WORDS) * 4).expect("memory");
    let permissions = ringfence_softgpu::Permissions::READ_WRITE;
    context
        .map_at(&buffer, BASE, permissions)
        .expect("the range is free");
    let mut expected: Vec<u32> = (0..buffer.words() as u32)
        .map(|i| (i ^ seed).wrapping_mul(0x9e37_79b9))
        .collect();
    buffer.write(0, &expected).expect("it fits");

    let fence = context.fence_value() + 1;
    for command in commands {
        assert!(
            reference::apply(command, &mut expected, BASE),
            "out of range: {command:?}"
        );
    }
    let mut stream = commands.to_vec();
    stream.push(Command::Fence { value: fence });
    submit(context, &stream);
    reached(context, fence);
    assert_eq!(buffer.to_vec(), expected, "{commands:?}");
    context.unmap(BASE).expect("it is mapped");
}

#[test]
fn commands_leave_what_the_reference_leaves() {
    let gpu = gpu(2);
    // A ring so small that packets wrap around its end all the time.
    let context = gpu.create_context(128).expect("a context");
    proptest!(common::cases(1500), |(
        commands in prop::collection::vec(command(), 1..9), seed: u32
    )| {
        compare(&gpu, &context, &commands, seed);
    });
    drop(context);
    assert_eq!(gpu.memory_in_use(), 0);
}

#[test]
fn long_commands_are_done_in_pieces_and_whole() {
    let gpu = Gpu::start(GpuConfig::default()).expect("the device starts");
    let context = gpu.create_context(256).expect("a context");
    let words = 1 << 19;
    let (a, at_a) = mapped(&gpu, &context, words);
    let (b, at_b) = mapped(&gpu, &context, words);
    let (c, at_c) = mapped(&gpu, &context, words);
    let data: Vec<u32> = (0..words as u32)
        .map(|i| i.wrapping_mul(2_654_435_761))
        .collect();
    a.write(0, &data).expect("it fits");
    let words = words as u32;
    submit(
        &context,
        &[
            Command::Fill {
                dst: at_b,
                words,
                value: 3,
            },
            Command::Add {
                dst: at_c,
                a: at_a,
                b: at_b,
                words,
            },
            Command::Checksum {
                dst: at_a,
                src: at_c,
                words,
            },
            Command::Copy {
                dst: at_b,
                src: at_c,
                words,
            },
            Command::Fence { value: 1 },
        ],
    );
    reached(&context, 1);
    let mut sums = vec![0; data.len()];
    reference::add(&mut sums, &data, &vec![3; data.len()]);
    assert_eq!(c.to_vec(), sums);
    assert_eq!(b.to_vec(), sums);
    let checksum = reference::checksum(&sums);
    assert_eq!(a.read_word(0).expect("in bounds"), checksum as u32);
    assert_eq!(a.read_word(1).expect("in bounds"), (checksum >> 32) as u32);

    let (rows, inner, columns) = (70, 300, 1100);
    submit(
        &context,
        &[
            Command::MatMul {
                dst: at_b,
                a: at_a,
                b: at_c,
                rows,
                inner,
                columns,
            },
            Command::Fence { value: 2 },
        ],
    );
    reached(&context, 2);
    let product = reference::matmul(&a.to_vec(), &sums, 70, 300, 1100);
    assert_eq!(b.to_vec()[..product.len()], product);
}

#[test]
fn timestamps_and_spins_tell_the_time() {
    let gpu = gpu(1);
    let context = gpu.create_context(256).expect("a context");
    let (buffer, address) = mapped(&gpu, &context, 4);
    let before = now_ns();
    let spin = 3_000_000;
    submit(
        &context,
        &[
            Command::Timestamp { dst: address },
            Command::Spin { ns: spin },
            Command::Timestamp { dst: address + 8 },
            Command::Fence { value: 1 },
        ],
    );
    reached(&context, 1);
    let words = buffer.to_vec();
    let wide = |i: usize| u64::from(words[i]) | (u64::from(words[i + 1]) << 32);
    let (start, end) = (wide(0), wide(2));
    assert!(before <= start && end <= now_ns());
    assert!(
        end - start >= spin,
        "the spin was {} ns too short",
        spin - (end - start)
    );
}

#[test]
fn a_semaphore_orders_two_contexts() {
    let gpu = gpu(2);
    let (first, second) = (
        gpu.create_context(64).expect("a context"),
        gpu.create_context(64).expect("a context"),
    );
    let (buffer, address) = mapped(&gpu, &first, 64);
    second
        .map_at(&buffer, address, ringfence_softgpu::Permissions::READ_WRITE)
        .expect("another context's addresses are its own");
    for round in 1..200 {
        submit(
            &second,
            &[
                Command::SemaphoreWait {
                    address,
                    value: round,
                },
                Command::Copy {
                    dst: address + 8,
                    src: address + 4,
                    words: 1,
                },
                Command::Fence {
                    value: round.into(),
                },
            ],
        );
        submit(
            &first,
            &[
                Command::Fill {
                    dst: address + 4,
                    words: 1,
                    value: round * 3,
                },
                Command::SemaphoreWrite {
                    address,
                    value: round,
                },
                Command::Fence {
                    value: round.into(),
                },
            ],
        );
        reached(&second, round.into());
        assert_eq!(buffer.read_word(2).expect("in bounds"), round * 3);
    }
}

#[test]
fn the_host_can_write_a_semaphore() {
    let gpu = gpu(1);
    let context = gpu.create_context(64).expect("a context");
    let (buffer, address) = mapped(&gpu, &context, 1);
    for round in 1..300 {
        submit(
            &context,
            &[
                Command::SemaphoreWait {
                    address,
                    value: round,
                },
                Command::Fence {
                    value: round.into(),
                },
            ],
        );
        assert_eq!(context.fence_value(), u64::from(round) - 1);
        // Now and then the firmware has gone to sleep before the write, or is about to.
        if round % 10 == 0 {
            std::thread::sleep(Duration::from_micros(u64::from(round) * 10));
        }
        buffer.write(0, &[round]).expect("it fits");
        reached(&context, round.into());
    }
}
