// SPDX-License-Identifier: GPL-2.0 OR MIT
//! All the ways of waiting for a fence.

use std::future::{Future, IntoFuture};
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use ringfence::Fence;

use crate::random::Random;
use crate::seen::Seen;
use crate::world::World;

/// Does something with a fence somebody has published.
pub(crate) fn one(world: &World, dice: &mut Random) {
    let fences = world.fences(4, dice);
    match (fences.len(), dice.below(4)) {
        (0, _) => {}
        (_, 0) => {
            world.ledger.saw(Seen::CombinedAny);
            world.publish(Fence::any(&fences), dice);
        }
        (_, 1) => {
            world.ledger.saw(Seen::CombinedAll);
            world.publish(Fence::all(&fences), dice);
        }
        (_, 2) => {
            let any = Fence::wait_any_timeout(&fences, dice.micros(200));
            if any.is_ok() {
                world.ledger.saw(Seen::WaitedAny);
            }
        }
        _ => on(world, &fences[0], dice),
    }
}

/// Waits for a fence, or begins to.
pub(crate) fn on(world: &World, fence: &Fence, dice: &mut Random) {
    match dice.below(4) {
        0 => wait(world, fence, dice),
        1 => poll_descriptor(world, fence),
        2 => drop_future(world, fence),
        _ => await_future(world, fence, dice),
    }
}

fn wait(world: &World, fence: &Fence, dice: &mut Random) {
    match fence.wait_timeout(dice.micros(1000)) {
        Ok(status) => {
            world.ledger.saw(Seen::Waited);
            let same = fence.status() == Some(status);
            world.ledger.check(
                same,
                "a wait told another result",
                fence.context(),
                fence.seqno(),
            );
        }
        Err(_) => world.ledger.saw(Seen::WaitTimedOut),
    }
}

fn poll_descriptor(world: &World, fence: &Fence) {
    let Ok(descriptor) = fence.eventfd() else {
        return;
    };
    let mut set = libc::pollfd {
        fd: descriptor.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: One entry, as said.
    if unsafe { libc::poll(&mut set, 1, 1) } == 1 {
        world.ledger.saw(Seen::Polled);
        let signaled = fence.is_signaled();
        world.ledger.check(
            signaled,
            "a descriptor too early",
            fence.context(),
            fence.seqno(),
        );
    }
}

struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn drop_future(world: &World, fence: &Fence) {
    let waker = Waker::from(Arc::new(Count(AtomicU64::new(0))));
    let future = pin!(fence.into_future());
    if future.poll(&mut Context::from_waker(&waker)).is_pending() {
        world.ledger.saw(Seen::FutureDropped);
    }
}

fn await_future(world: &World, fence: &Fence, dice: &mut Random) {
    let woken = Arc::new(Count(AtomicU64::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut future = pin!(fence.into_future());
    for _ in 0..dice.below(200) {
        if let Poll::Ready(status) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            world.ledger.saw(Seen::Awaited);
            let same = fence.status() == Some(status);
            world.ledger.check(
                same,
                "a future told another result",
                fence.context(),
                fence.seqno(),
            );
            return;
        }
        let before = woken.0.load(Ordering::SeqCst);
        while woken.0.load(Ordering::SeqCst) == before && !dice.once_in(20) {
            std::thread::yield_now();
        }
    }
}
