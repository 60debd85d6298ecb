// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The other threads: hardware, unbinders, and those who disturb.

use std::sync::atomic::{AtomicU64, Ordering};

use ringfence::ClosePolicy;

use crate::driver::{play, Trick};
use crate::random::Random;
use crate::seen::Seen;
use crate::wire;
use crate::world::{nap, unbind, Line, World};

const SEQ: Ordering = Ordering::SeqCst;

/// Any trick that a callback may play.
pub(crate) fn trick(dice: &mut Random) -> Trick {
    dice.pick(&[
        Trick::Close(ClosePolicy::Cancel),
        Trick::Close(ClosePolicy::Drain),
        Trick::Cancel,
        Trick::Cancel,
        Trick::Kill,
        Trick::Suspend,
        Trick::Suspend,
        Trick::Trigger,
        Trick::Trigger,
        Trick::Unbind,
        Trick::Stop,
        Trick::Request,
        Trick::Request,
    ])
}

/// Completes what is on the hardware while `working` is not 0.
pub(crate) fn completer(world: &World, mut dice: Random, working: &AtomicU64) {
    wire::register();
    while working.load(SEQ) != 0 {
        wire::ring(&mut dice);
        if !world.step(&mut dice) {
            nap();
        }
    }
}

/// Disturbs while `working` is not 0.
pub(crate) fn disturber(world: &World, mut dice: Random, working: &AtomicU64) {
    wire::register();
    let mut unbinds = world.plan.unbinds;
    while working.load(SEQ) != 0 {
        std::thread::sleep(dice.micros(400));
        if unbinds && dice.once_in(8) {
            unbinds = false;
            let (device, scope) = &world.devices[dice.below(world.devices.len())];
            unbind(device, scope);
            world.ledger.saw(Seen::Unbound);
        }
        let slot = dice.below(world.lines.len());
        match world.line(slot) {
            None => world.make_queue(slot, &mut dice),
            Some(line) => {
                disturb(world, &line, slot, &mut dice);
                Line::let_go(line, false);
            }
        }
    }
}

fn disturb(world: &World, line: &Line, slot: usize, dice: &mut Random) {
    let queue = &line.queue;
    match dice.below(16) {
        0 if world.plan.tricks != 0 => {
            let policy = dice.pick(&[ClosePolicy::Cancel, ClosePolicy::Drain]);
            line.watch.saw(match policy {
                ClosePolicy::Cancel => Seen::ClosedCancel,
                ClosePolicy::Drain => Seen::ClosedDrain,
            });
            queue.close_with(policy);
        }
        1 if world.plan.tricks != 0 => play(line, Trick::Kill, 0, false),
        2 => {
            let own = world.lines[slot].lock().take();
            if let Some(own) = own {
                line.watch.saw(Seen::HandleDropped);
                Line::let_go(own, false);
            }
        }
        3 | 4 => {
            queue.suspend();
            std::thread::sleep(dice.micros(300));
            line.watch.saw(Seen::Suspended);
            line.watch
                .check(queue.resume(), "a suspend that cannot be taken back", 0);
        }
        5 | 6 => {
            let text = queue.snapshot();
            line.watch
                .check(text.contains(queue.name()), "a snapshot without a name", 0);
            let _any = (queue.stats(), queue.len(), queue.standing());
            line.watch.saw(Seen::Snapshot);
        }
        7 => play(line, Trick::Cancel, queue.stats().armed, false),
        8..=10 => play(line, Trick::Request, 0, false),
        _ => play(line, Trick::Trigger, 0, false),
    }
}
