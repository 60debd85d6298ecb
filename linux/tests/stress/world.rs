// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Devices and queues that come and go, and a pool of fences to depend on.

use core::time::Duration;

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Acquire, Atomic, Relaxed, Release};
use kernel::sync::Arc;

use ringfence::{
    Ban, BuildError, Builder, ClosePolicy, Device, Executor, Fence, Lock, OnDependencyError, Queue,
};

use crate::driver::{Bound, Chaos, Rescue};
use crate::hardware::Hardware;
use crate::random::Random;
use crate::tally::{count, Kind};
use crate::watch::Order;

const SCOPES: usize = 3;
pub(crate) const LINES: usize = 12;
const POOL: usize = 64;
pub(crate) const CLIENTS: usize = 6;

/// A device.
pub(crate) struct Scope<const I: bool> {
    pub(crate) device: Device,
    executor: Arc<Executor>,
    pub(crate) bound: Arc<Bound>,
    hardware: Arc<Hardware<I>>,
}

impl<const I: bool> Scope<I> {
    /// Unbinds: no callback may come any more.
    pub(crate) fn unbind(&self) {
        if let Err(error) = self.device.unbind() {
            broken!("unbind: {:?}", error);
        }
        self.bound.end();
        count(Kind::unbound);
    }
}

impl<const I: bool> Drop for Scope<I> {
    fn drop(&mut self) {
        self.unbind();
        // What the hardware still has keeps queues, for which the device's end waits.
        self.hardware
            .purge(self.bound.number, &mut Random::new(self.bound.number));
    }
}

/// A queue.
pub(crate) struct Line<const I: bool> {
    pub(crate) queue: Queue<Chaos<I>>,
    pub(crate) order: Arc<Order>,
    pub(crate) credits: u32,
    /// The newest job that somebody knows of.
    pub(crate) newest: Atomic<u64>,
    /// Goes after the queue.
    pub(crate) scope: Arc<Scope<I>>,
}

impl<const I: bool> Drop for Line<I> {
    fn drop(&mut self) {
        count(Kind::queues_dropped);
    }
}

/// Everything.
pub(crate) struct World<const I: bool> {
    pub(crate) hardware: Arc<Hardware<I>>,
    scopes: [Lock<Option<Arc<Scope<I>>>>; SCOPES],
    lines: [Lock<Option<Arc<Line<I>>>>; LINES],
    fences: Lock<[Option<ARef<Fence>>; POOL]>,
    numbers: Atomic<u64>,
    over: Atomic<i32>,
    /// Clients that have not returned.
    pub(crate) running: Atomic<i32>,
    /// What each client has done, and is doing.
    pub(crate) beats: [Atomic<u64>; CLIENTS],
    pub(crate) doing: [Atomic<u32>; CLIENTS],
}

impl<const I: bool> World<I> {
    pub(crate) fn new(random: &mut Random) -> Result<Arc<Self>> {
        let world = Self {
            hardware: Hardware::new()?,
            scopes: core::array::from_fn(|_| Lock::new(None)),
            lines: core::array::from_fn(|_| Lock::new(None)),
            fences: Lock::new([const { None }; POOL]),
            numbers: Atomic::new(0),
            over: Atomic::new(0),
            running: Atomic::new(0),
            beats: [const { Atomic::new(0) }; CLIENTS],
            doing: [const { Atomic::new(0) }; CLIENTS],
        };
        let world = Arc::new(world, GFP_KERNEL)?;
        for index in 0..SCOPES {
            world.new_scope(index, random)?;
        }
        for index in 0..LINES {
            world.new_line(index, random)?;
        }
        Ok(world)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Acquire) != 0
    }

    pub(crate) fn end(&self) {
        self.over.store(1, Release);
    }

    /// Puts a new device in a place, and gives out the one that was there.
    fn new_scope(&self, index: usize, random: &mut Random) -> Result<Option<Arc<Scope<I>>>> {
        let bound = Bound::new(self.numbers.fetch_add(1, Relaxed))?;
        let hardware = self.hardware.clone();
        let builder = Device::builder(c"stress").timeout(Duration::from_millis(20));
        let device = match random.one_in(4) {
            true => builder.build()?,
            false => {
                builder.recovery(Rescue::new(random.fork(), hardware.clone(), bound.clone()))?
            }
        };
        let executor = match random.one_in(4) {
            true => Executor::real_time(c"stress-rt")?,
            false => Executor::new(c"stress")?,
        };
        let scope = Scope {
            device,
            executor,
            bound,
            hardware,
        };
        count(Kind::devices);
        let scope = Arc::new(scope, GFP_KERNEL)?;
        Ok(self.scopes[index].lock().replace(scope))
    }

    /// Any device, and its place.
    pub(crate) fn scope(&self, random: &mut Random) -> Option<(usize, Arc<Scope<I>>)> {
        let index = random.index(SCOPES);
        let scope = self.scopes[index].lock().clone();
        scope.map(|scope| (index, scope))
    }

    /// Puts another device in a place, unbinds the one that was there, and lets go of it.
    pub(crate) fn replace_scope(&self, index: usize, random: &mut Random) -> Result {
        if let Some(scope) = self.new_scope(index, random)? {
            scope.unbind();
        }
        Ok(())
    }

    /// Puts a new queue in a place.
    pub(crate) fn new_line(&self, index: usize, random: &mut Random) -> Result {
        let Some((place, scope)) = self.scope(random) else {
            return Ok(());
        };
        let credits = 1 + random.below(12) as u32;
        let driver = Chaos::new(random.fork(), self.hardware.clone(), scope.bound.clone());
        let builder = any_builder(credits, random);
        let queue = match builder.build(&scope.device, &scope.executor, driver, GFP_KERNEL) {
            Ok(queue) => queue,
            Err(BuildError::Device(_)) => {
                count(Kind::refused);
                return self.replace_scope(place, random);
            }
            Err(error) => return Err(error.into()),
        };
        count(Kind::queues);
        let line = Line {
            newest: Atomic::new(0),
            order: Order::new()?,
            credits,
            queue,
            scope,
        };
        let line = Arc::new(line, GFP_KERNEL)?;
        let old = self.lines[index].lock().replace(line);
        // Without the lock.
        drop(old);
        Ok(())
    }

    /// Any queue, and its place.
    pub(crate) fn line(&self, random: &mut Random) -> Option<(usize, Arc<Line<I>>)> {
        let index = random.index(LINES);
        self.line_at(index).map(|line| (index, line))
    }

    pub(crate) fn line_at(&self, index: usize) -> Option<Arc<Line<I>>> {
        self.lines[index].lock().clone()
    }

    pub(crate) fn take_line(&self, index: usize) -> Option<Arc<Line<I>>> {
        self.lines[index].lock().take()
    }

    /// Lets go of all devices.
    pub(crate) fn drop_scopes(&self) {
        for scope in &self.scopes {
            let scope = scope.lock().take();
            drop(scope);
        }
    }

    /// Lets others depend on a fence.
    pub(crate) fn share(&self, fence: ARef<Fence>, random: &mut Random) {
        let index = random.index(POOL);
        let old = self.fences.lock()[index].replace(fence);
        drop(old);
    }

    pub(crate) fn shared(&self, random: &mut Random) -> Option<ARef<Fence>> {
        let index = random.index(POOL);
        self.fences.lock()[index].clone()
    }

    pub(crate) fn unshare_all(&self) {
        for index in 0..POOL {
            let old = self.fences.lock()[index].take();
            drop(old);
        }
    }
}

fn any_builder(credits: u32, random: &mut Random) -> Builder<'static> {
    let mut builder = Queue::<Chaos<false>>::builder(c"stress")
        .credits(credits)
        .capacity(2 << random.below(6))
        .bypass(random.one_in(2))
        .extensions(random.below(4) as u8)
        .first_seqno(random.among(&[1, 1, u64::from(u32::MAX) - 16]))
        .on_dependency_error(random.among(&[OnDependencyError::Fail, OnDependencyError::Run]))
        .close_policy(random.among(&[ClosePolicy::Cancel, ClosePolicy::Drain]));
    if random.one_in(2) {
        builder = builder.timeout(Duration::from_millis(1 + random.below(30)));
    }
    if random.one_in(3) {
        builder = builder.close_timeout(Duration::from_millis(random.below(30)));
    }
    if random.one_in(4) {
        builder = builder.ban(Ban {
            strikes: 3,
            within: None,
        });
    }
    builder
}
