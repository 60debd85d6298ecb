// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Reads recorded scheduler events.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::cycles;
use super::diagnostic::{Diagnostic, DiagnosticKind as Kind};
use super::line::{self, Fault, JobFields, Line, SchedulerEvent};
use super::recording::{RecordedContext, RecordedJob, RecordedRing, Recording};
use crate::event::FenceId;

/// Reads a recording from the text of `/sys/kernel/tracing/trace` or of `trace-cmd report`.
///
/// Never fails: what cannot be understood is left out and said in [`Recording::diagnostics`], with
/// its line. Bytes that are no UTF-8 are taken for `U+FFFD`. Uses memory in proportion to `text`, and
/// time a little above that. Allocates.
///
/// * An event that is older than the one before it is taken to have happened at the same time.
/// * Dependencies may stand before their job. They are resolved at the end.
/// * A last line without a newline is not trusted: `fence=3:12` may have been `fence=3:125`. Only a
///   `drm_sched_job_done`, which ends with a fixed word, counts without it.
pub fn parse(text: &[u8]) -> Recording {
    let mut parser = Parser::default();
    for (index, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
        parser.line = index + 1;
        match line.strip_suffix(b"\n") {
            Some(whole) => parser.whole_line(&String::from_utf8_lossy(whole)),
            None => parser.torn_line(String::from_utf8_lossy(line)),
        }
    }
    parser.finish()
}

/// A dependency as it was read.
struct Dependency {
    job: FenceId,
    on: FenceId,
    line: usize,
}

#[derive(Default)]
struct Parser {
    recording: Recording,
    rings: HashMap<(String, String), usize>,
    contexts: HashMap<u64, usize>,
    dependencies: Vec<Dependency>,
    /// Jobs of which it was said that they were never queued.
    strangers: HashSet<FenceId>,
    /// The latest done of each ring.
    last_done: Vec<u64>,
    /// The current line.
    line: usize,
    last_time: u64,
    /// Lines that hold an event, whatever it is.
    events: u64,
    /// Where the header announced how many events, and the count.
    announced: Option<(usize, u64)>,
    warned_of_old_kernel: bool,
}

impl Parser {
    fn say(&mut self, line: usize, kind: Kind, message: String) {
        let diagnostic = Diagnostic {
            line,
            column: None,
            kind,
            message,
        };
        self.recording.diagnostics.push(diagnostic);
    }

    fn say_here(&mut self, kind: Kind, message: String) {
        self.say(self.line, kind, message);
    }

    fn say_fault(&mut self, kind: Kind, text: &str, fault: Fault<'_>) {
        // `fault.at` is a part of `text`; the columns of people are characters.
        let offset = (fault.at.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        let column = text.get(..offset).map(|before| before.chars().count() + 1);
        let diagnostic = Diagnostic {
            line: self.line,
            column,
            kind,
            message: fault.message,
        };
        self.recording.diagnostics.push(diagnostic);
    }

    fn whole_line(&mut self, text: &str) {
        match line::read(text) {
            Ok(Line::Nothing) => {}
            Ok(Line::Entries { in_buffer, written }) => self.header(in_buffer, written),
            Ok(Line::Lost(count)) => self.lost(count),
            Ok(Line::Event { time, name, fields }) => self.event(text, time, name, fields),
            Err(fault) => self.say_fault(Kind::NotAnEvent, text, fault),
        }
    }

    fn torn_line(&mut self, text: Cow<'_, str>) {
        let whole = match line::read(&text) {
            Ok(Line::Event { name, fields, .. }) => match line::scheduler_event(name, fields) {
                Some(event) => matches!(event, Ok(SchedulerEvent::Done(_))),
                None => true,
            },
            Ok(_) => true,
            Err(_) => false,
        };
        if whole {
            self.whole_line(&text);
        } else {
            let message = "the last line is not whole and was left out; the recording was cut here";
            self.say_here(Kind::Torn, message.into());
        }
    }

    fn header(&mut self, in_buffer: u64, written: u64) {
        self.announced = Some((self.line, in_buffer));
        let overwritten = written.saturating_sub(in_buffer);
        if overwritten > 0 {
            self.recording.lost_events = self.recording.lost_events.saturating_add(overwritten);
            let message = format!(
                "{overwritten} older events were overwritten before they were read; \
                 record with a larger `buffer_size_kb`"
            );
            self.say_here(Kind::EventsLost, message);
        }
    }

    fn lost(&mut self, count: Option<u64>) {
        let lost = &mut self.recording.lost_events;
        *lost = lost.saturating_add(count.unwrap_or(1));
        let many = count.map_or("an unknown number of".into(), |count| count.to_string());
        let message = format!("the tracer lost {many} events here; jobs may lack events");
        self.say_here(Kind::EventsLost, message);
    }

    fn event(&mut self, text: &str, time: u64, name: &str, fields: &str) {
        self.events += 1;
        let event = match line::scheduler_event(name, fields) {
            Some(Ok(event)) => event,
            Some(Err(fault)) => return self.say_fault(Kind::BadEvent, text, fault),
            None => return self.unknown_event(name),
        };
        let time = self.forward(time);
        let counts = &mut self.recording.events;
        match event {
            SchedulerEvent::Queue(fields) => {
                counts.queue += 1;
                self.queue(time, &fields);
            }
            SchedulerEvent::Run(fields) => {
                counts.run += 1;
                self.run(time, &fields);
            }
            SchedulerEvent::AddDependency { job, on } => {
                counts.add_dependency += 1;
                self.dependencies.push(Dependency {
                    job,
                    on,
                    line: self.line,
                });
            }
            SchedulerEvent::Done(job) => {
                counts.done += 1;
                self.done(time, job);
            }
            SchedulerEvent::Unschedulable => counts.unschedulable += 1,
        }
    }

    fn unknown_event(&mut self, name: &str) {
        self.recording.events.unknown += 1;
        if line::is_old_name(name) && !self.warned_of_old_kernel {
            self.warned_of_old_kernel = true;
            let message = format!(
                "`{name}` is an event of kernels before 6.16 and is skipped, like others of its \
                 kind; record with 6.16 or later"
            );
            self.say_here(Kind::OldKernel, message);
        }
    }

    /// Time does not go back: an older event is taken to be of the time of the one before it.
    fn forward(&mut self, time: u64) -> u64 {
        if time < self.last_time {
            let message = format!(
                "time goes back from {} to {}; the later one is used",
                Seconds(self.last_time),
                Seconds(time)
            );
            self.say_here(Kind::TimeBackwards, message);
        }
        self.last_time = self.last_time.max(time);
        self.last_time
    }

    fn ring(&mut self, fields: &JobFields<'_>) -> usize {
        let rings = &mut self.recording.rings;
        let key = (fields.device.to_owned(), fields.ring.to_owned());
        *self.rings.entry(key).or_insert_with_key(|(device, name)| {
            rings.push(RecordedRing {
                device: device.clone(),
                name: name.clone(),
            });
            self.last_done.push(0);
            rings.len() - 1
        })
    }

    fn queue(&mut self, time: u64, fields: &JobFields<'_>) {
        let fence = fields.job;
        if let Some(&first) = self.recording.by_fence.get(&fence) {
            let first = self.recording.jobs[first].line;
            let message = format!(
                "job {fence} was queued before, on line {first}; this event is left out (a fence \
                 context is used once only: are these two recordings in one file?)"
            );
            return self.say_here(Kind::Duplicate, message);
        }
        let ring = self.ring(fields);
        let recording = &mut self.recording;
        let context = *self.contexts.entry(fence.context).or_insert_with(|| {
            let (context, client_id) = (fence.context, fields.client_id);
            recording.contexts.push(RecordedContext {
                context,
                ring,
                client_id,
                jobs: 0,
            });
            recording.contexts.len() - 1
        });
        recording.contexts[context].jobs += 1;
        recording.by_fence.insert(fence, recording.jobs.len());
        recording.jobs.push(RecordedJob {
            fence,
            ring,
            client_id: fields.client_id,
            queue_ts: time,
            run_ts: None,
            done_ts: None,
            dependencies: Vec::new(),
            hardware_ns: None,
            line: self.line,
        });
    }

    /// The job an event is about, or a diagnostic, once for each job.
    fn known(&mut self, fence: FenceId, event: &str) -> Option<usize> {
        let index = self.recording.index_of(fence);
        if index.is_none() && self.strangers.insert(fence) {
            let message = format!(
                "{event} of job {fence}, which no line before this one queues; events of this job \
                 are left out until it is queued"
            );
            self.say_here(Kind::UnknownJob, message);
        }
        index
    }

    fn run(&mut self, time: u64, fields: &JobFields<'_>) {
        let fence = fields.job;
        let Some(index) = self.known(fence, "run") else {
            return;
        };
        let ring = &self.recording.rings[self.recording.jobs[index].ring];
        if ring.device != fields.device || ring.name != fields.ring {
            let message = format!(
                "job {fence} runs on {} {}, but was queued for {} {}; the latter is used",
                fields.device, fields.ring, ring.device, ring.name
            );
            self.say_here(Kind::Contradiction, message);
        }
        let job = &mut self.recording.jobs[index];
        if job.run_ts.is_some() {
            let message = format!("job {fence} ran before; this event is left out");
            self.say_here(Kind::Duplicate, message);
        } else if job.done_ts.is_some() {
            let message = format!("job {fence} runs after it was done; this event is left out");
            self.say_here(Kind::Contradiction, message);
        } else {
            job.run_ts = Some(time);
        }
    }

    fn done(&mut self, time: u64, fence: FenceId) {
        let Some(index) = self.known(fence, "done") else {
            return;
        };
        let job = &mut self.recording.jobs[index];
        if job.done_ts.is_some() {
            let message = format!("job {fence} was done before; this event is left out");
            return self.say_here(Kind::Duplicate, message);
        }
        job.done_ts = Some(time);
        if let Some(run) = job.run_ts {
            let last_done = &mut self.last_done[job.ring];
            job.hardware_ns = Some(time - run.max(*last_done));
            *last_done = time;
        }
    }

    fn finish(mut self) -> Recording {
        let lines = self.resolve_dependencies();
        self.drop_circles(&lines);
        if let Some((line, announced)) = self.announced.filter(|&(_, count)| self.events < count) {
            let message = format!(
                "the header announces {announced} events, but {} follow; the recording was cut",
                self.events
            );
            self.say(line, Kind::EventsMissing, message);
        }
        self.recording.diagnostics.sort();
        self.recording
    }

    /// Gives the jobs their dependencies, and returns the line of each.
    fn resolve_dependencies(&mut self) -> HashMap<(FenceId, FenceId), usize> {
        let mut lines = HashMap::new();
        for Dependency { job, on, line } in std::mem::take(&mut self.dependencies) {
            let recording = &mut self.recording;
            let (index, known) = (recording.index_of(job), recording.index_of(on).is_some());
            let (kind, message) = match index {
                None => (
                    Kind::UnknownJob,
                    format!("dependency of job {job}, which no line queues; it is left out"),
                ),
                Some(_) if !known => (
                    Kind::UnknownFence,
                    format!(
                        "job {job} depends on fence {on}, which is no job's of this recording; \
                         the job is replayed without it"
                    ),
                ),
                Some(index) if !lines.contains_key(&(job, on)) => {
                    lines.insert((job, on), line);
                    recording.jobs[index].dependencies.push(on);
                    continue;
                }
                Some(_) => (
                    Kind::Duplicate,
                    format!("job {job} depends on fence {on} already; this event is left out"),
                ),
            };
            recording.dropped_dependencies += 1;
            self.say(line, kind, message);
        }
        lines
    }

    fn drop_circles(&mut self, lines: &HashMap<(FenceId, FenceId), usize>) {
        let mut last: HashMap<u64, usize> = HashMap::new();
        let jobs = &self.recording.jobs;
        let before: Vec<Option<usize>> = jobs
            .iter()
            .enumerate()
            .map(|(index, job)| last.insert(job.fence.context, index))
            .collect();
        let dependencies: Vec<Vec<usize>> = jobs
            .iter()
            .map(|job| {
                job.dependencies
                    .iter()
                    .filter_map(|&on| self.recording.index_of(on))
            })
            .map(Iterator::collect)
            .collect();
        for (job, on) in cycles::find(&dependencies, &before) {
            let on = self.recording.jobs[on].fence;
            let job = &mut self.recording.jobs[job];
            job.dependencies.retain(|&other| other != on);
            self.recording.dropped_dependencies += 1;
            let fence = job.fence;
            let line = lines.get(&(fence, on)).copied().unwrap_or(job.line);
            let message = format!(
                "job {fence} depends on fence {on}, which waits for this job in turn; the job is \
                 replayed without it"
            );
            self.say(line, Kind::Cycle, message);
        }
    }
}

/// Nanoseconds, shown as seconds with six digits, as in a recording.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}.{:06}",
            self.0 / 1_000_000_000,
            self.0 % 1_000_000_000 / 1000
        )
    }
}

#[cfg(test)]
mod tests;
