// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A driver that does everything a driver may, and looks whether it is treated as promised.

use core::time::Duration;

use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed, Release};
use kernel::sync::Arc;

use ringfence::{
    Driver, Errno, Guilty, Hang, Reaping, Recovery, Replay, ReplayOutcome, Rest, RunOutcome,
    Submission, TimedOutJob, TimeoutOutcome,
};

use crate::hardware::{Hardware, Item};
use crate::random::Random;
use crate::tally::{count, Kind};
use crate::work::Work;

/// Drivers that exist.
static DRIVERS: Atomic<i64> = Atomic::new(0);

pub(crate) fn drivers() -> i64 {
    DRIVERS.load(Relaxed)
}

/// What the drivers of a device share.
pub(crate) struct Bound {
    pub(crate) number: u64,
    ended: Atomic<i32>,
}

impl Bound {
    pub(crate) fn new(number: u64) -> Result<Arc<Self>> {
        let ended = Atomic::new(0);
        Ok(Arc::new(Self { number, ended }, GFP_KERNEL)?)
    }

    /// No callback may come from here on.
    pub(crate) fn end(&self) {
        self.ended.store(1, Release);
    }

    fn check(&self, what: &str) {
        if self.ended.load(Acquire) != 0 {
            broken!("{} after unbind", what);
        }
    }
}

/// The driver of one queue. `I`: its payloads may be dropped in interrupts.
pub(crate) struct Chaos<const I: bool> {
    random: Random,
    hardware: Arc<Hardware<I>>,
    bound: Arc<Bound>,
    inside: Atomic<i32>,
    /// The fence context, once a job has run.
    context: u64,
    /// The last job that was run, and whether it had no room.
    last: Option<(u64, bool)>,
    /// Callbacks so far.
    pub(crate) calls: u64,
}

impl<const I: bool> Chaos<I> {
    pub(crate) fn new(random: Random, hardware: Arc<Hardware<I>>, bound: Arc<Bound>) -> Self {
        DRIVERS.fetch_add(1, Relaxed);
        Self {
            random,
            hardware,
            bound,
            inside: Atomic::new(0),
            context: 0,
            last: None,
            calls: 0,
        }
    }

    fn enter(&mut self, what: &str) {
        self.bound.check(what);
        self.calls += 1;
        if self.inside.xchg(1, Full) != 0 {
            broken!("{} while another callback of the queue runs", what);
        }
    }

    fn leave(&mut self) {
        self.bound.check("a callback");
        self.inside.store(0, Relaxed);
    }

    /// True while a callback runs.
    pub(crate) fn is_inside(&self) -> bool {
        self.inside.load(Relaxed) != 0
    }

    /// Jobs come in order, and again only where there was no room.
    fn check_order(&mut self, seqno: u64) {
        if let Some((last, no_room)) = self.last {
            if !(seqno > last || seqno == last && no_room) {
                broken!("job {} runs after job {}", seqno, last);
            }
        }
        self.last = Some((seqno, false));
    }

    fn act(&mut self, mut submission: Submission<'_, Self>) -> RunOutcome {
        let (hardware, scope) = (self.hardware.clone(), self.bound.number);
        let context = submission.finished().context();
        self.context = context;
        let choice = self.random.below(32);
        let work = submission.payload();
        let named = choice < 24;
        if let Some((signaller, fence)) = named.then(|| work.room.take()).flatten() {
            count(Kind::no_room);
            self.last = self.last.map(|(seqno, _)| (seqno, true));
            hardware.put(scope, context, false, Item::Fence(signaller));
            return submission.no_resources(fence);
        }
        if let Some((signaller, fence)) = named.then(|| work.hardware.take()).flatten() {
            count(Kind::followed);
            hardware.put(scope, context, false, Item::Fence(signaller));
            return submission.follow(fence);
        }
        if let Some((ready, signaller)) = work.late.as_mut().and_then(|late| late.ready()) {
            count(Kind::by_callbacks);
            hardware.put(scope, context, false, Item::Fence(signaller));
            let (completion, outcome) = submission.pending();
            ready.register(completion);
            return outcome;
        }
        match choice {
            0..6 => {
                count(Kind::done);
                return submission.done();
            }
            6 => {
                count(Kind::failed);
                return submission.failed(Errno::EIO);
            }
            _ => {}
        }
        let (completion, outcome) = submission.pending();
        match choice {
            7..10 => {
                count(Kind::at_once);
                completion.complete(Ok(()));
            }
            10 => {
                count(Kind::lost);
                drop(completion);
            }
            _ => {
                let hangs = choice < 13;
                count(if hangs { Kind::hanging } else { Kind::pending });
                hardware.put(scope, context, hangs, Item::Job(completion));
            }
        }
        outcome
    }

    fn answer(&mut self, job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        let handled = |job: TimedOutJob<'_, Self>| {
            count(Kind::handled);
            job.handled(Errno::ETIME)
        };
        match self.random.below(64) {
            0 => {
                count(Kind::gone_answers);
                job.device_gone()
            }
            1..16 => {
                count(Kind::no_hang);
                job.no_hang()
            }
            16..32 => match job.extend(Duration::from_micros(500)) {
                Ok(outcome) => {
                    count(Kind::extended);
                    outcome
                }
                Err(job) => handled(job),
            },
            32..48 => match job.reset() {
                Ok(outcome) => {
                    count(Kind::resets);
                    outcome
                }
                Err(job) => handled(job),
            },
            _ => handled(job),
        }
    }
}

impl<const I: bool> Driver for Chaos<I> {
    type Payload = Work<I>;
    /// How often the job was replayed.
    type ReplayData = u64;

    const NAMES_FENCES: bool = true;
    const REAPING: Reaping<Work<I>> = match I {
        true => Reaping::IN_IRQ,
        false => Reaping::ON_THREADS,
    };

    fn run(&mut self, mut submission: Submission<'_, Self>) -> RunOutcome {
        count(Kind::runs);
        self.enter("run");
        let seqno = submission.seqno();
        self.check_order(seqno);
        submission.payload().check(seqno);
        if self.random.one_in(16) {
            // Hardware that does something else first.
            if let Some(item) = self.hardware.take(&mut self.random, false) {
                item.finish(&mut self.random, true);
            }
        }
        let outcome = self.act(submission);
        self.leave();
        outcome
    }

    fn timed_out(&mut self, mut job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        count(Kind::timeouts);
        self.enter("timed_out");
        let seqno = job.seqno();
        job.payload().check(seqno);
        let outcome = self.answer(job);
        self.leave();
        outcome
    }

    fn replay(&mut self, mut replay: Replay<'_, Self>) -> ReplayOutcome {
        count(Kind::replays);
        self.enter("replay");
        let seqno = replay.seqno();
        replay.payload().check(seqno);
        *replay.data() += 1;
        let attempt = replay.attempt();
        if *replay.data() != u64::from(attempt.replays()) {
            broken!("replay {} of job {} is {:?}", replay.data(), seqno, attempt);
        }
        let outcome = match self.random.below(8) {
            0 => replay.done(),
            1 => replay.failed(Errno::EIO),
            choice => {
                let (completion, outcome) = replay.pending();
                let hangs = choice == 2;
                let item = Item::Job(completion);
                self.hardware
                    .put(self.bound.number, self.context, hangs, item);
                outcome
            }
        };
        self.leave();
        outcome
    }
}

impl<const I: bool> Drop for Chaos<I> {
    fn drop(&mut self) {
        if self.is_inside() {
            broken!("a driver is dropped inside a callback");
        }
        DRIVERS.fetch_sub(1, Relaxed);
    }
}

/// The recovery of a device.
pub(crate) struct Rescue<const I: bool> {
    random: Random,
    hardware: Arc<Hardware<I>>,
    bound: Arc<Bound>,
}

impl<const I: bool> Rescue<I> {
    pub(crate) fn new(random: Random, hardware: Arc<Hardware<I>>, bound: Arc<Bound>) -> Self {
        Self {
            random,
            hardware,
            bound,
        }
    }
}

impl<const I: bool> Recovery for Rescue<I> {
    fn recover(&mut self, hang: &Hang<'_>) {
        count(Kind::recoveries);
        self.bound.check("recovery");
        let context = hang.context();
        let guilty = hang.seqno().map(|seqno| Guilty {
            seqno,
            error: Errno::ETIME,
        });
        if let (Some(guilty), true) = (guilty, self.random.one_in(2)) {
            // The reset lets go of it.
            drop(self.hardware.take_job(context, guilty.seqno));
        }
        let rest = self
            .random
            .among(&[Rest::Replay, Rest::Replay, Rest::Cancel, Rest::Keep]);
        let choice = self.random.below(16);
        match choice {
            // Nothing is done about it.
            0 => {}
            1..12 => {
                let Ok(mut stop) = hang.stop_queue() else {
                    count(Kind::stops_refused);
                    return;
                };
                match choice {
                    1 => stop.queue().kill(Errno::EIO),
                    2 => _ = stop.queue().strike(),
                    3 => _ = stop.recover(None, Rest::Keep),
                    _ => _ = stop.recover(guilty, rest),
                }
            }
            _ => {
                let Ok(mut stop) = hang.stop_all() else {
                    count(Kind::stops_refused);
                    return;
                };
                let named = guilty.map(|guilty| (context, guilty.seqno, guilty.error));
                _ = stop.recover(named.as_slice(), rest);
            }
        }
        self.bound.check("the end of recovery");
    }
}
