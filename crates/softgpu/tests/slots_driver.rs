// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The driver on a device whose slots the host manages, with somebody who hands them out in turn.

mod common;
#[path = "driver/rig.rs"]
mod rig;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::told::{hosted_config, listener, Told};
use common::{until, PATIENCE};
use rig::{all_well, ended, Lane, Rig};
use ringfence::section::CheckedAllocator;
use ringfence::{Errno, Fence, Queue, Rest};
use ringfence_softgpu::driver::{Reset, SoftContext, SoftDriver};
use ringfence_softgpu::{Command, ContextState, GpuError, Injection, InjectionKind, When};

// Debug builds abort when a callback allocates.
#[global_allocator]
static ALLOCATOR: CheckedAllocator = CheckedAllocator::system();

/// A time after which only what hangs is asked about.
const SHORT: Duration = Duration::from_millis(200);

/// How long a context may stay.
const STAY: Duration = Duration::from_millis(2);

/// Hands out slots: a thread for each, and one line for all.
struct Turns {
    stop: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Turns {
    fn start(slots: u32, lanes: &[&Lane]) -> Self {
        let line: VecDeque<_> = lanes.iter().map(|lane| Arc::clone(&lane.context)).collect();
        let line = Arc::new(Mutex::new(line));
        let stop = Arc::new(AtomicBool::new(false));
        let lost = Arc::new(AtomicU64::new(0));
        let threads = (0..slots)
            .map(|slot| {
                let (line, stop) = (Arc::clone(&line), Arc::clone(&stop));
                let lost = Arc::clone(&lost);
                thread::spawn(move || {
                    while !stop.load(Ordering::Acquire) {
                        let next = line.lock().expect("no panic").pop_front();
                        match next {
                            Some(context) => {
                                one_turn(&context, slot, &lost);
                                line.lock().expect("no panic").push_back(context);
                            }
                            None => thread::sleep(STAY),
                        }
                    }
                })
            })
            .collect();
        Self {
            stop,
            lost,
            threads,
        }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads {
            thread.join().expect("no panic");
        }
    }
}

/// Puts the context on the slot for a while. When it is over the slot is free.
fn one_turn(context: &SoftContext, slot: u32, lost: &AtomicU64) {
    let (answer, stay) = listener();
    let bound = context.bind(slot, answer).is_ok()
        && matches!(stay.recv_timeout(PATIENCE), Ok(Told::Bound(Ok(()))));
    if !bound {
        // A recovery has it.
        thread::sleep(STAY);
        return;
    }
    // As long as it may, or as it can.
    let mut over = stay.recv_timeout(STAY);
    if matches!(over, Err(RecvTimeoutError::Timeout)) {
        let (answer, told) = listener();
        if context.vacate(answer).is_ok() {
            if let Ok(Told::Vacated(Ok(_))) = told.recv_timeout(PATIENCE) {
                return;
            }
        }
        over = stay.recv_timeout(PATIENCE);
    }
    assert!(matches!(over, Ok(Told::Lost(_))), "{over:?}");
    lost.fetch_add(1, Ordering::AcqRel);
}

fn hosted(slots: u32, standby: usize, reset: Reset) -> Rig {
    Rig::standing_by(hosted_config(slots, true), standby, reset)
}

#[test]
fn queues_do_their_work_on_the_slots_that_others_give_them() {
    let rig = hosted(2, 0, Reset::Queue);
    let lanes = [(); 6].map(|()| rig.lane(PATIENCE, 0, true));
    let turns = Turns::start(2, &lanes.each_ref());
    for _ in 0..5 {
        let jobs: Vec<_> = lanes.iter().flat_map(|lane| lane.fills(0..60)).collect();
        all_well(&jobs);
    }
    lanes.iter().for_each(|lane| lane.check(0..60));
    turns.end();
    rig.end(lanes.into());
}

#[test]
fn a_job_whose_context_is_on_no_slot_is_not_said_to_hang() {
    let rig = hosted(1, 0, Reset::Queue);
    let lane = rig.lane(Duration::from_millis(10), 0, false);
    let jobs = lane.fills(0..5);
    until("many questions", || lane.queue.stats().timeouts >= 10);
    assert_eq!(lane.context.now().fence_value(), 0);
    assert_eq!(lane.queue.stats().timed_out, 0);
    let turns = Turns::start(1, &[&lane]);
    all_well(&jobs);
    lane.check(0..5);
    assert_eq!(rig.soft.recoveries().queue_resets, 0);
    turns.end();
    rig.end(vec![lane]);
}

/// Jobs `from..to` of which one hangs, with their fences.
fn with_a_hang(lane: &Lane, hang: u32, to: u32) -> Vec<Fence> {
    (0..to)
        .map(|place| match place {
            _ if place == hang => lane.submit(&[Command::Hang]),
            _ => lane.submit(&[lane.fill(place)]),
        })
        .collect()
}

#[test]
fn a_hang_is_found_and_what_is_behind_it_is_done_on_the_next_slot() {
    for stuck in [false, true] {
        for reset in [Reset::Queue, Reset::Device] {
            let rig = hosted(1, 0, reset);
            let lane = rig.lane(SHORT, 0, false);
            let other = rig.lane(PATIENCE, 0, false);
            if stuck {
                lane.inject(Injection::StuckPreemption, When::Nth(2));
            }
            let jobs = with_a_hang(&lane, 3, 10);
            // All are in the ring before the first turn, in which those ahead of the hang are done.
            until("all to run", || lane.queue.stats().runs == 10);
            let turns = Turns::start(1, &[&lane, &other]);
            let innocent = other.fills(0..20);
            assert_eq!(ended(&jobs[3]), Err(Errno::ETIME));
            all_well(&jobs[..3]);
            all_well(&jobs[4..]);
            all_well(&innocent);
            lane.check(4..10);
            other.check(0..20);
            let recoveries = rig.soft.recoveries();
            let resets = (recoveries.queue_resets, recoveries.device_resets);
            let wanted = if reset == Reset::Queue {
                (1, 0)
            } else {
                (0, 1)
            };
            assert_eq!(resets, wanted);
            let injected = lane.context.now().injected(InjectionKind::StuckPreemption);
            assert_eq!(injected, u64::from(stuck));
            turns.end();
            rig.end(vec![lane, other]);
        }
    }
}

#[test]
fn contexts_come_back_to_slots_after_death_and_after_a_move() {
    let rig = hosted(2, 1, Reset::Queue);
    let lanes = [(); 4].map(|()| rig.lane(PATIENCE * 2, 0, false));
    let turns = Turns::start(2, &lanes.each_ref());
    let fills = || -> Vec<_> { lanes.iter().flat_map(|lane| lane.fills(0..40)).collect() };
    for silent in [false, true] {
        let jobs = fills();
        let death = Injection::FirmwareDeath { silent };
        rig.soft.gpu().inject(death, When::Now).expect("possible");
        if silent {
            rig.soft.request_reset();
        }
        all_well(&jobs);
    }
    all_well(&fills());
    let jobs = fills();
    rig.soft.request_migration();
    all_well(&jobs);
    until("the move", || rig.soft.recoveries().migrations == 1);
    all_well(&fills());
    lanes.iter().for_each(|lane| lane.check(0..40));
    assert!(std::ptr::eq(rig.soft.gpu(), &rig.soft.gpus()[1]));
    assert!(rig.soft.gpu().stats().slot_switches > 0);
    assert!(turns.lost.load(Ordering::Acquire) > 0, "some were on slots");
    turns.end();
    rig.end(lanes.into());
}

#[test]
fn who_waits_for_a_recovery_is_told_when_it_may_bind_again() {
    let rig = hosted(1, 1, Reset::Queue);
    let builder = Queue::<SoftDriver>::builder("lane").timeout(PATIENCE * 2);
    let lane = rig.lane_of(builder, PATIENCE, Rest::Replay);
    let (sender, ready) = std::sync::mpsc::channel();
    let own = Arc::downgrade(&lane.context);
    lane.context.on_ready(Arc::new(move || {
        let context = own.upgrade().expect("its queue is alive");
        let state = context.now().state();
        sender.send(state).expect("the test listens");
    }));
    let bind = || {
        let (answer, told) = listener();
        lane.context.bind(0, answer).expect("taken");
        let bound = told.recv_timeout(PATIENCE).expect("an answer");
        assert!(matches!(bound, Told::Bound(Ok(()))), "{bound:?}");
        told
    };
    let lost = |told: &std::sync::mpsc::Receiver<Told>| {
        let loss = told.recv_timeout(PATIENCE).expect("a loss");
        assert!(matches!(loss, Told::Lost(_)), "{loss:?}");
        let state = ready.recv_timeout(PATIENCE).expect("a recovery");
        let can = matches!(state, ContextState::Idle | ContextState::Waiting);
        assert!(can, "{state:?}");
    };
    // A fault, then a reset of the device, then a move; every time with work behind.
    let mut stay = bind();
    for round in 0..3 {
        let first = match round {
            0 => lane.submit(&[Command::Fault { address: 0x1000 }]),
            _ => lane.submit(&[lane.gate(round)]),
        };
        let rest = lane.fills(0..10);
        match round {
            0 => {}
            1 => rig.soft.request_reset(),
            _ => rig.soft.request_migration(),
        }
        lost(&stay);
        if round > 0 {
            lane.open(round);
        }
        assert!(!rest[0].is_signaled(), "nothing runs on no slot");
        let twice = lane.context.vacate(listener().0);
        assert!(matches!(twice, Ok(()) | Err(GpuError::SlotRequestPending)));
        stay = loop {
            let (answer, told) = listener();
            match lane.context.bind(0, answer) {
                Err(GpuError::SlotRequestPending) => thread::yield_now(),
                bound => {
                    bound.expect("taken");
                    let bound = told.recv_timeout(PATIENCE).expect("an answer");
                    assert!(matches!(bound, Told::Bound(Ok(()))), "{bound:?}");
                    break told;
                }
            }
        };
        let wanted = if round == 0 {
            Err(Errno::EFAULT)
        } else {
            Ok(())
        };
        assert_eq!(ended(&first), wanted);
        all_well(&rest);
        lane.check(0..10);
    }
    assert!(ready.try_recv().is_err(), "three recoveries");
    rig.end(vec![lane]);
}
