// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Seats come, get slots, and go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;

use ringfence::Executor;
use ringfence_orchestrator::{Fair, Fifo, Orchestrator, Preemption, Priority, SeatConfig, Weight};

use crate::manual::Manual;
use crate::rig::{eventually, submit, wait, Context, Manner, Port, Rig, Slots};

#[test]
fn many_queues_share_few_slots() {
    for preemption in [Preemption::Supported, Preemption::RunToCompletion] {
        for fair in [true, false] {
            let rig = match fair {
                true => Rig::new(3, preemption, Fair::default()),
                false => Rig::new(3, preemption, Fifo::default()),
            };
            let queues: Vec<_> = (0..40).map(|n| rig.simple(&format!("q{n}"))).collect();
            thread::scope(|scope| {
                for (_, _, queue) in &queues {
                    scope.spawn(move || {
                        let fences: Vec<_> = (0..30).map(|_| submit(queue)).collect();
                        fences.iter().for_each(wait);
                    });
                }
            });
            let most = rig.slots.most.load(Ordering::Relaxed);
            assert!((1..=3).contains(&most), "{most} contexts on 3 slots");
            let snapshot = rig.orchestrator.snapshot();
            assert_eq!(snapshot.seats.len(), 40);
            assert!(snapshot.seats.iter().all(|seat| seat.stays >= 1));
        }
    }
}

#[test]
fn requests_may_be_answered_late_and_by_others() {
    answered(Manner::Late);
}

#[test]
fn requests_may_be_answered_in_interrupt_handlers() {
    answered(Manner::Interrupts);
}

fn answered(manner: Manner) {
    let rig = Rig::new(2, Preemption::Supported, Fair::default());
    *rig.slots.bind.lock().unwrap() = manner;
    *rig.slots.vacate.lock().unwrap() = manner;
    let queues: Vec<_> = (0..10).map(|n| rig.simple(&format!("q{n}"))).collect();
    for _ in 0..20 {
        let fences: Vec<_> = queues.iter().map(|(_, _, queue)| submit(queue)).collect();
        fences.iter().for_each(wait);
    }
}

#[test]
fn the_executor_alone_acts_where_that_was_said() {
    let rig = Rig::with(2, Preemption::Supported, |builder| {
        builder.act_on_executor()
    });
    let queues: Vec<_> = (0..6).map(|n| rig.simple(&format!("q{n}"))).collect();
    for _ in 0..10 {
        let fences: Vec<_> = queues.iter().map(|(_, _, queue)| submit(queue)).collect();
        fences.iter().for_each(wait);
    }
    let binds: u64 = rig
        .orchestrator
        .snapshot()
        .slots
        .iter()
        .map(|slot| slot.binds)
        .sum();
    assert!(binds >= 6);
    assert_eq!(rig.slots.by_pool.load(Ordering::Relaxed), binds);
}

#[test]
fn who_comes_back_finds_its_slot_warm() {
    let rig = Rig::new(2, Preemption::Supported, Fair::default());
    let (context, seat, queue) = rig.simple("only");
    for _ in 0..10 {
        wait(&submit(&queue));
    }
    // Nobody needed its slot meanwhile.
    assert_eq!(context.binds.load(Ordering::Relaxed), 1);
    let snapshot = seat.snapshot().unwrap();
    assert_eq!((snapshot.stays, snapshot.evictions), (1, 0));
}

#[test]
fn a_seat_goes_with_its_queue() {
    let rig = Rig::new(1, Preemption::Supported, Fair::default());
    let dropped = Arc::new(AtomicBool::new(false));
    let mut context = Context::new();
    Arc::get_mut(&mut context).unwrap().dropped = Some(Arc::clone(&dropped));
    let seat = rig.seat("short", &context);
    let queue = rig.queue(&seat, &[]);
    wait(&submit(&queue));
    drop(context);
    let closed = queue.closed();
    drop(queue);
    wait(&closed);
    eventually("the seat is gone", || seat.snapshot().is_err());
    assert!(seat.change(Priority::High, Weight::DEFAULT).is_err());
    drop(seat);
    eventually("its context is dropped", || dropped.load(Ordering::Acquire));
    // And the slot is free.
    let (_, _, other) = rig.simple("other");
    wait(&submit(&other));
    assert_eq!(rig.orchestrator.snapshot().seats.len(), 1);
}

#[test]
fn a_seat_without_a_queue_goes_with_its_handle() {
    let rig = Rig::new(1, Preemption::Supported, Fair::default());
    let seat = rig.seat("never", &Context::new());
    let gate = seat.gate();
    drop(seat);
    assert_eq!(rig.orchestrator.snapshot().seats.len(), 1);
    drop(gate);
    assert_eq!(rig.orchestrator.snapshot().seats.len(), 0);
}

#[test]
fn the_handle_may_be_dropped_before_the_queue() {
    let rig = Rig::new(1, Preemption::Supported, Fair::default());
    let seat = rig.seat("kept", &Context::new());
    let queue = rig.queue(&seat, &[]);
    drop(seat);
    wait(&submit(&queue));
}

#[test]
fn seats_come_and_go_while_others_work() {
    let rig = Rig::new(2, Preemption::Supported, Fair::default());
    thread::scope(|scope| {
        for worker in 0..4 {
            let rig = &rig;
            scope.spawn(move || {
                for round in 0..50 {
                    let (_, seat, queue) = rig.simple(&format!("w{worker}r{round}"));
                    let fences: Vec<_> = (0..3).map(|_| submit(&queue)).collect();
                    if round % 3 == 0 {
                        seat.change(Priority::High, Weight::MAX).unwrap();
                    }
                    match round % 5 {
                        // Cancelled, or not: each ends.
                        0 => drop(queue),
                        1 => queue.kill(ringfence::Errno::ENODEV),
                        _ => {}
                    }
                    for fence in fences {
                        let ended = fence.wait_timeout(crate::rig::PATIENCE);
                        let snapshot = || rig.orchestrator.snapshot().to_string();
                        assert!(ended.is_ok(), "each job ends: {}", snapshot());
                    }
                }
            });
        }
    });
    eventually("all have gone", || {
        rig.orchestrator.snapshot().seats.is_empty()
    });
    assert!(rig.orchestrator.usage(&rig.client).stats.stays > 0);
}

#[test]
fn unbind_ends_the_seats_too() {
    let rig = Rig::new(1, Preemption::Supported, Fair::default());
    rig.slots.works.store(false, Ordering::Release);
    let queues: Vec<_> = (0..4).map(|n| rig.simple(&format!("q{n}"))).collect();
    let fences: Vec<_> = queues.iter().map(|(_, _, queue)| submit(queue)).collect();
    rig.device.unbind().unwrap();
    for fence in fences {
        assert!(fence.wait_timeout(crate::rig::PATIENCE).unwrap().is_err());
    }
    eventually("all have gone", || {
        rig.orchestrator.snapshot().seats.is_empty()
    });
}

#[test]
fn what_a_client_has_used_is_told_as_the_kernel_does() {
    let rig = Rig::new(2, Preemption::Supported, Fair::default());
    let (_, _, queue) = rig.simple("one");
    for _ in 0..50 {
        wait(&submit(&queue));
    }
    let usage = rig.orchestrator.usage(&rig.client);
    let busy = usage.stats.busy.as_nanos();
    assert!(busy > 0);
    let text = usage.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "drm-driver:\trig");
    assert_eq!(lines[1], format!("drm-client-id:\t{}", rig.client.id()));
    assert_eq!(lines[3], format!("drm-engine-engine0:\t{busy} ns"));
    assert_eq!(lines[4], "drm-engine-capacity-engine0:\t2");
    // What seats that have gone had used is not forgotten.
    let closed = queue.closed();
    drop(queue);
    wait(&closed);
    eventually("the seat is gone", || {
        rig.orchestrator.snapshot().seats.is_empty()
    });
    // Also as long as nobody has dropped what is left of it.
    assert!(rig.orchestrator.usage(&rig.client).stats.busy.as_nanos() >= busy);
}

#[test]
fn what_a_seat_has_used_is_counted_before_the_executor_comes() {
    let slots = Slots::new(1, Preemption::Supported);
    let manual = Manual::new();
    let orchestrator = Orchestrator::builder("manual", Port(Arc::clone(&slots)))
        .build(manual.clone() as Arc<dyn Executor>)
        .unwrap();
    let client = orchestrator.client("test");
    let rig = Rig::new(1, Preemption::Supported, Fair::default());
    let seat = orchestrator
        .seat("short", SeatConfig::default(), &client, Context::new())
        .unwrap();
    let queue = rig.queue(&seat, &[]);
    let job = submit(&queue);
    eventually("it is on the slot", || seat.context().is_resident());
    let used = || orchestrator.usage(&client).stats;
    eventually("it has used it", || !used().busy.is_zero());
    let (ended, before) = (queue.closed(), used().busy);
    queue.kill(ringfence::Errno::ENODEV);
    seat.context().end_jobs();
    drop((queue, job));
    wait(&ended);
    eventually("the seat is gone", || seat.snapshot().is_err());
    assert_eq!(manual.scheduled(), 1, "there is something to be dropped");
    assert!(used().busy >= before);
    manual.work();
    assert!(used().busy >= before);
}

#[test]
fn clients_of_two_orchestrators_are_two() {
    let one = Rig::new(1, Preemption::Supported, Fair::default());
    let two = Rig::new(1, Preemption::Supported, Fair::default());
    let (_, _, queue) = one.simple("one");
    wait(&submit(&queue));
    assert_eq!(one.client.id(), two.client.id());
    assert_eq!(one.orchestrator.usage(&two.client).stats.stays, 0);
}

#[test]
fn a_seat_needs_a_slot_of_its_kind() {
    let rig = Rig::new(1, Preemption::Supported, Fair::default());
    let config = SeatConfig {
        kinds: ringfence_orchestrator::Kinds::NONE,
        ..SeatConfig::default()
    };
    let refused = rig
        .orchestrator
        .seat("nowhere", config, &rig.client, Context::new());
    assert!(refused.is_err());
}

#[test]
fn a_clients_name_says_nothing_of_engines() {
    let rig = Rig::new(1, Preemption::Supported, Fair::default());
    let name = "game\ndrm-engine-engine0:\t7 ns";
    let text = rig
        .orchestrator
        .usage(&rig.orchestrator.client(name))
        .to_string();
    let engines = text
        .lines()
        .filter(|line| line.starts_with("drm-engine-engine0:"));
    assert_eq!(engines.count(), 1, "{text}");
}
