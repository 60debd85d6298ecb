// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The queue as a whole: its worker, suspend, close, kill, unbind.

use super::{Queue, Worker};
use crate::effect::{Context, Outcome, Visit};
use crate::entry::HasEntry;
use crate::error::Errno;
use crate::log::What;
use crate::state::State;
use crate::time::{Now, Time};

/// What happens to jobs that have not run when their queue is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClosePolicy {
    /// They end with `ECANCELED`, in order.
    #[default]
    Cancel,
    /// They still run, in order, as unmaps of memory must: those that were armed.
    Drain,
}

/// Whether a queue takes jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifecycle {
    /// It does.
    Open,
    /// It takes no more.
    Closing(ClosePolicy),
    /// It takes no more, and all it had have failed with this error.
    Killed(Errno),
    /// It takes no more because too many of its jobs were guilty. What has not run ends with
    /// `ECANCELED`, what is on the hardware goes on.
    Banned,
}

/// Whether a worker may leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WorkerRest {
    /// It is idle now and will be kicked when there is something to do.
    Idle,
    /// There is something to do: it must go on, or come back without being kicked.
    More,
}

impl<S: AsRef<[P]> + AsMut<[P]>, P: HasEntry> Queue<S, P> {
    /// The worker has come.
    pub fn worker_enters(&mut self) -> Visit {
        self.worker = Worker::Working;
        Visit::new(Context::Worker)
    }

    /// The worker would leave. Idleness is said here and nowhere else, under the lock, so that
    /// no kick can be lost between its last look and its sleep.
    ///
    /// # Errors
    ///
    /// Gives the visit back if it still owes answers.
    pub fn worker_leaves(&mut self, visit: Visit) -> Result<WorkerRest, Visit> {
        if visit.owes_answers() {
            return Err(visit);
        }
        if self.has_work_for(&visit) || self.has_errand() {
            self.worker = Worker::Kicked;
            return Ok(WorkerRest::More);
        }
        self.worker = Worker::Idle;
        Ok(WorkerRest::Idle)
    }

    /// Whether the queue takes jobs.
    pub fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }

    /// True while the queue takes jobs.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.lifecycle == Lifecycle::Open
    }

    /// True once the queue takes no more jobs and has none left.
    pub fn is_closed(&self) -> bool {
        self.lifecycle != Lifecycle::Open && self.is_empty()
    }

    /// True once no driver callback will be handed out any more.
    pub fn is_unbound(&self) -> bool {
        self.unbound
    }

    /// Takes no more jobs and ends those there are as `policy` says, within
    /// [`Config::close_timeout`](super::Config::close_timeout) of the first such call as far as the
    /// driver is concerned. Closing again can only turn draining into cancelling.
    pub fn close(&mut self, policy: ClosePolicy, mut now: impl Now) {
        if matches!(self.lifecycle, Lifecycle::Killed(_)) {
            return;
        }
        if !self.closing {
            self.closing = true;
            self.log_head.now = now.now();
            self.note(What::Close, self.tail);
            if let Some(span) = self.config.close_timeout {
                self.clock.set_limit(self.log_head.now.after(span));
            }
        }
        match (self.lifecycle, policy) {
            (Lifecycle::Banned, _) | (Lifecycle::Closing(_), ClosePolicy::Drain) => {}
            _ => {
                self.lifecycle = Lifecycle::Closing(policy);
                self.give_up_the_line();
            }
        }
    }

    /// Gives up what has not run, where the queue runs no more.
    pub(super) fn give_up_the_line(&mut self) {
        let Some(outcome) = self.given_up() else {
            return;
        };
        self.each_from(self.run_next, |queue, seqno, state| {
            if state == State::Queued {
                // Cannot fail: the state was just read.
                let _ = queue.give_up(seqno, outcome);
            }
        });
    }

    /// The last handle is gone: closes by `policy` and takes back all suspends, which nobody else
    /// could; jobs that are drained, or hang, need the driver. The gate stays with who sets it.
    pub fn abandon(&mut self, policy: ClosePolicy, now: Time) {
        self.close(policy, now);
        while self.resume(now) {}
    }

    /// Ends every job now, in order, with `error`, whatever it waits for and wherever it is: the
    /// hardware must have let go of them. What has run has failed, what has not is cancelled.
    /// Later completions are counted and ignored. A job that is armed has this error as soon as
    /// it is submitted. An error that a job would have had for another reason gives way.
    pub fn kill(&mut self, error: Errno) {
        if matches!(self.lifecycle, Lifecycle::Killed(_)) {
            return;
        }
        self.lifecycle = Lifecycle::Killed(error);
        // Nothing is left to recover, nor to wait for.
        self.recovery = super::Recovery::None;
        self.update_held();
        self.note(What::Kill, self.tail);
        self.each_from(self.signal_next, |queue, seqno, state| {
            let outcome = match state {
                State::Queued => Outcome::Cancelled(error),
                State::Running | State::Pending => Outcome::Failed(error),
                _ => return,
            };
            // Cannot fail: the state was just read.
            let _ = queue.finish(seqno, outcome);
        });
    }

    /// Kills the queue and hands out no driver callback any more. One that is running still
    /// answers: the host waits until [`Queue::driver_is_inside`] is false.
    pub fn unbind(&mut self, error: Errno) {
        self.kill(error);
        if !self.unbound {
            self.note(What::Unbind, self.tail);
        }
        self.unbound = true;
    }

    /// Hands out no driver callback until resumed as often as suspended. Jobs on the hardware
    /// may complete; their clock stands still.
    pub fn suspend(&mut self, now: Time) {
        self.change_hold(now, |queue| {
            queue.suspends = queue.suspends.saturating_add(1);
        });
        self.note(What::Suspend, self.tail);
    }

    /// Takes back one [`Queue::suspend`]. Returns false if there is none to take back.
    pub fn resume(&mut self, now: Time) -> bool {
        if self.suspends == 0 {
            return false;
        }
        self.change_hold(now, |queue| queue.suspends -= 1);
        self.note(What::Resume, self.tail);
        true
    }

    /// How often the queue is suspended.
    pub fn suspends(&self) -> u32 {
        self.suspends
    }

    /// How a job that has not run ends now, where the queue runs no more of them.
    pub(super) fn given_up(&self) -> Option<Outcome> {
        match self.lifecycle {
            Lifecycle::Closing(ClosePolicy::Cancel) | Lifecycle::Banned => {
                Some(Outcome::Cancelled(Errno::ECANCELED))
            }
            _ => None,
        }
    }

    fn each_from(&mut self, first: u64, mut visit: impl FnMut(&mut Self, u64, State)) {
        let mut seqno = first;
        while seqno != self.tail {
            if let Some(state) = self.entry(seqno).map(|entry| entry.state) {
                visit(self, seqno, state);
            }
            seqno = seqno.wrapping_add(1);
        }
    }
}
