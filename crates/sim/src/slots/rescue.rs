// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Recoveries, resets, and what else is done to queues in mid-run.

use ringfence_core::{ClosePolicy, Context, Errno, Gate, JobId, Outcome, ReplayOutcome, Walked};
use ringfence_orchestrator_core::{Answer, Kinds, Priority, Weight, Whereabouts};

use super::canary::SlotCanary;
use super::device::{Piece, Place};
use super::seen::Sight;
use super::setup::Act;
use super::world::{Happening, Todo, Verdict, World};

/// How long somebody waits for driver callbacks to return, before looking again.
const LOOK_AGAIN_NS: u64 = 500;

/// How long the reset of one context takes at most.
const RECOVERY_NS: u64 = 500_000;

impl World {
    /// A queue wants to be recovered.
    pub(super) fn wants_recovery(&mut self, queue: usize) {
        let span = self.span(RECOVERY_NS);
        self.trouble_ns += span;
        self.after(span, Happening::Recovered(queue));
    }

    /// A queue is recovered: its context's ring is reset.
    pub(super) fn recover(&mut self, queue: usize) -> Verdict {
        let wanted = self.lines[queue].core.wants_recovery().is_some();
        if !wanted || self.device.resetting {
            // Whoever resets the device has seen to it, or will.
            return Ok(());
        }
        if !self.lines[queue].stopped {
            self.stop(queue)?;
        }
        if !self.lines[queue].core.is_quiet() {
            self.after(LOOK_AGAIN_NS, Happening::Recovered(queue));
            return Ok(());
        }
        self.see(match self.device.is_resident(queue) {
            true => Sight::Recovered,
            false => Sight::RecoveredOff,
        });
        self.put_back(queue)?;
        self.start(queue)
    }

    fn stop(&mut self, queue: usize) -> Verdict {
        let (time, now) = (self.time(), self.now);
        let line = &mut self.lines[queue];
        line.awake(now);
        let stopped = line.core.stop(time);
        line.awake(now);
        line.stopped = true;
        stopped.map_err(|error| format!("queue {queue} was not stopped: {error}"))
    }

    fn start(&mut self, queue: usize) -> Verdict {
        let (time, now) = (self.time(), self.now);
        let line = &mut self.lines[queue];
        line.awake(now);
        let started = line.core.start(time);
        line.awake(now);
        line.stopped = false;
        started.map_err(|error| format!("queue {queue} was not started: {error}"))?;
        self.execute(queue);
        self.todo.push_back(Todo::Visit(queue, Context::Worker));
        Ok(())
    }

    /// What was on a queue's ring is put there again, but for what hung.
    fn put_back(&mut self, queue: usize) -> Verdict {
        self.note(queue, 0, "recovered");
        let (time, now) = (self.time(), self.now);
        let guilty = self.device.hung(queue);
        self.device.pause(queue, now);
        self.device.contexts[queue].ring.clear();
        let mut from = self.lines[queue].core.oldest();
        let refused = |what: &str, job: JobId| format!("{job:?} of queue {queue}: {what}");
        while let Some(job) = {
            let walked = self.lines[queue].core.walk_from(from);
            walked.map_err(|error| refused(&error.to_string(), from))?
        } {
            let newest = self.newest(queue) == Some(job);
            let forgets = self.plant.is(SlotCanary::ReplayForgetsOne) && newest;
            let line = &mut self.lines[queue];
            if guilty == Some(job) {
                let end = Walked::End(Outcome::TimedOut(Errno::ETIME));
                let ended = line.core.walked(job, end, time);
                ended.map_err(|error| refused(&error.to_string(), job))?;
            } else {
                let attempt = line.core.replay(job);
                let attempt = attempt.map_err(|error| refused(&error.to_string(), job))?;
                let awake = line.awake(now);
                let fact = line.fact(job).ok_or_else(|| refused("unknown", job))?;
                fact.awake_at = awake;
                let left = fact.takes;
                if !forgets {
                    let piece = Piece { job, attempt, left };
                    self.device.contexts[queue].ring.push_back(piece);
                }
                self.see(match self.device.place(queue) {
                    Some(_) => Sight::Replayed,
                    None => Sight::ReplayedOff,
                });
                let core = &mut self.lines[queue].core;
                let replayed = core.replay_returned(job, ReplayOutcome::Pending);
                replayed.map_err(|error| refused(&error.to_string(), job))?;
            }
            from = JobId::from_seqno(job.seqno() + 1);
        }
        Ok(())
    }

    /// The device is to be reset: nothing executes, nothing answers, no queue runs anything.
    pub(super) fn begin_reset(&mut self) {
        if self.device.resetting {
            return;
        }
        self.note(usize::MAX, 0, "reset begins");
        self.see(Sight::Reset);
        for queue in 0..self.lines.len() {
            self.device.pause(queue, self.now);
        }
        self.device.resetting = true;
        self.trouble_ns += self.setup.reset_ns;
        self.after(self.setup.reset_ns, Happening::ResetEnds);
    }

    /// The device has been reset: no context is on a slot any more, and what was on the rings that
    /// were there is lost.
    pub(super) fn reset_ends(&mut self) -> Verdict {
        for queue in 0..self.lines.len() {
            if !self.lines[queue].stopped && !self.lines[queue].closed {
                self.stop(queue)?;
            }
        }
        let mut out = self.lines.iter().filter(|line| line.out.is_some());
        if out.next().is_some() {
            self.trouble_ns += LOOK_AGAIN_NS;
            self.after(LOOK_AGAIN_NS, Happening::ResetEnds);
            return Ok(());
        }
        self.note(usize::MAX, 0, "reset ends");
        for queue in 0..self.lines.len() {
            let was_on = self.device.contexts[queue].slot.is_some();
            if was_on || self.lines[queue].core.wants_recovery().is_some() {
                if self.lines[queue].stopped {
                    self.put_back(queue)?;
                }
                self.loses(queue)?;
            }
        }
        self.device.resetting = false;
        for queue in 0..self.lines.len() {
            if self.lines[queue].stopped {
                self.start(queue)?;
            }
        }
        Ok(())
    }

    /// A queue's context is on no slot any more.
    fn loses(&mut self, queue: usize) -> Verdict {
        match self.device.place(queue) {
            Some(Place::Coming(_)) => {
                self.after(1, Happening::Ready(queue));
                self.answer_bind(queue, Answer::Failed)
            }
            Some(Place::Leaving(_)) => self.answer_vacate(queue, Answer::Done),
            Some(Place::On(_)) => self.is_lost(queue),
            Some(Place::Free | Place::Broken) | None => Ok(()),
        }
    }

    fn is_lost(&mut self, queue: usize) -> Verdict {
        let seat = self.lines[queue]
            .seat
            .ok_or("a queue without a seat was lost")?;
        let time = self.time();
        self.note(queue, 0, "lost");
        self.device.leave(queue, Place::Free, self.now);
        if self.plant.is(SlotCanary::LossNotTold) {
            return Ok(());
        }
        self.see(match self.lines[queue].gate() {
            Gate::Open => Sight::LostResident,
            Gate::Yield | Gate::Shut => Sight::LostLeaving,
        });
        self.lines[queue].lost = true;
        if self.lines[queue].gate() != Gate::Shut {
            self.set_gate(queue, Gate::Shut)?;
        }
        let answer = self.orchestrator.lost(seat, time);
        self.heard(queue, answer)
    }

    pub(super) fn resume(&mut self, queue: usize) -> Verdict {
        let (time, now) = (self.time(), self.now);
        let line = &mut self.lines[queue];
        line.awake(now);
        line.core.resume(time);
        line.awake(now);
        self.todo.push_back(Todo::Visit(queue, Context::Task));
        Ok(())
    }

    /// Does what the setup says.
    pub(super) fn do_act(&mut self, act: Act) -> Verdict {
        match act {
            Act::Kill(queue) => {
                self.see_where(
                    queue,
                    [
                        Sight::KilledResident,
                        Sight::KilledWaiting,
                        Sight::KilledBetween,
                    ],
                );
                self.kill(queue)
            }
            Act::Close(queue, policy) => {
                self.see_where(
                    queue,
                    [
                        Sight::ClosedResident,
                        Sight::ClosedWaiting,
                        Sight::ClosedBetween,
                    ],
                );
                self.close(queue, policy);
                Ok(())
            }
            Act::Suspend(queue, span) => self.suspend(queue, span),
            Act::Cancel(queue) => self.cancel(queue),
            Act::Change(queue, priority, weight) => self.change(queue, priority, weight),
            Act::Move(queue, kinds) => self.moves(queue, kinds),
            Act::Reset => {
                self.see(Sight::ResetAsked);
                self.begin_reset();
                Ok(())
            }
            Act::Evict(queue) => self.evict(queue),
            Act::StrayTimer => {
                self.see(Sight::StrayTimer);
                self.orchestrator.timer_fired();
                self.timer = None;
                self.told = true;
                Ok(())
            }
        }
    }

    fn see_where(&mut self, queue: usize, [resident, waiting, between]: [Sight; 3]) {
        let Some(seat) = self.lines[queue].seat else {
            return;
        };
        let Ok(view) = self.orchestrator.view(seat, self.time()) else {
            return;
        };
        match view.whereabouts {
            Whereabouts::Resident(_) => self.see(resident),
            Whereabouts::Waiting(_) => self.see(waiting),
            Whereabouts::Coming(_) | Whereabouts::Leaving(_) => self.see(between),
            Whereabouts::Off | Whereabouts::Blocked | Whereabouts::Lost => {}
        }
    }

    /// The hardware lets go of a queue's jobs, and the queue ends them all.
    fn kill(&mut self, queue: usize) -> Verdict {
        self.note(queue, 0, "killed");
        let now = self.now;
        self.device.pause(queue, now);
        self.device.contexts[queue].ring.clear();
        let line = &mut self.lines[queue];
        line.awake(now);
        line.core.kill(Errno::EIO);
        line.awake(now);
        self.todo.push_back(Todo::Visit(queue, Context::Task));
        Ok(())
    }

    pub(super) fn close(&mut self, queue: usize, policy: ClosePolicy) {
        self.note(queue, 0, "close");
        let time = self.time();
        self.lines[queue].core.close(policy, time);
        self.todo.push_back(Todo::Visit(queue, Context::Task));
    }

    fn suspend(&mut self, queue: usize, span: u64) -> Verdict {
        self.see(match self.device.is_resident(queue) {
            true => Sight::SuspendedResident,
            false => Sight::SuspendedWaiting,
        });
        let (time, now) = (self.time(), self.now);
        let line = &mut self.lines[queue];
        line.awake(now);
        line.core.suspend(time);
        line.awake(now);
        self.trouble_ns += span;
        self.after(span, Happening::Resume(queue));
        self.todo.push_back(Todo::Visit(queue, Context::Task));
        Ok(())
    }

    fn cancel(&mut self, queue: usize) -> Verdict {
        let Some(job) = self.newest(queue) else {
            return Ok(());
        };
        let cancelled = self.lines[queue].core.cancel(job, Errno::ECANCELED);
        if cancelled == Ok(ringfence_core::Cancelled::Yes) {
            self.see(Sight::Cancelled);
        }
        self.todo.push_back(Todo::Visit(queue, Context::Task));
        Ok(())
    }

    pub(super) fn change(&mut self, queue: usize, priority: Priority, weight: Weight) -> Verdict {
        let (Some(seat), time) = (self.lines[queue].seat, self.time()) else {
            return Ok(());
        };
        self.see(Sight::Changed);
        let line = &mut self.lines[queue];
        line.dues.push((priority, weight));
        (line.setup.priority, line.setup.weight) = (priority, weight);
        let answer = self.orchestrator.change(seat, priority, weight, time);
        match answer {
            Ok(()) => self.heard(queue, answer),
            Err(error) => Err(format!("queue {queue} was not changed: {error}")),
        }
    }

    /// A queue's seat goes and comes back. Members of groups stay.
    pub(super) fn moves(&mut self, queue: usize, kinds: Kinds) -> Verdict {
        let line = &self.lines[queue];
        let there = self.orchestrator.slots().iter();
        let there = there.fold(Kinds::NONE, |kinds, slot| kinds.with(slot.kind()));
        if line.group.len() > 1 || line.closed || !there.meets(kinds) || line.moves.is_some() {
            return Ok(());
        }
        self.see(Sight::Moved);
        let line = &mut self.lines[queue];
        line.moves = Some(kinds);
        line.interrupted = true;
        line.kinds = line.kinds.union(kinds);
        self.keep_stats(queue);
        self.remove(queue)
    }

    /// The device lets go of a context, as one does whose own firmware has died: what was on its ring
    /// is put there again.
    fn evict(&mut self, queue: usize) -> Verdict {
        let line = &self.lines[queue];
        if !self.device.is_resident(queue)
            || self.device.resetting
            || line.stopped
            || line.closed
            || line.out.is_some()
            || line.core.driver_is_inside()
        {
            return Ok(());
        }
        self.see(Sight::Evicted);
        self.stop(queue)?;
        self.put_back(queue)?;
        self.is_lost(queue)?;
        self.start(queue)
    }
}
