// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The driver, through real queues: happy or hung, faulty, mute or dead, the data is right.

mod common;
#[path = "driver/rig.rs"]
mod rig;

use std::sync::Mutex;
use std::time::Duration;

use common::{config, until, PATIENCE};
use rig::{all_well, ended, Rig};
use ringfence::section::CheckedAllocator;
use ringfence::{Errno, Fence, Queue};
use ringfence_softgpu::driver::{Batch, SoftDriver};
use ringfence_softgpu::{Command, GpuConfig, Injection, InjectionKind, Permissions, When};

// Debug builds abort when a callback allocates.
#[global_allocator]
static ALLOCATOR: CheckedAllocator = CheckedAllocator::system();

#[test]
fn jobs_run_and_leave_their_data() {
    for bypass in [false, true] {
        let rig = Rig::new(2);
        let lane = rig.lane(PATIENCE, 0, bypass);
        for _ in 0..8 {
            all_well(&lane.fills(0..60));
        }
        lane.check(0..60);
        let stats = lane.queue.stats();
        assert_eq!((stats.completed, stats.late_completions), (480, 0));
        assert_eq!(stats.bypassed > 0, bypass);
        rig.end(vec![lane]);
    }
}

#[test]
fn a_hang_fails_alone_and_the_jobs_behind_it_are_written_again() {
    let rig = Rig::new(1);
    let lane = rig.lane(Duration::from_millis(400), 0, false);
    let before = lane.fills(0..5);
    let hung = lane.submit(&[lane.fill(5), Command::Hang]);
    let after = lane.fills(6..40);
    assert_eq!(ended(&hung), Err(Errno::ETIME));
    all_well(&before);
    all_well(&after);
    lane.check(0..40);
    let stats = lane.queue.stats();
    assert_eq!((stats.timed_out, stats.completed), (1, 39));
    assert_eq!(rig.soft.gpu().stats().context_resets, 1);
    rig.end(vec![lane]);
}

#[test]
fn every_second_job_hangs_and_the_others_do_not_notice() {
    let rig = Rig::new(1);
    let lane = rig.lane(Duration::from_millis(250), 0, false);
    let jobs: Vec<_> = (0..10)
        .map(|place| match place % 2 {
            0 => lane.submit(&[lane.fill(place)]),
            _ => lane.submit(&[Command::Hang]),
        })
        .collect();
    for (place, job) in jobs.iter().enumerate() {
        let wanted = if place % 2 == 0 {
            Ok(())
        } else {
            Err(Errno::ETIME)
        };
        assert_eq!(ended(job), wanted, "job {place}");
    }
    for place in (0..10).step_by(2) {
        lane.check(place..place + 1);
    }
    rig.end(vec![lane]);
}

#[test]
fn a_job_that_makes_progress_is_given_time() {
    let rig = Rig::new(1);
    let lane = rig.lane(Duration::from_millis(60), 50, false);
    let long = lane.submit(&[Command::Spin { ns: 400_000_000 }, lane.fill(0)]);
    assert_eq!(ended(&long), Ok(()));
    lane.check(0..1);
    assert!(lane.queue.stats().extensions > 0);
    assert_eq!(rig.soft.gpu().stats().context_resets, 0);
    // One that makes none is not, however many extensions it could have.
    assert_eq!(ended(&lane.submit(&[Command::Hang])), Err(Errno::ETIME));
    assert_eq!(rig.soft.gpu().stats().context_resets, 1);
    rig.end(vec![lane]);
}

#[test]
fn a_job_that_makes_progress_for_ever_is_given_up_when_its_time_is_spent() {
    let rig = Rig::new(1);
    let lane = rig.lane(Duration::from_millis(40), 2, false);
    let forever = lane.submit(&[Command::Spin { ns: u64::MAX }]);
    assert_eq!(ended(&forever), Err(Errno::ETIME));
    assert_eq!(lane.queue.stats().extensions, 2);
    all_well(&lane.fills(0..5));
    rig.end(vec![lane]);
}

#[test]
fn a_fault_fails_alone_at_once() {
    let rig = Rig::new(2);
    // Nothing times out: what happens is the interrupt's doing.
    let (lane, other) = (
        rig.lane(PATIENCE * 2, 0, false),
        rig.lane(PATIENCE * 2, 0, true),
    );
    for round in 0..20 {
        let before = lane.fills(0..5);
        let bad = match round % 2 {
            0 => lane.submit(&[lane.fill(5), Command::Fault { address: 0x1000 }]),
            _ => {
                let words = Batch::from_words(&[0x00ff_0001]);
                lane.queue.prepare(words, 1).expect("room").submit()
            }
        };
        let after = lane.fills(6..30);
        let others = other.fills(0..30);
        let error = [Errno::EFAULT, Errno::EBADMSG][round % 2];
        assert_eq!(ended(&bad), Err(error));
        for jobs in [before, after, others] {
            all_well(&jobs);
        }
    }
    lane.check(0..5);
    lane.check(6..30);
    other.check(0..30);
    let stats = lane.queue.stats();
    assert_eq!((stats.failed, stats.timeouts), (20, 0));
    assert_eq!(other.queue.stats().failed, 0);
    rig.end(vec![lane, other]);
}

#[test]
fn a_lost_interrupt_costs_time_and_nothing_else() {
    let rig = Rig::new(1);
    let lane = rig.lane(Duration::from_millis(300), 0, false);
    lane.context
        .now()
        .inject(Injection::LostInterrupt, When::Fence(1))
        .expect("possible");
    assert_eq!(ended(&lane.submit(&[lane.fill(0)])), Ok(()));
    assert_eq!(lane.context.now().injected(InjectionKind::LostInterrupt), 1);
    lane.check(0..1);
    let stats = lane.queue.stats();
    assert_eq!((stats.timed_out, stats.completed), (0, 1));
    assert!(stats.timeouts > 0, "the timeout found it");
    assert_eq!(rig.soft.gpu().stats().context_resets, 0);
    rig.end(vec![lane]);
}

#[test]
fn spurious_double_and_late_interrupts_complete_nothing_that_is_not_done() {
    let rig = Rig::new(1);
    let lane = rig.lane(PATIENCE, 0, false);
    let inject = |injection, value| {
        lane.context
            .now()
            .inject(injection, When::Fence(value))
            .expect("possible");
    };
    for value in 1..=60 {
        match value % 3 {
            0 => inject(Injection::SpuriousInterrupt(value + 5), value),
            1 => inject(Injection::DoubleInterrupt, value),
            _ => inject(Injection::LateInterrupt(Duration::from_micros(300)), value),
        }
    }
    let lane = &lane;
    for place in 0..60 {
        let spin = Command::Spin { ns: 50_000 };
        let job = lane.submit(&[spin, lane.fill(place)]);
        if place % 7 == 0 {
            assert_eq!(ended(&job), Ok(()));
            // It had ended when its fence said so.
            lane.check(0..place + 1);
        }
    }
    until("all to end", || lane.queue.stats().completed == 60);
    lane.check(0..60);
    let injected = |kind| lane.context.now().injected(kind);
    assert_eq!(injected(InjectionKind::SpuriousInterrupt), 20);
    assert_eq!(injected(InjectionKind::DoubleInterrupt), 20);
    assert_eq!(lane.queue.stats().late_completions, 0);
}

#[test]
fn the_death_of_the_firmware_loses_no_job() {
    for silent in [false, true] {
        let rig = Rig::with(GpuConfig {
            answer_timeout: Duration::from_millis(500),
            ..config(2)
        });
        // Told, the driver needs no timeout; not told, the first one finds out.
        let timeout = if silent {
            Duration::from_millis(500)
        } else {
            PATIENCE * 2
        };
        let (first, second) = (rig.lane(timeout, 0, false), rig.lane(timeout, 0, false));
        first
            .context
            .now()
            .inject(Injection::FirmwareDeath { silent }, When::Fence(10))
            .expect("possible");
        let jobs = [first.fills(0..40), second.fills(0..40)].concat();
        all_well(&jobs);
        first.check(0..40);
        second.check(0..40);
        assert!(rig.soft.gpu().stats().device_resets > 0);
        rig.end(vec![first, second]);
    }
}

#[test]
fn a_job_that_kills_the_firmware_every_time_is_given_up() {
    let rig = Rig::new(1);
    let lane = rig.lane(PATIENCE * 2, 0, false);
    for _ in 0..10 {
        lane.context
            .now()
            .inject(Injection::FirmwareDeath { silent: false }, When::Fence(3))
            .expect("possible");
    }
    let jobs = lane.fills(0..10);
    assert_eq!(ended(&jobs[2]), Err(Errno::EIO));
    all_well(&jobs[..2]);
    all_well(&jobs[3..]);
    lane.check(3..10);
    rig.end(vec![lane]);
}

#[test]
fn two_queues_depend_on_each_other() {
    let rig = Rig::new(1);
    let (left, right) = (rig.lane(PATIENCE, 0, true), rig.lane(PATIENCE, 0, false));
    // Each copies what the other has just written, there and back.
    let shared = rig.soft.alloc(4096).expect("memory");
    let [on_left, on_right] = [&left, &right].map(|lane| {
        lane.context
            .map(&shared, Permissions::READ_WRITE)
            .expect("addresses")
    });
    let mut last = left.submit(&[Command::Fill {
        dst: on_left,
        words: 1,
        value: 1,
    }]);
    for step in 1..60_u64 {
        let (lane, base) = if step % 2 == 0 {
            (&left, on_left)
        } else {
            (&right, on_right)
        };
        let (src, dst) = (base + (step - 1) * 4, base + step * 4);
        last = lane.submit_after(
            &[Command::Add {
                dst,
                a: src,
                b: src,
                words: 1,
            }],
            &[&last],
        );
        if step % 30 == 0 {
            assert_eq!(ended(&last), Ok(()));
        }
    }
    assert_eq!(ended(&last), Ok(()));
    let mut words = vec![0; 1024];
    shared.read(0, &mut words).expect("in range");
    assert!((0..60).all(|step| words[step] == 1_u32.wrapping_shl(step as u32) || step >= 32));
    drop(shared);
    rig.end(vec![left, right]);
}

#[test]
fn unbinding_with_jobs_in_flight_leaks_nothing() {
    for round in 0..20 {
        let rig = Rig::new(1);
        let lanes: Vec<_> = (0..3)
            .map(|_| rig.lane(PATIENCE, 0, round % 2 == 0))
            .collect();
        let fences = Mutex::new(Vec::new());
        for lane in &lanes {
            let mut own = fences.lock().expect("no panic");
            own.extend(lane.fills(0..10));
            own.push(lane.submit(&[Command::Hang]));
            own.extend(lane.fills(0..10));
        }
        rig.end(lanes);
        let fences = fences.into_inner().expect("no panic");
        assert!(fences.iter().all(Fence::is_signaled));
        let gone = fences
            .iter()
            .filter(|fence| fence.error() == Some(Errno::ENODEV));
        assert!(gone.count() >= 33, "each lane hangs at its eleventh job");
    }
}

#[test]
fn a_full_ring_is_an_error_not_an_overrun() {
    let rig = Rig::new(1);
    let context = rig.soft.create_context(16).expect("a context");
    let driver = rig.soft.driver(&context, 8).expect("the first driver");
    let builder = Queue::<SoftDriver>::builder("narrow");
    let queue = rig.soft.build(builder, &rig.pool, driver).expect("a queue");
    let wide = Batch::new(&[Command::Nop { padding: 20 }]);
    let fence = queue.prepare(wide, 1).expect("room").submit();
    assert_eq!(ended(&fence), Err(Errno::ENOSPC));
    let fits = Batch::new(&[Command::Nop { padding: 5 }]);
    assert_eq!(
        ended(&queue.prepare(fits, 1).expect("room").submit()),
        Ok(())
    );
    assert_eq!(rig.soft.gpu().stats().faults, 0);
}
