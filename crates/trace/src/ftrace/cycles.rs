// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Finds dependencies that would make jobs wait for each other in a circle.
//!
//! Besides its dependencies, a job waits for the job before it in its context, since a queue runs in
//! order. A circle therefore always holds a dependency on a job that was queued later (or on the job
//! itself), and dropping those inside a strongly connected set of jobs, and no others, opens every
//! circle and touches nothing else.

/// The dependencies to drop, as (job, dependency) pairs, in the order of jobs.
///
/// `dependencies[job]` are the jobs that `job` waits for; `before[job]` is the one ahead of it in its
/// context. All are indices into the same list, in the order of queueing.
pub(super) fn find(dependencies: &[Vec<usize>], before: &[Option<usize>]) -> Vec<(usize, usize)> {
    let component = components(dependencies, before);
    let mut drop = Vec::new();
    for (job, list) in dependencies.iter().enumerate() {
        let circular = |&&on: &&usize| on >= job && component[on] == component[job];
        drop.extend(list.iter().filter(circular).map(|&on| (job, on)));
    }
    drop
}

/// Marks a job whose component is not known yet.
const UNKNOWN: usize = usize::MAX;

/// Tarjan's algorithm, with a stack of its own: a recording may chain a million jobs.
struct Search<'a> {
    dependencies: &'a [Vec<usize>],
    before: &'a [Option<usize>],
    /// When each job was reached, from 1; 0 where it was not yet.
    order: Vec<usize>,
    lowest: Vec<usize>,
    component: Vec<usize>,
    reached: usize,
    found: usize,
    open: Vec<usize>,
}

/// The strongly connected component of each job.
fn components(dependencies: &[Vec<usize>], before: &[Option<usize>]) -> Vec<usize> {
    let jobs = dependencies.len();
    let mut search = Search {
        dependencies,
        before,
        order: vec![0; jobs],
        lowest: vec![0; jobs],
        component: vec![UNKNOWN; jobs],
        reached: 0,
        found: 0,
        open: Vec::new(),
    };
    for job in 0..jobs {
        if search.order[job] == 0 {
            search.from(job);
        }
    }
    search.component
}

impl Search<'_> {
    /// The `index`th job that `job` waits for.
    fn waits_for(&self, job: usize, index: usize) -> Option<usize> {
        let list = &self.dependencies[job];
        match list.get(index) {
            Some(&on) => Some(on),
            None if index == list.len() => self.before[job],
            None => None,
        }
    }

    fn reach(&mut self, job: usize) {
        self.reached += 1;
        self.order[job] = self.reached;
        self.lowest[job] = self.reached;
        self.open.push(job);
    }

    fn from(&mut self, start: usize) {
        self.reach(start);
        let mut path = vec![(start, 0)];
        while let Some((job, index)) = path.last_mut() {
            let job = *job;
            *index += 1;
            match self.waits_for(job, *index - 1) {
                Some(on) if self.order[on] == 0 => {
                    self.reach(on);
                    path.push((on, 0));
                }
                Some(on) if self.component[on] == UNKNOWN => {
                    self.lowest[job] = self.lowest[job].min(self.order[on]);
                }
                Some(_) => {}
                None => {
                    path.pop();
                    if let Some(&(parent, _)) = path.last() {
                        self.lowest[parent] = self.lowest[parent].min(self.lowest[job]);
                    }
                    self.close(job);
                }
            }
        }
    }

    /// If nothing `job` leads to was reached before it, all that is open behind it is one component.
    fn close(&mut self, job: usize) {
        if self.lowest[job] != self.order[job] {
            return;
        }
        while let Some(member) = self.open.pop() {
            self.component[member] = self.found;
            if member == job {
                break;
            }
        }
        self.found += 1;
    }
}

#[cfg(test)]
mod tests;
