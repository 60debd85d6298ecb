// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What was read from a recording.

use std::collections::HashMap;

use super::diagnostic::Diagnostics;
use crate::event::{Event, EventKind, FenceId, QueueTrack, Trace, Tracks};
use crate::figures::{self, RingFigures, Spread, TimedJob};

/// A hardware ring.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordedRing {
    /// The device (`dev=`).
    pub device: String,
    /// The ring (`ring=`).
    pub name: String,
}

/// A fence context: one entity of the kernel's scheduler, and what a queue is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedContext {
    /// Its number.
    pub context: u64,
    /// The ring its first job was queued for. A context may move to another ring.
    pub ring: usize,
    /// The client of its first job.
    pub client_id: u64,
    /// Its jobs.
    pub jobs: usize,
}

/// A job of a recording. All times are nanoseconds of the recording's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedJob {
    /// Its finished fence, which names it. No other job of the recording has the same.
    pub fence: FenceId,
    /// The ring it was queued for: an index into [`Recording::rings`].
    pub ring: usize,
    /// The DRM client.
    pub client_id: u64,
    /// When it was queued.
    pub queue_ts: u64,
    /// When it was handed to the hardware. `None`: cancelled before, or the recording ended.
    pub run_ts: Option<u64>,
    /// When its finished fence signalled. `None`: the recording ended before.
    pub done_ts: Option<u64>,
    /// The fences it waits for, in the order in which they were added. Each is a job of the
    /// recording, and there is no circle, not even through the order of a context.
    pub dependencies: Vec<FenceId>,
    /// How long the hardware worked on it: from its run, or, back to back, from the latest done of
    /// the same ring before its own, to its done. `None` where the recording lacks run or done.
    pub hardware_ns: Option<u64>,
    /// The line on which it was queued, counted from 1.
    pub line: usize,
}

impl RecordedJob {
    /// Nanoseconds from queued to run.
    pub fn queue_to_run_ns(&self) -> Option<u64> {
        self.run_ts.map(|run| run.saturating_sub(self.queue_ts))
    }

    /// Whether it was done without having run: cancelled, or its queue was killed.
    pub fn was_cancelled(&self) -> bool {
        self.run_ts.is_none() && self.done_ts.is_some()
    }

    /// Whether the recording ended before the job did.
    pub fn is_unfinished(&self) -> bool {
        self.done_ts.is_none()
    }
}

/// How many events of each kind were read, bad ones not included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// `drm_sched_job_queue`.
    pub queue: u64,
    /// `drm_sched_job_run`.
    pub run: u64,
    /// `drm_sched_job_add_dep`.
    pub add_dependency: u64,
    /// `drm_sched_job_done`.
    pub done: u64,
    /// `drm_sched_job_unschedulable`.
    pub unschedulable: u64,
    /// Events that are none of the scheduler's; they are skipped.
    pub unknown: u64,
}

/// A recording of the kernel's scheduler (or of ours, in its format), ready to be replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// The jobs, in the order in which they were queued.
    pub jobs: Vec<RecordedJob>,
    /// The rings, in the order of appearance.
    pub rings: Vec<RecordedRing>,
    /// The contexts, in the order of appearance.
    pub contexts: Vec<RecordedContext>,
    /// What was wrong.
    pub diagnostics: Diagnostics,
    /// What was read.
    pub events: EventCounts,
    /// Dependencies that were left out, each with a diagnostic: on unknown fences, of unknown jobs,
    /// said twice, or circular.
    pub dropped_dependencies: u64,
    /// Events that the tracer says it lost; where it does not say how many, one is counted.
    pub lost_events: u64,
    pub(super) by_fence: HashMap<FenceId, usize>,
}

impl Recording {
    /// Where in [`jobs`](Self::jobs) the job with this finished fence is.
    pub fn index_of(&self, fence: FenceId) -> Option<usize> {
        self.by_fence.get(&fence).copied()
    }

    /// How many dependencies the jobs have together.
    pub fn dependencies(&self) -> usize {
        self.jobs.iter().map(|job| job.dependencies.len()).sum()
    }

    /// The times of the jobs as [`figures`] wants them.
    pub fn timed_jobs(&self) -> Vec<TimedJob> {
        let timed = |job: &RecordedJob| TimedJob {
            ring: job.ring,
            context: job.fence.context,
            queued: job.queue_ts,
            run: job.run_ts,
            done: job.done_ts,
            dependencies: job
                .dependencies
                .iter()
                .filter_map(|&on| self.index_of(on))
                .collect(),
        };
        self.jobs.iter().map(timed).collect()
    }

    /// What each ring did, in the order of [`rings`](Self::rings). See [`figures::rings`].
    pub fn ring_figures(&self) -> Vec<RingFigures> {
        figures::rings(&self.timed_jobs(), self.rings.len())
    }

    /// The spread of the time from queued to run, of all jobs that ran, or of those without
    /// dependencies only. `None` if there is no such job.
    pub fn queue_to_run(&self, only_without_dependencies: bool) -> Option<Spread> {
        let wanted = |job: &&RecordedJob| !only_without_dependencies || job.dependencies.is_empty();
        let jobs = self.jobs.iter().filter(wanted);
        let mut times: Vec<u64> = jobs.filter_map(RecordedJob::queue_to_run_ns).collect();
        figures::spread(&mut times)
    }

    /// The recording as a trace, for [`perfetto::write`](crate::perfetto::write) or
    /// [`ftrace::write`](super::write). Counts of jobs, which the events carry, are computed anew.
    pub fn to_trace(&self) -> Trace {
        let track = |context: &RecordedContext| {
            let ring = &self.rings[context.ring];
            QueueTrack {
                name: format!("{} {} context {}", ring.device, ring.name, context.context),
                context: context.context,
                device: ring.device.clone(),
                ring: ring.name.clone(),
                client_id: context.client_id,
            }
        };
        Trace {
            tracks: Tracks {
                process: "recording".into(),
                pid: 0,
                queues: self.contexts.iter().map(track).collect(),
                slots: Vec::new(),
            },
            events: self.to_events(),
            dropped: self.lost_events,
        }
    }

    fn to_events(&self) -> Vec<Event> {
        // Time, then the order a job's life has, then the job.
        let mut moments = Vec::new();
        for (index, job) in self.jobs.iter().enumerate() {
            moments.push((job.queue_ts, 0_u8, index));
            moments.extend(job.done_ts.map(|time| (time, 1, index)));
            moments.extend(job.run_ts.map(|time| (time, 2, index)));
        }
        moments.sort_by_key(|&(time, step, index)| {
            // A job that ran and was done at one time was not done before it ran.
            let same = self.jobs[index].run_ts == Some(time) && step == 1;
            (time, if same { 3 } else { step }, index)
        });
        let mut waiting: HashMap<u64, u32> = HashMap::new();
        let mut on_hardware = vec![0_u32; self.rings.len()];
        let mut events = Vec::with_capacity(moments.len());
        for (time, step, index) in moments {
            let job = &self.jobs[index];
            let waiting = waiting.entry(job.fence.context).or_default();
            let on_hardware = &mut on_hardware[job.ring];
            match step {
                0 => {
                    let (waiting_now, busy) = (*waiting, *on_hardware);
                    *waiting += 1;
                    let kind = EventKind::Queued {
                        job: job.fence,
                        cost: 1,
                        waiting: waiting_now,
                        on_hardware: busy,
                    };
                    events.push(Event::new(time, kind));
                    events.extend(job.dependencies.iter().map(|&on| {
                        Event::new(time, EventKind::DependencyAdded { job: job.fence, on })
                    }));
                }
                1 => {
                    let left = if job.run_ts.is_some() {
                        on_hardware
                    } else {
                        waiting
                    };
                    *left = left.saturating_sub(1);
                    events.push(Event::new(
                        time,
                        EventKind::Done {
                            job: job.fence,
                            error: 0,
                        },
                    ));
                }
                _ => {
                    *waiting = waiting.saturating_sub(1);
                    *on_hardware += 1;
                    let kind = EventKind::Run {
                        job: job.fence,
                        waiting: *waiting,
                        on_hardware: *on_hardware,
                    };
                    events.push(Event::new(time, kind));
                }
            }
        }
        events
    }
}
