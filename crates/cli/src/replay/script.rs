// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From a recording to what is to be done: which job goes where, when, and for how long.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ringfence_trace::ftrace::{RecordedJob, Recording};

use crate::args::Speed;

mod room;

/// Idle time between two submissions, and the time of one job, are cut to this (recorded time).
const LONGEST: u64 = 10_000_000_000;
/// A replay that would take longer than this is done at a higher pace.
const MOST_NS: f64 = 3600e9;
/// Rings that can be replayed: the slots a device can have.
const MAX_RINGS: usize = 1024;
/// Contexts that can be replayed.
const MAX_QUEUES: usize = 16_384;
/// Jobs that can be replayed.
const MAX_JOBS: usize = 1_000_000;

/// The most jobs a queue can hold. A longer one has to wait with its submissions.
pub(super) const MOST_ENTRIES: usize = 32_768;

/// What is to be done.
#[derive(Debug)]
pub(super) struct Script {
    /// The rings, numbered as in the recording.
    pub(super) rings: Vec<RingScript>,
    /// The queues, numbered as the contexts of the recording.
    pub(super) queues: Vec<QueueScript>,
    /// The jobs, in the order in which they are submitted.
    pub(super) jobs: Vec<JobScript>,
    /// Submissions and cancels, in the order of time.
    pub(super) steps: Vec<Step>,
    /// What could not be taken as it was recorded, for people.
    pub(super) notices: Vec<String>,
    /// Jobs that are not replayed; a notice says why.
    pub(super) left_out: u64,
    /// Dependencies on and of those.
    pub(super) left_out_dependencies: u64,
    /// No replay takes longer, if nothing is wrong.
    pub(super) bound: Duration,
}

/// A ring of the hardware.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RingScript {
    /// Jobs it holds at one time.
    pub(super) room: u32,
    /// Its queues together could put more jobs on it than it has room for.
    pub(super) contended: bool,
    /// How many queues feed it.
    pub(super) users: usize,
}

/// A queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueScript {
    /// Its jobs, in order.
    pub(super) jobs: Vec<u32>,
    /// Jobs of it on the hardware at one time.
    pub(super) credits: u32,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JobScript {
    /// Its number in the recording.
    pub(super) recorded: usize,
    /// Its queue.
    pub(super) queue: usize,
    /// Its ring.
    pub(super) ring: usize,
    /// How long it occupies the ring.
    pub(super) busy_ns: u64,
    /// The jobs it waits for.
    pub(super) dependencies: Vec<u32>,
}

/// Something to do at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// When, in nanoseconds from the beginning of the replay.
    pub(super) at: u64,
    /// To what job.
    pub(super) job: u32,
    /// What.
    pub(super) action: Action,
}

/// What can be done to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Submit,
    /// The recording says that it was done without having run.
    Cancel,
}

impl Script {
    /// Reads the script out of a recording. `None` if there is no job in it.
    pub(super) fn new(recording: &Recording, speed: Speed) -> Option<Self> {
        let mut script = Self {
            rings: Vec::new(),
            queues: Vec::new(),
            jobs: Vec::new(),
            steps: Vec::new(),
            notices: Vec::new(),
            left_out: 0,
            left_out_dependencies: 0,
            bound: Duration::ZERO,
        };
        script.cast(recording);
        script.furnish(recording);
        script.schedule(recording);
        script.pace(speed);
        (!script.jobs.is_empty()).then_some(script)
    }

    /// Picks the jobs that can be replayed, and says who takes which part.
    fn cast(&mut self, recording: &Recording) {
        let contexts: HashMap<u64, usize> = recording
            .contexts
            .iter()
            .enumerate()
            .map(|(number, context)| (context.context, number))
            .collect();
        self.queues = vec![QueueScript::default(); contexts.len().min(MAX_QUEUES)];
        self.rings = vec![RingScript::default(); recording.rings.len().min(MAX_RINGS)];
        let durations = Durations::new(recording);
        let mut numbers = vec![None; recording.jobs.len()];
        let mut shortened = 0_u64;
        for (recorded, job) in recording.jobs.iter().enumerate() {
            let queue = contexts.get(&job.fence.context).copied();
            let queue = queue.filter(|&queue| queue < self.queues.len());
            let (Some(queue), true) = (
                queue,
                job.ring < self.rings.len() && self.jobs.len() < MAX_JOBS,
            ) else {
                self.leave_out(job);
                continue;
            };
            let number = self.jobs.len() as u32;
            numbers[recorded] = Some(number);
            self.queues[queue].jobs.push(number);
            let busy_ns = durations.of(job);
            shortened += u64::from(busy_ns > LONGEST);
            self.jobs.push(JobScript {
                recorded,
                queue,
                ring: job.ring,
                busy_ns: busy_ns.min(LONGEST),
                dependencies: Vec::new(),
            });
        }
        if shortened > 0 {
            self.notices.push(format!(
                "{shortened} jobs ran for more than {} s and are taken to have run for that",
                LONGEST / 1_000_000_000
            ));
        }
        self.connect(recording, &numbers);
    }

    fn leave_out(&mut self, job: &RecordedJob) {
        if self.left_out == 0 {
            self.notices.push(format!(
                "line {}: more than {MAX_RINGS} rings, {MAX_QUEUES} contexts or {MAX_JOBS} jobs; \
                 this job is not replayed, nor are others beyond that",
                job.line
            ));
        }
        self.left_out += 1;
        self.left_out_dependencies += job.dependencies.len() as u64;
    }

    fn connect(&mut self, recording: &Recording, numbers: &[Option<u32>]) {
        // A submission may have to wait for earlier jobs then; they must not wait for it.
        let forward = self
            .queues
            .iter()
            .all(|queue| queue.jobs.len() <= MOST_ENTRIES);
        let mut dropped = 0_u64;
        for (own, job) in self.jobs.iter_mut().enumerate() {
            for &on in &recording.jobs[job.recorded].dependencies {
                let number = recording.index_of(on).and_then(|index| numbers[index]);
                match number {
                    Some(number) if forward || (number as usize) < own => {
                        job.dependencies.push(number);
                    }
                    Some(_) => dropped += 1,
                    None => self.left_out_dependencies += 1,
                }
            }
        }
        if dropped > 0 {
            self.left_out_dependencies += dropped;
            self.notices.push(format!(
                "a context has more than {MOST_ENTRIES} jobs: {dropped} dependencies on jobs that \
                 are queued later are left out"
            ));
        }
    }

    /// Says how much there is room for.
    fn furnish(&mut self, recording: &Recording) {
        let rooms = room::of_rings(&recording.timed_jobs(), self.rings.len());
        let mut jobs = vec![0_u32; self.rings.len()];
        self.jobs.iter().for_each(|job| jobs[job.ring] += 1);
        for ((ring, room), jobs) in self.rings.iter_mut().zip(rooms).zip(&jobs) {
            ring.room = room.unwrap_or(*jobs).max(1);
        }
        let users: HashSet<(usize, usize)> =
            self.jobs.iter().map(|job| (job.ring, job.queue)).collect();
        for &(ring, queue) in &users {
            let queue = &mut self.queues[queue];
            queue.credits = queue.credits.max(self.rings[ring].room);
            self.rings[ring].users += 1;
        }
        let mut wanted = vec![0_u64; self.rings.len()];
        for (ring, queue) in users {
            wanted[ring] += u64::from(self.queues[queue].credits);
        }
        for ((ring, wanted), jobs) in self.rings.iter_mut().zip(wanted).zip(jobs) {
            ring.contended = jobs > ring.room && wanted > u64::from(ring.room);
        }
    }

    /// Says when everything happens, in recorded time from the first submission.
    fn schedule(&mut self, recording: &Recording) {
        for (number, job) in self.jobs.iter().enumerate() {
            let recorded = &recording.jobs[job.recorded];
            let mut step = |at, action| {
                self.steps.push(Step {
                    at,
                    job: number as u32,
                    action,
                });
            };
            step(recorded.queue_ts, Action::Submit);
            if let Some(done) = recorded.done_ts.filter(|_| recorded.was_cancelled()) {
                step(done.max(recorded.queue_ts), Action::Cancel);
            }
        }
        // Stable: of one time, a job is submitted before it is cancelled.
        self.steps.sort_by_key(|step| step.at);
        let (mut last, mut at, mut shortened) = (None, 0_u64, 0_u64);
        for step in &mut self.steps {
            let gap = step.at - last.unwrap_or(step.at);
            last = Some(step.at);
            shortened += u64::from(gap > LONGEST);
            at = at.saturating_add(gap.min(LONGEST));
            step.at = at;
        }
        if shortened > 0 {
            self.notices.push(format!(
                "{shortened} times nothing was submitted for more than {0} s; that is cut to {0} s",
                LONGEST / 1_000_000_000
            ));
        }
    }

    /// Turns recorded time into time of the replay.
    fn pace(&mut self, speed: Speed) {
        let Speed::Times(mut times) = speed else {
            self.steps.iter_mut().for_each(|step| step.at = 0);
            self.jobs.iter_mut().for_each(|job| job.busy_ns = 0);
            return;
        };
        let mut busy = vec![0.0; self.rings.len()];
        for job in &self.jobs {
            busy[job.ring] += job.busy_ns as f64;
        }
        let all: f64 = busy.iter().sum();
        let last = self.steps.last().map_or(0, |step| step.at) as f64;
        // Dependencies may make rings wait for each other: at worst one job runs at a time.
        let needed = last + all;
        if needed / times > MOST_NS {
            times = needed / MOST_NS;
            self.notices.push(format!(
                "this could take more than an hour; it is replayed at {times:.3}x"
            ));
        }
        let scale = |ns: &mut u64| *ns = (*ns as f64 / times) as u64;
        self.steps.iter_mut().for_each(|step| scale(&mut step.at));
        self.jobs.iter_mut().for_each(|job| scale(&mut job.busy_ns));
        self.bound = Duration::from_nanos((needed / times) as u64);
    }
}

/// How long jobs ran, and what to assume of those of which that is not known.
struct Durations {
    rings: Vec<Option<u64>>,
    any: u64,
}

impl Durations {
    fn new(recording: &Recording) -> Self {
        let mut known = vec![Vec::new(); recording.rings.len()];
        let mut all = Vec::new();
        for job in &recording.jobs {
            if let Some(ns) = job.hardware_ns {
                known[job.ring].push(ns);
                all.push(ns);
            }
        }
        Self {
            rings: known.iter_mut().map(|known| median(known)).collect(),
            any: median(&mut all).unwrap_or(0),
        }
    }

    fn of(&self, job: &RecordedJob) -> u64 {
        let ring = self.rings.get(job.ring).copied().flatten();
        job.hardware_ns.or(ring).unwrap_or(self.any)
    }
}

fn median(values: &mut [u64]) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests;
