// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Builds the queues and streams of a plan in which nothing is wrong.

use std::time::Duration;

use super::{Link, Resolver, Selection};
use crate::plan::expand::{Dependency, StreamPlan};
use crate::plan::model::{
    AfterReset, CloseMode, FaultPlan, OnDependencyError, QueueIndex, QueuePlan, Spread, StreamIndex,
};
use crate::plan::names::member_name;
use crate::plan::raw::RawQueue;

impl Resolver<'_> {
    /// All streams, the members of a group one after the other.
    pub(super) fn build_streams(
        &self,
        targets: &[Option<Selection>],
        links: &[Link],
        faults: &[(Selection, FaultPlan)],
    ) -> Vec<StreamPlan> {
        let mut all = Vec::with_capacity(self.streams.total());
        for (group, (stream, target)) in self.raw.streams.iter().zip(targets).enumerate() {
            let Some(target) = target else { continue };
            let count = stream.count as usize;
            for at in 0..count {
                let index = StreamIndex(all.len());
                all.push(StreamPlan {
                    name: member_name(&stream.name.value, at, count),
                    index,
                    queue: QueueIndex(target.start + at % target.count),
                    jobs: stream.jobs.value,
                    in_flight: stream.in_flight as u32,
                    timeout: stream.timeout.map(Duration::from_nanos),
                    every: stream.every.map(Duration::from_nanos),
                    deadline: stream.deadline.map(Duration::from_nanos),
                    dependencies: self.dependencies(group, at, index, links),
                    faults: Vec::new(),
                    cost: Spread::new(&stream.cost.value, 1),
                    work: stream.work.clone(),
                });
            }
        }
        for (place, fault) in faults {
            for stream in &mut all[place.start..place.start + place.count] {
                stream.faults.push(fault.clone());
            }
        }
        all
    }

    /// The dependencies of member `at` of a stream.
    fn dependencies(
        &self,
        group: usize,
        at: usize,
        own: StreamIndex,
        links: &[Link],
    ) -> Vec<Dependency> {
        let stream = &self.raw.streams[group];
        let to_jobs = stream.jobs.value;
        let mut all = Vec::new();
        // Links stand in the order of their streams.
        let first = links.partition_point(|link| link.from < group);
        for link in links[first..].iter().take_while(|link| link.from == group) {
            let members = if link.to.count == 1 {
                link.to.start..link.to.start + 1
            } else if stream.count == 1 {
                link.to.start..link.to.start + link.to.count
            } else {
                link.to.start + at..link.to.start + at + 1
            };
            let from_jobs = self.raw.streams[link.to.group].jobs.value;
            let (last, lag) = (link.last, link.lag);
            all.extend(members.map(|member| Dependency {
                stream: StreamIndex(member),
                last,
                lag,
                from_jobs,
                to_jobs,
            }));
        }
        if stream.after_previous {
            let from_jobs = to_jobs;
            all.push(Dependency {
                stream: own,
                last: 1,
                lag: 1,
                from_jobs,
                to_jobs,
            });
        }
        all
    }
}

/// The members of one group of queues.
pub(super) fn build_queues(queue: &RawQueue) -> impl Iterator<Item = QueuePlan> + '_ {
    let count = queue.count as usize;
    (0..count).map(move |at| QueuePlan {
        name: member_name(&queue.name.value, at, count),
        bypass: queue.bypass,
        credits: queue.credits.value as u32,
        capacity: queue.capacity as u32,
        timeout: Duration::from_nanos(queue.timeout),
        extensions: queue.extensions as u32,
        on_dependency_error: match queue.on_dependency_error {
            "run" => OnDependencyError::Run,
            _ => OnDependencyError::Cancel,
        },
        close: match queue.close {
            "cancel" => CloseMode::Cancel,
            _ => CloseMode::Drain,
        },
        close_timeout: queue.close_timeout.map(Duration::from_nanos),
        strikes: queue.strikes as u32,
        strikes_within: queue
            .strikes_within
            .as_ref()
            .map(|within| Duration::from_nanos(within.value)),
        after_reset: match queue.after_reset {
            "cancel" => AfterReset::Cancel,
            _ => AfterReset::Replay,
        },
        ring: queue.ring,
        due: super::sharing::due(&queue.due),
    })
}
