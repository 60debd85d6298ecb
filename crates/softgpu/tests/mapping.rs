// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Page tables, permissions, and where memory goes.

mod common;

use common::{gpu, mapped, reached, settled, submit};
use ringfence_softgpu::{
    Command, Context, ContextState, Fault, FaultKind, GpuError, Permissions, VA_LIMIT,
};

const PAGE: u64 = 256;

#[track_caller]
fn faults(context: &Context, command: Command, kind: FaultKind, address: u64) {
    submit(context, &[command]);
    assert_eq!(settled(context), ContextState::Faulted, "{command:?}");
    assert_eq!(
        context.fault(),
        Some(Fault { kind, address }),
        "{command:?}"
    );
    context.reset().expect("the firmware answers");
}

#[test]
fn permissions_are_enforced_for_every_operand() {
    let gpu = gpu(1);
    let context = gpu.create_context(64).expect("a context");
    let (r, w, rw) = (0x1000, 0x2000, 0x3000);
    let buffer = gpu.alloc(PAGE).expect("memory");
    for (address, permissions) in [
        (r, Permissions::READ),
        (w, Permissions::WRITE),
        (rw, Permissions::READ_WRITE),
    ] {
        context
            .map_at(&buffer, address, permissions)
            .expect("the range is free");
    }
    let (no_read, no_write) = (FaultKind::NotReadable, FaultKind::NotWritable);
    let words = 4;
    faults(
        &context,
        Command::Fill {
            dst: r,
            words,
            value: 0,
        },
        no_write,
        r,
    );
    faults(
        &context,
        Command::Copy {
            dst: r,
            src: rw,
            words,
        },
        no_write,
        r,
    );
    faults(
        &context,
        Command::Copy {
            dst: rw,
            src: w,
            words,
        },
        no_read,
        w,
    );
    faults(
        &context,
        Command::Add {
            dst: r,
            a: r,
            b: r,
            words,
        },
        no_write,
        r,
    );
    faults(
        &context,
        Command::Add {
            dst: w,
            a: w,
            b: r,
            words,
        },
        no_read,
        w,
    );
    faults(
        &context,
        Command::Add {
            dst: w,
            a: r,
            b: w,
            words,
        },
        no_read,
        w,
    );
    faults(
        &context,
        Command::Checksum {
            dst: r,
            src: r,
            words,
        },
        no_write,
        r,
    );
    faults(
        &context,
        Command::Checksum {
            dst: w,
            src: w,
            words,
        },
        no_read,
        w,
    );
    let matmul = |dst, a, b| Command::MatMul {
        dst,
        a,
        b,
        rows: 2,
        inner: 2,
        columns: 2,
    };
    faults(&context, matmul(r, r, r), no_write, r);
    faults(&context, matmul(w, w, r), no_read, w);
    faults(&context, matmul(w, r, w), no_read, w);
    faults(
        &context,
        Command::SemaphoreWrite {
            address: r,
            value: 1,
        },
        no_write,
        r,
    );
    faults(
        &context,
        Command::SemaphoreWait {
            address: w,
            value: 1,
        },
        no_read,
        w,
    );
    faults(&context, Command::Timestamp { dst: r }, no_write, r);
    submit(
        &context,
        &[
            Command::Fill {
                dst: w,
                words: 4,
                value: 5,
            },
            Command::Add {
                dst: w,
                a: r,
                b: rw,
                words: 4,
            },
            Command::Fence { value: 1 },
        ],
    );
    reached(&context, 1);
    assert_eq!(buffer.to_vec()[..5], [10, 10, 10, 10, 0]);
}

#[test]
fn a_command_faults_at_the_page_it_may_not_touch() {
    let gpu = gpu(1);
    let context = gpu.create_context(64).expect("a context");
    let buffer = gpu.alloc(2 * PAGE).expect("memory");
    context
        .map_at(&buffer, 0x1000, Permissions::READ_WRITE)
        .expect("the range is free");
    let fill = Command::Fill {
        dst: 0x1000,
        words: 3 * 64,
        value: 1,
    };
    faults(&context, fill, FaultKind::Unmapped, 0x1000 + 2 * PAGE);
    assert_eq!(buffer.to_vec(), vec![1; 128], "what came before is written");

    context.unmap(0x1000).expect("it is mapped");
    faults(&context, fill, FaultKind::Unmapped, 0x1000);
}

#[test]
fn mappings_do_not_overlap_and_stay_in_bounds() {
    let (gpu, other) = (gpu(1), gpu(1));
    let context = gpu.create_context(64).expect("a context");
    let buffer = gpu.alloc(2 * PAGE).expect("memory");
    let map = |address| context.map_at(&buffer, address, Permissions::READ);
    map(0x1000).expect("the range is free");
    for taken in [0x1000 - PAGE, 0x1000, 0x1000 + PAGE] {
        assert!(
            matches!(map(taken), Err(GpuError::AlreadyMapped { .. })),
            "{taken:#x}"
        );
    }
    map(0x1000 - 2 * PAGE).expect("just before");
    map(0x1000 + 2 * PAGE).expect("just behind");
    map(VA_LIMIT - 2 * PAGE).expect("the last pages");
    for bad in [
        0,
        4,
        PAGE + 4,
        VA_LIMIT - PAGE,
        VA_LIMIT,
        u64::MAX - PAGE + 1,
    ] {
        assert!(matches!(map(bad), Err(GpuError::Invalid(_))), "{bad:#x}");
    }
    assert!(matches!(
        context.unmap(0x1000 + PAGE),
        Err(GpuError::NotMapped { .. })
    ));

    let foreign = other.alloc(PAGE).expect("memory");
    assert!(matches!(
        context.map(&foreign, Permissions::READ),
        Err(GpuError::Invalid(_))
    ));
}

#[test]
fn placed_mappings_fill_the_gaps() {
    let gpu = gpu(1);
    let context = gpu.create_context(64).expect("a context");
    let addresses: Vec<u64> = (0..10).map(|_| mapped(&gpu, &context, 64).1).collect();
    assert!(addresses.windows(2).all(|pair| pair[1] - pair[0] == PAGE));
    context.unmap(addresses[4]).expect("it is mapped");
    context.unmap(addresses[5]).expect("it is mapped");
    assert_eq!(
        mapped(&gpu, &context, 192).1,
        addresses[9] + PAGE,
        "too long for the gap"
    );
    assert_eq!(mapped(&gpu, &context, 128).1, addresses[4]);
}

#[test]
fn memory_stays_while_it_is_mapped_and_comes_back_after() {
    let gpu = gpu(1);
    let context = gpu.create_context(64).expect("a context");
    let ring = gpu.memory_in_use();
    assert_eq!(ring, PAGE, "a ring of 64 words takes a page");
    let buffer = gpu.alloc(1).expect("memory");
    let address = context
        .map(&buffer, Permissions::READ_WRITE)
        .expect("address space");
    drop(buffer);
    assert_eq!(gpu.memory_in_use(), ring + PAGE, "the mapping holds it");
    submit(
        &context,
        &[
            Command::Fill {
                dst: address,
                words: 64,
                value: 1,
            },
            Command::Fence { value: 1 },
        ],
    );
    reached(&context, 1);
    context.unmap(address).expect("it is mapped");
    assert_eq!(gpu.memory_in_use(), ring);

    let again = mapped(&gpu, &context, 64).0;
    assert_eq!(again.to_vec(), vec![0; 64], "nobody sees what another left");
    drop(context);
    assert_eq!(gpu.memory_in_use(), PAGE, "the handle holds it");
    drop(again);
    assert_eq!(gpu.memory_in_use(), 0);
}

#[test]
fn full_memory_is_an_error_and_nothing_leaks() {
    let gpu = gpu(1);
    let size = gpu.memory_size();
    let mut buffers = Vec::new();
    let error = loop {
        match gpu.alloc(size / 10) {
            Ok(buffer) => buffers.push(buffer),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, GpuError::OutOfMemory { .. }), "{error}");
    assert_eq!(error.errno(), -28);
    assert_eq!(
        buffers.len(),
        9,
        "rounded up to pages, the tenth does not fit"
    );
    assert!(gpu.create_context(1 << 20).is_err());
    assert!(matches!(
        gpu.alloc(u64::MAX),
        Err(GpuError::OutOfMemory { .. })
    ));
    assert!(matches!(gpu.alloc(0), Err(GpuError::Invalid(_))));
    buffers.clear();
    assert_eq!(gpu.memory_in_use(), 0);
    assert_eq!(gpu.alloc(size).expect("all of it").bytes(), size);
}

#[test]
fn the_processor_stays_in_its_buffer() {
    let gpu = gpu(1);
    let buffer = gpu.alloc(PAGE).expect("memory");
    let neighbour = gpu.alloc(PAGE).expect("memory");
    assert!(matches!(
        buffer.write(63, &[1, 2]),
        Err(GpuError::OutOfBounds { .. })
    ));
    assert!(buffer.write(usize::MAX, &[1]).is_err());
    assert!(buffer.read(64, &mut [0]).is_err());
    assert!(buffer.read_word(64).is_err());
    buffer.write(64, &[]).expect("nothing at the end");
    assert_eq!(buffer.to_vec(), vec![0; 64]);
    assert_eq!(neighbour.to_vec(), vec![0; 64]);
}
