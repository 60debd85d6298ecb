// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Attempts that are late, queues that are born stopped, and the end of the recovery thread.

use std::sync::atomic::AtomicI64;

use ringfence::{BuildError, Hang, Replayed, StopError};

use super::*;

/// Says so if a completion of an attempt that was replaced ends a job.
const LATE: Errno = Errno::EBADMSG;

/// One job is on the hardware, is replayed there, and completes in its first attempt meanwhile.
fn replay_against_a_late_completion() {
    let world = World::new(false);
    let fence = world.submit(Does::Waits, &[]).unwrap();
    let token = loop {
        let token = world.hardware.lock().unwrap().pop();
        match token {
            Some(token) => break token,
            None => thread::yield_now(),
        }
    };
    let late = thread::spawn(move || token.complete(Err(LATE)));
    let mut guard = world.queue.stop().unwrap();
    let mut walk = guard.pending();
    // It may have been in time.
    let replayed = walk.next().map(|job| job.replay());
    drop(guard);
    late.join().unwrap();
    match replayed {
        Some(Replayed::Pending) => {
            assert_eq!(fence.status(), None, "only its new attempt can end it");
            world.complete();
            assert_eq!(fence.wait(), Ok(()));
        }
        Some(Replayed::Ended) | None => assert_eq!(fence.wait(), Err(LATE)),
        other => panic!("{other:?}"),
    }
    world.finish();
}

#[test]
fn a_replay_races_with_the_completion_that_it_makes_late() {
    check(replay_against_a_late_completion);
}

/// Makes a second queue on the device, and has a job run in it. Its callbacks and those of the
/// world's queue may overlap, so its facts are its own.
fn make_queue(world: &World, facts: &Arc<Facts>) {
    let driver = Mock {
        facts: Arc::clone(facts),
        hardware: Hardware::default(),
    };
    facts.drivers.store(1, Ordering::SeqCst);
    facts.payloads.store(1, Ordering::SeqCst);
    let payload = Payload {
        does: Does::Done,
        facts: Arc::clone(facts),
    };
    let pool = Pool::new(1).unwrap();
    let builder = Queue::<Mock>::builder("born").capacity(2).bypass(true);
    match builder.build(&world.device, &pool, driver) {
        Ok(queue) => {
            if let Ok(job) = queue.prepare(payload, 1) {
                assert!(matches!(job.submit().wait(), Ok(()) | Err(Errno::ENODEV)));
            }
        }
        Err(error) => assert_eq!(error, BuildError::Unbound),
    }
}

/// Stops all queues, the one that is born meanwhile too.
fn stop_all(world: &World, born: &Facts) {
    match world.device.stop_all() {
        Ok(all) => {
            for facts in [&*world.facts, born] {
                let inside = facts.inside.load(Ordering::SeqCst);
                facts.check(!inside, "stopped in mid-callback");
                facts.stopped.store(true, Ordering::SeqCst);
            }
            for _ in 0..3 {
                thread::yield_now();
            }
            for facts in [&*world.facts, born] {
                facts.stopped.store(false, Ordering::SeqCst);
            }
            drop(all);
        }
        Err(error) => assert_eq!(error, StopError::Unbound),
    }
}

fn a_queue_is_born(unbind: bool) {
    let (world, born) = (World::new(false), Arc::new(Facts::default()));
    let (own, facts) = (Arc::clone(&world), Arc::clone(&born));
    let maker = thread::spawn(move || make_queue(&own, &facts));
    let (own, facts) = (Arc::clone(&world), Arc::clone(&born));
    let stopper = thread::spawn(move || stop_all(&own, &facts));
    if unbind {
        world.unbind();
    }
    maker.join().unwrap();
    stopper.join().unwrap();
    world.finish();
    // Its worker may be about to let go of the last of it.
    while born.payloads.load(Ordering::SeqCst) + born.drivers.load(Ordering::SeqCst) != 0 {
        thread::yield_now();
    }
    let broken = born.broken.lock().unwrap();
    assert!(broken.is_empty(), "{broken:?}");
}

#[test]
fn a_stop_of_all_races_with_a_queue_that_is_made() {
    check(|| a_queue_is_born(false));
}

#[test]
fn a_stop_of_all_races_with_a_queue_that_is_made_and_unbind() {
    check(|| a_queue_is_born(true));
}

/// What a recovery owns, counted.
struct Owned(Arc<AtomicI64>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Requests, and the end of the device in one way or another.
fn recovery_thread_ends(unbind: bool) {
    let owned = Arc::new(AtomicI64::new(1));
    let own = Owned(Arc::clone(&owned));
    let ended = Arc::new(AtomicBool::new(false));
    let is_ended = Arc::clone(&ended);
    let world = World::with(false, move |facts| {
        let facts = Arc::clone(facts);
        let recover = move |_: &Device, hang: &Hang<'_>| {
            let _own = &own;
            let over = is_ended.load(Ordering::SeqCst);
            facts.check(!over, "a recovery after unbind");
            drop(hang.stop_queue());
        };
        Device::builder("d").recovery(recover).unwrap()
    });
    let asks = Arc::clone(&world);
    let asker = thread::spawn(move || {
        asks.submit_quietly(Does::Done);
        for _ in 0..2 {
            // Refused once the device is unbound.
            let _ = asks.device.request_recovery(asks.queue.context());
        }
    });
    if unbind {
        world.unbind();
        ended.store(true, Ordering::SeqCst);
        assert_eq!(owned.load(Ordering::SeqCst), 0, "the recovery is gone");
    }
    asker.join().unwrap();
    world.finish();
    // Without unbind the thread ends when nobody has the device any more.
    while owned.load(Ordering::SeqCst) != 0 {
        thread::yield_now();
    }
}

#[test]
fn the_recovery_thread_ends_with_unbind() {
    check(|| recovery_thread_ends(true));
}

#[test]
fn the_recovery_thread_ends_with_its_device() {
    check(|| recovery_thread_ends(false));
}

/// Two requests, the second one at any time after the first was answered.
fn requests_are_answered() {
    let calls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&calls);
    let world = World::with(false, move |_| {
        let recover = move |_: &Device, _: &Hang<'_>| _ = count.fetch_add(1, Ordering::SeqCst);
        Device::builder("d").recovery(recover).unwrap()
    });
    for call in 1..=2 {
        let context = world.queue.context();
        world.device.request_recovery(context).unwrap();
        // One that is lost leaves the others asleep, and this going round without end.
        while calls.load(Ordering::SeqCst) < call {
            thread::yield_now();
        }
    }
    world.finish();
}

#[test]
fn a_request_is_answered_however_the_thread_goes_to_sleep() {
    check(requests_are_answered);
}
