// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who stops queues and walks their jobs: the device's recovery, and threads.

use std::panic::panic_any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use ringfence::{
    Device, DeviceStop, Errno, Hang, Recovery, Replayed, Rest, StopError, StopGuard, UnbindError,
};

use crate::driver::{Mock, Planned};
use crate::ledger::{Ledger, Scope, Watch};
use crate::plan::Plan;
use crate::random::Random;
use crate::seen::Seen;
use crate::wire;
use crate::world::{Line, World};

const SEQ: Ordering = Ordering::SeqCst;

/// A device's recovery.
pub(crate) struct Surgeon {
    ledger: Arc<Ledger>,
    scope: Arc<Scope>,
    panics: bool,
    dice: Random,
    /// An ordinary number, for the sanitizers to watch.
    calls: Box<u64>,
}

impl Surgeon {
    pub(crate) fn new(ledger: &Arc<Ledger>, scope: &Arc<Scope>, plan: &Plan, dice: Random) -> Self {
        ledger.recoveries.fetch_add(1, SEQ);
        Self {
            ledger: Arc::clone(ledger),
            scope: Arc::clone(scope),
            panics: plan.panics,
            dice,
            calls: Box::new(0),
        }
    }

    fn operate(&mut self, device: &Device, hang: &Hang<'_>) {
        let refused = device.unbind() == Err(UnbindError::InCallback);
        self.ledger.check(refused, "unbind in a recovery", 0, 0);
        match self.dice.below(8) {
            0 => self.ledger.saw(Seen::RecoveryDeclined),
            1..=5 => match hang.stop_queue() {
                Ok(mut stop) => {
                    self.ledger.saw(Seen::Recovered);
                    if let Some(mut guard) = stop.typed::<Mock>() {
                        let guilty = hang.seqno();
                        walk(&mut guard, guilty, &mut self.dice);
                    }
                }
                Err(error) => self.refused(error),
            },
            _ => match hang.stop_all() {
                Ok(mut stop) => {
                    self.ledger.saw(Seen::Recovered);
                    walk_all(&mut stop, hang, &mut self.dice);
                }
                Err(error) => self.refused(error),
            },
        }
    }

    fn refused(&self, error: StopError) {
        let right = match error {
            StopError::Unbound => self.scope.unbinding.load(SEQ),
            StopError::Closed => true,
            _ => false,
        };
        self.ledger
            .check(right, "a stop refused without reason", 0, 0);
    }
}

impl Recovery for Surgeon {
    fn recover(&mut self, device: &Device, hang: &Hang<'_>) {
        self.scope.recovery_begins(&self.ledger);
        wire::register();
        *self.calls += 1;
        if self.panics && self.dice.once_in(16) {
            self.scope.poisoned.store(true, SEQ);
            self.scope.recovery_ends(&self.ledger);
            panic_any(Planned);
        }
        self.operate(device, hang);
        self.scope.recovery_ends(&self.ledger);
    }
}

impl Drop for Surgeon {
    fn drop(&mut self) {
        *self.calls += 1;
        let unbound = self.scope.unbound.load(SEQ);
        self.ledger
            .check(!unbound, "the recovery goes after unbind", 0, 0);
        self.ledger.recoveries.fetch_sub(1, SEQ);
    }
}

/// Deals with every queue of a stopped device.
fn walk_all(stop: &mut DeviceStop<'_>, hang: &Hang<'_>, dice: &mut Random) {
    if dice.once_in(2) {
        let guilty = hang
            .seqno()
            .map(|seqno| (hang.context(), seqno, Errno::ETIME));
        stop.recover(
            guilty.as_slice(),
            dice.pick(&[Rest::Replay, Rest::Cancel, Rest::Keep]),
        );
        return;
    }
    stop.for_each(|mut queue| {
        if let Some(mut guard) = queue.typed::<Mock>() {
            walk(&mut guard, None, dice);
        }
    });
}

/// Deals with each job on the hardware of one stopped queue.
fn walk(guard: &mut StopGuard<'_, Mock>, guilty: Option<u64>, dice: &mut Random) {
    let watch = {
        let driver = guard.driver();
        *driver.calls += 1;
        Arc::clone(driver.watch())
    };
    watch.stop();
    if dice.once_in(3) {
        let guilty = guilty.map(|seqno| ringfence::Guilty {
            seqno,
            error: Errno::ETIME,
        });
        guard.recover(guilty, dice.pick(&[Rest::Replay, Rest::Cancel, Rest::Keep]));
    } else {
        walk_by_hand(guard, &watch, dice);
    }
    if dice.once_in(16) {
        watch.killed.store(true, SEQ);
        watch.saw(Seen::Killed);
        guard.kill(Errno::EIO);
    }
    if dice.once_in(16) {
        guard.strike();
    }
    watch.restart();
}

fn walk_by_hand(guard: &mut StopGuard<'_, Mock>, watch: &Watch, dice: &mut Random) {
    let mut last = 0;
    let mut walk = guard.pending();
    while let Some(mut job) = walk.next() {
        let seqno = job.seqno();
        watch.check(last < seqno, "a walk out of order", seqno);
        last = seqno;
        let (driver, payload, again) = job.parts();
        *driver.calls += 1;
        *payload.memory += 1;
        again.touch();
        let ticket = Arc::clone(&payload.ticket);
        ticket.lend();
        ticket.check(
            ticket.runs.load(SEQ) == 1,
            "a walk shows a job that never ran",
        );
        if dice.once_in(4) {
            // Its own interrupt comes now, perhaps.
            driver.step(dice);
        }
        ticket.give_back();
        let by_itself = match dice.below(6) {
            0 => {
                watch.saw(Seen::Kept);
                job.keep();
                false
            }
            1 => {
                watch.saw(Seen::Ended);
                ticket.ended_well.store(true, SEQ);
                !job.complete(Ok(()))
            }
            2 => {
                watch.saw(Seen::Ended);
                !job.fail(Errno::EFAULT)
            }
            3 => {
                watch.saw(Seen::WalkTimedOut);
                !job.time_out(Errno::ETIME)
            }
            _ => job.replay() == Replayed::Ended,
        };
        if by_itself {
            watch.saw(Seen::EndedMeanwhile);
        }
        if dice.once_in(16) {
            // A walk may be broken off.
            break;
        }
    }
}

/// A thread that stops queues and devices while `working` is not 0.
pub(crate) fn stopper(world: &World, mut dice: Random, working: &AtomicU64) {
    wire::register();
    while working.load(SEQ) != 0 {
        let slot = dice.below(world.lines.len());
        if dice.once_in(3) {
            let (device, scope) = &world.devices[dice.below(world.devices.len())];
            stop_device(world, device, scope, &mut dice);
        } else if let Some(line) = world.line(slot) {
            stop_queue(world, &line, &mut dice);
            Line::let_go(line, false);
        }
        std::thread::sleep(dice.micros(300));
    }
}

fn stop_device(world: &World, device: &Device, scope: &Scope, dice: &mut Random) {
    match device.stop_all() {
        Ok(mut stop) => {
            world.ledger.saw(Seen::StoppedAll);
            let nested = matches!(device.stop_all(), Err(StopError::Nested));
            world.ledger.check(nested, "a stop inside a stop", 0, 0);
            let refused = device.unbind() == Err(UnbindError::Stopped);
            world.ledger.check(refused, "unbind inside a stop", 0, 0);
            if dice.once_in(3) {
                stop.recover(&[], dice.pick(&[Rest::Replay, Rest::Cancel, Rest::Keep]));
            } else {
                stop.for_each(|mut queue| {
                    if let Some(mut guard) = queue.typed::<Mock>() {
                        walk(&mut guard, None, dice);
                    }
                });
            }
            if world.plan.tricks != 0 && dice.once_in(64) {
                scope.gone.store(true, SEQ);
                world.ledger.saw(Seen::DeviceGone);
                stop.device_gone();
            }
        }
        Err(error) => {
            let right = error == StopError::Unbound && scope.unbinding.load(SEQ);
            world
                .ledger
                .check(right, "a stop refused without reason", 0, 0);
        }
    }
}

fn stop_queue(world: &World, line: &Line, dice: &mut Random) {
    match line.queue.stop() {
        Ok(mut guard) => {
            world.ledger.saw(Seen::Stopped);
            walk(&mut guard, None, dice);
        }
        Err(StopError::Unbound) => {
            let unbinding = line.watch.scope.unbinding.load(SEQ);
            line.watch
                .check(unbinding, "a stop refused without reason", 0);
        }
        Err(error) => line
            .watch
            .check(error == StopError::Closed, "a stop refused", 0),
    }
}
