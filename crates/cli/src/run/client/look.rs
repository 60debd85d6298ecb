// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Looking at jobs that are over: whether each ended as it had to, when it had to, and with what
//! it had to leave in memory.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use ringfence::Errno;

use super::excuse::{excused, torn_down};
use super::{Client, InFlight};
use crate::args::Sabotage;
use crate::plan::{FaultKind, QueuePlan};
use crate::run::watch::{Ending, Seen};
use crate::run::work::Work;
use crate::run::Run;

/// How long callbacks of a fence may take to return before it counts as not signalled.
const SETTLING: Duration = Duration::from_secs(1);

/// What was wrong with a job: which rule it broke, and how.
type Wrong = (&'static str, String);

impl Client<'_> {
    /// Looks at the oldest job of a queue, if it is over.
    pub(super) fn look_at_next(&mut self, index: usize) -> bool {
        let queue = &mut self.queues[index];
        let Some(status) = queue.line.front().and_then(|job| job.fence.status()) else {
            return false;
        };
        let Some(job) = queue.line.pop_front() else {
            return false;
        };
        // A fence counts as signalled once all its callbacks have returned, and this job may be over
        // before those of what it waited for have: it was one of them that set it going.
        let seen = job.parts.watch.seen(job.seqno);
        if !seen.is_some_and(|seen| torn_down(&seen, &job, status)) {
            for dependency in &job.dependencies {
                let _ = dependency.wait_timeout(SETTLING);
            }
        }
        count_faults(self.run, &job, seen.as_ref());
        let stream = &mut self.streams[job.stream];
        stream.in_flight -= 1;
        let name = &stream.plan.name;
        let first = stream.first_word(job.place);
        if self.run.sabotage == Some(Sabotage::WrongData) && job.job % 256 == 7 {
            let mut word = [0];
            if job.memory.read(first, &mut word).is_ok() {
                let _ = job.memory.write(first, &[!word[0]]);
            }
        }
        let mut words = vec![0; job.image.len()];
        let read = job.memory.read(first, &mut words).is_ok();
        if Arc::ptr_eq(&job.parts, &queue.parts) {
            stream.free.push(job.place);
        }
        let mut wrong = Vec::new();
        match seen {
            Some(seen) => {
                queue.figures.add(&seen);
                check_signals(&seen, status, &mut wrong);
                check_order(&seen, &job, status, &mut wrong);
                if job.fault.is_some_and(|fault| fault.is_guilt()) && status.is_err() {
                    let done = &job.parts.guilty_done;
                    done.fetch_max(seen.done, Ordering::Relaxed);
                }
                let runs_on_error = queue.runs_on_error();
                if let Some(deadline) = stream.plan.deadline {
                    let took = seen.done.saturating_sub(seen.queued);
                    self.run.count_deadline(deadline, took);
                }
                check_outcome(&seen, &job, status, queue.plan, runs_on_error, &mut wrong);
                self.run.count_checked();
                if !read || !data_is_right(&seen, &job, status, &words) {
                    self.run.count_data_error();
                    wrong.push(("wrong data", "what is in memory is not right".to_owned()));
                }
            }
            None => wrong.push(("jobs lost", "nobody saw it".to_owned())),
        }
        for (rule, how) in wrong {
            self.run.violation(rule, || {
                format!("{name}, job {} (seqno {}): {how}", job.job, job.seqno)
            });
        }
        self.run.count_ended(seen.and_then(|seen| seen.ending));
        true
    }
}

/// Counts what went wrong with it, as far as that happened. Of a job that never ran, it did not.
fn count_faults(run: &Run<'_>, job: &InFlight, seen: Option<&Seen>) {
    let Some(fault) = job.fault else {
        return;
    };
    let mut times = job
        .injected
        .iter()
        .filter(|injected| !injected.disarm())
        .count() as u64;
    times += u64::from(match fault {
        FaultKind::DependencyError { .. } | FaultKind::Drop => true,
        _ if fault.is_guilt() => seen.is_some_and(|seen| seen.begun != 0),
        _ => false,
    });
    run.count_fault(fault, times);
}

/// Its fence signalled once, and says what the queue says.
fn check_signals(seen: &Seen, status: Result<(), Errno>, wrong: &mut Vec<Wrong>) {
    if seen.signals != 1 || seen.dones != 1 {
        let how = format!("its fence signalled {} times", seen.signals.max(seen.dones));
        wrong.push(("fences signalled twice", how));
    }
    let agrees = match seen.ending {
        Some(Ending::Completed) => status.is_ok(),
        Some(_) => status.is_err(),
        None => false,
    };
    if !agrees {
        let how = format!("its fence says {status:?}, the queue {:?}", seen.ending);
        wrong.push(("outcomes", how));
    }
}

/// The device did not begin with it before what it waits for was over, and ended it before its
/// fence signalled.
fn check_order(seen: &Seen, job: &InFlight, status: Result<(), Errno>, wrong: &mut Vec<Wrong>) {
    let torn_down = torn_down(seen, job, status);
    let began = [seen.begun, seen.run]
        .into_iter()
        .filter(|&at| at != 0)
        .min();
    for dependency in &job.dependencies {
        let early = match (dependency.timestamp(), began) {
            (Some(signalled), Some(began)) => began < signalled,
            (_, None) if torn_down => false,
            // It ended, though what it waits for has not.
            (None, None) => true,
            (None, Some(_)) => !torn_down,
            (Some(signalled), None) => seen.done < signalled,
        };
        if early {
            let how = format!(
                "began before fence {}:{} had signalled, at {:?}: {seen:?}; {}",
                dependency.context(),
                dependency.seqno(),
                dependency.timestamp(),
                job.parts.fate()
            );
            wrong.push(("dependencies skipped", how));
            return;
        }
    }
    if seen.ending == Some(Ending::Completed) && (seen.ended == 0 || seen.done < seen.ended) {
        wrong.push((
            "jobs lost",
            "signalled before the device had done it".to_owned(),
        ));
    }
}

/// It ended as its plan says.
fn check_outcome(
    seen: &Seen,
    job: &InFlight,
    status: Result<(), Errno>,
    plan: &QueuePlan,
    runs_on_error: bool,
    wrong: &mut Vec<Wrong>,
) {
    let inherited = job
        .dependencies
        .iter()
        .filter_map(|dependency| dependency.error());
    let mut inherited = inherited.filter(|_| !runs_on_error).peekable();
    let right = if inherited.peek().is_some() {
        let own = matches!(job.fault, Some(FaultKind::Cancel | FaultKind::Drop));
        let cancelled = own || from_outside(job).is_some();
        cancelled || inherited.any(|error| status == Err(error))
    } else {
        let fails = |error| (Some(Ending::Failed), Err(error));
        let ended = (seen.ending, status);
        match job.fault {
            Some(
                FaultKind::Hang | FaultKind::SlowReset { .. } | FaultKind::FailingReset { .. },
            ) => ended == (Some(Ending::TimedOut), Err(Errno::ETIME)),
            Some(FaultKind::Fault | FaultKind::BadAddress) => ended == fails(Errno::EFAULT),
            Some(FaultKind::BadOpcode | FaultKind::RingOverrun) => ended == fails(Errno::EBADMSG),
            Some(FaultKind::Cancel) => {
                status.is_ok() || ended == (Some(Ending::Cancelled), Err(Errno::ECANCELED))
            }
            Some(FaultKind::Drop) => ended == (Some(Ending::Cancelled), Err(Errno::ECANCELED)),
            Some(FaultKind::DependencyError { .. }) if !runs_on_error => {
                from_outside(job).is_some_and(|error| status == Err(error))
            }
            _ => status.is_ok(),
        }
    };
    if !right && !excused(seen, job, status, plan) {
        let how = match job.fault {
            Some(fault) => format!("ended with {status:?} after {}", fault.word()),
            None => format!(
                "ended with {status:?}, and nothing was wrong with it: {seen:?}; {}",
                job.parts.fate()
            ),
        };
        wrong.push(("outcomes", how));
    }
}

fn from_outside(job: &InFlight) -> Option<Errno> {
    match job.fault {
        Some(FaultKind::DependencyError { errno }) => Errno::new(errno),
        _ => None,
    }
}

/// A job that completed left what the reference says, one that never ran left nothing.
fn data_is_right(seen: &Seen, job: &InFlight, status: Result<(), Errno>, words: &[u32]) -> bool {
    if seen.run == 0 {
        return seen.begun == 0 && (!job.written || *words == job.image);
    }
    if status.is_err() {
        // It ran for a part; which, nobody can know.
        return true;
    }
    let same = Work::compared(words.len(), &job.stamps)
        .into_iter()
        .all(|range| words.get(range.clone()) == job.expected.get(range));
    let stamped = job.stamps.iter().all(|&stamp| {
        let low = words.get(stamp).copied().unwrap_or(0);
        let high = words.get(stamp + 1).copied().unwrap_or(0);
        let time = u64::from(low) | u64::from(high) << 32;
        (job.submitted_at..=seen.done).contains(&time)
    });
    same && stamped
}
