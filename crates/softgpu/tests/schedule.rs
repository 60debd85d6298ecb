// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Slots, run list and time slices.

mod common;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use common::{config, gpu, mapped, reached, submit, until};
use ringfence_softgpu::{
    Command, Context, ContextState, Gpu, GpuConfig, Permissions, SlotEvent, SlotEventKind,
};

fn contexts(gpu: &Gpu, count: usize) -> Vec<Context> {
    (0..count)
        .map(|_| gpu.create_context(256).expect("a context"))
        .collect()
}

/// A device that writes down what happens on its slots.
fn observed(slots: u32) -> (Gpu, Arc<Mutex<Vec<SlotEvent>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let observer = Arc::new(move |event: &SlotEvent| {
        sink.lock().expect("no panic").push(*event);
    });
    let gpu = Gpu::start(GpuConfig {
        observer: Some(observer),
        ..config(slots)
    });
    (gpu.expect("the device starts"), events)
}

#[test]
fn many_contexts_share_few_slots() {
    let gpu = gpu(3);
    let contexts = contexts(&gpu, 40);
    let shared = gpu.alloc(256).expect("memory");
    let buffers: Vec<_> = contexts
        .iter()
        .map(|context| mapped(&gpu, context, 2048))
        .collect();
    for round in 1..=10 {
        for (index, (context, (_, address))) in contexts.iter().zip(&buffers).enumerate() {
            if round == 1 {
                context
                    .map_at(&shared, 0x1000, Permissions::READ_WRITE)
                    .expect("free range");
            }
            let value = (index as u32) << 8 | round;
            submit(
                context,
                &[
                    Command::Fill {
                        dst: *address,
                        words: 2048,
                        value,
                    },
                    Command::Copy {
                        dst: 0x1000 + index as u64 * 4,
                        src: *address,
                        words: 1,
                    },
                    Command::Fence {
                        value: round.into(),
                    },
                ],
            );
        }
    }
    for (index, (context, (buffer, _))) in contexts.iter().zip(&buffers).enumerate() {
        reached(context, 10);
        let value = (index as u32) << 8 | 10;
        assert_eq!(buffer.to_vec(), vec![value; 2048]);
        assert_eq!(shared.read_word(index).expect("in bounds"), value);
    }
    assert_eq!(gpu.stats().jobs, 400);
}

#[test]
fn with_one_slot_a_hung_context_does_not_stop_the_others() {
    let gpu = gpu(1);
    let contexts = contexts(&gpu, 4);
    let hung = &contexts[0];
    submit(hung, &[Command::Hang, Command::Fence { value: 1 }]);
    until("the hang to be on the slot", || {
        hung.state() == ContextState::Resident(0)
    });
    let progress = hung.progress();
    for value in 1..20 {
        for context in &contexts[1..] {
            submit(
                context,
                &[Command::Nop { padding: 0 }, Command::Fence { value }],
            );
        }
        for context in &contexts[1..] {
            reached(context, value);
        }
    }
    assert_eq!(hung.progress(), progress, "a hang is no progress");
    assert_eq!(hung.fence_value(), 0);
    let report = hung.reset().expect("the firmware answers");
    assert_eq!((report.fence_value, report.discarded_words), (0, 4));
    submit(hung, &[Command::Fence { value: 1 }]);
    reached(hung, 1);
}

#[test]
fn with_one_slot_a_busy_context_does_not_stop_the_others() {
    let gpu = gpu(1);
    let contexts = contexts(&gpu, 2);
    let (_matrix, a) = mapped(&gpu, &contexts[0], 3 * 500 * 500);
    // Seconds of work, unless it is interrupted.
    let matmul = Command::MatMul {
        dst: a,
        a,
        b: a + 1_000_000,
        rows: 500,
        inner: 500,
        columns: 500,
    };
    let mut job = vec![matmul; 24];
    job.push(Command::Fence { value: 1 });
    submit(&contexts[0], &job);
    until("progress", || contexts[0].progress() > 0);
    for value in 1..5 {
        submit(&contexts[1], &[Command::Fence { value }]);
        reached(&contexts[1], value);
    }
    assert_eq!(
        contexts[0].fence_value(),
        0,
        "the long work is still being done"
    );
    let progress = contexts[0].progress();
    until("more progress", || contexts[0].progress() > progress);
    let before = std::time::Instant::now();
    contexts[0].reset().expect("the firmware answers");
    assert!(before.elapsed() < common::PATIENCE);
    assert_eq!(contexts[0].state(), ContextState::Idle);
}

#[test]
fn a_blocked_context_gives_its_slot_away() {
    // With slices that never end, only that can help.
    let slices = GpuConfig {
        time_slice: std::time::Duration::from_secs(3600),
        ..config(1)
    };
    let gpu = Gpu::start(slices).expect("the device starts");
    let contexts = contexts(&gpu, 3);
    let (semaphore, address) = mapped(&gpu, &contexts[0], 4);
    for context in &contexts[1..] {
        context
            .map_at(&semaphore, address, Permissions::READ_WRITE)
            .expect("free range");
    }
    // Each waits for the next one's semaphore; the last waits for nobody.
    for (index, context) in contexts.iter().enumerate() {
        let word = address + index as u64 * 4;
        let mut job = vec![
            Command::SemaphoreWait {
                address: word + 4,
                value: 1,
            },
            Command::SemaphoreWrite {
                address: word,
                value: 1,
            },
            Command::Fence { value: 1 },
        ];
        if index == 2 {
            job.remove(0);
        }
        submit(context, &job);
    }
    contexts.iter().for_each(|context| reached(context, 1));
}

#[test]
fn an_unmapped_semaphore_ends_the_wait_with_a_fault() {
    let gpu = gpu(1);
    let context = gpu.create_context(64).expect("a context");
    let (_semaphore, address) = mapped(&gpu, &context, 1);
    submit(&context, &[Command::SemaphoreWait { address, value: 1 }]);
    until("the wait", || context.state() == ContextState::Resident(0));
    context.unmap(address).expect("it is mapped");
    until("a fault", || context.state() == ContextState::Faulted);
    assert!(context
        .fault()
        .is_some_and(|fault| fault.address == address));
}

#[test]
fn spins_on_several_slots_run_side_by_side() {
    let gpu = gpu(8);
    let contexts = contexts(&gpu, 8);
    for context in &contexts {
        submit(context, &[Command::Spin { ns: u64::MAX }]);
    }
    // As many as there are slots: nobody has to leave.
    for (slot, context) in contexts.iter().enumerate() {
        until("its slot", || {
            matches!(context.state(), ContextState::Resident(_))
        });
        assert!(
            contexts[..slot]
                .iter()
                .all(|earlier| matches!(earlier.state(), ContextState::Resident(_))),
            "all are on their slots at once"
        );
    }
    for context in &contexts {
        let progress = context.progress();
        until("progress", || context.progress() > progress);
    }
}

#[test]
fn spin_time_counts_on_the_slot_only() {
    // A spin is cut short only if the machine looks at it before it is over.
    let cut = (0..10).any(|doublings| three_spins_on_one_slot(4_000_000 << doublings));
    assert!(cut, "slices of 500 us last for seconds");
}

/// Whether at least one of them was cut by the end of a slice and resumed.
fn three_spins_on_one_slot(ns: u64) -> bool {
    let (gpu, events) = observed(1);
    let contexts = contexts(&gpu, 3);
    for context in &contexts {
        let job = [
            Command::BeginJob { value: 7 },
            Command::Spin { ns },
            Command::Fence { value: 7 },
        ];
        submit(context, &job);
    }
    contexts.iter().for_each(|context| reached(context, 7));
    gpu.stop();
    let events = events.lock().expect("no panic");
    let mut resident = HashMap::new();
    let mut since = None;
    let mut switches = 0;
    let mut resumed = 0;
    for event in events.iter() {
        assert_eq!(event.slot, 0);
        match event.kind {
            SlotEventKind::Resident { job } => {
                assert_eq!(
                    since.replace((event.context, event.at)),
                    None,
                    "one at a time"
                );
                switches += 1;
                resumed += u32::from(job == Some(7));
            }
            SlotEventKind::Left => {
                let (context, from) = since.take().expect("it was resident");
                assert_eq!(context, event.context);
                *resident.entry(context).or_insert(0) += event.at - from;
            }
            _ => assert_eq!(since.map(|(context, _)| context), Some(event.context)),
        }
    }
    assert!(events.windows(2).all(|pair| pair[0].at <= pair[1].at));
    assert_eq!(resident.len(), 3);
    assert!(resident.values().all(|&time| time >= ns), "{resident:?}");
    resumed > 0 && switches > 3
}

#[test]
fn a_spin_is_progress() {
    let gpu = gpu(1);
    let context = gpu.create_context(64).expect("a context");
    submit(&context, &[Command::Spin { ns: u64::MAX }]);
    until("the spin", || context.progress() > 0);
    let progress = context.progress();
    until("progress", || context.progress() > progress);
    context.reset().expect("the firmware answers");
    let progress = context.progress();
    gpu.ping().expect("the firmware lives");
    assert_eq!(context.progress(), progress);
}

#[test]
fn contexts_come_and_go_while_others_work() {
    let gpu = gpu(2);
    let worker = gpu.create_context(256).expect("a context");
    for value in 1..300 {
        submit(
            &worker,
            &[Command::Nop { padding: 5 }, Command::Fence { value }],
        );
        let passer_by = gpu.create_context(16).expect("a context");
        submit(&passer_by, &[Command::Hang]);
        if value % 3 == 0 {
            until("a slot", || {
                matches!(passer_by.state(), ContextState::Resident(_))
            });
        }
        drop(passer_by);
        reached(&worker, value);
    }
    drop(worker);
    assert_eq!(gpu.memory_in_use(), 0);
}

#[test]
fn a_stopped_device_refuses_and_does_not_hang() {
    let gpu = gpu(1);
    let contexts = contexts(&gpu, 2);
    submit(&contexts[0], &[Command::Hang]);
    gpu.stop();
    gpu.stop();
    for context in &contexts {
        assert_eq!(context.state(), ContextState::Stopped);
        submit(context, &[Command::Fence { value: 1 }]);
        assert_eq!(context.reset().expect_err("it is stopped").errno(), -19);
    }
    assert!(gpu.create_context(64).is_err());
    assert!(gpu.ping().is_err() && gpu.reset().is_err());
    drop(gpu);
    assert_eq!(contexts[0].fence_value(), 0);
}

#[test]
fn bad_configurations_are_refused() {
    let good = GpuConfig::default;
    let bad = [
        GpuConfig { slots: 0, ..good() },
        GpuConfig {
            slots: 1025,
            ..good()
        },
        GpuConfig {
            page_bytes: 128,
            ..good()
        },
        GpuConfig {
            page_bytes: 5000,
            ..good()
        },
        GpuConfig {
            vram_bytes: 0,
            ..good()
        },
        GpuConfig {
            vram_bytes: u64::MAX,
            ..good()
        },
        GpuConfig {
            time_slice: std::time::Duration::ZERO,
            ..good()
        },
    ];
    for config in bad {
        let shown = format!("{config:?}");
        assert_eq!(
            Gpu::start(config).err().map(|error| error.errno()),
            Some(-22),
            "{shown}"
        );
    }
    let gpu = gpu(1);
    for ring in [0, 1, 8, 100, usize::MAX] {
        assert!(gpu.create_context(ring).is_err(), "a ring of {ring} words");
    }
}
