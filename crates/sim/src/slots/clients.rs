// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Who submits jobs.

use ringfence_core::{Context, JobId, PrepareError, Request};

use super::line::Fact;
use super::seen::Sight;
use super::setup::{ClientSetup, Load};
use super::world::{Happening, Todo, Verdict, World};

/// What came of a client. Times are in nanoseconds of virtual time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClientReport {
    /// Cycles begun.
    pub cycles: u64,
    /// When the last of its jobs ended.
    pub ended_at: u64,
    /// The shortest and the longest cycle, of those that wait for their jobs.
    pub cycle_ns: Option<(u64, u64)>,
    /// The sum of them.
    pub cycles_ns: u64,
    /// Its jobs.
    pub jobs: u64,
}

/// A client and how far it is.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) setup: ClientSetup,
    pub(super) report: ClientReport,
    /// Jobs of the present cycle that are to be submitted.
    left: u32,
    began: u64,
    /// The job that it waits for.
    waits_for: Option<JobId>,
    /// It submits nothing any more.
    done: bool,
}

impl Client {
    pub(super) fn new(setup: ClientSetup) -> Self {
        Self {
            setup,
            report: ClientReport::default(),
            left: 0,
            began: 0,
            waits_for: None,
            done: false,
        }
    }
}

/// How long a client waits where there is no room.
const NO_ROOM_NS: u64 = 100_000;

/// What came of a wish to submit.
enum Submitted {
    Job(JobId),
    NoRoom,
    Never,
}

impl World {
    /// A client goes on.
    pub(super) fn client(&mut self, at: usize) -> Verdict {
        let client = &self.clients[at];
        if client.done || client.waits_for.is_some() {
            return Ok(());
        }
        match client.setup.load {
            Load::Cycles { jobs, .. } => self.cycle(at, jobs),
            Load::Backlog { depth, .. } => self.backlog(at, depth),
            Load::Bursts { jobs, wait_ns, .. } => self.burst(at, jobs, wait_ns),
        }
    }

    fn cycle(&mut self, at: usize, jobs: u32) -> Verdict {
        let now = self.now;
        let client = &mut self.clients[at];
        let Load::Cycles {
            job_ns,
            sync,
            cycles,
            ..
        } = client.setup.load
        else {
            return Ok(());
        };
        if client.left == 0 {
            if client.report.cycles == cycles {
                client.done = true;
                return Ok(());
            }
            client.report.cycles += 1;
            client.left = jobs;
            client.began = now;
            self.how_far_apart();
        }
        let mut last = None;
        while self.clients[at].left != 0 {
            match self.submit(at, job_ns, None)? {
                Submitted::Job(job) => last = Some(job),
                Submitted::NoRoom => {
                    self.after(NO_ROOM_NS, Happening::Client(at));
                    return Ok(());
                }
                Submitted::Never => {
                    self.clients[at].done = true;
                    return Ok(());
                }
            }
            self.clients[at].left -= 1;
        }
        if sync {
            self.clients[at].waits_for = last;
        } else {
            self.sleep(at);
        }
        Ok(())
    }

    /// A cycle begins: how far the first is before the last of those who are at it.
    fn how_far_apart(&mut self) {
        let cycles = |client: &Client| client.report.cycles;
        let first = self.clients.iter().map(cycles).max().unwrap_or(0);
        let at_it = self.clients.iter().filter(|client| !client.done);
        let last = at_it.map(cycles).min().unwrap_or(first);
        self.apart = self.apart.max(first - last);
    }

    /// A cycle is over.
    fn sleep(&mut self, at: usize) {
        let Load::Cycles { wait_ns, .. } = self.clients[at].setup.load else {
            return;
        };
        match wait_ns {
            0 => self.todo.push_back(Todo::Client(at)),
            wait_ns => self.after(wait_ns, Happening::Client(at)),
        }
    }

    fn backlog(&mut self, at: usize, depth: u32) -> Verdict {
        let Load::Backlog {
            least_ns, most_ns, ..
        } = self.clients[at].setup.load
        else {
            return Ok(());
        };
        while !self.ending && self.clients[at].left < depth {
            let takes = least_ns + self.prng.bits() % (most_ns - least_ns + 1);
            match self.submit(at, takes, None)? {
                Submitted::Job(_) => self.clients[at].left += 1,
                Submitted::NoRoom => {
                    self.after(NO_ROOM_NS, Happening::Client(at));
                    return Ok(());
                }
                Submitted::Never => break,
            }
        }
        Ok(())
    }

    fn burst(&mut self, at: usize, jobs: u32, wait_ns: u64) -> Verdict {
        let Load::Bursts {
            most_ns, crossing, ..
        } = self.clients[at].setup.load
        else {
            return Ok(());
        };
        if self.ending {
            return Ok(());
        }
        for _ in 0..self.prng.between(1, jobs) {
            let takes = self.span(most_ns);
            let other = self.prng.below(self.lines.len() as u32) as usize;
            let other = self.prng.chance(crossing).then_some(other);
            if let Submitted::Never = self.submit(at, takes, other)? {
                self.clients[at].done = true;
                return Ok(());
            }
        }
        let wait = self.span(wait_ns);
        self.after(wait, Happening::Client(at));
        Ok(())
    }

    /// Clients submit one job each in turn, and each waits for the one before.
    pub(super) fn chain(&mut self) -> Verdict {
        let mut before = None;
        let mut more = true;
        while std::mem::take(&mut more) {
            for at in 0..self.clients.len() {
                let Load::Cycles { jobs, job_ns, .. } = self.clients[at].setup.load else {
                    return Err("only cycles can be a chain".into());
                };
                if self.clients[at].report.jobs == u64::from(jobs) {
                    self.clients[at].done = true;
                    continue;
                }
                let Submitted::Job(_) = self.submit(at, job_ns, before)? else {
                    return Err("a chain needs room for all of its jobs".into());
                };
                before = Some(self.clients[at].setup.queue);
                more = true;
            }
        }
        Ok(())
    }

    /// Submits a job, which waits for the newest of `other`.
    fn submit(&mut self, at: usize, takes: u64, other: Option<usize>) -> Result<Submitted, String> {
        let queue = self.clients[at].setup.queue;
        let before = other.filter(|other| *other != queue);
        let before = before.and_then(|other| Some((other, self.newest(other)?)));
        let time = self.time();
        let line = &mut self.lines[queue];
        let request = Request {
            cost: 1,
            ..Request::default()
        };
        let room = match line.core.prepare(request) {
            Ok(room) => room,
            Err(PrepareError::Full) => return Ok(Submitted::NoRoom),
            Err(_) => return Ok(Submitted::Never),
        };
        let armed = line.core.arm(room);
        let job = armed.map_err(|error| format!("a room was not armed: {error}"))?;
        line.facts.push_back(Fact {
            takes,
            client: at,
            ended: None,
            done: false,
            taken: false,
            awake_at: 0,
            waiters: Vec::new(),
        });
        line.submitted += 1;
        let open = u32::from(before.is_some());
        let submitted = line.core.submit(job, open, false, time);
        submitted.map_err(|error| format!("{job:?} was not submitted: {error}"))?;
        self.longest_job = self.longest_job.max(takes);
        if let Some((other, before)) = before {
            self.see(Sight::Crossed);
            let fact = self.lines[other].fact(before).ok_or("a job that is gone")?;
            fact.waiters.push((queue, job));
        }
        self.clients[at].report.jobs += 1;
        self.note(queue, job.seqno(), "submit");
        self.todo.push_back(Todo::Visit(queue, Context::Submit));
        Ok(Submitted::Job(job))
    }

    /// A client hears that a job of its has ended.
    pub(super) fn job_ended(&mut self, at: usize, job: JobId) {
        let now = self.now;
        let client = &mut self.clients[at];
        client.report.ended_at = now;
        match client.setup.load {
            Load::Backlog { .. } => {
                client.left -= 1;
                self.todo.push_back(Todo::Client(at));
            }
            Load::Cycles { .. } if client.waits_for == Some(job) => {
                client.waits_for = None;
                let took = now - client.began;
                let report = &mut client.report;
                report.cycles_ns += took;
                report.cycle_ns = Some(report.cycle_ns.map_or((took, took), |(least, most)| {
                    (least.min(took), most.max(took))
                }));
                self.sleep(at);
            }
            _ => {}
        }
    }
}
