// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A client: does one thing after the other, in no order.

use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::atomic::{Relaxed, Release};
use kernel::sync::Arc;
use kernel::time::{delay::fsleep, Delta};

use ringfence::{Cancelled, ClosePolicy, Errno};

use crate::hardware::Item;
use crate::random::Random;
use crate::tally::{count, Kind};
use crate::watch::{Draft, Order, Window};
use crate::work::lone_fence;
use crate::world::World;

/// How many fences a client watches at a time.
const WINDOW: usize = 192;

pub(crate) struct Client<const I: bool> {
    pub(crate) world: Arc<World<I>>,
    pub(crate) random: Random,
    pub(crate) window: Window,
    index: usize,
}

impl<const I: bool> Client<I> {
    pub(crate) fn new(world: Arc<World<I>>, random: Random, index: usize) -> Result<Self> {
        Ok(Self {
            world,
            random,
            window: Window::new(WINDOW)?,
            index,
        })
    }

    /// Goes on until the world ends. Leaves what has not signalled.
    pub(crate) fn run(mut self) -> Window {
        while !self.world.is_over() {
            let choice = self.random.below(1000) as u32;
            let world = self.world.clone();
            world.doing[self.index].store(choice, Relaxed);
            if let Err(error) = self.step(choice) {
                broken!("step {}: {:?}", choice, error);
                break;
            }
            world.beats[self.index].add(1, Relaxed);
            if self.random.one_in(64) {
                fsleep(Delta::from_micros(self.random.below(300) as i64));
            }
            // SAFETY: Gives way to others.
            unsafe { bindings::schedule() };
        }
        let Self { world, window, .. } = self;
        world.running.fetch_add(-1, Release);
        window
    }

    fn step(&mut self, choice: u32) -> Result {
        match choice {
            0..300 => self.submit_some(),
            300..400 => self.submit_with_guard(),
            400..420 => self.post(),
            420..560 => self.finish_some(),
            560..600 => self.cancel_some(),
            600..700 => self.stop(),
            700..716 => self.stop_all(),
            716..750 => self.suspend_or_resume(),
            750..800 => self.trigger(),
            800..802 => self.kill(),
            802..806 => self.close(),
            806..812 => self.drop_handle(),
            812..813 => self.unbind(),
            813..832 => self.request(),
            832..860 => self.look(),
            860..864 => self.wait(),
            864..890 => self.lone(),
            _ => self.judge(),
        }
    }

    /// There is something to watch one more fence with.
    pub(crate) fn has_room(&mut self) -> bool {
        if self.window.is_full() {
            self.window.sweep();
        }
        !self.window.is_full()
    }

    fn judge(&mut self) -> Result {
        self.window.sweep();
        while let Some(watched) = self.world.hardware.arrived() {
            self.window.push(watched);
        }
        Ok(())
    }

    pub(crate) fn finish_some(&mut self) -> Result {
        for _ in 0..self.random.below(4) {
            let all = self.random.one_in(4);
            match self.world.hardware.take(&mut self.random, all) {
                Some(item) => item.finish(&mut self.random, false),
                None => break,
            }
        }
        Ok(())
    }

    /// A fence of nobody's queue, for others to depend on.
    fn lone(&mut self) -> Result {
        let (signaller, fence) = lone_fence()?;
        let context = fence.context();
        if self.has_room() {
            self.window
                .push(Draft::new(&Order::new()?)?.watch(fence.clone()));
        }
        self.world.share(fence, &mut self.random);
        // Of no scope.
        self.world
            .hardware
            .put(u64::MAX, context, false, Item::Fence(signaller));
        Ok(())
    }

    fn cancel_some(&mut self) -> Result {
        let Some((_, line)) = self.world.line(&mut self.random) else {
            return Ok(());
        };
        let seqno = line
            .newest
            .load(Relaxed)
            .saturating_sub(self.random.below(16));
        match line.queue.cancel(seqno, Errno::EAGAIN) {
            Ok(Cancelled::Yes) => count(Kind::cancelled),
            Ok(Cancelled::TooLate) | Err(_) => count(Kind::cancelled_late),
        }
        Ok(())
    }

    fn suspend_or_resume(&mut self) -> Result {
        let Some((_, line)) = self.world.line(&mut self.random) else {
            return Ok(());
        };
        if self.random.one_in(2) {
            count(Kind::suspends);
            line.queue.suspend();
            self.linger();
        }
        // Somebody else's, too, or none.
        for _ in 0..self.random.below(4) {
            if line.queue.resume() {
                count(Kind::resumes);
            }
        }
        Ok(())
    }

    fn trigger(&mut self) -> Result {
        if let Some((_, line)) = self.world.line(&mut self.random) {
            if line.queue.trigger_timeout() {
                count(Kind::triggered);
            }
        }
        Ok(())
    }

    fn kill(&mut self) -> Result {
        if let Some((_, line)) = self.world.line(&mut self.random) {
            count(Kind::killed);
            line.queue.kill(Errno::EFAULT);
        }
        Ok(())
    }

    fn close(&mut self) -> Result {
        let Some((_, line)) = self.world.line(&mut self.random) else {
            return Ok(());
        };
        count(Kind::closed);
        let ask = self.has_room() && self.random.one_in(2);
        let closed = ask.then(|| line.queue.closed(GFP_KERNEL)).transpose()?;
        match self.random.below(3) {
            0 => line.queue.close(),
            1 => line.queue.close_with(ClosePolicy::Cancel),
            _ => line.queue.close_with(ClosePolicy::Drain),
        }
        if let Some(closed) = closed {
            self.window
                .push(Draft::new(&Order::new()?)?.watch(closed).well());
        }
        Ok(())
    }

    /// Another queue takes the place of one; the handle goes, here or wherever it is in use.
    fn drop_handle(&mut self) -> Result {
        match self.world.line(&mut self.random) {
            Some((index, _)) => self.world.new_line(index, &mut self.random),
            None => Ok(()),
        }
    }

    fn unbind(&mut self) -> Result {
        let Some((index, scope)) = self.world.scope(&mut self.random) else {
            return Ok(());
        };
        if self.random.one_in(3) {
            // The place is noticed to be taken by a dead device when a queue is to be made there.
            scope.unbind();
            return Ok(());
        }
        drop(scope);
        self.world.replace_scope(index, &mut self.random)
    }

    fn request(&mut self) -> Result {
        if let Some((_, line)) = self.world.line(&mut self.random) {
            if line
                .scope
                .device
                .request_recovery(line.queue.context())
                .is_ok()
            {
                count(Kind::requests);
            }
        }
        Ok(())
    }

    /// Looks at everything there is to look at.
    fn look(&mut self) -> Result {
        let Some((_, line)) = self.world.line(&mut self.random) else {
            return Ok(());
        };
        count(Kind::looks);
        if let Err(violation) = line.queue.check_invariants() {
            broken!("{}", violation);
        }
        let stats = line.queue.stats();
        let ended = stats.completed + stats.failed + stats.cancelled + stats.timed_out;
        if stats.signalled != ended || stats.armed < ended || stats.reaped > stats.signalled {
            broken!("{:?}", stats);
        }
        let mut nothing = Nothing;
        let written = match self.random.one_in(8) {
            true => line.scope.device.snapshot(&mut nothing),
            false => line.queue.snapshot(&mut nothing),
        };
        if written.is_err() {
            broken!("a snapshot fails");
        }
        _ = (
            line.queue.len(),
            line.queue.is_empty(),
            line.queue.standing(),
        );
        Ok(())
    }

    fn wait(&mut self) -> Result {
        if self.window.len() == 0 {
            return Ok(());
        }
        let index = self.random.index(self.window.len());
        if let Some(watched) = self.window.get(index) {
            count(Kind::waits);
            let ms = self.random.below(4) as u32;
            _ = watched.fence.wait_timeout(ms);
        }
        Ok(())
    }
}

/// Where what is written goes.
struct Nothing;

impl core::fmt::Write for Nothing {
    fn write_str(&mut self, _text: &str) -> core::fmt::Result {
        Ok(())
    }
}
