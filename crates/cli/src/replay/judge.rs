// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Whether everything held.

use ringfence::{Errno, Stats};

use super::perform::{Leaks, Performance};
use super::script::{Action, Script};
use super::watch::{Ended, Life};

/// How many violations of one sort are told one by one.
const TOLD: usize = 5;

/// What was counted, and what did not hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    pub(super) submitted: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) timed_out: u64,
    pub(super) bypassed: u64,
    pub(super) armed: u64,
    pub(super) signalled: u64,
    pub(super) out_of_order: u64,
    /// Jobs that ran before something that they wait for was done.
    pub(super) too_early: u64,
    /// For people. Empty: everything held.
    pub(super) violations: Vec<String>,
}

impl Verdict {
    /// Judges a replay.
    pub(super) fn new(script: &Script, performance: &Performance) -> Self {
        let mut verdict = Self {
            violations: performance.mishaps.clone(),
            ..Self::default()
        };
        verdict.count(script, performance);
        verdict.judge_jobs(script, performance);
        verdict.judge_order(script, performance);
        verdict.judge_dependencies(script, performance);
        verdict.judge_sums(script, performance);
        verdict.judge_leaks(performance.leaks);
        verdict
    }

    /// Adds a sort of violation, of which `list` are the cases.
    fn accuse(&mut self, what: &str, list: &[String]) {
        for case in list.iter().take(TOLD) {
            self.violations.push(format!("{what}: {case}"));
        }
        if let Some(more) = list.len().checked_sub(TOLD).filter(|&more| more > 0) {
            self.violations.push(format!("{what}: {more} more"));
        }
    }

    fn count(&mut self, script: &Script, performance: &Performance) {
        self.submitted = performance.fences.iter().flatten().count() as u64;
        for life in &performance.lives {
            match life.ended {
                Ended::Not => {}
                Ended::Completed => self.completed += 1,
                Ended::Failed => self.failed += 1,
                Ended::Cancelled => self.cancelled += 1,
                Ended::TimedOut => self.timed_out += 1,
            }
        }
        let sum = |count: fn(&Stats) -> u64| performance.stats.iter().map(count).sum::<u64>();
        self.bypassed = sum(|stats| stats.bypassed);
        self.armed = sum(|stats| stats.armed);
        let signalled = performance.fences.iter().flatten();
        self.signalled = signalled.filter(|fence| fence.status.is_some()).count() as u64;
        if self.submitted != script.jobs.len() as u64 {
            let all = script.jobs.len();
            self.violations
                .push(format!("of {all} jobs {} were submitted", self.submitted));
        }
    }

    /// Each job: done once, as its fence says, and run once unless it was cancelled.
    fn judge_jobs(&mut self, script: &Script, performance: &Performance) {
        let mut to_cancel = vec![false; script.jobs.len()];
        for step in &script.steps {
            to_cancel[step.job as usize] |= step.action == Action::Cancel;
        }
        let mut wrong = Vec::new();
        let cases = performance.lives.iter().zip(&performance.fences);
        for (number, ((life, fence), cancel)) in cases.zip(to_cancel).enumerate() {
            let Some(fence) = fence else { continue };
            let status = fence.status;
            let held = match life.ended {
                Ended::Completed => status == Some(Ok(())) && life.runs == 1,
                Ended::Cancelled => {
                    status == Some(Err(Errno::ECANCELED)) && life.runs == 0 && cancel
                }
                Ended::Not | Ended::Failed | Ended::TimedOut => false,
            };
            if !(held && life.dones == 1 && life.queued.is_some()) {
                wrong.push(format!("job {number}: {life:?}, its fence: {status:?}"));
            }
        }
        self.accuse("a job did not end as it should", &wrong);
    }

    /// Each queue: fences in the order of submission.
    fn judge_order(&mut self, script: &Script, performance: &Performance) {
        let mut wrong = Vec::new();
        for (number, queue) in script.queues.iter().enumerate() {
            let fences = queue
                .jobs
                .iter()
                .filter_map(|&job| performance.fences.get(job as usize).copied().flatten());
            let (mut seqno, mut time) = (0, 0);
            for fence in fences {
                let Some(signalled) = fence.timestamp else {
                    continue;
                };
                if fence.seqno != seqno + 1 || signalled < time {
                    self.out_of_order += 1;
                    wrong.push(format!("context {number}, fence {}", fence.seqno));
                }
                (seqno, time) = (fence.seqno, signalled);
            }
        }
        self.accuse("a fence out of order", &wrong);
    }

    /// No job before what it waits for.
    fn judge_dependencies(&mut self, script: &Script, performance: &Performance) {
        let mut wrong = Vec::new();
        let done = |job: u32| {
            performance
                .lives
                .get(job as usize)
                .and_then(|life| life.done)
        };
        for (number, (job, life)) in script.jobs.iter().zip(&performance.lives).enumerate() {
            let Life { run: Some(run), .. } = *life else {
                continue;
            };
            for &on in &job.dependencies {
                if done(on).is_none_or(|done| done > run) {
                    self.too_early += 1;
                    wrong.push(format!("job {number} did not wait for job {on}"));
                }
            }
        }
        self.accuse("a dependency was not waited for", &wrong);
    }

    fn judge_sums(&mut self, script: &Script, performance: &Performance) {
        let dependencies: usize = script.jobs.iter().map(|job| job.dependencies.len()).sum();
        if performance.dependencies != dependencies as u64 {
            self.violations.push(format!(
                "of {dependencies} dependencies {} were given to jobs",
                performance.dependencies
            ));
        }
        let ended = self.completed + self.failed + self.cancelled + self.timed_out;
        if self.submitted != ended || self.armed != self.signalled || self.armed != ended {
            self.violations.push(format!(
                "{} jobs submitted, {ended} ended; {} fences armed, {} signalled",
                self.submitted, self.armed, self.signalled
            ));
        }
        for (number, stats) in performance.stats.iter().enumerate() {
            let rooms = stats.prepared == stats.armed + stats.released;
            if !(rooms && stats.signalled == stats.armed && stats.late_completions == 0) {
                self.violations.push(format!(
                    "the counts of context {number} do not add up: {stats:?}"
                ));
            }
        }
    }

    fn judge_leaks(&mut self, leaks: Leaks) {
        if leaks != Leaks::default() {
            self.violations
                .push(format!("something is left: {leaks:?}"));
        }
    }
}

#[cfg(test)]
mod tests;
