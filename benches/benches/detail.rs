// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What single steps cost, in nanoseconds of this machine: for finding where time goes, not for
//! comparing machines. `cargo bench -p ringfence-bench`.

use std::hint::black_box;
use std::sync::{Arc, Weak};
use std::time::Duration;

use criterion::{criterion_group, criterion_main, BatchSize, BenchmarkId, Criterion};
use ringfence::executor::{Rest, Runnable};
use ringfence::fence::Callback;
use ringfence::{monotonic, Builder, Device, Executor, Pool, Queue, Time, Timeline};

#[allow(dead_code)] // The whole lives are timed by the program, not here.
#[path = "../src/jobs.rs"]
mod jobs;

use jobs::{complete_parked, AtOnce, Parking};

fn build(builder: Builder) -> (Pool, Queue<AtOnce>) {
    let pool = Pool::new(1).expect("a thread");
    let queue = builder.build(&Device::new("bench"), &pool, AtOnce);
    (pool, queue.expect("a queue"))
}

fn build_parking(builder: Builder) -> (Pool, Queue<Parking>) {
    let pool = Pool::new(1).expect("a thread");
    let queue = builder.build(&Device::new("bench"), &pool, Parking);
    (pool, queue.expect("a queue"))
}

fn jobs(c: &mut Criterion) {
    let mut group = c.benchmark_group("job");
    let (_pool, queue) = build(Queue::<AtOnce>::builder("prepare"));
    group.bench_function("prepare and drop", |b| {
        b.iter(|| drop(black_box(queue.prepare(0, 1))));
    });
    let (_pool, queue) = build(Queue::<AtOnce>::builder("submit").bypass(true));
    group.bench_function("submit on bypass, done at once", |b| {
        b.iter_batched(
            || queue.prepare(0, 1).expect("room"),
            |job| job.submit(),
            BatchSize::PerIteration,
        );
    });
    for (name, timeout) in [("without", None), ("with", Some(Duration::from_secs(3600)))] {
        let mut builder = Queue::<Parking>::builder("life").bypass(true);
        if let Some(timeout) = timeout {
            builder = builder.timeout(timeout);
        }
        let (_pool, queue) = build_parking(builder);
        group.bench_function(BenchmarkId::new("whole life on bypass", name), |b| {
            b.iter(|| {
                let fence = queue.prepare(0, 1).expect("room").submit();
                complete_parked();
                fence
            });
        });
    }
    group.finish();
}

fn fences(c: &mut Criterion) {
    let mut group = c.benchmark_group("fence");
    let timeline = Timeline::new("bench");
    for callbacks in [0, 1, 8] {
        group.bench_function(BenchmarkId::new("signal", callbacks), |b| {
            b.iter_batched(
                || {
                    let (signaller, fence) = timeline.signaller();
                    let register = |_| {
                        fence.add_callback(Callback::new(|result| {
                            black_box(result).expect("signalled without error");
                        }))
                    };
                    let registered: Vec<_> = (0..callbacks)
                        .map(|number| register(number).expect("not signalled yet"))
                        .collect();
                    (signaller, registered)
                },
                |(signaller, registered)| {
                    signaller.signal(Ok(()));
                    registered
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn worker(c: &mut Criterion) {
    let mut group = c.benchmark_group("worker");
    let (_pool, queue) = build(Queue::<AtOnce>::builder("trip"));
    group.bench_function("round trip of one job", |b| {
        b.iter(|| queue.prepare(0, 1).expect("room").submit().wait());
    });
    let pool = Pool::new(1).expect("a thread");
    let device = Device::new("bench");
    let first = Queue::<Parking>::builder("first").bypass(true);
    let first = first.build(&device, &pool, Parking).expect("a queue");
    let second = Queue::<AtOnce>::builder("second").build(&device, &pool, AtOnce);
    let second = second.expect("a queue");
    group.bench_function("hand-over from queue to queue by a dependency", |b| {
        b.iter(|| {
            let fence = first.prepare(0, 1).expect("room").submit();
            let mut next = second.prepare(0, 1).expect("room");
            next.depends_on(&fence).expect("memory");
            let next = next.submit();
            complete_parked();
            next.wait()
        });
    });
    group.finish();
}

/// A timer's owner that nothing happens to.
struct Nobody;

impl Runnable for Nobody {
    fn work(self: Arc<Self>) -> Rest {
        Rest::Idle
    }

    fn timer_fired(self: Arc<Self>, _now: Time) {}
}

fn timers(c: &mut Criterion) {
    let mut group = c.benchmark_group("timer");
    let nobody: Arc<dyn Runnable> = Arc::new(Nobody);
    for places in [1u32, 1_000, 10_000] {
        let pool = Pool::new(1).expect("a thread");
        let places: Vec<_> = (0..places)
            .map(|_| pool.register(Weak::clone(&Arc::downgrade(&nobody))))
            .collect();
        let hour = monotonic().after(Duration::from_secs(3600));
        let mut number = 0u64;
        group.bench_function(BenchmarkId::new("set one of", places.len()), |b| {
            b.iter(|| {
                // Spread over an hour, in no order.
                number = number
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let at = hour.after(Duration::from_nanos(number >> 22));
                let index = (number >> 40) as usize % places.len();
                pool.arm_timer(places[index], at);
            });
        });
    }
    group.finish();
}

fn snapshots(c: &mut Criterion) {
    let mut group = c.benchmark_group("snapshot");
    for jobs in [0, 64, 1024] {
        let (_pool, queue) = build(Queue::<AtOnce>::builder("snapshot").capacity(1024));
        queue.suspend();
        for number in 0..jobs {
            drop(queue.prepare(number, 1).expect("room").submit());
        }
        group.bench_function(BenchmarkId::new("of jobs", jobs), |b| {
            b.iter(|| queue.snapshot());
        });
    }
    group.finish();
}

criterion_group!(detail, jobs, fences, worker, timers, snapshots);
criterion_main!(detail);
