// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Nothing allocates between prepare and the end of a job, on any thread.
//!
//! The whole process is counted, since an allocation may be made by any thread that a job passes:
//! the submitter's, a worker's, the completer's. So there is one test, lest the harness start and
//! end others meanwhile.
#![cfg(not(any(feature = "loom", feature = "shuttle")))]

mod bench;
mod counting;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bench::{builder, Bench, Does, Plain, Turnstile, JOBS};
use counting::{allocations, spin_until};
use ringfence::section::CHECKED;
use ringfence::{
    Builder, Device, Errno, Fence, Hang, Inspection, Queue, Rest, Signaller, SubmissionGuard,
    Timeline,
};

/// Prepares jobs, then counts while they are submitted and until their payloads are dropped.
fn count(
    what: &str,
    builder: Builder,
    make: impl Fn(u64) -> (Does, Vec<Fence>, Option<Signaller>),
    meanwhile: impl FnOnce(&Bench, &Queue<Plain>),
) {
    count_on(Bench::new(), what, builder, make, meanwhile);
}

/// As [`count`], on this bench.
fn count_on(
    bench: Bench,
    what: &str,
    builder: Builder,
    make: impl Fn(u64) -> (Does, Vec<Fence>, Option<Signaller>),
    meanwhile: impl FnOnce(&Bench, &Queue<Plain>),
) {
    bench.warm_up();
    let queue = bench.queue(builder);
    let (mut jobs, mut signallers) = (Vec::new(), Vec::new());
    for number in 0..JOBS {
        let (does, after, signaller) = make(number);
        let mut job = queue.prepare(bench.work(does), 1).unwrap();
        for fence in &after {
            job.depends_on(fence).unwrap();
        }
        jobs.push(job);
        signallers.extend(signaller);
    }
    let mut fences = Vec::with_capacity(jobs.len());
    let allocated = allocations(|| {
        fences.extend(jobs.drain(..).map(|job| job.submit()));
        for signaller in signallers.drain(..) {
            signaller.signal(Ok(()));
        }
        meanwhile(&bench, &queue);
        spin_until(|| bench.all_gone() && fences.iter().all(Fence::is_signaled));
    });
    assert_eq!(allocated, 0, "{what}");
    assert!(bench.made.load(Ordering::SeqCst) >= JOBS);
}

fn completing(in_irq: bool) -> impl Fn(&Bench, &Queue<Plain>) {
    move |bench, queue| {
        spin_until(|| {
            bench.complete(in_irq);
            queue.stats().signalled == JOBS
        });
    }
}

fn simple(does: fn() -> Does) -> impl Fn(u64) -> (Does, Vec<Fence>, Option<Signaller>) {
    move |_| (does(), vec![], None)
}

fn through_the_worker() {
    count("done", builder("q"), simple(|| Does::Done), |_, _| {});
    count(
        "completed",
        builder("q"),
        simple(|| Does::Waits),
        completing(false),
    );
    count(
        "in irq",
        builder("q"),
        simple(|| Does::Waits),
        completing(true),
    );
    count(
        "few credits",
        builder("q").credits(2),
        simple(|| Does::Waits),
        completing(false),
    );
}

fn through_bypass() {
    let bypass = || builder("q").bypass(true);
    count("done", bypass(), simple(|| Does::Done), |_, _| {});
    count(
        "completed",
        bypass(),
        simple(|| Does::Waits),
        completing(false),
    );
    count("in irq", bypass(), simple(|| Does::Waits), completing(true));
}

fn with_dependencies() {
    let on = |number: u64| {
        let timeline = Timeline::new("t");
        let (signaller, open) = timeline.signaller();
        let others: Vec<_> = (0..3).map(|_| Timeline::new("u").signaller()).collect();
        let mut after = vec![open, Fence::already_signalled(Ok(()))];
        for (other, fence) in others {
            other.signal(if number.is_multiple_of(2) {
                Ok(())
            } else {
                Err(Errno::EIO)
            });
            after.push(fence);
        }
        (Does::Done, after, Some(signaller))
    };
    count("worker", builder("q"), on, |_, _| {});
    count("bypass", builder("q").bypass(true), on, |_, _| {});
}

fn with_fences_of_the_hardware() {
    let follows = |_| {
        let (signaller, fence) = Timeline::new("hardware").signaller();
        (Does::Follows(fence), vec![], Some(signaller))
    };
    count("follow", builder("q"), follows, |_, _| {});
    let no_room = |_| {
        let (signaller, fence) = Timeline::new("room").signaller();
        (Does::NoRoom(fence), vec![], Some(signaller))
    };
    count("no resources", builder("q"), no_room, |_, _| {});
}

fn with_timeouts() {
    let hasty = builder("q").timeout(Duration::from_nanos(1)).extensions(2);
    count("timed out", hasty, simple(|| Does::Waits), |_, queue| {
        spin_until(|| queue.stats().timed_out == JOBS);
    });
    let patient = builder("q").timeout(Duration::from_secs(1000));
    count(
        "armed and disarmed",
        patient,
        simple(|| Does::Waits),
        completing(false),
    );
}

fn suspended_resumed_and_asked_about() {
    count(
        "suspend",
        builder("q"),
        simple(|| Does::Waits),
        |bench, queue| {
            queue.suspend();
            let _ = queue.trigger_timeout();
            assert!(queue.resume());
            completing(false)(bench, queue);
        },
    );
}

fn gated() {
    for bypass in [false, true] {
        let gated = builder("q")
            .bypass(bypass)
            .gate(Arc::<Turnstile>::default());
        count("gated", gated, simple(|| Does::Waits), completing(false));
    }
}

/// Text into memory that is there.
struct Page([u8; 1 << 14], usize);

impl std::fmt::Write for Page {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = self.0.get_mut(self.1..self.1 + text.len());
        room.ok_or(std::fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.1 += text.len();
        Ok(())
    }
}

fn stopped_walked_replayed_and_inspected() {
    let mut memory = Inspection::new(64);
    let mut page = Page([0; 1 << 14], 0);
    let recover = |bench: &Bench, queue: &Queue<Plain>| {
        for rest in [Rest::Replay, Rest::Keep] {
            let mut stopped = queue.stop().unwrap();
            let mut walk = stopped.pending();
            while let Some(job) = walk.next() {
                let _on_hardware = job.replay();
            }
            stopped.recover(None, rest);
            queue.snapshot_into(&mut memory, &mut page).unwrap();
            page.1 = 0;
            drop(stopped);
            let mut all = bench.device.stop_all().unwrap();
            all.recover(&[(queue.context(), 1, Errno::ETIME)], rest);
        }
        completing(false)(bench, queue);
    };
    count("stop", builder("q"), simple(|| Does::Waits), recover);
    let gone = |bench: &Bench, _: &Queue<Plain>| bench.device.stop_all().unwrap().device_gone();
    count("device gone", builder("q"), simple(|| Does::Waits), gone);
}

fn recovered_on_the_thread_for_that() {
    // Each hang of the first takes the others off the hardware, too.
    let reset = |_: &Device, hang: &Hang<'_>| {
        let mut all = hang.stop_all().unwrap();
        let seqno = hang.seqno().unwrap_or(0);
        all.recover(&[(hang.context(), seqno, Errno::ETIME)], Rest::Replay);
    };
    let device = || Device::builder("bench").recovery(reset).unwrap();
    let hasty = builder("q").timeout(Duration::from_nanos(1));
    let waits = || simple(|| Does::Waits);
    count_on(Bench::on(device()), "hang", hasty, waits(), |_, queue| {
        spin_until(|| queue.stats().timed_out == JOBS);
    });
    let asked = |bench: &Bench, queue: &Queue<Plain>| {
        spin_until(|| !bench.hardware.lock().unwrap().is_empty());
        bench.device.request_recovery(queue.context()).unwrap();
        spin_until(|| queue.stats().replays != 0);
        completing(false)(bench, queue);
    };
    count_on(Bench::on(device()), "request", builder("q"), waits(), asked);
}

fn cancelled_killed_closed_and_unbound() {
    count(
        "cancel",
        builder("q").credits(1),
        simple(|| Does::Waits),
        |bench, queue| {
            for seqno in (1..=JOBS).rev() {
                let _ = queue.cancel(seqno, Errno::ECANCELED);
            }
            completing(false)(bench, queue);
        },
    );
    count(
        "kill",
        builder("q").credits(5),
        simple(|| Does::Waits),
        |_, queue| {
            queue.kill(Errno::EIO);
        },
    );
    count(
        "close",
        builder("q").credits(5),
        simple(|| Does::Waits),
        |bench, queue| {
            queue.close();
            completing(false)(bench, queue);
        },
    );
    count(
        "tokens dropped",
        builder("q"),
        simple(|| Does::Waits),
        |bench, queue| {
            spin_until(|| {
                while let Some(token) = { bench.hardware.lock().unwrap().pop() } {
                    drop(token);
                }
                queue.stats().failed == JOBS
            });
        },
    );
}

fn through_a_guard_over_several_queues() {
    let bench = Bench::new();
    bench.warm_up();
    let queues: Vec<_> = (0..3).map(|_| bench.queue(builder("q"))).collect();
    let mut jobs = Vec::new();
    for _ in 0..10 {
        for queue in &queues {
            jobs.push(queue.prepare(bench.work(Does::Done), 1).unwrap());
        }
    }
    let mut fences = Vec::with_capacity(jobs.len());
    let mut guard = SubmissionGuard::over(&[&queues[2], &queues[0], &queues[1]]);
    let allocated = allocations(|| {
        for (number, job) in jobs.drain(..).enumerate() {
            let armed = guard.arm(job).unwrap();
            fences.push(armed.finished());
            match number % 5 {
                4 => drop(armed),
                _ => armed.submit(),
            }
        }
        spin_until(|| bench.all_gone() && fences.iter().all(Fence::is_signaled));
    });
    drop(guard);
    assert_eq!(allocated, 0);
}

fn completed_on_a_thread_of_its_own() {
    let bench = Arc::new(Bench::new());
    bench.warm_up();
    let queue = bench.queue(builder("q").bypass(true));
    let [started, stop] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (hardware, begun, end) = (Arc::clone(&bench), Arc::clone(&started), Arc::clone(&stop));
    let thread = thread::spawn(move || {
        begun.store(true, Ordering::SeqCst);
        while !end.load(Ordering::SeqCst) {
            hardware.complete(false);
            thread::yield_now();
        }
    });
    let jobs: Vec<_> = (0..JOBS)
        .map(|_| queue.prepare(bench.work(Does::Waits), 1).unwrap())
        .collect();
    let mut fences = Vec::with_capacity(jobs.len());
    // What it takes to start a thread has been taken.
    spin_until(|| started.load(Ordering::SeqCst));
    let allocated = allocations(|| {
        fences.extend(jobs.into_iter().map(|job| job.submit()));
        spin_until(|| bench.all_gone() && fences.iter().all(Fence::is_signaled));
    });
    stop.store(true, Ordering::SeqCst);
    thread.join().unwrap();
    assert_eq!(allocated, 0);
}

const IN_CHILD: &str = "RINGFENCE_TEST_CHILD";

fn allocating_in_a_run_callback_fails_loudly() {
    let name = "nothing_is_allocated_after_prepare";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(IN_CHILD, "1")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.success(), !CHECKED, "{stderr}");
    assert_eq!(
        stderr.contains("allocation in the signalling section"),
        CHECKED,
        "{stderr}"
    );
}

fn an_allocation_would_be_counted() {
    let there = allocations(|| {
        thread::scope(|scope| {
            scope.spawn(|| drop(std::hint::black_box(Box::new(1))));
        });
    });
    assert!(there > 0);
}

/// What the child of [`allocating_in_a_run_callback_fails_loudly`] does.
fn allocate_in_a_run_callback() {
    let bench = Bench::new();
    let queue = bench.queue(builder("q"));
    let job = queue.prepare(bench.work(Does::Allocates), 1).unwrap();
    assert_eq!(job.submit().wait(), Ok(()));
}

#[test]
fn nothing_is_allocated_after_prepare() {
    if std::env::var_os(IN_CHILD).is_some() {
        return allocate_in_a_run_callback();
    }
    an_allocation_would_be_counted();
    through_the_worker();
    through_bypass();
    with_dependencies();
    with_fences_of_the_hardware();
    with_timeouts();
    suspended_resumed_and_asked_about();
    gated();
    stopped_walked_replayed_and_inspected();
    recovered_on_the_thread_for_that();
    cancelled_killed_closed_and_unbound();
    through_a_guard_over_several_queues();
    completed_on_a_thread_of_its_own();
    allocating_in_a_run_callback_fails_loudly();
}
