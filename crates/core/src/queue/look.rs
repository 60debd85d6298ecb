// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Looking at a queue without changing it: statistics, copies, what a snapshot asks.

use core::marker::PhantomData;

use super::Queue;
use crate::entry::{Entry, HasEntry};
use crate::state::State;
use crate::stats::Stats;

impl<S: AsRef<[P]> + AsMut<[P]>, P: HasEntry> Queue<S, P> {
    /// What has happened so far. Takes time linear in the number of jobs in line.
    pub fn stats(&self) -> Stats {
        let since_first = |cursor: u64| cursor.wrapping_sub(self.config.first_seqno);
        let counts = &self.counts;
        let (armed, signalled) = (since_first(self.tail), since_first(self.signal_next));
        let mut submitted = armed;
        let mut seqno = self.run_next;
        while let Some(entry) = self.entry(seqno) {
            submitted -= u64::from(entry.state == State::Armed);
            seqno = seqno.wrapping_add(1);
        }
        Stats {
            prepared: armed + counts.released + u64::from(self.reserved),
            armed,
            submitted,
            runs: self.ran,
            bypassed: self.bypassed,
            completed: signalled - counts.failed - counts.cancelled - counts.timed_out,
            signalled,
            reaped: since_first(self.head),
            released: counts.released,
            dependencies: counts.dependencies,
            no_resources: counts.no_resources,
            timeouts: counts.timeouts,
            extensions: counts.extensions,
            late_completions: counts.late_completions,
            failed: counts.failed,
            cancelled: counts.cancelled,
            timed_out: counts.timed_out,
            kicks: counts.kicks,
            replays: counts.replays,
            strikes: counts.strikes,
            recoveries: counts.recoveries,
        }
    }

    /// The queue as it is now, in other storage of the same length, for looking at without the
    /// lock. `None` if the length differs.
    pub fn copy_into<T: AsRef<[Entry]> + AsMut<[Entry]>>(
        &self,
        mut storage: T,
    ) -> Option<Queue<T>> {
        let (from, to) = (self.storage.as_ref(), storage.as_mut());
        if from.len() != to.len() {
            return None;
        }
        for (from, to) in from.iter().zip(to) {
            *to = *from.entry();
        }
        Some(Queue {
            storage,
            mask: self.mask,
            head: self.head,
            signal_next: self.signal_next,
            run_next: self.run_next,
            tail: self.tail,
            reserved: self.reserved,
            credits: self.credits,
            runs: self.runs,
            run_oldest: self.run_oldest,
            signals: self.signals,
            bypass_streak: self.bypass_streak,
            worker: self.worker,
            clock: self.clock,
            suspends: self.suspends,
            lifecycle: self.lifecycle,
            unbound: self.unbound,
            stopped: self.stopped,
            overdue: self.overdue,
            closing: self.closing,
            hold: self.hold,
            recovery: self.recovery,
            gate: self.gate,
            guilt: self.guilt,
            walked: self.walked,
            log_head: self.log_head,
            log: self.log.copied(&self.log_head),
            closed_told: self.closed_told,
            irq_droppable: self.irq_droppable,
            config: self.config,
            timeout_ns: self.timeout_ns,
            counts: self.counts,
            _element: PhantomData,
            ran: self.ran,
            bypassed: self.bypassed,
            bypass_budget: self.bypass_budget,
            run_on_dependency_error: self.run_on_dependency_error,
        })
    }

    /// The last events, as many as there is [memory](HasEntry::Records) for, oldest first.
    pub fn events(&self) -> impl Iterator<Item = crate::log::Record> + '_ {
        self.log.iter(&self.log_head)
    }

    /// How long ago a job was submitted; `None` for one that has not been, or is gone.
    pub fn age(&self, job: crate::JobId, now: crate::Time) -> Option<core::time::Duration> {
        let entry = self.entry(job.0)?;
        let submitted = !matches!(entry.state, State::Free | State::Armed);
        submitted.then(|| now.since(entry.submitted_at))
    }

    /// Which time a job is on the hardware, or will be; `None` for one that is gone.
    pub fn attempt(&self, job: crate::JobId) -> Option<crate::Attempt> {
        self.entry(job.0).map(|entry| entry.attempt)
    }

    pub(crate) fn each_entry<E>(
        &self,
        mut visit: impl FnMut(u64, &Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut seqno = self.head;
        while let Some(entry) = self.entry(seqno) {
            visit(seqno, entry)?;
            seqno = seqno.wrapping_add(1);
        }
        Ok(())
    }

    pub(crate) fn is_first_in_line(&self, seqno: u64) -> bool {
        self.run_next == seqno
    }

    pub(crate) fn has_credits_for(&self, cost: u32) -> bool {
        self.credits.fit(cost)
    }

    pub(crate) fn deadline_of(&self, seqno: u64) -> Option<crate::time::Time> {
        if self.clock.times(seqno) {
            self.clock.deadline()
        } else {
            None
        }
    }
}
