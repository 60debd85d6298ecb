// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The driver, its jobs, and the tricks that callbacks play.

use std::panic::panic_any;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ringfence::{
    ClosePolicy, Driver, Errno, Fence, Replay, ReplayOutcome, RunOutcome, Signaller, StopError,
    Submission, TimedOutJob, TimeoutOutcome, UnbindError,
};

use crate::hardware::{Hardware, Token};
use crate::ledger::{Ledger, Ticket, Watch};
use crate::random::Random;
use crate::sabotage;
use crate::seen::Seen;
use crate::sync::Mutex;
use crate::wire;
use crate::world::Line;

const SEQ: Ordering = Ordering::SeqCst;

/// What a job does when it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Does {
    Done,
    Fails,
    Waits,
    Hangs,
    Follows,
    /// Finds no resources, then waits.
    Starves,
    Panics,
}

/// What a callback does to a queue, beside its work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trick {
    None,
    Close(ClosePolicy),
    Cancel,
    Kill,
    Suspend,
    Trigger,
    Unbind,
    Stop,
    Request,
}

/// The payload that a planned panic has, so that nobody prints it.
pub(crate) struct Planned;

pub(crate) struct Payload {
    pub(crate) does: Does,
    pub(crate) trick: Trick,
    pub(crate) ticket: Arc<Ticket>,
    /// What must have signalled before it runs.
    pub(crate) needs: Vec<Fence>,
    /// The hardware's own fence, for those that name one.
    pub(crate) own: Option<(Signaller, Fence)>,
    /// What its run leaves for a replay: run must not allocate.
    pub(crate) again: Option<Again>,
    /// Memory for the sanitizers to watch, written by whoever has the payload.
    pub(crate) memory: Box<u64>,
}

impl Drop for Payload {
    fn drop(&mut self) {
        *self.memory += 1;
        self.ticket.payload_drops();
        sabotage::payload_drops();
    }
}

/// What a replay needs.
pub(crate) struct Again {
    ledger: Arc<Ledger>,
    memory: Box<u64>,
}

impl Again {
    pub(crate) fn new(ledger: &Arc<Ledger>) -> Self {
        ledger.replay_data.fetch_add(1, SEQ);
        Self {
            ledger: Arc::clone(ledger),
            memory: Box::new(0),
        }
    }
}

impl Again {
    /// Whoever has it writes to it.
    pub(crate) fn touch(&mut self) {
        *self.memory += 1;
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        *self.memory += 1;
        self.ledger.replay_data.fetch_sub(1, SEQ);
    }
}

pub(crate) struct Mock {
    watch: Arc<Watch>,
    hardware: Arc<Hardware>,
    /// The handle of its own queue, once it is built.
    line: Arc<Mutex<Weak<Line>>>,
    dice: Random,
    /// Callbacks so far: an ordinary number, for the sanitizers to watch.
    pub(crate) calls: Box<u64>,
}

impl Mock {
    pub(crate) fn new(
        watch: &Arc<Watch>,
        hardware: &Arc<Hardware>,
        line: &Arc<Mutex<Weak<Line>>>,
        dice: Random,
    ) -> Self {
        watch.ledger.drivers.fetch_add(1, SEQ);
        Self {
            watch: Arc::clone(watch),
            hardware: Arc::clone(hardware),
            line: Arc::clone(line),
            dice,
            calls: Box::new(0),
        }
    }

    pub(crate) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// Lets the hardware complete something.
    pub(crate) fn step(&self, dice: &mut Random) {
        self.hardware.step(dice);
    }

    fn play(&mut self, trick: Trick, seqno: u64) {
        if trick == Trick::None {
            return;
        }
        let line = self.line.lock().upgrade();
        if let Some(line) = line {
            if matches!(trick, Trick::Close(_)) {
                self.watch.saw(Seen::ClosedInDriver);
            }
            play(&line, trick, seqno, true);
            Line::let_go(line, true);
        }
    }

    /// Runs are handed out when what their jobs wait for has a result. Who watches may still be
    /// told of it on another thread, so this gives that thread its time.
    fn await_needs(&self, payload: &Payload) {
        for fence in &payload.needs {
            let mut tries = 0;
            while !fence.is_signaled() && tries < 2_000_000 {
                tries += 1;
                std::thread::yield_now();
            }
            let signaled = fence.is_signaled();
            payload
                .ticket
                .check(signaled, "a job ran before what it waits for");
        }
    }

    fn do_run(&mut self, mut submission: Submission<'_, Self>) -> RunOutcome {
        let payload = submission.payload();
        *payload.memory += 1;
        *self.calls += 1;
        let ticket = Arc::clone(&payload.ticket);
        let starves = payload.does == Does::Starves && payload.own.is_some();
        if starves {
            if let Some((signaller, fence)) = payload.own.take() {
                self.watch.saw(Seen::NoResources);
                self.hardware.put_signaller(signaller);
                return submission.no_resources(fence);
            }
        }
        ticket.runs.fetch_add(1, SEQ);
        self.watch.saw(Seen::Run);
        match payload.does {
            Does::Done => {
                ticket.ended_well.store(true, SEQ);
                submission.done()
            }
            Does::Fails => submission.failed(Errno::EFAULT),
            Does::Panics => {
                self.watch.poisoned.store(true, SEQ);
                self.watch.saw(Seen::Panicked);
                panic_any(Planned)
            }
            Does::Follows => match payload.own.take() {
                Some((signaller, fence)) => {
                    ticket.ended_well.store(true, SEQ);
                    self.watch.saw(Seen::Followed);
                    self.hardware.put_signaller(signaller);
                    let again = payload.again.take();
                    match again {
                        Some(again) => submission.follow_with(fence, again),
                        None => submission.failed(Errno::EFAULT),
                    }
                }
                None => submission.failed(Errno::EFAULT),
            },
            does => self.put_on_hardware(submission, &ticket, does == Does::Hangs),
        }
    }

    fn put_on_hardware(
        &mut self,
        mut submission: Submission<'_, Self>,
        ticket: &Arc<Ticket>,
        hangs: bool,
    ) -> RunOutcome {
        let Some(again) = submission.payload().again.take() else {
            return submission.failed(Errno::EFAULT);
        };
        let (completion, outcome) = submission.pending_with(again);
        self.hardware
            .put(Token::new(completion, ticket, hangs), &mut self.dice);
        outcome
    }

    fn do_replay(&mut self, mut replay: Replay<'_, Self>) -> ReplayOutcome {
        let (payload, again) = replay.parts();
        *payload.memory += 1;
        again.touch();
        *self.calls += 1;
        let ticket = Arc::clone(&payload.ticket);
        ticket.check(
            ticket.runs.load(SEQ) == 1,
            "a replay of a job that never ran",
        );
        self.hardware.replace(&ticket);
        match self.dice.below(8) {
            0 => {
                self.watch.saw(Seen::ReplayFailed);
                replay.failed(Errno::ENODATA)
            }
            1 => {
                ticket.ended_well.store(true, SEQ);
                replay.done()
            }
            _ => {
                self.watch.saw(Seen::Replayed);
                let (completion, outcome) = replay.pending();
                self.hardware
                    .put(Token::new(completion, &ticket, false), &mut self.dice);
                outcome
            }
        }
    }
}

impl Driver for Mock {
    type Payload = Payload;
    type ReplayData = Again;
    const NAMES_FENCES: bool = true;

    fn run(&mut self, mut submission: Submission<'_, Self>) -> RunOutcome {
        let seqno = submission.seqno();
        wire::register();
        self.watch.enter(seqno);
        let payload = submission.payload();
        let (ticket, trick) = (Arc::clone(&payload.ticket), payload.trick);
        ticket.lend();
        self.await_needs(payload);
        self.play(trick, seqno);
        // A panic leaves, too.
        let _leave = Leave {
            watch: Arc::clone(&self.watch),
            ticket,
            seqno,
        };
        self.do_run(submission)
    }

    fn timed_out(&mut self, mut job: TimedOutJob<'_, Self>) -> TimeoutOutcome {
        let seqno = job.seqno();
        self.watch.enter(seqno);
        let payload = job.payload();
        *payload.memory += 1;
        *self.calls += 1;
        let ticket = Arc::clone(&payload.ticket);
        let (trick, hangs) = (payload.trick, payload.does == Does::Hangs);
        ticket.lend();
        ticket.check(
            ticket.runs.load(SEQ) == 1,
            "a timeout of a job that never ran",
        );
        self.play(trick, seqno);
        let _leave = Leave {
            watch: Arc::clone(&self.watch),
            ticket,
            seqno,
        };
        self.watch.saw(Seen::TimedOut);
        match self.dice.below(if hangs { 6 } else { 12 }) {
            0 => {
                self.watch.saw(Seen::Extended);
                let extended = job.extend(Duration::from_micros(300));
                extended.unwrap_or_else(|job| job.handled(Errno::ETIME))
            }
            1 | 2 => {
                let reset = job.reset();
                if reset.is_ok() {
                    self.watch.saw(Seen::Reset);
                }
                reset.unwrap_or_else(|job| job.handled(Errno::ETIME))
            }
            3 if self.dice.once_in(8) => {
                self.watch.scope.gone.store(true, SEQ);
                self.watch.saw(Seen::DeviceGone);
                job.device_gone()
            }
            3..=5 => job.handled(Errno::ETIME),
            _ => job.no_hang(),
        }
    }

    fn replay(&mut self, mut replay: Replay<'_, Self>) -> ReplayOutcome {
        let seqno = replay.seqno();
        self.watch.enter_stopped(seqno);
        let payload = replay.payload();
        let (ticket, trick) = (Arc::clone(&payload.ticket), payload.trick);
        self.play(trick, seqno);
        ticket.lend();
        let _leave = Leave {
            watch: Arc::clone(&self.watch),
            ticket,
            seqno,
        };
        self.do_replay(replay)
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        *self.calls += 1;
        self.watch.driver_goes();
    }
}

/// The end of a callback.
struct Leave {
    watch: Arc<Watch>,
    ticket: Arc<Ticket>,
    seqno: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.ticket.give_back();
        self.watch.leave(self.seqno);
    }
}

/// Plays `trick` on a queue, in a callback: of its driver, or of a fence.
pub(crate) fn play(line: &Line, trick: Trick, seqno: u64, in_driver: bool) {
    let watch = &line.watch;
    match trick {
        Trick::None => {}
        Trick::Close(policy) => line.queue.close_with(policy),
        Trick::Cancel => {
            for ahead in 1..4 {
                if line.queue.cancel(seqno + ahead, Errno::ECANCELED).is_ok() {
                    watch.saw(Seen::Cancelled);
                }
            }
        }
        Trick::Kill => {
            watch.killed.store(true, SEQ);
            watch.saw(Seen::Killed);
            line.queue.kill(Errno::EIO);
        }
        Trick::Suspend => {
            watch.saw(Seen::Suspended);
            line.queue.suspend();
            let resumed = line.queue.resume();
            watch.check(resumed, "a suspend that cannot be taken back", seqno);
        }
        Trick::Trigger => {
            if line.queue.trigger_timeout() {
                watch.saw(Seen::Triggered);
            }
        }
        Trick::Unbind => {
            // Elsewhere it would wait, and is a mistake that debug builds abort for.
            if in_driver {
                let answer = line.device.unbind();
                let refused = answer == Err(UnbindError::InCallback);
                watch.check(refused, "unbind in a callback", seqno);
                watch.saw(Seen::UnbindRefused);
            }
        }
        Trick::Stop => {
            let refused = matches!(line.queue.stop(), Err(StopError::InCallback));
            watch.check(refused, "a stop in a callback", seqno);
            watch.saw(Seen::StopRefused);
        }
        Trick::Request => {
            if line.device.request_recovery(line.queue.context()).is_ok() {
                watch.saw(Seen::Requested);
            }
        }
    }
}
