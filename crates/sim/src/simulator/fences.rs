// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Fences of jobs and foreign ones, and who waits for them.

use ringfence_core::Errno;

use crate::judge::{promise, Verdict};

/// How far a fence is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FenceState {
    Unsignalled,
    /// Its callbacks run.
    Firing,
    Signalled,
}

/// No further wait.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Fence {
    state: FenceState,
    result: Result<(), Errno>,
    /// The queue of the job whose fence it is; `None` for a foreign one.
    queue: Option<u8>,
    /// The first of those who wait.
    waiter: u32,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    queue: u8,
    seqno: u64,
    next: u32,
}

/// All fences of a run, in the order in which they were made. A job waits only for older fences
/// than its own, as real ones do, so nothing waits for itself.
#[derive(Debug, Default)]
pub(crate) struct Fences {
    fences: Vec<Fence>,
    waits: Vec<Wait>,
    /// Fences before this one have all signalled.
    settled: usize,
    /// Fences whose callbacks run.
    firing: u32,
}

impl Fences {
    pub(crate) fn reset(&mut self) {
        self.fences.clear();
        self.waits.clear();
        self.settled = 0;
        self.firing = 0;
    }

    pub(crate) fn make(&mut self, queue: Option<u8>) -> u32 {
        self.fences.push(Fence {
            state: FenceState::Unsignalled,
            result: Ok(()),
            queue,
            waiter: NONE,
        });
        self.fences.len() as u32 - 1
    }

    /// The newest unsignalled fences older than `before`: the `pick`th of them.
    pub(crate) fn choose(&mut self, before: u32, pick: u8) -> Option<u32> {
        let settled = |fence: &Fence| fence.state == FenceState::Signalled;
        while self.fences.get(self.settled).is_some_and(settled) {
            self.settled += 1;
        }
        let from = self.settled.min(before as usize);
        let open = self.fences[from..before as usize].iter().enumerate();
        let mut open = open
            .rev()
            .filter(|(_, f)| f.state == FenceState::Unsignalled);
        // Few steps back: old fences hide behind hung queues.
        let mut last = None;
        for _ in 0..=pick % 8 {
            match open.next() {
                Some((at, _)) => last = Some((from + at) as u32),
                None => break,
            }
        }
        last
    }

    /// The `pick`th foreign fence that has not signalled.
    pub(crate) fn foreign(&self, pick: u8) -> Option<u32> {
        let fits = |f: &Fence| f.queue.is_none() && f.state == FenceState::Unsignalled;
        let count = self.fences[self.settled..]
            .iter()
            .filter(|f| fits(f))
            .count();
        let nth = usize::from(pick).checked_rem(count)?;
        let found = self.fences[self.settled..].iter().enumerate();
        found
            .filter(|(_, f)| fits(f))
            .map(|(at, _)| (self.settled + at) as u32)
            .nth(nth)
    }

    pub(crate) fn queue_of(&self, fence: u32) -> Option<u8> {
        self.fences[fence as usize].queue
    }

    /// A job is to be told when the fence signals. Never inside a callback: two fences may share a
    /// lock, and a callback has it.
    pub(crate) fn wait(&mut self, fence: u32, queue: u8, seqno: u64) -> Verdict {
        promise(self.firing == 0, || {
            format!("#{seqno} was made to wait for a fence inside a fence callback")
        })?;
        let at = self.waits.len() as u32;
        let next = std::mem::replace(&mut self.fences[fence as usize].waiter, at);
        self.waits.push(Wait { queue, seqno, next });
        Ok(())
    }

    /// The fence begins to signal: its callbacks are to be called.
    pub(crate) fn begin(&mut self, fence: u32, result: Result<(), Errno>) -> Verdict {
        let fence = &mut self.fences[fence as usize];
        promise(fence.state == FenceState::Unsignalled, || {
            "a fence was signalled twice".into()
        })?;
        fence.state = FenceState::Firing;
        fence.result = result;
        Ok(())
    }

    /// Takes one who waits: the queue and job to tell, and what.
    pub(crate) fn take_waiter(&mut self, fence: u32) -> Option<(u8, u64, Result<(), Errno>)> {
        let entry = &mut self.fences[fence as usize];
        let wait = self.waits.get(entry.waiter as usize)?;
        entry.waiter = wait.next;
        Some((wait.queue, wait.seqno, entry.result))
    }

    /// The callbacks of a fence begin, or have all returned.
    pub(crate) fn in_callbacks(&mut self, begun: bool) {
        match begun {
            true => self.firing += 1,
            false => self.firing -= 1,
        }
    }

    /// The fence says of itself that it has signalled.
    pub(crate) fn end(&mut self, fence: u32) -> Verdict {
        let fence = &mut self.fences[fence as usize];
        promise(fence.state == FenceState::Firing, || {
            "a fence was set signalled that was not being signalled".into()
        })?;
        promise(fence.waiter == NONE, || {
            "a fence says it has signalled before its callbacks ran".into()
        })?;
        fence.state = FenceState::Signalled;
        Ok(())
    }

    /// Every fence has signalled.
    pub(crate) fn at_the_end(&self) -> Verdict {
        let open = |fence: &Fence| fence.state != FenceState::Signalled;
        match self.fences.iter().position(open) {
            None => Ok(()),
            Some(at) => Err(format!(
                "fence {at} (of queue {:?}) never signalled",
                self.fences[at].queue
            )),
        }
    }
}
