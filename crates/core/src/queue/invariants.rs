// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is always true of a queue, recomputed from its entries.

use super::{Lifecycle, Queue};
use crate::effect::JobId;
use crate::entry::{Entry, HasEntry, Lent};
use crate::gate::Gate;
use crate::guilt::Standing;
use crate::state::State;

/// An invariant that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Violation {
    /// What should be true.
    pub rule: &'static str,
    /// The job at which it is not, by sequence number; or a count.
    pub seqno: u64,
}

impl core::fmt::Display for Violation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "broken at {}: {}", self.seqno, self.rule)
    }
}

impl core::error::Error for Violation {}

fn rule(holds: bool, rule: &'static str, seqno: u64) -> Result<(), Violation> {
    if holds {
        Ok(())
    } else {
        Err(Violation { rule, seqno })
    }
}

impl<S: AsRef<[P]> + AsMut<[P]>, P: HasEntry> Queue<S, P> {
    /// Checks every invariant, in time linear in the number of entries. Callable after every
    /// event; made for tests, the simulator and debug builds.
    ///
    /// # Errors
    ///
    /// The first invariant that does not hold.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        self.check_cursors()?;
        let (mut cost, mut runs, mut signals, mut asked) = (0u64, 0u16, 0u16, 0u16);
        let mut walked = 0u16;
        let mut seqno = self.head;
        let mut seen_signalling = false;
        while seqno != self.tail {
            let Some(entry) = self.entry(seqno) else {
                return rule(false, "every job in line has an entry", seqno);
            };
            self.check_region(seqno, entry)?;
            self.check_job(seqno, entry)?;
            match entry.state {
                State::Signalling => {
                    seen_signalling = true;
                    signals += 1;
                }
                State::Signalled => {
                    rule(!seen_signalling, "fences signal in order", seqno)?;
                }
                _ => {}
            }
            if entry.state.holds_credits() {
                cost += u64::from(entry.cost);
            }
            runs += u16::from(entry.lent == Lent::Run);
            asked += u16::from(entry.lent == Lent::Timeout);
            walked += u16::from(matches!(entry.lent, Lent::Walk | Lent::Replay));
            seqno = seqno.wrapping_add(1);
        }
        let used = u64::from(self.credits.used());
        rule(
            cost == used,
            "credits used are the costs of jobs on the hardware",
            used,
        )?;
        rule(
            used <= u64::from(self.credits.limit()),
            "credits used are within the limit",
            used,
        )?;
        rule(
            runs == self.runs,
            "jobs lent to run are the runs outstanding",
            self.runs.into(),
        )?;
        rule(
            signals == self.signals,
            "every signalling job is outstanding",
            self.signals.into(),
        )?;
        rule(
            asked == u16::from(self.clock.is_asking()),
            "a job is lent to the timeout callback exactly while the driver is asked",
            asked.into(),
        )?;
        rule(
            asked == 0 || self.runs == 0,
            "driver callbacks of one queue do not overlap",
            self.runs.into(),
        )?;
        self.check_recovery(walked)?;
        self.check_free()?;
        self.check_counts()
    }

    fn check_cursors(&self) -> Result<(), Violation> {
        let at = |cursor: u64| cursor.wrapping_sub(self.head);
        rule(
            at(self.tail) <= self.capacity(),
            "no more jobs than entries",
            self.tail,
        )?;
        rule(
            at(self.tail) + u64::from(self.reserved) <= self.capacity(),
            "every prepared job has room",
            self.reserved.into(),
        )?;
        rule(
            at(self.signal_next) <= at(self.run_next),
            "no job signals early",
            self.signal_next,
        )?;
        rule(
            at(self.run_next) <= at(self.tail),
            "no job runs before it is armed",
            self.run_next,
        )
    }

    fn check_region(&self, seqno: u64, entry: &Entry) -> Result<(), Violation> {
        let at = seqno.wrapping_sub(self.head);
        let (what, holds) = if at < self.signal_next.wrapping_sub(self.head) {
            (
                "before signal_next, fences are signalling or signalled",
                matches!(entry.state, State::Signalling | State::Signalled),
            )
        } else if at < self.run_next.wrapping_sub(self.head) {
            (
                "between signal_next and run_next, jobs are with the driver or done",
                matches!(entry.state, State::Running | State::Pending | State::Done),
            )
        } else {
            (
                "from run_next on, jobs wait or ended without running",
                matches!(entry.state, State::Armed | State::Queued | State::Done),
            )
        };
        rule(holds, what, seqno)
    }

    fn check_job(&self, seqno: u64, entry: &Entry) -> Result<(), Violation> {
        let over = matches!(
            entry.state,
            State::Done | State::Signalling | State::Signalled
        );
        rule(
            !over || entry.outcome.is_some(),
            "a job that is done has an outcome",
            seqno,
        )?;
        rule(
            over || entry.outcome.is_none()
                || entry.state == State::Armed
                || (entry.state == State::Queued && entry.open > 0),
            "an outcome is known early only before submit and while dependencies are open",
            seqno,
        )?;
        rule(
            !entry.state.holds_credits() || entry.open == 0,
            "no job runs before its dependencies have signalled",
            seqno,
        )?;
        rule(
            entry.state != State::Running || entry.lent == Lent::Run,
            "a running job is lent to the run callback",
            seqno,
        )?;
        rule(
            entry.lent == Lent::No || entry.state as u8 >= State::Running as u8,
            "only a job that ran is lent",
            seqno,
        )?;
        let killed = matches!(self.lifecycle, Lifecycle::Killed(_));
        rule(
            !killed || over || entry.state == State::Armed,
            "a killed queue has no unfinished job",
            seqno,
        )?;
        rule(
            self.given_up().is_none() || entry.state != State::Queued || entry.open > 0,
            "a queue closed by cancelling has no job that only waits for its turn",
            seqno,
        )
    }

    fn check_recovery(&self, walked: u16) -> Result<(), Violation> {
        rule(
            walked == u16::from(self.walked.is_some()),
            "at most one job is lent to the walk, and the queue knows which",
            walked.into(),
        )?;
        rule(
            self.walked.is_none() || self.is_quiet(),
            "the walk goes on only while the queue is quiet",
            self.walked.unwrap_or(0),
        )?;
        rule(
            (self.standing() == Standing::Banned) <= (self.lifecycle != Lifecycle::Open),
            "a banned queue takes no jobs",
            self.tail,
        )?;
        rule(
            !self.overdue || (self.closing && !self.clock.has_limit()),
            "only closing can be overdue, once",
            self.tail,
        )?;
        self.check_hold()?;
        let killed = matches!(self.lifecycle, Lifecycle::Killed(_));
        rule(
            !killed || self.wants_recovery().is_none(),
            "a killed queue has nothing to recover",
            self.tail,
        )
    }

    fn check_hold(&self) -> Result<(), Violation> {
        let held = self.suspends != 0 || self.stopped || self.wants_recovery().is_some();
        let gate = self.gate();
        rule(
            (held || gate == Some(Gate::Shut)) == self.is_held(),
            "a queue holds still exactly while there is a reason to",
            self.tail,
        )?;
        rule(
            (held || gate.is_some_and(|gate| gate != Gate::Open)) == self.runs_are_held(),
            "runs are held up exactly while there is a reason to",
            self.tail,
        )?;
        rule(
            gate.is_some() == self.is_gated(),
            "a queue knows whether it has a gate",
            self.tail,
        )?;
        let told = self.gate.told;
        rule(
            gate.is_some() || (told.version == 0 && !self.gate.changed),
            "nothing is told of a gate that is not there",
            told.version,
        )
    }

    fn check_free(&self) -> Result<(), Violation> {
        let mut seqno = self.tail;
        while seqno.wrapping_sub(self.head) < self.capacity() {
            let free = self.element(JobId(seqno)).is_some_and(|element| {
                let entry = element.entry();
                entry.state == State::Free
                    && entry.outcome.is_none()
                    && entry.attempt.replays() == 0
            });
            rule(free, "entries outside the line are free", seqno)?;
            seqno = seqno.wrapping_add(1);
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), Violation> {
        let counts = &self.counts;
        let signalled = self.signal_next.wrapping_sub(self.config.first_seqno);
        rule(
            counts.failed + counts.cancelled + counts.timed_out <= signalled,
            "every fence signalled has one outcome",
            signalled,
        )?;
        rule(
            self.bypassed <= self.ran,
            "submitters ran no more than ran",
            self.bypassed,
        )
    }
}
