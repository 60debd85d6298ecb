// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where streams publish the fences that others wait for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ringfence::Fence;

use crate::plan::{Dependency, Plan};

/// How many fences are kept for those that lag behind. More than any one job waits for, so
/// somebody can always go on; what is kept does not grow with the plan.
const KEPT: usize = 4096;

/// One stream's fences.
struct Published {
    /// The job of the first fence kept.
    first: u64,
    fences: VecDeque<Fence>,
    /// The first job that each of those that wait may still ask for.
    needed: Vec<u64>,
}

struct Place {
    published: Mutex<Published>,
    /// Jobs submitted so far.
    count: AtomicU64,
    waited_for: bool,
}

/// The fences of all streams.
pub(super) struct Board {
    places: Vec<Place>,
    /// For each stream, where each of its dependencies stands in `needed` of the other.
    edges: Vec<Vec<usize>>,
    /// For each stream, the streams that wait for it.
    waiters: Vec<Vec<usize>>,
}

fn lock(place: &Place) -> MutexGuard<'_, Published> {
    place
        .published
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    pub(super) fn new(plan: &Plan) -> Self {
        let streams = plan.streams();
        let mut waiters = vec![Vec::new(); streams.len()];
        let mut edges = Vec::with_capacity(streams.len());
        for (index, stream) in streams.iter().enumerate() {
            let mut own = Vec::with_capacity(stream.dependencies.len());
            for dependency in &stream.dependencies {
                own.push(waiters[dependency.stream.0].len());
                waiters[dependency.stream.0].push(index);
            }
            edges.push(own);
        }
        let places = waiters
            .iter()
            .map(|waiters| Place {
                published: Mutex::new(Published {
                    first: 0,
                    fences: VecDeque::new(),
                    needed: vec![0; waiters.len()],
                }),
                count: AtomicU64::new(0),
                waited_for: !waiters.is_empty(),
            })
            .collect();
        Self {
            places,
            edges,
            waiters,
        }
    }

    /// The streams that wait for `stream`.
    pub(super) fn waiters(&self, stream: usize) -> &[usize] {
        &self.waiters[stream]
    }

    /// Whether what job `job` waits for has been submitted.
    pub(super) fn is_ready(&self, dependencies: &[Dependency], job: u64) -> bool {
        dependencies.iter().all(|dependency| {
            let end = dependency.jobs(job).end;
            self.places[dependency.stream.0]
                .count
                .load(Ordering::Acquire)
                >= end
        })
    }

    /// Whether there is room for another fence of `stream`.
    pub(super) fn has_room(&self, stream: usize) -> bool {
        let place = &self.places[stream];
        !place.waited_for || lock(place).fences.len() < KEPT
    }

    /// The fences that job `job` waits for; it is [ready](Self::is_ready).
    pub(super) fn fences(&self, dependencies: &[Dependency], job: u64) -> Vec<Fence> {
        let mut fences = Vec::new();
        for dependency in dependencies {
            let published = lock(&self.places[dependency.stream.0]);
            for wanted in dependency.jobs(job) {
                let place = wanted.checked_sub(published.first);
                let place = place.and_then(|place| usize::try_from(place).ok());
                fences.extend(place.and_then(|place| published.fences.get(place)).cloned());
            }
        }
        fences
    }

    /// Publishes the fence of the next job of `stream`.
    pub(super) fn publish(&self, stream: usize, fence: &Fence) {
        let place = &self.places[stream];
        if place.waited_for {
            lock(place).fences.push_back(fence.clone());
        }
        place.count.fetch_add(1, Ordering::Release);
    }

    /// `stream` has submitted all jobs before `next`, of `jobs`: what those alone waited for is
    /// forgotten. Returns the streams that may have got room.
    pub(super) fn advance<'a>(
        &'a self,
        stream: usize,
        dependencies: &'a [Dependency],
        next: u64,
        jobs: u64,
    ) -> impl Iterator<Item = usize> + 'a {
        let edges = dependencies.iter().zip(&self.edges[stream]);
        edges.filter_map(move |(dependency, &edge)| {
            let mut published = lock(&self.places[dependency.stream.0]);
            published.needed[edge] = if next >= jobs {
                u64::MAX
            } else {
                dependency.jobs(next).start
            };
            let was_full = published.fences.len() >= KEPT;
            let needed = published.needed.iter().copied().min().unwrap_or(u64::MAX);
            while published.first < needed && published.fences.pop_front().is_some() {
                published.first += 1;
            }
            was_full.then_some(dependency.stream.0)
        })
    }
}
