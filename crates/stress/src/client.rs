// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Clients: threads that submit jobs, and what they do with the fences.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use ringfence::fence::{Callback as FenceCallback, Registration};
use ringfence::{
    Errno, Fence, OnDependencyError, PrepareError, Prepared, Request, SubmissionGuard, Timeline,
    Timeout,
};

use crate::driver::{play, Again, Does, Mock, Payload, Trick};
use crate::ledger::Ticket;
use crate::random::Random;
use crate::seen::Seen;
use crate::sync::Mutex;
use crate::waits;
use crate::wire;
use crate::world::{Callback, Line, Record, World};

const SEQ: Ordering = Ordering::SeqCst;

pub(crate) struct Client {
    world: Arc<World>,
    dice: Random,
}

impl Client {
    pub(crate) fn new(world: &Arc<World>, dice: Random) -> Self {
        Self {
            world: Arc::clone(world),
            dice,
        }
    }

    /// The thread's life.
    pub(crate) fn work(mut self) {
        wire::register();
        for _ in 0..self.world.plan.operations {
            match self.dice.below(8) {
                0 => self.outside_fence(),
                1 | 2 => waits::one(&self.world, &mut self.dice),
                _ => self.submit(),
            }
        }
    }

    /// Publishes a fence that no queue signals.
    fn outside_fence(&mut self) {
        // A timeline of its own: these signal in any order.
        let (signaller, fence) = Timeline::new("outside").signaller();
        self.world.publish(fence, &mut self.dice);
        self.world.outside.put_signaller(signaller);
    }

    fn submit(&mut self) {
        let slot = self.dice.below(self.world.lines.len());
        let Some(line) = self.world.line(slot) else {
            self.world.make_queue(slot, &mut self.dice);
            return;
        };
        let Some((job, ticket)) = self.prepare(&line) else {
            // Full, or over: then another queue takes its place, some time.
            if self.dice.once_in(8) && line.queue.closed().is_signaled() {
                self.world.make_queue(slot, &mut self.dice);
            }
            Line::let_go(line, false);
            return;
        };
        match self.dice.below(16) {
            0 => {
                line.watch.saw(Seen::PreparedDropped);
                self.keep(ticket, Arc::default(), None, false);
                drop(job);
            }
            1..=5 => self.submit_quietly(&line, job, ticket),
            6 => {
                let job = job.detach();
                self.submit_in_callback(job, ticket);
            }
            7 => {
                let job = job.detach();
                let own = self.world.lines[slot].lock().take();
                if let Some(own) = own {
                    Line::let_go(own, false);
                }
                Line::let_go(line, false);
                self.world.ledger.saw(Seen::Outlived);
                self.submit_detached(job, ticket);
                return;
            }
            8 => self.submit_gang(&line, job, ticket),
            _ => self.submit_guarded(&line, job, ticket),
        }
        Line::let_go(line, false);
    }

    /// Makes a job with a payload, dependencies and a plan of its own.
    fn prepare<'l>(&mut self, line: &'l Line) -> Option<(Prepared<'l, Mock>, Arc<Ticket>)> {
        let ticket = Ticket::new(&line.watch);
        let payload = self.payload(line, &ticket);
        let request = Request {
            cost: self.dice.pick(&[0, 1, 1, 1, 2, 4]),
            timeout: match self.dice.below(8) {
                0 => Timeout::Never,
                1 => Timeout::After(self.dice.micros(500)),
                _ => Timeout::Inherit,
            },
            on_dependency_error: self.dice.once_in(4).then_some(OnDependencyError::Run),
        };
        let needs = payload.needs.clone();
        ticket.alone.store(needs.is_empty(), SEQ);
        match line.queue.prepare_with(payload, request) {
            Ok(mut job) => {
                for fence in &needs {
                    let added = job.depends_on(fence);
                    ticket.check(added.is_ok(), "a dependency refused");
                }
                Some((job, ticket))
            }
            Err(failed) => {
                line.watch.saw(Seen::Refused);
                if failed.error == PrepareError::Banned {
                    line.watch.check(line.bans, "banned without a rule", 0);
                    line.watch.saw(Seen::Banned);
                }
                None
            }
        }
    }

    fn payload(&mut self, line: &Line, ticket: &Arc<Ticket>) -> Payload {
        let does = self.does();
        let own = matches!(does, Does::Follows | Does::Starves)
            .then(|| Timeline::new("hardware").signaller());
        let again = !matches!(does, Does::Done | Does::Fails | Does::Panics);
        line.watch.ledger.payloads.fetch_add(1, SEQ);
        Payload {
            does,
            trick: self.trick(),
            ticket: Arc::clone(ticket),
            needs: match self.dice.below(2) {
                0 => Vec::new(),
                _ => self.world.fences(3, &mut self.dice),
            },
            own,
            again: again.then(|| Again::new(&line.watch.ledger)),
            memory: Box::new(0),
        }
    }

    fn does(&mut self) -> Does {
        let plan = &self.world.plan;
        if plan.hangs != 0 && self.dice.once_in(plan.hangs) {
            return Does::Hangs;
        }
        if plan.panics && self.dice.once_in(100) {
            return Does::Panics;
        }
        let kinds = [Does::Done, Does::Fails, Does::Follows, Does::Starves];
        match self.dice.below(8) {
            0 => self.dice.pick(&kinds),
            1 => Does::Done,
            _ => Does::Waits,
        }
    }

    fn trick(&mut self) -> Trick {
        match self.world.plan.tricks {
            0 => Trick::None,
            tricks if self.dice.once_in(tricks) => crate::other::trick(&mut self.dice),
            _ => Trick::None,
        }
    }

    /// Writes a job down that is or will be armed.
    fn keep(
        &self,
        ticket: Arc<Ticket>,
        fence: Arc<Mutex<Option<Fence>>>,
        registration: Option<Registration<Callback>>,
        listened: bool,
    ) {
        self.world.record(Record {
            ticket,
            fence,
            registration,
            listened,
        });
    }

    /// A callback for a job's fence, with a trick at times. Made before the job has a number:
    /// nothing may be allocated between arm and submit.
    fn listen(&mut self, line: &Arc<Line>, ticket: &Arc<Ticket>) -> FenceCallback<Callback> {
        let (ticket, line, trick) = (Arc::clone(ticket), Arc::downgrade(line), self.trick());
        let slow = self.dice.once_in(8);
        FenceCallback::new(Box::new(move |status| {
            if slow {
                // Gives who removes it, or asks whether it is over, time to do so.
                std::thread::yield_now();
            }
            let seqno = ticket.seqno.load(SEQ);
            ticket.signals(seqno, status);
            // In a signal handler no count may be given up that may be the last.
            if trick == Trick::None || wire::in_handler() {
                return;
            }
            if let Some(line) = line.upgrade() {
                if matches!(trick, Trick::Close(_)) {
                    line.watch.saw(Seen::ClosedInFence);
                }
                play(&line, trick, seqno, false);
                Line::let_go(line, true);
            }
        }))
    }

    /// Without a guard: nobody may be listening when it signals.
    fn submit_quietly(&mut self, line: &Arc<Line>, job: Prepared<'_, Mock>, ticket: Arc<Ticket>) {
        let before = line.queue.stats().bypassed;
        let fence = job.submit();
        line.watch.saw(Seen::Submitted);
        if line.bypass && line.queue.stats().bypassed > before {
            line.watch.saw(Seen::Bypassed);
        }
        ticket.seqno.store(fence.seqno(), SEQ);
        let mut registration = None;
        if self.dice.once_in(2) {
            let callback = self.listen(line, &ticket);
            registration = fence.add_callback(callback).ok();
        }
        let listened = registration.is_some();
        self.follow_up(line, fence, ticket, registration, listened);
    }

    fn submit_guarded(&mut self, line: &Arc<Line>, job: Prepared<'_, Mock>, ticket: Arc<Ticket>) {
        let mut guard = line.queue.submission_guard();
        let callback = self.listen(line, &ticket);
        let armed = match guard.arm(job) {
            Ok(armed) => armed,
            Err(_job) => {
                ticket.check(false, "a guard that does not cover its queue");
                return;
            }
        };
        let fence = armed.finished();
        ticket.seqno.store(fence.seqno(), SEQ);
        let registration = fence.add_callback(callback).ok();
        if self.dice.once_in(16) {
            line.watch.saw(Seen::ArmedDropped);
            drop(armed);
        } else {
            line.watch.saw(Seen::Guarded);
            armed.submit();
        }
        drop(guard);
        let listened = registration.is_some();
        // Killed by others, a queue may end a job as soon as it is armed.
        self.follow_up(line, fence, ticket, registration, listened);
    }

    fn submit_gang(&mut self, line: &Arc<Line>, job: Prepared<'_, Mock>, ticket: Arc<Ticket>) {
        let slot = self.dice.below(self.world.lines.len());
        let other = self.world.line(slot);
        let Some(other) = other else {
            return self.submit_guarded(line, job, ticket);
        };
        let second = self.prepare(&other);
        let mut guard = SubmissionGuard::over(&[&line.queue, &other.queue]);
        let fence = guard.submit(job).expect("covered");
        let more = second.map(|(job, ticket)| (guard.submit(job).expect("covered"), ticket));
        drop(guard);
        line.watch.saw(Seen::Gang);
        ticket.seqno.store(fence.seqno(), SEQ);
        self.follow_up(line, fence, ticket, None, false);
        if let Some((fence, ticket)) = more {
            ticket.seqno.store(fence.seqno(), SEQ);
            self.follow_up(&other, fence, ticket, None, false);
        }
        Line::let_go(other, false);
    }

    /// Has a fence callback submit a job.
    fn submit_in_callback(&mut self, job: Prepared<'static, Mock>, ticket: Arc<Ticket>) {
        let place: Arc<Mutex<Option<Fence>>> = Arc::default();
        let (mut job, own, told) = (Some(job), Arc::clone(&place), Arc::clone(&ticket));
        let callback: Callback = Box::new(move |_| {
            if let Some(job) = job.take() {
                let fence = job.submit();
                told.seqno.store(fence.seqno(), SEQ);
                told.watch.saw(Seen::InCallback);
                *own.lock() = Some(fence);
            }
        });
        // A timeline of its own: these signal in any order.
        let (signaller, fence) = Timeline::new("outside").signaller();
        let registration = fence.add_callback(FenceCallback::new(callback)).ok();
        self.keep(ticket, place, registration, false);
        self.world.publish(fence, &mut self.dice);
        self.world.outside.put_signaller(signaller);
    }

    fn submit_detached(&mut self, job: Prepared<'static, Mock>, ticket: Arc<Ticket>) {
        let fence = job.submit();
        ticket.seqno.store(fence.seqno(), SEQ);
        self.world.publish(fence.clone(), &mut self.dice);
        self.keep(ticket, Arc::new(Mutex::new(Some(fence))), None, false);
    }

    /// What becomes of the fence of a job that was submitted.
    fn follow_up(
        &mut self,
        line: &Line,
        fence: Fence,
        ticket: Arc<Ticket>,
        mut registration: Option<Registration<Callback>>,
        mut listened: bool,
    ) {
        if let Some(mut own) = registration.take_if(|_| self.dice.once_in(8)) {
            let before = ticket.signals.load(SEQ);
            listened = !own.remove();
            let after = ticket.signals.load(SEQ);
            let (rule, right) = if listened {
                line.watch.saw(Seen::RemovedLate);
                ("a callback that was not removed was not called", after == 1)
            } else {
                line.watch.saw(Seen::Unregistered);
                (
                    "a callback was removed and called",
                    before == 0 && after == 0,
                )
            };
            ticket.check(right, rule);
            drop(own);
        }
        if self.dice.once_in(2) {
            self.world.publish(fence.clone(), &mut self.dice);
        }
        if self.dice.once_in(16) {
            let cancelled = line.queue.cancel(fence.seqno(), Errno::ECANCELED);
            if cancelled.is_ok() {
                line.watch.saw(Seen::Cancelled);
            }
        }
        if self.dice.once_in(8) {
            waits::on(&self.world, &fence, &mut self.dice);
        }
        self.keep(
            ticket,
            Arc::new(Mutex::new(Some(fence))),
            registration,
            listened,
        );
    }
}
