// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Stops, replays and recoveries against everything else.

use ringfence::{Guilty, Hang, Rest, StopError, StopGuard};

use super::*;

/// Nobody else stops the queue, and no callback begins, while this one is stopped.
fn span(facts: &Facts, body: impl FnOnce()) {
    let stopped = facts.stopped.swap(true, Ordering::SeqCst);
    facts.check(!stopped, "two have stopped it");
    let inside = facts.inside.load(Ordering::SeqCst);
    facts.check(!inside, "stopped in mid-callback");
    facts.check(!facts.is_unbound(), "stopped after unbind");
    thread::yield_now();
    body();
    facts.stopped.store(false, Ordering::SeqCst);
}

fn stopped(world: &World, body: impl FnOnce(&mut StopGuard<'_, Mock>)) {
    match world.queue.stop() {
        Ok(mut guard) => span(&world.facts, || body(&mut guard)),
        Err(error) => world.facts.check(
            matches!(error, StopError::Closed | StopError::Unbound),
            "refused for another reason",
        ),
    }
}

fn replayer(world: &World) {
    stopped(world, |guard| {
        guard.recover(None, Rest::Replay);
    });
    stopped(world, |guard| {
        let mut walk = guard.pending();
        while let Some(job) = walk.next() {
            match job.seqno() % 3 {
                0 => drop(job.replay()),
                1 => drop(job.time_out(Errno::ETIME)),
                _ => job.keep(),
            }
        }
    });
}

/// A device whose recovery replays what is innocent.
fn device(facts: &Arc<Facts>) -> Device {
    let facts = Arc::clone(facts);
    let recover = move |_: &Device, hang: &Hang<'_>| {
        let Ok(mut stop) = hang.stop_queue() else {
            return;
        };
        span(&facts, || {
            let seqno = stop.queue().wants_recovery();
            let error = Errno::ETIME;
            let guilty = seqno.map(|seqno| Guilty { seqno, error });
            stop.recover(guilty, Rest::Replay);
        });
    };
    Device::builder("d").recovery(recover).unwrap()
}

fn world_with_recovery(bypass: bool) -> Arc<World> {
    World::with(bypass, device)
}

#[test]
fn stop_and_replay_race_with_completions_and_submits() {
    check(|| race(World::new(true), &[submitter, completer, replayer]));
}

#[test]
fn stops_race_with_each_other_and_with_close() {
    check(|| {
        race(
            World::new(false),
            &[submitter, replayer, |world| {
                if let Ok(all) = world.device.stop_all() {
                    span(&world.facts, || assert!(all.len() <= 1));
                }
                world.queue.close();
            }],
        );
    });
}

#[test]
fn stop_races_with_unbind_and_timeout() {
    check(|| {
        race(
            World::new(true),
            &[submitter, replayer, World::unbind, |world| {
                world.queue.trigger_timeout();
            }],
        );
    });
}

#[test]
fn recovery_races_with_completions_and_timeouts() {
    check(|| {
        race(
            world_with_recovery(false),
            &[submitter, completer, |world| {
                for _ in 0..2 {
                    world.queue.trigger_timeout();
                    thread::yield_now();
                }
                let _ = world.device.request_recovery(world.queue.context());
            }],
        );
    });
}

#[test]
fn recovery_races_with_unbind_and_other_stops() {
    check(|| {
        race(
            world_with_recovery(true),
            &[submitter, replayer, World::unbind, |world| {
                world.queue.trigger_timeout();
                let _ = world.device.request_recovery(world.queue.context());
            }],
        );
    });
}

#[test]
fn recovery_races_with_kill() {
    check(|| {
        race(
            world_with_recovery(true),
            &[submitter, completer, |world| {
                world.queue.trigger_timeout();
                world.queue.kill(Errno::EIO);
            }],
        );
    });
}
