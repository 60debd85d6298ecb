// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A bad stream faults its own context, and nothing else happens.

mod common;

use common::{gpu, mapped, reached, settled, submit, until};
use proptest::prelude::*;
use ringfence_softgpu::{Command, ContextState, Fault, FaultKind, Interrupt, VA_LIMIT};
use std::cell::Cell;
use std::sync::mpsc;

/// A packet that is good, or good but for an operand.
fn packet() -> impl Strategy<Value = Vec<u32>> {
    let address = prop_oneof![
        30 => (0_u64..200).prop_map(|word| 0x0010_0000 + word * 4),
        1 => any::<u64>(),
    ];
    let words = prop_oneof![30 => 0_u32..50, 1 => any::<u32>()];
    (0..14, prop::array::uniform3(address), words, 1_u32..6).prop_map(|(kind, [a, b, c], w, n)| {
        encoded(match kind {
            0 => Command::Nop { padding: n as u16 },
            1 => Command::BeginJob { value: c },
            2 => Command::Fence { value: a },
            3 | 4 => Command::Fill {
                dst: a,
                words: w,
                value: n,
            },
            5 | 6 => Command::Copy {
                dst: a,
                src: b,
                words: w,
            },
            7 => Command::Add {
                dst: a,
                a: b,
                b: c,
                words: w,
            },
            8 => Command::Checksum {
                dst: a,
                src: b,
                words: w,
            },
            9 => Command::MatMul {
                dst: a,
                a: b,
                b: c,
                rows: n,
                inner: n,
                columns: n,
            },
            10 => Command::SemaphoreWait {
                address: a,
                value: n - 1,
            },
            11 => Command::SemaphoreWrite {
                address: a,
                value: w,
            },
            12 => Command::Timestamp { dst: a },
            _ => Command::Spin { ns: u64::from(w) },
        })
    })
}

/// A stream: packets, and words that are none, of which some look like headers.
fn stream() -> impl Strategy<Value = Vec<u32>> {
    let header = (0_u32..0x34, 0_u32..12).prop_map(|(opcode, words)| (opcode << 16) | words);
    let junk = prop::collection::vec(prop_oneof![header, any::<u32>()], 1..30);
    let part = prop_oneof![12 => packet(), 1 => junk];
    prop::collection::vec(part, 1..12).prop_map(|parts| {
        let mut words = parts.concat();
        words.truncate(128);
        words
    })
}

#[test]
fn random_words_end_in_a_fault_or_are_done_and_touch_nobody_else() {
    let gpu = gpu(2);
    let victim = gpu.create_context(1024).expect("a context");
    let (secret, at_secret) = mapped(&gpu, &victim, 4096);
    let pattern: Vec<u32> = (0..4096).map(|i| i * 7 + 1).collect();
    secret.write(0, &pattern).expect("it fits");
    let [faults, dones, resets, jobs] = [const { Cell::new(0_u64) }; 4];
    let count = |counter: &Cell<u64>| {
        counter.set(counter.get() + 1);
        counter.get()
    };
    proptest!(common::cases(2500), |(
        words in stream()
    )| {
        let context = gpu.create_context(128).expect("a context");
        let (_buffer, _) = mapped(&gpu, &context, 256);
        context.ring().push_words(&words).expect("the ring has room");
        context.doorbell();
        // The neighbour works on.
        let job = count(&jobs);
        submit(&victim, &[
            Command::Checksum { dst: at_secret, src: at_secret + 8, words: 4094 },
            Command::Fence { value: job },
        ]);
        reached(&victim, job);
        // Waits, long spins and hangs end by reset only.
        let ends = |context: &ringfence_softgpu::Context| {
            let ring = context.ring();
            match context.state() {
                ContextState::Faulted => true,
                ContextState::Idle => ring.get() == ring.put(),
                _ => matches!(ring.word(ring.get()) >> 16, 0x20 | 0x30 | 0x32),
            }
        };
        until("an end", || ends(&context));
        match context.state() {
            ContextState::Faulted => {
                assert!(context.fault().is_some());
                count(&faults);
            }
            ContextState::Idle => {
                count(&dones);
            }
            _ => {
                count(&resets);
                context.reset().expect("the firmware answers");
                assert_eq!(context.state(), ContextState::Idle);
            }
        }
    });
    let [faults, dones, resets] = [faults.get(), dones.get(), resets.get()];
    assert!(
        faults > 300 && dones > 300 && resets > 30,
        "{faults} faults, {dones} done, {resets} reset"
    );
    assert_eq!(victim.fault(), None);
    assert_eq!(secret.to_vec()[2..], pattern[2..]);
    drop(victim);
    drop(secret);
    assert_eq!(gpu.memory_in_use(), 0);
}

/// Runs `words` in a context of its own and returns the fault.
fn fault_of(words: &[u32]) -> Fault {
    let gpu = gpu(1);
    let context = gpu.create_context(64).expect("a context");
    let (sender, faults) = mpsc::channel();
    let _handler = context
        .on_interrupt(move |interrupt| {
            if let Interrupt::Fault { fault, .. } = interrupt {
                sender.send(*fault).expect("the test listens");
            }
        })
        .expect("the first handler");
    // One good packet first, so that the fault's place is not zero.
    context
        .ring()
        .push(&[Command::Nop { padding: 2 }])
        .expect("the ring has room");
    context.ring().push_words(words).expect("the ring has room");
    context.doorbell();
    assert_eq!(settled(&context), ContextState::Faulted);
    let fault = faults
        .recv_timeout(common::PATIENCE)
        .expect("a fault interrupt");
    assert_eq!(context.fault(), Some(fault));
    assert_eq!(gpu.stats().faults, 1);

    // It stands still until it is reset, and works again after that.
    context.doorbell();
    gpu.ping().expect("the firmware lives");
    assert_eq!(context.state(), ContextState::Faulted);
    let report = context.reset().expect("the firmware answers");
    assert_eq!(report.fault, Some(fault));
    assert!(report.discarded_words > 0);
    assert_eq!(context.fault(), None);
    submit(&context, &[Command::Fence { value: 9 }]);
    reached(&context, 9);
    fault
}

fn encoded(command: Command) -> Vec<u32> {
    let mut words = Vec::new();
    command.encode(&mut words);
    words
}

#[test]
fn each_kind_of_bad_packet_has_its_fault() {
    use FaultKind::{
        BadLength, BadOpcode, BadOperand, Misaligned, OutOfRange, Truncated, Unmapped,
    };
    let stream = |kind| Fault { kind, address: 3 };
    assert_eq!(fault_of(&[0]), stream(BadOpcode));
    assert_eq!(fault_of(&[0xffff_ffff]), stream(BadOpcode));
    assert_eq!(
        fault_of(&[0x0100_0001 | 0x0001_0000]),
        stream(BadOpcode),
        "a reserved bit"
    );
    assert_eq!(
        fault_of(&[0x0001_0000]),
        stream(BadLength),
        "a packet of no words"
    );
    assert_eq!(fault_of(&[0x0003_0004, 0, 0, 0]), stream(BadLength));
    assert_eq!(fault_of(&[0x0003_0003, 1]), stream(Truncated));
    assert_eq!(
        fault_of(&[0x0001_ffff]),
        stream(Truncated),
        "longer than the ring"
    );

    let at = |kind, address| Fault { kind, address };
    let fill = |dst, words| {
        fault_of(&encoded(Command::Fill {
            dst,
            words,
            value: 1,
        }))
    };
    assert_eq!(fill(0x8000, 1), at(Unmapped, 0x8000));
    assert_eq!(fill(0x8002, 1), at(Misaligned, 0x8002));
    assert_eq!(fill(VA_LIMIT - 4, 2), at(OutOfRange, VA_LIMIT - 4));
    assert_eq!(fill(u64::MAX - 3, 1), at(OutOfRange, u64::MAX - 3));
    assert_eq!(fill(0x8000, u32::MAX), at(OutOfRange, 0x8000));
    let sides = |rows, inner| {
        fault_of(&encoded(Command::MatMul {
            dst: 0x40,
            a: 0,
            b: 0,
            rows,
            inner,
            columns: 1,
        }))
    };
    assert_eq!(sides(0, 1), at(BadOperand, 0x40));
    assert_eq!(sides(1, 4097), at(BadOperand, 0x40));
    let fault = fault_of(&encoded(Command::Fault {
        address: 0xdead_beef_0000,
    }));
    assert_eq!(fault, at(Unmapped, 0xdead_beef_0000));
    assert_eq!(fault.to_string(), "unmapped address at 0xdeadbeef0000");
    let wait = encoded(Command::SemaphoreWait {
        address: 0x40,
        value: 1,
    });
    assert_eq!(fault_of(&wait), at(Unmapped, 0x40));
}

#[test]
fn a_put_beyond_the_ring_faults() {
    for bad in [65, 1 << 40, u64::MAX] {
        let gpu = gpu(1);
        let context = gpu.create_context(64).expect("a context");
        context.ring().write_put(bad);
        context.doorbell();
        assert_eq!(settled(&context), ContextState::Faulted, "PUT at {bad}");
        let fault = Fault {
            kind: FaultKind::RingOverrun,
            address: 0,
        };
        assert_eq!(context.fault(), Some(fault));
        let report = context.reset().expect("the firmware answers");
        assert_eq!(report.discarded_words, 64);
        submit(&context, &[Command::Fence { value: 1 }]);
        reached(&context, 1);
    }
}

#[test]
fn a_full_ring_refuses_a_job_as_a_whole() {
    let gpu = gpu(1);
    let context = gpu.create_context(16).expect("a context");
    let (semaphore, address) = mapped(&gpu, &context, 1);
    submit(&context, &[Command::SemaphoreWait { address, value: 1 }]);
    assert_eq!(
        context.ring().free_words(),
        12,
        "a command in progress keeps its words"
    );
    let job = [Command::Nop { padding: 9 }, Command::Fence { value: 1 }];
    let full = context.ring().push(&job).expect_err("13 words do not fit");
    assert_eq!((full.needed, full.free), (13, 12));
    assert_eq!(context.ring().put(), 4, "nothing was published");
    context.ring().push(&job[1..]).expect("3 words fit");
    context.doorbell();
    semaphore.write(0, &[1]).expect("it fits");
    reached(&context, 1);
    assert_eq!(context.ring().free_words(), 16);
}
