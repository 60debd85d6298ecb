// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who stops the queue, and what they do with its jobs.

use ringfence_core::{Errno, JobId, Outcome, Refused, ReplayOutcome, Walked};

use super::World;
use crate::coverage::Seen;
use crate::judge::{Loan, Verdict};
use crate::op::{Op, ReplayAnswer, WalkAnswer};

impl World {
    pub(super) fn recovery(&mut self, op: &Op) -> Verdict {
        self.unvisited = true;
        match *op {
            Op::Stop => self.stop(),
            Op::Start => self.start(),
            Op::Walk(ahead) => self.walk(ahead),
            Op::Walked(answer) => match self.lent(Loan::Walk) {
                Some(job) => self.walked(job, answer),
                None => Ok(()),
            },
            Op::Replay => match self.lent(Loan::Walk) {
                Some(job) => self.replay(job),
                None => Ok(()),
            },
            Op::Replayed(answer) => match self.lent(Loan::Replay) {
                Some(job) => self.replayed(job, answer),
                None => Ok(()),
            },
            _ => Err(format!("{op:?} is not for who stops the queue")),
        }
    }

    fn lent(&self, loan: Loan) -> Option<JobId> {
        let judge = &self.history;
        let i = judge.walked.filter(|i| judge.facts[*i].loan == loan)?;
        Some(JobId::from_seqno(judge.seqno(i)))
    }

    fn stop(&mut self) -> Verdict {
        let (now, at) = (self.now, self.time());
        let got = self.subject.stop(at);
        self.note_refusal(got);
        self.same(&got.is_ok(), |oracle| oracle.stop(now))?;
        let verdict = self.history.stop(now, got.is_ok());
        self.heard(verdict)
    }

    fn start(&mut self) -> Verdict {
        let (now, at) = (self.now, self.time());
        let got = self.subject.start(at);
        self.note_refusal(got);
        self.same(&got.is_ok(), |oracle| oracle.start(now))?;
        let verdict = self.history.start(now, got.is_ok());
        self.heard(verdict)
    }

    fn walk(&mut self, ahead: u8) -> Verdict {
        let oldest = self.subject.queue.oldest().seqno();
        let first = oldest.wrapping_add(u64::from(ahead));
        let got = self.subject.queue.walk_from(JobId::from_seqno(first));
        self.note_refusal(got.map(drop));
        let told = got.map(|job| job.map(JobId::seqno));
        self.same(&told.ok(), |oracle| oracle.walk(usize::from(ahead)))?;
        let verdict = self.history.walk(first, told.map_err(drop));
        self.heard(verdict)
    }

    fn walked(&mut self, job: JobId, answer: WalkAnswer) -> Verdict {
        let what = match answer {
            WalkAnswer::Keep => Walked::Keep,
            WalkAnswer::Completed => Walked::End(Outcome::Completed),
            WalkAnswer::Failed => Walked::End(Outcome::Failed(Errno::EIO)),
            WalkAnswer::Cancelled => Walked::End(Outcome::Cancelled(Errno::ECANCELED)),
            WalkAnswer::TimedOut => Walked::End(Outcome::TimedOut(Errno::ENODATA)),
        };
        let (now, at, seqno) = (self.now, self.time(), job.seqno());
        let got = self.subject.queue.walked(job, what, at).is_ok();
        self.same(&got, |oracle| oracle.walked(seqno, what, now))?;
        self.see(match what {
            Walked::Keep => Seen::WalkedKeep,
            Walked::End(_) => Seen::WalkedEnd,
        });
        let verdict = self.history.walked(seqno, what, now, got);
        self.heard(verdict)
    }

    fn replay(&mut self, job: JobId) -> Verdict {
        let (now, seqno) = (self.now, job.seqno());
        let got = self.subject.queue.replay(job);
        self.note_refusal(got.map(drop));
        let told = got.ok().map(|attempt| attempt.replays());
        self.same(&told, |oracle| oracle.replay(seqno))?;
        let verdict = self.history.replay(seqno, now, told);
        self.heard(verdict)
    }

    fn replayed(&mut self, job: JobId, answer: ReplayAnswer) -> Verdict {
        let outcome = match answer {
            ReplayAnswer::Pending => ReplayOutcome::Pending,
            ReplayAnswer::Done => ReplayOutcome::Done,
            ReplayAnswer::Failed => ReplayOutcome::Failed(Errno::EIO),
        };
        self.see(match answer {
            ReplayAnswer::Pending => Seen::ReplayPending,
            ReplayAnswer::Done => Seen::ReplayDone,
            ReplayAnswer::Failed => Seen::ReplayFailed,
        });
        let seqno = job.seqno();
        let got = self.subject.queue.replay_returned(job, outcome).is_ok();
        self.same(&got, |oracle| oracle.replayed(seqno, outcome))?;
        let verdict = self.history.replayed(seqno, outcome, got);
        self.heard(verdict)
    }

    /// What a host must not do with a queue that it has stopped.
    pub(super) fn foul_walk(&mut self, job: JobId) -> Result<bool, Refused> {
        if self.lent(Loan::Walk) == Some(job) || self.lent(Loan::Replay) == Some(job) {
            return Ok(false);
        }
        let at = self.time();
        let queue = &mut self.subject.queue;
        queue
            .walked(job, Walked::End(Outcome::Completed), at)
            .and_then(|()| queue.replay_returned(job, ReplayOutcome::Done))
            .map(|()| true)
    }
}
