// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The end of a round: everything ends, as it should, and nothing is left.

use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Relaxed};
use kernel::sync::Arc;
use kernel::time::{delay::fsleep, Delta};

use crate::random::Random;
use crate::watch::Window;
use crate::world::{Line, World, CLIENTS, LINES};
use crate::{driver, now_ms, work, STUCK_MS};

/// Waits until the clients have returned. False if they do not.
pub(crate) fn clients_return<const I: bool>(world: &Arc<World<I>>) -> bool {
    let end = now_ms() + STUCK_MS;
    while world.running.load(Acquire) != 0 {
        if now_ms() > end {
            for client in 0..CLIENTS {
                broken!(
                    "client {} does not return: step {} of {} steps",
                    client,
                    world.doing[client].load(Relaxed),
                    world.beats[client].load(Relaxed)
                );
            }
            return false;
        }
        fsleep(Delta::from_millis(1));
    }
    true
}

/// Has everything end that was begun, and sees that it does.
pub(crate) fn ends<const I: bool>(
    world: &Arc<World<I>>,
    windows: &mut KVec<Window>,
    random: &mut Random,
) -> Result {
    let mut lines = KVec::new();
    for index in 0..LINES {
        let Some(line) = world.take_line(index) else {
            continue;
        };
        while line.queue.resume() {}
        match random.below(3) {
            // Those that are left go on by themselves.
            0 => drop(line),
            1 => {
                line.queue.close();
                lines.push(line, GFP_KERNEL)?;
            }
            _ => lines.push(line, GFP_KERNEL)?,
        }
    }
    let end = now_ms() + STUCK_MS;
    loop {
        while let Some(item) = world.hardware.take(random, true) {
            item.finish(random, false);
        }
        let mut open = 0;
        for window in windows.iter_mut() {
            while let Some(watched) = world.hardware.arrived() {
                window.push(watched);
            }
            window.sweep();
            open += window.len();
        }
        if open == 0 && world.hardware.len() == 0 {
            break;
        }
        if now_ms() > end {
            accuse(windows, &lines);
            break;
        }
        fsleep(Delta::from_micros(500));
    }
    for line in &lines {
        check_line(line);
    }
    Ok(())
}

fn accuse<const I: bool>(windows: &KVec<Window>, lines: &KVec<Arc<Line<I>>>) {
    for window in windows {
        window.accuse();
    }
    for line in lines {
        _ = line.queue.snapshot(&mut Log);
    }
}

/// A queue whose jobs have all signalled.
fn check_line<const I: bool>(line: &Line<I>) {
    if let Err(violation) = line.queue.check_invariants() {
        broken!("{}", violation);
    }
    let stats = line.queue.stats();
    let ended = stats.completed + stats.failed + stats.cancelled + stats.timed_out;
    if stats.armed != stats.submitted || stats.armed != ended || stats.signalled != ended {
        broken!("{:?}", stats);
    }
}

/// Lets go of everything.
pub(crate) fn nothing_is_left<const I: bool>(
    world: Arc<World<I>>,
    windows: KVec<Window>,
    timelines: i32,
) -> Result {
    drop(windows);
    world.unshare_all();
    world.drop_scopes();
    // Not counted by devices: what the world itself holds.
    drop(world);
    let end = now_ms() + STUCK_MS;
    loop {
        let left = (
            work::works(),
            driver::drivers(),
            ringfence::fence::timelines() - timelines,
        );
        if left == (0, 0, 0) {
            return Ok(());
        }
        if now_ms() > end {
            broken!("payloads, drivers, timelines left: {:?}", left);
            return Ok(());
        }
        fsleep(Delta::from_millis(1));
    }
}

/// The kernel's log.
struct Log;

impl core::fmt::Write for Log {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        kernel::pr_cont!("{}", text);
        Ok(())
    }
}
