// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From a stream to its jobs: each is computed when it is asked for and never stored.

use std::ops::Range;
use std::time::Duration;

use super::model::{
    Command, CommandPlan, FaultKind, FaultPlan, FaultRule, JobIndex, QueueIndex, Spread,
    StreamIndex,
};
use super::Prng;

/// What a random number is used for, so that no two uses share one.
const USE_JOB: u64 = 1;
const USE_FAULT: u64 = 2;
const USE_KIND: u64 = 3;

/// Which jobs of an earlier stream each job of a stream waits for.
///
/// Job `i` of `to_jobs` waits for the last job of the earlier stream that belongs to it when both
/// streams advance evenly, and for the `last - 1` jobs before that one. With equal numbers of jobs
/// this is job `i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The earlier stream.
    pub stream: StreamIndex,
    /// How many jobs of it are waited for.
    pub last: u64,
    /// How many jobs further back to look.
    pub lag: u64,
    pub(crate) from_jobs: u64,
    pub(crate) to_jobs: u64,
}

impl Dependency {
    /// The jobs of the earlier stream that job `i` waits for; empty before the lag is over.
    ///
    /// Neither end ever decreases as `i` grows: what lies before the start of the range for `i`
    /// is not needed by any later job of this stream either.
    pub fn jobs(&self, i: u64) -> Range<u64> {
        match i.checked_sub(self.lag) {
            Some(i) if i < self.to_jobs => {
                let end = share(i + 1, self.from_jobs, self.to_jobs);
                end.saturating_sub(self.last)..end
            }
            _ => 0..0,
        }
    }

    /// How many dependencies there are over the whole stream.
    pub fn total(&self) -> u64 {
        let active = self.to_jobs.saturating_sub(self.lag);
        // So many jobs see an end of at most `v`.
        let up_to = |v: u64| {
            let jobs = u128::from(v) * u128::from(self.to_jobs) / u128::from(self.from_jobs);
            jobs.min(u128::from(active)) as u64
        };
        let short = self.last.min(self.from_jobs);
        let few: u64 = (1..short).map(|v| v * (up_to(v) - up_to(v - 1))).sum();
        few + short * (active - up_to(short - 1))
    }
}

/// `ceil(part * of / whole)`; at most `of` for `part <= whole`.
fn share(part: u64, of: u64, whole: u64) -> u64 {
    let product = u128::from(part) * u128::from(of);
    // At most `of`, which is a `u64`.
    product.div_ceil(u128::from(whole.max(1))) as u64
}

/// A stream of a plan: a client that submits jobs to one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPlan {
    /// A name no other stream has.
    pub name: String,
    /// The stream's own place.
    pub index: StreamIndex,
    /// The queue that gets the jobs.
    pub queue: QueueIndex,
    /// How many jobs there are.
    pub jobs: u64,
    /// The most jobs the client has submitted and not seen the end of.
    pub in_flight: u32,
    /// How long a job may be at the head of the line, where that is not for the queue to say.
    pub timeout: Option<Duration>,
    /// The time from one submission to the next; as fast as possible where it is `None`.
    pub every: Option<Duration>,
    /// How long after its submission a job should be over.
    pub deadline: Option<Duration>,
    /// What the jobs wait for.
    pub dependencies: Vec<Dependency>,
    /// The faults of this stream; the first that hits a job counts.
    pub faults: Vec<FaultPlan>,
    pub(crate) cost: Spread,
    pub(crate) work: Vec<CommandPlan>,
}

/// One job, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPlan {
    /// Which job it is.
    pub index: JobIndex,
    /// Its cost in credits, at most its queue's limit.
    pub cost: u32,
    /// What it does, in order.
    pub commands: Vec<Command>,
    /// What it waits for; all of these can be armed before this job.
    pub dependencies: Vec<JobIndex>,
    /// What goes wrong with it.
    pub fault: Option<FaultKind>,
    /// A random number for the data of this job.
    pub data_seed: u64,
}

impl StreamPlan {
    /// Job `i` of this stream in the run with `seed`; the same every time.
    pub fn job(&self, i: u64, seed: u64) -> JobPlan {
        let mut random = Prng::at(seed, &[USE_JOB, self.index.0 as u64, i]);
        let data_seed = random.next_u64();
        // Checked to be at most the queue's credits when the plan was read.
        let cost = self.cost.pick(&mut random) as u32;
        let pick = |command: &CommandPlan| command.resolve(|spread| spread.pick(&mut random));
        JobPlan {
            index: JobIndex {
                stream: self.index,
                job: i,
            },
            cost,
            commands: self.work.iter().map(pick).collect(),
            dependencies: self.waits_for(i).collect(),
            fault: self.fault(i, seed),
            data_seed,
        }
    }

    /// The jobs that job `i` waits for.
    pub fn waits_for(&self, i: u64) -> impl Iterator<Item = JobIndex> + '_ {
        self.dependencies.iter().flat_map(move |dependency| {
            let stream = dependency.stream;
            dependency.jobs(i).map(move |job| JobIndex { stream, job })
        })
    }

    /// The fault of job `i` in the run with `seed`.
    pub fn fault(&self, i: u64, seed: u64) -> Option<FaultKind> {
        let hits = |(at, fault): (usize, &FaultPlan)| match fault.rule {
            FaultRule::Job(job) => job == i,
            FaultRule::Every(every) => (i + 1).is_multiple_of(every),
            FaultRule::Chance(parts) => {
                let path = [USE_FAULT, self.index.0 as u64, i, at as u64];
                Prng::at(seed, &path).below(1_000_000) < u64::from(parts)
            }
        };
        self.faults
            .iter()
            .enumerate()
            .find(|&fault| hits(fault))
            .map(|(at, fault)| match &fault.kinds[..] {
                [kind] => *kind,
                kinds => {
                    let path = [USE_KIND, self.index.0 as u64, i, at as u64];
                    kinds[Prng::at(seed, &path).below(kinds.len() as u64) as usize]
                }
            })
    }

    /// The highest cost a job of this stream can have.
    pub fn max_cost(&self) -> u32 {
        self.cost.max() as u32
    }

    /// The most video memory that one job of this stream needs, in bytes.
    pub fn job_memory(&self) -> u64 {
        self.work
            .iter()
            .map(|command| command.resolve(|spread| spread.max()).memory())
            .sum()
    }

    /// Video memory for all the jobs that can be in flight, in whole pages.
    pub fn memory(&self) -> u64 {
        let jobs = self.jobs.min(u64::from(self.in_flight));
        (jobs * self.job_memory()).next_multiple_of(4096)
    }
}

#[cfg(test)]
mod tests;
