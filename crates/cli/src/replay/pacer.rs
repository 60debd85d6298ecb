// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Keeps the jobs of a ring to their recorded time.
//!
//! A recorded duration is the time from run to done: it has in it what that device took to begin
//! and to say that it was done. Ours takes its time for that as well, and it would come on top.
//! So each job spins for a little less: by what a job on an idle ring was seen to take beside its
//! spin, and by what the ring is late already. What is left to be compared is what schedulers do.

/// Nothing a job takes beside its spin is taken to last longer than this; beyond, the machine was
/// busy elsewhere.
const MOST_OVERHEAD: u64 = 500_000;
/// How far behind its time a ring can be and still make up for it.
const MOST_DEBT: u64 = 100_000_000;
/// A ring that was idle for longer has nothing to make up for: nobody waited.
const FORGIVEN_AFTER: u64 = 1_000_000;

/// The clock of one ring. Times are nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pacer {
    /// What a job on an idle ring takes beside its spin.
    startup: Estimate,
    /// What a job behind another one takes beside its spin.
    between: Estimate,
    /// When the last job that was put on the ring should be done.
    due: u64,
    /// When it was thought to be when it was put there.
    expected: u64,
    /// By how much later than thought jobs have been since the ring was idle.
    drift: i64,
    /// When the last job was done, and how much later that was than it should have been.
    ended: u64,
    debt: u64,
}

/// What is thought of a length of time: the first seen, then moving towards those seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Estimate(Option<u64>);

impl Estimate {
    fn get(&self) -> u64 {
        self.0.unwrap_or(0)
    }

    fn learn(&mut self, seen: u64) {
        let seen = seen.min(MOST_OVERHEAD);
        self.0 = Some(match self.0 {
            None => seen,
            Some(before) => (before * 7 + seen) / 8,
        });
    }
}

/// One job on the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    spin: u64,
    begun: u64,
    due: u64,
    expected: u64,
    on_idle_ring: bool,
}

/// How a job begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    /// Now it is put into the ring.
    pub(super) now: u64,
    /// Then it was handed over.
    pub(super) entered: u64,
    /// There is no other in the ring.
    pub(super) idle: bool,
}

impl Pace {
    /// How long it is to spin.
    pub(super) fn spin(self) -> u64 {
        self.spin
    }
}

impl Pacer {
    /// A job begins that is to take `busy`.
    pub(super) fn begin(&mut self, job: Begun, busy: u64) -> Pace {
        let Begun { now, entered, idle } = job;
        let start = if idle {
            self.drift = 0;
            now.saturating_add(self.startup.get())
        } else {
            let last = self.expected.saturating_add_signed(self.drift);
            now.max(last).saturating_add(self.between.get())
        };
        // A ring that is behind its time goes on where it should be, if it had no rest since.
        let since = if !idle || entered < self.ended {
            entered.max(self.due)
        } else if entered - self.ended > FORGIVEN_AFTER || self.debt > MOST_DEBT {
            entered
        } else {
            entered.saturating_sub(self.debt)
        };
        self.due = since.saturating_add(busy);
        let spin = self.due.saturating_sub(start);
        self.expected = start
            .saturating_add(spin)
            .saturating_add_signed(self.drift.saturating_neg());
        Pace {
            spin,
            begun: now,
            due: self.due,
            expected: self.expected,
            on_idle_ring: idle,
        }
    }

    /// A job is done. Jobs are done in the order in which they began.
    pub(super) fn end(&mut self, now: u64, pace: Pace) {
        if pace.on_idle_ring {
            let taken = now.saturating_sub(pace.begun);
            self.startup.learn(taken.saturating_sub(pace.spin));
        } else {
            let taken = now.saturating_sub(self.ended.max(pace.begun));
            self.between.learn(taken.saturating_sub(pace.spin));
        }
        self.drift = i64::try_from(i128::from(now) - i128::from(pace.expected)).unwrap_or(0);
        self.debt = now.saturating_sub(pace.due);
        self.ended = now;
    }
}

#[cfg(test)]
mod tests {
    use super::{Begun, Pace, Pacer};

    fn begin(pacer: &mut Pacer, now: u64, busy: u64, idle: bool) -> Pace {
        let entered = now;
        let begun = Begun { now, entered, idle };
        pacer.begin(begun, busy)
    }

    /// A device that needs `startup` to begin on an idle ring and `between` from job to job.
    fn simulate(startup: u64, between: u64, jobs: u64, busy: u64, room: usize) -> Vec<u64> {
        let mut pacer = Pacer::default();
        let mut flying: std::collections::VecDeque<(u64, Pace)> = Default::default();
        let (mut now, mut ends) = (1_000_000_u64, Vec::new());
        for _ in 0..jobs {
            if flying.len() == room {
                let Some((end, pace)) = flying.pop_front() else {
                    break;
                };
                now = now.max(end);
                pacer.end(end, pace);
                ends.push(end);
            }
            let pace = begin(&mut pacer, now, busy, flying.is_empty());
            let end = match flying.back() {
                None => now + startup + pace.spin,
                Some((end, _)) => now.max(*end) + between + pace.spin,
            };
            flying.push_back((end, pace));
        }
        ends.extend(flying.iter().map(|(end, _)| *end));
        ends.iter().map(|end| end - 1_000_000).collect()
    }

    #[test]
    fn one_at_a_time_takes_as_long_as_recorded() {
        let ends = simulate(70_000, 0, 1000, 1_000_000, 1);
        // The first teaches, the second makes up for it.
        assert_eq!(ends[0], 1_070_000);
        assert_eq!(ends[1], 2_000_000);
        assert_eq!(ends[999], 1000 * 1_000_000);
    }

    #[test]
    fn what_is_late_is_made_up_for() {
        let ends = simulate(70_000, 20_000, 1000, 1_000_000, 100);
        // The overhead of those that are on the ring before it is found out.
        let late = ends[99].abs_diff(100 * 1_000_000);
        assert!(late <= 101 * 20_000 + 70_000, "{late}");
        let late = ends[999].abs_diff(1000 * 1_000_000);
        assert!(late <= 70_000, "{late}");
    }

    #[test]
    fn jobs_that_waited_while_the_ring_ran_dry_come_when_they_are_due() {
        let mut pacer = Pacer::default();
        let first = begin(&mut pacer, 0, 1_000_000, true);
        // The host is late, and two more jobs have been there all the time.
        pacer.end(1_300_000, first);
        let mut job = Begun {
            now: 1_300_000,
            entered: 0,
            idle: true,
        };
        // It will begin at 1.6 ms, for the first took 0.3 ms to begin, and is due at 2 ms.
        assert_eq!(pacer.begin(job, 1_000_000).spin(), 400_000);
        job.idle = false;
        assert_eq!(pacer.begin(job, 1_000_000).spin(), 1_000_000);
    }

    #[test]
    fn a_job_shorter_than_its_startup_does_not_spin() {
        let mut pacer = Pacer::default();
        let first = begin(&mut pacer, 0, 1_000, true);
        pacer.end(50_000, first);
        assert_eq!(begin(&mut pacer, 60_000, 1_000, true).spin, 0);
    }

    #[test]
    fn far_times_do_no_harm() {
        let mut pacer = Pacer::default();
        let first = begin(&mut pacer, u64::MAX - 1, u64::MAX, true);
        pacer.end(0, first);
        let second = begin(&mut pacer, 0, u64::MAX, false);
        pacer.end(u64::MAX, second);
        let _ = begin(&mut pacer, u64::MAX, 1, false);
    }
}
